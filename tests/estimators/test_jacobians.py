"""Compiled sums: releases of XLA gave wrong ones on a CPU, without a word. Here as people compile, with all optimizations."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import few

import jax_scorefn as sf
from jax_scorefn import _jaxlib

NORMAL = sf.family(lambda p: sf.Normal(p, 1.0))
COINS = sf.family(lambda p: sf.Bernoulli(logits=p))
pytestmark = pytest.mark.usefixtures("optimized")
SIZES = [(9, 2048, 4), (9, 5120, 1), (64, 64, 64)]
"""Costs, draws, parameters."""


@pytest.fixture
def optimized():
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def problems(costs, draws, size):
    weights = jnp.sin(jnp.arange(costs * size, dtype=float)).reshape(costs, size)
    f = lambda x: jnp.sin(weights @ x)
    given = jax.random.normal(jax.random.key(2), (draws, size))
    density = sf.family(log_prob=lambda p, x: -0.5 * jnp.sum((x - p) ** 2), samples=given)
    program = sf.expectation(lambda p, key: f(sf.sample(key, sf.Normal(p, 1.0))), num_samples=draws)
    return {
        "normal": lambda p: sf.score_function(f, NORMAL, p, jax.random.key(1), num_samples=draws),
        "coins": lambda p: sf.score_function(f, COINS, p, jax.random.key(1), num_samples=draws),
        "given draws": lambda p: sf.score_function(f, density, p),
        "pathwise": lambda p: sf.pathwise(f, NORMAL, p, jax.random.key(1), num_samples=draws),
        "a program": lambda p: program(p, jax.random.key(1)),
    }


@pytest.mark.parametrize("sizes", few(SIZES, SIZES[0]))
def test_a_compiled_jacobian_is_the_same_backwards_and_forwards(sizes):
    """Both are right in exact arithmetic, and have nothing in common for a compiler."""
    for name, estimate in problems(*sizes).items():
        p = jnp.linspace(-0.3, 0.4, sizes[2])
        backwards, forwards = jax.jit(jax.jacrev(estimate))(p), jax.jit(jax.jacfwd(estimate))(p)
        np.testing.assert_allclose(backwards, forwards, atol=2e-4 * np.abs(forwards).max(), err_msg=name)


def test_a_compiled_sum_of_a_padded_array_is_that_of_the_array():
    """Plain JAX: what the backward pass of a relaxed coin has in it."""
    x = jax.random.normal(jax.random.key(0), (1000, 64, 10))
    padded = jax.jit(lambda x: jnp.sum(jnp.pad(x[..., None], ((0, 0), (0, 0), (0, 0), (1, 0))), axis=1))(x)
    np.testing.assert_allclose(padded[..., 1], np.asarray(x).sum(axis=1), atol=1e-4)
    assert not np.any(padded[..., 0])


@pytest.mark.parametrize(
    "estimator", few(["straight_through", "reinmax", "gumbel_softmax", "score_function", "rodeo"], "straight_through")
)
def test_compiled_gradients_of_coins_over_many_keys_are_those_of_each(estimator):
    twin = getattr(sf, f"{estimator}_grad")
    run = lambda key: twin(lambda b: 3.0 * b[0] + b[1] * b[2], COINS, jnp.array([0.3, 0.5, 0.5]), key, num_samples=64)
    keys = jax.random.split(jax.random.key(1), 1000)
    some = jax.random.clone(keys)[:3]
    together = jax.jit(jax.vmap(run))(keys)
    np.testing.assert_allclose(together[:3], [run(key) for key in some], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("flags", "warned"), [("", True), ("--xla_cpu_experimental_ynn_fusion_type=", False)])
def test_a_compiler_that_errs_is_warned_of(flags, warned, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setattr(_jaxlib, "version", lambda name: "0.10.2")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        _jaxlib.warn_if_it_errs()
    assert [one.category for one in seen] == [_jaxlib.CompilerWarning] * warned
    monkeypatch.setattr(_jaxlib, "version", lambda name: "0.12.0.1")
    _jaxlib.warn_if_it_errs()
