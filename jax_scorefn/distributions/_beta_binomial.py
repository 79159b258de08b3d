"""Successes in n trials whose probability is drawn once, p ~ Beta(a, b): counts more spread than those of a Binomial.

    P(k)  =  n! / (k! (n - k)!) B(k + a, n - k + b) / B(a, b)
          =  N(k; a) N(n - k; b) / N(n; a + b),    N(k; r) = r / (k + r) Binomial(k; k + r, t)

for any t: N is the mass of a negative binomial, of which two with one t, given their sum, are this. With t = n / (n + a + b) each
of them is near its centre where k is, and no term is larger than the result (see ``_special``).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jax_scorefn._trees import stop
from jax_scorefn.distributions import _counts
from jax_scorefn.distributions._base import distribution
from jax_scorefn.distributions._beta import Beta
from jax_scorefn.distributions._discrete import undifferentiable
from jax_scorefn.distributions._fields import Count, Positive
from jax_scorefn.distributions._scales import over
from jax_scorefn.distributions._special import excess, log_binomial
from jax_scorefn.distributions._trials import Successes
from jax_scorefn.typing import Array, Key


@distribution(static=("total_count",))
class BetaBinomial(Successes):
    """Independent counts of successes in ``total_count`` trials, each count with a probability of its own, drawn of Beta(a, b).

    Args:
      total_count: number of trials: a Python int, or an array, traced or not, which is never differentiated. The support of an
        array's number is not enumerated.
      a: positive, any shape; where it and ``b`` are 1, every count from 0 to ``total_count`` is equally likely.
      b: positive; broadcasts with ``a``.

    A draw is int32: that of ``Binomial`` for the second key of ``jax.random.split(key)``, at that of ``Beta`` for the first. The
    probability of a success is drawn and used in logarithms, so it has all its digits near 0 and near 1.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> counts = sf.family(lambda a: sf.BetaBinomial(total_count=10, a=a, b=2.0))
      >>> print(f"{sf.exact_grad(lambda x: x.astype(float), counts, 3.0):.4f}")  # of 10 a / (a + 2)
      0.8000
    """

    total_count: Count
    a: Positive
    b: Positive
    by_name = True

    def mean(self) -> Array:
        a, b = self._fields()
        return self._trials() * over(a, a + b)

    def _variance(self):
        (a, b), n = self._fields(), self._trials()
        return 1.0, n * over(a, a + b) * over(b, a + b) * over(a + b + n, a + b + 1)

    def mode(self) -> Array:
        """Of the two ends and the count where the masses stop to grow, the likeliest."""
        (a, b), n = stop(self._fields()), self._trials()
        dtype = a.dtype
        top = jnp.broadcast_to(jnp.asarray(n, dtype), a.shape)
        turn = (n * (a - 1) - (b - 1)) / jnp.where(a + b == 2, 1, a + b - 2)
        inner = jnp.clip(jnp.floor(turn) + 1, 0, top)
        candidates = jnp.stack([inner, jnp.zeros_like(inner), top])
        log_probs = jnp.stack([stop(self)._log_prob(x.astype(jnp.int32)) for x in candidates])
        best = jnp.argmax(log_probs, axis=0, keepdims=True)
        return jnp.take_along_axis(candidates, best, axis=0)[0].astype(jnp.int32)

    def sample(self, key: Key) -> Array:
        a, b = (undifferentiable(self, number) for number in self._fields())
        key_beta, key_count = jax.random.split(key)
        log_p, log_q = Beta(a=a, b=b)._sample_logs(key_beta)
        return _counts.binomial(key_count, jnp.asarray(self._trials(), a.dtype), jnp.exp(log_p), jnp.exp(log_q))

    def _log_mass(self, k, a, b):
        n = self._trials()
        return _log_mass(k, n - k, a, b, excess(k, n * over(a, a + b)))


def _log_mass(k: Array, rest: Array, a: Array, b: Array, excess: Array) -> Array:
    """Of k successes and ``rest`` failures; ``excess`` is k less its mean."""
    k, rest = k.astype(a.dtype), rest.astype(a.dtype)
    n, total = k + rest, a + b
    t, q = over(n, n + total), over(total, n + total)
    log_t, log_q = jnp.log(jnp.where(n > 0, t, 1)), jnp.log(q)
    above = q * excess  # k - (k + a) t, and for the failures the opposite
    first = log_binomial(k, a, t, q, log_t, log_q, above) - jnp.log1p(over(k, a))
    second = log_binomial(rest, b, t, q, log_t, log_q, -above) - jnp.log1p(over(rest, b))
    centre = jnp.zeros_like(n)
    return first + second - log_binomial(n, total, t, q, log_t, log_q, centre) + jnp.log1p(over(n, total))
