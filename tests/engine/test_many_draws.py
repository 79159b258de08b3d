"""So many draws that nothing is kept of each: two passes give what one gives, float32 keeps its digits, memory stays flat."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import few

import jax_scorefn as sf
from jax_scorefn.engine import _chunk, _map
from jax_scorefn.engine._lanes import lanes

pytestmark = pytest.mark.usefixtures("unchecked_keys")  # the same draws are asked for in several ways

PARAMS = {"m": jnp.array([0.5, -1.0, 2.0]), "s": jnp.zeros(3)}
NORMAL = sf.family(lambda p: sf.Normal(loc=p["m"], scale=jnp.exp(p["s"])))
BITS = sf.family(lambda p: sf.Bernoulli(logits=p["m"]))
POISSON = sf.family(lambda p: sf.Poisson(rate=jnp.exp(p["m"])))
S = 20


@pytest.fixture
def two_passes(monkeypatch):
    """Limits so low that every call is one of many draws; what is returned is the list of the calls that were."""
    monkeypatch.setattr(_chunk, "FEWEST_SUMMED", 2)
    monkeypatch.setattr(_chunk, "SUMS_FROM", 0)
    monkeypatch.setattr(_chunk, "CHUNK", 64)
    found, sums = [], _map.sum_draws
    monkeypatch.setattr(
        sf.engine, "sum_draws", lambda *args, **how: (found.append(how["chunk_size"]), sums(*args, **how))[1]
    )
    return found


def close(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-5)


OBJECTIVES = {
    "a number": lambda p: lambda x: jnp.sum(jnp.sin(x) + x**2),
    "of the parameters": lambda p: lambda x: jnp.sum(jnp.sin(x) * p["m"] ** 2),
    "a vector": lambda p: lambda x: jnp.sin(x)[:2] * p["m"][0],
    "complex": lambda p: lambda x: jnp.sum(jax.lax.complex(jnp.cos(x), jnp.sin(x) * p["m"][1])),
    "half precision": lambda p: lambda x: jnp.sum(x).astype(jnp.bfloat16),
    "an int": lambda p: lambda x: jnp.sum(x > 0),
}


@pytest.mark.parametrize("name", few(OBJECTIVES, "of the parameters", "complex"))
@pytest.mark.default
def test_two_passes_are_one(name, two_passes):
    def value(p, chunk_size):
        v = sf.score_function(OBJECTIVES[name](p), NORMAL, p, jax.random.key(1), num_samples=S, chunk_size=chunk_size)
        return jnp.sum(jnp.real(v)) + 2 * jnp.sum(jnp.imag(v)) if jnp.iscomplexobj(v) else jnp.sum(v.astype(float))

    one = jax.jit(jax.value_and_grad(lambda p: value(p, None)))(PARAMS)
    assert not two_passes
    for chunk_size in (7, "auto"):
        close(jax.jit(jax.value_and_grad(lambda p: value(p, chunk_size)))(PARAMS), one)
    assert two_passes[0] == 7
    assert len(two_passes) == 4


@pytest.mark.parametrize("family", [BITS, pytest.param(POISSON, marks=pytest.mark.slow)], ids=["bits", "poisson"])
@pytest.mark.parametrize(
    "baseline", [None, sf.baselines.leave_one_out, sf.baselines.batch_mean], ids=["none", "leave_one_out", "batch_mean"]
)
def test_every_baseline_that_needs_a_mean_and_every_order(family, baseline, two_passes):
    how = {"num_samples": S, "baseline": baseline}
    constant = 0.0 if baseline is None else 1000.0  # which is measured away
    f = lambda x: constant + jnp.sum(x.astype(float)) ** 2
    value = lambda p, k, c: sf.score_function(f, family, p, k, chunk_size=c, **how)
    both = lambda p, k, c: (jax.grad(value)(p, k, c)["m"], jax.hessian(value)(p, k, c)["m"]["m"])
    run = jax.jit(jax.vmap(both, (None, 0, None)), static_argnums=2)
    keys = jax.random.split(jax.random.key(0), 3)
    one = run(PARAMS, keys, None)
    assert not two_passes
    for wide, narrow in zip(run(PARAMS, keys, 6), one, strict=True):
        np.testing.assert_allclose(wide, narrow, rtol=1e-4, atol=2e-3)
    assert two_passes
    tangent = lambda c: jax.jvp(lambda p: value(p, keys[0], c), (PARAMS,), (PARAMS,))
    close(tangent(6), tangent(None))


@pytest.mark.nans
def test_a_parameter_that_is_nan_is_told_in_two_passes_too(two_passes):
    bad = {"m": PARAMS["m"].at[1].set(jnp.nan), "s": PARAMS["s"]}
    value, grads = jax.jit(
        jax.value_and_grad(
            lambda p: sf.score_function(jnp.sum, BITS, p, jax.random.key(0), num_samples=S, chunk_size=6)
        )
    )(bad)
    assert two_passes
    assert np.isnan(value)
    assert np.isnan(grads["m"][1])


@pytest.mark.parametrize("how", [
    {"has_aux": True}, {"proposal": NORMAL.at(PARAMS)}, {"control_variate": sf.control_variates.delta(order=1)},
    {"baseline": sf.baselines.optimal_constant}, {"baseline": lambda values: 0 * values}, {"scheme": sf.schemes.antithetic},
    {"chunk_size": None}, {"chunk_size": S}, {"f": sf.black_box(lambda x: float(np.sum(x)))},
], ids=lambda how: next(iter(how)))  # fmt: skip
def test_one_pass_where_more_is_wanted_of_the_draws_than_sums(how, two_passes):
    how = {"chunk_size": 6} | how
    f = how.pop("f", lambda x: jnp.sum(x**2))
    jax.block_until_ready(sf.score_function(f, NORMAL, PARAMS, jax.random.key(0), num_samples=S, **how))
    assert not two_passes


def test_lanes_of_every_vmap_around():
    found = []

    def f(p, x, key):
        consts = jax.make_jaxpr(lambda i: jnp.sum(p) + x + jax.random.uniform(key) + i)(0.0).consts
        found.append(lanes(consts))
        return jnp.sum(p) * x

    p, xs, keys = jnp.ones(3), jnp.ones(7), jax.random.split(jax.random.key(0), 5)
    rows = jax.vmap(f, (None, 0, None))
    table = jax.vmap(rows, (None, None, 0))
    for run, args, wanted in (
        (f, (p, 1.0, keys[0]), 1), (rows, (p, xs, keys[0]), 7), (table, (p, xs, keys), 35),
        (jax.grad(lambda *a: jnp.sum(table(*a))), (p, xs, keys), 35), (jax.vmap(jax.hessian(f), (None, None, 0)), (p, 1.0, keys), 5),
    ):  # fmt: skip
        for call in (run, jax.jit(run)):
            found.clear()
            call(*args)
            assert set(found) == {wanted}


SUMS = 10**7, 0.3, 0.1
"""Draws, and the mean and log-scale of what they are drawn from."""


@pytest.mark.slow
@pytest.mark.parametrize("chunk_size", [None, "auto", 10_000, 100])
def test_sums_of_ten_million_keep_six_digits_in_float32(chunk_size):
    error = error_of_sums(SUMS[0], chunk_size)
    assert error < 1e-6, error


@pytest.mark.slow
def test_the_gate_on_digits_fails_for_one_long_loop(monkeypatch):
    monkeypatch.setattr(_map, "MANY_CHUNKS", 2**31)
    assert error_of_sums(10**6, 7) > 3e-6


def error_of_sums(total, chunk_size):
    """The largest error of the value and the gradient beside float64 from the same draws, in units of the mean size of a term."""
    _, m, s = SUMS
    family = sf.family(lambda p: sf.Normal(loc=p[0], scale=jnp.exp(p[1])))
    params, key, f = jnp.array([m, s]), jax.random.key(0), lambda x: 0.5 + x**2
    run = jax.jit(
        jax.value_and_grad(lambda p: sf.score_function(f, family, p, key, num_samples=total, chunk_size=chunk_size))
    )
    value, grads = run(params)
    table = jax.jit(
        lambda p: sf.score_function(f, family, p, key, num_samples=total, chunk_size=None, has_aux=True)[1].samples
    )
    x, (m, s) = np.asarray(table(params), np.float64), np.asarray(params, np.float64)
    z, fs = (x - m) / np.exp(s), 0.5 + x**2
    left = fs - (np.sum(fs) - fs) / (total - 1)
    terms = np.stack([fs, left * z / np.exp(s), left * (z**2 - 1)])
    return np.max(np.abs(np.array([value, *grads]) - terms.mean(1)) / np.abs(terms).mean(1))


IN_A_CHILD = """
import json
from benchmarks import timing
from benchmarks.workloads import gaussian, latents
import jax
make = {make}
small = make(8)
jax.block_until_ready(jax.jit(small.ours)(small.params, jax.random.key(0)))
idle, work = timing.high_water_mark(), make({total})
jax.block_until_ready(jax.jit(work.ours)(work.params, jax.random.key(0)))
print(json.dumps((timing.high_water_mark() - idle) / 1024))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "total"), [("latents", 10**5), ("lambda draws: gaussian(10, draws)", 10**8)], ids=["W4", "W1"]
)
def test_memory_stays_within_200_mib(make, total):
    code = IN_A_CHILD.format(make=make.replace("latents", "lambda draws: latents(draws)"), total=total)
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}  # one device, with all threads
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) < 200
