"""One call of an estimator: what was asked for, checked once, and the parts that every body is made of.

    rows   = call.uniforms(shape, dtype)  or  call.noise(scheme)      what draw i is made of, from (key, i) alone
    values = call.map(one, rows)                                      one(row i) for each i, in chunks and over devices
    return   call.answer(value, values, kept)                         the value, and an Info for who asks

``call.dist`` is the distribution at the parameters. It has what the record says that the estimator needs, and raises when it is
differentiated more often than the record says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
from jax.sharding import Sharding

from jax_scorefn import _checks, engine
from jax_scorefn._groups import whole_groups
from jax_scorefn._trees import stop
from jax_scorefn.distributions import Distribution, Family
from jax_scorefn.estimators._statistics import mean_error
from jax_scorefn.typing import Array, ChunkSize, Info, Key, Params, PyTree

if TYPE_CHECKING:
    from jax_scorefn.estimators._registry import Record


class Answer(NamedTuple):
    """The value of an estimator, how to describe it, and how many of its rows of draws do not depend on each other."""

    value: Array
    info: Callable[[], Info]
    num_groups: int


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """What a call asks for.

    Attributes:
      record: the facts of the estimator.
      family: of the distributions.
      params: where the distribution is wanted; they may be differentiated as often as the record says.
      dist: the distribution there.
      free: the same without a limit of its own, for estimators that differentiate the density themselves.
      given_key, given_num_samples: as they were given; see ``key`` and ``num_samples``.
      chunk_size, sharding: the layout of the draws, for the engine.
      reports: whether anybody will look at the Info, so that the draws are to be kept.
      map_draws: the engine's, or what answers in its place.
    """

    record: Record
    family: Family
    params: Params
    dist: Distribution
    free: Distribution
    given_key: Any
    given_num_samples: Any
    chunk_size: ChunkSize
    sharding: Sharding | None
    reports: bool
    map_draws: Callable[..., Any]

    @property
    def key(self) -> Key:
        """The one key of the call."""
        _checks.key(self.record.name, self.given_key)
        return self.given_key

    @property
    def num_samples(self) -> int:
        """How many draws were asked for."""
        return _checks.positive_int("num_samples", self.given_num_samples)

    def at(self, params: Params) -> Distribution:
        """The distribution at other parameters."""
        return self.record.limit(self.family.at(params))

    def moved(self, params: Params) -> Call:
        """The same call at other parameters."""
        free = self.family.at(params)
        return dataclasses.replace(self, params=params, dist=self.record.limit(free), free=free)

    def groups(self, size: int) -> int:
        """The number of groups of this size, which all draws have to make."""
        whole_groups(self.record.name, size)(self.num_samples)
        return self.num_samples // size

    def uniforms(self, shape: tuple[int, ...], dtype: Any, num_rows: int | None = None) -> Callable[[Array], Array]:
        """Uniforms of a shape for each draw, or for as many rows."""
        total = self.num_samples if num_rows is None else num_rows
        return engine.uniforms(shape, dtype, self.key, total, self.sharding)

    def noise(self, scheme: Any = None) -> Callable[[Array], engine.Noise]:
        """What the draws of the distribution are made of."""
        return engine.noise_of(self.dist, self.key, self.num_samples, scheme, self.sharding)

    def noise_and_key(self) -> Callable[[Array], tuple[engine.Noise, Key]]:
        """The same, and a key for what else is drawn with each draw."""
        return engine.noise_and_key_of(self.dist, self.key, self.num_samples, self.sharding)

    def points(self, table: PyTree) -> Callable[[Array], PyTree]:
        """Draws that are there already."""
        return engine.points(table, self.sharding)

    def map(
        self, one: Callable[..., Any], draws: Callable[[Array], Any], total: int | None = None, beside: PyTree = None
    ) -> Any:
        """``one(draw i, row i of beside)`` for all draws, or ``total`` of them, stacked."""
        total = self.num_samples if total is None else total
        return self.map_draws(one, draws, total, beside=beside, chunk_size=self.chunk_size, sharding=self.sharding)

    def map_rows(self, one: Callable[[PyTree], Any], table: PyTree) -> Any:
        """``one(row i)`` of what an earlier map gave for the draws, stacked. To first order the rows are stopped."""
        return self.map(lambda _, row: one(row), lambda index: index, beside=table)

    def map_outcomes(self, one: Callable[[PyTree], Any], table: PyTree, total: int) -> Any:
        """``one(row i)`` of a table of outcomes, none of them drawn."""
        layout = {"chunk_size": self.chunk_size, "sharding": self.sharding}
        return engine.map_draws(lambda x, _: one(x), self.points(table), total, **layout)

    def kept(self, x: PyTree) -> tuple[PyTree, Array] | None:
        """A draw and its log-probability, held fixed, if anybody will look at them."""
        if not self.reports:
            return None
        x, stopped = stop(x), stop(self.dist)
        return x, _checks.log_prob(stopped, stopped.log_prob(x))

    def answer(
        self, value: Array, values: Array, kept: Any, *, weights: Any = None, of: Any = None, group_size: int = 1,
        error: Callable[[], Array] | None = None,
    ) -> Answer:  # fmt: skip
        """The value beside f at each draw.

        Args:
          value: the estimate.
          values: f at each draw.
          kept: draws and log-probabilities.
          weights: of each draw in the value, or a function that makes them; None is 1.
          of: whose mean the value is, group by group, for its standard error; None is f itself.
          group_size: how many draws in a row depend on each other.
          error: the standard error, where it is that of no mean.
        """

        def info() -> Info:
            samples, log_probs = kept
            off = mean_error(values if of is None else of, group_size) if error is None else error()
            shares: Any = weights() if callable(weights) else weights
            return Info(samples, values, log_probs, jnp.ones_like(log_probs) if shares is None else shares, off)

        return Answer(value, info, (values if of is None else of).shape[0] // group_size)
