"""Many of a kind: an epidemic, cells on a board, decisions by a table and by a network, a map with noise."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn as sf
from benchmarks.studies.simulators._base import Simulator, simulator


def _epidemic(people: int, days: int, p, key):
    infectious, recovers = jnp.exp(p)

    def step(state, k):
        well, ill = state
        first, second = jax.random.split(k)
        caught = sf.sample(
            first, sf.Binomial(total_count=well, probs=1 - jnp.exp(-infectious * ill / people)), name="caught"
        )
        healed = sf.sample(second, sf.Binomial(total_count=ill, probs=1 - jnp.exp(-recovers)), name="healed")
        caught, healed = caught.astype(float), healed.astype(float)
        return (well - caught, ill + caught - healed), ill

    start = jnp.array([0.97 * people, 0.03 * people])
    (well, _), _ = jax.lax.scan(step, (start[0], start[1]), jax.random.split(key, days))
    return people - well


@simulator("epidemic of 100")
def small_epidemic() -> Simulator:
    """A chain of binomials."""
    about = "who falls ill and who recovers among 100 people in 30 days; how many have been ill"
    return Simulator(functools.partial(_epidemic, 100, 30), jnp.log(jnp.array([0.4, 0.2])), about)


@simulator("epidemic of 10,000")
def large_epidemic() -> Simulator:
    """The same choices as for 100, of larger counts."""
    about = "the same among 10,000"
    return Simulator(functools.partial(_epidemic, 10_000, 30), jnp.log(jnp.array([0.4, 0.2])), about)


@simulator("Game of Life")
def life() -> Simulator:
    """Four neighbours, dead outside; a rule is broken with probability .1."""

    def after(alive):
        padded = jnp.pad(alive, 1)
        number = padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2]
        lives = jnp.where(alive > 0, (number == 2) | (number == 3), number == 3)
        return jnp.where(lives, 0.9, 0.1)

    def program(p, key):
        first, second = jax.random.split(key)
        alive = sf.sample(first, sf.Bernoulli(probs=jnp.full((7, 7), p)), name="board")
        return jnp.sum(sf.sample(second, sf.Bernoulli(probs=after(alive)), name="next"))

    return Simulator(
        program, jnp.float32(0.3), "one step of a board of 7 x 7 cells that are set at random; how many live", 37.26
    )


@simulator("decisions, 20 steps")
def decisions() -> Simulator:
    """Two actions in three states, by a table of logits; what comes next is drawn too, from no parameter."""
    rng = np.random.default_rng(0)
    rewards = jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)
    moves = jnp.asarray(rng.dirichlet(np.ones(3), size=(3, 2)), jnp.float32)

    def program(logits, key):
        def step(state, k):
            first, second = jax.random.split(k)
            action = sf.sample(first, sf.Categorical(logits=logits[state]), name="action")
            u, sums = jax.random.uniform(second), jnp.cumsum(moves[state, action])
            return jnp.minimum(jnp.sum(u >= sums), 2), rewards[state, action]

        return jnp.sum(jax.lax.scan(step, 0, jax.random.split(key, 20))[1])

    def exact(logits):
        policy = jax.nn.softmax(logits, axis=-1)

        def step(masses, _):
            return jnp.einsum("s,sa,san->n", masses, policy, moves), jnp.einsum("s,sa,sa->", masses, policy, rewards)

        return jnp.sum(jax.lax.scan(step, jnp.array([1.0, 0.0, 0.0]), None, length=20)[1])

    params = jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)
    return Simulator(
        program, params, "two actions in three states, 20 steps; the sum of the rewards", jax.grad(exact)(params)
    )


@simulator("neural policy")
def neural() -> Simulator:
    """Two bits in each step, by a network of 65 weights."""
    rng = np.random.default_rng(1)
    into, out = rng.normal(size=(5, 9)) / 2, rng.normal(size=(10, 2)) / 3
    weights = (jnp.asarray(into, jnp.float32), jnp.asarray(out, jnp.float32))

    def program(weights, key):
        into, out = weights

        def step(state, k):
            place, speed = state
            hidden = jnp.tanh(jnp.concatenate([place, speed, jnp.ones(1)]) @ into)
            logits = jnp.concatenate([hidden, jnp.ones(1)]) @ out
            push = 2 * sf.sample(k, sf.Bernoulli(logits=logits), name="push") - 1  # one for each axis
            speed = 0.9 * speed + 0.3 * push
            place = place + 0.3 * speed
            return (place, speed), jnp.sum(place**2)

        start = (jnp.array([1.0, -1.0]), jnp.zeros(2))
        return jnp.sum(jax.lax.scan(step, start, jax.random.split(key, 20))[1])

    about = (
        "a network of 65 weights pushes a body along two axes in 20 steps; the sum of its squared distances from home"
    )
    return Simulator(program, weights, about)


def _logistic(rate: float, p, key):
    def step(x, k):
        bit = sf.sample(k, sf.Bernoulli(logits=p), name="bit")
        return (rate + 0.1 * bit - 0.05) * x * (1 - x), None

    return 100 * jax.lax.scan(step, 0.3, jax.random.split(key, 40))[0]


@simulator("stable map")
def stable() -> Simulator:
    """What was done is soon forgotten."""
    return Simulator(
        functools.partial(_logistic, 3.3),
        jnp.float32(0.2),
        "a logistic map at 3.3, moved by a bit in each of 40 steps; where it is",
    )


@simulator("chaotic map")
def chaotic() -> Simulator:
    """What was done grows."""
    return Simulator(functools.partial(_logistic, 3.9), jnp.float32(0.2), "the same at 3.9")
