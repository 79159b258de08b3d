"""S. A program that mixes a path with discrete draws (the introduction of StochasticAD.jl).

X(p) = a c N(b, a),  a = p (1 - p),  b ~ Binomial(10, p),  c = 2 b + 3 Bernoulli(p);   E X = 20 p^2 + 190 p^3 - 210 p^4
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import jax_scorefn as sf
from benchmarks.settings import Settings
from benchmarks.studies.papers._base import Outcome, Paper, mean_of, runs

PLACES = (0.3, 0.5, 0.6)


def expected(p: float) -> float:
    """E X, which is linear in the normal draw."""
    return 20 * p**2 + 190 * p**3 - 210 * p**4


def slope(p: float) -> float:
    """Its derivative."""
    return 40 * p + 570 * p**2 - 840 * p**3


def program(estimator: str) -> Any:
    """X, with its discrete draws by an estimator."""

    def of(p: Any, key: Any) -> Any:
        one, two, three = jax.random.split(key, 3)
        a = p * (1 - p)
        b = sf.sample(one, sf.Binomial(total_count=10, probs=p), estimator=estimator).astype(float)
        c = 2 * b + 3 * sf.sample(two, sf.Bernoulli(probs=p), estimator=estimator)
        return a * c * sf.sample(three, sf.Normal(loc=b, scale=a), estimator="pathwise")

    return of


def measure(settings: Settings) -> Outcome:
    """Values and derivatives at three places; then up the hill."""
    outcome, count = Outcome(), 200_000 if settings.full else 40_000
    for p in PLACES:
        for estimator, name in (("score_function", "score"), ("coupled", "coupled")):
            both = jax.value_and_grad(sf.expectation(program(estimator)))
            value, found = runs(
                lambda key, both=both, p=p: both(jnp.float32(p), key), settings.key("S", str(p), name), count
            )
            row = outcome.numbers.setdefault(f"p = {p}", {})
            row.setdefault("E", mean_of(value))
            row[f"dE/dp, {name}"] = mean_of(found)
    climb = jax.grad(sf.expectation(program("coupled"), num_samples=100))

    def step(p: Any, row: Any) -> Any:
        i, key = row
        return jnp.clip(p + 0.01 / (1 + 0.05 * i) * climb(p, key) / 10, 0.05, 0.95), p

    steps = 2000
    keys = jax.random.split(settings.key("S", "climb"), steps)
    _, path = jax.jit(lambda p, rows: jax.lax.scan(step, p, rows))(
        jnp.float32(0.5), (jnp.arange(steps, dtype=float), keys)
    )
    outcome.numbers["optimum"] = {"p": (float(jnp.mean(path[steps // 2 :])), 5e-4)}
    return outcome


PAPER = Paper(
    letter="S",
    title="A path among discrete draws",
    source="StochasticAD.jl, introduction; exact by hand",
    about=(
        "A normal draw is differentiated along its path, a binomial and a bit in front of it are scored or compared. Below: where "
        "an ascent ends."
    ),
    measure=measure,
    wanted={
        **{
            f"p = {p}": {
                "E": f"{expected(p):.6f}",
                "dE/dp, score": f"{slope(p):.6f}",
                "dE/dp, coupled": f"{slope(p):.6f}",
            }
            for p in PLACES
        },
        "optimum": {"p": ".7426885"},
    },
)
