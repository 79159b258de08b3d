"""The report: one HTML file with everything in it, figures too, that opens without a network."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jinja2

from benchmarks import control_figures, discrete_figures, figures, words
from benchmarks.discrete import VAE
from benchmarks.findings import findings
from benchmarks.peers import problems
from benchmarks.results import Results
from benchmarks.settings import Settings, environment

NAME = "report.html"


def write(folder: Path, results: Results, settings: Settings, *, seconds: float) -> Path:
    """Draw the figures into ``folder`` and write the report beside them; its path."""
    pictures = {
        name: {"light": _embed(picture.light), "dark": _embed(picture.dark), "alt": picture.alt}
        for name, picture in (
            figures.draw(folder, results)
            | control_figures.draw(folder, results.control)
            | discrete_figures.draw(folder, results.discrete)
        ).items()
    }
    loader = jinja2.PackageLoader("benchmarks", package_path="")
    page = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page.globals.update(number=words.number, with_error=words.with_error, plural=words.plural, color=figures.color)
    page.globals.update(times=words.times, peer_problems=problems)
    page.globals.update(bits=VAE, bit_color=discrete_figures.color)
    facts = environment()
    context: dict[str, Any] = {
        "results": results,
        "findings": findings(results),
        "pictures": pictures,
        "environment": [
            *facts,
            ("mode", settings.mode),
            ("seed", str(settings.seed)),
            ("duration", f"{seconds:.0f} s"),
        ],
        "date": dict(facts)["date"],
        "settings": settings,
    }
    path = folder / NAME
    path.write_text(page.get_template("report.html.j2").render(context), encoding="utf-8")
    return path


def _embed(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
