"""Weak derivatives: that of a distribution in a parameter is a constant times the difference of two distributions.

    d/dtheta E_p[f(x)]  =  c ( E_{p+}[f(x)] - E_{p-}[f(x)] )                  (Rosca et al. 2019; Mohamed et al. 2020, section 6)

    ===================  ==========================  ==================================  ==================================
    distribution         c                           draw of p+                          draw of p-
    ===================  ==========================  ==================================  ==================================
    Bernoulli, p         1                           1                                   0
    Categorical, l_k     p_k (1 - p_k)               k                                   a category that is not k
    Binomial, p          n                           1 + B                               B ~ Bin(n - 1, p)
    Geometric, p         1 / p                       K                                   K + K'
    Poisson, rate        1                           1 + x                               x
    NegativeBinomial, p  r / (1 - p)                 x + K,  K geometric                 x
    Normal, mu           1 / (sigma sqrt(2 pi))      mu + sigma W                        mu - sigma W,   W Rayleigh
    Normal, sigma        1 / sigma                   mu + sigma s M,   M Maxwell         mu + sigma s M U
    HalfNormal, sigma    1 / sigma                   sigma M                             sigma M U
    Laplace, mu          1 / (2 b)                   mu + b E                            mu - b E
    Laplace, b           1 / b                       mu + s b (E + E')                   mu + s b E
    Exponential, rate    1 / rate                    E / rate                            (E + E') / rate
    Gamma, rate          a / rate                    G ~ Gamma(a) / rate                 G + E / rate
    Weibull, scale       a / scale                   scale (E + E')^(1/a)                scale E^(1/a)
    unimodal, mu         p(0) / b                    mu + b r(0)                         mu - b l(0)
    unimodal, b          1 / b                       mu + b r(z), or mu - b l(z)         mu + b z
    ===================  ==========================  ==================================  ==================================

    E, E' exponential, U uniform, s = +-1, and K, K' draws of the distribution itself. Unimodal is mu + b z, where the density p of z
    falls on both sides of 0: r(z) is where it has fallen to p(z) V on the right, V uniform, and -l(z) on the left; which of them, the
    side of z says (Khinchine's representation).

Each pair is coupled: both are made of the same numbers, so that f differs little between them. A constant in logits has the factor
dp/dl = sigma(l) sigma(-l), in this form, which keeps its digits where p has rounded to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._guards import guard
from jax_scorefn._surrogate import nan_where
from jax_scorefn._trees import stop
from jax_scorefn.distributions import _counts
from jax_scorefn.distributions._views import Pairs, WeakDerivative, of_coordinates
from jax_scorefn.noise import samplers
from jax_scorefn.typing import Array, Key

SHAPE = (
    "The {field} of a {dist} distribution carries a derivative, and its weak derivative is known in the {other} alone. Use "
    "score_function (or pathwise, where draws have a path and f is smooth), or stop the {field} with jax.lax.stop_gradient."
)


def bernoulli(field: Array, *, in_logits: bool) -> WeakDerivative:
    ones = jnp.ones_like(field)
    return of_coordinates([field], [_slope(field, in_logits)], lambda key: [(ones, 0 * ones)])


def binomial(field: Array, *, in_logits: bool, trials: int | Array) -> WeakDerivative:
    p = _success(field, in_logits)
    q = jax.nn.sigmoid(-stop(field)) if in_logits else 1 - p

    def pairs(key: Key) -> Pairs:
        fewer = _counts.binomial(key, jnp.maximum(jnp.asarray(trials) - 1, 0), p, q)
        return [(1 + fewer, fewer)]

    return of_coordinates([field], [trials * _slope(field, in_logits)], pairs)


def geometric(field: Array, *, in_logits: bool) -> WeakDerivative:
    p = _success(field, in_logits)

    def pairs(key: Key) -> Pairs:
        first, second = samplers.geometric(key, p, (2, *p.shape), jnp.int32)
        return [(first, first + second)]

    least = _counts.LEAST_PROBABILITY  # with less, the counts need not be there
    field = _counts.within(field, least=math.log(least) if in_logits else least)
    return of_coordinates([field], [jax.nn.sigmoid(-field) if in_logits else 1 / p], pairs)


def poisson(rate: Array) -> WeakDerivative:
    def pairs(key: Key) -> Pairs:
        x = _counts.poisson(key, stop(rate))
        return [(1 + x, x)]

    rate = _counts.within(rate, most=_counts.MOST_RATE)
    return of_coordinates([rate], [jnp.ones_like(rate)], pairs)


def categorical(logits: Array, given: Array, *, in_logits: bool) -> WeakDerivative:
    """In logits, or in unnormalised probabilities q = ``given``: there c is (1 - p_k) / sum(q), right at q_k = 0 too."""
    stopped, size = stop(logits), logits.shape[-1]
    categories = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32), stopped.shape)
    probs = jax.nn.softmax(stopped, axis=-1)
    likeliest = categories == _largest(stopped)
    # 1 - p_k, whose digits are those of the others where p_k is near 1
    rest = jnp.where(likeliest, jnp.sum(jnp.where(likeliest, 0, probs), axis=-1, keepdims=True), 1 - probs)

    def pairs(key: Key) -> Pairs:
        # The largest of l_j + Gumbel_j is a draw of p; the largest but k, a draw of p given that it is not k.
        noisy = stopped + samplers.gumbel(key, stopped.shape, stopped.dtype)
        first = _largest(noisy)
        second = _largest(jnp.where(categories == first, -jnp.inf, noisy))
        other = jnp.where(categories == first, second, first)
        return [(categories.astype(stopped.dtype), other.astype(stopped.dtype))]

    given = nan_where(jnp.isnan(probs), given)  # a logit does not show that all of them together are none
    factor = probs if in_logits else 1 / jnp.sum(given, axis=-1, keepdims=True)
    return of_coordinates([given], [factor * rest], pairs, np.repeat(np.arange(logits.size // size), size))


def _sign(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """1 or -1: what ``jax.random.rademacher`` draws where doubles are off, and in single precision where they are on too."""
    return jnp.where(samplers.uniform(key, shape, dtype) < 0.5, jnp.ones((), dtype), -jnp.ones((), dtype))


def normal(loc: Array, scale: Array, *, squash: Callable[[Array], Array] = lambda x: x) -> WeakDerivative:
    mean, deviation = stop((loc, scale))
    like = loc.shape, loc.dtype

    def pairs(key: Key) -> Pairs:
        keys = jax.random.split(key, 4)
        w = deviation * jax.random.weibull_min(keys[0], np.sqrt(2).astype(loc.dtype), 2.0, *like)
        m = deviation * _sign(keys[1], *like) * jax.random.maxwell(keys[2], *like)
        inner = m * samplers.uniform(keys[3], *like)
        return [(squash(mean + w), squash(mean - w)), (squash(mean + m), squash(mean + inner))]

    return of_coordinates([loc, scale], [1 / (deviation * np.sqrt(2 * np.pi).astype(loc.dtype)), 1 / deviation], pairs)


def laplace(loc: Array, scale: Array) -> WeakDerivative:
    centre, width = stop((loc, scale))
    like = loc.shape, loc.dtype

    def pairs(key: Key) -> Pairs:
        keys = jax.random.split(key)
        away, e, more = jax.random.exponential(keys[0], (3, *loc.shape), loc.dtype)
        side = width * _sign(keys[1], *like)
        return [(centre + width * away, centre - width * away), (centre + side * (e + more), centre + side * e)]

    return of_coordinates([loc, scale], [1 / (2 * width), 1 / width], pairs)


def half_normal(scale: Array) -> WeakDerivative:
    width = stop(scale)

    def pairs(key: Key) -> Pairs:
        keys = jax.random.split(key)
        m = width * jax.random.maxwell(keys[0], scale.shape, scale.dtype)
        return [(m, m * samplers.uniform(keys[1], scale.shape, scale.dtype))]

    return of_coordinates([scale], [1 / width], pairs)


def unimodal(dist: Any) -> WeakDerivative:
    """Of loc + scale z, by ``dist._outward(z, e)``: how far from 0 the log-density of z is e lower, on the side of z."""
    loc, scale = dist._fields()
    fixed = stop(dist)
    centre, width = fixed._fields()
    ahead, behind = jnp.full_like(loc, 0.0), jnp.full_like(loc, -0.0)

    def pairs(key: Key) -> Pairs:
        keys = jax.random.split(key)
        lower, more = jax.random.exponential(keys[0], (2, *loc.shape), loc.dtype)
        z = fixed._standard_draw(keys[1])
        right, left = (fixed._outward(side, lower) for side in (ahead, behind))
        moved = jnp.copysign(fixed._outward(z, more), z)
        return [(centre + width * right, centre - width * left), (centre + width * moved, centre + width * z)]

    peak = jnp.exp(fixed._standard_log_prob(ahead))
    return of_coordinates([loc, scale], [peak / width, 1 / width], pairs)


def exponential(rate: Array) -> WeakDerivative:
    def pairs(key: Key) -> Pairs:
        e, more = jax.random.exponential(key, (2, *rate.shape), rate.dtype)
        return [(e / stop(rate), (e + more) / stop(rate))]

    return of_coordinates([rate], [1 / rate], pairs)


def gamma(concentration: Array, rate: Array) -> WeakDerivative:
    a = only_in("rate", concentration, "concentration", "Gamma")

    def pairs(key: Key) -> Pairs:
        keys = jax.random.split(key)
        x = jnp.exp(jax.random.loggamma(keys[0], stop(a), dtype=rate.dtype)) / stop(rate)
        return [(x, x + jax.random.exponential(keys[1], rate.shape, rate.dtype) / stop(rate))]

    return of_coordinates([rate], [a / rate], pairs)


def weibull(concentration: Array, scale: Array) -> WeakDerivative:
    a = only_in("scale", concentration, "concentration", "Weibull")

    def pairs(key: Key) -> Pairs:
        e, more = jax.random.exponential(key, (2, *scale.shape), scale.dtype)
        return [tuple(stop(scale) * jnp.power(t, 1 / stop(a)) for t in (e + more, e))]

    return of_coordinates([scale], [a / scale], pairs)


def only_in(other: str, value: Array, field: str, dist: str) -> Array:
    """The value of a field that raises when it is differentiated."""
    return guard(value, order=0, message=SHAPE.format(field=field, dist=dist, other=other))


def _largest(x: Array) -> Array:
    """Where the largest is, along the last axis, which is kept."""
    return jnp.argmax(x, axis=-1, keepdims=True).astype(jnp.int32)


def _success(field: Array, in_logits: bool) -> Array:
    return jax.nn.sigmoid(stop(field)) if in_logits else stop(field)


def _slope(field: Array, in_logits: bool) -> Array:
    """The derivative of p in the field."""
    return jax.nn.sigmoid(field) * jax.nn.sigmoid(-field) if in_logits else jnp.ones_like(field)
