"""Walks: one that is pulled back, and one that drives the demand of a store."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

import jax_scorefn as sf
from benchmarks.studies.simulators._base import Simulator, simulator


def _walk(length: int, p, key):
    def step(x, k):
        up = sf.sample(k, sf.Bernoulli(probs=jnp.exp(-x / p)), name="up")
        return x + 2 * up - 1, None

    return jax.lax.scan(step, jnp.zeros_like(p), jax.random.split(key, length))[0] ** 2


@simulator("walk, 50 steps")
def walk_50() -> Simulator:
    """Arya et al. 2022."""
    about = "up with probability exp(-x / p), or else down; the square of the last position"
    return Simulator(functools.partial(_walk, 50), jnp.float32(100.0), about, 7.55819)


@simulator("walk, 100 steps")
def walk_100() -> Simulator:
    """Arya et al. 2022."""
    about = "the same, twice as long"
    return Simulator(functools.partial(_walk, 100), jnp.float32(200.0), about, 15.13490)


@simulator("mood of a store")
def mood() -> Simulator:
    """Two kinds of choices: bits that go on for long, counts that are soon forgotten."""

    def program(p, key):
        def step(state, k):
            mood, stock = state
            first, second = jax.random.split(k)
            mood = mood + 2 * sf.sample(first, sf.Bernoulli(logits=p[0] - 0.1 * mood), name="mood") - 1
            demand = sf.sample(second, sf.Poisson(rate=jnp.exp(p[1] + 0.1 * mood)), name="demand").astype(float)
            left = stock - demand
            ordered = left < 4
            cost = 10.0 * ordered + jnp.maximum(left, 0) + 5 * jnp.maximum(-left, 0)
            return (mood, jnp.where(ordered, 20.0, left)), cost

        return jnp.sum(jax.lax.scan(step, (0.0, 20.0), jax.random.split(key, 30))[1])

    return Simulator(
        program, jnp.array([0.1, 1.0]), "a walk of 30 bits drives the demand of a store that orders up to 20"
    )
