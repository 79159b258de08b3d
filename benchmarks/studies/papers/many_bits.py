"""E. Two hundred bits that hardly matter (Titsias and Shi 2022, Figure 1).

maximise E mean_i (b_i - .499)^2, logits from 0, K = 2 draws, RMSprop; variance on the way of each method's own training
"""

from __future__ import annotations

import statistics
from typing import Any

import jax
import jax.numpy as jnp

import jax_scorefn as sf
from benchmarks.settings import Settings
from benchmarks.studies.bits import _toy as toy, methods
from benchmarks.studies.papers._base import Outcome, Paper, runs, variance_of

METHODS = {"score, 2 draws": "score", "leave-one-out": "loo", "DisARM": "disarm", "double control variate": "double-cv"}


def measure(settings: Settings) -> Outcome:
    """The variances at the first step, and the order of the curves."""
    outcome, count = Outcome(), 40_000 if settings.full else 10_000
    logits = jnp.zeros(toy.SIZE)
    gradient = jax.grad(toy.expected)(logits)
    numbers = {"gradient": (float(gradient[0]), 1e-10)}
    for column, name in METHODS.items():
        if name != "double-cv":
            method = toy.TOY[name]
            numbers[column] = variance_of(
                runs(lambda key, m=method: toy.grads(m, logits, key, ()), settings.key("E", name), count), jnp.mean
            )
    mean = (toy.BEST + toy.TARGET**2) / 2

    def known_mean(key: Any) -> Any:
        off = lambda b: toy.objective(b) - mean
        return sf.score_function_grad(off, methods.BITS, logits, key, num_samples=2, baseline=None)

    numbers["score - mean"] = variance_of(runs(known_mean, settings.key("E", "mean"), count), jnp.mean)
    outcome.numbers["one coordinate, step 0"] = numbers
    sizes = {"seeds": 4, "steps": 2000, "every": 100, "calls": 200, "batches": 2} if settings.full else {
        "seeds": 2, "steps": 2000, "every": 200, "calls": 60, "batches": 2}  # fmt: skip
    curves = {}
    for column, name in METHODS.items():
        if name != "score":
            found = toy.toy(name, **sizes)["found"]
            curves[column] = [
                statistics.fmean(seed[i] for seed in found["variance"]) for i in range(len(found["steps"]))
            ]
            outcome.curves |= {"steps": found["steps"], column: curves[column]}
    middle = len(outcome.curves["steps"]) // 2
    outcome.claim(
        "leave-one-out and DisARM fall to less than two thirds by the end",
        all(curves[c][-1] < 0.67 * curves[c][0] for c in ("leave-one-out", "DisARM")),
    )
    outcome.claim(
        "the double control variate has less than a hundredth of their variance from the middle on",
        curves["double control variate"][middle] < 0.01 * curves["DisARM"][middle],
    )
    return outcome


def paint(outcome: Outcome, theme: Any) -> Any:
    """The three curves."""
    from matplotlib import pyplot as plt

    from benchmarks.report import figures

    figure, ax = plt.subplots(figsize=(9.5, 3.6))
    for place, column in enumerate(c for c in METHODS if c in outcome.curves):
        values = [max(x, 1e-16) for x in outcome.curves[column]]
        ax.plot(
            outcome.curves["steps"], values, ls=figures.DASHES[place], color=figures.shade(place), lw=2, label=column
        )
    figures.logarithmic(ax)
    figures.curves(ax, theme, "steps")
    ax.set_ylabel("variance of a coordinate")
    ax.legend()
    return figure


PAPER = Paper(
    letter="E",
    title="Two hundred bits that hardly matter",
    source="Titsias and Shi 2022, Figure 1",
    about=(
        "f = mean (bᵢ − 0.499)², D = 200, two draws. The paper shows curves: their order is checked, the numbers at step 0 are "
        "worked out."
    ),
    measure=measure,
    wanted={"one coordinate, step 0": {
        "gradient": "2.5e-6", "score, 2 draws": "7.805e-3", "leave-one-out": "1.25e-9", "DisARM": "1.25e-9", "score - mean": "6.2e-10",
    }},
    within={"score, 2 draws": 0.002, "DisARM": 0.006},
    figure=paint,
)  # fmt: skip
