"""Dirichlet: a point on the simplex, x_k = G_k / sum_j G_j for independent G_k ~ Gamma(a_k).

    log p(x)  =  sum_k (a_k - 1) log x_k + log Gamma(A) - sum_k log Gamma(a_k),     A = sum_k a_k

in the first K - 1 coordinates. It is a multinomial mass of the counts a times a factor, and computed as one. The draws are
made and scored in logarithms: for a concentration of 0.001 most coordinates of a draw round to 0, and their logarithms do not.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from jax_scorefn._trees import stop
from jax_scorefn.distributions._base import SMOOTH, Independent, distribution
from jax_scorefn.distributions._fields import Positive, float_fields
from jax_scorefn.distributions._grids import Grid, product_grid
from jax_scorefn.distributions._quadratures import legendre
from jax_scorefn.distributions._scales import over
from jax_scorefn.distributions._special import log_beta, log_dirichlet, tangent_gap
from jax_scorefn.typing import Array, Key

NO_PART = "Dirichlet wants concentration with a last axis of K >= 1 parts; its shape is {shape}."


@distribution()
class Dirichlet(Independent):
    """Independent points on the simplex, density proportional to the product of x_k^(concentration_k - 1).

    Args:
      concentration: positive, shape ``(..., K)``; axes before the last one are independent rows.

    A draw has the shape and dtype of the parameter, each row sums to 1, and it is that of ``jax.random.dirichlet``; along the path
    it is differentiable twice (figurnov2018). With all concentrations of a row below .05 that derivative is biased in float32, where
    JAX's rule for gamma draws saturates: use score_function, or float64. ``log_prob`` is -inf off the simplex.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> shares = sf.family(lambda a: sf.Dirichlet(concentration=a))
      >>> a = jnp.array([2.0, 3.0, 5.0])
      >>> grads = sf.pathwise_grad(lambda x: x[0], shares, a, jax.random.key(0), num_samples=100_000)
      >>> print(grads.round(2))  # of a_0 / (a_0 + a_1 + a_2)
      [ 0.08 -0.02 -0.02]
    """

    concentration: Positive
    also = SMOOTH

    def _fields(self):
        (a,) = float_fields(self, "concentration")
        if a.ndim == 0 or a.shape[-1] == 0:
            raise ValueError(NO_PART.format(shape=a.shape))
        return (a,)

    def mean(self) -> Array:
        (a,) = self._fields()
        return over(a, jnp.broadcast_to(jnp.sum(a, axis=-1, keepdims=True), a.shape))

    def covariance_times(self, v: Array) -> Array:
        mean, total = self.mean(), jnp.sum(self._fields()[0], axis=-1, keepdims=True)
        return mean * (v - jnp.sum(mean * v, axis=-1, keepdims=True)) / (total + 1)

    def entropy(self) -> Array:
        """Less the relative entropy to the uniform one, whose density is Gamma(K)."""
        (a,) = self._fields()
        volume = -gammaln(np.asarray(a.shape[-1], a.dtype)) * math.prod(a.shape[:-1])
        return volume - self._kl_to(Dirichlet(concentration=jnp.ones_like(a)))

    def _kl_to(self, other: Dirichlet) -> Array:
        (a,), (b,) = self._fields(), other._fields()
        return jnp.sum(tangent_gap(b, a)) - jnp.sum(tangent_gap(jnp.sum(b, axis=-1), jnp.sum(a, axis=-1)))

    def _noise(self, key: Key) -> Array:
        """Logarithms of the gamma draws."""
        (a,) = self._fields()
        return jax.random.loggamma(key, a, dtype=a.dtype)

    def sample(self, key: Key) -> Array:
        return jax.nn.softmax(self._noise(key), axis=-1)

    def sample_and_log_probs(self, key: Key) -> tuple[Array, Array]:
        """One draw, stopped, and the log-density of each row."""
        noise = stop(stop(self)._noise(key))
        return jax.nn.softmax(noise, axis=-1), log_dirichlet(self._fields()[0], jax.nn.log_softmax(noise, axis=-1))

    def log_prob(self, x: Array) -> Array:
        return jnp.sum(self._log_prob(jnp.asarray(x)))

    def _log_prob(self, x: Array) -> Array:
        (a,) = self._fields()
        x = jnp.broadcast_to(x.astype(a.dtype), a.shape)
        near = float(jnp.finfo(a.dtype).eps) ** 0.5 * a.shape[-1]
        on_simplex = jnp.all(x >= 0, axis=-1) & (jnp.abs(jnp.sum(x, axis=-1) - 1) < near)
        inside = jnp.where(on_simplex[..., None] & (x > 0), x, float(jnp.finfo(a.dtype).eps) ** 2)
        # a coordinate of 0 has the density 0, a finite one or none: x^(a - 1) for a above 1, 1, and below it
        at_end = jnp.where(a == 1, jnp.zeros_like(a), jnp.where(a > 1, -jnp.inf, jnp.inf))
        ends = jnp.sum(jnp.where((x == 0) & on_simplex[..., None], at_end, 0), axis=-1)
        log_probs = log_dirichlet(a, jnp.log(inside)) + ends
        outside = jnp.where(jnp.any(jnp.isnan(x), axis=-1), jnp.sum(x, axis=-1), -jnp.inf)
        return jnp.where(on_simplex, log_probs, outside)

    def grid(self, *, num_nodes: int = 32, max_value: int | None = None, max_points: int = 2**16) -> Grid:
        """Nodes for the part that each coordinate takes of what those before it left: beta draws, independent of each other."""
        del max_value
        (a,) = self._fields()
        b = jnp.flip(jnp.cumsum(jnp.flip(a, axis=-1), axis=-1), axis=-1)[..., 1:]
        a = a[..., :-1]
        t, weights = legendre(num_nodes, a)
        a, b = (jnp.broadcast_to(p, t.shape) for p in (a, b))
        log_probs = log_beta(a, b, jnp.log(t), jnp.log1p(-t))
        grid = product_grid(self.name, t, log_probs, max_points, rule=weights * jnp.exp(log_probs))
        left = jnp.cumprod(1 - grid.points, axis=-1)
        one = jnp.ones_like(left[..., :1]) if left.shape[-1] else jnp.ones((*left.shape[:-1], 1), left.dtype)
        points = jnp.concatenate([grid.points, one], axis=-1) * jnp.concatenate([one, left], axis=-1)
        return Grid(stop(points), jax.vmap(self.log_prob)(points), grid.weights)
