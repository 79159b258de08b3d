"""Methods: an estimator of the library with its options fixed. One entry each, and it is measured on every problem."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax_scorefn as sf
from jax_scorefn import Bias

Estimate = Callable[..., Any]
"""``(f, family, params, key) -> value``: an estimator with all its options bound."""


@dataclasses.dataclass(frozen=True)
class Method:
    """A row of every table.

    Attributes:
      name: what ``--only`` and the results file call it.
      label: what tables and figures call it.
      estimator: its name in ``sf.ESTIMATORS``.
      options: keyword arguments beside ``num_samples``.
      sampled: whether it draws (and so takes ``num_samples``); one that does not has no variance.
      evaluations: evaluations of f as a function of S and of the number of points in the support; None where the record
        says "S" (or "the number of points", for a method that does not draw).
      only: names of the problems that it is made for; empty is every problem.
    """

    name: str
    label: str
    estimator: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sampled: bool = True
    evaluations: Callable[[int, int], int] | None = None
    only: tuple[str, ...] = ()

    @property
    def record(self) -> sf.Record:
        return sf.ESTIMATORS[self.estimator]

    @property
    def bias(self) -> Bias:
        """What is declared of the estimator with these options."""
        return self.record.bias_with(**self.options)

    def for_problem(self, problem: str) -> bool:
        """Whether it is a row of this problem's table at all."""
        return not self.only or problem in self.only

    def bind(self, num_draws: int) -> Estimate:
        """The estimator with its options and its number of draws."""
        draws = {"num_samples": num_draws} if self.sampled else {}
        return functools.partial(self.record.function, **draws, **self.options)

    def count(self, num_draws: int, num_points: int) -> int:
        """Evaluations of f in one call."""
        if self.evaluations is not None:
            return self.evaluations(num_draws, num_points)
        return num_draws if self.sampled else num_points


NODES = 64
"""Quadrature nodes of the exact method."""

SMOOTH = ("smooth-4",)
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("score", "score function", "score_function", {"baseline": None}),
        Method("score-loo", "score, leave-one-out", "score_function", {"baseline": sf.baselines.leave_one_out}),
        Method("score-mean", "score, batch mean", "score_function", {"baseline": sf.baselines.batch_mean}),
        Method("pathwise", "pathwise", "pathwise"),
        Method("exact", "exact", "exact", {"num_nodes": NODES}, sampled=False),
        Method("score-best", "score, best constant", "score_function", {"baseline": sf.baselines.optimal_constant}),
        Method("score-delta", "score, delta method", "score_function", {"control_variate": sf.control_variates.delta()}),
        Method("double-cv", "double control variate", "double_control_variate"),
        Method("score-antithetic", "score, antithetic", "score_function", {"scheme": sf.schemes.antithetic}),
        Method("score-sobol", "score, Sobol nets", "score_function", {"scheme": sf.schemes.sobol(8)}),
        Method("score-strata", "score, stratified", "score_function", {"scheme": sf.schemes.stratified(128)}, only=SMOOTH),
        Method("path-sobol", "pathwise, Sobol nets", "pathwise", {"scheme": sf.schemes.sobol(8)}, only=SMOOTH),
        Method("vargrad", "VarGrad", "vargrad", only=("coupled-bits",)),
        Method(
            "score-proposal", "score, proposal", "score_function",
            {"proposal": sf.Normal(loc=3.0, scale=1.0), "baseline": None}, only=("tail",),
        ),
    )
}  # fmt: skip
BASE = "score"
"""The method that the others are compared with."""
