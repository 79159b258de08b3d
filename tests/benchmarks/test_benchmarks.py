"""The benchmark command: what it refuses, what it writes, and that it goes on where it was stopped."""

import json
import re
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("rich")

from rich.console import Console

from benchmarks import peers, report, run as run_module, tables
from benchmarks.__main__ import main
from benchmarks.methods import METHODS
from benchmarks.problems import PROBLEMS
from benchmarks.results import collect
from benchmarks.settings import Settings
from benchmarks.store import open_store

ONLY = "bernoulli-1,score,score-loo,score-mean,pathwise"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a finished run of one problem."""
    folder = tmp_path_factory.mktemp("bench")
    assert main(["--only", ONLY, "--out", str(folder)]) == 0
    return folder


def records(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def copy(finished, folder):
    (folder / "results.jsonl").write_bytes((finished / "results.jsonl").read_bytes())
    return folder


@pytest.fixture
def measured(monkeypatch):
    """Names of the cells that are really measured."""
    names = []
    real = run_module.measure.cell

    def cell(problem, setup, method, settings):
        names.append((problem.name, method.name))
        return real(problem, setup, method, settings)

    monkeypatch.setattr(run_module.measure, "cell", cell)
    return names


def refused(capsys, argv, *words):
    assert main(argv) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.count("\n") == 1 and streams.err.startswith("benchmarks: ")
    assert all(word in streams.err for word in words), streams.err


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--only", "nonesuch"], ["nonesuch", "--list"]),
        (["--only", "bernoulli-1,nope*"], ["nope*"]),
        (["--only", ","], ["--only"]),
        (["--quick", "--full"], ["not allowed"]),
        (["--seed", "one"], ["--seed"]),
        (["--seed", "-1"], ["--seed"]),
        (["--frobnicate"], ["--frobnicate"]),
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
    assert all(name in out for name in (*PROBLEMS, *METHODS))


@pytest.mark.default
def test_a_run_writes_results_figures_and_report(finished):
    cells = {record["method"]: record for record in records(finished) if record["kind"] == "cell"}
    assert list(cells) == ["score", "score-loo", "score-mean", "pathwise"]
    assert cells["pathwise"]["status"] == "refused" and "Bernoulli" in cells["pathwise"]["reason"]
    for name in ("overview.png", "bernoulli-1.png", "bernoulli-1-dark.png"):
        assert (finished / name).read_bytes().startswith(b"\x89PNG")
    assert (finished / "report.html").stat().st_size > 20_000


def test_the_report_needs_nothing_from_elsewhere(finished):
    page = (finished / "report.html").read_text()
    assert not re.search(r"(?:src|srcset|href)=\"(?!data:image/png;base64,|#)", page)
    assert not re.search(r"@import|url\(|<script|<link|https?://", page)
    assert "{{" not in page and "One bit" in page


@pytest.mark.statistical
def test_one_bit_has_the_variance_that_theory_gives(finished):
    cells = {record["method"]: record for record in records(finished) if record["kind"] == "cell"}
    # p = 1/2, f = (b - .499)^2: (E f^2) / 4 - g^2, and 2.5e-7 for one call of leave-one-out with two draws
    for method, variance in (("score", 0.015625), ("score-loo", 2 * 2.5e-7)):
        cell = cells[method]
        assert cell["variance_known"] == pytest.approx(variance, rel=1e-4)
        assert abs(cell["variance"] - variance) < 5 * cell["variance_error"] + 1e-4 * variance
        assert cell["variance_error"] < 0.02 * variance
        assert cell["z"] < 5
    assert cells["score-mean"]["z"] > 20  # its bias is declared: half of the gradient, with two draws


def test_resume_measures_only_what_is_missing(finished, tmp_path, measured):
    folder = copy(finished, tmp_path)
    path = folder / "results.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2])  # killed while the last cell was written
    assert main(["--only", ONLY, "--out", str(folder), "--resume"]) == 0
    assert measured == [("bernoulli-1", "pathwise")]
    assert path.read_bytes() == whole
    assert main(["--only", ONLY, "--out", str(folder), "--resume"]) == 0
    assert len(measured) == 1
    assert (folder / "report.html").exists()


def test_resume_survives_a_broken_first_line(tmp_path):
    (tmp_path / "results.jsonl").write_text('{"kind":"sett')
    store = open_store(tmp_path, Settings(), resume=True)
    assert [record["kind"] for record in store.records] == ["settings"]
    assert records(tmp_path) == store.records


def test_resume_refuses_other_settings_and_other_files(capsys, finished, tmp_path):
    folder = copy(finished, tmp_path)
    argv = ["--only", ONLY, "--out", str(folder), "--resume"]
    refused(capsys, [*argv, "--seed", "7"], "seed 0 (now 7)")
    refused(capsys, [*argv, "--full"], "mode quick (now full)")
    path = folder / "results.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], "not json\n", *lines[1:]]))
    refused(capsys, argv, "line 2")


def test_without_resume_old_results_are_kept_aside(finished, tmp_path, capsys, monkeypatch):
    old = (copy(finished, tmp_path) / "results.jsonl").read_bytes()
    store = open_store(tmp_path, Settings(), resume=False)
    assert records(tmp_path) == store.records and len(store.records) == 1
    assert store.aside == tmp_path / "results-1.jsonl" and store.aside.read_bytes() == old
    new = store.path.read_bytes()
    monkeypatch.setattr(run_module.measure, "cell", interrupted)
    assert main(["--only", "bernoulli-1", "--out", str(tmp_path)]) == 130
    assert "results-2.jsonl" in capsys.readouterr().err
    assert [(tmp_path / f"results-{n}.jsonl").read_bytes() for n in (1, 2)] == [old, new]


def interrupted(*_):
    raise KeyboardInterrupt


def test_an_interrupt_says_how_to_go_on(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module.measure, "cell", interrupted)
    assert main(["--only", "bernoulli-1", "--out", str(tmp_path)]) == 130
    assert "--resume" in capsys.readouterr().err


def peer(problem, method, **facts):
    told = {"mean": [0.0, 1.0], "standard_error": [0.1, 0.1], "variance": 2.0, "variance_error": 0.1, "count": 100}
    return {"kind": "peer", "problem": problem, "method": method} | told | {"microseconds": 10.0} | facts


def test_credit_and_peers_are_in_the_report(tmp_path, capsys):
    store = open_store(tmp_path, Settings(), resume=False)
    store.add({"kind": "credit", "problem": "plate n=16", "method": "", "size": 16, "variance": 0.1, "usual": 40.0,
               "ratio": 400.0, "passed": True})  # fmt: skip
    store.add({"kind": "credit", "problem": "deep", "method": "", "ratio": 1.04, "ratio_low": 0.9, "ratio_high": 1.2,
               "microseconds": 5.0, "trace_milliseconds": 3.0, "trace_ratio": 1.7, "difference": 0.0, "passed": True})  # fmt: skip
    store.add(peer("chain", "jax_scorefn 9"))
    store.add(peer("chain", "Other 1", variance=6.0, microseconds=40.0, mean=[0.0, 1.5]))
    store.add({"kind": "peer-failed", "problem": "", "method": "third", "reason": "it has no such module"})
    results = collect(store)
    mine, other = results.credit.peers["chain"]
    assert (mine.is_ours, other.is_ours) == (True, False)
    assert (other.noise, other.slowness) == (3.0, 4.0)
    assert other.apart == pytest.approx(0.5 / np.hypot(0.1, 0.1))
    tables.show(Console(width=150), results)
    page = report.write(tmp_path, results, Settings(), seconds=1.0).read_text()
    for text in (capsys.readouterr().out, page):
        assert all(word in text for word in ("400", "1.04", "1.7", "Other 1", "3.5", "it has no such module"))
    assert (tmp_path / "plate.png").exists() and (tmp_path / "peers-dark.png").exists()


@pytest.mark.parametrize("script, kind", [('print(\'{"kind": "peer"}\')', "peer"), ("import nonesuch", "peer-failed")])
def test_a_peer_that_fails_says_why(monkeypatch, tmp_path, script, kind):
    (tmp_path / "run_pyro.py").write_text(script)
    monkeypatch.setattr(peers, "__file__", str(tmp_path / "__init__.py"))
    (record,) = peers.measure(sys.executable, "pyro")
    assert record["kind"] == kind
    assert kind == "peer" or "nonesuch" in record["reason"]


def test_peers_without_an_environment_are_left_out(tmp_path):
    assert all(peers.interpreter(tmp_path, name) is None for name in peers.PEERS)
    todo = run_module.credit_tasks(Settings(), tmp_path)
    assert [task.kind for task in todo].count("peer") == 3 and not any(task.kind == "peer-done" for task in todo)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_keys")  # what is timed is called with one key
def test_credit_is_measured(tmp_path, capsys):
    assert main(["--only", "credit", "--out", str(tmp_path), "--peers", str(tmp_path)]) == 0
    found = [record for record in records(tmp_path) if record["kind"] == "credit"]
    plates = [record for record in found if "usual" in record]
    assert [record["size"] for record in plates] == [16, 64, 256]
    assert all(record["passed"] for record in plates)
    assert all(record["difference"] < 1e-3 for record in found if "trace_ratio" in record)
    assert "bench-peers" in (tmp_path / "report.html").read_text()
