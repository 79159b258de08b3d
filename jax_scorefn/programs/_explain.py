"""What was found in a program, for people: which choices each cost is charged with."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Sequence

from jax_scorefn.programs._analyze import Since
from jax_scorefn.programs._dependence import describe
from jax_scorefn.programs._ir import Op, Var
from jax_scorefn.programs._program import Program
from jax_scorefn.programs._source import NOWHERE, place, short
from jax_scorefn.programs.lanes._places import pieces

HEADINGS = ("cost", "place", "shape", "charged with", "elements")
CHOICE_HEADINGS = ("choice", "place", "shape", "distribution", "estimator")


@dataclasses.dataclass(frozen=True)
class SampleSite:
    """One random choice: its name, distribution, estimator, and the shape of its log-probabilities (in a scan: of one iteration).

    ``place`` is where it is drawn: ``file.py:12``. ``alternatives`` is the number of other values that all its choices are compared
    with, and ``lanes`` how often the program is run again for them: fewer, where choices share a run.
    """

    name: str
    dist: str
    estimator: str
    shape: tuple[int, ...]
    place: str = ""
    lanes: int = 0
    alternatives: int = 0

    @property
    def law(self) -> str:
        """The older name of ``dist``."""
        return self.dist


@dataclasses.dataclass(frozen=True)
class Cost:
    """One cost that is credited element by element: the operation that makes it, its shape, and for each choice which elements.

    ``place`` is where it is made: ``file.py:12``.
    """

    operation: str
    shape: tuple[int, ...]
    charged: dict[str, str]
    place: str = ""


@dataclasses.dataclass(frozen=True, repr=False)
class Explanation:
    """The table of :func:`explain` as data.

    Attributes:
      costs: the costs, with the choices that each is charged with.
      choices: every choice of the program.
      lanes: how often the program is run again for the choices that are compared; fewer than theirs together, where sites that no cost
        depends on together share a run.
      fallbacks: primitives without a rule, by name, with how often an alignment was lost there: right, and coarser than need be.
    """

    costs: tuple[Cost, ...]
    choices: tuple[SampleSite, ...]
    fallbacks: dict[str, int]
    lanes: int = 0

    @classmethod
    def of(cls, program: Program) -> Explanation:
        """Read it off an analysed program."""
        names: dict[object, str] = {}
        for site in program.choices:
            name, n = site.params["name"], 2
            while name in names.values():
                name, n = f"{site.params['name']}#{n}", n + 1
            names[site] = name
        choices = tuple(
            SampleSite(
                names[site],
                site.params["dist"],
                site.estimator.name,
                site.estimator.shape(site),
                _place(site),
                *_comparisons(program, site),
            )
            for site in program.choices
        )
        costs = tuple(
            Cost(
                ("in a scan: " if depth else "") + _source(v),
                v.shape,
                {_charged(names, site): describe(entries) for site, entries in program.of(v).items()},
                _place(made_by.op) if (made_by := _behind(v)).op is not None else "",
            )
            for v, depth in program.leaves
        )
        alone = sum(span.size for site, span in program.spans.items() if site not in program.together)
        lanes = alone + sum(high - low for low, high, _ in pieces(program.together))
        return cls(costs, choices, dict(program.of.fallbacks), lanes)

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Cost, place, shape, choice, elements: one row for each pair."""
        return [
            (cost.operation, cost.place, str(list(cost.shape)), choice, elements)
            for cost in self.costs
            for choice, elements in (cost.charged or {"no choice": ""}).items()
        ]

    def choice_rows(self) -> list[tuple[str, str, str, str, str]]:
        """Name, place, shape, distribution, estimator: one row for each choice."""
        return [
            (site.name, site.place, str(list(site.shape)), site.dist, site.estimator + _again(site))
            for site in self.choices
        ]

    def __repr__(self) -> str:
        """Short: a notebook shows it below the table that was printed."""
        return f"<Explanation: {_number(self.costs, 'cost')}, {_number(self.choices, 'choice')}>"

    def __str__(self) -> str:
        line = "{:24s} {:20s} {:14s} {:20s} {}".format
        tables = ((HEADINGS, self.rows()), (CHOICE_HEADINGS, self.choice_rows()))
        return "\n".join([*(line(*row) for headings, rows in tables for row in (headings, *rows)), *self._footer()])

    def _footer(self) -> list[str]:
        lines = []
        if self.lanes != sum(site.lanes for site in self.choices):
            lines.append(
                f"Choices that no cost depends on together share lanes: {_number(range(self.lanes), 'lane')} in all."
            )
        if self.fallbacks:
            found = ", ".join(f"{name} ({count})" for name, count in sorted(self.fallbacks.items()))
            lines.append(f"Without a rule, so all of an axis is charged: {found}.")
        return lines

    def show(self) -> None:
        """Print the table, with rich where it is installed."""
        if importlib.util.find_spec("rich") is None:
            print(self)
            return
        from rich.console import Console  # an optional extra
        from rich.table import Table

        console = Console()
        for title, headings, rows in (
            ("Which choices each cost is charged with", HEADINGS, self.rows()),
            ("The choices", CHOICE_HEADINGS, self.choice_rows()),
        ):
            table = Table(*headings, title=title)
            for row in rows:
                table.add_row(*row)
            console.print(table)
        for line in self._footer():
            console.print(line)


def _comparisons(program: Program, site: Op) -> tuple[int, int]:
    """Lanes, and alternatives."""
    span = program.spans.get(site)
    return (0, 0) if span is None else (span.size, math.prod(span.shape))


def _again(site: SampleSite) -> str:
    if not site.lanes:
        return ""
    shared = f" for {site.alternatives} alternatives" if site.alternatives != site.lanes else ""
    return f", {_number(range(site.lanes), 'lane')}{shared}"


def _number(things: Sequence[object], word: str) -> str:
    return f"{len(things)} {word}{'s' * (len(things) != 1)}"


def _charged(names: dict[object, str], site: object) -> str:
    return f"{names[site.choice]} since a reset" if isinstance(site, Since) else names[site]


def _source(v: Var) -> str:
    """The operation that a cost comes from."""
    v = _behind(v)
    if v.op is None:
        return "argument"
    if v.op.kind == "mask":
        masked = v.op.ins[1]
        return f"{_source(masked)}, masked" if isinstance(masked, Var) else "masked"
    return v.op.title


def _behind(v: Var) -> Var:
    """What a cost was before it was made a float."""
    while v.op is not None and v.op.name == "convert_element_type" and isinstance(v.op.ins[0], Var):
        v = v.op.ins[0]
    return v


def _place(op: Op) -> str:
    found = place(op.source)
    return "" if found is NOWHERE else short(found.file, found.line)
