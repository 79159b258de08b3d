"""D. Sets of distinct draws (Kool et al. 2020, after Liu et al. 2019).

three bits of one logit eta in {0, -4}, f(x) = sum (x_i - p_i)^2, p = (.6, .51, .48): variance of one call with k evaluations
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

import jax_scorefn as sf
from benchmarks.report import figures
from benchmarks.settings import Settings
from benchmarks.studies.papers._base import Outcome, Paper, runs, variance_of

POINTS = jnp.array([0.6, 0.51, 0.48])
BITS = sf.family(lambda eta: sf.Bernoulli(logits=jnp.full(3, eta)))
COLUMNS = ("score", "leave-one-out", "sets with their baseline")
TABLE = {
    "eta = 0, k = 1": ".43842 - -",
    "eta = 0, k = 2": ".21921 .007275 .0061125",
    "eta = 0, k = 3": ".14614 .0032 .0022625",
    "eta = 0, k = 4": ".10961 .0019875 .0011308",
    "eta = 0, k = 8": ".054803 7.5804e-4 0",
    "eta = -4, k = 1": ".033557 - -",
    "eta = -4, k = 2": ".016778 3.8102e-4 2.9782e-5",
    "eta = -4, k = 3": ".011186 2.4578e-4 8.0711e-6",
    "eta = -4, k = 4": ".0083892 1.8228e-4 1.0555e-6",
    "eta = -4, k = 8": ".0041946 8.9962e-5 0",
}
GRADIENT = {"eta = 0": "-.045", "eta = -4": "-.00317929"}


def f(x: Any) -> Any:
    """What a draw costs."""
    return jnp.sum((x - POINTS) ** 2)


def measure(settings: Settings) -> Outcome:
    """With and without replacement."""
    outcome, count = Outcome(), 400_000 if settings.full else 60_000
    for row in GRADIENT:
        eta = jnp.float32(row.split("= ")[1])
        outcome.numbers[row] = {"gradient": (float(sf.exact_grad(f, BITS, eta, None)), 1e-7)}
    for row, text in TABLE.items():
        eta, k = jnp.float32(row.split(",")[0].split("= ")[1]), int(row.split("k = ")[1])
        score = lambda key, eta=eta, k=k: sf.score_function_grad(f, BITS, eta, key, num_samples=k, baseline=None)
        ways = {"score": score}
        if text.split()[1] != "-":
            ways["leave-one-out"] = lambda key, eta=eta, k=k: sf.score_function_grad(f, BITS, eta, key, num_samples=k)
            ways["sets with their baseline"] = lambda key, eta=eta, k=k: sf.unordered_set_grad(
                f, BITS, eta, key, num_samples=k, set_size=k
            )
        found = {
            name: variance_of(runs(way, settings.key("D", row, name), count, batch=10_000))
            for name, way in ways.items()
        }
        outcome.numbers[row] = found
    return outcome


def paint(outcome: Outcome, theme: figures.Theme) -> Any:
    """Variance against evaluations."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(12.5, 3.8))
    for ax, eta in zip(axes, GRADIENT, strict=True):
        for place, column in enumerate(COLUMNS):
            found = [
                (int(row.split("k = ")[1]), numbers[column][0])
                for row, numbers in outcome.numbers.items() if row.startswith(eta + ",") and numbers.get(column, (0,))[0] > 1e-12
            ]  # fmt: skip
            ax.plot(
                *zip(*found, strict=True),
                figures.marker(place) + "-",
                color=figures.shade(place),
                lw=1.8,
                label=column if eta == "eta = 0" else None,
            )
        figures.logarithmic(ax)
        figures.curves(ax, theme, "evaluations of f")
        ax.margins(x=0.03)
        ax.set_title(f"Variance, {eta}".replace("-", "−"))
    figure.legend(loc="outside upper left", ncols=3)
    return figure


PAPER = Paper(
    letter="D",
    title="Sets of distinct draws",
    source="Kool et al. 2020",
    about=(
        "Three bits that share a logit η, f = Σ (xᵢ − pᵢ)²; with k evaluations, drawn with replacement or all distinct. All "
        "eight: exact."
    ),
    measure=measure,
    wanted={
        **{row: {"gradient": text} for row, text in GRADIENT.items()},
        **{row: {c: x for c, x in zip(COLUMNS, text.split(), strict=True) if x != "-"} for row, text in TABLE.items()},
    },
    within={"": 2e-4},
    printed=("gradient at eta = 0",),
    figure=paint,
)
