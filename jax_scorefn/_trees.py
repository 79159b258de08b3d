"""Small things done to pytrees and dtypes, in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn.typing import Array, PyTree

NO_DRAWS = "Draws are stacked on the leading axis of every leaf, of one common length of at least 1; the leaves have shapes {shapes}."


def is_float(leaf: Any) -> bool:
    """Whether a leaf is a real floating-point number or array (of any precision)."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        return isinstance(leaf, float)
    return jnp.issubdtype(dtype, jnp.floating)


def is_inexact(leaf: Any) -> bool:
    """Whether a leaf is a number or array that can be differentiated in: a float, or a complex one."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        return isinstance(leaf, float | complex)
    return jnp.issubdtype(dtype, jnp.inexact)


def is_number(leaf: Any) -> bool:
    """Whether JAX can take a leaf: a number or an array, of keys too. A model may hold functions, strings and None."""
    if isinstance(leaf, np.ndarray | np.generic):
        return leaf.dtype.kind not in "OSUMm"
    return isinstance(leaf, bool | int | float | complex) or hasattr(leaf, "dtype")


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a key, or an array of keys."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def reusable(tree: PyTree) -> PyTree:
    """The same keys for one more use, which JAX's checker is told of."""
    return jax.tree.map(lambda leaf: jax.random.clone(leaf) if is_key(leaf) else leaf, tree)


def stop(tree: PyTree) -> PyTree:
    """Stop the gradient of the leaves that have one; others (ints, keys, static objects) pass through."""
    return jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf) if is_inexact(leaf) else leaf, tree)


def real_parts(x: Any) -> Any:
    """A complex array as a real one with its real and imaginary parts on a last axis; any other as it is."""
    if not (hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.complexfloating)):
        return x
    stack = np.stack if isinstance(x, np.ndarray | np.generic) else jnp.stack
    return stack([x.real, x.imag], axis=-1)


def of_parts(parts: Array) -> Array:
    """The complex array of its parts."""
    return jax.lax.complex(parts[..., 0], parts[..., 1])


def to_float(x: Any) -> Array:
    """An array of floats, or of complex numbers: ints and bools become the default float, others keep their precision."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(float)


def widest(arrays: Sequence[Array]) -> Any:
    """The float dtype that holds them all, whatever is set about promotion."""
    return max((array.dtype for array in arrays), key=lambda dtype: jnp.finfo(dtype).bits)


def partition(tree: PyTree, wanted: Callable[[Any], bool]) -> tuple[PyTree, Callable[[PyTree], PyTree]]:
    """The tree with None in place of the leaves that are not wanted, and the way from such a tree back to a whole one."""
    leaves, treedef = jax.tree.flatten(tree)
    kept = treedef.unflatten([leaf if wanted(leaf) else None for leaf in leaves])

    def whole(part: PyTree) -> PyTree:
        pairs = zip(treedef.flatten_up_to(part), leaves, strict=True)
        return treedef.unflatten([new if wanted(leaf) else leaf for new, leaf in pairs])

    return kept, whole


def uphill(grads: PyTree) -> PyTree:
    """The direction in which a real function grows most: of a complex number, the conjugate of what JAX calls the gradient."""
    return jax.tree.map(lambda g: jnp.conj(g) if jnp.iscomplexobj(g) else g, grads)


def along_draws(per_draw: Array, like: Array) -> Array:
    """Reshape one number per draw, shape ``(S,)``, so that it multiplies ``like`` of shape ``(S, ...)``."""
    return per_draw.reshape(per_draw.shape + (1,) * (like.ndim - 1))


def in_explicit_mesh() -> bool:
    """Whether arrays carry their sharding in their type here: a gather cannot tell how its result is to be sharded then."""
    return jax.sharding.AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types


def in_shard_map() -> bool:
    """Whether arrays say in their type over which devices they differ: no collective of an inner axis is known there."""
    return jax.sharding.AxisType.Manual in jax.sharding.get_abstract_mesh().axis_types


def take_rows(tree: PyTree, index: Array) -> PyTree:
    """``x[index]`` for every leaf x. In an Explicit mesh by comparing the index with every row."""
    if not in_explicit_mesh():
        return jax.tree.map(lambda x: x[index], tree)

    def one(x: Array) -> Array:
        chosen = index[..., None] == jnp.arange(x.shape[0], dtype=index.dtype).reshape((1,) * index.ndim + (-1,))
        rows = x.reshape((1,) * index.ndim + x.shape)
        chosen = chosen.reshape(chosen.shape + (1,) * (x.ndim - 1))
        return jnp.sum(jnp.where(chosen, rows, jnp.zeros((), x.dtype)), axis=index.ndim, dtype=x.dtype)

    return jax.tree.map(one, tree)


def num_leading(tree: PyTree) -> int:
    """The common length of the leading axis of every leaf."""
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(tree)}
    if len(sizes) != 1 or () in sizes or (0,) in sizes:
        raise ValueError(NO_DRAWS.format(shapes=[jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]))
    return sizes.pop()[0]


def flatten_floats(tree: PyTree) -> tuple[Array, Callable[[Array], PyTree]]:
    """The float leaves, and the parts of complex ones, as one vector, and the way back to a tree with other leaves as they were."""
    leaves, treedef = jax.tree.flatten(tree)
    places = [j for j, leaf in enumerate(leaves) if is_inexact(leaf)]
    arrays = [real_parts(jnp.asarray(leaves[j])) for j in places]
    dtype = widest(arrays)
    flat = jnp.concatenate([array.astype(dtype).reshape(-1) for array in arrays])

    def restore(vector: Array) -> PyTree:
        filled, start = list(leaves), 0
        for j, array in zip(places, arrays, strict=True):
            part = vector[start : start + array.size].reshape(array.shape).astype(array.dtype)
            filled[j] = of_parts(part) if jnp.iscomplexobj(leaves[j]) else part
            start += array.size
        return treedef.unflatten(filled)

    return flat, restore


def all_finite(tree: PyTree) -> Array:
    """Whether every number of every leaf is finite."""
    finite = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree) if is_inexact(x)]
    return jnp.all(jnp.stack(finite)) if finite else jnp.array(True)
