"""A run: every chosen thing that is not measured yet, one after the other, each kept at once."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import control, credit, discrete, measure, peers, speed
from benchmarks.methods import Method
from benchmarks.peers import ours, turns
from benchmarks.problems import Problem, Setup
from benchmarks.settings import Settings
from benchmarks.store import Store

CREDIT = "credit"
"""The name of what is measured of programs with several choices."""
CONTROL = "control"
"""The name of what is measured of policies that learn."""
DISCRETE = "discrete"
"""The name of what is measured of bits: a toy, and an autoencoder."""
SPEED = "speed"
"""The name of what is measured of time beside other systems."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One thing to measure: the record that says that it is done, and how to get that and what belongs to it."""

    kind: str
    problem: str
    method: str
    do: Callable[[], Iterable[dict[str, Any]]]

    def __str__(self) -> str:
        name = " × ".join(part for part in (self.problem, self.method) if part)
        return name if self.kind == "cell" else f"{name} ({'training' if self.kind == 'curve' else self.kind})"


def tasks(problems: Sequence[Problem], methods: Sequence[Method], settings: Settings, store: Store) -> list[Task]:
    """Everything there is to do for a choice of problems and methods: cells, then training curves."""
    setups: dict[str, Setup] = {}

    def cell(problem: Problem, method: Method) -> Iterable[dict[str, Any]]:
        if problem.name not in setups:
            setups[problem.name] = problem.setup(settings)
        setup = setups[problem.name]
        if store.find("problem", problem.name, "") is None:
            about = {"facts": dict(setup.facts), "reference": setup.reference.how}
            yield {"kind": "problem", "problem": problem.name, "method": ""} | about
        yield measure.cell(problem, setup, method, settings)

    def curve(problem: Problem, method: Method) -> Iterable[dict[str, Any]]:
        assert problem.curve is not None
        steps, values = problem.curve.run(method.name, settings)
        points = {"steps": [int(x) for x in steps], "values": [float(f"{y:.6g}") for y in values]}
        yield {"kind": "curve", "problem": problem.name, "method": method.name} | points

    rows = [(problem, method) for problem in problems for method in methods if method.for_problem(problem.name)]
    todo = [("cell", cell, problem, method) for problem, method in rows]
    todo += [
        ("curve", curve, problem, method)
        for problem in problems
        for method in methods
        if problem.curve is not None and method.name in problem.curve.methods
    ]
    return [Task(kind, p.name, m.name, lambda do=do, p=p, m=m: do(p, m)) for kind, do, p, m in todo]


def credit_tasks(settings: Settings, environments: Path) -> list[Task]:
    """Programs with several choices: what credit costs and brings, and other systems on the same programs."""
    todo = [
        Task("credit", name, "", lambda do=do: [do()]) for name, do in credit.workloads(1.0 if settings.full else 0.3)
    ]
    todo += [
        Task("peer", name, ours.SYSTEM, lambda name=name: [ours.measure(name, settings)]) for name in ours.PROGRAMS
    ]
    for peer in peers.PEERS:
        if python := peers.interpreter(environments, peer):
            done = {"kind": "peer-done", "problem": "", "method": peer}
            todo.append(Task("peer-done", "", peer, lambda p=peer, py=python, done=done: [*peers.measure(py, p), done]))
    return todo


def control_tasks() -> list[Task]:
    """Policies that learn, and how fast rollouts are."""
    return [Task("control", name, "", lambda do=do: [do()]) for name, do in control.WORKLOADS.items()]


def discrete_tasks(settings: Settings) -> list[Task]:
    """Estimators for bits, on a toy and in an autoencoder."""
    return [
        Task("discrete", problem, method, lambda do=do: [do()])
        for problem, method, do in discrete.workloads(settings.full)
    ]


def speed_tasks(environments: Path) -> list[Task]:
    """The time of a gradient beside hand-written JAX and other systems."""
    return [
        Task("speed", work.name, "", lambda work=work: [turns.compare(work, environments)])
        for work in speed.workloads()
    ]


def run(todo: Sequence[Task], store: Store, console: Console) -> None:
    """Do what the store does not hold yet, with a progress bar on a terminal and a line for each thing elsewhere."""
    left = [task for task in todo if store.find(task.kind, task.problem, task.method) is None]
    if len(left) < len(todo):
        console.print(f"{len(todo) - len(left)} of {len(todo)} are finished already.")
    if not left:
        return
    words = TextColumn("[dim]{task.description}[/dim]")
    columns = (BarColumn(bar_width=32), MofNCompleteColumn(), TimeElapsedColumn(), words)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        total = progress.add_task("", total=len(left))
        for number, task in enumerate(left, start=1):
            progress.update(total, description=str(task))
            begin = time.perf_counter()
            for record in task.do():
                store.add(record)
            progress.advance(total)
            if not console.is_terminal:
                console.print(f"[{number:>2}/{len(left)}] {task}  {time.perf_counter() - begin:.1f} s", markup=False)
        progress.update(total, description="done")
