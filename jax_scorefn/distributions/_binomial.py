"""Counts of successes: P(k) = n! / (k! (n - k)!) p^k (1 - p)^(n - k), for a number of trials that may be drawn itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jax_scorefn._surrogate import nan_where
from jax_scorefn._trees import stop
from jax_scorefn._wide import wide
from jax_scorefn.distributions import _counts, _weak
from jax_scorefn.distributions._alternatives import Alternative, fine_uniform, inverted
from jax_scorefn.distributions._base import distribution
from jax_scorefn.distributions._discrete import (
    Odds,
    safe_log,
    safe_log_of_rest,
    undifferentiable,
)
from jax_scorefn.distributions._fields import Count, Logit, Probability
from jax_scorefn.distributions._masses import binomial_mass
from jax_scorefn.distributions._special import excess, log_binomial
from jax_scorefn.distributions._trials import Successes
from jax_scorefn.distributions._views import WeakDerivative
from jax_scorefn.typing import Array, Key


@distribution(static=("total_count",))
class Binomial(Successes, Odds):
    """Independent counts of successes in ``total_count`` trials.

    Args:
      total_count: number of trials: a Python int, or an array, traced or not, which is never differentiated (the infected of the day
        before). The support of an array's number is not enumerated.
      logits: log(p / (1 - p)), any shape; or
      probs: p; one of the two is given, not both.

    A draw is int32, that of ``jax.random.binomial(key, total_count, p)``. Where that loses its digits in float32, from 65,536 trials
    and 10 expected successes and failures on, and for a p within 2^-10 of 1, it is drawn otherwise.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> def twice(p, key):  # who is left of 12 after two days
      ...     first, second = jax.random.split(key)
      ...     left = sf.sample(first, sf.Binomial(total_count=12, probs=p))
      ...     return sf.sample(second, sf.Binomial(total_count=left, probs=p)).astype(float)
      >>> loss = sf.expectation(twice, num_samples=10_000)
      >>> print(f"{jax.jit(jax.grad(loss))(0.5, jax.random.key(0)):.0f}")  # 12 p^2 has the derivative 24 p
      12
    """

    total_count: Count
    logits: Logit = None
    probs: Probability = None

    def mean(self) -> Array:
        return self._trials() * self._success()

    def _variance(self):
        p = self._success()
        return 1.0, self._trials() * p * (1 - p)

    def mode(self) -> Array:
        n = self._trials()
        return stop(jnp.minimum(jnp.floor((n + 1) * self._success()), n)).astype(jnp.int32)

    def _kl(self, other):
        return self._of_trials(other, self._trial_kl(other))

    def weak_derivative(self) -> WeakDerivative:
        return _weak.binomial(*self._fields(), in_logits=self.probs is None, trials=self._trials())

    def uniform_like(self) -> jax.ShapeDtypeStruct:
        """One uniform for each count, for ``alternative``."""
        return fine_uniform(super().uniform_like())

    def alternative(self, u: Array, v: Array) -> Alternative:
        whole = wide(self)
        stopped, (field,) = stop(whole), stop(whole._fields())
        p, q = stopped._success_and_failure()
        n = jnp.broadcast_to(jnp.asarray(stopped._trials(), p.dtype), p.shape)
        mass = lambda k: jnp.exp(stopped._log_mass(k, field))
        ratio = lambda k: (n - k) / (k + 1) * jnp.where(q > 0, p / jnp.where(q > 0, q, 1), 0)
        k = inverted(u, n * p, mass, ratio)
        down = v * n < k.astype(n.dtype)  # as often as one of the trials succeeded
        other = jnp.where(k == _counts.NO_COUNT, k, jnp.where(n == 0, k, jnp.where(down, k - 1, k + 1)))
        rate = jnp.where(down, -n, n) * whole._success()
        return Alternative(k, other, nan_where(k == _counts.NO_COUNT, rate))

    def sample(self, key: Key) -> Array:
        p, q = (undifferentiable(self, number) for number in self._success_and_failure())
        return _counts.binomial(key, jnp.asarray(self._trials(), p.dtype), p, q)

    def _log_mass(self, k, field):
        n, (p, q), (log_p, log_q) = self._trials(), self._success_and_failure(field), self._log_odds(field)
        rest, trials = n - k, jnp.asarray(n, p.dtype)
        above = jnp.where(p <= q, excess(k, trials * p), -excess(rest, trials * q))  # the smaller mean has more digits
        k, rest = k.astype(p.dtype), rest.astype(p.dtype)
        return log_binomial(k, rest, p, q, log_p, log_q, above)

    def _masses(self, k, p):
        log_mass = lambda k, n, p: log_binomial(k, n - k, p, 1 - p, safe_log(p), safe_log_of_rest(p))
        return binomial_mass(log_mass, k, jnp.full_like(k, self._trials()), p)
