"""loc + scale z for a standard z. A distribution is its draw from a uniform, its log-density and a rule of quadrature:

    Normal      z = sqrt(2) erfinv(2u - 1)             -(z^2 + log 2 pi) / 2
    Laplace     z = sign(v) log(1 - |v|), v = 2u - 1   -|z| - log 2
    Logistic    z = log u - log(1 - u)                 log sigma(z) + log sigma(-z)
    Gumbel      z = -log(-log u)                       -z - exp(-z)
    Cauchy      z = tan(pi (u - 1/2))                  -log(1 + z^2) - log pi

(Normal has a file of its own.) The scale is divided by once, and differentiated in units of itself: see ``_scales``.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._trees import stop
from jax_scorefn.distributions import _weak
from jax_scorefn.distributions._base import SMOOTH, Elementwise, law, spread
from jax_scorefn.distributions._fields import Finite, Positive, float_fields
from jax_scorefn.distributions._quadratures import laguerre, logistic, trapezoid_of_log
from jax_scorefn.distributions._scales import log, over
from jax_scorefn.distributions._views import WeakDerivative
from jax_scorefn.typing import Array, Capability


class LocationScale(Elementwise):
    """Independent coordinates ``loc + scale z``, whose mode is at z = 0."""

    loc: Finite
    scale: Positive

    def _standard(self, u: Array) -> Array:
        """The z that uniforms in [0, 1) make."""
        raise NotImplementedError

    def _standard_log_prob(self, z: Array) -> Array:
        """Log-density of z."""
        raise NotImplementedError

    def _rule(self, num_nodes: int, like: Array) -> tuple[Array, Array]:
        """Nodes for z and their weights."""
        raise NotImplementedError

    def _of(self, x: Array) -> Array:
        """The z that makes x."""
        loc, scale = self._fields()
        return over(x - loc, scale)

    def _velocity(self, x: Array, dloc: Array, dscale: Array) -> Array:
        return dloc + self._of(x) * dscale

    def _fields(self):
        return float_fields(self, loc=self.loc, scale=self.scale)

    def mode(self) -> Array:
        return stop(self._fields()[0])

    def from_uniform(self, u: Array) -> Array:
        loc, scale = self._fields()
        return loc + scale * self._standard(u)

    def _log_prob(self, x):
        loc, scale = (jnp.broadcast_to(p, x.shape) for p in self._fields())
        return self._standard_log_prob(over(x - loc, scale)) - log(scale)

    def _nodes(self, num_nodes, max_value):
        del max_value
        loc, scale = self._fields()
        z, weights = self._rule(num_nodes, loc)
        return loc[None] + scale[None] * z, {"rule": weights}


@law()
class Laplace(LocationScale):
    """Independent Laplace laws, density exp(-|x - loc| / scale) / (2 scale).

    Args:
      loc: centre, any shape.
      scale: positive; broadcasts with ``loc``.

    A draw is ``loc + scale * jax.random.laplace(key, shape)``.
    """

    loc: Finite
    scale: Positive
    also = SMOOTH

    def mean(self) -> Array:
        return self._fields()[0]

    def _variance(self):
        return self._fields()[1], 2.0

    def weak_derivative(self) -> WeakDerivative:
        return _weak.laplace(*self._fields())

    def _standard(self, u):
        v = spread(u, -1.0 + float(jnp.finfo(u.dtype).epsneg), 1.0)
        return jnp.sign(v) * jnp.log1p(-jnp.abs(v))

    def _standard_log_prob(self, z):
        return -jnp.abs(z) - np.asarray(np.log(2), z.dtype)

    def _cdf(self, x):
        z = self._of(x)
        tail = jnp.exp(-jnp.abs(z)) / 2
        return jnp.where(z < 0, tail, 1 - tail), jnp.where(z < 0, 1 - tail, tail)

    def _rule(self, num_nodes, like):
        t, log_weights = laguerre(max(1, num_nodes // 2), like)  # one rule for each side of the kink
        return jnp.concatenate([t, -t]), jnp.exp(jnp.concatenate([log_weights, log_weights])) / 2


@law()
class Logistic(LocationScale):
    """Independent logistic laws: the noise behind a bit, P(x > 0) = sigmoid(loc / scale).

    Args:
      loc: centre, any shape.
      scale: positive; broadcasts with ``loc``. The standard deviation is pi / sqrt(3) of it.

    A draw is ``loc + scale * jax.random.logistic(key, shape)``.
    """

    loc: Finite
    scale: Positive
    also = SMOOTH

    def mean(self) -> Array:
        return self._fields()[0]

    def _variance(self):
        return self._fields()[1], np.pi**2 / 3

    def _standard(self, u):
        v = spread(u, float(jnp.finfo(u.dtype).tiny), 1.0)
        return jnp.log(v) - jnp.log1p(-v)

    def _standard_log_prob(self, z):
        return jax.nn.log_sigmoid(z) + jax.nn.log_sigmoid(-z)

    def _cdf(self, x):
        return jax.nn.sigmoid(self._of(x)), jax.nn.sigmoid(-self._of(x))

    def _rule(self, num_nodes, like):
        return logistic(num_nodes, like)


@law()
class Gumbel(LocationScale):
    """Independent Gumbel laws of maxima, density exp(-z - exp(-z)) / scale, z = (x - loc) / scale.

    Args:
      loc: mode, any shape; the mean is 0.577 scales above.
      scale: positive; broadcasts with ``loc``.

    A draw is ``loc + scale * jax.random.gumbel(key, shape)``. The largest of independent ones with a scale of 1 is that of a
    category with the logits ``loc``.
    """

    loc: Finite
    scale: Positive
    also = SMOOTH

    def mean(self) -> Array:
        loc, scale = self._fields()
        return loc + np.asarray(np.euler_gamma, loc.dtype) * scale

    def _variance(self):
        return self._fields()[1], np.pi**2 / 6

    def _standard(self, u):
        return -jnp.log(-jnp.log(spread(u, float(jnp.finfo(u.dtype).tiny), 1.0)))

    def _standard_log_prob(self, z):
        return -z - jnp.exp(-z)

    def _cdf(self, x):
        t = jnp.exp(-self._of(x))
        return jnp.exp(-t), -jnp.expm1(-t)

    def _rule(self, num_nodes, like):
        log_t, log_weights = trapezoid_of_log(num_nodes, like)  # exp(-z) is an exponential
        return -log_t, jnp.exp(log_weights)


@law()
class Cauchy(LocationScale):
    """Independent Cauchy laws, density 1 / (pi scale (1 + z^2)), z = (x - loc) / scale: no mean, and no quadrature.

    Args:
      loc: centre, any shape.
      scale: half the distance between the quartiles, positive; broadcasts with ``loc``.

    A draw is ``loc + scale * jax.random.cauchy(key, shape)``. E[f] exists for an f that grows slower than |x|.
    """

    loc: Finite
    scale: Positive
    also = Capability.REPARAMETERIZED

    def _standard(self, u):
        v = spread(u, float(jnp.finfo(u.dtype).eps), 1.0)
        return jnp.tan(np.asarray(np.pi, u.dtype) * (v - np.asarray(0.5, u.dtype)))

    def _standard_log_prob(self, z):
        far = jnp.abs(z) > 1  # its square may be out of range where the logarithm is not
        near, inverse = jnp.where(far, 1, z), 1 / jnp.where(far, z, 1)
        tail = 2 * jnp.log(jnp.abs(jnp.where(far, z, 1))) + jnp.log1p(inverse * inverse)
        return -jnp.where(far, tail, jnp.log1p(near * near)) - np.asarray(np.log(np.pi), z.dtype)

    def _cdf(self, x):
        z = self._of(x)
        one, pi = jnp.ones_like(z), np.asarray(np.pi, z.dtype)
        return jnp.arctan2(one, -z) / pi, jnp.arctan2(one, z) / pi
