# /// script
# requires-python = ">=3.12,<3.13"
# dependencies = ["genjax==1.0.14"]
# ///
"""GenJAX ADEV: `flip_reinforce` charges a choice with the value of the whole rest of the program."""

from __future__ import annotations

import importlib.metadata

import jax
import jax.numpy as jnp
import problems as p
from genjax import modular_vmap, seed
from genjax.adev import expectation, flip_reinforce
from serve import serve

SYSTEM = f"GenJAX {importlib.metadata.version('genjax')} ADEV, flip_reinforce, jax {jax.__version__}"


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


def gradient(program, params):
    """The mean over runs of its gradient estimates."""
    one = seed(lambda params: program.grad_estimate(params))
    mean = jax.jit(lambda i: jnp.mean(
        jax.vmap(one, in_axes=(0, None))(jax.random.split(jax.random.key(i), p.RUNS), jnp.asarray(params)), axis=0
    ))  # fmt: skip
    calls = iter(range(2**31))
    return lambda: [jax.block_until_ready(mean(next(calls)))]


if __name__ == "__main__":
    programs = {"layers": layers, "plate": plate, "rollout": rollout}
    serve(SYSTEM, {name: lambda f=f, at=p.PROGRAMS[name]: gradient(f, at) for name, f in programs.items()})
