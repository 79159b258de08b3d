"""The programs of the comparison for this library; nobody says which choice belongs to which cost."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import jax_scorefn as sf
from benchmarks.peers import problems as p
from benchmarks.settings import Settings

SYSTEM = f"jax_scorefn {sf.__version__}"


def layers(weights: Any, key: Any) -> Any:
    z, total = jnp.ones(p.WIDTH), jnp.zeros(())
    for k, own in enumerate(jax.random.split(key, p.DEPTH)):
        z = sf.sample(own, sf.Bernoulli(logits=jnp.tanh(z @ weights[k])))
        total = total + jnp.sum(p.LAYER_COSTS * (z - 0.499) ** 2)
    return total


def plate(logits: Any, key: Any) -> Any:
    key_root, key_pairs = jax.random.split(key)
    root = sf.sample(key_root, sf.Bernoulli(logits=jnp.zeros(())))

    def pair(key: Any, logit: Any, weight: Any) -> Any:
        key_a, key_b = jax.random.split(key)
        a = sf.sample(key_a, sf.Bernoulli(logits=logit))
        b = sf.sample(key_b, sf.Bernoulli(logits=logit + a - 0.5))
        return (weight * a + b - 0.499) ** 2

    costs = jax.vmap(pair)(jax.random.split(key_pairs, p.PLATE), logits, jnp.asarray(p.PLATE_WEIGHTS))
    return (root + 0.499) ** 2 + jnp.mean(costs)


def rollout(policy: Any, key: Any) -> Any:
    def step(state: Any, key: Any) -> Any:
        x, v = state
        action = sf.sample(key, sf.Bernoulli(logits=policy[0] * x + policy[1] * v + policy[2]))
        x, v, reward = p.environment(x, v, action, jnp.sin)
        return (x, v), reward

    _, rewards = jax.lax.scan(step, tuple(map(jnp.float32, p.START)), jax.random.split(key, p.STEPS))
    return jnp.sum(rewards)


PROGRAMS = {"layers": (layers, p.LAYERS), "plate": (plate, p.PLATE_LOGITS), "rollout": (rollout, p.POLICY)}


def measure(name: str, settings: Settings, count: int = 20_000, batch: int = 5000) -> dict[str, Any]:
    """The record of one program."""
    program, params = PROGRAMS[name]
    params = jnp.asarray(params)
    one = jax.grad(sf.expectation(program))
    gradients = sf.testing.replicate(lambda k: one(params, k), settings.key("peers", name), count, batch=batch)
    mean = jax.jit(jax.grad(sf.expectation(program, num_samples=p.RUNS, baseline=None)))
    key = jax.random.key(0)
    microseconds = p.microseconds(lambda: jax.block_until_ready(mean(params, key)))
    facts = p.moments(gradients.reshape(count, -1)) | {"microseconds": microseconds}
    return {"kind": "peer", "problem": name, "method": SYSTEM} | facts
