"""A paper's table: what stands there, what comes out here, and whether the two agree.

    agree      |ours - theirs|  <=  half of the last digit that is printed  +  4.5 standard errors of ours  +  ``within`` of theirs

A paper is one file with a ``PAPER``. Numbers are written as they are printed, so that their last digit is known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import jax
import numpy as np

import jax_scorefn as sf
from benchmarks.settings import Settings, quick_jit

SIGMAS = 4.5
ROUNDING = 2e-6
Ours: TypeAlias = "tuple[float, float]"
"""A number and its standard error, which is 0 where nothing is random."""


@dataclasses.dataclass
class Outcome:
    """What came out.

    Attributes:
      numbers: row -> column -> ours.
      claims: what the paper says in words or by the order of its curves, and whether it was so.
      curves: for the figure.
    """

    numbers: dict[str, dict[str, Ours]] = dataclasses.field(default_factory=dict)
    claims: list[tuple[str, bool]] = dataclasses.field(default_factory=list)
    curves: dict[str, Any] = dataclasses.field(default_factory=dict)

    def claim(self, text: str, holds: Any) -> None:
        """Add what is said, and whether it is so."""
        self.claims.append((text, bool(holds)))


@dataclasses.dataclass(frozen=True)
class Paper:
    """A table, or a figure of which the order is checked.

    Attributes:
      letter: its place in the report.
      title: what is shown.
      source: paper, and where in it.
      about: the experiment.
      measure: does it.
      wanted: row -> column -> the number as it is printed.
      within: what the numbers themselves are uncertain by, as a share of them: of a column or row, or of all ("").
      printed: columns that stand in the paper (or its repository); the others were worked out from its recipe.
      reasons: row -> why a number of it may be missed, which the report shows where one is.
      figure: ``(outcome, theme) -> picture``.
      not_yet: what of it the library cannot do yet.
      needs: module -> extra.
    """

    letter: str
    title: str
    source: str
    about: str
    measure: Callable[[Settings], Outcome]
    wanted: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    within: Mapping[str, float] = dataclasses.field(default_factory=dict)
    printed: tuple[str, ...] = ()
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)
    figure: Callable[[Outcome, Any], Any] | None = None
    not_yet: Mapping[str, str] = dataclasses.field(default_factory=dict)
    needs: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def agrees(self, row: str, column: str, ours: Ours) -> bool:
        """Whether a number is the one that is wanted; a whole one is exact, and 0 is 0 but for rounding beside the rest of its row."""
        text = self.wanted[row][column]
        value, error = ours
        wanted, size = number_of(text), max(abs(number_of(other)) for other in self.wanted[row].values())
        share = max(self.within.get(name, 0.0) for name in ("", row, column))
        return abs(value - wanted) <= half_digit(text) + SIGMAS * error + share * abs(wanted) + ROUNDING * (
            size if wanted == 0 else abs(wanted)
        )


def number_of(text: str) -> float:
    """What is printed."""
    return float(text)


def half_digit(text: str) -> float:
    """Half of the last digit that is printed behind a point, or of a number with an exponent; 0 for a whole one."""
    mantissa, _, exponent = text.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 0.5 * 10.0 ** (int(exponent or 0) - decimals) if decimals or exponent else 0.0


def variance_of(rows: Any, over: Callable[..., Any] = np.sum) -> Ours:
    """Variance of rows (runs, parameters), added up over parameters or averaged, with its standard error."""
    rows = np.asarray(rows, np.float64)
    rows = rows.reshape(len(rows), -1)
    squares = over((rows - rows.mean(axis=0)) ** 2, axis=1) * (len(rows) / (len(rows) - 1))
    return float(squares.mean()), float(squares.std(ddof=1) / len(rows) ** 0.5)


def mean_of(rows: Any) -> Ours:
    """Mean of numbers, and its standard error."""
    rows = np.asarray(rows, np.float64)
    return float(rows.mean()), float(rows.std(ddof=1) / len(rows) ** 0.5)


def deviation_of(rows: Any) -> Ours:
    """Standard deviation of numbers, with its standard error."""
    variance, error = variance_of(rows)
    return variance**0.5, error / (2 * variance**0.5) if variance > 0 else 0.0


def runs(estimate: Callable[[Any], Any], key: Any, count: int, batch: int = 5000) -> Any:
    """``count`` independent results of ``estimate(key)``."""
    return sf.testing.replicate(estimate, key, count, batch=min(batch, count))


def exactly(x: Any) -> Ours:
    """A number without noise."""
    return float(x), 0.0


def each(function: Callable[[Any], Any], inputs: Iterable[Any]) -> Any:
    """A compiled function of each input in turn."""
    run = quick_jit(function)
    return [jax.tree.map(np.asarray, run(x)) for x in inputs]
