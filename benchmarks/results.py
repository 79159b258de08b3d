"""Results: the records of a run in the order of the tables, and the judgements that need all of them together."""

from __future__ import annotations

import dataclasses
import math
from functools import cached_property
from statistics import NormalDist
from typing import Any

from benchmarks.methods import BASE, METHODS, Method
from benchmarks.problems import PROBLEMS, Problem
from benchmarks.store import Store
from jax_scorefn import Bias

FAMILY_ERROR = 0.01
"""Chance that a report in which nothing is biased flags anything at all."""
SAME_GRADIENT = 5.0
"""Standard errors between the means of two systems that estimate the same gradient, at most."""


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
    def noisy(self) -> bool:
        """Whether more than rounding differs between two calls."""
        return self.data["call_variance"] > self.data["rounding"] ** 2

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
class Peer:
    """One system on one program with several choices, beside ours."""

    data: dict[str, Any]
    ours: dict[str, Any]

    @property
    def system(self) -> str:
        return self.data["method"]

    @property
    def is_ours(self) -> bool:
        return self.data is self.ours

    @property
    def apart(self) -> float:
        """Distance of the two means in standard errors: the largest over the coordinates."""
        pairs = zip(self.data["mean"], self.ours["mean"], strict=True)
        errors = zip(self.data["standard_error"], self.ours["standard_error"], strict=True)
        return max(abs(a - b) / math.hypot(*error) for (a, b), error in zip(pairs, errors, strict=True))

    @property
    def noise(self) -> float:
        """Its variance in units of ours."""
        return self.data["variance"] / self.ours["variance"]

    @property
    def slowness(self) -> float:
        """Its time in units of ours."""
        return self.data["microseconds"] / self.ours["microseconds"]


@dataclasses.dataclass(frozen=True)
class Credit:
    """Programs with several choices: what credit costs, what it brings to a plate, and other systems."""

    costs: list[dict[str, Any]]
    plates: list[dict[str, Any]]
    peers: dict[str, list[Peer]]
    failed: list[dict[str, Any]]

    @property
    def has_peers(self) -> bool:
        return any(len(rows) > 1 for rows in self.peers.values())

    def __bool__(self) -> bool:
        return bool(self.costs or self.plates or self.peers)


@dataclasses.dataclass(frozen=True)
class Speed:
    """The time of a gradient in other systems, in units of ours: one record for each workload."""

    records: list[dict[str, Any]]

    @property
    def systems(self) -> list[str]:
        return list(dict.fromkeys(label for record in self.records for label in record["systems"]))

    @property
    def failed(self) -> dict[str, str]:
        """Systems that did not answer, and their last word."""
        return {name: why for record in self.records for name, why in record["failed"].items()}

    def closest(self, system: str) -> tuple[str, float]:
        """The workload on which a system does best against us, and its time there in units of ours."""
        ratios = {r["problem"]: r["systems"][system]["ratio"] for r in self.records if system in r["systems"]}
        name = min(ratios, key=lambda problem: ratios[problem])
        return name, ratios[name]

    @property
    def apart(self) -> float:
        """The largest distance of a system's mean gradient from ours, in standard errors."""
        return max(found["apart"] for record in self.records for found in record["systems"].values())

    def __bool__(self) -> bool:
        return bool(self.records)


@dataclasses.dataclass(frozen=True)
class Discrete:
    """Bits: the toy, method by method; variance and bias along one training of an autoencoder; the same seconds for every method."""

    toy: dict[str, dict[str, Any]]
    path: dict[str, Any]
    race: dict[str, Any]

    def last(self, method: str) -> float:
        """Variance of a method at its last look on the toy: the mean over seeds."""
        return math.fsum(row[-1] for row in self.toy[method]["variance"]) / self.toy[method]["seeds"]

    def __bool__(self) -> bool:
        return bool(self.toy or self.path or self.race)


@dataclasses.dataclass(frozen=True)
class Results:
    """Everything that was measured."""

    sections: list[Section]
    credit: Credit
    speed: Speed
    control: dict[str, dict[str, Any]]
    discrete: Discrete

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
    control = {record["problem"]: record for record in store.of("control")}
    return Results(sections, _credit(store), Speed(store.of("speed")), control, _discrete(store))


def _credit(store: Store) -> Credit:
    found = store.of("credit")
    peers = {}
    for mine in (record for record in store.of("peer") if record["method"].startswith("jax_scorefn")):
        others = [r for r in store.of("peer") if r["problem"] == mine["problem"] and r is not mine]
        peers[mine["problem"]] = [Peer(record, mine) for record in (mine, *others)]
    return Credit(
        [record for record in found if "trace_ratio" in record],
        [record for record in found if "usual" in record],
        peers,
        store.of("peer-failed"),
    )


def _discrete(store: Store) -> Discrete:
    toy = {record["method"]: record for record in store.of("discrete") if record["problem"] == "toy"}
    path, race = (store.find("discrete", name, "") or {} for name in ("path", "race"))
    return Discrete(toy, path, race)
