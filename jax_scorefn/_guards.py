"""An identity that raises when it is differentiated more often than it may be.

    guard(x, order=k, message=...)     value x; k derivatives pass; the next one raises TypeError(message)

One mechanism for whatever may be differentiated so often: estimators whose derivatives are right up to some order (k of them), a
density with a corner (k = 1), the ends of a support inside its log-probability, the draws of a discrete distribution, and the input of
an objective that is plain Python (k = 0). Without it each of these gives a wrong finite number without a word.

How it works: ``guard`` is a primitive whose JVP gives the tangent through a second identity that is linear in the tangent and
takes ``guard(x, order=k - 1)`` as a witness. A second derivative differentiates the witness; a witness of order 0 raises.
"""

from __future__ import annotations

from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jax_scorefn._trees import is_inexact
from jax_scorefn.typing import EVERY_ORDER, PyTree

_guard_p = Primitive("scorefn_guard")
_witness_p = Primitive("scorefn_witness")
_together_p = Primitive("scorefn_guard_together")
_together_p.multiple_results = True


def guard(tree: PyTree, *, order: float, message: str) -> PyTree:
    """The same tree, whose float and complex leaves may be differentiated ``order`` times and not once more."""
    if order == EVERY_ORDER:
        return tree

    def one(leaf: Any) -> Any:
        return _guard_p.bind(jax.numpy.asarray(leaf), order=int(order), message=message) if is_inexact(leaf) else leaf

    return jax.tree.map(one, tree)


def guard_together(leaves: list[Any], *, message: str) -> list[Any]:
    """The same leaves, which may be differentiated once, and not once more in whichever of them."""
    moving = [i for i, leaf in enumerate(leaves) if is_inexact(leaf)]
    same = dict(
        zip(moving, _together_p.bind(*(jax.numpy.asarray(leaves[i]) for i in moving), message=message), strict=True)
    )
    return [same.get(i, leaf) for i, leaf in enumerate(leaves)]


def _together_jvp(primals, tangents, *, message):
    out = _together_p.bind(*primals, message=message)
    if all(type(t) is ad.Zero for t in tangents):
        return out, tangents
    parts = (jax.numpy.sum(jax.numpy.real(x)).astype(jax.numpy.float32) for x in primals)
    witness = _guard_p.bind(sum(parts, jax.numpy.float32(0)), order=0, message=message)  # of all of them
    return out, [t if type(t) is ad.Zero else _witness_p.bind(t, witness) for t in tangents]


def _guard_jvp(primals, tangents, *, order, message):
    (x,), (t,) = primals, tangents
    y = _guard_p.bind(x, order=order, message=message)
    if type(t) is ad.Zero:
        return y, t
    if order == 0:
        raise TypeError(message)
    return y, _witness_p.bind(t, _guard_p.bind(x, order=order - 1, message=message))


def _witness_jvp(primals, tangents):
    t, x = primals
    dt, _ = tangents  # the witness is constant in x
    y = _witness_p.bind(t, x)
    return y, dt if type(dt) is ad.Zero else _witness_p.bind(dt, x)


def _witness_transpose(cotangent, t, x):
    del t
    return [None if type(cotangent) is ad.Zero else _witness_p.bind(cotangent, x), None]


def _witness_batch(args, dims):
    size = next(arg.shape[dim] for arg, dim in zip(args, dims, strict=True) if dim is not None)
    moved = [batching.bdim_at_front(arg, dim, size) for arg, dim in zip(args, dims, strict=True)]
    return _witness_p.bind(*moved), 0


def _first(x, *_, **__):
    return x


for _primitive in (_guard_p, _witness_p):
    _primitive.def_impl(_first)
    _primitive.def_abstract_eval(_first)
    mlir.register_lowering(_primitive, mlir.lower_fun(_first, multiple_results=False))

ad.primitive_jvps[_guard_p] = _guard_jvp
ad.primitive_jvps[_witness_p] = _witness_jvp
ad.primitive_transposes[_witness_p] = _witness_transpose
batching.primitive_batchers[_guard_p] = lambda args, dims, **params: (_guard_p.bind(*args, **params), dims[0])
batching.primitive_batchers[_witness_p] = _witness_batch

_together_p.def_impl(lambda *xs, **_: list(xs))
_together_p.def_abstract_eval(lambda *xs, **_: list(xs))
mlir.register_lowering(_together_p, mlir.lower_fun(lambda *xs, **_: list(xs), multiple_results=True))
ad.primitive_jvps[_together_p] = _together_jvp
batching.primitive_batchers[_together_p] = lambda args, dims, **params: (_together_p.bind(*args, **params), dims)
