"""Tables as files: CSV, with numbers as numbers, and LaTeX, as they are read."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path

from benchmarks.shown import Cell, Table

LATEX = str.maketrans({
    "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}", "µ": r"$\mu$", "×": r"$\times$", "±": r"$\pm$", "−": r"$-$", "–": "--", "—": "---",
    "\u2009": r"\,", "∞": r"$\infty$", "σ": r"$\sigma$", "θ": r"$\theta$", "η": r"$\eta$", "∇": r"$\nabla$", "Σ": r"$\Sigma$",
    "≤": r"$\le$",
})  # fmt: skip
POWERS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-", strict=True))


def latex(text: str) -> str:
    """Text for LaTeX."""
    raised = lambda found: "\0" + "".join(POWERS[c] for c in found[0]) + "\1"
    text = re.sub(f"[{''.join(POWERS)}]+", raised, text.replace("$", "\2")).translate(LATEX)
    return text.replace("\0", "$^{").replace("\1", "}$").replace("\2", r"\$")


def write(folder: Path, tables: Iterable[Table]) -> None:
    """A file of each kind for each table."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in tables:
        (folder / f"{table.name}.csv").write_text(as_csv(table), encoding="utf-8")
        (folder / f"{table.name}.tex").write_text(as_latex(table), encoding="utf-8")


def as_csv(table: Table) -> str:
    """Headings and rows; a number is written whole, whatever it is shown as."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.title.replace("|", " ") for column in table.columns])
    writer.writerows([_value(cell) for cell in row] for row in table.rows)
    return text.getvalue()


def _value(cell: Cell) -> str:
    return repr(cell.value) if isinstance(cell.value, float) else cell.text


def as_latex(table: Table) -> str:
    """A tabular for booktabs."""
    align = "".join("l" if place == 0 or column.words else "r" for place, column in enumerate(table.columns))
    heading = " & ".join(latex(column.title.replace("|", " ")) for column in table.columns)
    rows = [" & ".join(latex(_shown(cell)) for cell in row) + r" \\" for row in table.rows]
    lines = [
        rf"\begin{{tabular}}{{{align}}}",
        r"\toprule",
        heading + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "% " + table.title + "\n" + "\n".join(lines) + "\n"


def _shown(cell: Cell) -> str:
    return cell.text + (f" ({cell.mark})" if cell.mark else "")
