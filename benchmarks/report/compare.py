"""Two runs side by side: every time of B in units of A, beside the noise of both.

noise      the middle half of the calls (or the interval of a ratio) of both sides, as far as they were kept
same       the two bands of times overlap
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.report import terminal
from benchmarks.shown import Cell, Column, Table, num
from benchmarks.store import read

BAND = 0.05
"""Of a time that has no band of its own."""


def compare(a: Path, b: Path, console: Console) -> int:
    """Print the table; exit status 0."""
    table = table_of(read(a / "results.jsonl"), read(b / "results.jsonl"))
    terminal.show(console, [table])
    ratios = [row[4].value for row in table.rows if isinstance(row[4].value, float)]
    if ratios:
        slower, faster = (sum(row[5].text == word for row in table.rows) for word in ("slower", "faster"))
        console.print(
            f"median of B / A: {statistics.median(ratios):.3f}; {slower} slower, {faster} faster, of {len(ratios)}"
        )
    return 0


def table_of(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> Table:
    """One row for each time that both have; what differs but must not is marked."""
    sides = [{(line["study"], line["task"]): line for line in lines if "study" in line} for lines in (a, b)]
    rows = []
    for key in sides[0].keys() & sides[1].keys():
        first, second = (side[key] for side in sides)
        changed = "" if first["found"] == second["found"] else "other statistics"
        for name, x in first["times"].items():
            y = second["times"].get(name)
            if not _is_time(name, x) or not _is_time(name, y):
                continue
            lows, highs = zip(*(_band(side["times"], name) for side in (first, second)), strict=True)
            apart = "slower" if lows[1] > highs[0] else "faster" if highs[1] < lows[0] else "same"
            low, high = lows[1] / highs[0], highs[1] / lows[0]
            rows.append((
                Cell(key[0]), Cell(key[1]), Cell(name), num(x), Cell(f"{y / x:.3f}", y / x, below=f"{low:.3f} – {high:.3f}"),
                Cell(apart), Cell(changed),
            ))  # fmt: skip
    rows.sort(key=lambda row: (row[0].text, row[1].text, row[2].text))
    headings = ("study", "task", "time", "A", "B / A|band", "B is", "")
    columns = [Column(title, words=place < 3 or place > 4) for place, title in enumerate(headings)]
    missing = {
        f"{study}: {task}": f"only in {'AB'[task_side]}"
        for task_side in (0, 1)
        for study, task in sides[task_side].keys() - sides[1 - task_side].keys()
    }
    return Table("compare", "B in units of A", columns, rows, left_out=missing)


def _is_time(name: str, x: Any) -> bool:
    return isinstance(x, int | float) and not name.endswith(("_low", "_high")) and x > 0


def _band(times: dict[str, Any], name: str) -> tuple[float, float]:
    x = times[name]
    return times.get(f"{name}_low", x * (1 - BAND)), times.get(f"{name}_high", x * (1 + BAND))
