"""A progress bar, for what runs long enough to be watched."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def bar(
    words: str, total: int, *, wanted: bool | None, missing: str, transient: bool = False
) -> Iterator[Callable[[int, str], None]]:
    """A function ``show(done, words)`` that moves a bar; it does nothing where none is wanted.

    Args:
      words: what stands beside the bar at first.
      total: what is done at the end.
      wanted: None is in a terminal, where rich is installed.
      missing: what is raised if it is wanted without rich.
      transient: whether it goes when all is done, and is kept out of the standard output.
    """
    is_there = importlib.util.find_spec("rich") is not None
    if not (is_there and sys.stderr.isatty() if wanted is None else wanted):
        yield lambda done, words: None
        return
    if not is_there:
        raise ImportError(missing)
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    text = TextColumn("{task.description}", markup=False)
    with Progress(text, *columns, console=Console(stderr=transient), transient=transient) as shown:
        task = shown.add_task(words, total=total)
        yield lambda done, words: shown.update(task, completed=done, description=words)
