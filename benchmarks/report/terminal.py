"""The tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Lines

from benchmarks.shown import Cell, Table

MARKS = {"biased": "bold red", "missed": "bold red", "declared": "yellow"}


def show(console: Console, tables: Iterable[Table]) -> None:
    """Print every table."""
    for table in tables:
        console.print()
        console.print(_lines(table))
        if table.left_out:
            console.print(f"[dim]{len(table.left_out)} left out:[/dim]")
        for name, why in table.left_out.items():
            console.print(f"  {name}: {why}", markup=False, style="dim")


def _lines(table: Table) -> Lines:
    lines = Lines(
        title=f"[bold]{escape(table.title)}[/bold]",
        caption=escape(table.note) or None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    for place, column in enumerate(table.columns):
        justify = "left" if place == 0 or column.words else "right"
        lines.add_column(escape(column.title).replace("|", "\n"), justify=justify, overflow="fold")
    for row in table.rows:
        lines.add_row(*map(_text, row))
    return lines


def _text(cell: Cell) -> str:
    text = escape(cell.text + (f" {cell.mark}" if cell.mark else "") + (f"\n{cell.below}" if cell.below else ""))
    return f"[{MARKS[cell.mark]}]{text}[/]" if cell.mark in MARKS else text
