"""The uniforms of one draw: those of ``jax.random.uniform`` to the last bit, made by the flat generator.

    number n of uniform(key, shape)  =  uniform_of_bits(threefry2x32(key, n))

Keys of other generators have no such numbers, and go through ``jax.random.uniform``.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._threefry import bits32, bits64
from jax_scorefn.typing import Array, Key, PyTree


def uniform(key: Key, like: PyTree) -> PyTree:
    """Uniforms in [0, 1) for each leaf of ``like``, numbered through where there are several leaves."""
    leaves, treedef = jax.tree.flatten(like)
    return treedef.unflatten(_uniform(key, tuple((leaf.shape, jnp.dtype(leaf.dtype)) for leaf in leaves)))


@functools.partial(jax.jit, static_argnums=1)
def _uniform(key: Key, leaves: tuple[tuple[tuple[int, ...], Any], ...]) -> list[Array]:
    words = threefry_words(key)
    if words is None:  # no counter to number them by
        keys = [key] if len(leaves) == 1 else jax.random.split(key, len(leaves))
        return [jax.random.uniform(keys[j], *leaf) for j, leaf in enumerate(leaves)]
    note_use(key)
    sizes = [math.prod(shape) for shape, _ in leaves]
    starts = itertools.accumulate(sizes[:-1], initial=0)

    def one(start: int, size: int, shape: tuple[int, ...], dtype: Any) -> Array:
        make_bits = bits64 if jnp.finfo(dtype).bits == 64 else bits32
        counters = jnp.arange(start, start + size, dtype=jnp.uint32)
        return uniform_of_bits(make_bits(*words, jnp.zeros((), jnp.uint32), counters), dtype).reshape(shape)

    return [one(start, size, *leaf) for start, size, leaf in zip(starts, sizes, leaves, strict=True)]


def note_use(key: Key) -> None:
    """Tell JAX's checker of key reuse that a key is used up, where all that is taken are its words."""
    if jax.config.jax_debug_key_reuse:  # pyright: ignore[reportAttributeAccessIssue]
        jax.random.bits(key, (1,))


def threefry_words(key: Key) -> tuple[Array, Array] | None:
    """The two words of a threefry key; None for a key of another generator."""
    if str(jax.random.key_impl(key)) != "threefry2x32":
        return None
    data = key if key.dtype == jnp.uint32 else jax.random.key_data(key)
    return data[0], data[1]


def uniform_of_bits(bits: Array, dtype: Any) -> Array:
    """Uniforms in [0, 1) by the arithmetic of ``jax.random.uniform``: a mantissa behind the exponent of 1.

    Half precision has the leading bits of that mantissa: rounded, it would be 1 at times.
    """
    if jnp.finfo(dtype).bits == 64:
        mantissa = (bits >> np.uint64(12)) | np.uint64(0x3FF0000000000000)
        return jax.lax.bitcast_convert_type(mantissa, jnp.float64) - np.float64(1)
    mantissa = (bits >> np.uint32(9)) | np.uint32(0x3F800000)
    if jnp.finfo(dtype).bits < 32:
        unused = np.uint32(23 - jnp.finfo(dtype).nmant)
        mantissa = (mantissa >> unused) << unused
    return (jax.lax.bitcast_convert_type(mantissa, jnp.float32) - np.float32(1)).astype(dtype)
