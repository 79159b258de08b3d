"""A method: an estimator of the library with its options, and what of it is trained. One entry of a table."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import optax

import jax_scorefn as sf
from jax_scorefn import Bias

Estimate = Callable[..., Any]
"""``(f, family, params, key) -> value``: an estimator with all its options bound."""


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What is trained on the way: the option that takes it, ``size of the parameters -> start``, and the rate of Adam."""

    option: str
    start: Callable[[int], Any]
    rate: float = 1e-2

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """What trains it."""
        return optax.adam(self.rate, eps=1e-12)  # a variance may be very small


@dataclasses.dataclass(frozen=True)
class Method:
    """A row of a table, a line of a figure.

    Attributes:
      name: what ``--only`` and the file of results call it.
      label: what tables and figures call it.
      estimator: its name in ``sf.ESTIMATORS``.
      options: keyword arguments beside ``num_samples``.
      sampled: whether it draws (and so takes ``num_samples``); one that does not has no variance.
      evaluations: evaluations of f as a function of S and of the number of points in the support; None where it is S (or the
        number of points, for a method that does not draw).
      only: names of the problems that it is made for; empty is every problem.
      calls: calls of f for each draw.
      at_least: the fewest draws that it can do with.
      apart: whether f is differentiated at its draws alone in what f closes over: elsewhere that adds noise.
      tuning: what of it is trained.
    """

    name: str
    label: str
    estimator: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sampled: bool = True
    evaluations: Callable[[int, int], int] | None = None
    only: tuple[str, ...] = ()
    calls: int = 1
    at_least: int = 1
    apart: bool = False
    tuning: Tuning | None = None

    @property
    def record(self) -> sf.Record:
        """What the library knows of the estimator."""
        return sf.ESTIMATORS[self.estimator]

    @property
    def bias(self) -> Bias:
        """What is declared of the estimator with these options."""
        return self.record.bias_with(**self.options)

    @property
    def biased(self) -> bool:
        """Whether its gradient is another one than what is wanted."""
        return self.bias != Bias.NONE

    def for_problem(self, problem: str) -> bool:
        """Whether it is a row of this problem's table at all."""
        return not self.only or problem in self.only

    def bind(self, num_samples: int, tuned: Any = None) -> Estimate:
        """The estimator with its options, its number of draws, and what was trained."""
        given = dict(self.options) | ({"num_samples": num_samples} if self.sampled else {})
        if self.tuning is not None and tuned is not None:
            given[self.tuning.option] = tuned
        return functools.partial(self.record.function, **given)

    def count(self, num_samples: int, num_points: int) -> int:
        """Evaluations of f in one call."""
        if self.evaluations is not None:
            return self.evaluations(num_samples, num_points)
        return num_samples if self.sampled else num_points

    def draws(self, calls: int) -> int:
        """How many draws so many calls of f allow, or the fewest that do."""
        return max(self.at_least, calls // self.calls)

    def spent(self, calls: int) -> int:
        """Calls of f of one gradient where so many are allowed."""
        return self.draws(calls) * self.calls

    def begin(self, size: int) -> tuple[Any, Any]:
        """What is trained, for so many parameters, and its optimizer's state."""
        if self.tuning is None:
            return (), ()
        start = self.tuning.start(size)
        return start, self.tuning.optimizer.init(start)

    def tuned(self, grads: Callable[[Any], Any], state: tuple[Any, Any], has_aux: bool = False) -> tuple[Any, Any]:
        """``grads(tuning)``, and the tuning after one step down the slope of its variance."""
        at, moments = state
        if self.tuning is None:
            return grads(at), state
        told = sf.tuned_grad(grads, at, has_aux=has_aux)
        updates, moments = self.tuning.optimizer.update(told[1], moments)
        return (told[0], told[2]) if has_aux else told[0], (optax.apply_updates(at, updates), moments)
