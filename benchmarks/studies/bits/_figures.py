"""Pictures of bits that learn: bands over seeds on the toy, variance and bias along one path, and the race for the bound."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot as plt, ticker

from benchmarks.report import figures
from benchmarks.report.figures import PALETTE, Theme
from benchmarks.studies.bits.methods import VAE

HONEST, BIASED = (
    ("loo", "disarm", "arms", "double-cv", "rodeo", "rebar", "relax", "score"),
    ("gumbel", "straight", "gumbel-rao", "reinmax"),
)
SHADES = {name: PALETTE[place] for place, name in enumerate((*HONEST, *BIASED))}
FLOOR = 1e-17
"""The smallest variance that is shown: below it a method has settled."""
TIGHT = 0.7
"""The share of a curve, at its end, that decides how much of the axis is shown."""


def color(name: str) -> str:
    """The colour of a method in all of them."""
    return SHADES[name]


def toy(toy: dict[str, dict[str, Any]], theme: Theme) -> Any:
    """Variance, and what is reached."""
    figure, (noise, gain) = plt.subplots(1, 2, figsize=(12.5, 4.6))
    for name, record in toy.items():
        variance, objective = np.maximum(record["variance"], FLOOR), np.asarray(record["objective"])
        for ax, rows in ((noise, variance), (gain, objective)):
            ax.fill_between(record["steps"], rows.min(axis=0), rows.max(axis=0), color=color(name), alpha=0.18, lw=0)
            label = record["label"] if ax is noise else None
            ax.plot(record["steps"], np.median(rows, axis=0), color=color(name), lw=1.8, label=label)
    record = next(iter(toy.values()))
    gain.axhline(record["best"], color=theme.ink, lw=1, ls=(0, (4, 3)))
    gain.annotate(
        "the most there is",
        (record["steps"][0], record["best"]),
        xytext=(4, -12),
        textcoords="offset points",
        fontsize=9,
    )
    gain.yaxis.set_major_formatter(ticker.FormatStrFormatter("%.4f"))
    noise.set_ylim(FLOOR, 10 * noise.get_ylim()[1])
    figures.logarithmic(noise)
    noise.set_title("Variance of the gradient, mean over its coordinates")
    gain.set_title("Expected objective")
    for ax in (noise, gain):
        figures.curves(ax, theme, "steps")
    figure.legend(loc="outside upper left", ncols=4, columnspacing=1.6)
    return figure


def path(record: dict[str, Any], theme: Theme) -> Any:
    """Variance, and bias of those that have one."""
    figure, (noise, off) = plt.subplots(1, 2, figsize=(12.5, 4.8))
    for name, values in record["variance"].items():
        style = "--" if VAE[name].biased else "-"
        noise.plot(record["steps"], values, f"o{style}", color=color(name), lw=1.8, ms=5, label=VAE[name].label)
        if VAE[name].biased:
            middle, error = np.asarray(record["bias"][name]).T * 100
            off.errorbar(record["steps"], middle, yerr=2 * error, fmt="o--", color=color(name), lw=1.8, ms=5, capsize=3)
    figures.logarithmic(noise)
    off.axhline(0, color=theme.ink, lw=1)
    off.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: f"{y:.0f} %".replace("-", "−")))
    noise.set_title("Variance of the gradient, mean over images and latents")
    off.set_title("Squared bias, relative to the squared gradient  (± 2 errors)")
    for ax in (noise, off):
        figures.curves(ax, theme, f"steps of training by {record['guide']}")
        ax.margins(x=0.02)
    figure.legend(loc="outside upper left", ncols=6, columnspacing=1.6)
    return figure


def race(record: dict[str, Any], theme: Theme) -> Any:
    """The bound against time and against steps."""
    figure, axes = plt.subplots(1, 2, figsize=(12.5, 5.0), sharey=True)
    for ax, by in zip(axes, ("seconds", "steps"), strict=True):
        for name, curve in record["curves"].items():
            label = VAE[name].label if by == "seconds" else None
            ax.plot(
                curve[by][1:],
                curve["bound"][1:],
                "--" if VAE[name].biased else "-",
                color=color(name),
                lw=1.8,
                label=label,
            )
    kept = [y for c in record["curves"].values() for y in c["bound"][int((1 - TIGHT) * len(c["bound"])) :]]
    room = max(kept) - min(kept)
    axes[0].set_ylim(min(kept) - 0.3 * room, max(kept) + 0.05 * room)
    axes[0].set_ylabel("bound on a held-out image (nats)")
    axes[0].set_title("After the same time")
    axes[1].set_title("After the same number of steps")
    figures.curves(axes[0], theme, "seconds of learning")
    figures.curves(axes[1], theme, "steps")
    for ax in axes:
        ax.set_xlim(left=0)
    figure.legend(loc="outside upper left", ncols=6, columnspacing=1.6)
    return figure
