"""The plans that come into question, and their times.

    expected time  =  that of the score function  +  for each choice its part of what its estimator adds where all choices have it

It decides what is timed; what was timed decides.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import jax
import numpy as np

from jax_scorefn.programs.plans._candidates import SWITCHED

Able: TypeAlias = dict[str, list[str]]
"""The estimators that each choice may have."""
Chosen: TypeAlias = tuple[tuple[str, str], ...]
MOST_PLANS = 4096
"""So many combinations are all priced; of more, those that are one change after the other better than a uniform one."""


def structures(able: Able) -> Iterator[tuple[frozenset[str], frozenset[str]]]:
    """Which choices are summed, and which are followed along their path: none, each alone, all."""
    groups = []
    for estimator in ("exact", "pathwise"):
        names = [name for name, known in able.items() if estimator in known]
        groups.append(dict.fromkeys(frozenset(some) for some in ([], *([name] for name in names), names)))
    for summed, along in itertools.product(*groups):
        if not summed & along:
            yield summed, along


def combinations(
    able: Able, summed: frozenset[str], along: frozenset[str], variance: Callable[[Mapping[str, str]], float]
) -> Iterator[Chosen]:
    """The plans that a pilot prices: all, or those that are better than a uniform one after one change and another."""
    fixed = dict.fromkeys(summed, "exact") | dict.fromkeys(along, "pathwise")
    open_ = {
        name: [fixed[name]] if name in fixed else [e for e in known if e in SWITCHED] for name, known in able.items()
    }
    if math.prod(map(len, open_.values())) <= MOST_PLANS:
        yield from (tuple(zip(open_, choices, strict=True)) for choices in itertools.product(*open_.values()))
        return
    for estimator in SWITCHED:
        now = {name: estimator if estimator in known else known[0] for name, known in open_.items()}
        yield tuple(now.items())
        for name, known in [*open_.items(), *open_.items()]:
            now[name] = min(known, key=lambda e, n=name: variance({**now, n: e}))
        yield tuple(now.items())


def estimators(able: Able) -> list[str]:
    return list(dict.fromkeys(estimator for known in able.values() for estimator in known))


def throughout(able: Able, estimator: str) -> Chosen:
    """One estimator wherever it can be, and the score function elsewhere."""
    return tuple((name, estimator if estimator in known else "score_function") for name, known in able.items())


def expected_time(speeds: dict[Chosen, float], choices: Chosen) -> float:
    """What each choice adds to the time of the score function is taken to be the same part of what it adds everywhere."""
    (plain,) = (seconds for row, seconds in speeds.items() if all(e == "score_function" for _, e in row))
    expected = plain
    for row, seconds in speeds.items():
        (estimator,) = {e for _, e in row} - {"score_function"} or {"score_function"}
        able = [name for name, e in row if e == estimator]
        mine = [name for name, e in choices if e == estimator]
        expected += max(seconds - plain, 0.0) * len(mine) / max(len(able), 1)
    return expected


def in_turns(runs: list[Callable[..., Any]], call: Any, rounds: int = 7) -> list[float]:
    """Seconds of each, the median of rounds; each is called as often as takes two milliseconds."""

    def seconds(run: Callable[..., Any], times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            out = run(call)
        jax.block_until_ready(out)
        return (time.perf_counter() - start) / times

    for run in runs:
        jax.block_until_ready(run(call))
    often = [max(1, math.ceil(2e-3 / seconds(run, 1))) for run in runs]
    found = [[seconds(run, times) for run, times in zip(runs, often, strict=True)] for _ in range(rounds)]
    return [float(x) for x in np.median(found, axis=0)]
