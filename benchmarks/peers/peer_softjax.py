# /// script
# requires-python = ">=3.12,<3.15"
# dependencies = ["softjax"]
# ///
"""softjax: the threshold u < p of a bit is made soft on the way back (`less_st`). The gradient is another one than what is wanted.

Its forward pass is that of the program, so the cost is, and only the derivative is of something else.
"""

from __future__ import annotations

import importlib.metadata

import jax
import jax.numpy as jnp
import problems as p
import softjax as sj
from in_jax import calls_of
from serve import serve

SYSTEM = f"softjax {importlib.metadata.version('softjax')} less_st, jax {jax.__version__}"


def flip(key, logits):
    """A bit, hard forwards and soft backwards."""
    return sj.less_st(jax.random.uniform(key, jnp.shape(logits)), jax.nn.sigmoid(logits))


def bernoulli(dim, num_samples):
    """W2."""

    def loss(logits, key):
        bits = jax.vmap(lambda key: flip(key, logits))(jax.random.split(key, num_samples))
        return jnp.mean((bits - p.TARGET) ** 2)

    return calls_of(loss, jnp.linspace(-0.5, 0.5, dim))


def layers(weights, key):
    z, total = jnp.ones(p.WIDTH), 0.0
    for k, own in enumerate(jax.random.split(key, p.DEPTH)):
        z = flip(own, jnp.tanh(z @ weights[k]))
        total = total + jnp.sum(p.LAYER_COSTS * (z - 0.499) ** 2)
    return total


def plate(logits, key):
    key_root, key_a, key_b = jax.random.split(key, 3)
    root = flip(key_root, jnp.zeros(()))
    a = flip(key_a, logits)
    b = flip(key_b, logits + a - 0.5)
    return (root + 0.499) ** 2 + jnp.mean((p.PLATE_WEIGHTS * a + b - 0.499) ** 2)


def rollout(policy, key):
    def step(state, key):
        x, v = state
        action = flip(key, policy[0] * x + policy[1] * v + policy[2])
        x, v, reward = p.environment(x, v, action, jnp.sin)
        return (x, v), reward

    return jnp.sum(jax.lax.scan(step, tuple(map(jnp.float32, p.START)), jax.random.split(key, p.STEPS))[1])


def program(of, params):
    """The mean over runs."""
    return calls_of(lambda q, key: jnp.mean(jax.vmap(of, (None, 0))(q, jax.random.split(key, p.RUNS))), params)


if __name__ == "__main__":
    programs = {"layers": layers, "plate": plate, "rollout": rollout}
    serve(SYSTEM, {
        **{f"W2 D={d} S={s}": lambda d=d, s=s: bernoulli(d, s) for d, s in p.BERNOULLIS},
        **{name: lambda f=f, at=p.PROGRAMS[name]: program(f, at) for name, f in programs.items()},
    }, {"": "biased by intent: the derivative is of a soft threshold"})  # fmt: skip
