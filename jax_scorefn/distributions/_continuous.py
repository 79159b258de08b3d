"""Distributions on the half-line and an interval: Exponential, Weibull, Gamma, Uniform. (Beta has a file of its own.)

Weibull and Gamma are scored through the logarithm of the draw, which is exact where the draw itself would round to
0 or 1; the derivative of Gamma along the path is the implicit one that ``jax.random.loggamma`` brings.
"""

from __future__ import annotations

import operator

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, xlogy

from jax_scorefn._guards import guard
from jax_scorefn._surrogate import departure
from jax_scorefn._trees import stop
from jax_scorefn.distributions import _weak
from jax_scorefn.distributions._base import SMOOTH, Elementwise, distribution
from jax_scorefn.distributions._fields import Domain, Finite, Positive, confine, float_fields, known
from jax_scorefn.distributions._quadratures import laguerre, legendre, trapezoid_of_log
from jax_scorefn.distributions._scales import log, over
from jax_scorefn.distributions._special import (
    divergence,
    gamma_gap,
    log_gamma,
    rest_of_stirling,
    stirling,
)
from jax_scorefn.distributions._views import WeakDerivative
from jax_scorefn.typing import Array, Key

ENDS = (
    "The ends of a {dist} distribution carry a derivative through its log-probability. Moving the ends moves the support, and the "
    "score function leaves the boundary term out. Use pathwise, or write the distribution with fixed ends and put the "
    "parameters into f."
)


@distribution()
class Exponential(Elementwise):
    """Independent exponential distributions, density rate exp(-rate x).

    Args:
      rate: positive, any shape.

    A draw is ``jax.random.exponential(key, shape) / rate``.
    """

    rate: Positive
    also = SMOOTH

    def mean(self) -> Array:
        (rate,) = self._fields()
        return over(jnp.ones_like(rate), rate)

    def _variance(self):
        return self.mean(), 1.0

    def mode(self) -> Array:
        return jnp.zeros_like(self._fields()[0])

    def _entropy(self):
        return 1 - log(self._fields()[0])

    def _kl(self, other):
        (rate,), (to,) = self._fields(), other._fields()
        return divergence(jnp.ones_like(rate), over(to, rate))

    def weak_derivative(self) -> WeakDerivative:
        return _weak.exponential(*self._fields())

    def from_uniform(self, u: Array) -> Array:
        (rate,) = self._fields()
        return over(-jnp.log1p(-u), rate)

    def _log_prob(self, x):
        (rate,) = (jnp.broadcast_to(p, x.shape) for p in self._fields())
        return jnp.where(x >= 0, log(rate) - rate * x, -jnp.inf)

    def _nodes(self, num_nodes):
        (rate,) = self._fields()
        t, log_weights = laguerre(num_nodes, rate)
        return t / rate[None], {"rule": jnp.exp(log_weights)}

    def _cdf(self, x: Array) -> tuple[Array, Array]:
        return _exponential_cdf(self._fields()[0] * x)

    def _velocity(self, x: Array, drate: Array) -> Array:
        return over(-x * drate, self._fields()[0])


def _exponential_cdf(z: Array) -> tuple[Array, Array]:
    """Probabilities below and above z at a rate of 1."""
    return -jnp.expm1(-z), jnp.exp(-z)


@distribution()
class Weibull(Elementwise):
    """Independent Weibull distributions, density proportional to x^(concentration - 1) exp(-(x / scale)^concentration).

    Args:
      concentration: positive, any shape; 1 makes an exponential distribution of rate 1 / scale, 2 a Rayleigh distribution.
      scale: positive; broadcasts with ``concentration``.

    A draw is ``scale * E ** (1 / concentration)`` of an exponential E, that of ``jax.random.weibull_min(key, scale, concentration)``.
    """

    concentration: Positive
    scale: Positive
    by_name = True
    also = SMOOTH

    def mean(self) -> Array:
        a, scale = self._fields()
        return scale * jnp.exp(gammaln(1 + 1 / a))

    def _variance(self):
        a, scale = self._fields()
        first, second = gammaln(1 + 1 / a), gammaln(1 + 2 / a)
        return scale, jnp.exp(2 * first) * jnp.expm1(second - 2 * first)

    def mode(self) -> Array:
        a, scale = stop(self._fields())
        return scale * jnp.power(jnp.maximum(1 - 1 / a, 0), 1 / a)

    def weak_derivative(self) -> WeakDerivative:
        return _weak.weibull(*self._fields())

    def _entropy(self):
        a, scale = self._fields()
        return 1 + np.asarray(np.euler_gamma, a.dtype) * (1 - 1 / a) + log(scale) - log(a)

    def _kl(self, other):
        (a, scale), (b, unit) = self._fields(), other._fields()
        shift, ratio = b * log(over(scale, unit)), b / a
        gamma = np.asarray(np.euler_gamma, a.dtype)
        return gamma * (ratio - 1) - log(ratio) - shift + jnp.expm1(shift + gammaln(1 + ratio))

    def from_uniform(self, u: Array) -> Array:
        a, scale = self._fields()
        return jnp.power(-jnp.log1p(-u), 1.0 / a) * scale

    def _scored(self, u: Array) -> tuple[Array, Array]:
        a, scale = self._fields()
        inside = jnp.where(
            u == 0, np.asarray(jnp.finfo(u.dtype).eps / 2, u.dtype), u
        )  # what rounds to 0, by its middle
        log_z = jnp.log(-jnp.log1p(-inside)) / stop(a) - departure(log(scale))
        return stop(stop(self).from_uniform(u)), self._log_prob_of_log(log_z)

    def _log_prob_of_log(self, log_z: Array) -> Array:
        """For the logarithm of x / scale."""
        a, scale = (jnp.broadcast_to(p, log_z.shape) for p in self._fields())
        return log(a) - log(scale) + (a - 1) * log_z - jnp.exp(a * log_z)

    def _log_prob(self, x):
        a, scale = (jnp.broadcast_to(p, x.shape) for p in self._fields())
        inside = self._log_prob_of_log(log(over(jnp.where(x <= 0, stop(scale), x), scale)))
        at_zero = jnp.where(a > 1, -jnp.inf, jnp.where(a < 1, jnp.inf, -log(scale)))
        return jnp.where(x < 0, -jnp.inf, jnp.where(x == 0, at_zero, inside))

    def _nodes(self, num_nodes):
        a, scale = self._fields()
        log_t, log_weights = trapezoid_of_log(num_nodes, a)
        return scale[None] * jnp.exp(log_t / a[None]), {"rule": jnp.exp(log_weights)}

    def _cdf(self, x: Array) -> tuple[Array, Array]:
        a, scale = self._fields()
        return _exponential_cdf(jnp.power(over(x, scale), a))

    def _velocity(self, x: Array, da: Array, dscale: Array) -> Array:
        a, scale = self._fields()
        return over(x, scale) * dscale - over(x * log(over(x, scale)) * da, a)


@distribution()
class Gamma(Elementwise):
    """Independent gamma distributions, density proportional to x^(concentration - 1) exp(-rate x).

    Args:
      concentration: positive, any shape.
      rate: positive; broadcasts with ``concentration``.

    A draw is ``exp(jax.random.loggamma(key, concentration)) / rate``; along the path it is differentiable twice
    (implicit reparameterisation, figurnov2018).
    """

    concentration: Positive
    rate: Positive
    also = SMOOTH

    def mean(self) -> Array:
        return over(*self._fields())

    def _variance(self):
        concentration, rate = self._fields()
        return over(jnp.ones_like(rate), rate), concentration

    def mode(self) -> Array:
        concentration, rate = stop(self._fields())
        return jnp.maximum(concentration - 1, 0) / rate

    def weak_derivative(self) -> WeakDerivative:
        return _weak.gamma(*self._fields())

    def _entropy(self):
        a, rate = self._fields()
        _, slope = rest_of_stirling(a)
        return stirling(a) + (1 - a) * (slope - 1 / (2 * a)) - log(rate)

    def _kl(self, other):
        (a, rate), (b, to) = self._fields(), other._fields()
        return gamma_gap(b, a) + divergence(b, a * over(to, rate))

    def _sample_log(self, key: Key) -> tuple[Array, Array]:
        """Logarithms of rate x and of the rate."""
        concentration, rate = self._fields()
        return jax.random.loggamma(key, concentration, dtype=rate.dtype), log(rate)

    def sample(self, key: Key) -> Array:
        return jnp.exp(operator.sub(*self._sample_log(key)))

    def sample_and_log_probs(self, key: Key) -> tuple[Array, Array]:
        a, rate = self._fields()
        log_y, log_rate = stop(stop(self)._sample_log(key))
        moved = log_y + departure(log(rate))
        return jnp.exp(log_y - log_rate), log_gamma(a, jnp.exp(moved), moved) + log(rate)

    def _log_prob(self, x):
        a, rate = (jnp.broadcast_to(p, x.shape) for p in self._fields())
        inside = x > 0
        y = jnp.where(inside, rate * jnp.where(inside, x, 0), 1)
        at_zero = xlogy(a - 1, jnp.where(x == 0, x, 1)) + log(rate)
        outside = jnp.where(x == 0, at_zero, jnp.where(jnp.isnan(x), x, -jnp.inf))
        return jnp.where(inside, log_gamma(a, y, log(y)) + log(rate), outside)

    def _nodes(self, num_nodes):
        a, rate = self._fields()
        t, log_weights = laguerre(num_nodes, rate)
        log_density = log_gamma(jnp.broadcast_to(a, t.shape), t, jnp.log(t))
        return t / rate[None], {"rule": jnp.exp(log_weights + t + log_density)}

    def _cdf(self, x: Array) -> tuple[Array, Array]:
        a, rate = self._fields()
        return jax.lax.igamma(a, rate * x), jax.lax.igammac(a, rate * x)

    def _velocity(self, x: Array, da: Array, drate: Array) -> Array:
        a, rate = self._fields()
        of_standard: Array = jax.lax.random_gamma_grad(a, rate * x)  # pyright: ignore[reportCallIssue]
        return over(of_standard * da - x * drate, rate)


@jax.jit
def _between(u: Array, low: Array, high: Array) -> Array:
    """Uniforms in [low, high), rounded in one piece as in ``jax.random.uniform``."""
    return jnp.maximum(low, u * (high - low) + low)


@distribution()
class Uniform(Elementwise):
    """Independent uniform distributions on [low, high).

    Args:
      low: lower end, any shape.
      high: upper end, above ``low``; broadcasts with it.

    A draw is ``jax.random.uniform(key, shape, minval=low, maxval=high)``. The ends may be differentiated along the path;
    through the log-probability they raise, since the score of a distribution with a moving support misses the boundary.
    """

    low: Finite
    high: Finite
    also = SMOOTH

    def _fields(self):
        low, high = float_fields(self, "low", "high")
        return low, confine(
            self,
            "high",
            high,
            Domain("above low and finite", lambda high: (high > known(low)) & (high - known(low) < np.inf)),
        )

    def mean(self) -> Array:
        low, high = self._fields()
        return (low + high) / 2

    def _variance(self):
        low, high = self._fields()
        return high - low, 1 / 12

    def _entropy(self):
        low, high = self._fields()
        return log(high - low)

    def _kl(self, other):
        (low, high), (least, most) = self._fields(), other._fields()
        return jnp.where((least <= low) & (high <= most), log(most - least) - log(high - low), jnp.inf)

    def from_uniform(self, u: Array) -> Array:
        return _between(u, *self._fields())

    def _log_prob(self, x):
        ends = guard(self._fields(), order=0, message=ENDS.format(dist=self.name))
        low, high = (jnp.broadcast_to(p, x.shape) for p in ends)
        log_density = -jnp.log(high - low)
        return jnp.where((x < low) | (x > high), -jnp.inf, jnp.where(jnp.isnan(x), x, log_density))

    def _nodes(self, num_nodes):
        low, high = self._fields()
        t, weights = legendre(num_nodes, low)
        return low[None] + (high - low)[None] * t, {"rule": weights}
