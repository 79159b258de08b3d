"""loc + scale z for a standard z. A distribution is its draw from a uniform, its log-density and a rule of quadrature:

    Normal      z = sqrt(2) erfinv(2u - 1)             -(z^2 + log 2 pi) / 2
    Laplace     z = sign(v) log(1 - |v|), v = 2u - 1   -|z| - log 2
    Logistic    z = log u - log(1 - u)                 log sigma(z) + log sigma(-z)
    Gumbel      z = -log(-log u)                       -z - exp(-z)
    Cauchy      z = tan(pi (u - 1/2))                  -log(1 + z^2) - log pi
    HalfNormal  z = sqrt(2) erfinv(u), loc = 0         -(z^2 - log 2 / pi) / 2, z >= 0

(Normal has a file of its own, and so has StudentT, whose z is made of two draws.) The scale is divided by once, and differentiated in
units of itself: see ``_scales``. The entropy is that of z and the logarithm of the scale.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from jax_scorefn._guards import guard
from jax_scorefn._trees import stop
from jax_scorefn.distributions import _weak
from jax_scorefn.distributions._base import CORNER, SMOOTH, Elementwise, distribution, scale_uniform
from jax_scorefn.distributions._fields import Finite, Positive, float_fields
from jax_scorefn.distributions._quadratures import half_normal, laguerre, logistic, trapezoid_of_asinh, trapezoid_of_log
from jax_scorefn.distributions._scales import log, over
from jax_scorefn.distributions._special import divergence
from jax_scorefn.distributions._views import WeakDerivative
from jax_scorefn.noise import uniform
from jax_scorefn.typing import Array, Key


class LocationScale(Elementwise):
    """Independent coordinates ``loc + scale z``, whose mode is at z = 0."""

    loc: Any
    scale: Any
    also = SMOOTH
    _standard_entropy: ClassVar[float]

    _standard: ClassVar[Callable[..., Array]]
    """``u -> `` the z that uniforms in [0, 1) make."""
    _standard_log_prob: ClassVar[Callable[..., Array]]
    """``z -> `` its log-density."""
    _rule: ClassVar[Callable[..., tuple[Array, Array]]]
    """``num_nodes, like -> `` nodes for z and their weights, for each coordinate of ``like``."""

    def _of(self, x: Array) -> Array:
        """The z that makes x."""
        loc, scale = self._fields()
        return over(x - loc, scale)

    def _velocity(self, x: Array, dloc: Array, dscale: Array) -> Array:
        return dloc + self._of(x) * dscale

    def mode(self) -> Array:
        return stop(self._fields()[0])

    def from_uniform(self, u: Array) -> Array:
        loc, scale = self._fields()
        return loc + scale * self._standard(u)

    def _standard_draw(self, key: Key) -> Array:
        """A draw of z."""
        return self._standard(uniform(key, self.uniform_like()))

    def _outward(self, z: Array, e: Array) -> Array:
        """How far from 0, on the side of z, the log-density is e lower than at z. (Which side zeros are on, their signs say.)"""
        raise NotImplementedError

    def weak_derivative(self) -> WeakDerivative:
        return _weak.unimodal(self)

    def _scored_fields(self) -> tuple[Array, ...]:
        """Those that go into the log-density."""
        return self._fields()

    def _log_prob(self, x):
        loc, scale = (jnp.broadcast_to(p, x.shape) for p in self._scored_fields())
        return self._standard_log_prob(over(x - loc, scale)) - log(scale)

    def _entropy(self):
        _, scale = self._fields()
        return log(scale) + np.asarray(self._standard_entropy, scale.dtype)

    def _nodes(self, num_nodes):
        loc, scale = self._fields()
        z, weights = self._rule(num_nodes, loc)
        return loc[None] + scale[None] * z, {"rule": weights}


class WithMoments(LocationScale):
    """One whose z has a mean and a variance, which are numbers."""

    _moments: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def mean(self) -> Array:
        loc, scale = self._fields()
        shift = self._moments[0]
        return loc + np.asarray(shift, loc.dtype) * scale if shift else loc

    def _variance(self):
        return self._fields()[1], self._moments[1]


def gaps(p: LocationScale, q: LocationScale) -> tuple[Array, Array]:
    """Of the first from the second, in scales of the second: how far it is off, and its scale."""
    (loc, scale), (other, unit) = p._fields(), q._fields()
    return over(loc - other, unit), over(scale, unit)


@distribution()
class Laplace(WithMoments):
    """Independent Laplace distributions, density exp(-|x - loc| / scale) / (2 scale).

    Args:
      loc: centre, any shape.
      scale: positive; broadcasts with ``loc``.

    A draw is ``loc + scale * jax.random.laplace(key, shape)``. The density has a corner at ``loc``, so a second derivative in it
    through the log-probability raises: it would lack what is in the corner. Along the path there is none.
    """

    loc: Finite
    scale: Positive
    _moments = (0.0, 2.0)
    _standard_entropy = 1 + np.log(2)

    def _scored_fields(self):
        loc, scale = self._fields()
        return guard(loc, order=1, message=CORNER.format(dist=self.name)), scale

    def weak_derivative(self) -> WeakDerivative:
        return _weak.laplace(*self._fields())

    def _kl(self, other):
        off, width = gaps(self, other)
        off = jnp.abs(off)
        return divergence(jnp.ones_like(width), width) + off + width * jnp.expm1(over(-off, width))

    def _standard(self, u):
        v = scale_uniform(u, -1.0 + float(jnp.finfo(u.dtype).epsneg), 1.0)
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


@distribution()
class Logistic(WithMoments):
    """Independent logistic distributions: the noise behind a bit, P(x > 0) = sigmoid(loc / scale).

    Args:
      loc: centre, any shape.
      scale: positive; broadcasts with ``loc``. The standard deviation is pi / sqrt(3) times that.

    A draw is ``loc + scale * jax.random.logistic(key, shape)``.
    """

    loc: Finite
    scale: Positive
    _moments = (0.0, np.pi**2 / 3)
    _standard_entropy = 2.0
    _rule = staticmethod(logistic)

    def _outward(self, z, e):
        far = jnp.abs(z) / 2 + jnp.log1p(jnp.expm1(-jnp.abs(z)) / 2) + e / 2  # log cosh(z / 2), and of the result
        return 2 * (far + jnp.log1p(jnp.sqrt(-jnp.expm1(-2 * far))))

    def _standard(self, u):
        v = scale_uniform(u, float(jnp.finfo(u.dtype).tiny), 1.0)
        return jnp.log(v) - jnp.log1p(-v)

    def _standard_log_prob(self, z):
        return jax.nn.log_sigmoid(z) + jax.nn.log_sigmoid(-z)

    def _cdf(self, x):
        return jax.nn.sigmoid(self._of(x)), jax.nn.sigmoid(-self._of(x))


@distribution()
class Gumbel(WithMoments):
    """Independent Gumbel distributions of maxima, density exp(-z - exp(-z)) / scale, z = (x - loc) / scale.

    Args:
      loc: mode, any shape; the mean is 0.577 scales above.
      scale: positive; broadcasts with ``loc``.

    A draw is ``loc + scale * jax.random.gumbel(key, shape)``. Of independent ones with a scale of 1, the number of the
    largest is a category with the logits ``loc``.
    """

    loc: Finite
    scale: Positive
    _moments = (np.euler_gamma, np.pi**2 / 6)
    _standard_entropy = 1 + np.euler_gamma

    def _outward(self, z, e):
        """The root of x + exp(-x) = 1 + gap on that side, by Newton's method."""
        gap = e + (z + jnp.expm1(-z))
        q = jnp.sqrt(2 * gap)
        right, near = q + q * q / 6, -q + q * q / 6 - q * q * q / 36
        left = jnp.where(gap > 2, -jnp.log(1 + gap + jnp.log1p(gap)), near)
        x = jnp.where(jnp.signbit(z), left, right)
        for _ in range(5):
            x = x - (x + jnp.expm1(-x) - gap) / -jnp.expm1(-x)
        return jnp.abs(x)

    def _kl(self, other):
        off, width = gaps(self, other)
        shift = off + np.asarray(np.euler_gamma, off.dtype) * (width - 1)
        return shift - log(width) + jnp.expm1(gammaln(1 + width) - off)

    def _standard(self, u):
        return -jnp.log(-jnp.log(scale_uniform(u, float(jnp.finfo(u.dtype).tiny), 1.0)))

    def _standard_log_prob(self, z):
        return -z - jnp.exp(-z)

    def _cdf(self, x):
        t = jnp.exp(-self._of(x))
        return jnp.exp(-t), -jnp.expm1(-t)

    def _rule(self, num_nodes, like):
        log_t, log_weights = trapezoid_of_log(num_nodes, like)  # exp(-z) is an exponential
        return -log_t, jnp.exp(log_weights)


@distribution()
class Cauchy(LocationScale):
    """Independent Cauchy distributions, density 1 / (pi scale (1 + z^2)), z = (x - loc) / scale: they have no mean.

    Args:
      loc: centre, any shape.
      scale: half the distance between the quartiles, positive; broadcasts with ``loc``.

    A draw is ``loc + scale * jax.random.cauchy(key, shape)``. E[f] exists for an f that grows slower than |x|.
    """

    loc: Finite
    scale: Positive
    _standard_entropy = np.log(4 * np.pi)

    def _outward(self, z, e):
        return jnp.sqrt(jnp.expm1(e) + z * z * jnp.exp(e))

    def _kl(self, other):
        off, width = gaps(self, other)
        return jnp.log1p((off * off + (width - 1) ** 2) / (4 * width))

    def _standard(self, u):
        v = scale_uniform(u, float(jnp.finfo(u.dtype).eps), 1.0)
        return jnp.tan(np.asarray(np.pi, u.dtype) * (v - np.asarray(0.5, u.dtype)))

    def _standard_log_prob(self, z):
        return -log1p_of_square(z) - np.asarray(np.log(np.pi), z.dtype)

    def _cdf(self, x):
        z = self._of(x)
        one, pi = jnp.ones_like(z), np.asarray(np.pi, z.dtype)
        return jnp.arctan2(one, -z) / pi, jnp.arctan2(one, z) / pi

    def _rule(self, num_nodes, like):
        z, slope = trapezoid_of_asinh(num_nodes, jnp.ones_like(like))
        return z, slope * jnp.exp(self._standard_log_prob(z))


def log1p_of_square(t: Array) -> Array:
    """log(1 + t^2), where the square may be out of range."""
    far = jnp.abs(t) > 1
    near, inverse = jnp.where(far, 1, t), 1 / jnp.where(far, t, 1)
    tail = 2 * jnp.log(jnp.abs(jnp.where(far, t, 1))) + jnp.log1p(inverse * inverse)
    return jnp.where(far, tail, jnp.log1p(near * near))


@distribution()
class HalfNormal(WithMoments):
    """Independent absolute values of normals, density 2 N(x; 0, scale^2) for x >= 0.

    Args:
      scale: standard deviation of the normals, positive, any shape.

    A draw is ``scale * sqrt(2) * erfinv(u)`` of the uniforms of ``jax.random``, and grows with them, which that of
    ``abs(jax.random.normal(key, shape))`` does not.
    """

    scale: Positive
    loc = 0.0
    _moments = (np.sqrt(2 / np.pi), 1 - 2 / np.pi)
    _standard_entropy = (1 + np.log(np.pi / 2)) / 2
    _rule = staticmethod(half_normal)

    def weak_derivative(self) -> WeakDerivative:
        return _weak.half_normal(self._fields()[1])

    def _kl(self, other):
        _, width = gaps(self, other)
        return divergence(jnp.ones_like(width), width * width) / 2

    def _fields(self):
        (scale,) = float_fields(self, "scale")
        return jnp.zeros_like(scale), scale

    def _standard(self, u):
        return jax.lax.erf_inv(u) * np.asarray(np.sqrt(2), u.dtype)

    def _standard_log_prob(self, z):
        return jnp.where(z < 0, -jnp.inf, (np.asarray(np.log(2 / np.pi), z.dtype) - z * z) / 2)

    def _cdf(self, x):
        z = self._of(x) / np.sqrt(2).astype(x.dtype)
        return jax.scipy.special.erf(z), jax.scipy.special.erfc(z)
