"""Draws that a trace shows to be one: noise that is compared with thresholds, or added to logits whose largest is taken.

    u < c                     u uniform in [a, b), compared with one number or with several, and used for nothing else
    searchsorted(c, u)        the same: which thresholds are below u
    argmax(logits + g)        g standard Gumbels, used for nothing else                      a Categorical

What is below u and what is above leaves an interval for it, and its share of [a, b) is the probability of the draw: p or 1 - p for
one number p in [0, 1), p_k for the sums of p. A lifted program marks its noise with a primitive that is the identity. Between the
noise and its one use there may be what moves numbers and repeats none (a reshape, a transpose).
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jax_scorefn.distributions import Categorical
from jax_scorefn.noise import share_below
from jax_scorefn.programs._lifted import DRAW, lifted
from jax_scorefn.programs.sites import SITES
from jax_scorefn.typing import Array

NOISE = "scorefn_noise"
MOVES = ("reshape", "transpose", "squeeze", "broadcast_in_dim", "expand_dims", "convert_element_type", "copy")
CLOSED = {("le", 0), ("ge", 1), ("gt", 0), ("lt", 1)}
"""Comparisons that tell u <= c from u > c; the others tell u < c from u >= c."""
BELOW = {("lt", 0): True, ("le", 0): True, ("gt", 1): True, ("ge", 1): True,
         ("gt", 0): False, ("ge", 0): False, ("lt", 1): False, ("le", 1): False}  # fmt: skip
"""By comparison, and where the noise stands in it: whether it is true where the noise is below the threshold."""

noise_p = Primitive(NOISE)


def marked(x: Array, kind: str, *ends: Any) -> Array:
    """Noise under a mark: "gumbel", or "uniform" between two ends, each a scalar."""
    return noise_p.bind(x, *(jnp.asarray(end, x.dtype).reshape(()) for end in ends), kind=kind)


def _identity(x: Any, *ends: Any, kind: str) -> Any:
    return x


def _batched(operands: Any, dims: Any, *, kind: str) -> Any:
    x, *ends = operands
    moving = any(d is not None for d in dims[1:])  # ends that differ over the batch: what it is is not told any more
    return (x if moving else noise_p.bind(x, *ends, kind=kind)), dims[0]


noise_p.def_impl(_identity)
noise_p.def_abstract_eval(_identity)
mlir.register_lowering(noise_p, mlir.lower_fun(_identity, multiple_results=False))
ad.primitive_jvps[noise_p] = lambda primals, tangents, kind: (noise_p.bind(*primals, kind=kind), tangents[0])
batching.primitive_batchers[noise_p] = _batched


def is_mark(op: Any) -> bool:
    """Whether an operation marks noise."""
    return op.name == NOISE


def is_search(params: dict[str, Any]) -> bool:
    """Whether a call is that of ``jnp.searchsorted``."""
    return params.get("name") == "searchsorted"


def carries_noise(op: Any) -> bool:
    """Whether what comes out of an operation may still be noise for a draw: it was moved, or something was added."""
    return is_mark(op) or op.name in (*MOVES, "add")


def recognized(ops: list[Any], outs: list[Any], inline: Callable[[Any, list[Any], list[Any]], list[Any]]) -> list[Any]:
    """The operations of a block, with a choice in place of each draw that is made of marked noise.

    ``inline(closed jaxpr, operands, ops)`` appends a traced function to a list of operations and returns its results.
    """
    uses = Counter(x for op in ops for x in op.ins)
    uses.update(outs)
    noise: dict[Any, tuple[str, list[Any]]] = {}  # what is used once more, and what was added to it
    found = []
    for op in ops:
        place = next((i for i, x in enumerate(op.ins) if x in noise), 0)
        kind, added = (
            (op.params["kind"], op.ins[1:]) if is_mark(op) else noise.get(op.ins[place] if op.ins else None, (None, []))
        )
        draw = _draw(op, place, kind)
        if draw is not None:
            operands = [*op.ins, *added]
            closed = jax.make_jaxpr(draw)(*(jax.ShapeDtypeStruct(x.shape, _dtype(x)) for x in operands))
            (result,) = inline(closed, operands, found)
            result.op.outs = [op.outs[0]]
            op.outs[0].op = result.op
            continue
        found.append(op)
        if kind is None or uses[op.outs[0]] != 1:
            continue
        if is_mark(op) or (_moves(op) and kind != "sum"):
            noise[op.outs[0]] = kind, added
        elif kind == "gumbel" and op.name == "add" and op.ins[place].shape == op.outs[0].shape:
            noise[op.outs[0]] = "sum", [op.ins[1 - place]]
    return found


def _dtype(x: Any) -> Any:
    return x.aval.dtype if hasattr(x, "aval") else jnp.result_type(x.value)


def _moves(op: Any) -> bool:
    """Whether all numbers come out that went in, each of them once."""
    if op.name not in MOVES or len(op.ins) != 1:
        return False
    (x,), (out,) = op.ins, op.outs
    return math.prod(x.shape) == math.prod(out.shape) and jnp.issubdtype(out.aval.dtype, jnp.floating)


def _draw(op: Any, place: int, kind: str | None) -> Callable[..., Array] | None:
    """The operation as a choice of its operands; None where it is no draw."""
    if kind == "uniform" and (op.name, place) in BELOW:
        return functools.partial(_compared, op, place)
    if kind == "uniform" and place == 1 and is_search(op.params) and len(op.ins[0].shape) == 1:
        return functools.partial(_searched, op)
    if kind == "sum" and op.name == "argmax":
        return functools.partial(_largest, op)
    return None


def _compared(op: Any, place: int, x: Array, y: Array, low: Array, high: Array) -> Array:
    noise, threshold = (x, y) if place == 0 else (y, x)
    drawn = op.prim.bind(x, y, **op.params)
    own, threshold = noise.shape, jnp.broadcast_to(threshold, drawn.shape)
    repeated = [i for i, n in enumerate(drawn.shape) if len(own) < len(drawn.shape) or own[i] != n]
    order = [*(i for i in range(drawn.ndim) if i not in repeated), *repeated]
    shown, threshold = jnp.transpose(drawn, order), jnp.transpose(threshold, order)
    below = shown if BELOW[op.name, place] else ~shown
    axes = tuple(range(drawn.ndim - len(repeated), drawn.ndim))
    part = _below(threshold, low, high, closed=(op.name, place) in CLOSED)
    most, least = jnp.min(jnp.where(below, part, 1), axis=axes), jnp.max(jnp.where(below, 0, part), axis=axes)
    chosen = _chosen(shown, jnp.log(most - least), "Bernoulli" if not repeated else "Categorical")
    return jnp.transpose(chosen, [order.index(i) for i in range(len(order))])


def _searched(op: Any, thresholds: Array, noise: Array, low: Array, high: Array) -> Array:
    params = op.prim.get_bind_params(op.params)
    functions, params = params if isinstance(params, tuple) else ((), params)
    (drawn,) = op.prim.bind(*functions, thresholds, noise, **params)
    parts = jnp.pad(_below(thresholds, low, high), 1, constant_values=(0, 1))
    return _chosen(drawn, jnp.log(parts[drawn + 1] - parts[drawn]), "Categorical")


def _below(threshold: Array, low: Array, high: Array, *, closed: bool = False) -> Array:
    """How often a uniform between two ends is below a threshold."""
    return share_below(jnp.clip((threshold - low) / (high - low), 0, 1), jnp.finfo(low.dtype).nmant, closed=closed)


def _largest(op: Any, z: Array, logits: Array) -> Array:
    (axis,), drawn = op.params["axes"], op.prim.bind(z, **op.params)
    rows = jnp.moveaxis(jnp.broadcast_to(logits, z.shape), axis, -1).reshape(-1, z.shape[axis])
    log_probs = jax.vmap(lambda row, k: Categorical(logits=row).log_prob(k))(rows, drawn.reshape(-1))
    return _chosen(drawn, log_probs.reshape(drawn.shape), "Categorical")


def _chosen(drawn: Array, log_probs: Array, dist: str) -> Array:
    with lifted(DRAW):
        return SITES["score_function"].choose(drawn, [log_probs], name=dist, dist=dist)
