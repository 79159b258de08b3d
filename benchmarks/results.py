"""Results: the records of a run in the order of the tables, and the judgements that need all of them together."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from statistics import NormalDist
from typing import Any

from benchmarks.methods import BASE, METHODS, Method
from benchmarks.problems import PROBLEMS, Problem
from benchmarks.store import Store
from jax_scorefn import Bias

FAMILY_ERROR = 0.01
"""Chance that a report in which nothing is biased flags anything at all."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One cell, with the problem and the method that it belongs to."""

    problem: Problem
    method: Method
    data: dict[str, Any]

    @property
    def ok(self) -> bool:
        return self.data["status"] == "ok"

    def __getattr__(self, name: str) -> Any:
        try:
            return self.data[name]
        except KeyError as error:
            raise AttributeError(name) from error

    @property
    def reason(self) -> str:
        """The first sentence of the library's refusal."""
        return self.data["reason"].split(". ")[0].rstrip(".") + "."

    @property
    def declared(self) -> bool:
        """Whether a bias is declared."""
        return self.method.bias != Bias.NONE


@dataclasses.dataclass(frozen=True)
class Section:
    """One problem: its rows, in the order of the methods."""

    problem: Problem
    rows: list[Row]
    facts: dict[str, float]
    reference: str
    curves: list[dict[str, Any]]

    @property
    def measured(self) -> list[Row]:
        return [row for row in self.rows if row.ok]

    def row(self, method: str) -> Row | None:
        """The measured row of a method."""
        return next((row for row in self.measured if row.method.name == method), None)

    @property
    def base(self) -> Row | None:
        return self.row(BASE)


@dataclasses.dataclass(frozen=True)
class Results:
    """Everything that was measured."""

    sections: list[Section]

    @property
    def measured(self) -> list[Row]:
        return [row for section in self.sections for row in section.measured]

    @cached_property
    def threshold(self) -> float:
        """|z| above which a cell is flagged: Bonferroni over every coordinate of every measured cell."""
        comparisons = sum(row.coordinates for row in self.measured)
        return NormalDist().inv_cdf(1 - FAMILY_ERROR / (2 * max(comparisons, 1)))

    def flagged(self, row: Row) -> bool:
        """Whether a bias was seen, or numbers that are not finite."""
        return not row.finite or not row.z <= self.threshold


def collect(store: Store) -> Results:
    """The results of a store; records of problems or methods that are no longer in the tables are left out."""
    sections = []
    for problem in PROBLEMS.values():
        cells = [(method, store.find("cell", problem.name, method.name)) for method in METHODS.values()]
        rows = [Row(problem, method, data) for method, data in cells if data is not None]
        if not rows:
            continue
        about = next((r for r in store.of("problem") if r["problem"] == problem.name), {})
        curves = [r for r in store.of("curve") if r["problem"] == problem.name and r["method"] in METHODS]
        sections.append(Section(problem, rows, about.get("facts", {}), about.get("reference", ""), curves))
    return Results(sections)
