"""The records in the order of the tables, and the judgements that need all of them together."""

from __future__ import annotations

import dataclasses
import functools
from statistics import NormalDist
from typing import Any

from benchmarks.method import Method
from benchmarks.studies.estimators.methods import BASE, METHODS
from benchmarks.studies.estimators.problems import PROBLEMS, Problem
from benchmarks.study import Records

FAMILY_ERROR = 0.01
"""Chance that a report in which nothing is biased flags anything at all."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One cell, with the problem and the method that it belongs to."""

    problem: Problem
    method: Method
    data: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.data[name]
        except KeyError as error:
            raise AttributeError(name) from error

    @property
    def ok(self) -> bool:
        """Whether it was measured."""
        return "reason" not in self.data

    @property
    def why(self) -> str:
        """The first sentence of the library's refusal."""
        return self.data["reason"].split(". ")[0].rstrip(".") + "."

    @property
    def noisy(self) -> bool:
        """Whether more than rounding differs between two calls."""
        return self.data["call_variance"] > self.data["rounding"] ** 2

    @property
    def work(self) -> float:
        """Variance of one call times its microseconds."""
        return self.data["call_variance"] * self.data["microseconds"]


@dataclasses.dataclass(frozen=True)
class Part:
    """One problem: its rows, in the order of the methods, what is known of it, and training curves by method."""

    problem: Problem
    rows: list[Row]
    facts: dict[str, float]
    reference: str
    curves: dict[str, dict[str, Any]]

    @property
    def title(self) -> str:
        """In quotes, for a sentence."""
        return f"“{self.problem.title}”"

    @property
    def measured(self) -> list[Row]:
        """Rows with numbers."""
        return [row for row in self.rows if row.ok]

    def row(self, method: str) -> Row | None:
        """The measured row of a method."""
        return next((row for row in self.measured if row.method.name == method), None)

    @property
    def base(self) -> Row | None:
        """The row that the others are compared with."""
        return self.row(BASE)


@dataclasses.dataclass(frozen=True)
class Cells:
    """All problems."""

    parts: list[Part]

    @property
    def measured(self) -> list[Row]:
        """Rows with numbers."""
        return [row for part in self.parts for row in part.measured]

    @functools.cached_property
    def threshold(self) -> float:
        """|z| above which a cell is flagged: Bonferroni over every coordinate of every measured cell."""
        comparisons = sum(row.coordinates for row in self.measured)
        return NormalDist().inv_cdf(1 - FAMILY_ERROR / (2 * max(comparisons, 1)))

    def flagged(self, row: Row) -> bool:
        """Whether a bias was seen, or numbers that are not finite."""
        return not row.finite or not row.z <= self.threshold


def collect(records: Records) -> Cells:
    """The records of problems and methods that are still in the tables."""
    parts = []
    for problem in PROBLEMS.values():
        found = records.below(f"{problem.name}: ")
        rows = [Row(problem, METHODS[name], data) for name, data in found.items() if name in METHODS]
        rows.sort(key=lambda row: list(METHODS).index(row.method.name))
        if rows:
            about = found.get("about", {"facts": {}, "reference": ""})
            curves = {
                name.removeprefix("training by "): data
                for name, data in found.items()
                if name.startswith("training by ")
            }
            parts.append(Part(problem, rows, about["facts"], about["reference"], curves))
    return Cells(parts)
