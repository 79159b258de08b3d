"""What each estimator is worth on a simulator: every plan, timed in turns in one process, and what pilots choose.

gain       variance x time of the score function over that of the plan that is chosen (the median of the pilots)
to best    that of the plan that is chosen over the best of all plans
worst      that of the worst choice over the score function
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import jax
import numpy as np

import jax_scorefn as sf
from benchmarks.studies.simulators._base import Simulator
from benchmarks.study import Record
from benchmarks.timing import interleaved
from jax_scorefn.programs import Plan

RUNS = 256
"""Of a pilot, and of what is timed: estimates in a compiled loop, so that what it takes to call one is no part of it."""


def every_plan(able: dict[str, list[str]]) -> list[Plan]:
    """All combinations."""
    return [Plan(tuple(zip(able, chosen, strict=True))) for chosen in itertools.product(*able.values())]


def rows_of(tree: Any, count: int) -> np.ndarray:
    """A pytree of stacked gradients as an array (count, parameters)."""
    return np.concatenate([np.asarray(x, float).reshape(count, -1) for x in jax.tree.leaves(tree)], axis=1)


def measure(made: Simulator, runs: int, pilots: int, estimates: int, laps: int = 15) -> Record:
    """One simulator: variance and time of each plan, and what the pilots chose."""
    pilot = sf.plan(made.program, num_runs=RUNS, num_samples=runs)
    chosen = [pilot(made.params, jax.random.key(1000 + i)) for i in range(max(pilots, 1))]
    (able,) = pilot.able.values()
    plans = every_plan(able)
    gradients = [jax.jit(jax.grad(sf.expectation(made.program, num_samples=runs, plan=plan))) for plan in plans]
    keys = jax.random.split(jax.random.key(7), estimates)
    found = []
    for plan, gradient in zip(plans, gradients, strict=True):
        rows = rows_of(
            jax.jit(functools.partial(jax.lax.map, functools.partial(gradient, made.params)))(keys), estimates
        )
        one = {"plan": dict(plan.choices), "variance": runs * float(np.sum(np.var(rows, axis=0, ddof=1)))}
        if made.exact is not None:
            error = rows.std(axis=0, ddof=1) / estimates**0.5
            off = rows.mean(axis=0) - np.asarray(made.exact, float).reshape(-1)
            one["z"] = float(np.max(np.abs(off) / np.maximum(error, 1e-30)))
        found.append(one)
    loop = lambda of: jax.jit(
        lambda params, key: jax.lax.map(functools.partial(of, params), jax.random.split(key, RUNS // runs))
    )
    seconds_each = np.median(interleaved([loop(of) for of in gradients], made.params, jax.random.key(3), laps), axis=0)
    taken = [float(seconds) / RUNS * 1e6 for seconds in seconds_each]
    places = [
        plans.index(plan) for plan in chosen
    ]  # plans are equal by their choices; which are chosen is a matter of time
    return {"found": {"about": made.about, "plans": found}, "times": {"microseconds": taken, "chosen": places}}


def summary(row: dict[str, Any]) -> dict[str, Any]:
    """Prices in units of the best plan's, and the plan that the pilots choose."""
    prices = np.array([one["variance"] * x for one, x in zip(row["plans"], row["microseconds"], strict=True)])
    all_score = next(i for i, one in enumerate(row["plans"]) if set(one["plan"].values()) == {"score_function"})
    of_pilots = prices[row["chosen"]]
    return {
        "gain": float(prices[all_score] / np.median(of_pilots)),
        "to_best": float(np.median(of_pilots) / prices.min()),
        "worst": float(of_pilots.max() / prices[all_score]),
        "z": max((one["z"] for one in row["plans"] if "z" in one), default=None),
        "chosen": row["plans"][row["chosen"][0]]["plan"],
    }
