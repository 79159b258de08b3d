"""P. A Game of Life whose rules are broken now and then (the tutorial of StochasticAD.jl).

a (2N + 1)^2 board, four neighbours, dead outside; a rule is broken with probability .1; cost: living cells after T steps
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import jax_scorefn as sf
from benchmarks.settings import Settings
from benchmarks.studies.papers._base import Outcome, Paper, mean_of, runs

TABLE = {
    "N = 3, T = 1, p = .3": "9.425200 37.260000",
    "N = 3, T = 1, p = .5": "19.050000 53.900000",
    "N = 1, T = 2, p = .5": "1.748360 5.097584",
}


def alive_next(board: Any) -> Any:
    """Probabilities of being alive."""
    padded = jnp.pad(board, 1)
    number = padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2]
    lives = jnp.where(board > 0, (number == 2) | (number == 3), number == 3)
    return jnp.where(lives, 0.9, 0.1)


def life(size: int, steps: int, estimator: str) -> Any:
    """The program."""

    def program(p: Any, key: Any) -> Any:
        first, *keys = jax.random.split(key, steps + 1)
        board = sf.sample(first, sf.Bernoulli(probs=jnp.full((size, size), p)), estimator=estimator)
        for k in keys:
            board = sf.sample(k, sf.Bernoulli(probs=alive_next(board)), estimator=estimator)
        return jnp.sum(board)

    return program


def measure(settings: Settings) -> Outcome:
    """Value and derivative by each estimator."""
    outcome, count = Outcome(), 100_000 if settings.full else 20_000
    for row in TABLE:
        n, steps, p = (part.split("= ")[1] for part in row.split(", "))
        for estimator in ("score_function", "coupled"):
            both = jax.value_and_grad(sf.expectation(life(2 * int(n) + 1, int(steps), estimator)))
            value, slope = runs(
                lambda key, both=both, p=float(p): both(jnp.float32(p), key),
                settings.key("P", row, estimator),
                count,
                batch=500,
            )
            outcome.numbers.setdefault(row, {}).setdefault("E", mean_of(value))
            outcome.numbers[row][f"dE/dp, {'score' if estimator == 'score_function' else estimator}"] = mean_of(slope)
    return outcome


PAPER = Paper(
    letter="P",
    title="A Game of Life",
    source="StochasticAD.jl, tutorial; exact numbers worked out",
    about="A board that is set at random, each cell alive with probability p; how many live in the end, and its derivative in p.",
    measure=measure,
    wanted={
        row: dict(zip(("E", "dE/dp, score", "dE/dp, coupled"), (*text.split(), text.split()[1]), strict=True))
        for row, text in TABLE.items()
    },
)
