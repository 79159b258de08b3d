"""Moments of a gradient estimate over independent replicates, in one pass and in any split.

    n,  mean,  M_k = sum (g - mean)^k for k = 2, 3, 4          merged as if all had been seen at once   (Pebay 2008)

A chunk of replicates has its moments taken about its own mean, and chunks (or devices, or processes) are merged: nothing of the
size of all replicates is ever held, and no large sums are subtracted from each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn._trees import is_inexact, real_parts
from jax_scorefn.typing import Array, Key, Params, PyTree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Moments:
    """Sample moments of a pytree of arrays.

    Attributes:
      count: number of replicates, a float scalar.
      mean: pytree of means.
      m2: sums of squared deviations from the mean, a pytree like ``mean``.
      m3: sums of their cubes.
      m4: sums of their fourth powers.
      least: the smallest replicate, for each entry.
      most: the largest.
      nonfinite: number of replicates with a number that is not finite, for each entry; they spoil the moments of that entry.
    """

    count: Array
    mean: PyTree
    m2: PyTree
    m3: PyTree
    m4: PyTree
    least: PyTree
    most: PyTree
    nonfinite: PyTree

    @property
    def variance(self) -> PyTree:
        """Unbiased sample variance of one replicate."""
        return jax.tree.map(lambda m2: m2 / (self.count - 1), self.m2)

    @property
    def standard_error(self) -> PyTree:
        """Standard error of the mean."""
        return jax.tree.map(lambda v: jnp.sqrt(v / self.count), self.variance)

    @property
    def variance_standard_error(self) -> PyTree:
        """Standard error of the variance, from the fourth moment."""

        def one(m2: Array, m4: Array) -> Array:
            return jnp.sqrt(jnp.maximum(m4 / self.count - (m2 / self.count) ** 2, 0) / self.count)

        return jax.tree.map(one, self.m2, self.m4)

    @property
    def skewness(self) -> PyTree:
        """Third standardised moment; 0 where nothing varies."""

        def one(m2: Array, m3: Array) -> Array:
            positive = jnp.where(m2 > 0, m2, 1)
            return jnp.where(m2 > 0, jnp.sqrt(self.count) * m3 / positive**1.5, 0)

        return jax.tree.map(one, self.m2, self.m3)

    @property
    def kurtosis(self) -> PyTree:
        """Fourth standardised moment (3 for a normal); 0 where nothing varies."""

        def one(m2: Array, m4: Array) -> Array:
            return jnp.where(m2 > 0, self.count * m4 / jnp.where(m2 > 0, m2, 1) ** 2, 0)

        return jax.tree.map(one, self.m2, self.m4)

    @property
    def largest_share(self) -> PyTree:
        """The share of the sum of squared deviations that one replicate has: small, if the mean is a mean of many."""

        def one(low: Array, high: Array, mean: Array, m2: Array) -> Array:
            return jnp.where(m2 > 0, jnp.maximum(high - mean, mean - low) ** 2 / jnp.where(m2 > 0, m2, 1), 0)

        return jax.tree.map(one, self.least, self.most, self.mean, self.m2)

    @classmethod
    def of(cls, replicates: PyTree) -> Moments:
        """Moments of replicates that are there, on the leading axis of every leaf; complex ones have their parts on a last axis."""
        replicates = jax.tree.map(real_parts, replicates)
        leaves = jax.tree.leaves(replicates)
        count = jnp.asarray(leaves[0].shape[0], leaves[0].dtype)
        mean = jax.tree.map(lambda x: jnp.mean(x, axis=0), replicates)
        away = jax.tree.map(lambda x, m: x - m[None], replicates, mean)
        power = lambda k: jax.tree.map(lambda d: jnp.sum(d**k, axis=0), away)
        least, most = (jax.tree.map(lambda x, end=end: end(x, axis=0), replicates) for end in (jnp.min, jnp.max))
        bad = jax.tree.map(lambda x: jnp.sum(~jnp.isfinite(x), axis=0), replicates)
        return cls(count, mean, power(2), power(3), power(4), least, most, bad)

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets of replicates together."""
        a, b = self.count, other.count
        n = a + b
        delta = jax.tree.map(lambda x, y: y - x, self.mean, other.mean)
        mean = jax.tree.map(lambda x, d: x + d * (b / n), self.mean, delta)
        m2 = jax.tree.map(lambda x, y, d: x + y + d**2 * (a * b / n), self.m2, other.m2, delta)

        def third(x3: Array, y3: Array, x2: Array, y2: Array, d: Array) -> Array:
            return x3 + y3 + d**3 * (a * b * (a - b) / n**2) + 3 * d * (a * y2 - b * x2) / n

        def fourth(x4: Array, y4: Array, x3: Array, y3: Array, x2: Array, y2: Array, d: Array) -> Array:
            between = d**4 * (a * b * (a * a - a * b + b * b) / n**3)
            return x4 + y4 + between + 6 * d**2 * (a * a * y2 + b * b * x2) / n**2 + 4 * d * (a * y3 - b * x3) / n

        m3 = jax.tree.map(third, self.m3, other.m3, self.m2, other.m2, delta)
        m4 = jax.tree.map(fourth, self.m4, other.m4, self.m3, other.m3, self.m2, other.m2, delta)
        least = jax.tree.map(jnp.minimum, self.least, other.least)
        most = jax.tree.map(jnp.maximum, self.most, other.most)
        return Moments(n, mean, m2, m3, m4, least, most, jax.tree.map(jnp.add, self.nonfinite, other.nonfinite))

    @classmethod
    def merge_all(cls, stacked: Moments) -> Moments:
        """One from several on the leading axis of every leaf: what ``jax.vmap``, ``jax.lax.all_gather`` or a scan made."""
        first = jax.tree.map(lambda leaf: leaf[0], stacked)
        rest = jax.tree.map(lambda leaf: leaf[1:], stacked)
        return jax.lax.scan(lambda total, part: (total.merge(part), None), first, rest)[0]


def gradient_moments(
    grad_fn: Callable[[Params, Key], PyTree],
    params: Params,
    key: Key,
    *,
    num_replicates: int = 1000,
    chunk_size: int = 250,
) -> Moments:
    """Moments of ``grad_fn(params, key)`` over independent keys. Streams over chunks; works under jit.

    Args:
      grad_fn: ``(params, key) -> grads``, any estimate of a gradient: a pytree of arrays. Of complex leaves the parts
        are taken, on a last axis; leaves that are neither floats nor complex are left out.
      params: handed to ``grad_fn``.
      key: split into one key for each replicate.
      num_replicates: independent calls, a Python int of at least 2.
      chunk_size: calls under one vmap; memory is that of one chunk.

    Returns:
      A :class:`Moments`. Those of other keys, devices or processes are added with ``merge``.

    Raises:
      TypeError: for a bad key.
      ValueError: for fewer than two replicates.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> normal = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))
      >>> moments = sf.diagnostics.gradient_moments(
      ...     lambda mean, key: sf.score_function_grad(lambda x: x**2, normal, mean, key), 1.0, jax.random.key(0))
      >>> print(f"{moments.mean:.2f} +- {moments.standard_error:.2f}, variance {moments.variance:.2f}")
      1.99 +- 0.02, variance 0.26
    """
    num = _checks.positive_int("num_replicates", num_replicates, least=2)
    size = min(_checks.positive_int("chunk_size", chunk_size), num)
    _checks.key("gradient_moments", key)
    keys = jax.random.split(key, num)

    def chunk(keys: Array) -> Moments:
        grads = jax.vmap(lambda k: grad_fn(params, k))(keys)
        kept = jax.tree.map(lambda leaf: real_parts(leaf) if is_inexact(leaf) else None, grads)
        floats = jax.tree.leaves(kept)
        dtype = jnp.result_type(*floats) if floats else float
        kept = jax.tree.map(lambda leaf: leaf.astype(dtype), kept)
        return Moments.of(kept)

    full, rest = divmod(num, size)
    total = Moments.merge_all(jax.lax.map(chunk, keys[: full * size].reshape(full, size, *keys.shape[1:])))
    return total.merge(chunk(keys[full * size :])) if rest else total


def snr(moments: Moments) -> PyTree:
    """Signal-to-noise ratio |mean| / standard deviation of one replicate, for each coordinate; infinite where nothing varies.

    Args:
      moments: of a gradient, over replicates.

    Returns:
      A pytree like ``moments.mean``, of floats; 0 where the mean is.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> print(f"{sf.diagnostics.snr(sf.diagnostics.Moments.of(jnp.array([1.0, 2.0, 3.0]))):.1f}")
      2.0
    """

    def one(mean: Array, variance: Array) -> Any:
        return jnp.where(mean == 0, 0, jnp.abs(mean) / jnp.sqrt(variance))

    return jax.tree.map(one, moments.mean, moments.variance)


def effective_sample_size(log_weights: Array) -> Array:
    """How many plain draws these weighted ones are worth: (sum w)^2 / sum w^2, a scalar, from the logarithms of the weights (S,).

    Args:
      log_weights: real numbers (S,), up to a common constant.

    Returns:
      A number from 1 to S; NaN where no weight is above 0.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> print(f"{sf.diagnostics.effective_sample_size(jnp.log(jnp.array([1.0, 1.0, 0.5]))):.2f}")
      2.78
    """
    log_weights = jnp.asarray(log_weights)
    log_weights = log_weights - jax.lax.stop_gradient(jnp.max(log_weights))
    return jnp.exp(2 * jax.nn.logsumexp(log_weights) - jax.nn.logsumexp(2 * log_weights))
