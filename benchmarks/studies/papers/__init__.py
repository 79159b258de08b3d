"""Tables of papers, made again: one file each, found here by itself. What a paper prints, what comes out, whether they agree."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import pkgutil
from typing import Any

from benchmarks.settings import Settings
from benchmarks.shown import NOTHING, Cell, Column, Figure, Finding, Part, Section, Table
from benchmarks.studies.papers._base import SIGMAS, Outcome, Paper
from benchmarks.study import Record, Records, Study, Task
from benchmarks.words import number, plural, with_error


def _found() -> dict[str, Paper]:
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    papers = {name: importlib.import_module(f"{__name__}.{name}").PAPER for name in names}
    return dict(sorted(papers.items(), key=lambda item: item[1].letter))


PAPERS = _found()


def measure(paper: Paper, settings: Settings) -> Record:
    """What came out, as plain numbers; or what is missing."""
    if missing := {extra for module, extra in paper.needs.items() if importlib.util.find_spec(module) is None}:
        return {"found": {"failed": f"pip install 'jax_scorefn[{','.join(sorted(missing))}]'"}, "times": {}}
    return {"found": dataclasses.asdict(paper.measure(settings)), "times": {}}


def tasks(settings: Settings) -> list[Task]:
    """A task for each paper."""
    return [Task(name, lambda paper=paper: measure(paper, settings), {"paper": name}) for name, paper in PAPERS.items()]


def sections(records: Records, settings: Settings) -> list[Section]:
    """The summary, and a section for each."""
    del settings
    there = {name: paper for name, paper in PAPERS.items() if name in records}
    outcomes = {name: Outcome(**records[name]) for name in there if "failed" not in records[name]}
    failed = {PAPERS[name].title: records[name]["failed"] for name in there if "failed" in records[name]}
    return [_summary(outcomes, failed), *(_section(name, PAPERS[name], outcome) for name, outcome in outcomes.items())]


def _summary(outcomes: dict[str, Outcome], failed: dict[str, str]) -> Section:
    rows, wrong, total = [], [], 0
    for name, outcome in outcomes.items():
        paper = PAPERS[name]
        checks = [
            (f"{row}, {column}", paper.agrees(row, column, outcome.numbers[row][column]))
            for row, column in _pairs(paper, outcome)
        ]
        checks += [(text, holds) for text, holds in outcome.claims]
        missed = [text for text, holds in checks if not holds]
        total += len(checks)
        wrong += [f"{paper.title}: {text}" for text in missed]
        rows.append((
            Cell(f"{paper.letter}. {paper.title}"), Cell(paper.source), Cell(str(len(checks)), float(len(checks))),
            Cell(str(len(checks) - len(missed)), float(len(checks) - len(missed)), "missed" if missed else ""),
        ))  # fmt: skip
    text = (
        f"Numbers and statements of {plural(len(outcomes), 'table')} that are met, each within half of its last printed digit and "
        f"{SIGMAS} standard errors of ours." + (f" Not met: {'; '.join(wrong)}." if wrong else "")
    )
    columns = (Column("table"), Column("source", words=True), Column("checked"), Column("met", best=True))
    left_out = failed | {
        f"{PAPERS[name].title}: {what}": why for name in outcomes for what, why in PAPERS[name].not_yet.items()
    }
    found = Finding(f"{total - len(wrong)} of {total}", "numbers of papers met", text, alarm=bool(wrong))
    return Section("all", "All tables", [found, Table("papers", "Tables of papers", columns, rows, left_out)])


def _pairs(paper: Paper, outcome: Outcome) -> list[tuple[str, str]]:
    return [
        (row, column)
        for row, columns in paper.wanted.items()
        for column in columns
        if column in outcome.numbers.get(row, {})
    ]


def _section(name: str, paper: Paper, outcome: Outcome) -> Section:
    parts: list[Part] = [f"*{paper.source}.* {paper.about}"]
    if paper.figure is not None:
        figure, caption = paper.figure, f"`python -m benchmarks papers --only {name}`."
        parts.append(Figure(f"paper-{name}", paper.title, lambda theme: figure(outcome, theme), caption))
    if outcome.numbers:
        parts.append(_table(name, paper, outcome))
        missed = {
            row for row, column in _pairs(paper, outcome) if not paper.agrees(row, column, outcome.numbers[row][column])
        }
        parts += [f"*{row}, missed:* {why}" for row, why in paper.reasons.items() if row in missed]
    parts += [f"{'✓' if holds else '✗ *missed:*'} {text}" for text, holds in outcome.claims]
    parts += [f"*Not yet:* {what}. {why}" for what, why in paper.not_yet.items()]
    return Section(name, f"{paper.letter}. {paper.title}", parts)


def _table(name: str, paper: Paper, outcome: Outcome) -> Table:
    names = list(dict.fromkeys(column for row in outcome.numbers.values() for column in row))
    rows = [
        (Cell(row), *(_cell(paper, row, column, found[column]) if column in found else NOTHING for column in names))
        for row, found in outcome.numbers.items()
    ]
    printed = f" {', '.join(paper.printed)}: as the paper prints them." if paper.printed else ""
    note = f"Ours ± one standard error; below it what is wanted.{printed} What is not said to be printed follows from the recipe."
    return Table(
        f"paper-{name}", paper.title, [Column(""), *map(Column, names)], rows, note=note if paper.wanted else ""
    )


def _cell(paper: Paper, row: str, column: str, ours: Any) -> Cell:
    value, error = ours
    wanted = paper.wanted.get(row, {}).get(column)
    text = with_error(value, error) if error else number(value, 5)
    if wanted is None:
        return Cell(text, value)
    mark = "" if paper.agrees(row, column, (value, error)) else "missed"
    return Cell(text, value, mark, wanted.replace("-", "−"))


STUDY = Study(
    name="papers",
    title="Tables of papers",
    about="What papers print, made again with this library: each number beside the paper's (some minutes; with --full, ten)",
    tasks=tasks,
    sections=sections,
    axes={"paper": {name: paper.title for name, paper in PAPERS.items()}},
)
