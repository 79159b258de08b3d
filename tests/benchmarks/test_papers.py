"""Tables of papers: when a number agrees, each with a twin that does not; and every table made again, small."""

import dataclasses
import re

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("rich")
pytest.importorskip("jsonschema")

import numpy as np

from benchmarks.settings import Settings
from benchmarks.shown import Figure, Table
from benchmarks.studies import papers
from benchmarks.studies.papers import PAPERS, _base
from benchmarks.study import Records

pytestmark = pytest.mark.usefixtures("foreign")


def paper(text, **options):
    return _base.Paper(
        "Z", "", "", "", lambda settings: _base.Outcome(), {"row": {"column": text, "other": "8"}}, **options
    )


@pytest.mark.parametrize(
    ("text", "good", "bad", "options"),
    [
        ("17.49", (17.4949, 0.0), (17.4951, 0.0), {}),  # half of the last digit
        ("2.2e6", (2.249e6, 0.0), (2.251e6, 0.0), {}),
        ("8", (8.00001, 0.0), (8.1, 0.0), {}),  # a whole number is exact
        ("8", (8.4, 0.1), (8.5, 0.1), {}),  # but for 4.5 standard errors
        ("0", (1e-5, 0.0), (1e-4, 0.0), {}),  # and 0 is 0 but for rounding beside its row
        ("-.5", (-0.55, 0.0), (-0.56, 0.0), {}),
        ("100", (105.0, 0.0), (106.0, 0.0), {"within": {"column": 0.05}}),
        ("100", (100.0, 0.0), (105.0, 0.0), {"within": {"other": 0.05}}),
    ],
)
def test_a_number_agrees_within_what_is_printed(text, good, bad, options):
    table = paper(text, **options)
    assert table.agrees("row", "column", good)
    assert not table.agrees("row", "column", bad)


def test_variances_have_their_standard_errors():
    rows = np.random.default_rng(0).normal(size=(400, 1000, 2)) * [1.0, 2.0]
    found = np.array([_base.variance_of(row) for row in rows])
    assert found[:, 0].mean() == pytest.approx(5.0, rel=0.01)
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.15)
    assert _base.variance_of(rows[0], np.mean)[0] == pytest.approx(found[0, 0] / 2)
    std, error = np.array([_base.deviation_of(row[:, 0]) for row in rows]).T
    assert std.mean() == pytest.approx(1.0, rel=0.01) and error.mean() == pytest.approx(std.std(), rel=0.15)


def test_every_letter_is_there_and_every_paper_says_what_it_is():
    assert [paper.letter for paper in PAPERS.values()] == list("ABCDEFGHIJKLMNOPQRST")
    for name, of in PAPERS.items():
        assert of.title and of.source and of.about and re.fullmatch(r"[a-z_]+", name)
        assert of.wanted or of.figure or of.not_yet, name
        for row in of.wanted.values():
            assert all(np.isfinite(_base.number_of(text)) for text in row.values())
        assert set(of.reasons) <= set(of.wanted), name


SLOW = {name: () if name in ("group_advantages", "a_step", "state_space") else pytest.mark.slow for name in PAPERS}


@pytest.mark.statistical
@pytest.mark.usefixtures("unchecked_keys")
@pytest.mark.parametrize("name", [pytest.param(name, marks=marks) for name, marks in SLOW.items()])
def test_what_comes_out_is_what_the_paper_has(name):
    of = PAPERS[name]
    record = papers.measure(of, Settings())
    if "failed" in record["found"]:
        pytest.skip(record["found"]["failed"])
    summary, shown = papers.sections(Records([record | {"task": name}]), Settings())
    found = summary.parts[0]
    met, total = map(int, found.figure.split(" of "))
    assert met == total, found.text
    assert not found.alarm
    assert total > 0 or of.not_yet or of.letter == "K"  # a curve of our own, or one that says what is not there
    if of.wanted:
        (table,) = shown.tables
        assert total >= sum(len(row) for row in of.wanted.values())
        assert all(cell.mark == "" for row in table.rows for cell in row)
    assert any(isinstance(part, Figure) for part in shown.parts) == (of.figure is not None)


def test_a_number_that_is_missed_is_marked_and_told(monkeypatch):
    of = dataclasses.replace(PAPERS["group_advantages"], reasons={"RLOO": "told why", "GRPO": "was met"})
    monkeypatch.setitem(PAPERS, "group_advantages", of)
    outcome = of.measure(Settings())
    outcome.numbers["RLOO"]["right"] = (0.72, 0.0)
    outcome.claim("something else", False)
    record = {
        "task": "group_advantages",
        "found": {"numbers": outcome.numbers, "claims": outcome.claims, "curves": {}},
        "times": {},
    }
    summary, shown = papers.sections(Records([record]), Settings())
    assert (
        summary.parts[0].alarm and "RLOO, right" in summary.parts[0].text and "something else" in summary.parts[0].text
    )
    table = next(part for part in shown.parts if isinstance(part, Table))
    assert [cell.mark for row in table.rows for cell in row].count("missed") == 1
    assert "*RLOO, missed:* told why" in shown.parts and not any("was met" in str(part) for part in shown.parts)
