"""The plot of an audit: variance against what it costs. Low and left is good; on the frontier nothing is better in both."""

from __future__ import annotations

from typing import Any

import numpy as np

from jax_scorefn.diagnostics._verdict import Verdict

COSTS = {"evaluations": "evaluations of f", "seconds": "time of one gradient"}
GAP = 0.055
"""Between two labels, in parts of the height."""


def plot(report: Any) -> Any:
    """Both costs side by side, each estimator with its name beside it: full where it passed, the recommended one a star."""
    from matplotlib.figure import Figure  # an optional extra
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(10, 4.4), layout="constrained")
    rows = [row for row in report.rows if row.judgement is not None and row.variance > 0]
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (attribute, label) in zip(panels, COSTS.items(), strict=True):
        at = [getattr(row, attribute) for row in rows]
        for j, (row, cost) in enumerate(zip(rows, at, strict=True)):
            first, color = row.name == report.recommended, f"C{j % 10}"
            axes.errorbar(
                cost, row.variance, yerr=row.variance_error, fmt="*" if first else "o", markersize=14 if first else 6, color=color,
                markerfacecolor=color if _passed(row) else "none",
            )  # fmt: skip
        good = [(cost, row.variance) for row, cost in zip(rows, at, strict=True) if _passed(row)]
        axes.step(*frontier(good), where="post", color="0.6", linestyle=":", linewidth=1, zorder=0)
        axes.set(xscale="log", yscale="log", xlabel=label)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(EngFormatter(unit="s" if attribute == "seconds" else ""))
        axes.xaxis.set_minor_formatter(NullFormatter())
    panels[0].set_ylabel(f"variance, {report.num_samples} draws")
    _label(panels[1], rows, report.recommended)
    return figure


def frontier(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Those that no other undercuts in both, by rising cost."""
    kept: list[tuple[float, float]] = []
    for cost, variance in sorted(points):
        if not kept or variance < kept[-1][1]:
            kept.append((cost, variance))
    return [cost for cost, _ in kept], [variance for _, variance in kept]


def _passed(row: Any) -> bool:
    return row.verdict == Verdict.UNBIASED


def _label(axes: Any, rows: list[Any], recommended: str | None) -> None:
    """Names in a column on the right, in the order of the variances, each with a line to its point."""
    if not rows:
        return
    low, high = np.log(axes.get_ylim())
    heights = (np.log([row.variance for row in rows]) - low) / (high - low)
    order = np.argsort(heights)
    placed = _apart(heights[order])
    for height, j in zip(placed, order, strict=True):
        row = rows[j]
        name = row.name if _passed(row) else f"{row.name} ({row.verdict})"
        axes.annotate(
            name, (row.seconds, row.variance), (1.05, height), textcoords="axes fraction", va="center", fontsize=8,
            color=f"C{j % 10}", fontweight="bold" if row.name == recommended else "normal",
            arrowprops={"arrowstyle": "-", "color": "0.8", "linewidth": 0.5},
        )  # fmt: skip


def _apart(heights: np.ndarray) -> np.ndarray:
    """Rising heights, as near to where they were as a gap between each two allows."""
    found = heights.copy()
    for i in range(1, len(found)):
        found[i] = max(found[i], found[i - 1] + GAP)
    found -= max(0.0, found[-1] - max(1.0, heights[-1]))
    for i in range(len(found) - 2, -1, -1):
        found[i] = min(found[i], found[i + 1] - GAP)
    return found
