"""This library on all problems; in programs nobody says which choice belongs to which cost."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp

import jax_scorefn as sf
from benchmarks.peers import problems as p
from benchmarks.peers.serve import Gradient, serve
from benchmarks.workloads import workloads

SYSTEM = f"jax_scorefn {sf.__version__}, jax {jax.__version__}"


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


def births(rates: Any, key: Any) -> Any:
    """Uniformised: candidates come at a rate that bounds all others, and their number does not depend on the parameters."""
    bound, most = 30.0, 120
    key_number, key_events = jax.random.split(key)
    number = jax.random.poisson(key_number, bound * p.TIME)

    def step(x: Any, row: Any) -> Any:
        i, key = row
        probs = jnp.stack([rates[0] / bound, rates[1] * x / bound]) * (i < number)
        event = sf.sample(
            key, sf.Categorical(probs=jnp.concatenate([probs, 1 - jnp.sum(probs, keepdims=True)])), estimator="coupled"
        )
        return x + jnp.array([1.0, -1.0, 0.0])[event], None

    return jax.lax.scan(step, jnp.float32(0.0), (jnp.arange(most), jax.random.split(key_events, most)))[0]


def gradient(function: Any, params: Any) -> Gradient:
    """Calls of a compiled gradient, each with a key of its own."""
    run, calls = jax.jit(lambda params, i: function(params, jax.random.key(i))), itertools.count()
    params = jax.tree.map(jnp.asarray, params)
    return lambda: in_order(jax.block_until_ready(run(params, next(calls))))


def in_order(found: Any) -> list[Any]:
    """Leaves as all systems have them: the mean before the scale, layers in order, weights before biases."""
    if isinstance(found, dict):
        return [found["mean"], found["log_scale"]]
    return [layer[name] for layer in found for name in "wb"] if isinstance(found, list) else [found]


def problems(by_hand: bool = False) -> dict[str, Any]:
    """Of each problem, what makes its calls; ``by_hand`` are the workloads in plain JAX."""
    pick = lambda work: work.by_hand if by_hand else work.ours
    found = {work.name: lambda work=work: gradient(pick(work), work.params) for work in workloads()}
    if by_hand:
        return found
    mean = lambda program: jax.grad(sf.expectation(program, num_samples=p.RUNS, baseline=None))
    programs = {"layers": layers, "plate": plate, "rollout": rollout, "births": births}
    return found | {name: lambda f=f, at=p.PROGRAMS[name]: gradient(mean(f), at) for name, f in programs.items()}


if __name__ == "__main__":
    serve(SYSTEM, problems())
