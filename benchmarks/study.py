"""A study: what it measures, one record for each task, and what it says of the records. The runner knows no study by name.

    tasks(settings)              what there is to do: a name, and a function that returns a record
    sections(records, settings)  what is shown: text, tables, figures, findings (``shown``)

A record has under "found" what the seed decides, and under "times" what a clock decides. A new study is a module of ``studies`` with a
``STUDY``.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.settings import Settings
from benchmarks.shown import Section

Record = dict[str, dict[str, Any]]
"""``{"found": {...}, "times": {...}}``."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One thing to measure.

    Attributes:
      name: tells it from the other tasks of the study, in the file of results too.
      do: measures it.
      of: axis of the study -> name on it, for ``--only``; an axis that is not there does not decide.
    """

    name: str
    do: Callable[[], Record]
    of: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Records:
    """What was measured of one study: task -> found and times in one dictionary."""

    def __init__(self, records: Sequence[Mapping[str, Any]]):
        self._by_task = {record["task"]: record["found"] | record["times"] for record in records}

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_task)

    def __len__(self) -> int:
        return len(self._by_task)

    def __contains__(self, task: object) -> bool:
        return task in self._by_task

    def __getitem__(self, task: str) -> dict[str, Any]:
        return self._by_task[task]

    def get(self, task: str) -> dict[str, Any] | None:
        """The record of a task, if there is one."""
        return self._by_task.get(task)

    def below(self, prefix: str) -> dict[str, dict[str, Any]]:
        """The records of tasks whose name begins so, by what follows."""
        return {task.removeprefix(prefix): row for task, row in self._by_task.items() if task.startswith(prefix)}


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """One part of the benchmark.

    Attributes:
      name: what the command line calls it.
      title: its heading.
      about: what it measures, in a line.
      tasks: what there is to do.
      sections: what is shown of what was measured.
      axes: axis -> name -> title: what ``--only`` may choose among.
      mode: the least that it is a part of: "quick", "full", or "named", which is neither.
      needs: module -> the extra of the package that brings it.
    """

    name: str
    title: str
    about: str
    tasks: Callable[[Settings], Sequence[Task]]
    sections: Callable[[Records, Settings], list[Section]]
    axes: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    mode: str = "named"
    needs: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def command(self) -> str:
        """What measures it again."""
        return f"python -m benchmarks {self.name}"

    def missing(self) -> dict[str, str]:
        """Of what it needs, what is not installed."""
        return {module: extra for module, extra in self.needs.items() if importlib.util.find_spec(module) is None}

    def is_in(self, mode: str) -> bool:
        """Whether a run in this mode has it without being told."""
        return self.mode == "quick" or (self.mode == mode == "full")
