"""How each primitive maps the axes of its operands to those of its result: where element i of the result came from.

A rule gives, for each operand, ``{axis: (axis of the result, added to lo, added to hi)}``. Axes that are left out are summed, mixed or
permuted, and a primitive without a rule leaves out all of them: "depends on all of it" is always sound. Primitives are known by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jax.core import Tracer

from jax_scorefn.programs._dependence import INF, Move
from jax_scorefn.programs._ir import Const, Op

Moves = dict[int, Move]
Rule = Callable[[Op], list[Moves]]
RULES: dict[str, Rule] = {}
"""Name of a primitive -> rule, which gives the moves of each operand; the same for each result."""

ELEMENTWISE = [
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh", "bessel_i0e",
    "bessel_i1e", "bitcast_convert_type", "cbrt", "ceil", "clamp", "clz", "complex", "conj", "convert_element_type", "copy",
    "copy_p", "cos", "cosh", "digamma", "div", "eq", "eq_to", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1",
    "floor", "ge", "gt", "igamma", "igamma_grad_a", "igammac", "imag", "integer_pow", "is_finite", "le", "le_to", "lgamma", "log",
    "log1p", "log2", "logistic", "lt", "lt_to", "max", "min", "mul", "name", "ne", "neg", "nextafter", "not",
    "one_minus_square", "or", "polygamma", "population_count", "pow", "real", "reduce_precision",
    "regularized_incomplete_beta", "rem", "round", "rsqrt",
    "reshard", "scorefn_guard", "scorefn_witness", "select_n",
    "sharding_constraint", "shift_left", "shift_right_arithmetic", "shift_right_logical",
    "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "sub", "tan", "tanh", "xor", "zeta",
]  # fmt: skip


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for primitives."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def same(axes: Any) -> Moves:
    """Each axis stays where it is."""
    return {axis: (axis, 0, 0) for axis in axes}


@rule(*ELEMENTWISE)
def _elementwise(op: Op) -> list[Moves]:
    """Same shapes, scalars, and axes of size 1 that serve all."""
    shape = op.outs[0].shape

    def one(given: tuple[int, ...]) -> Moves:
        if len(given) != len(shape):
            return {}
        return {i: (i, 0, 0) if given[i] == shape[i] else "#" for i in range(len(shape))}

    return [one(x.shape) for x in op.ins]


@rule("broadcast_in_dim")
def _broadcast(op: Op) -> list[Moves]:
    shape, dims = op.params["shape"], op.params["broadcast_dimensions"]
    first = op.ins[0].shape
    moves: Moves = {i: (d, 0, 0) if first[i] == shape[d] else "#" for i, d in enumerate(dims)}
    return [moves, *({} for _ in op.ins[1:])]


@rule("reshape")
def _reshape(op: Op) -> list[Moves]:
    """Axes that are neither split nor merged keep their place; those of size 1 come and go."""
    old, new = op.ins[0].shape, op.outs[0].shape
    order = op.params.get("dimensions") or range(len(old))  # the operand is transposed before it is reshaped
    old = tuple(old[axis] for axis in order)
    moves: Moves = {}
    i = j = 0 if 0 not in old else len(old)
    while i < len(old) and j < len(new):
        if old[i] == new[j]:
            moves[i] = (j, 0, 0)
            i, j = i + 1, j + 1
        elif old[i] == 1:
            moves[i] = "#"
            i += 1
        elif new[j] == 1:
            j += 1
        else:  # a group that is split or merged: skip to where both have covered the same
            a, b = old[i], new[j]
            i, j = i + 1, j + 1
            while a != b:
                if a < b:
                    a, i = a * old[i], i + 1
                else:
                    b, j = b * new[j], j + 1
    return [{order[i]: target for i, target in moves.items()}, *({} for _ in op.ins[1:])]


@rule("transpose")
def _transpose(op: Op) -> list[Moves]:
    return [{old: (new, 0, 0) for new, old in enumerate(op.params["permutation"])}]


@rule("squeeze")
def _squeeze(op: Op) -> list[Moves]:
    dims = op.params["dimensions"]
    kept = [i for i in range(len(op.ins[0].shape)) if i not in dims]
    moves: Moves = {old: (new, 0, 0) for new, old in enumerate(kept)}
    return [moves | dict.fromkeys(dims, "#")]


@rule("expand_dims")
def _expand(op: Op) -> list[Moves]:
    dims = op.params["dimensions"]
    kept = [i for i in range(len(op.outs[0].shape)) if i not in dims]
    return [{old: (new, 0, 0) for old, new in enumerate(kept)}]


@rule(
    "reduce_sum",
    "reduce_max",
    "reduce_min",
    "reduce_prod",
    "reduce_and",
    "reduce_or",
    "reduce_xor",
    "argmax",
    "argmin",
    "reduce",
)
def _reduce(op: Op) -> list[Moves]:
    axes = op.params.get("axes", op.params.get("dimensions", ()))
    return [
        {old: (new, 0, 0) for new, old in enumerate(i for i in range(len(x.shape)) if i not in axes)} if x.shape else {}
        for x in op.ins
    ]


@rule("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
def _cumulative(op: Op) -> list[Moves]:
    axis, reverse = op.params["axis"], op.params["reverse"]
    moves = same(range(len(op.ins[0].shape)))
    return [moves | {axis: (axis, 0, INF) if reverse else (axis, -INF, 0)}]


@rule("slice")
def _slice(op: Op) -> list[Moves]:
    starts, strides = op.params["start_indices"], op.params["strides"]
    strides = strides or (1,) * len(starts)
    return [{i: (i, s, s) for i, (s, t) in enumerate(zip(starts, strides, strict=True)) if t == 1}]


@rule("pad")
def _pad(op: Op) -> list[Moves]:
    config = op.params["padding_config"]
    return [{i: (i, -low, -low) for i, (low, _, inner) in enumerate(config) if inner == 0}, {}]


@rule("concatenate")
def _concatenate(op: Op) -> list[Moves]:
    axis, start, out = op.params["dimension"], 0, []
    for x in op.ins:
        out.append(same(range(len(x.shape))) | {axis: (axis, -start, -start)})
        start += x.shape[axis]
    return out


@rule("stack")
def _stack(op: Op) -> list[Moves]:
    axis = op.params["axis"]
    return [{i: (i + (i >= axis), 0, 0) for i in range(len(x.shape))} for x in op.ins]


@rule("rev")
def _rev(op: Op) -> list[Moves]:
    return [same(i for i in range(len(op.ins[0].shape)) if i not in op.params["dimensions"])]


@rule("dot_general")
def _dot(op: Op) -> list[Moves]:
    contracting, batching = op.params["dimension_numbers"]
    out, place = [], len(batching[0])
    for x, c, b in zip(op.ins, contracting, batching, strict=True):
        moves: Moves = {axis: (i, 0, 0) for i, axis in enumerate(b)}
        for axis in range(len(x.shape)):
            if axis not in c and axis not in b:
                moves[axis] = (place, 0, 0)
                place += 1
        out.append(moves)
    return out


@rule("conv_general_dilated")
def _conv(op: Op) -> list[Moves]:
    numbers = op.params["dimension_numbers"]
    if op.params["batch_group_count"] != 1:
        return [{}, {}]
    moves: Moves = {numbers.lhs_spec[0]: (numbers.out_spec[0], 0, 0)}
    return [moves, {}]


@rule("sort")
def _sort(op: Op) -> list[Moves]:
    return [same(i for i in range(len(x.shape)) if i != op.params["dimension"]) for x in op.ins]


@rule("top_k")
def _top_k(op: Op) -> list[Moves]:
    axis = op.params.get("axis", -1) % len(op.ins[0].shape)
    return [same(i for i in range(len(op.ins[0].shape)) if i != axis)]


@rule("cholesky", "lu", "triangular_solve", "qr", "eigh", "svd", "householder_product", "tridiagonal_solve")
def _linalg(op: Op) -> list[Moves]:
    """Axes in front of the matrices."""
    batch = len(op.ins[0].shape) - (1 if op.name == "tridiagonal_solve" else 2)
    return [same(range(batch)) for _ in op.ins]


@rule("random_fold_in")
def _fold_in(op: Op) -> list[Moves]:
    shape = op.outs[0].shape
    return [same(range(len(shape))) if x.shape == shape else {} for x in op.ins]


@rule("random_split", "random_bits", "random_unwrap")
def _of_keys(op: Op) -> list[Moves]:
    return [same(range(len(op.ins[0].shape)))]


@rule("random_wrap")
def _wrap(op: Op) -> list[Moves]:
    return [same(range(len(op.outs[0].shape)))]


@rule("dynamic_slice")
def _dynamic_slice(op: Op) -> list[Moves]:
    """Axes that are taken whole; and with a literal start, a slice."""
    x, starts, sizes = op.ins[0], op.ins[1:], op.params["slice_sizes"]
    moves: Moves = {}
    for i, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        if size == x.shape[i]:
            moves[i] = (i, 0, 0)
        elif isinstance(start, Const) and not isinstance(start.value, Tracer):
            at = int(np.clip(int(start.value), 0, x.shape[i] - size))
            moves[i] = (i, at, at)
    return [moves, *({} for _ in starts)]


@rule("dynamic_update_slice")
def _dynamic_update_slice(op: Op) -> list[Moves]:
    x, update = op.ins[:2]
    whole = [i for i in range(len(x.shape)) if x.shape[i] == update.shape[i]]
    return [same(range(len(x.shape))), same(whole), *({} for _ in op.ins[2:])]


@rule("gather")
def _gather(op: Op) -> list[Moves]:
    """Batching axes and whole slices of the operand, and the axes of the indices."""
    numbers, sizes = op.params["dimension_numbers"], op.params["slice_sizes"]
    x, indices = op.ins[:2]
    rank = len(op.outs[0].shape)
    batch = [i for i in range(rank) if i not in numbers.offset_dims]
    on_indices: Moves = {i: (batch[i], 0, 0) for i in range(len(indices.shape) - 1)}
    gone = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    kept = [i for i in range(len(x.shape)) if i not in gone]
    moves: Moves = {
        i: (place, 0, 0) for i, place in zip(kept, numbers.offset_dims, strict=True) if sizes[i] == x.shape[i]
    }
    for axis, index_axis in zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True):
        moves[axis] = (batch[index_axis], 0, 0)
    return [moves, on_indices]


@rule(
    "scatter",
    "scatter-add",
    "scatter_add",
    "scatter-mul",
    "scatter_mul",
    "scatter-min",
    "scatter_min",
    "scatter-max",
    "scatter_max",
)
def _scatter(op: Op) -> list[Moves]:
    """The operand stays; of the updates and indices, the batching axes, and window axes that are written whole."""
    numbers = op.params["dimension_numbers"]
    x, _, updates = op.ins[:3]
    gone = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    kept = [i for i in range(len(x.shape)) if i not in gone]
    scattered = [i for i in range(len(updates.shape)) if i not in numbers.update_window_dims]
    on_updates: Moves = {
        w: (axis, 0, 0)
        for axis, w in zip(kept, numbers.update_window_dims, strict=True)
        if updates.shape[w] == x.shape[axis]
    }
    on_indices: Moves = {}
    for axis, index_axis in zip(numbers.operand_batching_dims, numbers.scatter_indices_batching_dims, strict=True):
        on_updates[scattered[index_axis]] = (axis, 0, 0)
        on_indices[index_axis] = (axis, 0, 0)
    return [same(range(len(x.shape))), on_indices, on_updates]


def moves_of(op: Op) -> list[list[Moves]] | None:
    """For each result, the moves of each operand; None for a primitive without a rule."""
    if op.name in ("split", "unstack"):
        return _parts(op)
    if op.name in ("optimization_barrier", "device_put"):  # each result is its own operand
        rank = [same(range(len(x.shape))) for x in op.ins]
        return [[rank[i] if i == j else NOTHING for i in range(len(op.ins))] for j in range(len(op.outs))]
    found = RULES.get(op.name)
    return None if found is None else [found(op)] * len(op.outs)


NOTHING: Moves = {-1: "#"}
"""Marks an operand that a result does not depend on at all."""


def _parts(op: Op) -> list[list[Moves]]:
    axis, start, out = op.params["axis"], 0, []
    rank = len(op.ins[0].shape)
    for i, part in enumerate(op.outs):
        if op.name == "split":
            out.append([same(range(rank)) | {axis: (axis, start, start)}])
            start += part.shape[axis]
        else:
            moves: Moves = {j: (j - (j > axis), 0, 0) for j in range(rank) if j != axis}
            out.append([moves | {axis: ("#", i, i)}])
    return out


def is_known(name: str) -> bool:
    """Whether a primitive has a rule of its own."""
    return name in RULES or name in ("split", "unstack", "optimization_barrier", "device_put")


def linear_operands(op: Op, free: list[bool]) -> tuple[int, ...]:
    """The operands in which the operation is linear when the others are held; ``free`` says which depend on no choice."""
    name, every = op.name, tuple(range(len(op.ins)))
    if name in ("add", "sub", "add_any", "neg", "concatenate", "stack", "pad", "copy", "copy_p", "complex"):
        return every
    if name in ("mul", "dot_general"):
        return () if not (free[0] or free[1]) else (0,) if free[1] else (1,)
    if name == "div":
        return (0,) if free[1] else ()
    if name == "gather" and op.params.get("fill_value"):  # what is filled in is added; NaN is NaN either way
        return (0,) if free[1] and np.isnan(op.params["fill_value"]) else ()
    if name in _LINEAR_IN_FIRST:
        return (0,) if all(free[1:]) else ()
    if name in ("scatter-add", "scatter_add"):
        return (0, 2) if free[1] else ()
    if name == "dynamic_update_slice":
        return (0, 1) if all(free[2:]) else ()
    if name in ("convert_element_type", "real", "imag", "conj"):
        return (0,)
    return ()


_LINEAR_IN_FIRST = frozenset([
    "reduce_sum", "broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "slice", "rev", "cumsum",
    "gather", "dynamic_slice", "split", "unstack", "name", "reshard", "sharding_constraint",
])  # fmt: skip
