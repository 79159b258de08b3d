# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["distrax==0.1.9", "jax<0.11"]
# ///
"""distrax: its distributions, and the surrogate as people write it beside them, (f - leave-one-out) log p."""

from __future__ import annotations

import importlib.metadata
import itertools

import distrax
import jax
import jax.numpy as jnp
import problems as p
from jax.lax import stop_gradient
from serve import serve

SYSTEM = f"distrax {importlib.metadata.version('distrax')}, surrogate by hand, jax {jax.__version__}"


def gradient(make, f, params, num_samples, leaves):
    """Calls of the gradient of the surrogate."""

    def loss(params, key):
        dist = make(params)
        xs = stop_gradient(dist.sample(seed=key, sample_shape=num_samples))
        values = f(xs)
        baseline = (jnp.sum(values, axis=0) - values) / (num_samples - 1)
        return jnp.mean(stop_gradient(values - baseline) * dist.log_prob(xs))

    params = jax.tree.map(jnp.asarray, params)
    run, calls = jax.jit(lambda i: leaves(jax.grad(loss)(params, jax.random.key(i)))), itertools.count()
    return lambda: jax.block_until_ready(run(next(calls)))


def gaussian(dim, num_samples):
    """W1."""
    make = lambda q: distrax.MultivariateNormalDiag(q[0], jnp.exp(q[1]))
    return gradient(
        make, lambda x: jnp.sum(x**2, -1), (jnp.linspace(-1.0, 1.0, dim), jnp.zeros(dim)), num_samples, list
    )


def bernoulli(dim, num_samples):
    """W2."""
    make = lambda logits: distrax.Independent(distrax.Bernoulli(logits=logits), 1)
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
    make = lambda layers: distrax.Categorical(logits=apply(layers, p.OBSERVATIONS))
    f = lambda a: jnp.where(a == (p.OBSERVATIONS[:, 0] > 0), 1.0, -p.OBSERVATIONS[:, 1])
    return gradient(make, f, p.POLICY, p.POLICY_DRAWS, in_order)


def latents(num_samples):
    """W4."""
    shape = (-1, p.LATENTS, p.CATEGORIES)
    make = lambda layers: distrax.Independent(distrax.Categorical(logits=apply(layers, p.DATA).reshape(shape)), 1)
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
