"""The report in a browser: nothing is asked of a network, tables sort, nothing overflows, and axe-core finds no serious fault.

``make test-page`` brings what it needs and lets nothing be skipped; chromium has to be there.
"""

import os
import pathlib
import shutil

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("rich")

from benchmarks import report
from benchmarks.report import figures
from benchmarks.settings import Settings
from benchmarks.shown import Cell, Column, Figure, Finding, Formula, Section, Table, num
from benchmarks.study import Records, Study

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = pathlib.Path(__file__).parents[2] / ".page-tools" / "node_modules" / "axe-core" / "axe.min.js"
REQUIRED = bool(os.environ.get("TEST_PAGE"))
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    """One for all tests; without what it needs they are skipped, but for ``make test-page``."""
    if not REQUIRED:
        pytest.importorskip("playwright")
        if CHROMIUM is None or not AXE.exists():
            pytest.skip("chromium or axe-core is missing: make test-page")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        one = play.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield one
        one.close()


def paint(theme: figures.Theme):
    from matplotlib import pyplot as plt

    figure, ax = plt.subplots(figsize=(10.5, 3))
    ax.plot([1, 2, 3], [3, 1, 2], "o-", color=figures.shade(1))
    return figure


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A report of two studies, with everything that a page can have."""
    columns = [
        Column("name"),
        *(Column(f"a long heading|number {i}", f"What *{i}* means in `code`.") for i in range(9)),
    ]
    rows = [[Cell(name, shade=figures.shade(i)), *(num(x * 10.0**k, error=0.1) for k in range(9))] for i, (name, x) in enumerate(
        (("ten", 10.0), ("two", 2.0), ("minus one", -1.0), ("three", 3.0)))]  # fmt: skip
    table = Table("t", "A wide table", columns, rows, {"left out": "it has a reason"}, "A note.")
    words = Table(
        "w",
        "Words",
        [Column("word"), Column("what it is", words=True)],
        [[Cell("b"), Cell("long " * 40)], [Cell("a"), Cell("short")]],
    )
    findings = [Finding(f"{i}0×", "less noise", "A sentence with `code`.", first=i, alarm=i == 4) for i in range(1, 5)]
    parts = ["Text *here*.", Formula("E f(b), f(b) = Σ b"), Finding("3", "told below", "Why."), *findings, table, words]
    one = Study("one", "The first study", "What it is", lambda s: [], lambda r, s: [
        Section("over", "Overview", ["About it.", Figure("over", "All of it", paint)], first=True), Section("a", "A part", parts),
    ])  # fmt: skip
    two = Study(
        "two",
        "The second",
        "What it is",
        lambda s: [],
        lambda r, s: [Section("a", "A part", [Figure("two", "A curve", paint), table])],
    )
    records = Records([{"task": "t", "found": {}, "times": {}}])
    folder = tmp_path_factory.mktemp("page")
    return report.write(folder, {one: records, two: records}, Settings(), seconds=1.0)


@pytest.fixture(params=["light", "dark"])
def opened(browser, page_file, request):
    """The page, with what was asked of a network, and what the console said."""
    context = browser.new_context(color_scheme=request.param, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    asked, said = [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: said.append(str(e)))
    page.goto(page_file.as_uri())
    yield page, asked, said
    context.close()


def open_all(page):
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")


WIDE = """[...document.querySelectorAll('main *')].filter((e) => !e.closest('.wide') && e.scrollWidth > e.clientWidth + 1
    && getComputedStyle(e).display !== 'inline').map((e) => e.outerHTML.slice(0, 120))"""
FAULTS = "axe.run().then((r) => r.violations.map((v) => [v.id, v.impact, v.nodes.map((n) => n.html.slice(0, 90))]))"


def serious(page):
    page.add_script_tag(path=str(AXE))
    return [fault for fault in page.evaluate(FAULTS) if fault[1] in ("serious", "critical")]


def test_what_is_wrong_is_seen(browser, page_file, tmp_path):
    """A twin of the page with a fault for each gate."""
    broken = tmp_path / "broken.html"
    more = "<img src='http://127.0.0.1:9/x.png'><p style='width: 3000px; color: #ddd'>pale</p><script>nonesuch()</script></main>"
    broken.write_text(page_file.read_text().replace("</main>", more))
    page = browser.new_page(viewport={"width": 390, "height": 900})
    asked, said = [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on("pageerror", lambda e: said.append(str(e)))
    page.goto(broken.as_uri())
    assert any(url.startswith("http:") for url in asked) and any("nonesuch" in text for text in said)
    assert page.evaluate("document.documentElement.scrollWidth") > 390
    assert {"image-alt", "color-contrast"} <= {fault[0] for fault in serious(page)}
    page.close()


def test_nothing_is_asked_of_a_network_and_the_console_is_silent(opened):
    page, asked, said = opened
    open_all(page)
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert said == []


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overflows(opened, width):
    page, _, _ = opened
    page.set_viewport_size({"width": width, "height": 900})
    open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(WIDE) == []


def test_tables_sort_by_mouse_and_by_keyboard(opened):
    page, _, _ = opened
    open_all(page)
    table = page.locator("table").first
    names = lambda: [text.strip() for text in table.locator("tbody tr td:first-child").all_inner_texts()]
    assert names() == ["ten", "two", "minus one", "three"]
    table.locator("th button").nth(1).click()
    assert names() == ["minus one", "two", "three", "ten"]  # by number, not by letter
    assert table.locator("th").nth(1).get_attribute("aria-sort") == "ascending"
    table.locator("th button").nth(1).press("Enter")
    assert names() == ["ten", "three", "two", "minus one"]
    table.locator("th button").nth(0).press("Space")
    assert names() == ["minus one", "ten", "three", "two"]
    assert table.locator("th[aria-sort]").count() == 1


def test_a_link_opens_what_is_closed(opened):
    page, _, _ = opened
    assert page.locator("details.study[open]").count() == 0
    page.locator("nav a", has_text="The second").click()
    assert page.locator("#two").get_attribute("open") is not None
    assert page.locator("#one").get_attribute("open") is None


def test_the_first_screen_answers(opened):
    """Four numbers and the figure's heading, above the fold."""
    page, _, _ = opened
    assert page.locator(".findings li").count() == 4
    boxes = [page.locator(".findings li").nth(i).bounding_box() for i in range(4)]
    assert all(box["y"] + box["height"] < 900 for box in boxes)
    assert page.get_by_role("heading", name="Overview").bounding_box()["y"] < 900


@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_serious_fault(opened, width):
    page, _, _ = opened
    page.set_viewport_size({"width": width, "height": 900})
    open_all(page)
    assert serious(page) == []
