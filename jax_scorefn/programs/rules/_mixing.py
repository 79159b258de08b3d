"""Operations that mix an axis: sums and maxima, products of matrices, sorting, linear algebra. The other axes stay."""

from __future__ import annotations

import math

from jax_scorefn.programs.rules._base import Map, Operation, moved, rule, same


@rule("reduce_sum", linear=0)
@rule("reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "reduce_xor", "argmax", "argmin", "reduce")
def reduced(op: Operation) -> list[Map]:
    """Reductions: all of an axis that is reduced; the others stay, in order.

    Example: lax.reduce_max(x, (0,)), x: (2, 3)
    Maps: [{1: 0}]
    """
    axes = op.params.get("axes", op.params.get("dimensions", ()))
    return [moved(i for i in range(len(shape)) if i not in axes) for shape in op.shapes]


@rule("cumsum", linear=0)
@rule("cumprod", "cummax", "cummin", "cumlogsumexp")
def cumulative(op: Operation) -> list[Map]:
    """Cumulative operations: along their axis everything up to the element, or in reverse from it on.

    Example: lax.cumsum(x, axis=1), x: (2, 3)
    Maps: [{0: 0, 1: (1, -inf, 0)}]
    """
    axis = op.params["axis"]
    past = (axis, 0, math.inf) if op.params["reverse"] else (axis, -math.inf, 0)
    return [same(range(len(op.shapes[0]))) | {axis: past}]


@rule("dot_general", linear="each")
def dot(op: Operation) -> list[Map]:
    """Products of matrices: all of an axis that is summed over; the others, of a batch and of each operand, go to their places.

    Example: lax.dot_general(x, y, (((1,), (0,)), ((), ()))), x: (2, 3), y: (3, 4)
    Maps: [{0: 0}, {1: 1}]
    """
    contracting, batching = op.params["dimension_numbers"]
    out, place = [], len(batching[0])
    for shape, c, b in zip(op.shapes, contracting, batching, strict=True):
        targets = moved(b)
        for axis in range(len(shape)):
            if axis not in c and axis not in b:
                targets[axis] = place
                place += 1
        out.append(targets)
    return out


@rule("conv_general_dilated")
def convolution(op: Operation) -> list[Map]:
    """Convolutions: the batch axis stays, the others are mixed.

    Example: lax.conv(x, y, (1,), "VALID"), x: (2, 1, 3), y: (1, 1, 2)
    Maps: [{0: 0}, {}]
    """
    numbers = op.params["dimension_numbers"]
    return [{numbers.lhs_spec[0]: numbers.out_spec[0]} if op.params["batch_group_count"] == 1 else {}, {}]


@rule("sort")
def sort(op: Operation) -> list[Map]:
    """Sorting: all of the axis that is sorted along; the others stay.

    Example: lax.sort(x, dimension=1), x: (2, 3)
    Maps: [{0: 0}]
    """
    return [same(i for i in range(len(shape)) if i != op.params["dimension"]) for shape in op.shapes]


@rule("top_k")
def top_k(op: Operation) -> list[Map]:
    """The largest along an axis: all of that axis; the others stay.

    Example: lax.top_k(x, 2)[0], x: (2, 3)
    Maps: [{0: 0}]
    """
    rank = len(op.shapes[0])
    return [same(i for i in range(rank) if i != op.params.get("axis", -1) % rank)]


@rule("cholesky", "lu", "triangular_solve", "qr", "eigh", "svd", "householder_product", "tridiagonal_solve")
def linear_algebra(op: Operation) -> list[Map]:
    """Linear algebra: the axes in front of the matrices stay.

    Example: lax.linalg.qr(x)[1], x: (2, 3, 3)
    Maps: [{0: 0}]
    """
    batch = len(op.shapes[0]) - (1 if op.name == "tridiagonal_solve" else 2)
    return [same(range(batch)) for _ in op.shapes]
