"""Successes before a number of failures: P(k) = Gamma(k + r) / (k! Gamma(r)) q^r p^k, q = 1 - p, for any r > 0.

k  ~  Poisson(G p / q),   G ~ Gamma(r)                       a draw
P(k; r)    =  r / (k + r) Binomial(k; k + r, p)              whose terms do not cancel: see ``_special``
dP/dp      =  r / q (P(k - 1; r + 1) - P(k; r))              a draw of r + 1 is one of r plus one of r = 1
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jax_scorefn._guards import guard
from jax_scorefn._surrogate import nan_where
from jax_scorefn._trees import stop
from jax_scorefn._wide import wide
from jax_scorefn.distributions import _alternatives, _counts, _weak
from jax_scorefn.distributions._alternatives import Alternative, fine_uniform, inverted
from jax_scorefn.distributions._base import distribution
from jax_scorefn.distributions._discrete import Odds, safe_log, safe_log_of_rest, undifferentiable
from jax_scorefn.distributions._fields import Positive, UncertainLogit, UncertainProbability, float_fields, one_of
from jax_scorefn.distributions._masses import negative_binomial_mass
from jax_scorefn.distributions._scales import over
from jax_scorefn.distributions._special import excess, log_binomial
from jax_scorefn.distributions._views import Pairs, WeakDerivative, of_coordinates
from jax_scorefn.noise import samplers
from jax_scorefn.typing import Array, Capability, Key

IN_TOTAL_COUNT = (
    "The total_count of a NegativeBinomial carries a derivative, and as a difference it is known in the success probability alone. "
    "Use score_function, or stop the total_count with jax.lax.stop_gradient."
)


@distribution()
class NegativeBinomial(Odds):
    """Independent counts of successes before failure number ``total_count``: counts more spread than those of a Poisson.

    Args:
      total_count: number of failures r, above 0 and not necessarily whole, any shape; differentiable.
      logits: log(p / (1 - p)) of a success; broadcasts with ``total_count``; or
      probs: p, below 1; one of the two is given, not both.

    The mean is r p / (1 - p) and the variance that over 1 - p. This is the convention of NumPyro, TFP and PyTorch; SciPy's
    ``nbinom(n, p)`` counts failures, and is this distribution at ``total_count=n, probs=1 - p``.

    A draw is int32: ``jax.random.poisson(key_2, exp(jax.random.loggamma(key_1, r) + logits))`` for the two keys of
    ``jax.random.split(key)``. One that an int32 does not hold is -2^31: no count, whose log-probability is NaN.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> counts = sf.family(lambda r: sf.NegativeBinomial(total_count=r, probs=0.5))
      >>> print(f"{sf.exact_grad(lambda x: x.astype(float) ** 2, counts, 3.0, max_value=200):.4f}")  # of r^2 + 2 r
      8.0000
    """

    total_count: Positive
    logits: UncertainLogit = None
    probs: UncertainProbability = None

    also = Capability.SUPPORT

    def _fields(self):
        return float_fields(self, one_of(self, "logits", "probs"), "total_count")

    def mean(self) -> Array:
        field, r = self._fields()
        p, q = self._success_and_failure(field)
        return over(r * p, q)

    def _variance(self):
        field, r = self._fields()
        p, q = self._success_and_failure(field)
        return over(jnp.ones_like(q), q), r * p

    def mode(self) -> Array:
        field, r = stop(self._fields())
        p, q = self._success_and_failure(field)
        return jnp.floor(jnp.maximum(r - 1, 0) * p / q).astype(jnp.int32)

    def sample(self, key: Key) -> Array:
        field, r = (undifferentiable(self, number) for number in self._fields())
        odds = field if self.probs is None else safe_log(field) - safe_log_of_rest(field)
        key_gamma, key_count = jax.random.split(key)
        return _counts.poisson(key_count, jnp.exp(jax.random.loggamma(key_gamma, r, dtype=r.dtype) + odds))

    def uniform_like(self) -> jax.ShapeDtypeStruct:
        """One uniform for each count, for ``alternative``."""
        return fine_uniform(super().uniform_like())

    def alternative(self, u: Array, v: Array) -> Alternative:
        del v
        whole = wide(self)
        stopped, (field, r) = stop(whole), stop(whole._fields())
        p, q = stopped._success_and_failure()
        mass = lambda k: jnp.exp(stopped._log_mass(k, field, r))
        k = inverted(u, r * p / q, mass, lambda k: (k + r) / (k + 1) * p)
        total = guard(whole._fields()[1], order=0, message=IN_TOTAL_COUNT)
        return _alternatives.one_more(k, (k.astype(r.dtype) + stop(total)) / q * whole._success())

    def weak_derivative(self) -> WeakDerivative:
        field, r = self._fields()
        p, q = self._success_and_failure(field)
        r = _weak.only_in("success probability", r, "total_count", "NegativeBinomial")
        reach = (r + 10 * jnp.sqrt(r) + 50) * p / q  # beyond it there are no rates
        field = nan_where(~(stop(reach) <= _counts.MOST_RATE), field)

        def pairs(key: Key) -> Pairs:
            key_count, key_more = jax.random.split(key)
            x = stop(self).sample(key_count)
            return [(x + samplers.geometric(key_more, stop(q), dtype=jnp.int32), x)]

        return of_coordinates([field], [r * p if self.probs is None else r / q], pairs)

    def _log_mass(self, k, field, r):
        p, q = self._success_and_failure(field)
        return _log_mass(k.astype(r.dtype), r, p, q, *self._log_odds(field), q * excess(k, over(r * p, q)))

    def _masses(self, k, p, r):
        log_mass = lambda k, r, p: _log_mass(k, r, p, 1 - p, safe_log(p), safe_log_of_rest(p))
        return negative_binomial_mass(log_mass, k, r, p)


def _log_mass(k: Array, r: Array, p: Array, q: Array, log_p: Array, log_q: Array, above: Array | None = None) -> Array:
    """``above`` is k - (k + r) p, where that is known with more digits than k."""
    return log_binomial(k, r, p, q, log_p, log_q, k * q - r * p if above is None else above) - jnp.log1p(over(k, r))
