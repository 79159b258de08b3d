"""Jacobians of a vector of costs, compiled: a release of XLA gave wrong rows of them on a CPU, without a word."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn as sf

NORMAL = sf.family(lambda p: sf.Normal(p, 1.0))
COINS = sf.family(lambda p: sf.Bernoulli(logits=p))
SIZES = [(9, 2048, 4), (9, 5120, 1), (64, 64, 64)]
"""Costs, draws, parameters."""


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


@pytest.mark.parametrize("sizes", SIZES)
def test_a_compiled_jacobian_is_the_same_backwards_and_forwards(sizes):
    """Both are right in exact arithmetic, and have nothing in common for a compiler."""
    for name, estimate in problems(*sizes).items():
        p = jnp.linspace(-0.3, 0.4, sizes[2])
        backwards, forwards = jax.jit(jax.jacrev(estimate))(p), jax.jit(jax.jacfwd(estimate))(p)
        np.testing.assert_allclose(backwards, forwards, atol=2e-4 * np.abs(forwards).max(), err_msg=name)
