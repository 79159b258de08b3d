"""What is shown of a study, as data: text, tables, figures and findings. The page, the terminal and files of tables are made of it.

Text may have `code` and *emphasis*.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from benchmarks.words import number, with_error


@dataclasses.dataclass(frozen=True)
class Cell:
    """One place of a table.

    Attributes:
      text: what is read.
      value: what the column is sorted by.
      mark: a word that is set off: "biased", "declared", "missed".
      below: a second line, small.
      shade: the colour of a dot in front.
    """

    text: str
    value: float | str | None = None
    mark: str = ""
    below: str = ""
    shade: str = ""

    @property
    def order(self) -> float | str:
        """What sorting compares."""
        return self.text if self.value is None else self.value


NOTHING = Cell("—")


def num(x: float | None, digits: int = 3, error: float | None = None, **more: Any) -> Cell:
    """A number, with its standard error where that is given; nothing for None."""
    if x is None:
        return Cell("")
    return Cell(number(x, digits) if error is None else with_error(x, error), float(x), **more)


@dataclasses.dataclass(frozen=True)
class Column:
    """A heading (a bar breaks it), what the numbers below it are, and whether they are words; ``best`` is what a reader looks for."""

    title: str
    about: str = ""
    words: bool = False
    best: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of cells.

    Attributes:
      name: of its files.
      title: above it.
      left_out: what was not measured, and why.
      note: what is to be known of all of it.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A picture: ``paint(theme)`` makes it with matplotlib, for a light and a dark page."""

    name: str
    alt: str
    paint: Callable[[Any], Any]
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Finding:
    """A number to see from afar, and the sentence that it stands for.

    ``first`` is its place on the first screen of the report, 0 for none; ``alarm`` says that something is wrong.
    """

    figure: str
    caption: str
    text: str
    alarm: bool = False
    first: int = 0


Part: TypeAlias = "str | Table | Figure | Finding | Formula"


@dataclasses.dataclass(frozen=True)
class Formula:
    """A line of mathematics."""

    text: str


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading with what is below it. The name is its place on the page."""

    name: str
    title: str
    parts: Sequence[Part]
    first: bool = False
    """Whether its figure belongs on the first screen, and not into its study."""

    @property
    def tables(self) -> list[Table]:
        """In their order."""
        return [part for part in self.parts if isinstance(part, Table)]
