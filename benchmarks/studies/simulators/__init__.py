"""Simulators whose parameters are found by their gradients: one program each, and what each estimator is worth on it.

A new one is a function in one of the files here.
"""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.report import figures
from benchmarks.settings import Settings
from benchmarks.shown import Cell, Column, Figure, Finding, Part, Section, Table, num
from benchmarks.studies.simulators import chemistry, crowds, queues, walks
from benchmarks.studies.simulators._base import SIMULATORS as SIMULATORS, Simulator as Simulator
from benchmarks.studies.simulators._measure import measure, summary
from benchmarks.study import Records, Study, Task
from benchmarks.words import times

__all__ = ["SIMULATORS", "STUDY", "Simulator", "chemistry", "crowds", "queues", "walks"]
RUNS = (64, 8)
LARGE = ("repressilator", "epidemic of 10,000")
"""Those of large counts, which take long."""


def tasks(settings: Settings) -> list[Task]:
    """Every simulator, with so many runs in an estimate."""
    todo = []
    for name, make in SIMULATORS.items():
        for runs in RUNS:
            pilots, estimates, laps = (20, 256, 15) if settings.full else (5, 128, 15)
            if name in LARGE:
                pilots, estimates, laps = 2, 16, 3
            given = (runs, pilots, estimates, laps)
            do = lambda make=make, given=given: measure(make(), *given)
            todo.append(Task(f"{name}: {runs} runs", do, {"simulator": name, "runs": str(runs)}))
    return todo


def sections(records: Records, settings: Settings) -> list[Section]:
    """A table for each number of runs."""
    del settings
    shown = []
    for runs in RUNS:
        end = f": {runs} runs"
        rows = {
            name.removesuffix(end): row | summary(row) for name, row in records.below("").items() if name.endswith(end)
        }
        if rows:
            shown.append(_section(runs, rows))
    return shown


def _section(runs: int, rows: dict[str, dict[str, Any]]) -> Section:
    about = (
        f"Each choice of a program may be scored (with reward-to-go and a baseline of the other {runs - 1} runs), compared with "
        f"its other values, summed or differentiated along its path. Every plan is measured, in turns in one process; a pilot of "
        f"256 runs chooses one of them."
    )
    gains = [row["gain"] for row in rows.values()]
    best = max(rows, key=lambda name: rows[name]["gain"])
    text = (
        f"The plan that `sf.plan` chooses from one pilot has up to {times(rows[best]['gain'])} times less variance × time than the "
        f"score function ({best}), the median of {len(rows)} simulators is {times(statistics.median(gains))}. It costs at most "
        f"{max(row['to_best'] for row in rows.values()):.2f} of the best plan there is, and the worst choice of any pilot "
        f"{max(row['worst'] for row in rows.values()):.2f} of the score function."
    )
    columns = (
        Column("simulator"),
        Column(
            "gain",
            "Variance × time of the score function over that of the plan that is chosen (the median of the pilots).",
            best=True,
        ),
        Column("to best", "Variance × time of the plan that is chosen over that of the best of all plans."),
        Column("worst", "Variance × time of the worst choice of a pilot over that of the score function."),
        Column("z", "Distance of mean gradients from the exact one, in standard errors: the largest over plans."),
        Column("the plan", words=True),
    )
    cells = [
        (
            Cell(name, below=row["about"]), num(row["gain"], 2), num(row["to_best"]), num(row["worst"], 2), num(row["z"], 2),
            Cell(", ".join(f"{site}: {estimator}" for site, estimator in row["chosen"].items())),
        )
        for name, row in rows.items()
    ]  # fmt: skip
    alt = f"Gain of the plan that is chosen over the score function on each simulator, {runs} runs in an estimate"
    parts: list[Part] = [
        about,
        Finding(f"{times(rows[best]['gain'])}×", "less noise by a measured plan", text),
        Figure(f"simulators-{runs}", alt, lambda theme: _figure(rows, theme)),
        Table(f"simulators-{runs}", f"Simulators, {runs} runs in an estimate", columns, cells),
    ]
    return Section(f"runs-{runs}", f"{runs} runs in an estimate", parts)


def _figure(rows: dict[str, dict[str, Any]], theme: figures.Theme) -> Any:
    from matplotlib import pyplot as plt

    figure, ax = plt.subplots(figsize=(9.5, 1.1 + 0.3 * len(rows)))
    names = sorted(rows, key=lambda name: -rows[name]["gain"])
    ax.axvline(1.0, color=theme.soft, lw=1.4)
    ax.barh(range(len(names)), [rows[name]["gain"] - 1 for name in names], left=1, color=figures.shade(1), height=0.6)
    ax.set_xscale("log")
    ax.set_xlim(0.8, max(10.0, 1.2 * max(row["gain"] for row in rows.values())))
    ax.set_ylim(len(names) - 0.4, -0.6)
    figures.log_ticks(ax)
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel("times less variance × time than the score function")
    return figure


STUDY = Study(
    name="simulators",
    title="Simulators",
    about="Every estimator at every choice of seventeen simulators, and what sf.plan chooses (half an hour)",
    tasks=tasks,
    sections=sections,
    axes={"simulator": dict.fromkeys(SIMULATORS, ""), "runs": dict.fromkeys(map(str, RUNS), "")},
)
