"""The pictures: what a row of numbers looks like. Each is drawn twice, for a light and for a dark page, on no
background.

A method has one colour everywhere, from a palette that colour-blind readers can tell apart.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt, ticker

from benchmarks.methods import BASE, METHODS
from benchmarks.results import Results, Row, Section
from benchmarks.words import number, power

PALETTE = (
    "#e0662f", "#2f7fd0", "#c466b5", "#1f9e77", "#c79a16", "#8b6fd6", "#4fb3bf", "#b0546a", "#7d9a2c", "#8a8f98",
    "#a06a3a", "#3c6e71", "#d64550", "#5b5fc7",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Theme:
    """Ink and paper of one version of a figure."""

    suffix: str
    ink: str
    soft: str
    grid: str
    paper: str


LIGHT = Theme("", "#1d2430", "#667080", "#dfe3e9", "#ffffff")
DARK = Theme("-dark", "#e8ebf0", "#97a1b0", "#333b47", "#161a21")


@dataclasses.dataclass(frozen=True)
class Figure:
    """A picture on disk, in both versions."""

    light: Path
    dark: Path
    alt: str


def draw(folder: Path, results: Results) -> dict[str, Figure]:
    """Every figure of a report, as PNG files in ``folder``; name -> figure."""
    figures: dict[str, Figure] = {}
    if any(section.base and section.base.noisy for section in results.sections):
        alt = "Variance per draw of each method relative to the plain score function, for each problem"
        figures["overview"] = both(folder, "overview", alt, lambda theme: _overview(results, theme))
    for section in results.sections:
        name = section.problem.name
        if section.measured:
            alt = f"Estimates, variance per draw, and variance times time of each method on: {section.problem.title}"
            figures[name] = both(folder, name, alt, lambda theme, s=section: _problem(s, theme))
        if section.curves:
            curve = section.problem.curve
            assert curve is not None
            figures[f"{name}-curve"] = both(
                folder, f"{name}-curve", curve.title, lambda theme, s=section: _curves(s, theme)
            )
    if results.speed:
        alt = "Time of a gradient in each system, relative to jax_scorefn, for each workload"
        figures["speed"] = both(folder, "speed", alt, lambda theme: _speed(results, theme))
    if results.credit.plates:
        figures["plate"] = both(
            folder, "plate", "Variance of a plate's gradient against its size", lambda theme: _plate(results, theme)
        )
    if results.credit.has_peers:
        alt = "Variance and time of the gradient in each system, relative to jax_scorefn"
        figures["peers"] = both(folder, "peers", alt, lambda theme: _peers(results, theme))
    return figures


def both(folder: Path, name: str, alt: str, paint: Callable[[Theme], Any]) -> Figure:
    """A figure on disk, painted with each theme."""
    paths = []
    for theme in (LIGHT, DARK):
        with _style(theme):
            figure = paint(theme)
            path = folder / f"{name}{theme.suffix}.png"
            # the dark version has its own paper as a file, so that it can be looked at alone; it is the page's colour
            figure.savefig(path, dpi=144, facecolor=theme.paper)
            plt.close(figure)
        paths.append(path)
    return Figure(paths[0], paths[1], alt)


@contextlib.contextmanager
def _style(theme: Theme) -> Iterator[None]:
    rc = {
        "font.family": "DejaVu Sans", "font.size": 9.5, "axes.titlesize": 10.5, "axes.titleweight": "bold",
        "axes.titlelocation": "left", "axes.titlepad": 10, "axes.spines.top": False, "axes.spines.right": False,
        "axes.spines.left": False, "axes.edgecolor": theme.grid, "axes.labelcolor": theme.soft, "text.color": theme.ink,
        "xtick.color": theme.soft, "ytick.color": theme.ink, "axes.grid": True, "axes.grid.axis": "x", "grid.color":
        theme.grid, "grid.linewidth": 0.8, "axes.axisbelow": True, "ytick.major.size": 0, "xtick.major.size": 0,
        "xtick.minor.size": 0, "axes.facecolor": "none", "figure.constrained_layout.use": True, "legend.frameon":
        False, "figure.constrained_layout.w_pad": 0.08, "figure.constrained_layout.h_pad": 0.08,
    }  # fmt: skip
    with plt.rc_context(rc):  # pyright: ignore[reportArgumentType]
        yield


def color(method: str) -> str:
    """The colour of a method."""
    return PALETTE[list(METHODS).index(method) % len(PALETTE)]


def _overview(results: Results, theme: Theme) -> Any:
    sections = [section for section in results.sections if section.base and section.base.noisy]
    figure, ax = plt.subplots(figsize=(10.5, 1.5 + 0.46 * len(sections)))
    seen: dict[str, Any] = {}
    for y, section in enumerate(sections):
        assert section.base is not None
        rows = [row for row in section.measured if row.noisy and not row.declared]
        ratios = [row.variance / section.base.variance for row in rows]
        ax.plot([min(ratios), max(ratios)], [y, y], color=theme.grid, lw=3, zorder=1, solid_capstyle="round")
        for row, ratio in zip(rows, ratios, strict=True):
            seen[row.method.label] = ax.scatter(
                ratio, y, s=86, color=color(row.method.name), edgecolor=theme.paper, lw=1.2, zorder=3
            )  # fmt: skip
        if section.row("exact"):
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
    ax.set_yticks(range(len(sections)), [section.problem.title for section in sections])
    ax.set_ylim(len(sections) - 0.4, -0.6)
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    ax.set_xlim(low, high * (high / low) ** 0.14)
    _log_ticks(ax)
    ax.set_xlabel(f"variance per draw, relative to the {METHODS[BASE].label}, no baseline   (further left is better)")
    figure.legend(
        seen.values(),
        seen.keys(),
        loc="outside upper left",
        ncols=5,
        handletextpad=0.2,
        columnspacing=1.6,
        fontsize=9.5,
    )
    return figure


def _problem(section: Section, theme: Theme) -> Any:
    rows = section.measured
    figure, axes = plt.subplots(1, 3, figsize=(12.5, 1.35 + 0.5 * max(len(rows), 2)), width_ratios=(1.25, 1, 1))
    estimates, variance, work = axes
    names = [row.method.label for row in rows]
    for ax in axes:
        ax.set_yticks(range(len(rows)), names if ax is estimates else [""] * len(rows))
        ax.set_ylim(len(rows) - 0.45, -0.55)
    _estimates(estimates, rows, theme)
    _dots(variance, rows, lambda row: row.variance, lambda row: row.variance_error, theme)
    for y, row in enumerate(rows):
        if row.variance_known:
            variance.plot([row.variance_known] * 2, [y - 0.3, y + 0.3], color=theme.ink, lw=1.2, zorder=4)
    known = any(row.variance_known for row in rows)
    variance.set_title("Variance per draw" + ("  (bar: theory)" if known else ""))
    _dots(
        work, rows, lambda row: row.work, lambda row: row.work * row.variance_error / max(row.variance, 1e-300), theme
    )
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
        ax.scatter(
            values,
            y + 0.36 * density * generator.uniform(-1, 1, len(values)),
            s=7,
            color=color(row.method.name),
            alpha=0.55,
            lw=0,
            zorder=2,
        )
    truth = rows[0].shown_reference
    ax.axvline(truth, color=theme.ink, lw=1.1, zorder=1)
    ax.set_title("Estimates of one coordinate  (bar: reference)")
    ax.xaxis.set_major_locator(ticker.MaxNLocator(5))
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}".replace("-", "−")))
    draws = rows[0].problem.num_draws
    ax.set_xlabel(f"{len(max((row.shown for row in rows), key=len))} calls of {draws} draws; reference {number(truth)}")


def _dots(
    ax: Any, rows: list[Row], value: Callable[[Row], float], error: Callable[[Row], float], theme: Theme
) -> None:  # fmt: skip
    positive = [value(row) for row in rows if row.noisy]
    ax.set_xscale("log")
    if positive:
        low, high = math.log10(min(positive)), math.log10(max(positive))
        room = max(high - low, 0.5)
        left, right = 10 ** (low - 0.12 * room), 10 ** (high + 0.42 * room)
        ax.set_xlim(left, right)
    for y, row in enumerate(rows):
        x, shade = value(row), color(row.method.name)
        if not row.noisy:
            ax.text(
                0.02,
                y,
                "0, nothing is random" if x == 0 else "0, but for rounding",
                transform=ax.get_yaxis_transform(),
                va="center",
                color=shade,
                fontsize=9,
            )
            continue
        ax.errorbar(x, y, xerr=2 * error(row), fmt="o", ms=8, color=shade, capsize=3, lw=1.4, zorder=3)
        ax.annotate(
            number(x), (x + 2 * error(row), y), xytext=(9, 0), textcoords="offset points", va="center", fontsize=9
        )
    _log_ticks(ax)


def _log_ticks(ax: Any) -> None:
    """Whole powers of ten; where there are fewer than two of them, plain numbers in between."""
    low, high = (math.log10(x) for x in ax.get_xlim())
    whole = math.floor(high) - math.ceil(low) + 1
    if whole >= 2:
        step = math.ceil(whole / 7)
        ticks = [10.0**k for k in range(math.ceil(low), math.floor(high) + 1) if k % step == 0]
        ax.xaxis.set_major_locator(ticker.FixedLocator(ticks))
        plain = ticks[0] > 1e-3 and ticks[-1] < 1e5
        ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: _decade(x, plain)))
    else:
        ax.xaxis.set_major_locator(ticker.LogLocator(10, (1, 2, 5), numticks=6))
        ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: number(x, 1)))
    ax.xaxis.set_minor_locator(ticker.NullLocator())


def _decade(x: float, plain: bool) -> str:
    exponent = round(math.log10(x))
    return number(x, 1) if plain or exponent == 0 else power(exponent)


def _plate(results: Results, theme: Theme) -> Any:
    plates = results.credit.plates
    sizes = [plate["size"] for plate in plates]
    figure, ax = plt.subplots(figsize=(9.5, 3.2))
    for name, label, shade in (
        ("usual", "every choice charged with the whole cost", PALETTE[0]),
        ("variance", "charged with what depends on it", PALETTE[1]),
    ):
        values = [plate[name] for plate in plates]
        ax.plot(sizes, values, "o-", color=shade, lw=2, ms=7)
        ax.annotate(label, (sizes[0], values[0]), xytext=(0, 16), textcoords="offset points", color=shade)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.margins(x=0.05, y=0.3)
    ax.grid(True, axis="both")
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.yaxis.set_minor_locator(ticker.NullLocator())
    ax.tick_params(axis="y", colors=theme.soft)
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: _decade(y, True)))
    ax.set_xlabel("pairs in the plate")
    ax.set_ylabel("variance, summed")
    return figure


def _speed(results: Results, theme: Theme) -> Any:
    records, systems = results.speed.records, results.speed.systems
    figure, ax = plt.subplots(figsize=(9.5, 1.5 + 0.36 * len(records)))
    ax.axvline(1.0, color=theme.soft, lw=1.4)
    for place, system in enumerate(systems):
        found = [(y, record["systems"][system]) for y, record in enumerate(records) if system in record["systems"]]
        shade, offset = PALETTE[(place + 1) % len(PALETTE)], 0.22 * (place - (len(systems) - 1) / 2)
        for y, row in found:
            ax.plot([row["low"], row["high"]], [y + offset] * 2, color=shade, lw=1.4, alpha=0.55, zorder=2)
        ax.scatter(
            [row["ratio"] for _, row in found], [y + offset for y, _ in found], s=46, color=shade, edgecolor=theme.paper,
            lw=0.9, zorder=3, label=system,
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_ylim(len(records) - 0.5, -0.5)
    low, high = ax.get_xlim()
    ax.set_xlim(min(low, 0.5), max(high, 20))
    _log_ticks(ax)
    ax.set_yticks(range(len(records)), [record["problem"] for record in records])
    ax.set_xlabel("time relative to jax_scorefn   (1 is ours; further right is slower)")
    figure.legend(loc="outside upper left", ncols=4, handletextpad=0.2, columnspacing=1.6)
    return figure


def _peers(results: Results, theme: Theme) -> Any:
    programs = results.credit.peers
    systems = list(dict.fromkeys(row.system for rows in programs.values() for row in rows))
    figure, axes = plt.subplots(1, 2, figsize=(12.5, 1.5 + 0.55 * len(programs)))
    seen: dict[str, Any] = {}
    for ax, value in zip(axes, ("noise", "slowness"), strict=True):
        for y, rows in enumerate(programs.values()):
            xs = [getattr(row, value) for row in rows]
            ax.plot([min(xs), max(xs)], [y, y], color=theme.grid, lw=3, zorder=1, solid_capstyle="round")
            for row, x in zip(rows, xs, strict=True):
                place = systems.index(row.system)
                shade, size = PALETTE[(place + 1) % len(PALETTE)], 170 - 34 * place  # the same figure: one on the other
                seen[row.system] = ax.scatter(
                    x, y, s=size, color=shade, edgecolor=theme.paper, lw=1.2, zorder=3 + place
                )
        ax.set_xscale("log")
        ax.set_ylim(len(programs) - 0.5, -0.5)
        low, high = ax.get_xlim()
        ax.set_xlim(min(low, 0.5), max(high, 20))
        _log_ticks(ax)
    axes[0].set_yticks(range(len(programs)), list(programs))
    axes[1].set_yticks(range(len(programs)), [""] * len(programs))
    axes[0].set_title("Variance of one run's gradient")
    axes[1].set_title("Time of a gradient")
    for ax in axes:
        ax.set_xlabel("relative to jax_scorefn   (further left is better)")
    figure.legend(seen.values(), seen.keys(), loc="outside upper left", ncols=4, handletextpad=0.2, columnspacing=1.6)
    return figure


def _curves(section: Section, theme: Theme) -> Any:
    curve = section.problem.curve
    assert curve is not None
    figure, ax = plt.subplots(figsize=(9.5, 3.6))
    lows, highs = [], []
    for record in section.curves:
        steps, values = np.asarray(record["steps"]), np.asarray(record["values"])
        ax.plot(steps, values, color=color(record["method"]), lw=2, label=METHODS[record["method"]].label)
        lows.append(float(np.min(values[len(values) // 10 :])))
        highs.append(float(np.max(values)))
    room = max(highs) - min(lows)
    # what happens in the first steps may be far below the rest, and would flatten it
    ax.set_ylim(min(lows) - 0.05 * room, max(highs) + 0.05 * room)
    ax.margins(x=0)
    ax.grid(True, axis="both")
    ax.set_xlabel("gradient evaluations")
    ax.set_ylabel(curve.ylabel)
    ax.tick_params(axis="y", colors=theme.soft)
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,.0f}".replace(",", "\u2009")))
    ax.legend(loc="lower right")
    return figure
