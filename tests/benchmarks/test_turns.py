"""Speed beside other systems: a peer that answers, one that does not, one with another gradient; what the report says of them."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("rich")

from rich.console import Console

from benchmarks import report, run as run_module, speed, tables
from benchmarks.__main__ import main
from benchmarks.findings import findings
from benchmarks.peers import turns, workloads
from benchmarks.results import collect
from benchmarks.settings import Settings
from benchmarks.store import open_store

WORK = speed.bernoulli(1, 100)
PEER = """
import sys, time
sys.path.insert(0, {folder!r})
import numpy as np
import workloads

rng = np.random.default_rng(0)

def call():
    time.sleep(0.003)
    return [np.array([{mean} + 1e-5 * rng.normal()])]

workloads.serve("Fake 1", {{"W2 D=1 S=100": lambda: call}})
"""


@pytest.fixture(autouse=True)
def as_users_write_it(unchecked_keys):
    """What is timed is called with one key, and what is written by hand leaves promotion to JAX."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def environments(tmp_path, monkeypatch):
    """A folder with an environment for "fake", whose script is beside the other scripts; a function writes it."""
    (tmp_path / "fake" / "bin").mkdir(parents=True)
    (tmp_path / "fake" / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setattr(turns, "ENVIRONMENTS", {"fake": "fake"})
    monkeypatch.setattr(turns, "__file__", str(tmp_path / "turns.py"))
    monkeypatch.setattr(workloads, "BLOCK_SECONDS", 0.02)
    monkeypatch.setattr(workloads, "PROJECTION_SECONDS", 0.2)
    folder = workloads.__file__.rsplit("/", 1)[0]

    def write(script, **facts):
        (tmp_path / "time_fake.py").write_text(script.format(folder=folder, **facts) if facts else script)
        return tmp_path

    return write


def exact():
    """d/dlogit of p (1 - t)^2 + (1 - p) t^2."""
    p = jax.nn.sigmoid(WORK.params[0])
    return float(p * (1 - p) * ((1 - workloads.TARGET) ** 2 - workloads.TARGET**2))


@pytest.mark.parametrize("shift", covering([1e-3, 0.0]))
def test_a_peer_takes_turns_with_ours(environments, shift):
    record = turns.compare(WORK, environments(PEER, mean=exact() + shift), rounds=3)
    hand, other = record["systems"][turns.BY_HAND], record["systems"]["Fake 1"]
    assert record["failed"] == {} and record["problem"] == WORK.name
    assert other["low"] <= other["ratio"] <= other["high"]
    assert other["ratio"] * record["microseconds"] > 300  # it sleeps 3 ms; a busy machine may stretch ours tenfold
    assert hand["apart"] < 5
    assert (other["apart"] < 5) == (shift == 0.0)


MUTE = 'print(\'{"system": "Mute"}\')'


@pytest.mark.parametrize("script", ["import nonesuch", MUTE, "import os; os.close(0); " + MUTE])
def test_a_peer_that_does_not_answer_is_named(environments, script):
    record = turns.compare(WORK, environments(script), rounds=1)
    assert list(record["failed"]) == ["fake"] and list(record["systems"]) == [turns.BY_HAND]
    assert record["failed"]["fake"]


@pytest.mark.parametrize("calls", [4, 30])
def test_a_peer_that_ends_in_between_is_named(environments, calls):
    """After it has said its name, in its first block or in a later one; the others go on."""
    ends = f"""
    call.left = getattr(call, "left", {calls}) - 1
    if call.left < 0:
        raise MemoryError("no more")
    """
    folder = environments(PEER.replace("    time.sleep(0.003)\n", ends + "    time.sleep(0.003)\n"), mean=exact())
    record = turns.compare(WORK, folder, rounds=9)
    assert record["failed"] == {"Fake 1": "MemoryError: no more"} and list(record["systems"]) == [turns.BY_HAND]


def test_the_same_gradient_in_the_same_order(monkeypatch):
    """The projections are of the gradient that the workload has, leaf by leaf as the other systems have them."""
    monkeypatch.setattr(workloads, "PROJECTION_SECONDS", 0.1)
    for work in (speed.gaussian(10, 100), speed.policy()):
        gradient = jax.jit(work.ours)(work.params, jax.random.key(0))
        leaves = turns._in_order(gradient)
        shapes = [leaf.shape for leaf in leaves]
        if work.name.startswith("W1"):
            assert shapes == [(10,), (10,)] and bool(jnp.all(leaves[0] == gradient["mean"]))
        else:
            assert shapes == [(4, 64), (64,), (64, 64), (64,), (64, 2), (2,)]
    assert [work.name for work in speed.workloads()] == list(workloads.NAMES)


def test_speed_is_in_the_report(tmp_path, capsys):
    store = open_store(tmp_path, Settings(), resume=False)
    row = {"ratio": 2.5, "low": 2.0, "high": 3.5, "apart": 1.5}
    for name, ratio in (("W1 D=10 S=100", 7.5), ("W3 S=16", 1.25)):
        systems = {turns.BY_HAND: row, "Other 1": row | {"ratio": ratio}}
        store.add(
            {"kind": "speed", "problem": name, "method": "", "microseconds": 80.0, "systems": systems, "failed": {}}
        )
    bad = {turns.BY_HAND: row | {"apart": 40.0}}
    failed = {"third": "it has no such module"}
    store.add(
        {"kind": "speed", "problem": "W4 S=8", "method": "", "microseconds": 90.0, "systems": bad, "failed": failed}
    )
    results = collect(store)
    assert results.speed.systems == [turns.BY_HAND, "Other 1"]
    assert results.speed.closest("Other 1") == ("W3 S=16", 1.25)
    assert results.speed.apart == 40.0
    (finding,) = (f for f in findings(results) if "time of ours" in f.caption)
    assert finding.alarm and finding.figure == "1.2×"
    good = dataclasses.replace(results, speed=dataclasses.replace(results.speed, records=results.speed.records[:2]))
    assert not any(f.alarm for f in findings(good))
    tables.show(Console(width=150), results)
    page = report.write(tmp_path, results, Settings(), seconds=1.0).read_text()
    for text in (capsys.readouterr().out, page):
        assert all(word in text for word in ("7.50", "1.25", "Other 1", "—", "it has no such module", "W4 S=8"))
    assert (tmp_path / "speed.png").exists() and "make bench-peers" not in page
    page = report.write(
        tmp_path, dataclasses.replace(good, speed=dataclasses.replace(good.speed, records=[])), Settings(), seconds=1.0
    ).read_text()
    assert 'id="speed"' not in page


def test_speed_is_measured_when_asked_for(tmp_path, monkeypatch):
    chosen = []
    monkeypatch.setattr(run_module, "run", lambda todo, store, log: chosen.extend((t.kind, t.problem) for t in todo))
    assert main(["--only", "speed", "--out", str(tmp_path), "--peers", str(tmp_path)]) == 0
    assert chosen == [("speed", name) for name in workloads.NAMES]


def test_networks_are_the_same_everywhere():
    np.testing.assert_array_equal(speed.policy().params[1]["w"], workloads.POLICY[1]["w"])
    assert workloads.network((4, 64, 64, 2))[2]["w"].shape == (64, 2)
