"""Laws on the line, the half-line and an interval: Laplace, Exponential, Weibull, Gamma, Uniform, Beta.

Weibull, Gamma and Beta are scored through the logarithm of the draw, which is exact where the draw itself would round to
0 or 1; the derivative of Gamma and Beta along the path is the implicit one that ``jax.random.loggamma`` brings.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln, gammaln

from jax_scorefn._guards import guard
from jax_scorefn._trees import stop
from jax_scorefn._uniforms import uniform
from jax_scorefn.distributions import _weak
from jax_scorefn.distributions._base import Elementwise, law, spread
from jax_scorefn.distributions._fields import Domain, Finite, Positive, confine, float_fields, known
from jax_scorefn.distributions._quadratures import laguerre, legendre, trapezoid_of_log
from jax_scorefn.distributions._views import WeakDerivative
from jax_scorefn.typing import Array, Capability, Key

_SMOOTH = (
    Capability.LOG_PROB | Capability.SAMPLE | Capability.REPARAMETERIZED | Capability.QUADRATURE | Capability.MOMENTS
)

UNIFORM_ENDS = (
    "The ends of a Uniform law carry a derivative through its log-probability. Moving the ends moves the support, and the "
    "score function leaves that boundary term out. Use pathwise, or write the law with fixed ends and put the "
    "parameters into f."
)


@law()
class Laplace(Elementwise):
    """Independent Laplace laws, density exp(-|x - loc| / scale) / (2 scale).

    Args:
      loc: centre, any shape.
      scale: positive; broadcasts with ``loc``.

    A draw is ``loc + scale * jax.random.laplace(key, shape)``.
    """

    loc: Finite
    scale: Positive
    capabilities: ClassVar[Capability] = (
        _SMOOTH | Capability.FROM_UNIFORM | Capability.MODE | Capability.WEAK_DERIVATIVE
    )

    def _fields(self):
        return float_fields(self, loc=self.loc, scale=self.scale)

    def mean(self) -> Array:
        return self._fields()[0]

    def _variance(self):
        return 2 * self._fields()[1] ** 2

    def mode(self) -> Array:
        return stop(self.mean())

    def weak_derivative(self) -> WeakDerivative:
        return _weak.laplace(*self._fields())

    def from_uniform(self, u: Array) -> Array:
        loc, scale = self._fields()
        v = spread(u, -1.0 + float(jnp.finfo(u.dtype).epsneg), 1.0)
        return loc + scale * (jnp.sign(v) * jnp.log1p(-jnp.abs(v)))

    def _log_prob(self, x):
        loc, scale = (jnp.broadcast_to(p, x.shape) for p in self._fields())
        return jax.scipy.stats.laplace.logpdf(x, loc, scale)

    def _nodes(self, num_nodes, max_value):
        del max_value
        loc, scale = self._fields()
        t, log_weights = laguerre(max(1, num_nodes // 2), loc)  # one rule for each side of the kink
        z = jnp.concatenate([t, -t])
        return loc[None] + scale[None] * z, {"rule": jnp.exp(jnp.concatenate([log_weights, log_weights])) / 2}


@law()
class Exponential(Elementwise):
    """Independent exponential laws, density rate exp(-rate x).

    Args:
      rate: positive, any shape.

    A draw is ``jax.random.exponential(key, shape) / rate``.
    """

    rate: Positive
    capabilities: ClassVar[Capability] = (
        _SMOOTH | Capability.FROM_UNIFORM | Capability.MODE | Capability.WEAK_DERIVATIVE
    )

    def _fields(self):
        return float_fields(self, rate=self.rate)

    def mean(self) -> Array:
        return 1 / self._fields()[0]

    def _variance(self):
        return 1 / self._fields()[0] ** 2

    def mode(self) -> Array:
        return jnp.zeros_like(self._fields()[0])

    def weak_derivative(self) -> WeakDerivative:
        return _weak.exponential(*self._fields())

    def from_uniform(self, u: Array) -> Array:
        (rate,) = self._fields()
        return -jnp.log1p(-u) / rate

    def _log_prob(self, x):
        (rate,) = (jnp.broadcast_to(p, x.shape) for p in self._fields())
        return jnp.where(x >= 0, jnp.log(rate) - rate * x, -jnp.inf)

    def _nodes(self, num_nodes, max_value):
        del max_value
        (rate,) = self._fields()
        t, log_weights = laguerre(num_nodes, rate)
        return t / rate[None], {"rule": jnp.exp(log_weights)}


@law()
class Weibull(Elementwise):
    """Independent Weibull laws, density proportional to x^(concentration - 1) exp(-(x / scale)^concentration).

    Args:
      concentration: positive, any shape; 1 makes an exponential law of rate 1 / scale, 2 a Rayleigh law.
      scale: positive; broadcasts with ``concentration``.

    A draw is ``scale * E ** (1 / concentration)`` of an exponential E, that of ``jax.random.weibull_min(key, scale, concentration)``.
    """

    concentration: Positive
    scale: Positive
    capabilities: ClassVar[Capability] = (
        _SMOOTH | Capability.FROM_UNIFORM | Capability.MODE | Capability.WEAK_DERIVATIVE
    )

    def _fields(self):
        return float_fields(self, concentration=self.concentration, scale=self.scale)

    def mean(self) -> Array:
        a, scale = self._fields()
        return scale * jnp.exp(gammaln(1 + 1 / a))

    def _variance(self):
        a, scale = self._fields()
        once, twice = gammaln(1 + 1 / a), gammaln(1 + 2 / a)
        return scale**2 * jnp.exp(2 * once) * jnp.expm1(twice - 2 * once)

    def mode(self) -> Array:
        a, scale = stop(self._fields())
        return scale * jnp.power(jnp.maximum(1 - 1 / a, 0), 1 / a)

    def weak_derivative(self) -> WeakDerivative:
        return _weak.weibull(*self._fields())

    def from_uniform(self, u: Array) -> Array:
        a, scale = self._fields()
        return jnp.power(-jnp.log1p(-u), 1.0 / a) * scale

    def from_uniform_and_log_prob(self, u: Array) -> tuple[Array, Array]:
        x, log_probs = self._scored(u)
        return x, jnp.sum(log_probs)

    def sample_and_log_probs(self, key: Key) -> tuple[Array, Array]:
        return self._scored(uniform(key, self.uniform_like()))

    def _scored(self, u: Array) -> tuple[Array, Array]:
        a, scale = stop(self._fields())
        inside = jnp.where(
            u == 0, np.asarray(jnp.finfo(u.dtype).eps / 2, u.dtype), u
        )  # what rounds to 0, by its middle
        log_x = jnp.log(-jnp.log1p(-inside)) / a + jnp.log(scale)
        return stop(stop(self).from_uniform(u)), self._log_prob_of_log(log_x)

    def _log_prob_of_log(self, log_x: Array) -> Array:
        a, scale = (jnp.broadcast_to(p, log_x.shape) for p in self._fields())
        log_z = log_x - jnp.log(scale)
        return jnp.log(a) - jnp.log(scale) + (a - 1) * log_z - jnp.exp(a * log_z)

    def _log_prob(self, x):
        a, scale = (jnp.broadcast_to(p, x.shape) for p in self._fields())
        inside = self._log_prob_of_log(jnp.log(jnp.where(x <= 0, 1, x)))
        at_zero = jnp.where(a > 1, -jnp.inf, jnp.where(a < 1, jnp.inf, -jnp.log(scale)))
        return jnp.where(x < 0, -jnp.inf, jnp.where(x == 0, at_zero, inside))

    def _nodes(self, num_nodes, max_value):
        del max_value
        a, scale = self._fields()
        log_t, log_weights = trapezoid_of_log(num_nodes, a)
        return scale[None] * jnp.exp(log_t / a[None]), {"rule": jnp.exp(log_weights)}


@law()
class Gamma(Elementwise):
    """Independent gamma laws, density proportional to x^(concentration - 1) exp(-rate x).

    Args:
      concentration: positive, any shape.
      rate: positive; broadcasts with ``concentration``.

    A draw is ``exp(jax.random.loggamma(key, concentration)) / rate``; along the path it is differentiable twice
    (implicit reparameterisation, figurnov2018).
    """

    concentration: Positive
    rate: Positive
    capabilities: ClassVar[Capability] = _SMOOTH | Capability.MODE | Capability.WEAK_DERIVATIVE

    def _fields(self):
        return float_fields(self, concentration=self.concentration, rate=self.rate)

    def mean(self) -> Array:
        concentration, rate = self._fields()
        return concentration / rate

    def _variance(self):
        concentration, rate = self._fields()
        return concentration / rate**2

    def mode(self) -> Array:
        concentration, rate = stop(self._fields())
        return jnp.maximum(concentration - 1, 0) / rate

    def weak_derivative(self) -> WeakDerivative:
        return _weak.gamma(*self._fields())

    def _sample_log(self, key: Key) -> Array:
        concentration, rate = self._fields()
        return jax.random.loggamma(key, concentration, dtype=rate.dtype) - jnp.log(rate)

    def _log_prob_of_log(self, log_x: Array) -> Array:
        a, rate = (jnp.broadcast_to(p, log_x.shape) for p in self._fields())
        return a * jnp.log(rate) + (a - 1) * log_x - rate * jnp.exp(log_x) - gammaln(a)

    def sample(self, key: Key) -> Array:
        return jnp.exp(self._sample_log(key))

    def sample_and_log_probs(self, key: Key) -> tuple[Array, Array]:
        log_x = stop(stop(self)._sample_log(key))
        return jnp.exp(log_x), self._log_prob_of_log(log_x)

    def _log_prob(self, x):
        a, rate = (jnp.broadcast_to(p, x.shape) for p in self._fields())
        return jax.scipy.stats.gamma.logpdf(x, a, scale=1 / rate)

    def _nodes(self, num_nodes, max_value):
        del max_value
        a, rate = self._fields()
        t, log_weights = laguerre(num_nodes, rate)
        return t / rate[None], {"rule": jnp.exp(log_weights + (a[None] - 1) * jnp.log(t) - gammaln(a)[None])}


@jax.jit
def _between(u: Array, low: Array, high: Array) -> Array:
    """Uniforms in [low, high), rounded in one piece as in ``jax.random.uniform``."""
    return jnp.maximum(low, u * (high - low) + low)


@law()
class Uniform(Elementwise):
    """Independent uniform laws on [low, high).

    Args:
      low: lower end, any shape.
      high: upper end, above ``low``; broadcasts with it.

    A draw is ``jax.random.uniform(key, shape, minval=low, maxval=high)``. The ends may be differentiated along the path;
    through the log-probability they raise, since the score of a law with a moving support misses the boundary.
    """

    low: Finite
    high: Finite
    capabilities: ClassVar[Capability] = _SMOOTH | Capability.FROM_UNIFORM

    def _fields(self):
        low, high = float_fields(self, low=self.low, high=self.high)
        return low, confine(self, "high", high, Domain("above low", lambda high: high > known(low)))

    def mean(self) -> Array:
        low, high = self._fields()
        return (low + high) / 2

    def _variance(self):
        low, high = self._fields()
        return (high - low) ** 2 / 12

    def from_uniform(self, u: Array) -> Array:
        return _between(u, *self._fields())

    def _log_prob(self, x):
        ends = guard(self._fields(), order=0, message=UNIFORM_ENDS)
        low, high = (jnp.broadcast_to(p, x.shape) for p in ends)
        log_density = -jnp.log(high - low)
        return jnp.where((x < low) | (x > high), -jnp.inf, jnp.where(jnp.isnan(x), x, log_density))

    def _nodes(self, num_nodes, max_value):
        del max_value
        low, high = self._fields()
        t, weights = legendre(num_nodes, low)
        return low[None] + (high - low)[None] * t, {"rule": weights}


@law()
class Beta(Elementwise):
    """Independent beta laws, density proportional to x^(a - 1) (1 - x)^(b - 1).

    Args:
      a: positive, any shape.
      b: positive; broadcasts with ``a``.

    A draw is X / (X + Y) of two gamma draws, along the path differentiable twice (figurnov2018). With both parameters
    below .05 that derivative is biased in float32, where JAX's rule for gamma draws saturates: use score_function, or float64.
    """

    a: Positive
    b: Positive
    capabilities: ClassVar[Capability] = _SMOOTH

    def _fields(self):
        return float_fields(self, a=self.a, b=self.b)

    def mean(self) -> Array:
        a, b = self._fields()
        return a / (a + b)

    def _variance(self):
        a, b = self._fields()
        return a * b / ((a + b) ** 2 * (a + b + 1))

    def _sample_logs(self, key: Key) -> tuple[Array, Array]:
        """Log x and log(1 - x)."""
        a, b = self._fields()
        key_a, key_b = jax.random.split(key)
        log_a, log_b = jax.random.loggamma(key_a, a, dtype=a.dtype), jax.random.loggamma(key_b, b, dtype=b.dtype)
        total = jnp.logaddexp(log_a, log_b)
        return log_a - total, log_b - total

    def sample(self, key: Key) -> Array:
        return jnp.exp(self._sample_logs(key)[0])

    def sample_and_log_probs(self, key: Key) -> tuple[Array, Array]:
        a, b = self._fields()
        log_x, log_1mx = stop(stop(self)._sample_logs(key))
        return jnp.exp(log_x), (a - 1) * log_x + (b - 1) * log_1mx - betaln(a, b)

    def _log_prob(self, x):
        a, b = (jnp.broadcast_to(p, x.shape) for p in self._fields())
        outside = (x < 0) | (x > 1)
        # logpdf never sees what is outside, where its derivative is NaN
        return jnp.where(outside, -jnp.inf, jax.scipy.stats.beta.logpdf(jnp.where(outside, 0.5, x), a, b))

    def _nodes(self, num_nodes, max_value):
        del max_value
        a, b = self._fields()
        t, weights = legendre(num_nodes, a)
        log_density = (a[None] - 1) * jnp.log(t) + (b[None] - 1) * jnp.log1p(-t) - betaln(a, b)[None]
        return t, {"rule": weights * jnp.exp(log_density)}
