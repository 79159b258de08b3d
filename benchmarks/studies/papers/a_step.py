"""T. The derivative of a step in noise (the first example of DiscoGrad).

x = 0, e ~ N(0, .25), f = 1[x + e < 0]:   E f = .5,   dE/dx = -phi(0) / .5
"""

from __future__ import annotations

import jax.numpy as jnp

import jax_scorefn as sf
from benchmarks.settings import Settings
from benchmarks.studies.papers._base import Outcome, Paper, mean_of, runs

NOISY = sf.family(lambda x: sf.Normal(loc=x, scale=0.5))


def measure(settings: Settings) -> Outcome:
    """By each estimator that sees a step."""
    count, f = 400_000 if settings.full else 100_000, lambda x: (x < 0).astype(float)
    at = jnp.float32(0.0)
    ways = {
        "score": lambda key: sf.score_function_grad(f, NOISY, at, key, num_samples=2),
        "measure-valued": lambda key: sf.measure_valued_grad(f, NOISY, at, key, num_samples=2),
    }
    numbers = {name: mean_of(runs(way, settings.key("T", name), count, batch=20_000)) for name, way in ways.items()}
    value = runs(
        lambda key: sf.score_function(f, NOISY, at, key, num_samples=2), settings.key("T", "value"), count, batch=20_000
    )
    pathwise = float(sf.pathwise_grad(f, NOISY, at, settings.key("T", "path"), num_samples=100))
    return Outcome(
        {"x = 0": {"E f": mean_of(value)} | numbers},
        [("the pathwise derivative of a step is 0, whatever the draw", pathwise == 0.0)],
    )


PAPER = Paper(
    letter="T",
    title="A step in noise",
    source="DiscoGrad, first example; exact by hand",
    about="f jumps where x + e crosses 0, so its own derivative is 0 everywhere. The first example prints −.7939 from 1,000 draws.",
    measure=measure,
    wanted={"x = 0": {"E f": ".5", "score": "-.797885", "measure-valued": "-.797885"}},
)
