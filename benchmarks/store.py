"""The results file: one JSON line for each finished thing, on the disk before the next begins, so that a killed run
goes on.

The first line holds the settings. Only a last line may be broken (the one that was being written when the run was
killed), and it is cut off.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from benchmarks.settings import Settings


class Refused(Exception):
    """A request that cannot be met, in one line for the user."""


class Store:
    """Records of a run in ``folder/results.jsonl``, and where older ones are now. Made by :func:`open_store`."""

    def __init__(self, path: Path, records: list[dict[str, Any]], aside: Path | None = None):
        self.path, self.records, self.aside = path, records, aside

    def add(self, record: dict[str, Any]) -> None:
        """Append one record and wait until it is on the disk."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, separators=(",", ":")) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.records.append(record)

    def find(self, kind: str, problem: str, method: str) -> dict[str, Any] | None:
        """The record of one thing, if it is finished."""
        for record in self.records:
            if (record["kind"], record.get("problem"), record.get("method")) == (kind, problem, method):
                return record
        return None

    def of(self, kind: str) -> list[dict[str, Any]]:
        """All the records of one kind."""
        return [record for record in self.records if record["kind"] == kind]


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
            records = _read(path)
            if records:
                _same(path, records[0].get("settings"), settings)
                return Store(path, records)
        aside = _set_aside(path)
        path.write_text("", encoding="utf-8")
        store = Store(path, [], aside)
        store.add({"kind": "settings", "settings": settings.identity()})
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


def _read(path: Path) -> list[dict[str, Any]]:
    """Records of a results file; a broken last line is cut off the file."""
    lines = path.read_bytes().split(b"\n")
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or "kind" not in record:
                raise ValueError("not a record")
        except ValueError as error:
            if number == len(lines) - 1 and not lines[-1]:
                lines = [*lines[: number - 1], b"", b""]
                break
            raise Refused(f"line {number} of {path} is not a result of this benchmark; run without --resume") from error
        records.append(record)
    whole = b"".join(line + b"\n" for line in lines[:-1] if line)
    if whole != path.read_bytes():
        scratch = path.with_suffix(".tmp")
        scratch.write_bytes(whole)
        os.replace(scratch, path)
    return records


def _same(path: Path, held: Any, settings: Settings) -> None:
    wanted = settings.identity()
    held = held if isinstance(held, dict) else {}
    changed = [f"{name} {held.get(name)} (now {value})" for name, value in wanted.items() if held.get(name) != value]
    if changed:
        raise Refused(f"{path} was made with {', '.join(changed)}; use those settings, another --out, or no --resume")
