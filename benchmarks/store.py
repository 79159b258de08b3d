"""The results file: one JSON line for each finished task, on the disk before the next begins, so that a killed run goes on.

The first line holds the settings, and each other one a record (``results.schema.json``). Only a last line may be broken (the one that
was being written when the run was killed), and it is cut off.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from pathlib import Path
from typing import Any

from benchmarks.settings import Settings
from benchmarks.study import Records

SCHEMA = json.loads(Path(__file__).with_name("results.schema.json").read_text(encoding="utf-8"))


class Refused(Exception):
    """A request that cannot be met, in one line for the user."""


class Store:
    """Records of a run in ``folder/results.jsonl``, and where older ones are now. Made by :func:`open_store`."""

    def __init__(self, path: Path, lines: list[dict[str, Any]], aside: Path | None = None):
        self.path, self.lines, self.aside = path, lines, aside

    def add(self, line: dict[str, Any]) -> None:
        """Append one line and wait until it is on the disk.

        Raises:
          Refused: where it cannot be written; the file is as it was before then.
        """
        size = self.path.stat().st_size
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, separators=(",", ":"), allow_nan=True) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self.path, size)  # half a line would spoil the next one
            told = error.strerror or error
            raise Refused(
                f"cannot write to {self.path}: {told}; results before are kept, go on with --resume"
            ) from error
        self.lines.append(line)

    def has(self, study: str, task: str) -> bool:
        """Whether a task is finished."""
        return any((line.get("study"), line.get("task")) == (study, task) for line in self.lines)

    def of(self, study: str) -> Records:
        """The records of one study."""
        return Records([line for line in self.lines if line.get("study") == study])


def open_store(folder: Path, settings: Settings, *, resume: bool) -> Store:
    """The store of a folder: a new one, or with ``resume`` the records that it holds for these settings.

    Results that a new one would overwrite are renamed, to ``results-1.jsonl`` or the first number that is free.

    Raises:
      Refused: where the folder cannot be written, or holds results of other settings, or a file that is not ours.
    """
    path = folder / "results.jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if resume and path.exists():
            lines = read(path)
            if lines:
                _same(path, lines[0].get("settings"), settings)
                return Store(path, lines)
        aside = _set_aside(path)
        path.write_text("", encoding="utf-8")
        store = Store(path, [], aside)
        store.add({"settings": settings.identity()})
    except OSError as error:
        raise Refused(f"cannot write to {folder}: {error.strerror or error}") from error
    return store


def _set_aside(path: Path) -> Path | None:
    """Rename a file that is not empty to ``name-1``, or the first number that is free: the new path; None where there is nothing."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    number = 1
    while (aside := path.with_stem(f"{path.stem}-{number}")).exists():
        number += 1
    return path.rename(aside)


@functools.cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(SCHEMA)


def read(path: Path) -> list[dict[str, Any]]:
    """Lines of a results file; a broken last one is cut off the file.

    Raises:
      Refused: where a line is not as the schema has it.
    """
    if not path.exists():
        raise Refused(f"there are no results in {path.parent}")
    pieces = path.read_bytes().split(b"\n")
    lines: list[dict[str, Any]] = []
    for number, piece in enumerate(pieces[:-1], start=1):
        try:
            line = json.loads(piece)
            if not _validator().is_valid(line):
                raise ValueError("not a record")
        except ValueError as error:
            if number == len(pieces) - 1 and not pieces[-1]:
                pieces = [*pieces[: number - 1], b"", b""]
                break
            raise Refused(f"line {number} of {path} is not a result of this benchmark; run without --resume") from error
        lines.append(line)
    whole = b"".join(piece + b"\n" for piece in pieces[:-1] if piece)
    if whole != path.read_bytes():
        scratch = path.with_suffix(".tmp")
        scratch.write_bytes(whole)
        os.replace(scratch, path)
    return lines


def _same(path: Path, found: Any, settings: Settings) -> None:
    wanted = settings.identity()
    found = found if isinstance(found, dict) else {}
    changed = [f"{name} {found.get(name)} (now {value})" for name, value in wanted.items() if found.get(name) != value]
    if changed:
        raise Refused(f"{path} was made with {', '.join(changed)}; use those settings, another --out, or no --resume")
