"""Multinomial: how often each of K categories comes in n trials, P(k) = n! prod_i p_i^k_i / k_i!.

    k_1 ~ Binomial(n, p_1),   k_2 ~ Binomial(n - k_1, p_2 / (p_2 + .. + p_K)),   ...               a draw
    dP(k; n, p)/dp_i  =  n P(k - e_i; n - 1, p)                                                    right at p_i = 0 too

Its support is that of the ways to write n as a sum of K counts, of which there are (n + K - 1)! / (n! (K - 1)!).
"""

from __future__ import annotations

import contextlib
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._trees import stop, take_rows
from jax_scorefn.distributions import _counts
from jax_scorefn.distributions._base import Independent, distribution
from jax_scorefn.distributions._categories import given_probs, logits_of, probs_and_logs
from jax_scorefn.distributions._discrete import impossible, is_whole, safe_log, undifferentiable
from jax_scorefn.distributions._fields import Count, LogWeights, Weights, is_array
from jax_scorefn.distributions._grids import Grid, product_grid, refuse_above
from jax_scorefn.distributions._masses import multinomial_mass
from jax_scorefn.distributions._special import divergence, excess, log_multinomial
from jax_scorefn.distributions._trials import Trials
from jax_scorefn.distributions._views import CategoricalView, numbered
from jax_scorefn.typing import Array, Key


@distribution(static=("total_count",))
class Multinomial(Trials, Independent):
    """Independent rows of counts: how often each of K categories comes in ``total_count`` trials.

    Args:
      total_count: number of trials of each row: a Python int, or an array, traced or not, that broadcasts to the rows and is never
        differentiated. The support of an array's number is not enumerated.
      logits: unnormalised log-probabilities, shape ``(..., K)``; -inf forbids a category; or
      probs: unnormalised probabilities; one of the two is given, not both.

    A draw is int32 of shape ``(..., K)``, and each row sums to ``total_count``. It is a chain of binomial counts, that of
    ``jax.random.multinomial`` up to 65,536 trials; beyond, in float32, each count is drawn as by ``Binomial``.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> votes = sf.family(lambda l: sf.Multinomial(total_count=5, logits=l))
      >>> wins = lambda k: (k[0] >= 3).astype(float)
      >>> print(" ".join(f"{g:.4f}" for g in sf.exact_grad(wins, votes, jnp.array([0.3, 0.0, -0.2]))))
      0.4386 -0.2412 -0.1975
    """

    total_count: Count
    logits: LogWeights = None
    probs: Weights = None

    def __post_init__(self):
        """The number of trials gets the shape of the rows, where it is an array."""
        rows = np.shape(self.probs if self.logits is None else self.logits)[:-1]
        if is_array(self.total_count) and np.shape(self.total_count) != rows:
            with contextlib.suppress(ValueError):  # said where it is used
                object.__setattr__(self, "total_count", jnp.broadcast_to(self.total_count, rows))

    def _fields(self):
        return (logits_of(self),)

    def _means(self) -> tuple[Array, Array]:
        """Probabilities and means."""
        p, n = probs_and_logs(self)[0], self._trials()
        return p, p * (n if isinstance(n, int) else n[..., None])

    def _kl_to(self, other: Multinomial) -> Array:
        (p, _), (q, _) = probs_and_logs(self), probs_and_logs(other)
        return jnp.sum(self._of_trials(other, jnp.sum(divergence(p, q, by_logits=self.probs is None), axis=-1)))

    def mean(self) -> Array:
        return self._means()[1]

    def covariance_times(self, v: Array) -> Array:
        p, mean = self._means()
        return mean * (v - jnp.sum(p * v, axis=-1, keepdims=True))

    def mode(self) -> Array:
        """The whole parts of the means, and what they leave one by one where it is likeliest."""
        p, mean = stop(self._means())
        whole = jnp.floor(mean).astype(jnp.int32)
        trials = jnp.broadcast_to(jnp.asarray(self._trials(), jnp.int32), p.shape[:-1])
        left = trials - jnp.sum(whole, axis=-1, dtype=jnp.int32)

        def add(j: Array, k: Array) -> Array:
            best = jnp.argmax(jnp.log(p) - jnp.log((k + 1).astype(p.dtype)), axis=-1)
            return k + jax.nn.one_hot(best, p.shape[-1], dtype=jnp.int32) * (j < left)[..., None].astype(jnp.int32)

        return jax.lax.fori_loop(jnp.int32(0), jnp.int32(p.shape[-1]), add, whole)

    def sample(self, key: Key) -> Array:
        p = undifferentiable(self, probs_and_logs(self)[0])
        p = jnp.moveaxis(p, -1, 0)
        at_least = jax.lax.cumsum(p, 0, reverse=True)  # the probability of this category and those behind it
        behind = jnp.concatenate([at_least[1:], jnp.zeros_like(p[:1])])
        total = jnp.where(at_least == 0, 1, at_least)
        trials = jnp.broadcast_to(jnp.asarray(self._trials(), jnp.int32), p.shape[1:])

        def one(left: Array, row: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            words, this, others = row
            own_key = jax.random.wrap_key_data(words, impl=jax.random.key_impl(key))
            count = jnp.clip(_counts.binomial(own_key, left, this, others), 0, left)
            return left - count, count

        words = jax.random.key_data(jax.random.split(key, p.shape[0]))  # JAX's checker takes a scan over keys for reuse
        _, counts = jax.lax.scan(one, trials, (words, p / total, behind / total))
        return jnp.moveaxis(counts, 0, -1)

    def _log_prob(self, x: Array) -> Array:
        (p, log_p), (_, mean), n = probs_and_logs(self), self._means(), self._trials()
        x = x if isinstance(n, int) else x.astype(jnp.result_type(n))
        of_row = n if isinstance(n, int) else n[..., None]
        each = jnp.all((x >= 0) & (x <= of_row) & is_whole(x), axis=-1)
        valid = each & (jnp.sum(x, axis=-1) == n)
        k = jnp.where(valid[..., None], x, 0)
        log_mass = log_multinomial(k.astype(p.dtype), p, log_p, excess(k, mean))
        return jnp.where(valid, log_mass, impossible(jnp.min(x, axis=-1), jnp.sum(mean, axis=-1)))

    def _rows(self, max_points: int = 2**16) -> tuple[np.ndarray, Array, Array | None]:
        """The values of a row (m, K), their log-probabilities in each row (m, ...), and probabilities that are known better."""
        n, shape = self._known_trials(), logits_of(self).shape
        number = math.comb(n + shape[-1] - 1, shape[-1] - 1)
        refuse_above(max_points, self.name, number, f"the ways to write {n} as a sum of {shape[-1]} counts")
        values = _sums_to(n, shape[-1])
        rows = jnp.broadcast_to(values.reshape((-1,) + (1,) * (len(shape) - 1) + (shape[-1],)), (number, *shape))
        log_probs = jax.vmap(self._log_prob)(rows)
        p = given_probs(self)
        if p is None:
            return values, log_probs, None
        log_mass = lambda k, p: log_multinomial(k, p, safe_log(p))
        return values, log_probs, multinomial_mass(log_mass, rows.astype(p.dtype), jnp.broadcast_to(p, rows.shape))

    def choices(self) -> CategoricalView:
        """Each row as one choice among its values."""
        values, log_probs, probs = self._rows()
        build = lambda option: take_rows(jnp.asarray(values), option).reshape(logits_of(self).shape)
        return numbered(jnp.moveaxis(log_probs, 0, -1), None if probs is None else jnp.moveaxis(probs, 0, -1), build)

    def grid(self, *, num_nodes: int = 32, max_value: int | None = None, max_points: int = 2**16) -> Grid:
        """Every combination of the values of the rows."""
        del num_nodes, max_value
        values, log_probs, probs = self._rows(max_points)
        numbers = np.arange(len(values), dtype=np.int32).reshape((-1,) + (1,) * (log_probs.ndim - 1))
        grid = product_grid(self.name, jnp.broadcast_to(numbers, log_probs.shape), log_probs, max_points, probs=probs)
        return grid._replace(points=take_rows(jnp.asarray(values), grid.points))


def _sums_to(n: int, size: int) -> np.ndarray:
    """All rows of ``size`` counts that sum to n: of n stars and size - 1 bars in a row, the stars between the bars."""
    bars = np.array(list(itertools.combinations(range(n + size - 1), size - 1)), np.int32).reshape(-1, size - 1)
    ends = np.full((len(bars), 1), n + size - 1, np.int32)
    return np.diff(np.concatenate([np.full_like(ends, -1), bars, ends], axis=1), axis=1) - 1
