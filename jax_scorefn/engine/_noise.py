"""What draw i is made of: numbers that depend on ``(key, i)`` alone.

    a distribution that is made from uniforms     row i of jax.random.uniform(key, (S, D)), D uniforms for a draw
    any other distribution                        the key fold_in(key, i)
    a distribution under a scheme                 row i of the scheme's uniforms, which are made of such rows (see ``schemes``)

Threefry makes word n by encrypting the number n, so draw i owns the numbers i D .. i D + D - 1: a chunk or a device makes its own
rows, no key is split, and the draws are those of ``jax.random`` for the whole batch. Other generators have no such
counter; there every distribution is drawn with a key of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from jax_scorefn.distributions import Distribution
from jax_scorefn.engine._shard import rows_at
from jax_scorefn.noise import (
    Fine,
    bits32,
    bits64,
    bits_in_a_row,
    note_use,
    samplers,
    stock,
    threefry_words,
    uniform_of_bits,
)
from jax_scorefn.typing import Array, Capability, Key, PyTree

SCHEME_NEEDS_UNIFORMS = (
    "The scheme {scheme} needs a distribution whose draws are made from uniforms; {dist} is drawn otherwise (by rejection, or by a "
    "sampler of its own). Leave the scheme out, or give the distribution from_uniform and uniform_like."
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Noise:
    """The uniforms of one draw, or its key."""

    uniforms: PyTree = None
    key: Key | None = None

    @property
    def repeatable(self) -> bool:
        """Whether the draw comes out the same however it is mapped: a key of another generator than threefry does not promise that."""
        return self.key is None or threefry_words(self.key) is not None

    def sample(self, dist: Distribution) -> PyTree:
        """The draw, differentiable where the distribution is reparameterized."""
        return dist.from_uniform(self.uniforms) if self.key is None else dist.sample(self.key)

    def sample_and_log_prob(self, dist: Distribution) -> tuple[PyTree, Array]:
        """The draw, stopped, and its log-probability."""
        if self.key is None:
            return dist.from_uniform_and_log_prob(self.uniforms)
        return dist.sample_and_log_prob(self.key)


def noise_of(
    dist: Distribution, key: Key, num_samples: int, scheme: Any = None, sharding: Sharding | None = None
) -> Callable[[Array], Noise]:
    """``index of draws -> Noise`` with the draws on the leading axis."""
    if scheme is not None:
        if Capability.FROM_UNIFORM not in dist.capabilities:
            raise TypeError(SCHEME_NEEDS_UNIFORMS.format(scheme=scheme.name, dist=dist.name))
        key = jax.random.split(key, 1)[0]
    else:
        note_use(key)  # neither fold_in nor the counter is one to JAX's checker
    if Capability.FROM_UNIFORM not in dist.capabilities or (scheme is None and threefry_words(key) is None):
        return lambda index: Noise(key=_keys(key, index))
    leaves, treedef = jax.tree.flatten(dist.uniform_like())
    source = Uniforms(leaves, sharding)
    rows = source.rows(key, num_samples, in_a_row=True) if scheme is None else scheme.make(source, key, num_samples)
    return lambda index: Noise(uniforms=treedef.unflatten(rows(index)))


def noise_and_key_of(
    dist: Distribution, key: Key, num_samples: int, sharding: Sharding | None = None
) -> Callable[[Array], tuple[Noise, Key]]:
    """``index -> (Noise, key)``: beside what a draw is made of, a key for what else an estimator draws with it."""
    first, second = jax.random.split(key)
    noise = noise_of(dist, first, num_samples, None, sharding)
    return lambda index: (noise(index), _keys(second, index))


def _keys(key: Key, index: Array) -> Key:
    """A key for each draw."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)


def uniforms(
    shape: tuple[int, ...], dtype: Any, key: Key, num_rows: int, sharding: Sharding | None = None
) -> Callable[[Array], Array]:
    """``index -> rows`` of uniforms of a shape, for estimators that draw in their own way."""
    key = jax.random.split(key, 1)[0]
    rows = Uniforms([jax.ShapeDtypeStruct(shape, dtype)], sharding).rows(key, num_rows, in_a_row=True)
    return lambda index: rows(index)[0]


@dataclasses.dataclass(frozen=True)
class Uniforms:
    """What a scheme makes its uniforms of: for each leaf of a distribution's noise, one array with a row for each draw."""

    leaves: list[jax.ShapeDtypeStruct]
    sharding: Sharding | None

    def take(self, table: Array, index: Array) -> Array:
        """Rows of a table, laid over devices where the index is."""
        return rows_at(table, index, self.sharding)

    def rows(self, key: Key, num_rows: int, in_a_row: bool = False) -> Callable[[Array], list[Array]]:
        """``index -> rows`` of num_rows independent ones; ``in_a_row`` says that an index has one after the other."""
        words = threefry_words(key)
        if words is None:
            return jax.vmap(lambda i: self._drawn(jax.random.fold_in(key, i)))
        sizes = [math.prod(leaf.shape) for leaf in self.leaves]
        starts = [sum(sizes[:j]) for j in range(len(sizes))]

        def make(index: Array) -> list[Array]:
            def one(leaf: Any, start: int, size: int) -> Array:
                wide, width = jnp.finfo(leaf.dtype).bits == 64, sum(sizes)
                if in_a_row and self.sharding is None and size == width and num_rows * width <= 2**32:
                    bits = bits_in_a_row(wide, *words, index[0] * np.uint32(width), index.shape[0] * width)
                else:
                    make_bits = (
                        (bits64 if wide else bits32) if self.sharding is None else functools.partial(stock, wide)
                    )
                    bits = make_bits(*words, *_counters(index, num_rows, width, start, size))
                u = uniform_of_bits(bits, leaf.dtype, fine=isinstance(leaf, Fine))
                return u.reshape(index.shape + leaf.shape)

            return list(map(one, self.leaves, starts, sizes))

        return make

    def _drawn(self, key: Key) -> list[Array]:
        keys = jax.random.split(key, len(self.leaves))
        return [samplers.uniform(keys[j], leaf.shape, leaf.dtype) for j, leaf in enumerate(self.leaves)]


def _counters(index: Array, num_samples: int, width: int, start: int, size: int) -> tuple[Array, Array]:
    """High and low words of i * width + start + j, for each i of the index (below ``num_samples``) and j < size."""
    column = np.arange(start, start + size, dtype=np.uint32)[None]
    index, mask, half = index[:, None], np.uint32(0xFFFF), np.uint32(16)
    low = index * np.uint32(width) + column
    if num_samples * width <= 2**32:
        return jnp.zeros((), jnp.uint32), low
    # The carry of a 32 x 32 bit product, from products of halves that fit.
    lower = (index & mask) * np.uint32(width & 0xFFFF)
    middle = (index >> half) * np.uint32(width & 0xFFFF) + (lower >> half)
    other = (index & mask) * np.uint32(width >> 16) + (middle & mask)
    high = (index >> half) * np.uint32(width >> 16) + (middle >> half) + (other >> half)
    return high + (low < column).astype(jnp.uint32), low
