# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["distrax==0.1.9", "jax<0.11"]
# ///
"""TensorFlow Probability on JAX: `monte_carlo.expectation` of draws that are not reparameterised. It has no baseline.

distrax brings it.
"""

from __future__ import annotations

import importlib.metadata
import itertools

import jax
import jax.numpy as jnp
import problems as p
import tensorflow_probability.substrates.jax as tfp
from serve import serve

tfd = tfp.distributions
SYSTEM = f"TFP {importlib.metadata.version('tfp-nightly')} monte_carlo.expectation, jax {jax.__version__}"


def gradient(make, f, params, num_samples, leaves):
    """Calls of the gradient of a mean over draws."""

    def loss(params, key):
        dist = make(params)
        xs = jax.lax.stop_gradient(dist.sample(num_samples, seed=key))
        return jnp.mean(tfp.monte_carlo.expectation(f, xs, log_prob=dist.log_prob, use_reparameterization=False))

    params = jax.tree.map(jnp.asarray, params)
    run, calls = jax.jit(lambda i: leaves(jax.grad(loss)(params, jax.random.key(i)))), itertools.count()
    return lambda: jax.block_until_ready(run(next(calls)))


def gaussian(dim, num_samples):
    """W1."""
    make = lambda q: tfd.Independent(tfd.Normal(q[0], jnp.exp(q[1])), 1)
    return gradient(
        make, lambda x: jnp.sum(x**2, -1), (jnp.linspace(-1.0, 1.0, dim), jnp.zeros(dim)), num_samples, list
    )


def bernoulli(dim, num_samples):
    """W2."""
    make = lambda logits: tfd.Independent(tfd.Bernoulli(logits=logits, dtype=jnp.float32), 1)
    f = lambda x: jnp.mean((x - p.TARGET) ** 2, -1)
    return gradient(make, f, jnp.linspace(-0.5, 0.5, dim), num_samples, lambda g: [g])


def apply(layers, x):
    """The network at a batch."""
    for layer in layers[:-1]:
        x = jnp.tanh(x @ layer["w"] + layer["b"])
    return x @ layers[-1]["w"] + layers[-1]["b"]


def in_order(layers):
    """Weights before biases."""
    return [layer[name] for layer in layers for name in "wb"]


def policy():
    """W3."""
    make = lambda layers: tfd.Categorical(logits=apply(layers, p.OBSERVATIONS))
    f = lambda a: jnp.where(a == (p.OBSERVATIONS[:, 0] > 0), 1.0, -p.OBSERVATIONS[:, 1])
    return gradient(make, f, p.POLICY, p.POLICY_DRAWS, in_order)


def latents(num_samples):
    """W4."""
    make = lambda layers: tfd.Independent(
        tfd.Categorical(logits=apply(layers, p.DATA).reshape(-1, p.LATENTS, p.CATEGORIES)), 1
    )
    table = jnp.asarray(p.TABLE)
    f = lambda codes: (jnp.sum(table[jnp.arange(p.LATENTS), codes], -1) - p.DATA[:, 0]) ** 2
    return gradient(make, f, p.ENCODER, num_samples, in_order)


if __name__ == "__main__":
    serve(SYSTEM, {
        **{f"W1 D={d} S={s}": lambda d=d, s=s: gaussian(d, s) for d, s in p.GAUSSIANS},
        **{f"W2 D={d} S={s}": lambda d=d, s=s: bernoulli(d, s) for d, s in p.BERNOULLIS},
        f"W3 S={p.POLICY_DRAWS}": policy,
        **{f"W4 S={s}": lambda s=s: latents(s) for s in p.LATENT_DRAWS},
    })  # fmt: skip
