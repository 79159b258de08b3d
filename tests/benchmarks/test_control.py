"""Policies that learn, in small: what the benchmark records, and that both sides of the speed comparison estimate one gradient."""

import jax
import numpy as np
import pytest

pytest.importorskip("gymnax")
from covering import covering

import jax_scorefn as sf
from benchmarks import report
from benchmarks.settings import Settings
from benchmarks.studies import control
from benchmarks.studies.control import _cart_pole, _chess, _learning, _pendulum, _ppo, _speed
from benchmarks.study import Records

pytestmark = [pytest.mark.usefixtures("foreign"), pytest.mark.filterwarnings("ignore")]


def merged(record):
    return record["found"] | record["times"]


@pytest.mark.slow
def test_the_corridor_is_learned():
    record = merged(control.corridor(episodes=300, runs=16, length=300))
    assert set(record["curves"]) == set(record["errors"]) == set(record["last"])
    for curve in record["curves"].values():
        assert len(curve) == len(record["episodes"]) and curve[-1] > curve[0] and max(curve) < record["best"]
    assert record["last"]["with a baseline"] > record["last"]["REINFORCE"]


@pytest.mark.slow
def test_cart_pole_is_recorded_for_each_seed():
    record = merged(control.cart_pole(updates=60, every=20, episodes=8))
    curves = np.asarray(record["curves"])
    assert curves.shape == (_cart_pole.SEEDS, 3) and record["steps"] == [10240, 20480, 30720]
    assert curves[:, -1].mean() > 1.3 * curves[:, 0].mean() and np.all(curves >= 1) and np.all(curves <= 500)
    assert (record["median_steps"] is None) == (record["reached"] == 0)


@pytest.mark.slow
@pytest.mark.statistical
def test_what_is_timed_is_one_gradient_written_twice():
    ours, by_hand = _speed.pair(num_envs=16, num_steps=16)
    params = _cart_pole.start(jax.random.key(1))
    runs = [
        sf.testing.replicate(lambda k, f=f: f(params, k), jax.random.key(i), 1500)
        for i, f in enumerate((ours, by_hand))
    ]
    for a, b in zip(*map(jax.tree.leaves, runs), strict=True):
        error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / 1500)
        assert np.max(np.abs(a.mean(axis=0) - b.mean(axis=0)) / np.maximum(error, 1e-12)) < 5.5


@pytest.mark.slow
def test_ppo_learns_by_the_library_and_by_hand():
    for of in (_ppo.ours, _ppo.by_hand):
        curve = np.asarray(of(80, 16, 64)(jax.random.key(0)))
        assert curve.shape == (80,) and np.mean(curve[-10:]) > 4 * np.mean(curve[:5])
    record = merged(control.ppo(updates=10, num_envs=4, num_steps=16, repeats=2))
    assert record["ratio_low"] <= record["ratio"] <= record["ratio_high"] and record["returns"] > 5


@pytest.mark.slow
def test_a_pendulum_is_swung_by_both_routes():
    record = merged(control.pendulum(updates=40, seeds=2, snapshots=3, repeats=8, num_steps=20))
    assert record["snapshots"] == [0, 20, 40] and set(record["path"]) == set(record["curves"]) == set(_pendulum.TORQUES)
    for policy, curves in record["curves"].items():
        for route in _pendulum.ROUTES:
            assert np.shape(curves[route]) == (2, len(record["updates"])) and np.max(curves[route]) < 0
            found = record["path"][policy][route]
            assert (
                len(found["variance"]) == 3 and min(found["variance"]) > 0 and record["microseconds"][policy][route] > 0
            )


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("policy", _pendulum.TORQUES)
def test_both_routes_through_a_pendulum_estimate_one_gradient(policy):
    start = {"mean": _learning.network((3, 4, 1), jax.random.key(0), 1.0), "log_scale": jax.numpy.array(-0.5)}
    runs = []
    for i, route in enumerate(_pendulum.ROUTES):
        gradient = jax.grad(_pendulum.swing(policy, route, num_steps=5, batch=64))
        found = sf.testing.replicate(lambda k, g=gradient: g(start, k), jax.random.key(i), 8000)
        runs.append(np.concatenate([np.reshape(x, (8000, -1)) for x in jax.tree.leaves(found)], axis=1))
    score, path = runs
    error = np.sqrt((score.var(axis=0) + path.var(axis=0)) / 8000)
    assert np.max(np.abs(score.mean(axis=0) - path.mean(axis=0)) / error) < 5
    size = np.abs(path.mean(axis=0))
    assert np.max(size / error) > 20, "too noisy to tell"


@pytest.mark.slow
def test_chess_is_played_before_and_after():
    record = merged(control.chess(seconds=1.0, num_envs=4, num_steps=8, every=2, games=8))
    counts = np.asarray(record["counts"])
    assert counts.shape == (len(record["moves"]), 3) and np.all(counts[:, :2].sum(axis=1) <= counts[:, 2])
    for share, low, high in (*record["won"], *record["lost"]):
        assert 0 <= low <= share + 1e-12 and share - 1e-12 <= high <= 1
    assert record["won"][0][0] + record["lost"][0][0] <= 1


def test_shares_have_the_interval_of_wilson():
    np.testing.assert_allclose(_chess.share(5, 10), (0.5, 0.23659, 0.76341), atol=1e-4)
    assert _chess.share(0, 20)[1] == pytest.approx(0, abs=1e-12) and _chess.share(20, 20)[2] == pytest.approx(1)


CONTROL = {
    "cart pole": {"steps": [100, 200], "curves": [[20.0, 480.0], [30.0, 490.0]], "reached": 2, "seeds": 2, "median_steps": 66.0,
                  "seconds": 9.5, "median_seconds": 4.2, "episodes": 100, "passed": True},
    "pendulum": {"snapshots": [0, 10], "updates": [5, 10], "seeds": 2, "batch": 32, "num_steps": 200, "seconds": 1.0,
                 "curves": {"Gaussian": {r: [[-900.0, -700.0], [-800.0, -650.0]] for r in _pendulum.ROUTES}},
                 "path": {"Gaussian": {"score": {"variance": [2.0, 3.0]}, "pathwise": {"variance": [60.0, 0.03]}}},
                 "microseconds": {"Gaussian": {"score": 10.0, "pathwise": 10.0}},
                 "last": {"Gaussian": {"score": -345.0, "pathwise": -678.0}}, "passed": True},
    "chess": {"games": 256, "won": [[0.11, 0.08, 0.16], [0.77, 0.71, 0.82]], "lost": [[0.14, 0.1, 0.2], [0.02, 0.01, 0.05]],
              "counts": [[1, 1, 9], [5, 1, 9]], "moves": [100, 200], "seconds": 240.0, "passed": True},
    "corridor": {"best": -11.657, "episodes": [1, 10], "runs": 100, "curves": {"REINFORCE": [-80.0, -12.4]},
                 "errors": {"REINFORCE": [1.0, 0.1]}, "last": {"REINFORCE": -12.39}, "passed": False},
    "speed": {"ratio": 1.02, "ratio_low": 0.99, "ratio_high": 1.06, "steps_per_second": 1.44e6, "by_hand": 1.42e6,
              "environments": 256, "num_steps": 64, "passed": True},
    "ppo": {"ratio": 0.97, "ratio_low": 0.94, "ratio_high": 1.03, "steps_per_second": 1.44e5, "by_hand": 1.42e5, "returns": 471.0,
            "returns_by_hand": 468.0, "environments": 16, "num_steps": 64, "updates": 1000, "passed": True},
}  # fmt: skip


# By default all of them, one with a picture and one without.
@pytest.mark.parametrize(
    "left",
    covering(
        [None, *CONTROL], lambda left: {None: "all", "speed": "no picture", "ppo": "no picture"}.get(left, "a picture")
    ),
)
def test_what_was_learned_is_in_the_report(tmp_path, left):
    told = CONTROL if left is None else {left: CONTROL[left]}  # each alone, and all of them
    records = Records([{"task": name, "found": record, "times": {}} for name, record in told.items()])
    page = report.write(tmp_path, {control.STUDY: records}, Settings(), seconds=1.0).read_text()
    marks = {
        "cart pole": "2 of 2",
        "pendulum": "678",
        "chess": "11 → 77 %",
        "corridor": "12.39",
        "speed": "1.02",
        "ppo": "471, and 468",
    }
    for name, record in told.items():
        assert marks[name] in page
        assert record["passed"] or "Missed." in page
    pictures = {"cart pole": "cart-pole", "pendulum": "pendulum", "chess": "chess", "corridor": "corridor"}
    named = {pictures[name] for name in told if name in pictures}
    assert {path.stem for path in tmp_path.glob("*.png")} == named | {f"{name}-dark" for name in named}
    if left in (None, "pendulum"):
        assert "30×" in page and "100 times less" in page  # 60 / 2, 3 / 0.03
