"""Problems x estimators: how far off, how noisy and how fast each is.

A new estimator is one ``Method`` in ``methods.METHODS``; a new problem one ``Problem`` in a file of ``problems``, and a line there.
"""

from __future__ import annotations

import functools
from typing import Any

from benchmarks.method import Method
from benchmarks.settings import Settings
from benchmarks.studies.estimators._cells import cell
from benchmarks.studies.estimators._page import sections
from benchmarks.studies.estimators.methods import METHODS
from benchmarks.studies.estimators.problems import PROBLEMS, Problem, Setup
from benchmarks.study import Record, Study, Task


@functools.lru_cache(maxsize=1)
def _setup(problem: str, settings: Settings) -> Setup:
    return PROBLEMS[problem].setup(settings)


def _about(problem: Problem, settings: Settings) -> Record:
    setup = _setup(problem.name, settings)
    return {"found": {"facts": dict(setup.facts), "reference": setup.reference.how}, "times": {}}


def _cell(problem: Problem, method: Method, settings: Settings) -> Record:
    return cell(problem, _setup(problem.name, settings), method, settings)


def _training(problem: Problem, method: Method, settings: Settings) -> Record:
    assert problem.curve is not None
    steps, values = problem.curve.run(method.name, settings)
    found: dict[str, Any] = {"steps": [int(x) for x in steps], "values": [float(f"{y:.6g}") for y in values]}
    return {"found": found, "times": {}}


def tasks(settings: Settings) -> list[Task]:
    """Everything there is to do, problem by problem: what is known of it, cells, training curves."""
    todo = []
    for problem in PROBLEMS.values():
        of = {"problem": problem.name}
        todo.append(Task(f"{problem.name}: about", lambda p=problem: _about(p, settings), of))
        for method in METHODS.values():
            if method.for_problem(problem.name):
                do = lambda p=problem, m=method: _cell(p, m, settings)
                todo.append(Task(f"{problem.name}: {method.name}", do, of | {"estimator": method.name}))
        for name in problem.curve.methods if problem.curve else ():
            do = lambda p=problem, m=METHODS[name]: _training(p, m, settings)
            todo.append(Task(f"{problem.name}: training by {name}", do, of | {"estimator": name}))
    return todo


STUDY = Study(
    name="estimators",
    title="Problems and estimators",
    about="Every estimator on every problem: bias, variance, time",
    tasks=tasks,
    sections=sections,
    axes={
        "problem": {name: problem.title for name, problem in PROBLEMS.items()},
        "estimator": {name: method.label for name, method in METHODS.items()},
    },
    mode="quick",
)
