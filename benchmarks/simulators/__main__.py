"""Variance x time on simulators: ``python -m benchmarks.simulators [NAME ...] [--pilots 20] [--out FILE]``.

For each every plan, timed in turns in one process, with the variance of one run (the score function has reward-to-go and
leave-one-out); what ``sf.plan`` chooses, from so many pilots; and how far mean gradients are from the exact one, in standard errors.

    gain       variance x time of the score function over that of the plan that is chosen (the median of the pilots)
    to best    that of the plan that is chosen over the best of all plans
    worst      that of the worst choice over the score function
"""

from __future__ import annotations

import argparse
import fnmatch
import functools
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jax_scorefn as sf
from benchmarks.simulators import SIMULATORS, Simulator
from benchmarks.speed import interleaved
from jax_scorefn.programs import Plan

RUNS = 256
"""Of a pilot, and of what is timed: estimates in a compiled loop, so that what it takes to call one is no part of it."""


def every_plan(able: dict[str, list[str]]) -> list[Plan]:
    """All combinations."""
    return [Plan(tuple(zip(able, chosen, strict=True))) for chosen in itertools.product(*able.values())]


def measure(made: Simulator, runs: int, pilots: int, estimates: int) -> dict[str, Any]:
    """One simulator: a row for each plan, and what the pilots chose."""
    pilot = sf.plan(made.program, num_runs=RUNS, num_samples=runs)
    chosen = [pilot(made.params, jax.random.key(1000 + i)) for i in range(max(pilots, 1))]
    (able,) = pilot.able.values()
    plans = every_plan(able)
    gradients = [jax.jit(jax.grad(sf.expectation(made.program, num_samples=runs, plan=plan))) for plan in plans]
    keys = jax.random.split(jax.random.key(7), estimates)
    rows = []
    for plan, gradient in zip(plans, gradients, strict=True):
        found = jax.jit(functools.partial(jax.lax.map, functools.partial(gradient, made.params)))(keys)
        found = np.concatenate([np.asarray(x, float).reshape(estimates, -1) for x in jax.tree.leaves(found)], axis=1)
        row = {"plan": dict(plan.choices), "variance": runs * float(np.sum(np.var(found, axis=0, ddof=1)))}
        if made.exact is not None:
            error = found.std(axis=0, ddof=1) / estimates**0.5
            off = found.mean(axis=0) - np.asarray(made.exact, float).reshape(-1)
            row["z"] = float(np.max(np.abs(off) / np.maximum(error, 1e-30)))
        rows.append(row)
    loops = [
        jax.jit(
            lambda params, key, of=of: jax.lax.map(functools.partial(of, params), jax.random.split(key, RUNS // runs))
        )
        for of in gradients
    ]
    times = np.median(interleaved(loops, made.params, jax.random.key(3), 15), axis=0)
    for row, seconds in zip(rows, times, strict=True):
        row["microseconds"] = float(seconds) / RUNS * 1e6
        row["price"] = row["variance"] * row["microseconds"]
    by_choices = {tuple(row["plan"].items()): row for row in rows}
    best = min(row["price"] for row in rows)
    score = by_choices[tuple((name, "score_function") for name in able)]["price"]
    of_pilots = [by_choices[plan.choices]["price"] for plan in chosen]
    return {
        "about": made.about,
        "rows": sorted(rows, key=lambda row: row["price"]),
        "chosen": dict(chosen[0].choices),
        "best": best,
        "score": score,
        "pilots": of_pilots,
    }


def line(name: str, found: dict[str, Any]) -> str:
    """For people: the plan that pilots choose, how much better than the score function it is, and how near to the best."""
    median = float(np.median(found["pilots"]))
    z = max((row["z"] for row in found["rows"] if "z" in row), default=float("nan"))
    chosen = ", ".join(f"{k}: {v}" for k, v in found["chosen"].items())
    return (
        f"{name:22s} {found['score'] / median:8.2f} {median / found['best']:8.2f} {max(found['pilots']) / found['score']:8.2f} "
        f"{z:6.1f}  {chosen}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; write what was found as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulators", description=__doc__)
    parser.add_argument("names", nargs="*", default=["*"], help="names or globs; without any, all")
    parser.add_argument("--runs", type=int, default=64, help="in an estimate, a divisor of 256 (default 64)")
    parser.add_argument("--pilots", type=int, default=5, help="pilots of 256 runs (default 5)")
    parser.add_argument("--estimates", type=int, default=256, help="of which a variance is taken (default 256)")
    parser.add_argument("--out", type=Path, help="a file for the numbers")
    arguments = parser.parse_args(argv)
    names = [name for name in SIMULATORS if any(fnmatch.fnmatch(name, glob) for glob in arguments.names)]
    if not names:
        print(f"no simulator is called {arguments.names}; there are: {', '.join(SIMULATORS)}", file=sys.stderr)
        return 2
    print(f"{'simulator':22s} {'gain':>8s} {'to best':>8s} {'worst':>8s} {'max z':>6s}  plan")
    found = {}
    for name in names:
        found[name] = measure(SIMULATORS[name](), arguments.runs, arguments.pilots, arguments.estimates)
        print(line(name, found[name]), flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
