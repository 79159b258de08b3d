"""Increasing functions of normals: x = g(y), y ~ N(loc, scale^2), log p(x) = log N(y) - log g'(y).

    TanhNormal   g = tanh
    LogNormal    g = exp

A draw is scored through y, which is finite where g(y) has rounded to an end of its range.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._trees import stop
from jax_scorefn.distributions import _weak
from jax_scorefn.distributions._base import SMOOTH, Elementwise, distribution
from jax_scorefn.distributions._fields import Finite, Positive
from jax_scorefn.distributions._grids import Grid, product_grid
from jax_scorefn.distributions._normal import Normal
from jax_scorefn.distributions._views import WeakDerivative
from jax_scorefn.typing import Array


class PushedNormal(Elementwise):
    """What ``loc`` and ``scale`` of the normal, g and the logarithm of its slope make."""

    loc: Finite
    scale: Positive
    also = SMOOTH

    _forward: ClassVar[Callable[..., Array]]
    """The increasing function g."""

    def _log_slope(self, y: Array) -> Array:
        """Log g'(y)."""
        raise NotImplementedError

    @property
    def _normal(self) -> Normal:
        return Normal(loc=self.loc, scale=self.scale)

    def weak_derivative(self) -> WeakDerivative:
        return _weak.normal(*self._fields(), squash=self._forward)

    def from_uniform(self, u: Array) -> Array:
        return self._forward(self._normal.from_uniform(u))

    def _log_prob_of_preimage(self, y: Array) -> Array:
        return self._normal._log_prob(y) - self._log_slope(y)

    def _scored(self, u: Array) -> tuple[Array, Array]:
        y = stop(stop(self._normal).from_uniform(u))
        return self._forward(y), self._log_prob_of_preimage(y)

    def _kl(self, other):
        return self._normal._kl(other._normal)

    def grid(self, *, num_nodes: int = 32, max_value: int | None = None, max_points: int = 2**16) -> Grid:
        del max_value
        y, weights = self._normal._nodes(num_nodes)
        y = jax.lax.stop_gradient(y)
        grid = product_grid(self.name, y, self._log_prob_of_preimage(y), max_points, **weights)
        return grid._replace(points=self._forward(grid.points))


@distribution()
class TanhNormal(PushedNormal):
    """tanh of independent normals: the squashed Gaussian policy on (-1, 1).

    Args:
      loc: mean before squashing, any shape.
      scale: standard deviation before squashing, positive; broadcasts with ``loc``.

    ``sample_and_log_prob`` scores the normal draw before it is squashed, so the score is right and finite where tanh has
    rounded to 1. ``log_prob(x)`` has to invert: there |x| is taken as at most 1 - eps / 2.

    A draw is the tanh of ``loc + scale * jax.random.normal(key, shape)``. References: haarnoja2018.
    """

    loc: Finite
    scale: Positive

    _forward = staticmethod(jnp.tanh)

    def _log_slope(self, y):  # log(1 - tanh^2 y), in a form that does not cancel
        return 2.0 * (np.asarray(np.log(2), y.dtype) - y - jax.nn.softplus(-2.0 * y))

    def _log_prob(self, x):
        edge = 1 - np.asarray(jnp.finfo(x.dtype).epsneg, x.dtype)
        log_prob = self._log_prob_of_preimage(jnp.arctanh(jnp.clip(x, -edge, edge)))
        return jnp.where(jnp.abs(x) > 1, -jnp.inf, log_prob)


@distribution()
class LogNormal(PushedNormal):
    """Exponentials of independent normals, on the half-line.

    Args:
      loc: mean of the logarithm, any shape.
      scale: standard deviation of the logarithm, positive; broadcasts with ``loc``.

    A draw is ``exp(loc + scale * jax.random.normal(key, shape))``, and is scored through its logarithm.
    """

    loc: Finite
    scale: Positive

    _forward = staticmethod(jnp.exp)

    def _log_slope(self, y):
        return y

    def mean(self) -> Array:
        loc, scale = self._fields()
        return jnp.exp(loc + scale * scale / 2)

    def _variance(self):
        _, scale = self._fields()
        return self.mean(), jnp.expm1(scale * scale)

    def _cdf(self, x: Array) -> tuple[Array, Array]:
        return self._normal._cdf(jnp.log(x))

    def _velocity(self, x: Array, dloc: Array, dscale: Array) -> Array:
        return x * self._normal._velocity(jnp.log(x), dloc, dscale)

    def mode(self) -> Array:
        loc, scale = stop(self._fields())
        return jnp.exp(loc - scale * scale)

    def _entropy(self):
        return self._normal._entropy() + self._fields()[0]

    def _log_prob(self, x):
        inside = x > 0
        log_prob = self._log_prob_of_preimage(jnp.log(jnp.where(inside, x, 1)))
        return jnp.where(inside, log_prob, jnp.where(jnp.isnan(x), x, -jnp.inf))
