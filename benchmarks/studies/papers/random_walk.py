"""F. A random walk that is pulled back (Arya et al. 2022, Figure 2 and the tutorial of StochasticAD.jl).

X_0 = 0, a step of +1 with probability exp(-X / p), else -1;   d/dp E X_n^2, p = 2 n
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn as sf
from benchmarks.report import figures
from benchmarks.settings import Settings
from benchmarks.studies.papers._base import Outcome, Paper, deviation_of, mean_of, runs

COLUMNS = ("E f", "exact d/dp", "score", "score - mean", "coupled")
TABLE = {
    "n = 10": "50.1 1.48982 3.77 1.86 .798",
    "n = 50": "1130.7 7.55819 34.4 10.65 3.07",
    "n = 100": "4465.1 15.13490 93.5 21.0 5.67",
}
TRIPLES = {"n = 10": 1.0, "n = 50": 3.4, "n = 100": 6.5}
"""Read off the figure."""


def walk(n: int, estimator: str, off: float = 0.0) -> Any:
    """The program."""

    def program(p: Any, key: Any) -> Any:
        def step(x: Any, key: Any) -> Any:
            up = sf.sample(key, sf.Bernoulli(probs=jnp.exp(-x / p)), estimator=estimator)
            return x + 2 * up - 1, None

        return jax.lax.scan(step, jnp.float32(0.0), jax.random.split(key, n))[0] ** 2 - off

    return program


def exact(n: int) -> tuple[float, float]:
    """E X_n^2 and its derivative: the probabilities of all places, forwards, with their derivatives."""
    places, p = np.arange(-n, n + 1, dtype=float), 2.0 * n
    up = np.exp(-np.maximum(places, 0) / p)  # below 0 the walk never is
    slope = up * np.maximum(places, 0) / p**2
    mass, moved = (places == 0).astype(float), np.zeros_like(places)
    shift = lambda x, by: np.roll(x, by)
    for _ in range(n):
        mass, moved = (
            shift(mass * up, 1) + shift(mass * (1 - up), -1),
            shift(moved * up + mass * slope, 1) + shift(moved * (1 - up) - mass * slope, -1),
        )
    return float(mass @ places**2), float(moved @ places**2)


def measure(settings: Settings) -> Outcome:
    """Deviation of the derivative from one run, by each way."""
    outcome, count = Outcome(), 100_000 if settings.full else 20_000
    for row in TABLE:
        n = int(row.split("= ")[1])
        mean, slope = exact(n)
        ways = {
            "score": walk(n, "score_function"), "score - mean": walk(n, "score_function", mean), "coupled": walk(n, "coupled"),
        }  # fmt: skip
        numbers = {"E f": (mean, 0.0), "exact d/dp": (slope, 0.0)}
        for name, program in ways.items():
            gradient = jax.grad(sf.expectation(program))
            found = runs(
                lambda key, g=gradient, n=n: g(jnp.float32(2 * n), key), settings.key("F", row, name), count, batch=2000
            )
            numbers[name] = deviation_of(found)
            middle, error = mean_of(found)
            outcome.claim(f"{row}: the mean of {name} is the exact derivative", abs(middle - slope) < 4.5 * error)
        outcome.numbers[row] = numbers
        outcome.claim(
            f"{row}: coupled is below the curve of stochastic triples (about {TRIPLES[row]})",
            numbers["coupled"][0] < TRIPLES[row],
        )
    return outcome


def paint(outcome: Outcome, theme: figures.Theme) -> Any:
    """Deviations against the length."""
    from matplotlib import pyplot as plt

    lengths = [int(row.split("= ")[1]) for row in outcome.numbers]
    figure, ax = plt.subplots(figsize=(9.5, 3.6))
    for place, column in enumerate(COLUMNS[2:]):
        ys = [row[column][0] for row in outcome.numbers.values()]
        ax.plot(lengths, ys, figures.marker(place) + "-", color=figures.shade(place), lw=2, label=column)
    ax.plot(
        lengths, list(TRIPLES.values()), "*", ms=11, color=theme.ink, ls="none", label="stochastic triples, as printed"
    )
    figures.logarithmic(ax, plain=True)
    figures.curves(ax, theme, "steps n")
    ax.margins(x=0.04)
    ax.set_ylabel("deviation of one run")
    ax.legend()
    return figure


PAPER = Paper(
    letter="F",
    title="A random walk that is pulled back",
    source="Arya et al. 2022, Figure 2",
    about=(
        "A walk of n steps, up with probability exp(−X/p), p = 2n, f = Xₙ²: deviation of the derivative from one run. Every other "
        "value of every step is compared in *coupled*."
    ),
    measure=measure,
    wanted={row: dict(zip(COLUMNS, text.split(), strict=True)) for row, text in TABLE.items()},
    within={"E f": 0.002, "score": 0.02, "score - mean": 0.02, "coupled": 0.02},
    figure=paint,
)
