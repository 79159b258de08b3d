"""Q. The noise of REINFORCE near an optimum (after arXiv 2602.01460): a step of a linear system with quadratic cost.

x0 = 1, u = K x0 + .5 e, x1 = x0 + u, cost .1 u^2 + x1^2;   gradient in K
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

import jax_scorefn as sf
from benchmarks.settings import Settings
from benchmarks.studies.papers._base import Outcome, Paper, runs, variance_of

COLUMNS = ("gradient", "variance, score", "variance, score - mean", "variance, pathwise")
TABLE = {"K = 0": "2 23.1375 11.025 1.21", "K = -.5": ".9 8.275 4.645 1.21", "K = -.9": ".02 5.17202 3.0258 1.21"}
RATIO = {"K = 0": "5.78", "K = -.5": "10.2", "K = -.9": "12930"}
ACTION = sf.family(lambda gain: sf.Normal(loc=gain, scale=0.5))


def f(u: Any) -> Any:
    """What an action costs."""
    return 0.1 * u**2 + (1 + u) ** 2


def measure(settings: Settings) -> Outcome:
    """One draw, three ways."""
    outcome, count = Outcome(), 2_000_000 if settings.full else 400_000
    for row in TABLE:
        gain = jnp.float32(row.split("= ")[1])
        mean = float(sf.exact(f, ACTION, gain, None))
        exact = float(sf.exact_grad(f, ACTION, gain, None))

        def score(key: Any, b: float, gain: Any = gain) -> Any:
            return sf.score_function_grad(lambda u: f(u) - b, ACTION, gain, key, num_samples=1, baseline=None)

        ways = {
            "variance, score": lambda key: score(key, 0.0),
            "variance, score - mean": lambda key, b=mean: score(key, b),
            "variance, pathwise": lambda key, gain=gain: sf.pathwise_grad(f, ACTION, gain, key, num_samples=1),
        }
        numbers = {"gradient": (exact, 1e-6)}
        numbers |= {
            name: variance_of(runs(way, settings.key("Q", row, name), count, batch=50_000))
            for name, way in ways.items()
        }
        variance, error = numbers["variance, score"]
        known = float(TABLE[row].split()[0])
        numbers["variance / gradient^2"] = (variance / known**2, error / known**2)
        outcome.numbers[row] = numbers
    return outcome


PAPER = Paper(
    letter="Q",
    title="Near an optimum",
    source="After arXiv 2602.01460; by quadrature",
    about=(
        "Where the gradient is nearly 0, the noise of REINFORCE is not: its ratio to the signal grows without bound; the pathwise "
        "gradient's variance stays."
    ),
    measure=measure,
    wanted={
        row: dict(zip(COLUMNS, text.split(), strict=True)) | {"variance / gradient^2": RATIO[row]}
        for row, text in TABLE.items()
    },
    within={"variance / gradient^2": 1e-3},
)
