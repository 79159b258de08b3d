"""GenJAX ADEV, run by an interpreter of its own: `flip_reinforce` charges a choice with the value of the whole rest of the program.

python3.13 -m venv peer && peer/bin/pip install -r benchmarks/peers/genjax.txt
peer/bin/python benchmarks/peers/run_genjax.py
"""

from __future__ import annotations

import importlib.metadata

import jax
import jax.numpy as jnp
import numpy as np
import problems as p
from genjax import modular_vmap, seed
from genjax.adev import expectation, flip_reinforce

SYSTEM = f"GenJAX {importlib.metadata.version('genjax')} ADEV, flip_reinforce"


def flip(logit):
    """A Bernoulli choice as a float."""
    return jnp.float32(flip_reinforce(jax.nn.sigmoid(logit)))


@expectation
def layers(weights):
    z, total = jnp.ones(p.WIDTH), 0.0
    for k in range(p.DEPTH):
        z = modular_vmap(flip)(jnp.tanh(z @ weights[k]))
        total = total + jnp.sum(p.LAYER_COSTS * (z - 0.499) ** 2)
    return total


@expectation
def plate(logits):
    root = flip(jnp.float32(0.0))

    def pair(logit, weight):
        a = flip(logit)
        b = flip(logit + a - 0.5)
        return (weight * a + b - 0.499) ** 2

    return (root + 0.499) ** 2 + jnp.mean(modular_vmap(pair)(logits, jnp.asarray(p.PLATE_WEIGHTS)))


@expectation
def rollout(policy):
    (x, v), total = p.START, 0.0
    for _ in range(p.STEPS):
        action = flip(policy[0] * x + policy[1] * v + policy[2])
        x, v, reward = p.environment(x, v, action, jnp.sin)
        total = total + reward
    return total


def main() -> None:
    programs = {"layers": (layers, p.LAYERS), "plate": (plate, p.PLATE_LOGITS), "rollout": (rollout, p.POLICY)}
    for name, (program, params) in programs.items():
        params = jnp.asarray(params)
        one = seed(lambda params, program=program: program.grad_estimate(params))
        runs = jax.jit(jax.vmap(one, in_axes=(0, None)))
        batches = [runs(jax.random.split(jax.random.key(i), 5000), params) for i in range(4)]
        mean = jax.jit(lambda key, params, one=one: jnp.mean(
            jax.vmap(one, in_axes=(0, None))(jax.random.split(key, p.RUNS), params), axis=0
        ))  # fmt: skip
        key = jax.random.key(0)
        p.say(
            SYSTEM, name, **p.moments(np.concatenate(batches).reshape(20_000, -1)),
            microseconds=p.microseconds(lambda: jax.block_until_ready(mean(key, params))),
        )  # fmt: skip


if __name__ == "__main__":
    main()
