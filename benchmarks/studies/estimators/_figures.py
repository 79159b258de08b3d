"""Pictures of rows of numbers. A method has one colour and one mark in all of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import pyplot as plt, ticker

from benchmarks.report import figures
from benchmarks.report.figures import Theme, log_ticks
from benchmarks.studies.estimators._rows import Cells, Part, Row
from benchmarks.studies.estimators.methods import BASE, METHODS
from benchmarks.words import number


def color(method: str) -> str:
    """The colour of a method."""
    return figures.shade(list(METHODS).index(method))


def mark(method: str) -> str:
    """The mark of a method."""
    return figures.marker(list(METHODS).index(method))


def overview(cells: Cells, theme: Theme) -> Any:
    """Variance x time of all unbiased methods, a line for each problem."""
    parts = [part for part in cells.parts if part.base and part.base.noisy]
    figure, ax = plt.subplots(figsize=(10.5, 1.5 + 0.46 * len(parts)))
    seen: dict[str, Any] = {}
    for y, part in enumerate(parts):
        assert part.base is not None
        rows = [row for row in part.measured if row.noisy and not row.method.biased]
        ratios = [row.work / part.base.work for row in rows]
        ax.plot([min(ratios), max(ratios)], [y, y], color=theme.grid, lw=3, zorder=1, solid_capstyle="round")
        for row, ratio in zip(rows, ratios, strict=True):
            name = row.method.name
            dot = ax.scatter(
                ratio, y, s=80, marker=mark(name), color=color(name), edgecolor=theme.paper, lw=1.0, zorder=3
            )
            seen[row.method.label] = dot
        if part.row("exact"):
            ax.text(
                1.0,
                y,
                "exact: 0",
                transform=ax.get_yaxis_transform(),
                ha="right",
                va="center",
                fontsize=8.5,
                color=color("exact"),
            )
    ax.axvline(1, color=theme.soft, lw=1, zorder=0)
    ax.set_yticks(range(len(parts)), [part.problem.title for part in parts])
    ax.set_ylim(len(parts) - 0.4, -0.6)
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    ax.set_xlim(low, high * (high / low) ** 0.14)
    log_ticks(ax)
    ax.set_xlabel(
        f"variance × time, relative to the {METHODS[BASE].label} without a baseline   (further left is better)"
    )
    labels = {"handletextpad": 0.2, "columnspacing": 1.6, "fontsize": 9.5}
    figure.legend(seen.values(), seen.keys(), loc="outside upper left", ncols=5, **labels)
    return figure


def problem(part: Part, theme: Theme) -> Any:
    """Estimates, variance, and variance x time."""
    rows = part.measured
    figure, axes = plt.subplots(1, 3, figsize=(12.5, 1.35 + 0.5 * max(len(rows), 2)), width_ratios=(1.25, 1, 1))
    estimates, variance, work = axes
    names = [row.method.label for row in rows]
    for ax in axes:
        ax.set_yticks(range(len(rows)), names if ax is estimates else [""] * len(rows))
        ax.set_ylim(len(rows) - 0.45, -0.55)
    _estimates(estimates, rows, theme)
    _dots(variance, rows, lambda row: row.variance, lambda row: row.variance_error)
    for y, row in enumerate(rows):
        if row.variance_known:
            variance.plot([row.variance_known] * 2, [y - 0.3, y + 0.3], color=theme.ink, lw=1.2, zorder=4)
    known = any(row.variance_known for row in rows)
    variance.set_title("Variance per draw" + ("  (bar: theory)" if known else ""))
    _dots(work, rows, lambda row: row.work, lambda row: row.work * row.variance_error / max(row.variance, 1e-300))
    work.set_title("Variance × microseconds")
    for ax in (variance, work):
        ax.set_xlabel("less is better")
    return figure


def _estimates(ax: Any, rows: list[Row], theme: Theme) -> None:
    generator = np.random.default_rng(0)
    for y, row in enumerate(rows):
        values = np.asarray(row.shown)
        if len(values) == 1:
            ax.scatter(values, [y], s=60, marker="D", color=color(row.method.name), zorder=3, edgecolor=theme.paper)
            continue
        # the dots spread as wide as there are many of them: the outline is that of a violin
        counts, edges = np.histogram(values, bins=24)
        density = counts[np.clip(np.digitize(values, edges) - 1, 0, 23)] / counts.max()
        jitter = y + 0.36 * density * generator.uniform(-1, 1, len(values))
        ax.scatter(values, jitter, s=7, color=color(row.method.name), alpha=0.55, lw=0, zorder=2)
    truth = rows[0].shown_reference
    ax.axvline(truth, color=theme.ink, lw=1.1, zorder=1)
    ax.set_title("Estimates of one coordinate  (bar: reference)")
    ax.xaxis.set_major_locator(ticker.MaxNLocator(5))
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}".replace("-", "−")))
    draws = rows[0].problem.num_draws
    ax.set_xlabel(f"{len(max((row.shown for row in rows), key=len))} calls of {draws} draws; reference {number(truth)}")


def _dots(ax: Any, rows: list[Row], value: Callable[[Row], float], error: Callable[[Row], float]) -> None:
    positive = [value(row) for row in rows if row.noisy]
    ax.set_xscale("log")
    if positive:
        low, high = math.log10(min(positive)), math.log10(max(positive))
        room = max(high - low, 0.5)
        ax.set_xlim(10 ** (low - 0.12 * room), 10 ** (high + 0.42 * room))
    for y, row in enumerate(rows):
        x, name = value(row), row.method.name
        if not row.noisy:
            text = "0, nothing is random" if x == 0 else "0, but for rounding"
            ax.text(0.02, y, text, transform=ax.get_yaxis_transform(), va="center", color=color(name), fontsize=9)
            continue
        ax.errorbar(x, y, xerr=2 * error(row), fmt=mark(name), ms=8, color=color(name), capsize=3, lw=1.4, zorder=3)
        place = (x + 2 * error(row), y)
        ax.annotate(number(x), place, xytext=(9, 0), textcoords="offset points", va="center", fontsize=9)
    log_ticks(ax)


def curves(part: Part, theme: Theme) -> Any:
    """A training run of some methods."""
    curve = part.problem.curve
    assert curve is not None
    figure, ax = plt.subplots(figsize=(9.5, 3.6))
    lows, highs = [], []
    for place, (name, record) in enumerate(part.curves.items()):
        steps, values = np.asarray(record["steps"]), np.asarray(record["values"])
        ax.plot(steps, values, ls=figures.DASHES[place % 4], color=color(name), lw=2, label=METHODS[name].label)
        lows.append(float(np.min(values[len(values) // 10 :])))
        highs.append(float(np.max(values)))
    room = max(highs) - min(lows)
    # what happens in the first steps may be far below the rest, and would flatten it
    ax.set_ylim(min(lows) - 0.05 * room, max(highs) + 0.05 * room)
    figures.curves(ax, theme, "gradient evaluations")
    ax.set_ylabel(curve.ylabel)
    ax.legend(loc="lower right")
    return figure
