"""A normal distribution cut off at two ends, measured from its mode c, the point of [low, high] next to loc:

    p(x)  =  exp(-y^2 / 2 - m y) / (s M)          y = (x - c) / s,   m = (c - loc) / s,   M its integral over [a, b]

    a draw      m = 0    the inverse of erf, to the left of the mode or to the right
                m > 0    -log P(y' > y) = y^2 / 2 + m y + log(R(m) / R(m + y)), solved by Newton's method, R(m) Mills' ratio
                m < 0    the mirror image
    its path    P(y' < y) stays where it is:  dy = u e(b) / e(y) db + (1 - u) e(a) / e(y) da + int_a^y (t - E[t]) e(t) / e(y) dt dm

In these units nothing is the difference of two probabilities, so an interval far out in a tail, or as narrow as floats are, keeps its
digits. Integrals are sums at Gauss's points of [a, b], up to where e has fallen to exp(-40).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf, erfcx, erfinv

from jax_scorefn._guards import guard
from jax_scorefn._trees import in_explicit_mesh, stop
from jax_scorefn.distributions._base import SMOOTH, Elementwise, distribution
from jax_scorefn.distributions._continuous import ENDS
from jax_scorefn.distributions._fields import Domain, End, Finite, Positive, confine, float_fields, known
from jax_scorefn.distributions._paths import on_path
from jax_scorefn.distributions._quadratures import legendre
from jax_scorefn.distributions._scales import log, over
from jax_scorefn.typing import Array

_NODES = 48


class _Shape(NamedTuple):
    """The density exp(-y^2 / 2 - m y) on [a, b], a <= 0 <= b, as floats of one shape."""

    m: Array
    a: Array
    b: Array

    def fall(self, y: Array) -> Array:
        """-log e(y), for y of this shape or with more axes in front."""
        return y * (y / 2 + jnp.broadcast_to(self.m, y.shape))

    def ahead(self) -> _Shape:
        """With one more axis in front."""
        return _Shape(*(p[None] for p in self))


@distribution()
class TruncatedNormal(Elementwise):
    """Independent normals N(loc, scale^2), given that they are in [low, high].

    Args:
      loc: mean of the normal before it is cut off, any shape.
      scale: its standard deviation, positive; broadcasts with ``loc``.
      low: lower end, which may be -inf.
      high: upper end, above ``low``, which may be inf.

    A draw is that of ``jax.random.truncated_normal`` (to rounding) where ``loc`` is between the ends; elsewhere, where that loses its
    digits, it is drawn otherwise. Along the path it is differentiable to every order, in the ends too; through
    the log-probability the ends raise, since the score of a distribution with a moving support misses the boundary.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> tail = sf.TruncatedNormal(loc=0.0, scale=1.0, low=30.0)  # a mean of 30 and a little less than 1 / 30
      >>> print(f"{tail.mean():.4f} {tail.sample(jax.random.key(0)):.4f}")
      30.0333 30.0981
    """

    loc: Finite
    scale: Positive
    low: End = -np.inf
    high: End = np.inf
    also = SMOOTH

    def _fields(self):
        loc, scale, low, high = float_fields(self, "loc", "scale", "low", "high")
        above = Domain("above low", lambda high: high > known(low))
        return loc, scale, low, confine(self, "high", high, above)

    def mode(self) -> Array:
        loc, _, low, high = stop(self._fields())
        return jnp.clip(loc, low, high)

    def mean(self) -> Array:
        centre, scale, shape = _measured(*self._fields())
        return centre + scale * _moments(shape)[0]

    def _variance(self):
        _, scale, shape = _measured(*self._fields())
        return scale, _moments(shape)[1]

    def _entropy(self):
        _, scale, shape = _measured(*self._fields())
        y, weights, log_mass = _points(shape)
        return jnp.sum(weights * shape.fall(y), axis=0) + log_mass + log(scale)

    def _kl(self, other):
        fields, of_other = self._fields(), other._fields()
        centre, scale, shape = _measured(*fields)
        y, weights, log_mass = _points(shape)
        others = jnp.sum(weights * _log_density(centre[None] + scale[None] * y, *of_other), axis=0)
        inside = (of_other[2] <= fields[2]) & (fields[3] <= of_other[3])
        mine = -jnp.sum(weights * shape.fall(y), axis=0) - log_mass - log(scale)
        return jnp.where(inside, mine - others, jnp.inf)

    def from_uniform(self, u: Array) -> Array:
        loc, scale, low, high = self._fields()
        centre, scale, shape = _measured(loc, scale, low, high)
        y = on_path(_velocity, _inverse(*stop((u, shape))), (u, shape))
        return jnp.clip(centre + scale * y, low, high)

    def _log_prob(self, x):
        loc, scale, low, high = self._fields()
        low, high = guard((low, high), order=0, message=ENDS.format(dist=self.name))
        inside = (jnp.broadcast_to(low, x.shape) <= x) & (x <= jnp.broadcast_to(high, x.shape))
        return jnp.where(inside, _log_density(x, loc, scale, low, high), jnp.where(jnp.isnan(x), x, -jnp.inf))

    def _nodes(self, num_nodes):
        centre, scale, shape = _measured(*self._fields())
        y, weights, _ = _points(shape, num_nodes)
        return centre[None] + scale[None] * y, {"rule": weights}


def _measured(loc: Array, scale: Array, low: Array, high: Array) -> tuple[Array, Array, _Shape]:
    """The mode, the scale, and the density in units of the scale from the mode."""
    centre = jnp.clip(loc, low, high)
    m = over(centre - loc, scale)

    def end(there: Array, sign: float) -> Array:
        slope = stop(jnp.maximum(sign * m, 0))
        reach = sign * 80 / (slope + jnp.sqrt(slope * slope + 80))
        finite = jnp.abs(there) < jnp.inf
        y = over(jnp.where(finite, there - centre, 0), scale)
        return jnp.where(finite & (jnp.abs(y) < jnp.abs(reach)), y, reach)

    return centre, scale, _Shape(m, end(low, -1.0), end(high, 1.0))


def _points(shape: _Shape, num_nodes: int = _NODES) -> tuple[Array, Array, Array]:
    """Points on a first axis, their weights, which sum to 1, and log M."""
    t, w = legendre(num_nodes, shape.m)
    ahead = shape.ahead()
    y = ahead.a + (ahead.b - ahead.a) * t
    terms = w * jnp.exp(-shape.fall(y))
    total = jnp.sum(terms, axis=0)
    return y, terms / total[None], jnp.log(total) + log(shape.b - shape.a)


def _moments(shape: _Shape) -> tuple[Array, Array]:
    """Mean and variance of y."""
    y, weights, _ = _points(shape)
    mean = jnp.sum(weights * y, axis=0)
    return mean, jnp.sum(weights * (y - mean[None]) ** 2, axis=0)


def _log_density(x: Array, loc: Array, scale: Array, low: Array, high: Array) -> Array:
    """Of one x, or of several on axes in front."""
    centre, scale, shape = _measured(loc, scale, low, high)
    y = over(x - jnp.broadcast_to(centre, x.shape), jnp.broadcast_to(scale, x.shape))
    return -shape.fall(y) - jnp.broadcast_to(_points(shape)[2] + log(scale), x.shape)


def _inverse(u: Array, shape: _Shape) -> Array:
    """The y below which a part u of the distribution is."""
    m, a, b = shape
    mirrored = m < 0
    v, slope = jnp.where(mirrored, 1 - u, u), jnp.abs(m)
    width = b - a
    left, right = erf(-a / np.sqrt(2).astype(u.dtype)), erf(b / np.sqrt(2).astype(u.dtype))
    least = np.asarray(1 - jnp.finfo(u.dtype).epsneg, u.dtype)
    inside = np.sqrt(2).astype(u.dtype) * erfinv(jnp.clip(u * (left + right) - left, -least, least))
    tail = jnp.where(mirrored, -1, 1) * _beyond(v, slope, width)
    return jnp.clip(jnp.where(m == 0, inside, tail), a, b)


def _velocity(y: Array, fields: tuple[Array, _Shape], moved: tuple[Array, _Shape]) -> Array:
    """How the y below which a part u is moves with u and the shape."""
    (u, shape), (du, (dm, da, db)) = fields, moved
    m, a, b = shape
    density = lambda t: jnp.exp(jnp.broadcast_to(shape.fall(y), t.shape) - shape.fall(t))  # of t, in that of y
    points, weights, log_mass = _points(shape)
    mean = jnp.sum(weights * points, axis=0)
    t, w = legendre(_NODES, m)
    t = a[None] + (y - a)[None] * t
    tilt = (y - a) * jnp.sum(w * (t - mean[None]) * density(t), axis=0)
    per_u = jnp.exp(log_mass + shape.fall(y))
    return per_u * du + tilt * dm + (1 - u) * density(a) * da + u * density(b) * db


def _beyond(v: Array, m: Array, width: Array) -> Array:
    """For m > 0 and the density on [0, width]: the y below which a part v is."""
    whole = _mills(m)
    mass = jnp.exp(_points(_Shape(m, jnp.zeros_like(width), width))[2])
    target = -jnp.log1p(-v * jnp.minimum(mass / whole, 1))
    y = 2 * target / (m + jnp.sqrt(m * m + 2 * target))  # too far, since R falls; from there the steps only go down
    for _ in range(4):
        rest = _mills(m + y)
        y = jnp.maximum(y - (y * (y / 2 + m) + jnp.log(whole / rest) - target) * rest, 0)
    rate = m + width / 2  # where the interval is narrow, the density is an exponential one
    narrow = -jnp.log1p(v * jnp.expm1(-rate * width)) / rate
    return jnp.where(width < float(jnp.finfo(v.dtype).eps) ** (1 / 3), narrow, y)


def _mills(m: Array) -> Array:
    """R(m), the integral of exp(-t^2 / 2 - m t) over t > 0."""
    if in_explicit_mesh():  # JAX's erfcx makes arrays there that are in no mesh
        reach = 80 / (m + jnp.sqrt(m * m + 80))
        return jnp.exp(_points(_Shape(m, jnp.zeros_like(m), reach))[2])
    return np.sqrt(np.pi / 2).astype(m.dtype) * erfcx(m / np.sqrt(2).astype(m.dtype))
