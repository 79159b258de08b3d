"""What a run found: tables in the terminal and in files, figures, and one HTML page with all of it that opens without a network."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape
from rich.console import Console

from benchmarks.report import figures, files, terminal
from benchmarks.settings import Settings, environment
from benchmarks.shown import Figure, Finding, Formula, Section, Table
from benchmarks.study import Records, Study

NAME = "report.html"
HERE = Path(__file__).parent


def write(
    folder: Path, told: Mapping[Study, Records], settings: Settings, *, seconds: float, console: Console | None = None
) -> Path:
    """Print the tables, write them and the figures into ``folder``, and the page beside them; its path."""
    shown = {study: study.sections(records, settings) for study, records in told.items()}
    if console is not None:
        terminal.show(
            console, [table for sections in shown.values() for section in sections for table in section.tables]
        )
    files.write(
        folder / "tables", [table for sections in shown.values() for section in sections for table in section.tables]
    )
    pictures = {
        part.name: _embedded(figures.both(folder, part))
        for sections in shown.values()
        for section in sections
        for part in section.parts
        if isinstance(part, Figure)
    }
    loader = jinja2.FileSystemLoader(HERE)
    page = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page.filters.update(inline=inline, broken=broken)
    page.tests.update({name: lambda part, kind=kind: isinstance(part, kind) for name, kind in KINDS.items()})
    findings = [
        part
        for sections in shown.values()
        for section in sections
        for part in section.parts
        if isinstance(part, Finding)
    ]
    facts = environment()
    context: dict[str, Any] = {
        "shown": {study: [s for s in sections if not s.first] for study, sections in shown.items()},
        "findings": sorted((finding for finding in findings if finding.first), key=lambda finding: finding.first)[:4],
        "opening": [(study, s) for study, sections in shown.items() for s in sections if s.first],
        "alarms": [finding for finding in findings if finding.alarm],
        "pictures": pictures,
        "environment": [
            *facts,
            ("mode", settings.mode),
            ("seed", str(settings.seed)),
            ("duration", f"{seconds:.0f} s"),
        ],
        "date": dict(facts)["date"],
        "settings": settings,
        "css": Markup((HERE / "page.css").read_text(encoding="utf-8")),
        "script": Markup((HERE / "page.js").read_text(encoding="utf-8")),
    }
    path = folder / NAME
    path.write_text(page.get_template("page.html.j2").render(context), encoding="utf-8")
    return path


KINDS = {"table": Table, "figure": Figure, "finding": Finding, "formula": Formula, "section": Section}


def inline(text: str) -> Markup:
    """Text with its `code` and *emphasis* as HTML."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"\*([^*]+)\*", r"<em>\1</em>", marked))


def broken(title: str) -> Markup:
    """A heading with its breaks."""
    return Markup("<br>").join(title.split("|"))


def _embedded(picture: figures.Picture) -> dict[str, str]:
    embed = lambda path: "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    return {"light": embed(picture.light), "dark": embed(picture.dark)}
