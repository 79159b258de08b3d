"""A. One draw from a normal, three integrands: no estimator is always best (Mohamed et al. 2020, Section 3, Figures 2 and 3).

x ~ N(mu, sigma^2), mu = sigma = 1;   f: (x - k)^2, exp(-k x^2), cos(k x);   variance of a gradient of one draw, in mu and in sigma
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

import jax_scorefn as sf
from benchmarks.report import figures
from benchmarks.settings import Settings
from benchmarks.studies.papers._base import Outcome, Paper, runs, variance_of

INTEGRANDS = {
    "square": lambda x, k: (x - k) ** 2,
    "exp": lambda x, k: jnp.exp(-k * x**2),
    "cos": lambda x, k: jnp.cos(k * x),
}
COLUMNS = ("gradient", "score", "score - mean", "score, best constant", "pathwise", "measure-valued")
TABLE = {
    "square -3": "8 495 138 134 4 17.49 | 2 1546 696 664 72 68",
    "square 0": "2 30 18 14 4 1.093 | 2 136 96 64 12 8",
    "square 1": "0 15 10 6 4 0 | 2 74 56 24 8 4",
    "square 3": "-4 87 42 38 4 4.372 | 2 346 216 184 24 20",
    "exp 0.1": "-.13998 .5635 .05407 .04047 .01629 .002509 | -.11665 .9354 .2289 .141 .02777 .02197",
    "exp 1": "-.27579 .1758 .08067 .07222 .2117 .01257 | -.09193 .1767 .2232 .1128 .1757 .07066",
    "exp 10": "-.12909 .07694 .06023 .0602 .9416 .02066 | -.00615 .009035 .03919 .008739 .892 .1167",
    "cos 0.5": "-.21155 .4552 .1554 .1179 .03928 .008275 | -.19362 .7987 .7237 .4601 .08751 .06527",
    "cos 1": "-.51038 .324 .4314 .324 .2677 .028 | -.32771 .8363 1.266 .7826 .3081 .2026",
    "cos 2": "-.24612 .4411 .4633 .4125 1.94 .2241 | .22528 .928 .9216 .9216 1.943 .7274",
    "cos 5": "2e-5 .5 .5 .5 12.5 .2957 | -3e-5 1 1 1 12.5 1",
}
PARAMETERS = ("mu", "sigma")
NORMAL = sf.family(lambda p: sf.Normal(loc=p["mu"], scale=p["sigma"]))
AT = {"mu": 1.0, "sigma": 1.0}


def wanted() -> dict[str, dict[str, str]]:
    """The table, one row for an integrand and a parameter."""
    return {
        f"{row}, d/d{parameter}": dict(zip(COLUMNS, numbers.split(), strict=True))
        for row, text in TABLE.items()
        for parameter, numbers in zip(PARAMETERS, text.split("|"), strict=True)
    }


def constants(f: Any) -> tuple[float, dict[str, float]]:
    """E f, and for each parameter the constant that leaves the least variance, E[f s^2] / E[s^2]; by quadrature."""
    z, w = np.polynomial.hermite_e.hermegauss(200)
    w = w / w.sum()
    values = np.asarray(f(jnp.asarray(1 + z)), float)
    scores = {"mu": z, "sigma": z**2 - 1}
    return float(w @ values), {name: float(w @ (values * s**2) / (w @ s**2)) for name, s in scores.items()}


def measure(settings: Settings) -> Outcome:
    """Each column by its estimator, with one draw."""
    outcome, count = Outcome(), 400_000 if settings.full else 60_000
    for row in TABLE:
        kind, _, k = row.partition(" ")
        f = lambda x, kind=kind, k=float(k): INTEGRANDS[kind](x, k)
        mean, best = constants(f)
        exact = sf.exact_grad(f, NORMAL, AT, None, num_nodes=128)

        def score(key: Any, b: float, f: Any = f) -> Any:
            return sf.score_function_grad(lambda x: f(x) - b, NORMAL, AT, key, num_samples=1, baseline=None)

        ways = {
            "score": lambda key: score(key, 0.0),
            "score - mean": lambda key, b=mean: score(key, b),
            **{f"score, best {name}": lambda key, b=b: score(key, b) for name, b in best.items()},
            "pathwise": lambda key, f=f: sf.pathwise_grad(f, NORMAL, AT, key, num_samples=1),
            "measure-valued": lambda key, f=f: sf.measure_valued_grad(f, NORMAL, AT, key, num_samples=1),
        }
        found = {name: runs(way, settings.key("A", row, name), count, batch=20_000) for name, way in ways.items()}
        for parameter in PARAMETERS:
            numbers = {"gradient": (float(exact[parameter]), 2e-6)}
            for column in COLUMNS[1:]:
                way = f"score, best {parameter}" if column == "score, best constant" else column
                numbers[column] = variance_of(found[way][parameter])
            outcome.numbers[f"{row}, d/d{parameter}"] = numbers
    got = lambda row, column: outcome.numbers[row][column][0]
    outcome.claim(
        "pathwise is not always best: on cos 5 its variance is more than ten times that of the score",
        got("cos 5, d/dmu", "pathwise") > 10 * got("cos 5, d/dmu", "score"),
    )
    outcome.claim(
        "a mean baseline can raise the variance: on cos 1",
        got("cos 1, d/dmu", "score - mean") > 1.2 * got("cos 1, d/dmu", "score"),
    )
    return outcome


def paint(outcome: Outcome, theme: figures.Theme) -> Any:
    """The variances of all rows."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(12.5, 4.6), sharey=True)
    for ax, parameter in zip(axes, PARAMETERS, strict=True):
        for place, column in enumerate(COLUMNS[1:]):
            xs = [max(outcome.numbers[f"{row}, d/d{parameter}"][column][0], 1e-6) for row in TABLE]
            label = column if parameter == "mu" else None
            ax.scatter(
                xs,
                range(len(TABLE)),
                s=52,
                marker=figures.marker(place),
                color=figures.shade(place),
                edgecolor=theme.paper,
                lw=0.8,
                label=label,
            )
        ax.set_xscale("log")
        ax.set_ylim(len(TABLE) - 0.5, -0.5)
        figures.log_ticks(ax)
        ax.set_title(f"Variance of the gradient in {parameter}, one draw")
    axes[0].set_yticks(range(len(TABLE)), list(TABLE))
    figure.legend(loc="outside upper left", ncols=5, columnspacing=1.6)
    return figure


PAPER = Paper(
    letter="A",
    title="One draw from a normal, three integrands",
    source="Mohamed et al. 2020, Section 3, Figures 2 and 3",
    about="x ~ N(1, 1), one draw, f = (x − k)², exp(−k x²), cos(k x): variance of the gradient in the mean and in the deviation.",
    measure=measure,
    wanted=wanted(),
    within={"": 5e-4},
    figure=paint,
)
