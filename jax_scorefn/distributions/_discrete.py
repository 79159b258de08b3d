"""Distributions on whole numbers: Bernoulli, Geometric, Poisson. (Binomial has a file of its own.)

Log-probabilities are computed in log space from logits, so that a logit of -25 keeps its derivative and infinite logits
give log-probabilities of 0 and -inf instead of NaN.
"""

from __future__ import annotations

import functools
import operator
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._guards import guard
from jax_scorefn._surrogate import nan_where
from jax_scorefn._trees import stop
from jax_scorefn._wide import wide
from jax_scorefn.distributions import _alternatives, _counts, _weak
from jax_scorefn.distributions._alternatives import Alternative, fine_uniform, inverted
from jax_scorefn.distributions._base import Distribution, Elementwise, column, distribution
from jax_scorefn.distributions._fields import (
    Logit,
    NonNegative,
    PossibleLogit,
    PossibleProbability,
    Probability,
    float_fields,
    one_of,
)
from jax_scorefn.distributions._grids import NEEDS_MAX_VALUE
from jax_scorefn.distributions._masses import poisson_mass, power
from jax_scorefn.distributions._scales import over
from jax_scorefn.distributions._special import divergence, entropy_terms, excess, log_poisson
from jax_scorefn.distributions._views import CategoricalView, WeakDerivative
from jax_scorefn.noise import Fine
from jax_scorefn.typing import Array, Capability, Key

DISCRETE_DRAW = (
    "A draw of {dist} was differentiated in the distribution's parameters. It is discrete, so its derivative along the path would "
    "be 0 without a word. Use a score-function estimator (sf.score_function), or stop the parameters that go into the draw "
    "with jax.lax.stop_gradient."
)


def undifferentiable(dist: Distribution, parameter: Array) -> Array:
    """The parameter of a draw, which raises when it is differentiated."""
    return guard(parameter, order=0, message=DISCRETE_DRAW.format(dist=dist.name))


class Counts(Elementwise):
    """Independent whole numbers from ``_least`` on, to no end or to one that a subclass knows."""

    _least: ClassVar[int] = 0

    def _end(self) -> int | Array | None:
        """The largest number, if there is one."""
        return None

    def _last(self, max_value: int | None) -> int:
        """The last number of a grid."""
        if max_value is None:
            raise ValueError(NEEDS_MAX_VALUE.format(dist=self.name))
        return max_value

    def _log_mass(self, k: Array, *fields: Array) -> Array:
        """Log-probabilities of such numbers, in the shape of which the fields are."""
        raise NotImplementedError

    def _known(self, nodes: Array, *fields: Array) -> dict[str, Array]:
        """Probabilities of a grid, where they are known better than as exponentials: right at the ends of a field's range too."""
        del nodes, fields
        return {}

    def _log_prob(self, x):
        fields, end = [jnp.broadcast_to(field, x.shape) for field in self._fields()], self._end()
        none = functools.reduce(operator.add, fields)
        if isinstance(end, jax.Array):
            x, none = x.astype(end.dtype), none + end
        valid = (x >= self._least) & is_whole(x)
        valid = valid if end is None else valid & (x <= end)
        return jnp.where(valid, self._log_mass(jnp.where(valid, x, self._least), *fields), impossible(x, none))

    def _nodes(self, max_value):
        numbers, fields = np.arange(self._least, self._last(max_value) + 1), self._fields()
        nodes = column(numbers, fields[0])
        return nodes.astype(jnp.int32), self._known(nodes, *(jnp.broadcast_to(field, nodes.shape) for field in fields))


class Odds(Counts):
    """Numbers of successes, or of trials, of a probability that is given as ``logits`` or as ``probs``."""

    logits: Logit
    probs: Probability

    def _fields(self):
        return float_fields(self, one_of(self, "logits", "probs"))

    def _success(self) -> Array:
        """The success probability."""
        field = self._fields()[0]
        return jax.nn.sigmoid(field) if self.probs is None else field

    def _success_and_failure(self, field: Array | None = None) -> tuple[Array, Array]:
        """P and 1 - p, each with the digits that it has."""
        field = self._fields()[0] if field is None else field
        return (jax.nn.sigmoid(field), jax.nn.sigmoid(-field)) if self.probs is None else (field, 1 - field)

    def _probs(self) -> Array:
        """The success probability that a draw is made with."""
        return undifferentiable(self, self._success())

    def _log_odds(self, field: Array | None = None) -> tuple[Array, Array]:
        """Log p and log(1 - p), each with a derivative that is finite wherever it can be drawn."""
        field = self._fields()[0] if field is None else field
        if self.probs is None:
            return jax.nn.log_sigmoid(field), jax.nn.log_sigmoid(-field)
        return safe_log(field), safe_log_of_rest(field)

    def _known(self, nodes, *fields):
        return {} if self.probs is None else {"probs": self._masses(nodes, *fields)}

    def _masses(self, k: Array, p: Array, *fields: Array) -> Array:
        """Probabilities of values, as functions of the success probability."""
        raise NotImplementedError

    def _trial_entropy(self) -> Array:
        """Entropy of one success or failure."""
        p, q = (entropy_terms(p, by_logits=self.probs is None) for p in self._success_and_failure())
        return p + q

    def _trial_kl(self, other: Odds) -> Array:
        """Relative entropy of one success or failure."""
        both = zip(self._success_and_failure(), other._success_and_failure(), strict=True)
        success, failure = (divergence(p, q, by_logits=self.probs is None) for p, q in both)
        return success + failure


def safe_log(p: Array) -> Array:
    """Log p, which at p = 0 is -inf with a derivative of 0: nothing of probability 0 is drawn. NaN, and less than 0, are NaN."""
    return jnp.where(p == 0, -jnp.inf, jnp.log(jnp.where(p == 0, 1, p)))


def safe_log_of_rest(p: Array) -> Array:
    """Log(1 - p), which at p = 1 is -inf with a derivative of 0."""
    return jnp.where(p == 1, -jnp.inf, jnp.log1p(-jnp.where(p == 1, 0, p)))


def impossible(x: Array, parameter: Array) -> Array:
    """Minus infinity for a value that the distribution does not have.

    NaN, with derivatives of NaN in the parameter, for a value that is NaN, for a count that is none, and of a distribution that is
    none.
    """
    none = jnp.isnan(parameter)
    if jnp.issubdtype(x.dtype, jnp.floating):
        none = none | jnp.isnan(x)
    elif x.dtype == jnp.int32:
        none = none | (x == _counts.NO_COUNT)
    return nan_where(none, jnp.where(none, parameter, -jnp.inf))


def is_whole(x: Array) -> Array:
    return jnp.full(x.shape, True) if jnp.issubdtype(x.dtype, jnp.integer) else x == jnp.floor(x)


@distribution()
class Bernoulli(Odds):
    """Independent bits: 1 with probability p, else 0.

    Args:
      logits: log(p / (1 - p)), any shape; or
      probs: p; one of the two is given, not both.

    A draw has the shape and float dtype of the parameter, and is ``jax.random.bernoulli(key, p)`` as 0.0 and 1.0. For a p below 2^-8
    in float32 it is 1 as often as p says, to within 2^-32, and not in steps of 2^-23; so write rare events as ones, not as zeros.
    """

    logits: Logit = None
    probs: Probability = None
    also = Capability.SUPPORT | Capability.FINITE | Capability.RELAXED | Capability.BITS
    _entropy, _kl = Odds._trial_entropy, Odds._trial_kl

    def choices(self) -> CategoricalView:
        (field,) = self._fields()
        log_p, log_q = self._log_odds()
        p, q = self._success_and_failure()
        return CategoricalView(
            [jnp.stack([log_q, log_p], axis=-1).reshape(-1, 2)],
            [jnp.stack([q, p], axis=-1).reshape(-1, 2)],
            lambda options: options[0].reshape(field.shape).astype(field.dtype),
            lambda numbers: (numbers[0][:, 1] - numbers[0][:, 0]).reshape(field.shape),
            lambda rows: rows[0][:, 1].reshape(field.shape),
            [(field if self.probs is None else log_p - log_q).reshape(-1)],
        )

    def mean(self) -> Array:
        return self._success()

    def _variance(self):
        p = self._success()
        return 1.0, p * (1 - p)

    def mode(self) -> Array:
        p = stop(self._success())
        return jnp.where(jnp.isnan(p), p, (p > 0.5).astype(p.dtype))

    def weak_derivative(self) -> WeakDerivative:
        return _weak.bernoulli(*self._fields(), in_logits=self.probs is None)

    def alternative(self, u: Array, v: Array) -> Alternative:
        del v
        return _alternatives.bit(stop(self).from_uniform(u), self._success())

    def uniform_like(self) -> jax.ShapeDtypeStruct:
        """One uniform for each coordinate, fine where it is small."""
        like = super().uniform_like()
        return Fine(like.shape, like.dtype)

    def from_uniform(self, u: Array) -> Array:
        return (u < self._probs()).astype(u.dtype)

    def _scored(self, u: Array) -> tuple[Array, Array]:
        x = stop(self).from_uniform(u)
        return x, jnp.where(x == 1, *self._log_odds())

    def _log_prob(self, x):
        log_p, log_q = (jnp.broadcast_to(p, x.shape) for p in self._log_odds())
        return jnp.where(x == 1, log_p, jnp.where(x == 0, log_q, impossible(x, log_p)))

    def _nodes(self, max_value):
        del max_value
        (field,) = self._fields()
        known = {} if self.probs is None else {"probs": jnp.stack([1 - field, field])}
        return column(np.array([0, 1]), field), known


@distribution()
class Geometric(Odds):
    """Independent numbers of trials up to the first success: P(k) = p (1 - p)^(k - 1), k = 1, 2, ...

    Args:
      logits: log(p / (1 - p)), any shape; or
      probs: p; one of the two is given, not both.

    A draw is int32, that of ``jax.random.geometric(key, p)``. Draws of a p below 2^-26, which an int32 need not hold, are
    -2^31: no count, whose log-probability is NaN.
    """

    logits: PossibleLogit = None
    probs: PossibleProbability = None
    also = Capability.SUPPORT
    _least = 1

    def mean(self) -> Array:
        p = self._success()
        return over(jnp.ones_like(p), p)

    def _variance(self):
        p = self._success()
        return over(jnp.ones_like(p), p), 1 - p

    def mode(self) -> Array:
        return jnp.ones(self._success().shape, jnp.int32)

    def _entropy(self):
        return over(self._trial_entropy(), self._success())

    def _kl(self, other):
        return over(self._trial_kl(other), self._success())

    def weak_derivative(self) -> WeakDerivative:
        return _weak.geometric(*self._fields(), in_logits=self.probs is None)

    def alternative(self, u: Array, v: Array) -> Alternative:
        del v
        k, p = stop(self).from_uniform(u), self._success()
        weight = k.astype(p.dtype) / jnp.where(k > 0, stop(p), 1)
        return _alternatives.one_more(k, -weight * p)

    def from_uniform(self, u: Array) -> Array:
        u = jnp.where(u == 0, 1, u)
        p = self._probs()
        count = (jnp.floor(jnp.log(u) / jnp.log1p(-p)) + 1).astype(jnp.int32)
        return jnp.where(p >= _counts.LEAST_PROBABILITY, count, _counts.NO_COUNT)

    def _log_mass(self, k, field):
        (log_p, log_q), failures = self._log_odds(field), k.astype(field.dtype) - 1
        return log_p + jnp.where(failures == 0, 0, failures * log_q)  # none adds 0 whatever p is

    def _masses(self, k, p):
        return p * power(safe_log, k - 1, 1 - p)


@distribution()
class Poisson(Counts):
    """Independent Poisson counts.

    Args:
      rate: mean, at least 0 (where the count is always 0), any shape.

    A draw is int32, that of ``jax.random.poisson(key, rate)`` (which takes threefry keys only). Where that loses its digits, above a
    rate of 65,536 in float32, it is drawn otherwise. Draws of a rate above 2^31 - 2^21, which an int32 need not hold, are
    -2^31: no count, whose log-probability is NaN.
    """

    rate: NonNegative
    also = Capability.SUPPORT

    def mean(self) -> Array:
        return self._fields()[0]

    def _variance(self):
        return 1.0, self._fields()[0]

    def mode(self) -> Array:
        return jnp.floor(stop(self._fields()[0])).astype(jnp.int32)

    def _kl(self, other):
        (rate,), (to,) = self._fields(), other._fields()
        return divergence(rate, to, by_logits=False)

    def weak_derivative(self) -> WeakDerivative:
        return _weak.poisson(*self._fields())

    def uniform_like(self) -> jax.ShapeDtypeStruct:
        """One uniform for each count, for ``alternative``."""
        return fine_uniform(super().uniform_like())

    def alternative(self, u: Array, v: Array) -> Alternative:
        del v
        whole = wide(self)
        (rate,), (mean,) = whole._fields(), stop(whole)._fields()
        mass = lambda k: jnp.exp(stop(whole)._log_mass(k, mean))
        return _alternatives.one_more(inverted(u, mean, mass, lambda k: mean / (k + 1)), rate)

    def sample(self, key: Key) -> Array:
        return _counts.poisson(key, undifferentiable(self, self._fields()[0]))

    def _log_mass(self, k, rate):
        return log_poisson(k.astype(rate.dtype), rate, safe_log(rate), excess(k, rate))

    def _known(self, nodes, rate):
        return {"probs": poisson_mass(lambda k, rate: log_poisson(k, rate, safe_log(rate)), nodes, rate)}
