"""How pictures look: each is drawn twice, for a light and for a dark page, on no background.

A thing has one colour and one mark everywhere, from a palette that colour-blind readers can tell apart; the mark tells it in grey.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt, ticker

from benchmarks.shown import Figure
from benchmarks.words import number, power

PALETTE = (
    "#e0662f", "#2f7fd0", "#c466b5", "#1f9e77", "#c79a16", "#8b6fd6", "#4fb3bf", "#b0546a", "#7d9a2c", "#8a8f98",
    "#a06a3a", "#3c6e71", "#d64550", "#5b5fc7",
)  # fmt: skip
MARKERS = "osD^vPX<>*hdp8"
DASHES = ("-", (0, (5, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)))


@dataclasses.dataclass(frozen=True)
class Theme:
    """Ink and paper of one version of a figure."""

    suffix: str
    ink: str
    soft: str
    grid: str
    paper: str


LIGHT = Theme("", "#1d2430", "#5b6575", "#dfe3e9", "#ffffff")
DARK = Theme("-dark", "#e8ebf0", "#a3adbb", "#333b47", "#161a21")


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure on disk, in both versions."""

    light: Path
    dark: Path


def both(folder: Path, shown: Figure) -> Picture:
    """Paint a figure with each theme, as PNG files in ``folder``."""
    paths = []
    for theme in (LIGHT, DARK):
        with _style(theme):
            figure = shown.paint(theme)
            path = folder / f"{shown.name}{theme.suffix}.png"
            # the dark version has its own paper as a file, so that it can be looked at alone; it is the page's colour
            figure.savefig(path, dpi=144, facecolor=theme.paper)
            plt.close(figure)
        paths.append(path)
    return Picture(paths[0], paths[1])


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


def shade(place: int) -> str:
    """The colour of a place in a list."""
    return PALETTE[place % len(PALETTE)]


def marker(place: int) -> str:
    """The mark of a place in a list."""
    return MARKERS[place % len(MARKERS)]


def log_ticks(ax: Any) -> None:
    """Whole powers of ten on the x axis; where there are fewer than two of them, plain numbers in between."""
    low, high = (math.log10(x) for x in ax.get_xlim())
    whole = math.floor(high) - math.ceil(low) + 1
    if whole >= 2:
        step = math.ceil(whole / 7)
        ticks = [10.0**k for k in range(math.ceil(low), math.floor(high) + 1) if k % step == 0]
        ax.xaxis.set_major_locator(ticker.FixedLocator(ticks))
        plain = ticks[0] > 1e-3 and ticks[-1] < 1e5
        ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: decade(x, plain)))
    else:
        ax.xaxis.set_major_locator(ticker.LogLocator(10, (1, 2, 5), numticks=6))
        ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: number(x, 1)))
    ax.xaxis.set_minor_locator(ticker.NullLocator())


def decade(x: float, plain: bool = False) -> str:
    """A power of ten, as a number where that is short."""
    exponent = round(math.log10(x))
    return number(x, 1) if plain or exponent == 0 else power(exponent)


def logarithmic(ax: Any, plain: bool = False) -> None:
    """Powers of ten on the y axis."""
    ax.set_yscale("log")
    ax.yaxis.set_minor_locator(ticker.NullLocator())
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: decade(y, plain)))


def curves(ax: Any, theme: Theme, xlabel: str) -> None:
    """Axes of curves: both grids, whole numbers with thin spaces."""
    ax.margins(x=0)
    ax.grid(True, axis="both")
    ax.tick_params(axis="y", colors=theme.soft)
    ax.set_xlabel(xlabel)
    ax.xaxis.set_major_formatter(
        ticker.FuncFormatter(lambda x, _: f"{x:g}" if 0 < x < 10 else f"{x:,.0f}".replace(",", "\u2009"))
    )
