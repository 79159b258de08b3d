"""Normal distributions: x = loc + scale z, z ~ N(0, I)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._surrogate import magic_box
from jax_scorefn._trees import stop
from jax_scorefn.distributions import _weak
from jax_scorefn.distributions._base import SMOOTH, Distribution, Elementwise, distribution, scale_uniform
from jax_scorefn.distributions._fields import Finite, Positive, Symmetric, Triangular, float_fields, one_of
from jax_scorefn.distributions._grids import Grid, product_grid
from jax_scorefn.distributions._location_scale import WithMoments, gaps
from jax_scorefn.distributions._quadratures import hermite
from jax_scorefn.distributions._scales import log
from jax_scorefn.distributions._special import divergence
from jax_scorefn.distributions._views import WeakDerivative
from jax_scorefn.noise import materialize
from jax_scorefn.typing import Array

MATRIX_SHAPE = (
    "MultivariateNormal wants loc of shape (D,) and {name} of shape (D, D); it got {loc} and {matrix}. A batch of distributions is "
    "jax.vmap over a function that makes one."
)
DRAW_SHAPE = "A draw of this MultivariateNormal has shape {wanted}; log_prob got shape {given}."


@materialize
def standard_normal(u: Array) -> Array:
    """Standard normals from uniforms in [0, 1), as ``jax.random.normal`` makes them."""
    v = scale_uniform(u, float(np.nextafter(np.asarray(-1, u.dtype), np.asarray(0, u.dtype))), 1.0)
    return jax.lax.erf_inv(v) * np.asarray(np.sqrt(2), u.dtype)


def _standard_log_density(z: Array) -> Array:
    return -(z * z + np.asarray(np.log(2 * np.pi), z.dtype)) / 2


@distribution()
class Normal(WithMoments):
    """Independent normals, N(loc, scale^2) in each coordinate.

    Args:
      loc: mean, any shape.
      scale: standard deviation, positive; broadcasts with ``loc``.

    A draw has the broadcast shape and dtype of the parameters, and is the one of ``jax.random.normal`` for the same key:
    ``loc + scale * jax.random.normal(key, shape)``.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> normal = sf.Normal(loc=0.0, scale=1.0)
      >>> print(f"{normal.log_prob(normal.sample(jax.random.key(0))):.3f}")
      -2.235
    """

    loc: Finite
    scale: Positive
    _standard_entropy = (1 + np.log(2 * np.pi)) / 2
    _standard = staticmethod(standard_normal)
    _standard_log_prob = staticmethod(_standard_log_density)
    _rule = staticmethod(hermite)

    def weak_derivative(self) -> WeakDerivative:
        return _weak.normal(*self._fields())

    def _kl(self, other):
        off, width = gaps(self, other)
        return (divergence(jnp.ones_like(width), width * width) + off * off) / 2

    def _cdf(self, x):
        return jax.scipy.special.ndtr(self._of(x)), jax.scipy.special.ndtr(-self._of(x))


@distribution()
class MultivariateNormal(Distribution):
    """Normal with a full covariance: x = loc + L z, covariance L L^T.

    Args:
      loc: mean, shape ``(D,)``.
      scale_tril: lower-triangular L with a positive diagonal, shape ``(D, D)``.
      covariance: positive definite, shape ``(D, D)``; one of the two is given, not both.

    A draw is the one of ``jax.random.multivariate_normal`` for the same key.
    """

    loc: Finite
    scale_tril: Triangular = None
    covariance: Symmetric = None
    also = SMOOTH
    uniform_like = Elementwise.uniform_like

    def _fields(self) -> tuple[Array, Array]:
        name = one_of(self, "scale_tril", "covariance")
        (loc,), (matrix,) = float_fields(self, "loc"), float_fields(self, name)
        if loc.ndim != 1 or matrix.shape != (loc.size, loc.size):
            raise ValueError(MATRIX_SHAPE.format(name=name, loc=loc.shape, matrix=matrix.shape))
        return loc, jnp.linalg.cholesky(matrix) if name == "covariance" else jnp.tril(matrix)

    def mean(self) -> Array:
        return self._fields()[0]

    def covariance_times(self, v: Array) -> Array:
        _, tril = self._fields()
        return tril @ (tril.T @ v)

    def mode(self) -> Array:
        return stop(self.mean())

    def entropy(self) -> Array:
        loc, tril = self._fields()
        each = np.asarray((1 + np.log(2 * np.pi)) / 2, loc.dtype)
        return jnp.sum(log(jnp.diagonal(tril)) + each)

    def _kl_to(self, other: MultivariateNormal) -> Array:
        (loc, tril), (centre, factor) = self._fields(), other._fields()
        solve = lambda b: jax.scipy.linalg.solve_triangular(factor, b, lower=True)
        ratio, off = solve(tril), solve(loc - centre)
        diagonal = jnp.diagonal(ratio)
        of_scales = jnp.sum(jnp.tril(ratio, -1) ** 2) + jnp.sum(divergence(jnp.ones_like(diagonal), diagonal**2))
        return (of_scales + off @ off) / 2

    def from_uniform(self, u: Array) -> Array:
        loc, tril = self._fields()
        return loc + tril @ standard_normal(u)

    def log_prob(self, x: Array) -> Array:
        loc, tril = self._fields()
        x = jnp.asarray(x).astype(loc.dtype)
        if x.shape != loc.shape:
            raise ValueError(DRAW_SHAPE.format(wanted=loc.shape, given=x.shape))
        z = jax.scipy.linalg.solve_triangular(tril, x - loc, lower=True)
        return jnp.sum(_standard_log_density(z)) - jnp.sum(log(jnp.diagonal(tril)))

    def grid(self, *, num_nodes: int = 32, max_value: int | None = None, max_points: int = 2**16) -> Grid:
        del max_value
        loc, tril = stop(self._fields())
        z, weights = hermite(num_nodes, loc)
        standard = product_grid(self.name, z, jnp.zeros_like(z), max_points, rule=weights)
        points = loc[None] + standard.points @ tril.T
        log_probs = jax.vmap(self.log_prob)(points)
        return Grid(points, log_probs, magic_box(log_probs, standard.weights))
