"""What draw i is made of: numbers that depend on ``(key, i)`` alone.

    a law that is made from uniforms     row i of jax.random.uniform(key, (S, D)), D uniforms for a draw
    any other law                        the key fold_in(key, i)

Threefry makes word n by encrypting the number n, so draw i owns the numbers i D .. i D + D - 1: a chunk or a device makes its own
rows, no key is split, and the draws are those of ``jax.random`` for the whole batch. Other generators have no such
counter; there every law is drawn with a key of its own.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry2x32_p

from jax_scorefn.distributions import Distribution
from jax_scorefn.typing import Array, Capability, Key, PyTree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Noise:
    """The uniforms of one draw, or its key."""

    uniforms: PyTree = None
    key: Key | None = None

    def sample(self, law: Distribution) -> PyTree:
        """The draw, differentiable where the law is reparameterized."""
        return law.from_uniform(self.uniforms) if self.key is None else law.sample(self.key)

    def sample_and_log_prob(self, law: Distribution) -> tuple[PyTree, Array]:
        """The draw, held fixed, and its log-probability."""
        if self.key is None:
            return law.from_uniform_and_log_prob(self.uniforms)
        return law.sample_and_log_prob(self.key)


def noise_of(law: Distribution, key: Key, num_draws: int) -> Callable[[Array, bool], Noise]:
    """``(index of draws, whether it is contiguous) -> Noise`` with the draws on the leading axis."""
    words = _threefry_words(key) if Capability.FROM_UNIFORM in law.capabilities else None
    if jax.config.jax_debug_key_reuse:  # pyright: ignore[reportAttributeAccessIssue]
        jax.random.bits(key, (1,))  # neither fold_in nor the counter is a use of the key to JAX's checker; this is
    if words is None:
        return lambda index, _: Noise(key=jax.vmap(lambda i: jax.random.fold_in(key, i))(index))
    like, treedef = jax.tree.flatten(law.uniform_like())
    sizes = [math.prod(leaf.shape) for leaf in like]
    starts = [sum(sizes[:j]) for j in range(len(sizes))]

    def make(index: Array, contiguous: bool) -> Noise:
        def rows(leaf: Any, start: int, size: int) -> Array:
            high, low = _counters(index, num_draws, sum(sizes), start, size)
            if contiguous:  # one long axis vectorises where a short last one does not
                high, low = high.reshape(-1), low.reshape(-1)
            first, second = threefry2x32_p.bind(*words, high, low)
            return _uniform(first, second, leaf.dtype).reshape(index.shape + leaf.shape)

        return Noise(uniforms=treedef.unflatten(list(map(rows, like, starts, sizes))))

    return make


def _threefry_words(key: Key) -> tuple[Array, Array] | None:
    """The two words of a threefry key; None for a key of another generator."""
    if str(jax.random.key_impl(key)) != "threefry2x32":
        return None
    data = key if key.dtype == jnp.uint32 else jax.random.key_data(key)
    return data[0], data[1]


def _counters(index: Array, num_draws: int, width: int, start: int, size: int) -> tuple[Array, Array]:
    """High and low words of i * width + start + j, for each i of the index (below ``num_draws``) and j < size."""
    column = np.arange(start, start + size, dtype=np.uint32)[None]
    index, mask, half = index[:, None], np.uint32(0xFFFF), np.uint32(16)
    low = index * np.uint32(width) + column
    if num_draws * width <= 2**32:
        return jnp.zeros_like(low), low
    # The carry of a 32 x 32 bit product, from products of halves that fit.
    lower = (index & mask) * np.uint32(width & 0xFFFF)
    middle = (index >> half) * np.uint32(width & 0xFFFF) + (lower >> half)
    other = (index & mask) * np.uint32(width >> 16) + (middle & mask)
    high = (index >> half) * np.uint32(width >> 16) + (middle >> half) + (other >> half)
    return high + (low < column).astype(jnp.uint32), low


def _uniform(first: Array, second: Array, dtype: Any) -> Array:
    """Uniforms in [0, 1) from two words each, by the arithmetic of ``jax.random.uniform``: a mantissa behind the exponent of 1."""
    if jnp.finfo(dtype).bits == 64:
        bits = (first.astype(jnp.uint64) << np.uint64(32)) | second.astype(jnp.uint64)
        mantissa = (bits >> np.uint64(12)) | np.uint64(0x3FF0000000000000)
        return jax.lax.bitcast_convert_type(mantissa, jnp.float64) - np.float64(1)
    mantissa = ((first ^ second) >> np.uint32(9)) | np.uint32(0x3F800000)
    return (jax.lax.bitcast_convert_type(mantissa, jnp.float32) - np.float32(1)).astype(dtype)
