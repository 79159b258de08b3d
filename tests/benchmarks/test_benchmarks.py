"""The benchmark command: what it refuses, what it writes, that it goes on where it was stopped, and two runs side by side."""

import importlib.util
import json
import re
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("rich")
pytest.importorskip("jsonschema")

from jsonschema import Draft202012Validator
from rich.console import Console

from benchmarks import report, run as run_module, store as store_module
from benchmarks.__main__ import main
from benchmarks.report import figures, files
from benchmarks.settings import Settings
from benchmarks.shown import Cell, Column, Finding, Section, Table, num
from benchmarks.store import open_store, read
from benchmarks.studies import STUDIES, estimators
from benchmarks.studies.estimators.methods import METHODS
from benchmarks.studies.estimators.problems import PROBLEMS
from benchmarks.study import Records, Study, Task

ONLY = "bernoulli-1,score,score-loo,score-mean,pathwise"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a finished run of one problem."""
    folder = tmp_path_factory.mktemp("bench")
    assert main(["--only", ONLY, "--out", str(folder)]) == 0
    return folder


def lines(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def cells(folder):
    return {
        line["task"].removeprefix("bernoulli-1: "): line["found"] | line["times"]
        for line in lines(folder)
        if "task" in line
    }


def copy(finished, folder):
    (folder / "results.jsonl").write_bytes((finished / "results.jsonl").read_bytes())
    return folder


@pytest.fixture
def measured(monkeypatch):
    """Names of the cells that are really measured."""
    names = []
    real = estimators.cell

    def cell(problem, setup, method, settings):
        names.append((problem.name, method.name))
        return real(problem, setup, method, settings)

    monkeypatch.setattr(estimators, "cell", cell)
    return names


def refused(capsys, argv, *words):
    assert main(argv) == 2
    streams = capsys.readouterr()
    said = [line for line in streams.err.splitlines() if line != "benchmarks: starting"]
    assert streams.out == "" and len(said) == 1 and said[0].startswith("benchmarks: ")
    assert all(word in said[0] for word in words), said


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--only", "nonesuch"], ["nonesuch", "--list"]),
        (["--only", "bernoulli-1,nope*"], ["nope*"]),
        (["--only", "bernoulli-1,CartPole"], ["CartPole"]),
        (["--only", "bernoulli-1,one_bit"], ["no study has all of bernoulli-1, one_bit"]),
        (["--only", ","], ["--only"]),
        (["nonesuch"], ["nonesuch", "credit, speed"]),
        (["--quick", "--full"], ["not allowed"]),
        (["--seed", "one"], ["--seed"]),
        (["--seed", "-1"], ["--seed"]),
        (["--frobnicate"], ["--frobnicate"]),
        (["compare", "here"], ["DIR"]),
    ],
)
def test_a_bad_command_line_is_one_line_and_status_2(capsys, argv, words):
    refused(capsys, argv, *words)


def test_an_impossible_folder_is_one_line_and_status_2(capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    refused(capsys, ["--out", str(tmp_path / "file")], "cannot write")
    refused(capsys, ["--out", str(tmp_path / "file" / "below")], "cannot write")


def test_list_names_everything(capsys):
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    names = [name for study in STUDIES for name in (study.name, *(n for axis in study.axes.values() for n in axis))]
    assert len(names) > 100 and all(name in out for name in (*names, *PROBLEMS, *METHODS))


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], {"credit", "speed", "usual", "estimators"}),
        (["--full"], {"credit", "speed", "usual", "estimators", "bits", "control"}),
        (["papers"], {"papers"}),
        (["control", "bits"], {"control", "bits"}),
        (["--only", "c*l"], {"control"}),
        (["--only", "gauss-*,pathwise"], {"estimators"}),
        (["--only", "double-cv,toy"], {"bits"}),
    ],
)
def test_a_study_is_for_those_who_ask(monkeypatch, tmp_path, options, wanted):
    chosen = set()
    monkeypatch.setattr(Study, "missing", lambda self: {})
    monkeypatch.setattr(run_module, "run", lambda todo, store, log: chosen.update(study.name for study, _ in todo))
    assert main([*options, "--out", str(tmp_path)]) == 0
    assert chosen == wanted


def test_a_study_without_what_it_needs_says_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Study, "missing", lambda self: dict(self.needs))
    refused(capsys, ["control", "--out", str(tmp_path)], "gymnax", "jax_scorefn[rl]")
    chosen = set()
    monkeypatch.setattr(run_module, "run", lambda todo, store, log: chosen.update(study.name for study, _ in todo))
    assert main(["--full", "--out", str(tmp_path)]) == 0  # unless it was asked for by name
    assert "control" not in chosen and "bits" in chosen


def test_an_axis_of_which_nothing_is_named_is_whole():
    from benchmarks.__main__ import _tasks

    study = next(study for study in STUDIES if study.name == "estimators")
    names = [task.name for task in _tasks(study, Settings(), "bernoulli-1")]
    assert (
        names[0] == "bernoulli-1: about" and len(names) > 8 and all(name.startswith("bernoulli-1: ") for name in names)
    )
    assert len(_tasks(study, Settings(), None)) == len(study.tasks(Settings()))


def test_tasks_have_names_of_their_own():
    for study in STUDIES:
        names = [task.name for task in study.tasks(Settings("full"))]
        assert len(set(names)) == len(names) > 0, study.name
        for task in study.tasks(Settings()):
            assert all(name in study.axes[axis] for axis, name in task.of.items()), task.name


@pytest.mark.default
def test_a_run_writes_results_tables_figures_and_report(finished):
    found = cells(finished)
    assert list(found) == ["about", "score", "score-loo", "score-mean", "pathwise"]
    assert "Bernoulli" in found["pathwise"]["reason"]
    for name in ("overview.png", "bernoulli-1.png", "bernoulli-1-dark.png"):
        assert (finished / name).read_bytes().startswith(b"\x89PNG")
    assert (finished / "report.html").stat().st_size > 20_000
    table = (finished / "tables" / "bernoulli-1.csv").read_text().splitlines()
    assert table[0].startswith("estimator,bias z") and float(table[1].split(",")[2]) == found["score"]["variance"]
    assert r"\toprule" in (finished / "tables" / "bernoulli-1.tex").read_text()


def test_every_line_is_as_the_schema_has_it(finished):
    validator = Draft202012Validator(store_module.SCHEMA)
    found = lines(finished)
    assert len(found) == 6 and all(validator.is_valid(line) for line in found)
    for broken in (
        found[1] | {"more": 1},
        {k: x for k, x in found[1].items() if k != "times"},
        found[1] | {"seconds": -1},
        {},
    ):
        assert not validator.is_valid(broken)


def test_the_report_needs_nothing_from_elsewhere(finished):
    page = (finished / "report.html").read_text()
    assert not re.search(r"(?:src|srcset|href)=\"(?!data:|#)", page)
    assert not re.search(r"@import|url\(|<script[^>]*src|https?://", page)
    assert "{{" not in page and "One bit" in page and "1 not measured" in page


@pytest.mark.statistical
def test_one_bit_has_the_variance_that_theory_gives(finished):
    # p = 1/2, f = (b - .499)^2: (E f^2) / 4 - g^2, and 2.5e-7 for one call of leave-one-out with two draws
    for method, variance in (("score", 0.015625), ("score-loo", 2 * 2.5e-7)):
        cell = cells(finished)[method]
        assert cell["variance_known"] == pytest.approx(variance, rel=1e-4)
        assert abs(cell["variance"] - variance) < 5 * cell["variance_error"] + 1e-4 * variance
        assert cell["variance_error"] < 0.02 * variance
        assert cell["z"] < 5
    assert cells(finished)["score-mean"]["z"] > 20  # its bias is declared: half of the gradient, with two draws


def test_resume_measures_only_what_is_missing(finished, tmp_path, measured):
    folder = copy(finished, tmp_path)
    path = folder / "results.jsonl"
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(kept[:-1]) + kept[-1][: len(kept[-1]) // 2])  # killed while the last cell was written
    assert main(["--only", ONLY, "--out", str(folder), "--resume"]) == 0
    assert measured == [("bernoulli-1", "pathwise")]
    assert path.read_bytes().splitlines()[:-1] == [line.rstrip() for line in kept[:-1]]
    assert lines(folder)[-1]["found"] == json.loads(kept[-1])["found"]
    assert main(["--only", ONLY, "--out", str(folder), "--resume"]) == 0
    assert len(measured) == 1
    assert (folder / "report.html").exists()


def test_two_runs_from_one_seed_have_the_same_statistics(finished, tmp_path):
    assert main(["--only", ONLY, "--out", str(tmp_path)]) == 0
    first, second = (
        {line["task"]: line["found"] for line in lines(folder) if "task" in line} for folder in (finished, tmp_path)
    )
    assert first == second
    times = [line["times"] for line in lines(tmp_path) if line.get("task") == "bernoulli-1: score"]
    assert times != [line["times"] for line in lines(finished) if line.get("task") == "bernoulli-1: score"]


@pytest.mark.slow
@pytest.mark.parametrize("wait", [0.3, 3.0, 8.0])
def test_a_killed_run_goes_on_to_the_same_statistics(finished, tmp_path, wait):
    argv = [sys.executable, "-m", "benchmarks", "--only", ONLY, "--out", str(tmp_path)]
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(wait)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert subprocess.run([*argv, "--resume"], capture_output=True).returncode == 0
    first, second = (
        {line["task"]: line["found"] for line in lines(folder) if "task" in line} for folder in (finished, tmp_path)
    )
    assert first == second and len(lines(tmp_path)) == len(lines(finished))


def test_resume_survives_a_broken_first_line(tmp_path):
    (tmp_path / "results.jsonl").write_text('{"sett')
    store = open_store(tmp_path, Settings(), resume=True)
    assert [list(line) for line in store.lines] == [["settings"]]
    assert lines(tmp_path) == store.lines


def test_resume_refuses_other_settings_and_other_files(capsys, finished, tmp_path):
    folder = copy(finished, tmp_path)
    argv = ["--only", ONLY, "--out", str(folder), "--resume"]
    refused(capsys, [*argv, "--seed", "7"], "seed 0 (now 7)")
    refused(capsys, [*argv, "--full"], "mode quick (now full)")
    path = folder / "results.jsonl"
    kept = path.read_text().splitlines(keepends=True)
    for wrong in ("not json\n", '{"kind": "cell"}\n'):  # the second is of an earlier version
        path.write_text("".join([kept[0], wrong, *kept[1:]]))
        refused(capsys, argv, "line 2")


def test_without_resume_old_results_are_kept_aside(finished, tmp_path, capsys, monkeypatch):
    old = (copy(finished, tmp_path) / "results.jsonl").read_bytes()
    store = open_store(tmp_path, Settings(), resume=False)
    assert lines(tmp_path) == store.lines and len(store.lines) == 1
    assert store.aside == tmp_path / "results-1.jsonl" and store.aside.read_bytes() == old
    new = store.path.read_bytes()
    monkeypatch.setattr(estimators, "cell", interrupted)
    assert main(["--only", "bernoulli-1", "--out", str(tmp_path)]) == 130
    assert "results-2.jsonl" in capsys.readouterr().err
    assert [(tmp_path / f"results-{n}.jsonl").read_bytes() for n in (1, 2)] == [old, new]


def interrupted(*_):
    raise KeyboardInterrupt


def test_an_interrupt_says_how_to_go_on(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(estimators, "cell", interrupted)
    assert main(["--only", "bernoulli-1", "--out", str(tmp_path)]) == 130
    assert "--resume" in capsys.readouterr().err


def test_two_runs_are_compared(finished, tmp_path, capsys):
    """A time that lies outside of both bands is slower or faster; other statistics are told."""
    copy(finished, tmp_path)
    changed = lines(finished)
    for line in changed:
        if line.get("task") == "bernoulli-1: score":
            line["times"] |= {name: 3 * x for name, x in line["times"].items()}
            line["found"]["variance"] += 1
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in changed))
    assert main(["compare", str(finished), str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "3.000" in out and "other statistics" in out and "slower" in out
    assert main(["compare", str(finished), str(finished)]) == 0
    out = capsys.readouterr().out
    assert "0 slower, 0 faster" in out and "other statistics" not in out
    refused(capsys, ["compare", str(finished), str(tmp_path / "nowhere")], "no results")


def sample(tmp_path, **options):
    table = Table(
        "small", "A small table", [Column("name"), Column("value|(unit)", "What it is.")],
        [(Cell("a_b", shade="#123456"), num(2.0, error=0.1)), (Cell("c"), num(1e-9, mark="missed", below="0.5"))],
        {"left": "it has no <module>"}, "A note on `code` & *more*.",
    )  # fmt: skip
    parts = [
        "Text with `code` and *emphasis* & <angles>.",
        Finding("7×", "less", "Why it is `so`.", first=1, **options),
        table,
    ]
    study = Study(
        "one",
        "One study",
        "What it is about",
        lambda settings: [],
        lambda records, settings: [Section("s", "Part", parts)],
    )
    told = {study: Records([{"task": "t", "found": {}, "times": {}}])}
    return report.write(tmp_path, told, Settings(), seconds=1.0, console=Console(width=150)).read_text()


def test_what_is_shown_is_on_the_page_in_the_terminal_and_in_files(tmp_path, capsys):
    page, printed = sample(tmp_path), capsys.readouterr().out
    for text in (
        "<code>code</code>",
        "<em>emphasis</em> &amp; &lt;angles&gt;",
        "2.00 ± 0.10",
        "1 not measured",
        "&lt;module&gt;",
        "7×",
        "missed",
    ):
        assert text in page, text
    assert 'data-order="1e-09"' in page and "One study" in page
    assert all(text in printed for text in ("A small table", "2.00 ± 0.10", "missed", "it has no <module>"))
    assert (tmp_path / "tables" / "small.csv").read_text() == "name,value (unit)\na_b,2.0\nc,1e-09\n"
    assert r"a\_b & 2.00 $\pm$ 0.10 \\" in (tmp_path / "tables" / "small.tex").read_text()
    assert (
        "alarm" not in re.findall(r"<li(?: [^>]*)?>", page)[0]
        and "alarm" in re.findall(r"<li(?: [^>]*)?>", sample(tmp_path, alarm=True))[0]
    )


def test_latex_has_no_character_that_it_cannot_print():
    assert files.latex("5 × 10⁻¹² % a_b $3") == r"5 $\times$ 10$^{-12}$ \% a\_b \$3"


def test_the_page_says_nothing_twice_and_links_within(finished):
    page = (finished / "report.html").read_text()
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names))
    assert all(target in names for target in re.findall(r'href="#([^"]+)"', page))


def test_a_new_study_is_one_module():
    """All modules of the package are studies, and no other file of the benchmark names one."""
    assert importlib.util.find_spec("benchmarks.studies.papers") is not None
    root = report.HERE.parent
    for path in (*root.glob("*.py"), *(root / "report").glob("*.py")):
        text = path.read_text()
        assert not re.search(r"benchmarks\.studies\.\w+", text), path
    task = Task("t", lambda: {"found": {"x": 1}, "times": {}})
    assert task.do() == {"found": {"x": 1}, "times": {}}


def test_reading_a_folder_without_results_says_so(tmp_path):
    with pytest.raises(store_module.Refused, match="no results"):
        read(tmp_path / "results.jsonl")


def test_log_probabilities_in_blocks_are_those_of_all_logits_and_are_shown_beside_them(capsys):
    from benchmarks.studies.speed import _vocabulary as vocabulary

    for way in vocabulary.WAYS:
        vocabulary.of_child(way, length=64, words=300, width=4)
    rows = dict(zip(vocabulary.WAYS, map(json.loads, capsys.readouterr().out.splitlines()), strict=True))
    assert rows["in blocks"]["value"] == pytest.approx(rows["all at once"]["value"], rel=1e-5)
    assert [cell.text for cell, *_ in vocabulary.table(rows).rows] == list(vocabulary.WAYS)


def test_growth_is_measured_by_size_and_its_slope_told(capsys):
    from benchmarks.studies.speed import _growth as growth

    for what in growth.SIZES:
        growth.of_child(what, 200)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(row["milliseconds"] > 0 and row["mib"] >= 0 for row in told)
    assert len(list(growth.tasks())) == sum(map(len, growth.SIZES.values()))
    times = {"draws of W1 10000": 1.0, "draws of W1 100000": 10.0, "draws of W1 1000000": 200.0, "parameters 1000": 3.0}
    finding, table, figure = growth.parts({name: {"milliseconds": ms, "mib": 5.0} for name, ms in times.items()})
    assert finding.figure == "1.15"  # log10(200) / 2
    assert finding.alarm
    assert [row[1].value for row in table.rows] == [10_000, 100_000, 1_000_000, 1000]
    assert figure.paint(figures.LIGHT).axes


def test_a_full_disk_is_one_error_and_the_results_before_stay(tmp_path):
    """A limit on the size of a file, so that a write fails in the midst of a line."""
    store = open_store(tmp_path, Settings(), resume=False)
    store.add({"study": "s", "task": "a", "seconds": 1.0, "found": {}, "times": {}})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (store.path.stat().st_size + 10, limits[1]))
        with pytest.raises(
            store_module.Refused, match=r"cannot write to .*results before are kept, go on with --resume"
        ):
            store.add({"study": "s", "task": "b", "seconds": 1.0, "found": {}, "times": {}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    store.add({"study": "s", "task": "c", "seconds": 1.0, "found": {}, "times": {}})
    assert [line.get("task") for line in read(store.path)] == [None, "a", "c"]


def test_a_check_of_a_device_goes_on_where_it_was_cut_off(tmp_path, monkeypatch, capsys):
    from benchmarks import device

    ran = []

    def check(name, row):
        return name, lambda short: (ran.append(name), row() if callable(row) else row)[1]

    def cut():
        if "cut" not in ran[:-1]:
            raise KeyboardInterrupt
        return {"ratio": {"50": 0.5}, "passed": True}

    rows = [
        check("bits", {"words": 3, "passed": True}),
        check("cut", cut),
        check("wrong", {"off": 0.25, "passed": False}),
    ]
    broken = lambda: 1 / 0
    monkeypatch.setattr(device, "checks", lambda short: iter([*rows, check("broken", broken)]))
    path = tmp_path / "device.json"
    with pytest.raises(KeyboardInterrupt):
        device.main(["--short", "--out", str(path)])
    assert device.main(["--short", "--out", str(path)]) == 1
    assert ran == ["bits", "cut", "cut", "wrong", "broken"]
    found = json.loads(path.read_text())["checks"]
    assert found["broken"]["error"] == "ZeroDivisionError: division by zero"
    shown = capsys.readouterr().out
    assert re.search(r"cut +passed .* ratio 50 0.5", shown)
    assert re.search(r"wrong +FAILED .* off 0.25", shown)
    assert device.main(["--short", "--out", str(path)]) == 1
    assert len(ran) == 5
    assert device.main(["--out", str(path)]) == 1  # of other settings nothing is kept
    assert len(ran) == 9
    monkeypatch.setattr(device, "BUDGET", 0.0)
    assert device.main(["--out", str(tmp_path / "late.json")]) == 1
    assert "left out: the time was over" in capsys.readouterr().out


def test_a_difference_is_told_in_units_of_the_last_place():
    from benchmarks.device import ulps

    x = np.array([1.0, -2.0, np.inf, 0.0], np.float32)
    assert ulps(x, x) == 0
    assert ulps(np.nextafter(x[:1], np.float32(9)), x[:1]) == pytest.approx(1)
    assert ulps(np.array([np.nan], np.float32), np.array([1.0], np.float32)) == np.inf
