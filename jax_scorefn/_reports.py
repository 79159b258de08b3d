"""What is reported beside a value has no derivative, and says so to whoever asks for one.

    report(x, of=params)     value x; tangent 0, for tangents of x and of params; a TypeError where that tangent is transposed

Forward mode computes the tangents of all results, wanted or not, so there it stays silent. Reverse mode transposes the tangents of
just what is differentiated, and would give a gradient of 0 that somebody believes.

How it works: ``report`` is a primitive whose JVP gives the tangent through a second one, which is linear in the tangents, has the
value 0 and a transpose that raises. x is often constant to JAX, a draw held fixed, so the parameters are operands too.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jax_scorefn._trees import is_inexact
from jax_scorefn.typing import PyTree

NOT_DIFFERENTIABLE = (
    "An Info was differentiated, or the gradients of draws (per_draw=True). They carry no derivative, and the result would be 0 "
    "without a word. Differentiate the value of the estimator; for another function of the draws, call the estimator with that "
    "function as f. Draws that are data to another loss are to be stopped first: jax.lax.stop_gradient(info.samples)."
)

_report_p = Primitive("scorefn_report")
_silence_p = Primitive("scorefn_silence")


def report(tree: PyTree, of: PyTree) -> PyTree:
    """The same tree, whose leaves have no derivative in the parameters that they are of."""
    operands = [jnp.asarray(leaf) for leaf in jax.tree.leaves(of) if is_inexact(leaf)]
    return jax.tree.map(lambda leaf: _report_p.bind(jnp.asarray(leaf), *operands) if is_inexact(leaf) else leaf, tree)


def _silent(x: Any, tangents: Any) -> Any:
    """The tangent 0 of x, which depends on these."""
    some = [t for t in tangents if type(t) is not ad.Zero]
    return _silence_p.bind(x, *some) if some else jnp.zeros_like(x)


def _report_jvp(primals, tangents):
    y = _report_p.bind(*primals)
    return y, _silent(y, tangents)


def _silence_jvp(primals, tangents):
    y = _silence_p.bind(*primals)
    return y, _silent(y, tangents[1:])


def _silence_transpose(cotangent: Any, x: Any, *tangents: Any) -> Any:
    if type(cotangent) is ad.Zero:
        return [None] * (1 + len(tangents))
    raise TypeError(NOT_DIFFERENTIABLE)


def _batch(primitive, args, dims):
    """Mapped wherever an operand is: where value and tangent differ in that, checkpoint of a vmap fails."""
    size = next(arg.shape[dim] for arg, dim in zip(args, dims, strict=True) if dim is not None)
    return primitive.bind(*(batching.bdim_at_front(arg, dim, size) for arg, dim in zip(args, dims, strict=True))), 0


def _first(x, *_):
    return x


def _zeros(x, *_):
    return jnp.zeros_like(x)


for _primitive, _does, _jvp in ((_report_p, _first, _report_jvp), (_silence_p, _zeros, _silence_jvp)):
    _primitive.def_impl(_does)
    _primitive.def_abstract_eval(_first)
    mlir.register_lowering(_primitive, mlir.lower_fun(_does, multiple_results=False))
    ad.primitive_jvps[_primitive] = _jvp
    batching.primitive_batchers[_primitive] = lambda args, dims, p=_primitive: _batch(p, args, dims)

ad.primitive_transposes[_silence_p] = _silence_transpose
