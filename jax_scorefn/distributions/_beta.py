"""Beta: x = G / (G + G') for gamma draws G and G', made and scored in logarithms, which are exact where x rounds to 0 or 1."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import xlog1py, xlogy

from jax_scorefn._trees import stop
from jax_scorefn.distributions._base import SMOOTH, Elementwise, distribution
from jax_scorefn.distributions._fields import Positive
from jax_scorefn.distributions._quadratures import legendre
from jax_scorefn.distributions._scales import log, over
from jax_scorefn.distributions._special import log_beta, tangent_gap
from jax_scorefn.typing import Array, Key


@distribution()
class Beta(Elementwise):
    """Independent beta distributions, density proportional to x^(a - 1) (1 - x)^(b - 1).

    Args:
      a: positive, any shape.
      b: positive; broadcasts with ``a``.

    A draw is X / (X + Y) of two gamma draws, along the path differentiable twice (figurnov2018). With both parameters
    below .05 that derivative is biased in float32, where JAX's rule for gamma draws saturates: use score_function, or float64.
    """

    a: Positive
    b: Positive
    also = SMOOTH

    def mean(self) -> Array:
        a, b = self._fields()
        return over(a, a + b)

    def _variance(self):
        a, b = self._fields()
        return 1.0, over(a, a + b) * over(b, a + b) / (a + b + 1)

    def _entropy(self):
        """Less the relative entropy to the uniform distribution, which is Beta(1, 1)."""
        a, b = self._fields()
        return -self._kl(Beta(a=jnp.ones_like(a), b=jnp.ones_like(b)))

    def _kl(self, other):
        (a, b), (c, d) = self._fields(), other._fields()
        return tangent_gap(c, a) + tangent_gap(d, b) - tangent_gap(c + d, a + b)

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
        return jnp.exp(log_x), log_beta(a, b, log_x, log_1mx)

    def _log_prob(self, x):
        a, b = (jnp.broadcast_to(p, x.shape) for p in self._fields())
        inside, at_end = (x > 0) & (x < 1), (x == 0) | (x == 1)
        y, end = jnp.where(inside, x, 0.5), jnp.where(at_end, x, 0.5)
        # where this is finite, a or b is 1
        log_density_at_end = xlogy(a - 1, end) + xlog1py(b - 1, -end) + jnp.where(end == 0, log(b), log(a))
        outside = jnp.where(at_end, log_density_at_end, jnp.where(jnp.isnan(x), x, -jnp.inf))
        return jnp.where(inside, log_beta(a, b, jnp.log(y), jnp.log1p(-y)), outside)

    def _nodes(self, num_nodes):
        a, b = self._fields()
        t, weights = legendre(num_nodes, a)
        a, b = (jnp.broadcast_to(p, t.shape) for p in (a, b))
        return t, {"rule": weights * jnp.exp(log_beta(a, b, jnp.log(t), jnp.log1p(-t)))}
