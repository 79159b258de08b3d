"""Other systems: a process that answers, one that does not, what is told of both, and the exact gradients of the shared problems."""

import json
import subprocess
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
pytest.importorskip("jsonschema")

import jax_scorefn as sf
from benchmarks import FLAG
from benchmarks.peers import environments, problems, serve
from benchmarks.peers.environments import Peer, Unavailable
from benchmarks.peers.peer_ours import in_order, layers, plate, rollout
from benchmarks.settings import Settings
from benchmarks.studies import peers
from benchmarks.studies.peers import _measure
from benchmarks.studies.peers._exact import exact
from benchmarks.study import Records
from benchmarks.workloads import workloads

NAME = "W2 D=1 S=100"
PEER = """
import time
import numpy as np
from benchmarks.peers.serve import serve

rng = np.random.default_rng(0)

def call():
    time.sleep(0.003)
    {more}
    return [np.array([{mean} + 1e-5 * rng.normal()])]

def broken():
    raise MemoryError("no more")

serve("Fake 1", {{"W2 D=1 S=100": lambda: call, "W3 S=16": broken}}, {{"W3 S=16": "it breaks"}})
"""


@pytest.fixture(autouse=True)
def as_users_write_it(unchecked_keys):
    """What is timed is called with one key, and what is written by hand leaves promotion to JAX."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A function that makes a peer of a script."""
    monkeypatch.setattr(environments, "HERE", tmp_path)
    monkeypatch.setattr(environments, "HOME", ("fake", "ours", "by_hand"))

    def write(script, **facts):
        (tmp_path / "peer_fake.py").write_text(script.format(**facts) if facts else script)
        return Peer(environments.Path(sys.executable), "fake")

    return write


def test_a_peer_answers_questions(fake):
    peer = fake(PEER, mean=2.0, more="")
    assert peer.system == "Fake 1" and peer.problems == [NAME, "W3 S=16"] and peer.notes == {"W3 S=16": "it breaks"}
    assert peer.ask("open", NAME) == "ready"
    times = peer.ask("block")
    assert len(times) > 3 and min(times) > 0.003
    found = peer.ask("moments", 5.0, 50)
    assert found["count"] == 50 and abs(found["mean"][0] - 2.0) < 5 * found["standard_error"][0]
    assert found["variance"] == pytest.approx(1e-10, rel=1.0)
    assert -50 < peer.ask("memory") < 100
    with pytest.raises(Unavailable, match="MemoryError: no more"):
        peer.ask("open", "W3 S=16")
    assert peer.ask("open", NAME) == "ready"  # it goes on
    peer.close()


@pytest.mark.parametrize("script", ["import nonesuch", "import os; os.close(0); print(1 / 0)", "pass"])
def test_a_peer_that_does_not_answer_says_why(fake, script):
    with pytest.raises(Unavailable) as caught:
        fake(script)
    assert str(caught.value)


@pytest.mark.parametrize("shift", covering([1e-3, 0.0]))
def test_a_peer_takes_turns_with_ours(fake, shift):
    theirs = fake(PEER, mean=float(exact(NAME)[0]) + shift, more="")
    (environments.HERE / "peer_ours.py").write_text(
        (environments.HERE / "peer_fake.py").read_text().replace("0.003", "0.0003")
    )
    ours = Peer(environments.Path(sys.executable), "ours")
    row = _measure._turns(NAME, theirs, ours, Settings())
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert row["ratio"] > 1.5  # ours sleeps a tenth as long; a busy machine stretches it
    assert row["theirs"]["microseconds"] > 3000
    assert (peers.bias(row["theirs"], exact(NAME)) < peers.WRONG) == (shift == 0.0)
    assert "MemoryError" in _measure._turns("W3 S=16", theirs, ours, Settings())["failed"]
    theirs.close()
    ours.close()


def test_a_peer_that_cannot_be_installed_is_a_row(monkeypatch):
    def make(folder, name):
        raise Unavailable("it needs Python 2")

    monkeypatch.setattr(environments, "make", make)
    record = _measure.measure("genjax", Settings())
    assert record["found"] == {"failed": "it needs Python 2"}
    (section,) = peers.sections(Records([record | {"task": "genjax"}]), Settings())
    assert section.tables[0].left_out == {"genjax": "it needs Python 2"}


def test_an_environment_is_made_again_when_its_needs_change(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(
        environments, "_run", lambda command: ran.append(command) or (tmp_path / "optax").mkdir(exist_ok=True)
    )
    for times in (2, 2, 4):
        if times == 4:
            monkeypatch.setattr(
                environments, "needs", lambda name: {"requires-python": ">=3.11,<3.15", "dependencies": ["other"]}
            )
        assert environments.make(tmp_path, "optax") == environments.python_of(tmp_path, "optax")
        assert len(ran) == times
    assert ran[1][-3:] == ["optax==0.2.6", "distrax", "jax<0.8"] and ran[3][-1] == "other"


def test_ours_runs_where_nothing_is_but_what_the_library_needs():
    """In an environment of a peer, that is: without what makes reports, and the data of studies."""
    absent = ("matplotlib", "jinja2", "rich", "sklearn", "jsonschema", "distrax", "numpyro", "gymnax", "flax")
    code = f"import sys; sys.modules |= dict.fromkeys({absent!r}); import benchmarks.peers.peer_ours as peer; print(len(peer.problems()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=environments.ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == str(len(problems.NAMES)), done.stderr


def test_a_compiler_is_told_what_it_knows(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"--xla_other=1 {FLAG}")
    python = tmp_path / "bin" / "python"
    assert environments._flags(python) == "--xla_other=1"
    (tmp_path / "lib" / "python3.12" / "site-packages" / "jaxlib-0.10.2.dist-info").mkdir(parents=True)
    assert environments._flags(python) == f"--xla_other=1 {FLAG}"


def test_every_peer_says_what_it_needs():
    for name in environments.names():
        needs = environments.needs(name)
        assert needs["dependencies"] and needs["requires-python"].startswith(">=3.1")
    assert {"genjax", "optax", "pyro", "pytorch", "storchastic"} <= set(environments.names())


def test_moments_are_those_of_the_calls():
    rows = np.random.default_rng(0).normal(size=(300, 5)) * np.arange(1, 6) + 7
    calls = iter(rows)
    found, wanted = serve.moments(lambda: [next(calls)], 10.0, 300), serve.of_rows(rows)
    assert found["count"] == wanted["count"] == 300
    for name in ("mean", "standard_error", "variance"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-6)
    assert found["variance_error"] == pytest.approx(wanted["variance_error"], rel=0.3)
    assert serve.seen(np.arange(64.0)).shape == (64,) and serve.seen(np.arange(65.0)).shape == (serve.DIRECTIONS,)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("name", ["W1 D=10 S=100", "W2 D=1 S=100", "W3 S=16", "W4 S=8", "layers", "plate", "rollout"])
def test_the_exact_gradient_is_that_of_ours(name):
    """And a twin that is three times as large is seen."""
    program = {"layers": layers, "plate": plate, "rollout": rollout}.get(name)
    if program is None:
        work = next(work for work in workloads() if work.name == name)
        gradient, params = work.ours, work.params
    else:
        gradient, params = jax.grad(sf.expectation(program, num_samples=100)), jnp.asarray(problems.PROGRAMS[name])
    run = jax.jit(lambda key: in_order(gradient(params, key)))
    rows = np.stack([serve.seen(serve.flat(run(key))) for key in jax.random.split(jax.random.key(3), 300)])
    found = {"mean": rows.mean(axis=0), "standard_error": rows.std(axis=0, ddof=1) / 300**0.5}
    assert peers.bias(found, exact(name)) < 5
    assert peers.bias(found, 3 * exact(name)) > 5


def row(shift=0.0, variance=2.0, ratio=3.0):
    truth = exact(NAME)
    told = {"standard_error": [1e-6], "variance_error": 0.1, "count": 100, "microseconds": 10.0, "mib": 1.5}
    theirs = told | {"mean": [float(truth[0]) + shift], "variance": variance}
    return {
        "theirs": theirs,
        "ours": told | {"mean": [float(truth[0])], "variance": 1.0},
        "ratio": ratio,
        "ratio_low": 2.5,
        "ratio_high": 3.5,
    }


def test_what_was_measured_is_told():
    found = {"system": "Other 1", "ours": "ours", "same": False, "notes": {NAME: "it rounds"}}
    records = [
        {
            "task": "one",
            "found": found,
            "times": {"problems": {NAME: row(shift=1e-4), "W3 S=16": {"failed": "it is too large"}}},
        },
        {
            "task": "two",
            "found": found | {"system": "Other 2", "same": True, "notes": {"": "it is small"}},
            "times": {"problems": {NAME: row(variance=0.1)}},
        },
        {"task": "three", "found": {"failed": "it has no such module"}, "times": {}},
    ]
    (section,) = peers.sections(Records(json.loads(json.dumps(records))), Settings())
    wrong, ahead = (part for part in section.parts if hasattr(part, "caption") and hasattr(part, "alarm"))
    assert (
        wrong.figure == "1"
        and "Other 1 on W2 D=1 S=100 (100 standard errors: it rounds)" in wrong.text
        and not wrong.alarm
    )
    assert ahead.figure == "1 of 2" and "Other 2 on W2 D=1 S=100 (0.30: it is small)" in ahead.text
    (table,) = section.tables
    assert [one[2].text for one in table.rows] == ["6.00", "0.300"] and table.rows[0][9].mark == "biased"
    assert [one[1].below for one in table.rows] == ["it rounds; ours under another JAX", "it is small"]
    assert table.left_out == {"three": "it has no such module", "Other 1 on W3 S=16": "it is too large"}


def test_networks_are_the_same_everywhere():
    policy = next(work for work in workloads() if work.name == "W3 S=16")
    np.testing.assert_array_equal(policy.params[1]["w"], problems.POLICY[1]["w"])
    assert problems.network((4, 64, 64, 2))[2]["w"].shape == (64, 2)
    assert tuple(work.name for work in workloads()) == problems.WORKLOADS
