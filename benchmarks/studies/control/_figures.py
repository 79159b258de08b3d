"""Pictures of policies that learn: curves with bands over seeds, and the variance along the path of one run."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot as plt, ticker

from benchmarks.report import figures
from benchmarks.report.figures import PALETTE, Theme

SHADES = {"score": PALETTE[0], "pathwise": PALETTE[1]}
NAMES = {"score": "score function", "pathwise": "pathwise, through the dynamics"}


def cart_pole(record: dict[str, Any], theme: Theme) -> Any:
    """Bands and the median over seeds."""
    steps, curves = np.asarray(record["steps"]), np.asarray(record["curves"])
    figure, ax = plt.subplots(figsize=(9.5, 3.8))
    for low, high, alpha in ((0, 100, 0.13), (25, 75, 0.28)):
        band = np.percentile(curves, (low, high), axis=0)
        label = "all seeds" if low == 0 else "the middle half"
        ax.fill_between(steps, *band, color=PALETTE[1], alpha=alpha, lw=0, label=label)
    ax.plot(steps, np.median(curves, axis=0), color=PALETTE[1], lw=2, label="median seed")
    ax.axhline(475, color=theme.ink, lw=1, ls=(0, (4, 3)))
    ax.annotate("475", (steps[0], 475), xytext=(0, 4), textcoords="offset points", fontsize=9)
    ax.set_ylim(0, 515)
    ax.set_ylabel(f"mean return of {record['episodes']} episodes")
    figures.curves(ax, theme, "steps in the environment")
    ax.legend(loc="lower right")
    return figure


def pendulum(record: dict[str, Any], theme: Theme) -> Any:
    """Learning above, variance x time below, a column for each policy."""
    figure, axes = plt.subplots(2, len(record["curves"]), figsize=(12.5, 6.6), sharex=True, sharey="row", squeeze=False)
    for column, (policy, curves) in zip(axes.T, record["curves"].items(), strict=True):
        learning, work = column
        for route, rows in curves.items():
            rows = np.asarray(rows)
            learning.fill_between(
                record["updates"], rows.min(axis=0), rows.max(axis=0), color=SHADES[route], alpha=0.18, lw=0
            )
            learning.plot(record["updates"], rows.mean(axis=0), color=SHADES[route], lw=2, label=NAMES[route])
            found = record["path"][policy][route]
            product = np.asarray(found["variance"]) * record["microseconds"][policy][route]
            work.plot(record["snapshots"], product, "o-", color=SHADES[route], lw=2, ms=6)
        learning.set_title(f"{policy} policy")
        work.set_yscale("log")
        work.yaxis.set_minor_locator(ticker.NullLocator())
        figures.curves(learning, theme, "")
        figures.curves(work, theme, "updates")
    axes[0, 0].set_ylabel("return of an episode")
    axes[1, 0].set_ylabel("variance × microseconds")
    axes[0, 0].legend(loc="upper left")
    return figure


def chess(record: dict[str, Any], theme: Theme) -> Any:
    """Shares while it learns, and before and after."""
    counts = np.asarray(record["counts"])
    bins = np.array_split(np.arange(len(counts)), min(40, len(counts)))
    moves = [record["moves"][rows[-1]] for rows in bins]
    sums = np.array([counts[rows].sum(axis=0) for rows in bins])
    figure, ax = plt.subplots(figsize=(9.5, 3.8))
    for column, name, shade in ((0, "won", PALETTE[3]), (1, "lost", PALETTE[0])):
        p, n = sums[:, column] / sums[:, 2], sums[:, 2]
        error = 2 * np.sqrt(p * (1 - p) / n)
        ax.fill_between(moves, p - error, p + error, color=shade, alpha=0.2, lw=0)
        ax.plot(moves, p, color=shade, lw=2, label=f"{name}, of the games that ended then")
        for x, (share, low, high) in zip((0, moves[-1]), record[name], strict=True):
            label = f"{name}, {record['games']} games apart" if x else None
            error = [[share - low], [high - share]]
            ax.errorbar(x, share, yerr=error, fmt="D", ms=6, color=shade, capsize=4, lw=1.4, label=label, clip_on=False)
    ax.set_ylim(0, 1)
    ax.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    ax.set_ylabel("share of games")
    figures.curves(ax, theme, "moves played")
    ax.legend(loc="center right")
    return figure


def corridor(record: dict[str, Any], theme: Theme) -> Any:
    """A line for each method, and the best there is."""
    figure, ax = plt.subplots(figsize=(9.5, 3.8))
    for shade, (name, curve) in zip(PALETTE, record["curves"].items(), strict=False):
        middle, error = np.asarray(curve), 2 * np.asarray(record["errors"][name])
        ax.fill_between(record["episodes"], middle - error, middle + error, color=shade, alpha=0.2, lw=0)
        ax.plot(record["episodes"], middle, color=shade, lw=2, label=name)
    ax.axhline(record["best"], color=theme.ink, lw=1, ls=(0, (4, 3)))
    ax.annotate(f"{record['best']:.2f}, the best".replace("-", "−"), (record["episodes"][0], record["best"]),
                xytext=(0, 5), textcoords="offset points", fontsize=9)  # fmt: skip
    ax.margins(y=0.1)
    ax.set_ylabel("expected return")
    figures.curves(ax, theme, "episodes")
    ax.legend(loc="lower right")
    return figure
