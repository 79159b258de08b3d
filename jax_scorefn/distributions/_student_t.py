"""Student's t: z = N sqrt(a / G), with a normal N and a gamma draw G of concentration a = df / 2.

    log p(z)  =  log Gamma(a + 1/2) / (Gamma(a) sqrt(a))  -  log(2 pi) / 2  -  (df + 1) / 2  log(1 + z^2 / df)

For a large df the first term is a series in 1 / a, and the last one z^2 / 2 times factors that are close to 1, so that its derivative
in df, of the size of 1 / df^2, is no difference of larger numbers.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._trees import stop
from jax_scorefn.distributions import _weak
from jax_scorefn.distributions._base import Distribution, distribution
from jax_scorefn.distributions._fields import Finite, Positive, float_fields
from jax_scorefn.distributions._location_scale import LocationScale, log1p_of_square
from jax_scorefn.distributions._quadratures import trapezoid_of_asinh
from jax_scorefn.distributions._scales import log
from jax_scorefn.distributions._special import log_gamma_half
from jax_scorefn.distributions._views import WeakDerivative
from jax_scorefn.typing import Array, Key


@distribution()
class StudentT(LocationScale):
    """Independent Student t distributions, density proportional to (1 + z^2 / df)^(-(df + 1) / 2), z = (x - loc) / scale.

    Args:
      df: degrees of freedom, positive, any shape; 1 makes a Cauchy distribution, and a large one a normal distribution.
      loc: centre; broadcasts with ``df``. It is the mean where df is above 1; below there is none, and ``mean()`` is NaN.
      scale: positive; broadcasts with them. The variance is scale^2 df / (df - 2) where df is above 2.

    A draw is ``loc + scale * jax.random.t(key, df, shape)``; along the path it is differentiable twice, in df too (implicit
    reparameterisation, figurnov2018). Below a df of about 0.3 some draws are beyond the range of float32: infinite, with a score of
    NaN.
    """

    df: Positive
    loc: Finite = 0.0
    scale: Positive = 1.0
    from_uniform = Distribution.from_uniform  # a draw is made of two

    def _all(self) -> tuple[Array, ...]:
        return float_fields(self, "df", "loc", "scale")

    def _fields(self):
        return self._all()[1:]

    def mean(self) -> Array:
        df, loc, _ = self._all()
        return jnp.where(df > 1, loc, jnp.nan)

    def _variance(self):
        df, _, scale = self._all()
        many = df > 2
        return scale, jnp.where(many, 1 + 2 / jnp.where(many, df - 2, 1), jnp.where(df > 1, jnp.inf, jnp.nan))

    def weak_derivative(self) -> WeakDerivative:
        df = _weak.only_in("loc and scale", self._all()[0], "df", "StudentT")
        return _weak.unimodal(StudentT(df=df, loc=self.loc, scale=self.scale))

    def sample(self, key: Key) -> Array:
        loc, scale = self._fields()
        return loc + scale * self._standard_draw(key)

    def _standard_draw(self, key):
        half = self._all()[0] / 2
        key_normal, key_gamma = jax.random.split(key)
        normal = jax.random.normal(key_normal, half.shape, half.dtype)
        return normal * jnp.exp((log(half) - jax.random.loggamma(key_gamma, half, dtype=half.dtype)) / 2)

    def _outward(self, z, e):
        df = self._all()[0]
        e = 2 * e / (df + 1)
        return jnp.sqrt(df * jnp.expm1(e) + z * z * jnp.exp(e))

    def _standard_log_prob(self, z):
        df = jnp.broadcast_to(self._all()[0], z.shape)
        return log_gamma_half(df / 2)[0] - np.asarray(np.log(2 * np.pi) / 2, z.dtype) - _fall(z, df)

    def _entropy(self):
        df, _, scale = self._all()
        ratio, slope = log_gamma_half(df / 2)
        return np.asarray(np.log(2 * np.pi) / 2, df.dtype) - ratio + (df + 1) / 2 * (slope + 1 / df) + log(scale)

    def _rule(self, num_nodes, like):
        del like
        z, slope = trapezoid_of_asinh(num_nodes, stop(self._all()[0]))
        return z, slope * jnp.exp(stop(self)._standard_log_prob(z))


def _fall(z: Array, df: Array) -> Array:
    """(df + 1) / 2 log(1 + z^2 / df)."""
    near = z * z < df / 2
    square = jnp.where(near, z * z, 0)
    v = square / (2 * df + square)
    w = v * v  # log(1 + t) is 2 atanh(t / (2 + t))
    series = 1 + functools.reduce(lambda total, j: w * (total + 1 / (2 * j + 1)), range(11, 0, -1), jnp.zeros_like(w))
    close = square * (1 + 1 / df) / (2 + square / df) * series
    return jnp.where(near, close, (df + 1) / 2 * log1p_of_square(jnp.where(near, 1, z / jnp.sqrt(df))))
