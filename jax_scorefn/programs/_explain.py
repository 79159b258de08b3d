"""What was found in a program, for people: which choices each cost is charged with."""

from __future__ import annotations

import dataclasses
import importlib.util

from jax_scorefn.programs._analyze import Since
from jax_scorefn.programs._dependence import describe
from jax_scorefn.programs._ir import Var
from jax_scorefn.programs._program import Program


@dataclasses.dataclass(frozen=True)
class SampleSite:
    """One random choice: its name, distribution, estimator, and the shape of its log-probabilities (in a scan, iterations first)."""

    name: str
    dist: str
    estimator: str
    shape: tuple[int, ...]

    @property
    def law(self) -> str:
        """The older name of ``dist``."""
        return self.dist


@dataclasses.dataclass(frozen=True)
class Cost:
    """One cost that is credited element by element: the operation that makes it, its shape, and for each choice which elements."""

    operation: str
    shape: tuple[int, ...]
    charged: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The table of :func:`explain` as data.

    Attributes:
      costs: the costs, with the choices that each is charged with.
      choices: every choice of the program.
      fallbacks: primitives without a rule, by name, with how often an alignment was lost there: right, and coarser than need be.
    """

    costs: tuple[Cost, ...]
    choices: tuple[SampleSite, ...]
    fallbacks: dict[str, int]

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
            SampleSite(names[site], site.params["dist"], site.estimator.name, tuple(site.ins[0].shape))
            for site in program.choices
        )
        costs = tuple(
            Cost(
                ("in a scan: " if depth else "") + _source(v),
                v.shape,
                {_charged(names, site): describe(entries) for site, entries in program.of(v).items()},
            )
            for v, depth in program.leaves
        )
        return cls(costs, choices, dict(program.of.fallbacks))

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Cost, shape, choice, elements: one row for each pair."""
        return [
            (cost.operation, str(list(cost.shape)), choice, elements)
            for cost in self.costs
            for choice, elements in (cost.charged or {"no choice": ""}).items()
        ]

    def __str__(self) -> str:
        lines = [f"{cost:24s} {shape:14s} {choice:20s} {elements}" for cost, shape, choice, elements in self.rows()]
        return "\n".join([f"{'cost':24s} {'shape':14s} {'charged with':20s} elements", *lines, *self._footer()])

    def _footer(self) -> list[str]:
        if not self.fallbacks:
            return []
        found = ", ".join(f"{name} ({count})" for name, count in sorted(self.fallbacks.items()))
        return [f"Without a rule, so all of an axis is charged: {found}."]

    def show(self) -> None:
        """Print the table, with rich where it is installed."""
        if importlib.util.find_spec("rich") is None:
            print(self)
            return
        from rich.console import Console  # an optional extra
        from rich.table import Table

        table = Table(title="Which choices each cost is charged with")
        for heading in ("cost", "shape", "charged with", "elements"):
            table.add_column(heading)
        for row in self.rows():
            table.add_row(*row)
        console = Console()
        console.print(table)
        for line in self._footer():
            console.print(line)


def _charged(names: dict[object, str], site: object) -> str:
    return f"{names[site.choice]} since a reset" if isinstance(site, Since) else names[site]


def _source(v: Var) -> str:
    """The operation that a cost comes from."""
    if v.op is None:
        return "argument"
    if v.op.kind == "mask":
        masked = v.op.ins[1]
        return f"{_source(masked)}, masked" if isinstance(masked, Var) else "masked"
    return v.op.title
