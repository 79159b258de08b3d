"""Usual code: which of it is right, and that the library is, on every habit."""

import pytest
from covering import few

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("rich")

from benchmarks.settings import Settings
from benchmarks.studies import usual
from benchmarks.study import Records

pytestmark = pytest.mark.usefixtures("foreign")
RIGHT = {"plain", "leave-one-out"}


@pytest.mark.statistical
@pytest.mark.parametrize("name", few(usual.HABITS, "plain", "batch mean"))
def test_a_habit_is_what_is_said_of_it(name):
    row = usual.measure(name, Settings())["found"]
    assert usual.off(row, "ours") < usual.WRONG
    assert (usual.off(row, "usual") < usual.WRONG) == (name in RIGHT)


def test_what_was_found_is_told():
    moments = {"standard_error": [0.1, 0.1], "mean": [1.0, 2.0]}
    rows = [
        {
            "task": name,
            "found": {"exact": [1.0, exact], "usual": moments, "ours": moments | {"mean": [1.0, exact]}},
            "times": {},
        }
        for name, exact in (("plain", 2.1), ("twice", 3.0))
    ]
    (section,) = usual.sections(Records(rows), Settings())
    finding = next(part for part in section.parts if hasattr(part, "caption"))
    assert finding.figure == "1 of 2" and not finding.alarm and finding.first
    (table,) = section.tables
    assert [row[1].mark for row in table.rows] == ["", "biased"] and table.rows[1][4].text == "3.00"
