"""Laws on whole numbers and categories: Bernoulli, Categorical, Binomial, Geometric, Poisson.

Log-probabilities are computed in log space from logits, so that a logit of -25 keeps its derivative and infinite logits
give log-probabilities of 0 and -inf instead of NaN.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from jax_scorefn import _checks
from jax_scorefn._guards import guard
from jax_scorefn.distributions._base import Distribution, Elementwise, column, float_fields, law, one_of
from jax_scorefn.distributions._grids import NEEDS_MAX_VALUE, Grid, product_grid
from jax_scorefn.typing import Array, Capability, Key

DISCRETE_DRAW = (
    "A draw of {law} was differentiated in the law's parameters. It is discrete, so its derivative along the path would be 0 "
    "without a word. Use a score-function estimator (sf.score_function), or stop the parameters that go into the draw "
    "with jax.lax.stop_gradient."
)
_COUNT = Capability.LOG_PROB | Capability.SAMPLE | Capability.SUPPORT


def _held(law: Distribution, parameter: Array) -> Array:
    """The parameter of a draw, which raises when it is differentiated."""
    return guard(parameter, order=0, message=DISCRETE_DRAW.format(law=law.name))


class _Odds(Elementwise):
    """Laws of a success probability, given as ``logits`` or as ``probs``."""

    logits: Any
    probs: Any

    def _fields(self):
        name, field = one_of(self, "logits", "probs")
        return float_fields(self, **{name: field})

    def _probs(self) -> Array:
        """The success probability that a draw is made with."""
        (field,) = self._fields()
        return _held(self, jax.nn.sigmoid(field) if self.probs is None else field)

    def _log_odds_terms(self, successes: Array, failures: Array) -> Array:
        """successes * log p + failures * log(1 - p), where a count of 0 contributes 0 whatever p is."""
        (field,) = (jnp.broadcast_to(p, successes.shape) for p in self._fields())
        has_success, has_failure = successes > 0, failures > 0
        if self.probs is None:
            log_p = -jax.nn.softplus(jnp.where(has_success, -field, 0))
            log_q = -jax.nn.softplus(jnp.where(has_failure, field, 0))
        else:
            log_p = jnp.log(jnp.where(has_success, field, 1))
            log_q = jnp.log1p(-jnp.where(has_failure, field, 0))
        zero = jnp.zeros((), field.dtype)
        return jnp.where(has_success, successes * log_p, zero) + jnp.where(has_failure, failures * log_q, zero)


@law()
class Bernoulli(_Odds):
    """Independent bits: 1 with probability p, else 0.

    Args:
      logits: log(p / (1 - p)), any shape; or
      probs: p; one of the two is given, not both.

    A draw has the shape and float dtype of the parameter, and is ``jax.random.bernoulli(key, p)`` as 0.0 and 1.0.
    """

    logits: Any = None
    probs: Any = None
    capabilities: ClassVar[Capability] = _COUNT | Capability.FROM_UNIFORM

    def sample(self, key: Key) -> Array:
        probs = self._probs()
        return jax.random.bernoulli(key, probs).astype(probs.dtype)

    def from_uniform(self, u: Array) -> Array:
        return (u < self._probs()).astype(u.dtype)

    def _log_prob(self, x):
        (field,) = (jnp.broadcast_to(p, x.shape) for p in self._fields())
        x = x.astype(field.dtype)
        one, zero = x == 1, x == 0
        if self.probs is None:
            log_prob = -jax.nn.softplus(jnp.where(one, -field, field))
        else:  # each logarithm sees only values that it is selected for, so its derivative at p = 0 or 1 stays finite
            log_prob = jnp.log(jnp.where(one, field, 1)) + jnp.log1p(-jnp.where(zero, field, 0))
        return jnp.where(one | zero, log_prob, -jnp.inf)

    def _nodes(self, num_nodes, max_value):
        del num_nodes, max_value
        return column(np.array([0, 1]), self._fields()[0]), None


@law()
class Categorical(Distribution):
    """Independent choices among K categories, numbered from 0.

    Args:
      logits: unnormalised log-probabilities, shape ``(..., K)``; -inf forbids a category; or
      probs: unnormalised probabilities; one of the two is given, not both.

    A draw is int32 of shape ``(...)``, that of ``jax.random.categorical(key, logits)``.
    """

    logits: Any = None
    probs: Any = None
    capabilities: ClassVar[Capability] = _COUNT | Capability.FROM_UNIFORM

    def _logits(self) -> Array:
        name, field = one_of(self, "logits", "probs")
        (field,) = float_fields(self, **{name: field})
        if field.ndim == 0:
            raise ValueError(f"Categorical wants {name} with a last axis of K categories; it got a scalar.")
        if name == "probs":
            allowed = field > 0
            field = jnp.where(allowed, jnp.log(jnp.where(allowed, field, 1)), -jnp.inf)
        return field

    def uniform_like(self) -> jax.ShapeDtypeStruct:
        """One uniform for each category of each choice."""
        logits = self._logits()
        return jax.ShapeDtypeStruct(logits.shape, logits.dtype)

    def sample(self, key: Key) -> Array:
        return jax.random.categorical(key, _held(self, self._logits()), axis=-1).astype(jnp.int32)

    def from_uniform(self, u: Array) -> Array:
        tiny = float(jnp.finfo(u.dtype).tiny)
        low, one = np.asarray(tiny, u.dtype), np.asarray(1, u.dtype)
        gumbel = -jnp.log(-jnp.log(jnp.maximum(low, u * (one - low) + low)))
        return jnp.argmax(gumbel + _held(self, self._logits()), axis=-1).astype(jnp.int32)

    def _log_prob_of_each(self, x: Array) -> Array:
        log_probs = jax.nn.log_softmax(self._logits(), axis=-1)
        log_probs = jnp.broadcast_to(log_probs, (*x.shape, log_probs.shape[-1]))
        inside = (x >= 0) & (x < log_probs.shape[-1])
        index = jnp.where(inside, x, 0).astype(jnp.int32)
        picked = jnp.take_along_axis(log_probs, index[..., None], axis=-1)[..., 0]
        return jnp.where(inside, picked, -jnp.inf)

    def log_prob(self, x: Array) -> Array:
        """Sum over the choices of the log-probability of the category: a float scalar."""
        x = jnp.asarray(x)
        return jnp.sum(self._log_prob_of_each(jnp.broadcast_to(x, self._logits().shape[:-1])))

    def grid(self, *, num_nodes: int = 32, max_value: int | None = None, max_points: int = 2**16) -> Grid:
        """Every combination of categories."""
        del num_nodes, max_value
        logits = self._logits()
        categories = jnp.arange(logits.shape[-1], dtype=jnp.int32)
        log_probs = jnp.moveaxis(jax.nn.log_softmax(logits, axis=-1), -1, 0)
        nodes = jnp.broadcast_to(categories.reshape((-1,) + (1,) * (logits.ndim - 1)), log_probs.shape)
        return product_grid(self.name, nodes, None, log_probs, max_points)


@law(static=("total_count",))
class Binomial(_Odds):
    """Independent counts of successes in ``total_count`` trials.

    Args:
      total_count: number of trials, a Python int (static).
      logits: log(p / (1 - p)), any shape; or
      probs: p; one of the two is given, not both.

    A draw is int32, that of ``jax.random.binomial(key, total_count, p)``.
    """

    total_count: int
    logits: Any = None
    probs: Any = None
    capabilities: ClassVar[Capability] = _COUNT

    def sample(self, key: Key) -> Array:
        n, probs = _checks.positive_int("total_count", self.total_count), self._probs()
        return jax.random.binomial(key, jnp.asarray(n, probs.dtype), probs, dtype=probs.dtype).astype(jnp.int32)

    def _log_prob(self, x):
        n = _checks.positive_int("total_count", self.total_count)
        dtype = self._fields()[0].dtype
        valid = (x >= 0) & (x <= n) & (x == jnp.floor(x))
        k = jnp.where(valid, x, 0).astype(dtype)
        ways = gammaln(jnp.asarray(n + 1, dtype)) - gammaln(k + 1) - gammaln(n - k + 1)
        return jnp.where(valid, ways + self._log_odds_terms(k, n - k), -jnp.inf)

    def _nodes(self, num_nodes, max_value):
        del num_nodes, max_value
        return column(np.arange(self.total_count + 1), self._fields()[0]).astype(jnp.int32), None


@law()
class Geometric(_Odds):
    """Independent numbers of trials up to the first success: P(k) = p (1 - p)^(k - 1), k = 1, 2, ...

    Args:
      logits: log(p / (1 - p)), any shape; or
      probs: p; one of the two is given, not both.

    A draw is int32, that of ``jax.random.geometric(key, p)``.
    """

    logits: Any = None
    probs: Any = None
    capabilities: ClassVar[Capability] = _COUNT | Capability.FROM_UNIFORM

    def sample(self, key: Key) -> Array:
        return jax.random.geometric(key, self._probs(), dtype=jnp.int32)

    def from_uniform(self, u: Array) -> Array:
        u = jnp.where(u == 0, 1, u)
        return (jnp.floor(jnp.log(u) / jnp.log1p(-self._probs())) + 1).astype(jnp.int32)

    def _log_prob(self, x):
        valid = (x >= 1) & (x == jnp.floor(x))
        k = jnp.where(valid, x, 1).astype(self._fields()[0].dtype)
        return jnp.where(valid, self._log_odds_terms(jnp.ones_like(k), k - 1), -jnp.inf)

    def _nodes(self, num_nodes, max_value):
        del num_nodes
        if max_value is None:
            raise ValueError(NEEDS_MAX_VALUE.format(law=self.name))
        return column(np.arange(1, max_value + 1), self._fields()[0]).astype(jnp.int32), None


@law()
class Poisson(Elementwise):
    """Independent Poisson counts.

    Args:
      rate: mean, positive, any shape.

    A draw is int32, that of ``jax.random.poisson(key, rate)`` (which takes threefry keys only).
    """

    rate: Any
    capabilities: ClassVar[Capability] = _COUNT

    def _fields(self):
        return float_fields(self, rate=self.rate)

    def sample(self, key: Key) -> Array:
        return jax.random.poisson(key, _held(self, self._fields()[0]), dtype=jnp.int32)

    def _log_prob(self, x):
        (rate,) = (jnp.broadcast_to(p, x.shape) for p in self._fields())
        valid = (x >= 0) & (x == jnp.floor(x))
        k = jnp.where(valid, x, 0).astype(rate.dtype)
        return jnp.where(valid, k * jnp.log(rate) - rate - gammaln(k + 1), -jnp.inf)

    def _nodes(self, num_nodes, max_value):
        del num_nodes
        if max_value is None:
            raise ValueError(NEEDS_MAX_VALUE.format(law=self.name))
        return column(np.arange(max_value + 1), self._fields()[0]).astype(jnp.int32), None
