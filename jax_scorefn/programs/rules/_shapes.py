"""Operations that move axes and elements: broadcasts, reshapes, slices, concatenations."""

from __future__ import annotations

from jax_scorefn.programs.rules._base import Map, Operation, Target, moved, rule, same


@rule("broadcast_in_dim", linear=0)
def broadcast(op: Operation) -> list[Map]:
    """Broadcast: each axis goes to its place, one of length 1 to all of it.

    Example: lax.broadcast_in_dim(x, (2, 4, 3), (0, 2)), x: (2, 3)
    Maps: [{0: 0, 1: 2}]
    """
    shape, first = op.params["shape"], op.shapes[0]
    targets = {i: d if first[i] == shape[d] else ("#", 0, 0) for i, d in enumerate(op.params["broadcast_dimensions"])}
    return [targets, *({} for _ in op.shapes[1:])]


@rule("reshape", linear=0)
def reshape(op: Operation) -> list[Map]:
    """Reshape: axes that are neither split nor merged keep their place; those of length 1 come and go.

    Example: lax.reshape(x, (1, 2, 6)), x: (2, 3, 2)
    Maps: [{0: 1}]
    """
    old, new = op.shapes[0], op.results[0]
    order = op.params.get("dimensions") or range(len(old))  # the operand is transposed before it is reshaped
    old = tuple(old[axis] for axis in order)
    targets: dict[int, Target] = {}
    i = j = 0 if 0 not in old else len(old)
    while i < len(old) and j < len(new):
        if old[i] == new[j]:
            targets[i] = j
            i, j = i + 1, j + 1
        elif old[i] == 1:
            targets[i] = ("#", 0, 0)
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
    return [{order[i]: target for i, target in targets.items()}, *({} for _ in op.shapes[1:])]


@rule("transpose", linear=0)
def transpose(op: Operation) -> list[Map]:
    """Transpose: each axis goes to its place.

    Example: lax.transpose(x, (1, 0)), x: (2, 3)
    Maps: [{1: 0, 0: 1}]
    """
    return [moved(op.params["permutation"])]


@rule("squeeze", linear=0)
def squeeze(op: Operation) -> list[Map]:
    """Squeeze: axes of length 1 go, and their one element serves all.

    Example: lax.squeeze(x, (1,)), x: (2, 1, 3)
    Maps: [{0: 0, 2: 1, 1: ('#', 0, 0)}]
    """
    dims = op.params["dimensions"]
    return [moved(i for i in range(len(op.shapes[0])) if i not in dims) | dict.fromkeys(dims, ("#", 0, 0))]


@rule("expand_dims", linear=0)
def expand(op: Operation) -> list[Map]:
    """New axes of length 1: the others make room.

    Example: lax.expand_dims(x, (1,)), x: (2, 3)
    Maps: [{0: 0, 1: 2}]
    """
    dims = op.params["dimensions"]
    return [dict(enumerate(i for i in range(len(op.results[0])) if i not in dims))]


@rule("slice", linear=0)
def slices(op: Operation) -> list[Map]:
    """Slices: shifted by the start. Along an axis with another stride than 1, all.

    Example: lax.slice(x, (0, 1), (2, 3)), x: (2, 3)
    Maps: [{0: (0, 0, 0), 1: (1, 1, 1)}]
    """
    starts, strides = op.params["start_indices"], op.params["strides"]
    strides = strides or (1,) * len(starts)
    return [{i: (i, s, s) for i, (s, t) in enumerate(zip(starts, strides, strict=True)) if t == 1}]


@rule("pad", linear="together")
def pad(op: Operation) -> list[Map]:
    """Padding: shifted by what is put in front. Along an axis with padding between elements, all.

    Example: lax.pad(x, 0.0, ((0, 0, 0), (1, 2, 0))), x: (2, 3)
    Maps: [{0: (0, 0, 0), 1: (1, -1, -1)}, {}]
    """
    config = op.params["padding_config"]
    return [{i: (i, -low, -low) for i, (low, _, inner) in enumerate(config) if inner == 0}, {}]


@rule("concatenate", linear="together")
def concatenate(op: Operation) -> list[Map]:
    """Concatenation: each operand is shifted by the lengths of those before it.

    Example: lax.concatenate([x, y], 0), x: (2,), y: (3,)
    Maps: [{0: (0, 0, 0)}, {0: (0, -2, -2)}]
    """
    axis, start, out = op.params["dimension"], 0, []
    for shape in op.shapes:
        out.append(same(range(len(shape))) | {axis: (axis, -start, -start)})
        start += shape[axis]
    return out


@rule("stack", linear="together")
def stack(op: Operation) -> list[Map]:
    """Stack: side by side along a new axis; the others make room.

    Example: jnp.stack([x, y], 1), x: (2, 3), y: (2, 3)
    Maps: [{0: 0, 1: 2}, {0: 0, 1: 2}]
    """
    axis = op.params["axis"]
    return [{i: i + (i >= axis) for i in range(len(shape))} for shape in op.shapes]


@rule("split", linear=0, each_result=True)
def split(op: Operation) -> list[list[Map]]:
    """Split: each part is shifted by where it starts.

    Example: lax.split(x, (1, 2), axis=1), x: (2, 3)
    Maps: [[{0: 0, 1: (1, 0, 0)}], [{0: 0, 1: (1, 1, 1)}]]
    """
    axis, start, out = op.params["axis"], 0, []
    for part in op.results:
        out.append([same(range(len(op.shapes[0]))) | {axis: (axis, start, start)}])
        start += part[axis]
    return out


@rule("unstack", linear=0, each_result=True)
def unstack(op: Operation) -> list[list[Map]]:
    """Unstack: the elements of an axis, one result each.

    Example: jnp.unstack(x, axis=1), x: (3, 2)
    Maps: [[{0: 0, 1: ('#', 0, 0)}], [{0: 0, 1: ('#', 1, 1)}]]
    """
    axis = op.params["axis"]
    kept = moved(i for i in range(len(op.shapes[0])) if i != axis)
    return [[kept | {axis: ("#", i, i)}] for i in range(len(op.results))]


@rule("rev", linear=0)
def reverse(op: Operation) -> list[Map]:
    """Reversal: all of an axis that is turned around; the others stay.

    Example: lax.rev(x, (1,)), x: (2, 3)
    Maps: [{0: 0}]
    """
    return [same(i for i in range(len(op.shapes[0])) if i not in op.params["dimensions"])]
