"""Policies that learn, in small: what the benchmark records, and that both sides of the speed comparison estimate one gradient."""

import jax
import numpy as np
import pytest

pytest.importorskip("gymnax")
import jax_scorefn as sf
from benchmarks import control

pytestmark = [pytest.mark.usefixtures("foreign"), pytest.mark.filterwarnings("ignore")]


@pytest.mark.slow
def test_the_corridor_is_learned():
    record = control.corridor(episodes=300, runs=16, length=300)
    assert set(record["curves"]) == set(record["errors"]) == set(record["last"])
    for curve in record["curves"].values():
        assert len(curve) == len(record["episodes"]) and curve[-1] > curve[0] and max(curve) < record["best"]
    assert record["last"]["with a baseline"] > record["last"]["REINFORCE"]


@pytest.mark.slow
def test_cart_pole_is_recorded_for_each_seed():
    record = control.cart_pole(updates=60, every=20, episodes=8)
    curves = np.asarray(record["curves"])
    assert curves.shape == (control.SEEDS, 3) and record["steps"] == [10240, 20480, 30720]
    assert curves[:, -1].mean() > 2 * curves[:, 0].mean() / 1.5 and np.all(curves >= 1) and np.all(curves <= 500)
    assert (record["median_steps"] is None) == (record["reached"] == 0)


@pytest.mark.slow
@pytest.mark.statistical
def test_what_is_timed_is_one_gradient_written_twice():
    ours, by_hand = control.pair(num_envs=16, num_steps=16)
    params = control.start(jax.random.key(1))
    runs = [
        sf.testing.replicate(lambda k, f=f: f(params, k), jax.random.key(i), 1500)
        for i, f in enumerate((ours, by_hand))
    ]
    for a, b in zip(*map(jax.tree.leaves, runs), strict=True):
        error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / 1500)
        assert np.max(np.abs(a.mean(axis=0) - b.mean(axis=0)) / np.maximum(error, 1e-12)) < 5.5
