"""A plan: which estimator each choice of a program has, and what was measured when it was made.

Two plans are the same if their choices are: what was measured differs from one pilot to the next, and a plan is a static argument.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from jax_scorefn.distributions import Distribution
from jax_scorefn.programs.sites import SITES, SiteEstimator

UNPLANNED = (
    "The plan has no estimator for the choice {name}; it is for {known}. It was made for another program: make one for this, "
    "sf.plan(program)(params, key)."
)
NOT_THERE = (
    "The plan is for the choices {known}, and this program has no choice named {missing}. It was made for another program: make one "
    "for this, sf.plan(program)(params, key)."
)
NOT_A_PLAN = "plan= takes what sf.plan(program)(params, key) returns; it got {given}."


@dataclasses.dataclass(frozen=True)
class Priced:
    """What a plan costs.

    Attributes:
      choices: pairs of a choice and its estimator.
      variance: of the gradient of one run, summed over the parameters.
      error: standard error of the variance.
      seconds: of one run, with its gradient, among many.
    """

    choices: tuple[tuple[str, str], ...]
    variance: float
    error: float
    seconds: float

    @property
    def price(self) -> float:
        """Variance times seconds: what one is for the same time."""
        return self.variance * self.seconds


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which estimator each choice has, for ``sf.expectation(program, plan=plan)``.

    Attributes:
      choices: pairs of the name of a choice and its estimator; two plans with the same are equal, and have the same hash.
      measured: the plans that were timed, a :class:`Priced` each, the cheapest first.
    """

    choices: tuple[tuple[str, str], ...]
    measured: tuple[Priced, ...] = dataclasses.field(default=(), compare=False)

    def __getitem__(self, name: str) -> str:
        """The estimator of a choice."""
        return dict(self.choices)[name]

    @property
    def price(self) -> Priced | None:
        """What this plan itself costs; None if it was written down and not measured."""
        return next((row for row in self.measured if row.choices == self.choices), None)

    def uniform(self) -> dict[str, Priced]:
        """By estimator: the measured plan that has it wherever it can be, and the score function elsewhere."""
        known = {estimator for row in self.measured for _, estimator in row.choices}
        able = {k: {n for row in self.measured for n, e in row.choices if e == k} for k in known}
        whole = lambda row, k: all(e == (k if n in able[k] else "score_function") for n, e in row.choices)
        return {k: row for k in sorted(known) for row in self.measured if whole(row, k)}

    def to_json(self) -> str:
        """As text; :meth:`from_json` reads it."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """What :meth:`to_json` has written."""
        data = json.loads(text)
        pairs = lambda rows: tuple((str(name), str(estimator)) for name, estimator in rows)
        measured = tuple(Priced(**{**row, "choices": pairs(row["choices"])}) for row in data["measured"])
        return cls(pairs(data["choices"]), measured)

    def __str__(self) -> str:
        names = [name for name, _ in self.choices]
        widths = [max(len(name), *(len(dict(row.choices)[name]) for row in self.measured or [self])) for name in names]
        line = lambda cells: "  ".join(f"{cell:{width}s}" for cell, width in zip(cells, widths, strict=True))
        mark = lambda row: "*" if row.choices == self.choices else " "
        head = f"  {line(names)}  {'variance':>20s}  {'us a run':>10s}  {'both':>9s}"
        rows = [
            f"{mark(row)} {line([dict(row.choices)[name] for name in names])}  {row.variance:9.4g} +- {row.error:7.2g}  "
            f"{row.seconds * 1e6:10.3g}  {row.price * 1e6:9.3g}"
            for row in self.measured
        ]
        return "\n".join([head, *(rows or [f"* {line([estimator for _, estimator in self.choices])}"])])

    def estimator(self, name: str, dist: Distribution) -> SiteEstimator:
        """What a choice asks while a program is traced."""
        del dist
        known = dict(self.choices)
        if name not in known:
            raise ValueError(UNPLANNED.format(name=name, known=", ".join(known)))
        return SITES[known[name]]

    def refuse_others(self, names: set[str]) -> None:
        """Raise if the program whose choices have these names lacks one of the plan's. (A draw along its path is no choice.)"""
        missing = [
            n for n, e in self.choices if e != "pathwise" and not any(m == n or m.startswith(f"{n}[") for m in names)
        ]
        if missing:
            raise ValueError(NOT_THERE.format(known=", ".join(n for n, _ in self.choices), missing=", ".join(missing)))


def checked(plan: Any) -> Plan | None:
    """A plan, or None."""
    if plan is not None and not isinstance(plan, Plan):
        raise TypeError(NOT_A_PLAN.format(given=type(plan).__name__))
    return plan
