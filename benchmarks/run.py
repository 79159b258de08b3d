"""A run: every chosen cell that is not finished yet, one after the other, each kept at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import measure
from benchmarks.methods import Method
from benchmarks.problems import Problem, Setup
from benchmarks.settings import Settings
from benchmarks.store import Store

Task = tuple[str, Problem, Method]


def tasks(problems: Sequence[Problem], methods: Sequence[Method]) -> list[Task]:
    """Everything there is to do for a choice of problems and methods: cells, then training curves."""
    cells = [("cell", problem, method) for problem in problems for method in methods]
    curves = [
        ("curve", problem, method)
        for problem in problems
        for method in methods
        if problem.curve is not None and method.name in problem.curve.methods
    ]
    return cells + curves


def run(todo: Sequence[Task], settings: Settings, store: Store, console: Console) -> None:
    """Do what the store does not hold yet, with a progress bar on a terminal and a line for each thing elsewhere."""
    left = [task for task in todo if store.find(task[0], task[1].name, task[2].name) is None]
    if len(left) < len(todo):
        console.print(f"{len(todo) - len(left)} of {len(todo)} are finished already.")
    if not left:
        return
    setups: dict[str, Setup] = {}
    progress = _progress(console)
    bar: AbstractContextManager[object] = progress if console.is_terminal else nullcontext()
    with bar:
        total = progress.add_task("", total=len(left))
        for number, (kind, problem, method) in enumerate(left, start=1):
            what = f"{problem.name} × {method.name}" + (" (training)" if kind == "curve" else "")
            progress.update(total, description=what)
            begin = time.perf_counter()
            _do(kind, problem, method, settings, store, setups)
            progress.advance(total)
            if not console.is_terminal:
                console.print(f"[{number:>2}/{len(left)}] {what}  {time.perf_counter() - begin:.1f} s", markup=False)
        progress.update(total, description="done")


def _do(
    kind: str, problem: Problem, method: Method, settings: Settings, store: Store, setups: dict[str, Setup]
) -> None:
    if kind == "curve":
        assert problem.curve is not None
        steps, values = problem.curve.run(method.name, settings)
        points = {"steps": [int(x) for x in steps], "values": [float(f"{y:.6g}") for y in values]}
        store.add({"kind": "curve", "problem": problem.name, "method": method.name} | points)
        return
    if problem.name not in setups:
        setups[problem.name] = problem.setup(settings)
    setup = setups[problem.name]
    if store.find("problem", problem.name, "") is None:
        about = {"facts": dict(setup.facts), "reference": setup.reference.how}
        store.add({"kind": "problem", "problem": problem.name, "method": ""} | about)
    store.add(measure.cell(problem, setup, method, settings))


def _progress(console: Console) -> Progress:
    columns: tuple[Callable[..., object], ...] = (MofNCompleteColumn, TimeElapsedColumn)
    return Progress(
        BarColumn(bar_width=32),
        *(column() for column in columns),  # pyright: ignore[reportArgumentType]
        TextColumn("[dim]{task.description}[/dim]"),
        console=console,
    )
