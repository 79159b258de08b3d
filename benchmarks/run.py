"""A run: every chosen task that is not finished yet, one after the other, each kept at once."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.store import Store
from benchmarks.study import Study, Task


def run(todo: Sequence[tuple[Study, Task]], store: Store, console: Console) -> None:
    """Do what the store does not hold yet, with a progress bar on a terminal and a line for each task elsewhere."""
    left = [(study, task) for study, task in todo if not store.has(study.name, task.name)]
    if len(left) < len(todo):
        console.print(f"{len(todo) - len(left)} of {len(todo)} are finished already.")
    if not left:
        return
    words = TextColumn("[dim]{task.description}[/dim]")
    columns = (BarColumn(bar_width=32), MofNCompleteColumn(), TimeElapsedColumn(), words)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        total = progress.add_task("", total=len(left))
        for number, (study, task) in enumerate(left, start=1):
            progress.update(total, description=f"{study.name}: {task.name}")
            begin = time.perf_counter()
            record = task.do()
            took = time.perf_counter() - begin
            store.add({"study": study.name, "task": task.name, "seconds": round(took, 3)} | record)
            progress.advance(total)
            if not console.is_terminal:
                console.print(f"[{number:>3}/{len(left)}] {study.name}: {task.name}  {took:.1f} s", markup=False)
        progress.update(total, description="done")
