"""Independent choices among K categories: Categorical, whose draws are numbers, and OneHotCategorical, whose draws are rows."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._trees import in_explicit_mesh, stop
from jax_scorefn.distributions import _alternatives, _weak
from jax_scorefn.distributions._alternatives import Alternative
from jax_scorefn.distributions._base import Independent, distribution
from jax_scorefn.distributions._categories import given_probs, logits_of, probs_and_logs
from jax_scorefn.distributions._discrete import impossible, is_whole, undifferentiable
from jax_scorefn.distributions._fields import LogWeights, Weights, float_fields
from jax_scorefn.distributions._grids import Grid, product_grid
from jax_scorefn.distributions._special import divergence, entropy_terms
from jax_scorefn.distributions._views import CategoricalView, WeakDerivative, numbered
from jax_scorefn.typing import Array, Capability

FEW, SUMMED_IN_TURN = 4, 16
"""Categories that are told apart by selection (a gather goes back as a scatter, which takes longer than that), and those whose
cumulative probabilities are added in turn (a quarter of the time of a cumulative sum, but longer to compile)."""


@distribution()
class Categorical(Independent):
    """Independent choices among K categories, numbered from 0.

    Args:
      logits: unnormalised log-probabilities, shape ``(..., K)``; -inf forbids a category; or
      probs: unnormalised probabilities; one of the two is given, not both.

    A draw is int32 of shape ``(...)``, by inversion: one uniform for each choice finds its place among the cumulative
    probabilities (``jax.random.categorical`` takes K for the same distribution, so its draws are others). The distribution is that of
    the probabilities to within the resolution of a uniform, 2^-23 in float32, while the score is that of the probabilities: a category
    rarer than that may never be drawn, or too often.
    """

    logits: LogWeights = None
    probs: Weights = None
    also = Capability.SUPPORT | Capability.FINITE

    def _fields(self):
        return (logits_of(self),)

    def choices(self) -> CategoricalView:
        logits = logits_of(self)
        return numbered(
            jax.nn.log_softmax(logits, axis=-1), given_probs(self), lambda option: option.reshape(logits.shape[:-1])
        )

    def entropy(self) -> Array:
        return jnp.sum(entropy_terms(probs_and_logs(self)[0], by_logits=self.probs is None))

    def _kl_to(self, other: Categorical) -> Array:
        (p, _), (q, _) = probs_and_logs(self), probs_and_logs(other)
        return jnp.sum(divergence(p, q, by_logits=self.probs is None))

    def alternative(self, u: Array, v: Array) -> Alternative:
        logits, given = logits_of(self), given_probs(stop(self))
        log_probs = jax.nn.log_softmax(logits, axis=-1)
        probs = jax.nn.softmax(stop(logits), axis=-1) if given is None else given
        return _alternatives.option(_inverted(probs, u), v, log_probs)

    def weak_derivative(self) -> WeakDerivative:
        logits = logits_of(self)
        given = logits if self.probs is None else float_fields(self, "probs")[0]
        return _weak.categorical(logits, given, in_logits=self.probs is None)

    def uniform_like(self) -> jax.ShapeDtypeStruct:
        """One uniform for each choice."""
        logits = logits_of(self)
        return jax.ShapeDtypeStruct(logits.shape[:-1], logits.dtype)

    def mode(self) -> Array:
        return jnp.argmax(logits_of(self), axis=-1).astype(jnp.int32)

    def from_uniform(self, u: Array) -> Array:
        return _inverted(jax.nn.softmax(undifferentiable(self, logits_of(self)), axis=-1), u)

    def _scored(self, u: Array) -> tuple[Array, Array]:
        x = stop(self).from_uniform(u)
        return x, self._log_prob_at(x)

    def _log_prob(self, x: Array) -> Array:
        inside = (x >= 0) & (x < logits_of(self).shape[-1]) & is_whole(x)
        log_probs = self._log_prob_at(jnp.where(inside, x, 0).astype(jnp.int32))
        return jnp.where(inside, log_probs, impossible(x, log_probs))

    def _log_prob_at(self, index: Array) -> Array:
        """Of each choice, for numbers that are known to be categories."""
        log_probs = jax.nn.log_softmax(logits_of(self), axis=-1)
        if log_probs.shape[-1] <= FEW:
            picked = jnp.broadcast_to(log_probs[..., 0], index.shape)
            for k in range(1, log_probs.shape[-1]):
                picked = jnp.where(index == k, log_probs[..., k], picked)
            return picked
        log_probs = jnp.broadcast_to(log_probs, (*index.shape, log_probs.shape[-1]))
        if in_explicit_mesh():  # there a gather cannot tell how its result is to be sharded
            chosen = index[..., None] == jnp.arange(log_probs.shape[-1], dtype=jnp.int32).reshape(
                (1,) * index.ndim + (-1,)
            )
            return jnp.sum(jnp.where(chosen, log_probs, jnp.zeros((), log_probs.dtype)), axis=-1)
        return jnp.take_along_axis(log_probs, index[..., None], axis=-1, mode="promise_in_bounds")[..., 0]

    def log_prob(self, x: Array) -> Array:
        """Sum over the choices of the log-probability of the category: a float scalar."""
        return jnp.sum(self._log_prob(jnp.broadcast_to(jnp.asarray(x), logits_of(self).shape[:-1])))

    def grid(self, *, num_nodes: int = 32, max_value: int | None = None, max_points: int = 2**16) -> Grid:
        """Every combination of categories."""
        del num_nodes, max_value
        logits = logits_of(self)
        categories = jnp.arange(logits.shape[-1], dtype=jnp.int32)
        log_probs = jnp.moveaxis(jax.nn.log_softmax(logits, axis=-1), -1, 0)
        nodes = jnp.broadcast_to(categories.reshape((-1,) + (1,) * (logits.ndim - 1)), log_probs.shape)
        probs = given_probs(self)
        probs = None if probs is None else jnp.moveaxis(probs, -1, 0)
        return product_grid(self.name, nodes, log_probs, max_points, probs=probs)


@distribution()
class OneHotCategorical(Independent):
    """Independent choices among K categories, each drawn as a row of K numbers with a single 1.

    Args:
      logits: unnormalised log-probabilities, shape ``(..., K)``; -inf forbids a category; or
      probs: unnormalised probabilities; one of the two is given, not both.

    A draw has the shape and float dtype of the parameter; it is that of ``Categorical`` for the same key, as rows. An f of
    rows can be asked between the draws as well, which is what relaxations and their control variates do.
    """

    logits: LogWeights = None
    probs: Weights = None
    also = Capability.SUPPORT | Capability.FINITE | Capability.RELAXED

    @property
    def _number(self) -> Categorical:
        return Categorical(logits=self.logits, probs=self.probs)

    def _row(self, number: Array) -> Array:
        logits = logits_of(self)
        return jax.nn.one_hot(number, logits.shape[-1], dtype=logits.dtype)

    def _fields(self):
        return (logits_of(self),)

    def choices(self) -> CategoricalView:
        view, shape = self._number.choices(), logits_of(self).shape
        return view._replace(
            build=lambda options: self._row(options[0]).reshape(shape), relax=lambda rows: rows[0].reshape(shape)
        )

    def uniform_like(self) -> jax.ShapeDtypeStruct:
        """One uniform for each choice."""
        return self._number.uniform_like()

    def alternative(self, u: Array, v: Array) -> Alternative:
        x, y, rate = self._number.alternative(u, v)
        return Alternative(self._row(x), self._row(y), rate)

    def entropy(self) -> Array:
        return self._number.entropy()

    def _kl_to(self, other: OneHotCategorical) -> Array:
        return self._number._kl_to(other._number)

    def mean(self) -> Array:
        return probs_and_logs(self)[0]

    def covariance_times(self, v: Array) -> Array:
        p = self.mean()
        return p * (v - jnp.sum(p * v, axis=-1, keepdims=True))

    def mode(self) -> Array:
        return self._row(self._number.mode())

    def from_uniform(self, u: Array) -> Array:
        return self._row(self._number.from_uniform(u))

    def _scored(self, u: Array) -> tuple[Array, Array]:
        number, log_probs = self._number._scored(u)
        return self._row(number), log_probs

    def _log_prob(self, x: Array) -> Array:
        is_row = jnp.all((x == 0) | (x == 1), axis=-1) & (jnp.sum(x == 1, axis=-1) == 1)
        log_probs = self._number._log_prob(jnp.argmax(x == 1, axis=-1))
        return jnp.where(is_row, log_probs, impossible(jnp.sum(x, axis=-1), log_probs))

    def grid(self, *, num_nodes: int = 32, max_value: int | None = None, max_points: int = 2**16) -> Grid:
        """Every combination of categories."""
        grid = self._number.grid(num_nodes=num_nodes, max_value=max_value, max_points=max_points)
        return grid._replace(points=self._row(grid.points))


def _below(total: Array, u: Array) -> Array:
    """A part u of the total, strictly below it whatever u rounds to: so the first sum above it is there, and has p > 0."""
    return jnp.minimum(u * total, total * np.asarray(1 - jnp.finfo(u.dtype).epsneg, u.dtype))


def _inverted(probs: Array, u: Array) -> Array:
    """The category whose part of the sum a uniform falls into."""
    if probs.shape[-1] <= SUMMED_IN_TURN:  # a sum in turn stays level where nothing is added
        *below, total = itertools.accumulate(probs[..., k] for k in range(probs.shape[-1]))
        threshold = _below(total, u)
        return sum(((cdf <= threshold).astype(jnp.int32) for cdf in below), jnp.zeros(u.shape, jnp.int32))
    # Any other rounded sum may rise or fall by an ulp there. Here it stays level, so where it rises p > 0.
    cdf = jax.lax.cummax(jnp.where(probs > 0, jnp.cumsum(probs, axis=-1), 0), axis=probs.ndim - 1)
    return jnp.sum(cdf <= _below(cdf[..., -1], u)[..., None], axis=-1, dtype=jnp.int32)
