"""K. CartPole: no table of REINFORCE was found that could be checked, so this is a curve of our own."""

from __future__ import annotations

from typing import Any

from benchmarks.report import figures
from benchmarks.settings import Settings
from benchmarks.studies.control import cart_pole
from benchmarks.studies.control._figures import cart_pole as paint_cart_pole
from benchmarks.studies.papers._base import Outcome, Paper, exactly


def measure(settings: Settings) -> Outcome:
    """Twenty seeds."""
    found = cart_pole(*(() if settings.full else (150, 10, 20)))["found"]
    numbers = {
        "seeds at 475": exactly(found["reached"]),
        "of": exactly(found["seeds"]),
        "median steps": exactly(found["median_steps"] or 0),
    }
    return Outcome({"reward-to-go, learned baseline": numbers}, [], found)


def paint(outcome: Outcome, theme: figures.Theme) -> Any:
    """The curve."""
    return paint_cart_pole(outcome.curves, theme)


PAPER = Paper(
    letter="K",
    title="CartPole",
    source="In-house, no paper",
    about="A mean return of 475 over evaluation episodes (100 with --full, else 20), 20 seeds. It reproduces no paper.",
    measure=measure,
    figure=paint,
    needs={"gymnax": "rl"},
)
