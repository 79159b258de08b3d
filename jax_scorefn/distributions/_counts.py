"""Draws of large counts in float32, and the counts that an int32 holds.

    k = floor(m + 1/2 + h (U - 1/2) / V)   where   V^2 <= P(k) / P(mode),   h = sqrt(8 / e (v + 1/2)) + 3 - 2 sqrt(3 / e)

The ratio of uniforms of Stadlober (stadlober1990), for a mean m and a variance v. ``jax.random`` rejects by numbers of the size of
n log n, which have no digits left: its variance is 1.46 times too large at a rate of 10^8. Here masses are in the form of
``_special``, and counts are measured from the whole part of the mean, so that each of them can be drawn however large it is.
Up to ``LARGE`` the draws are those of ``jax.random``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._surrogate import nan_where
from jax_scorefn.distributions._special import log_binomial, log_poisson
from jax_scorefn.noise import samplers
from jax_scorefn.typing import Array, Key

LARGE = 2.0**16
"""Rates, or trials, from which on ``jax.random`` is not trusted in float32. Up to there its single probabilities are within 5 %."""
REACH = 2.0**23
"""Counts are drawn so far from the mean at most, 181 deviations of the largest one: floats are exact there."""
MOST_TRIALS, MOST_RATE = 2**31 - 2**7, 2.0**31 - 2.0**21
"""The largest number of trials in float32 that an int32 holds, and a rate whose draws it holds, by 45 deviations."""
NO_COUNT = np.int32(-(2**31))
"""The int32 for a count that none holds, as NaN is for floats: its log-probability is NaN, and so is what is estimated with it."""
LEAST_PROBABILITY = 2.0**-26
"""Of a success in each trial, so that the first one comes before trial 2^31 but for a part of exp(-32)."""


def poisson(key: Key, rate: Array) -> Array:
    """Counts of int32."""
    return jnp.where(rate <= MOST_RATE, _poisson(key, rate), NO_COUNT)


def _poisson(key: Key, rate: Array) -> Array:
    known = jnp.where(rate <= MOST_RATE, rate, 0)
    if jnp.finfo(rate.dtype).bits > 32:
        return samplers.poisson(key, known, dtype=jnp.int32)
    large = known > LARGE
    few = samplers.poisson(key, jnp.where(large, 0, known), dtype=jnp.int32)
    mean = jnp.where(large, rate, LARGE)
    log_mean = jnp.log(mean)
    log_mass = lambda k, excess: log_poisson(k, mean, log_mean, excess)
    return jnp.where(large, _ratio_of_uniforms(key, large, mean, mean, mean, np.inf, log_mass), few)


def binomial(key: Key, trials: Array, p: Array, q: Array) -> Array:
    """Counts of int32 for p and q = 1 - p. The failures are counted where they are so rare that q has digits which 1 - p has not."""
    rare = q < 2.0**-10
    count = _binomial(key, trials, jnp.where(rare, q, p))
    return jnp.where(rare, trials.astype(jnp.int32) - count, count)


def _binomial(key: Key, trials: Array, p: Array) -> Array:
    n = jnp.broadcast_to(trials.astype(p.dtype), p.shape)
    if jnp.finfo(p.dtype).bits > 32:
        return samplers.binomial(key, n, p, dtype=p.dtype).astype(jnp.int32)
    r = jnp.minimum(p, 1 - p)
    large = (
        (n > LARGE) & (n <= MOST_TRIALS) & (n * r > 10)
    )  # up to 10, jax.random adds up gaps, which is right for any n
    few = samplers.binomial(key, jnp.where(large, 0, n), p, dtype=p.dtype).astype(jnp.int32)
    n, r = jnp.where(large, n, LARGE), jnp.where(large, r, 0.5)
    log_r, log_rest = jnp.log(r), jnp.log1p(-r)
    log_mass = lambda k, excess: log_binomial(k, n - k, r, 1 - r, log_r, log_rest, excess)
    many = _ratio_of_uniforms(key, large, n * r, n * r * (1 - r), n * r + r, n, log_mass)
    return jnp.where(large, jnp.where(p > 0.5, trials.astype(jnp.int32) - many, many), few)


def _ratio_of_uniforms(
    key: Key,
    wanted: Array,
    mean: Array,
    variance: Array,
    mode: Array,
    most: Array | float,
    log_mass: Callable[[Array, Array], Array],
) -> Array:
    """Counts up to ``most`` where they are wanted, from the log-mass of k that is at an excess over the mean."""
    whole = jnp.floor(mean)
    part = mean - whole
    width = jnp.sqrt(8 / math.e * (variance + 0.5)) + (3 - 2 * math.sqrt(3 / math.e))
    at = lambda j: log_mass(whole + j, j - part)  # j is k - whole
    peak = at(jnp.floor(mode) - whole)

    def again(state: tuple[Key, Array, Array]) -> tuple[Key, Array, Array]:
        key, drawn, done = state
        key, other = jax.random.split(key)
        u, v = samplers.uniform(other, (2, *mean.shape), mean.dtype)
        j = jnp.floor(part + 0.5 + width * (u - 0.5) / jnp.where(v > 0, v, 1))
        inside = (v > 0) & (jnp.abs(j) < REACH) & (whole + j >= 0) & (whole + j <= most)
        j = jnp.where(inside, j, 0)
        taken = inside & (2 * jnp.log(v) <= at(j) - peak)
        return key, jnp.where(taken & ~done, j, drawn), done | taken

    first = (jax.random.fold_in(key, 1), jnp.zeros_like(mean), ~wanted)
    _, j, _ = jax.lax.while_loop(lambda state: ~jnp.all(state[2]), again, first)
    return whole.astype(jnp.int32) + j.astype(jnp.int32)


def within(x: Array, *, least: float = -np.inf, most: float = np.inf) -> Array:
    """The parameter, but NaN with derivatives of NaN where its counts are beyond an int32: a clipped count is no count."""
    return nan_where(~((x >= least) & (x <= most)), x)
