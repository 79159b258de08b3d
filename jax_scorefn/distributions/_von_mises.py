"""The normal distribution of the circle: log p(x) = -2 k sin^2(y / 2) - log(2 pi I(k)),  y = x - loc,  I(k) = exp(-k) I_0(k).

    a draw      tan(y / 2) = sqrt(q) C for a Cauchy draw C, kept with probability exp((1 - q) / 2 - 2 k w) ((1 + q) / 2 + 2 k w),
                w = sin^2(y / 2), q = 1 / (2k + sqrt(1 + 4k^2)): at least 0.66 of them (best1979, in the coordinate tan(y / 2))
    its path    the part of the circle between 0 and y stays as it is:  dy/dk = -int_0^y (B - 2 sin^2(t / 2)) p(t) / p(y) dt

with B = E[1 - cos y] = -d log I / dk. Written so, a narrow distribution (a large k) has as many digits as a wide one.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import i0e

from jax_scorefn._trees import stop
from jax_scorefn.distributions._base import SMOOTH, Elementwise, column, distribution
from jax_scorefn.distributions._fields import Finite, NonNegative
from jax_scorefn.distributions._paths import on_path
from jax_scorefn.distributions._quadratures import legendre
from jax_scorefn.distributions._scales import log
from jax_scorefn.typing import Array, Key

_LARGE = 64
"""From here on seven terms of the series in 1 / k are as good as floats."""
_SERIES = (1 / 8, 1 / 16, 25 / 384, 13 / 128, 1073 / 5120, 103 / 192, 375733 / 229376)
_NODES = 32


@distribution()
class VonMises(Elementwise):
    """Independent angles, density proportional to exp(concentration cos(x - loc)).

    Args:
      loc: the likeliest angle, any number, of any shape.
      concentration: at least 0 (where every angle is equally likely); broadcasts with ``loc``. A large one is close to a normal
        distribution of variance 1 / concentration.

    A draw is in [-pi, pi). Along the path it is differentiable to every order (implicit reparameterisation, figurnov2018), and where
    the circle is cut open it jumps, from pi to -pi. So ``pathwise`` is for costs that are continuous on the circle, such as
    functions of cos(x) and sin(x); of another one it misses the jump. ``score_function`` is right for every cost.

    References: best1979.
    """

    loc: Finite
    concentration: NonNegative
    also = SMOOTH

    def mode(self) -> Array:
        return _wrapped(stop(self._fields()[0]))

    def sample(self, key: Key) -> Array:
        loc, k = self._fields()
        return _wrapped(loc + on_path(_velocity, _draw(key, stop(k)), k))

    def _log_prob(self, x):
        loc, k = (jnp.broadcast_to(p, x.shape) for p in self._fields())
        return -_exponent(k, x - loc) - _log_norm(k)[0]

    def _entropy(self):
        _, k = self._fields()
        norm, versine = _log_norm(k)
        return norm + k * versine

    def _kl(self, other):
        (loc, k), (to, c) = self._fields(), other._fields()
        (norm, versine), (others, _) = _log_norm(k), _log_norm(c)
        return (c - k) * versine + _exponent(c, loc - to) * (1 - versine) + others - norm

    def _nodes(self, num_nodes):
        loc, k = self._fields()
        reach = 2 * jnp.arcsin(jnp.sqrt(jnp.minimum(20 / jnp.maximum(k, 1), 1)))
        y = reach[None] * column(
            (2 * np.arange(num_nodes) + 1) / num_nodes - 1, k
        )  # the whole circle, or up to exp(-40)
        log_density = -_exponent(k[None], y) - _log_norm(k)[0][None]
        return _wrapped(loc[None] + y), {"rule": 2 / num_nodes * reach[None] * jnp.exp(log_density)}


def _exponent(k: Array, y: Array) -> Array:
    """K (1 - cos y)."""
    return 2 * k * jnp.sin(y / 2) ** 2


def _wrapped(x: Array) -> Array:
    """The angle in [-pi, pi); one that is there already keeps all its digits."""
    pi = np.asarray(np.pi, x.dtype)
    return x - 2 * pi * jnp.floor((x + pi) / (2 * pi))


def _log_norm(k: Array) -> tuple[Array, Array]:
    """log(2 pi I(k)), and E[1 - cos y], less its derivative."""

    def norm(k: Array) -> Array:
        large = k > _LARGE
        some, few = jnp.where(large, 1, k), jnp.where(k < 1, k, 0)
        t = 1 / jnp.where(large, k, _LARGE)
        series = functools.reduce(lambda rest, c: t * (c + rest), reversed(_SERIES), jnp.zeros_like(t))
        far = (log(t) + np.asarray(np.log(2 * np.pi), k.dtype)) / 2 + series
        w = few * few / 4  # I_0 is the sum of w^j / j!^2; JAX's derivative of it is wrong at 0
        sum_ = functools.reduce(lambda rest, j: 1 + w / (j * j) * rest, range(10, 0, -1), jnp.ones_like(w))
        near = jnp.where(k < 1, jnp.log(sum_) - few, jnp.log(i0e(some)))
        return jnp.where(large, far, near + np.asarray(np.log(2 * np.pi), k.dtype))

    value, slope = jax.jvp(norm, (k,), (jnp.ones_like(k),))
    return value, -slope


def _draw(key: Key, k: Array) -> Array:
    """Angles from the likeliest one, by rejection."""
    q = 1 / (2 * k + jnp.hypot(1, 2 * k))

    def again(state):
        key, t, open_ = state
        key, here = jax.random.split(key)
        keys = jax.random.split(here)
        new = jnp.sqrt(q) * jax.random.cauchy(keys[0], k.shape, k.dtype)
        w = new * new / (1 + new * new)
        kept = (1 - q) / 2 - 2 * k * w + jnp.log((1 + q) / 2 + 2 * k * w)
        accepted = -jax.random.exponential(keys[1], k.shape, k.dtype) <= kept
        return key, jnp.where(open_ & accepted, new, t), open_ & ~accepted

    state = key, jnp.zeros_like(k), k == k  # a NaN is no angle, and would never be kept
    _, t, _ = jax.lax.while_loop(lambda state: jnp.any(state[2]), again, state)
    return jnp.where(k == k, 2 * jnp.arctan(t), jnp.nan)


def _velocity(y: Array, k: Array, dk: Array) -> Array:
    """How the draw y moves with k, to keep its place among the draws."""
    versine = _log_norm(k)[1]
    # beyond the angle where 1 - cos is its mean, from y to the end of the circle, where nothing cancels
    outside = 2 * jnp.sin(y / 2) ** 2 > versine
    side, angle = jnp.sign(y), jnp.abs(y)
    last = jnp.sin(angle / 2) ** 2 + 20 / jnp.maximum(k, 1)
    end = stop(jnp.where(last < 1, 2 * jnp.arcsin(jnp.sqrt(jnp.minimum(last, 1))), np.asarray(np.pi, k.dtype)))
    low, high = jnp.where(outside, angle, 0), jnp.where(outside, end, angle)
    t, w = legendre(_NODES, k)
    t = low[None] + (high - low)[None] * t
    terms = w * (versine[None] - 2 * jnp.sin(t / 2) ** 2) * jnp.exp(_exponent(k, angle)[None] - _exponent(k[None], t))
    return side * jnp.where(outside, 1, -1) * (high - low) * jnp.sum(terms, axis=0) * dk
