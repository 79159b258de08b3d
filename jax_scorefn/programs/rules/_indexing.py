"""Operations that take or write elements by index. Where the index is not known, an axis is kept only as far as it is taken whole."""

from __future__ import annotations

import numpy as np

from jax_scorefn.programs.rules._base import Map, Operation, Target, rule, same


@rule("dynamic_slice", linear=0)
def dynamic_slice(op: Operation) -> list[Map]:
    """Slices at an index: axes that are taken whole stay; where the start is a number, shifted by it.

    Example: lax.dynamic_slice(x, (0, 1), (2, 2)), x: (2, 3)
    Maps: [{0: 0, 1: (1, 1, 1)}, {}, {}]
    """
    targets: dict[int, Target] = {}
    for i, (start, size) in enumerate(zip(op.values[1:], op.params["slice_sizes"], strict=True)):
        length = op.shapes[0][i]
        if size == length:
            targets[i] = i
        elif start is not None:
            at = int(np.clip(int(start), 0, length - size))
            targets[i] = (i, at, at)
    return [targets, *({} for _ in op.shapes[1:])]


@rule("dynamic_update_slice", linear=(0, 1))
def dynamic_update_slice(op: Operation) -> list[Map]:
    """Slices written at an index: the array stays, and of what is written the axes that are written whole.

    Example: lax.dynamic_update_slice(x, y, (0, 1)), x: (2, 3), y: (2, 1)
    Maps: [{0: 0, 1: 1}, {0: 0}, {}, {}]
    """
    x, update = op.shapes[:2]
    return [same(range(len(x))), same(i for i in range(len(x)) if x[i] == update[i]), *({} for _ in op.shapes[2:])]


def without_filling(op: Operation) -> int | None:
    """The array, unless a number is filled in for what is out of range."""  # it is added; but NaN is NaN either way
    filled = op.params.get("fill_value")
    return None if filled and not np.isnan(filled) else 0


@rule("gather", linear=without_filling)
def gather(op: Operation) -> list[Map]:
    """Gathers: batching axes, axes of the array that are taken whole, and the axes of the indices go to their places.

    Example: x[i], x: (4, 3), i: int (2,)
    Maps: [{1: 1}, {0: 0}]
    """
    numbers, sizes = op.params["dimension_numbers"], op.params["slice_sizes"]
    x, indices = op.shapes[:2]
    batch = [i for i in range(len(op.results[0])) if i not in numbers.offset_dims]
    gone = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    kept = [i for i in range(len(x)) if i not in gone]
    targets: dict[int, Target] = {
        i: place for i, place in zip(kept, numbers.offset_dims, strict=True) if sizes[i] == x[i]
    }
    for axis, index_axis in zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True):
        targets[axis] = batch[index_axis]
    return [targets, {i: batch[i] for i in range(len(indices) - 1)}]


@rule("scatter-add", "scatter_add", linear=(0, 2))
@rule("scatter", "scatter-mul", "scatter_mul", "scatter-min", "scatter_min", "scatter-max", "scatter_max")
def scatter(op: Operation) -> list[Map]:
    """Scatters: the array stays; of updates and indices the batching axes, and of the updates what is written whole.

    Example: x.at[i].add(y), x: (4, 3), i: int (2,), y: (2, 3)
    Maps: [{0: 0, 1: 1}, {}, {1: 1}]
    """
    numbers = op.params["dimension_numbers"]
    x, _, updates = op.shapes[:3]
    gone = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    kept = [i for i in range(len(x)) if i not in gone]
    scattered = [i for i in range(len(updates)) if i not in numbers.update_window_dims]
    on_updates: dict[int, Target] = {
        w: axis for axis, w in zip(kept, numbers.update_window_dims, strict=True) if updates[w] == x[axis]
    }
    on_indices: dict[int, Target] = {}
    for axis, index_axis in zip(numbers.operand_batching_dims, numbers.scatter_indices_batching_dims, strict=True):
        on_updates[scattered[index_axis]] = axis
        on_indices[index_axis] = axis
    return [same(range(len(x))), on_indices, on_updates]
