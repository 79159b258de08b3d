"""One cell: how far off, how noisy and how fast one method is on one problem.

bias z           max over coordinates of |mean - reference| / sqrt(se^2 + se_reference^2 + rounding^2)
variance         S x variance of one call, averaged over the coordinates
variance x time  variance of one call x microseconds of one call: what a fixed budget of time buys
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks import timing
from benchmarks.method import Method
from benchmarks.settings import Settings, quick_jit
from benchmarks.studies.estimators.problems import Problem, Setup
from benchmarks.study import Record

SHOWN = 300
"""Estimates of one coordinate that are kept for the figure."""


def refusal(problem: Problem, setup: Setup, method: Method, settings: Settings) -> str | None:
    """Why a method cannot be used on a problem, in the library's own words; None where it can.

    It is asked with an objective of 0, so that a mistake in the problem itself is never taken for a refusal.
    """
    if method.name in problem.refuses:
        return problem.refuses[method.name]
    if method.name in problem.full_only and not settings.full:
        return "Measured with --full only."
    family, params = setup.dist
    estimate = method.bind(problem.num_draws)
    try:
        jax.eval_shape(lambda p, key: estimate(lambda x: 0.0, family, p, key), params, jax.random.key(0))
    except (TypeError, ValueError) as error:
        return str(error)
    return None


def cell(problem: Problem, setup: Setup, method: Method, settings: Settings) -> Record:
    """Every column of one row, as plain numbers."""
    reason = refusal(problem, setup, method, settings)
    if reason is not None:
        return {"found": {"reason": reason}, "times": {}}

    estimate = method.bind(problem.num_draws)

    # The parameters are an argument: as constants XLA would compute with them while it compiles.
    def gradient(params: Any, key: jax.Array) -> jax.Array:
        return setup.coordinates(jax.grad(lambda p: setup.objective(estimate, p, key))(params))

    time_key, run_key = jax.random.split(settings.key(problem.name, method.name))
    fresh = jax.jit(lambda params, key: gradient(params, key))
    budget, most = (1.0, 400) if settings.full else (0.1, 60)
    keys = list(jax.random.split(time_key, most + 1))
    count = problem.replicates[settings.full] if method.sampled else 2
    batch = problem.batch if method.sampled else 1
    call = lambda key: fresh(setup.params, key)
    first = lambda: timing.seconds(call, keys[0])
    if batch > 1:
        began, runs = timing.side_by_side(first, lambda: _replicate(gradient, setup, run_key, count, batch))
    else:  # by the function that is timed
        began, runs = first(), _replicate(fresh, setup, run_key, count, batch)
    times = {"first_seconds": began} | timing.clock(call, keys[1:], budget)
    statistics = _statistics(runs, setup, method, problem.num_draws)
    evaluations = setup.contexts * method.count(problem.num_draws, setup.num_points)
    return {"found": {"replicates": count, "evaluations": evaluations} | statistics, "times": times}


def _replicate(
    gradient: Callable[..., jax.Array], setup: Setup, key: jax.Array, count: int, batch: int
) -> np.ndarray:  # fmt: skip
    """``count`` independent gradients, shape ``(count, C)``, with the draws of ``batch`` of them in memory at once.

    A batch of 1 calls the function that was timed, which is compiled already.
    """
    if batch == 1:
        return np.stack([np.asarray(gradient(setup.params, one)) for one in jax.random.split(key, count)])
    run = quick_jit(jax.vmap(gradient, in_axes=(None, 0)))
    keys = jax.random.split(key, -(-count // batch))
    return np.concatenate([np.asarray(run(setup.params, jax.random.split(one, batch))) for one in keys])[:count]


def _statistics(runs: np.ndarray, setup: Setup, method: Method, num_draws: int) -> dict[str, Any]:
    reference = setup.reference
    count = len(runs)
    mean = runs.mean(axis=0, dtype=np.float64)
    squares = (runs - mean) ** 2
    variances = squares.sum(axis=0) / (count - 1)
    if not method.sampled:
        variances = np.zeros_like(variances)
    # the variance averaged over coordinates is a mean over replicates, and so is its error: coordinates may correlate
    variance = float(variances.mean())
    variance_error = float(squares.mean(axis=1).std(ddof=1) / count**0.5) if method.sampled else 0.0
    error = np.sqrt(variances / count + reference.standard_error**2 + reference.rounding**2)
    z = (mean - reference.gradient) / error
    shown = int(np.argmax(np.abs(reference.gradient)))
    draws = num_draws if method.sampled else 1
    known = setup.known.get(method.name)
    return {
        "coordinates": len(mean),
        "finite": bool(np.all(np.isfinite(runs))),
        "z": float(np.max(np.abs(z))),
        "draws": draws,
        "variance": draws * variance,
        "variance_error": draws * variance_error,
        "variance_known": known,
        "call_variance": variance,
        "rounding": float(reference.rounding),
        "shown_coordinate": shown,
        "shown_reference": float(reference.gradient[shown]),
        "shown": [float(f"{x:.6g}") for x in runs[:SHOWN, shown]] if method.sampled else [float(mean[shown])],
    }
