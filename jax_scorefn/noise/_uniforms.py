"""The uniforms of one draw: those of ``jax.random.uniform`` to the last bit, made by the flat generator.

    number n of uniform(key, shape)  =  uniform_of_bits(threefry2x32(key, n))

A word has 32 bits and a float32 uniform takes 23 of them, so an event of probability 1e-8 would come twelve times too often. Where a
distribution asks for ``Fine`` ones, those below 2^-8, where there is room for it, take all 32.

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

from jax_scorefn.noise import samplers
from jax_scorefn.noise._threefry import bits_in_a_row
from jax_scorefn.typing import Array, Key, PyTree


class Fine(jax.ShapeDtypeStruct):
    """Shape and dtype of uniforms whose small ones are multiples of 2^-32 instead of 2^-23, in float32."""


def uniform(key: Key, like: PyTree) -> PyTree:
    """Uniforms in [0, 1) for each leaf of ``like``, numbered through where there are several leaves."""
    leaves, treedef = jax.tree.flatten(like)
    described = tuple((leaf.shape, jnp.dtype(leaf.dtype), isinstance(leaf, Fine)) for leaf in leaves)
    return treedef.unflatten(_uniform(key, described))


@functools.partial(jax.jit, static_argnums=1)
def _uniform(key: Key, leaves: tuple[tuple[tuple[int, ...], Any, bool], ...]) -> list[Array]:
    words = threefry_words(key)
    if words is None:  # no counter to number them by
        keys = [key] if len(leaves) == 1 else jax.random.split(key, len(leaves))
        return [samplers.uniform(keys[j], shape, dtype) for j, (shape, dtype, _) in enumerate(leaves)]
    note_use(key)
    sizes = [math.prod(shape) for shape, *_ in leaves]
    starts = itertools.accumulate(sizes[:-1], initial=0)

    def one(start: int, size: int, shape: tuple[int, ...], dtype: Any, fine: bool) -> Array:
        bits = bits_in_a_row(jnp.finfo(dtype).bits == 64, *words, jnp.uint32(start), size)
        return uniform_of_bits(bits, dtype, fine=fine).reshape(shape)

    return [one(start, size, *leaf) for start, size, leaf in zip(starts, sizes, leaves, strict=True)]


def share_below(share: Array, digits: int, *, closed: bool = False) -> Array:
    """How often a uniform in [0, 1) with that many binary digits is below (or at) a share of it, with the derivative of the share."""
    fixed, steps = jax.lax.stop_gradient(share), np.asarray(2.0**digits, share.dtype)
    number = jnp.minimum(jnp.floor(fixed * steps) + 1, steps) if closed else jnp.ceil(fixed * steps)
    return share + (number / steps - fixed)


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


def uniform_of_bits(bits: Array, dtype: Any, *, fine: bool = False) -> Array:
    """Uniforms in [0, 1) by the arithmetic of ``jax.random.uniform``: a mantissa behind the exponent of 1.

    Half precision has the leading bits of that mantissa: rounded, it would be 1 at times. ``fine`` is for float32.
    """
    if jnp.finfo(dtype).bits == 64:
        mantissa = (bits >> np.uint64(12)) | np.uint64(0x3FF0000000000000)
        return jax.lax.bitcast_convert_type(mantissa, jnp.float64) - np.float64(1)
    mantissa = (bits >> np.uint32(9)) | np.uint32(0x3F800000)
    if jnp.finfo(dtype).bits < 32:
        unused = np.uint32(23 - jnp.finfo(dtype).nmant)
        mantissa = (mantissa >> unused) << unused
    u = jax.lax.bitcast_convert_type(mantissa, jnp.float32) - np.float32(1)
    if fine:
        small = jax.lax.bitcast_convert_type(bits, jnp.int32).astype(jnp.float32)  # of an int32, one instruction
        u = jnp.where(bits < np.uint32(2**24), small * np.float32(2.0**-32), u)
    return u.astype(dtype)
