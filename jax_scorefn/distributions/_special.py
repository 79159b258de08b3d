"""Logarithms of masses whose terms are large and cancel, in the saddle-point form of Loader (loader2000).

    Poisson(k; m)         -S(k) - D(k, m)
    Binomial(k; n, p)     S(n) - S(k) - S(n - k) - D(k, n p) - D(n - k, n q)
    Multinomial(k; n, p)  S(n) - sum_i [ S(k_i) + D(k_i, n p_i) ]

    D(k, m)  =  k log(k / m) + m - k                 the deviance, of the size of (k - m)^2 / 2m
    S(k)     =  log k! - k log k + k                 close to log(2 pi k) / 2

The textbook forms take numbers of the size of m log m from each other: at n = 50,000 their sum over k is 0.97 in float32. Here
each term is of the size of the result. k need not be whole: the densities of gamma and beta distributions are such masses times a
factor.

The same two are in relative entropies: that of two Poisson distributions is D itself, and that of two gamma distributions has the
logarithms of two gamma functions, whose difference is D, another D and one of R(k) = S(k) - log(2 pi k) / 2, which is small.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from jax_scorefn._trees import stop
from jax_scorefn.distributions._scales import log, over
from jax_scorefn.typing import Array

_LARGE = 16
"""From here on five terms of Stirling's series are as good as float64."""
_NEAR = 0.1
"""The part of k + m within which k and m are near: the deviance is a series there, since its terms cancel."""


def excess(x: Array, mean: Array) -> Array:
    """A count, of whatever dtype, less its mean: whole numbers beyond the digits of a float are subtracted as such."""
    if not jnp.issubdtype(x.dtype, jnp.signedinteger) or x.dtype.itemsize < 4:
        return x.astype(mean.dtype) - mean
    whole = stop(jnp.floor(mean))
    whole = jnp.where(jnp.abs(whole) < 2.0**31, whole, 0)
    return (x - whole.astype(x.dtype)).astype(mean.dtype) - (mean - whole)


def log_poisson(k: Array, mean: Array, log_mean: Array, excess: Array | None = None) -> Array:
    """Log-mass of a Poisson distribution at k >= 0. Arguments of one shape; ``log_mean`` may be minus infinity.

    ``excess`` is k - mean, where that is known with more digits than k.
    """
    return -stirling(k) - _deviance(k, mean, log_mean, k - mean if excess is None else excess)


def log_binomial(
    k: Array, rest: Array, p: Array, q: Array, log_p: Array, log_q: Array, excess: Array | None = None
) -> Array:
    """Log-mass of k successes and ``rest`` failures. Arguments of one shape; a logarithm may be minus infinity."""
    n = k + rest
    log_n = jnp.log(jnp.where(n > 0, n, 1))
    above, below = (k - n * p, rest - n * q) if excess is None else (excess, -excess)
    deviances = _deviance(k, n * p, log_n + log_p, above) + _deviance(rest, n * q, log_n + log_q, below)
    return stirling(n) - stirling(k) - stirling(rest) - deviances


def log_multinomial(k: Array, p: Array, log_p: Array, excess: Array | None = None) -> Array:
    """Log-mass of counts along the last axis. Arguments of one shape; a logarithm may be minus infinity."""
    n = jnp.sum(k, axis=-1, keepdims=True)
    log_n = jnp.log(jnp.where(n > 0, n, 1))
    means = n * p
    terms = stirling(k) + _deviance(k, means, log_n + log_p, k - means if excess is None else excess)
    return stirling(n[..., 0]) - jnp.sum(terms, axis=-1)


def log_gamma(a: Array, y: Array, log_y: Array) -> Array:
    """Log-density of a gamma distribution of rate 1 at y > 0, given as itself and as its logarithm."""
    return log_poisson(a, y, log_y) + log(a) - log_y


def log_beta(a: Array, b: Array, log_x: Array, log_1mx: Array) -> Array:
    """Log-density of a beta distribution at 0 < x < 1, given as log x and log(1 - x)."""
    mass = log_binomial(a, b, jnp.exp(log_x), jnp.exp(log_1mx), log_x, log_1mx)
    return mass + log(a) + log(b) - log(a + b) - log_x - log_1mx


def log_dirichlet(a: Array, log_x: Array) -> Array:
    """Log-density of a Dirichlet distribution along the last axis, in K - 1 coordinates, at log x. Arguments of one shape."""
    mass = log_multinomial(a, jnp.exp(log_x), log_x)
    return mass + jnp.sum(log(a) - log_x, axis=-1) - log(jnp.sum(a, axis=-1))


def stirling(k: Array) -> Array:
    """S(k), which is 0 at 0."""
    large = k >= _LARGE
    t = 1 / jnp.where(large, k, _LARGE)
    far = (np.asarray(np.log(2 * np.pi), k.dtype) - log(t)) / 2 + _series(t)
    small = jnp.where(large, 1, k)
    some = jnp.where(small > 0, small, 1)
    near = jnp.where(small > 0, gammaln(some + 1) + some - some * log(some), 0)
    return jnp.where(large, far, near)


def rest_of_stirling(a: Array) -> tuple[Array, Array]:
    """R(a), close to 1 / 12a, and its derivative, for a > 0: R(a) - R(a + 1) = atanh(v) / v - 1 with v = 1 / (2a + 1)."""

    def rest(a: Array) -> Array:
        at = a[None] + jnp.arange(_LARGE).astype(a.dtype).reshape((-1,) + (1,) * a.ndim)
        few = at < 1
        w = jnp.where(few, 0, 1 / (2 * at + 1) ** 2)
        series = functools.reduce(lambda total, j: w * (total + 1 / (2 * j + 1)), range(16, 0, -1), jnp.zeros_like(w))
        small = jnp.where(few, at, 1)
        return jnp.sum(jnp.where(few, (small + 0.5) * jnp.log1p(1 / small) - 1, series), axis=0) + _series(
            1 / (a + _LARGE)
        )

    return jax.jvp(rest, (a,), (jnp.ones_like(a),))


def log_gamma_half(a: Array) -> tuple[Array, Array]:
    """Log of Gamma(a + 1/2) / (Gamma(a) sqrt(a)), close to -1 / 8a, and its derivative, for a > 0."""

    def ratio(a: Array) -> Array:
        large = a >= _LARGE
        t = 1 / jnp.where(large, a, _LARGE)
        t2 = t * t
        series = -t * (1 / 8 - t2 * (1 / 192 - t2 * (1 / 640 - t2 * (17 / 14336 - t2 * 31 / 18432))))
        few = jnp.where(large, 1, a)
        return jnp.where(large, series, gammaln(few + 0.5) - gammaln(few) - log(few) / 2)

    return jax.jvp(ratio, (a,), (jnp.ones_like(a),))


@jax.custom_jvp
def x_log_x(x: Array) -> Array:
    """X log x, which at 0 is 0 with a derivative of minus infinity."""
    return x * jnp.log(jnp.where(x == 0, 1, x))


@x_log_x.defjvp
def _x_log_x_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return x_log_x(x), (1 + jnp.log(x)) * dx


def entropy_terms(p: Array, *, by_logits: bool = False) -> Array:
    """-p log p. Of logits a p of 0 stays one as they move: no derivative, where in p itself it is infinite."""
    return jnp.where(p == 0, 0, -x_log_x(jnp.where(p == 0, 1, p))) if by_logits else -x_log_x(p)


def divergence(x: Array, y: Array, *, by_logits: bool = True) -> Array:
    """D(x, y) = x log(x / y) + y - x of two arrays of one shape, at least 0; infinite at y = 0 for another x.

    At x = 0 the derivative in x is minus infinity, but for an x that stays 0 (``by_logits``).
    """
    log_y = jnp.where(y > 0, jnp.log(jnp.where(y > 0, y, 1)), jnp.where(x > 0, -jnp.inf, 0))
    there = _deviance(x, y, log_y, x - y)
    return there if by_logits else jnp.where(x == 0, x_log_x(jnp.where(x == 0, x, 0)) + y, there)


def gamma_gap(to: Array, at: Array) -> Array:
    """What log Gamma(to) is above the tangent at ``at``, less D(to, at)."""
    (end, _), (start, slope) = rest_of_stirling(to), rest_of_stirling(at)
    return divergence(jnp.ones_like(at), over(to, at)) / 2 + (end - start - (to - at) * slope)


def tangent_gap(to: Array, at: Array) -> Array:
    """What log Gamma(to) is above the tangent at ``at``."""
    return gamma_gap(to, at) + divergence(to, at)


def _series(t: Array) -> Array:
    """R(1 / t)."""
    t2 = t * t
    return t * (1 / 12 - t2 * (1 / 360 - t2 * (1 / 1260 - t2 * (1 / 1680 - t2 / 1188))))


def _deviance(k: Array, mean: Array, log_mean: Array, excess: Array) -> Array:
    """D(k, m), which is m at k = 0."""
    near = (jnp.abs(excess) < _NEAR * (k + mean)) & (mean > 0)
    x, m, d = jnp.where(near, k, 1), jnp.where(near, mean, 1), jnp.where(near, excess, 0)
    v = over(d, x + m)
    w = v * v
    # x log(x / m) is 2 x atanh(v), and the first term of that series is taken together with m - x
    tail = functools.reduce(lambda total, j: w * (total + 1 / (2 * j + 1)), range(8, 0, -1), jnp.zeros_like(v))
    series = d * v + 2 * x * v * tail
    some = ~near & (k > 0)
    x, log_m = jnp.where(some, k, 1), jnp.where(some, log_mean, 0)
    return jnp.where(near, series, jnp.where(some, x * (log(x) - log_m), 0) - excess)
