"""What peers in JAX share: the network of the workloads, calls of a gradient, and W1 to W4 for a library of distributions."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import problems as p


def apply(layers, x):
    """The network at a batch."""
    for layer in layers[:-1]:
        x = jnp.tanh(x @ layer["w"] + layer["b"])
    return x @ layers[-1]["w"] + layers[-1]["b"]


def in_order(layers):
    """Weights before biases."""
    return [layer[name] for layer in layers for name in "wb"]


def calls_of(loss, params, leaves=lambda gradient: [gradient]):
    """Calls of the compiled gradient of ``loss(params, key)``, each with a key of its own."""
    params = jax.tree.map(jnp.asarray, params)
    run, calls = jax.jit(lambda i: leaves(jax.grad(loss)(params, jax.random.key(i)))), itertools.count()
    return lambda: jax.block_until_ready(run(next(calls)))


def workloads(surrogate, normal, bits, category, categories):
    """Of each, what makes its calls: ``surrogate(make, f, num_samples)`` is a loss, the others make distributions of parameters."""
    table = jnp.asarray(p.TABLE)
    right, wrong = p.OBSERVATIONS[:, 0] > 0, -p.OBSERVATIONS[:, 1]

    def gaussian(dim, num_samples):
        loss = surrogate(lambda q: normal(q[0], jnp.exp(q[1])), lambda x: jnp.sum(x**2, -1), num_samples)
        return calls_of(loss, (jnp.linspace(-1.0, 1.0, dim), jnp.zeros(dim)), list)

    def bernoulli(dim, num_samples):
        loss = surrogate(bits, lambda x: jnp.mean((x - p.TARGET) ** 2, -1), num_samples)
        return calls_of(loss, jnp.linspace(-0.5, 0.5, dim))

    def policy():
        make = lambda layers: category(apply(layers, p.OBSERVATIONS))
        return calls_of(
            surrogate(make, lambda a: jnp.where(a == right, 1.0, wrong), p.POLICY_DRAWS), p.POLICY, in_order
        )

    def latents(num_samples):
        make = lambda layers: categories(apply(layers, p.DATA).reshape(-1, p.LATENTS, p.CATEGORIES))
        f = lambda codes: (jnp.sum(table[jnp.arange(p.LATENTS), codes], -1) - p.DATA[:, 0]) ** 2
        return calls_of(surrogate(make, f, num_samples), p.ENCODER, in_order)

    return {
        **{f"W1 D={d} S={s}": lambda d=d, s=s: gaussian(d, s) for d, s in p.GAUSSIANS},
        **{f"W2 D={d} S={s}": lambda d=d, s=s: bernoulli(d, s) for d, s in p.BERNOULLIS},
        f"W3 S={p.POLICY_DRAWS}": policy,
        **{f"W4 S={s}": lambda s=s: latents(s) for s in p.LATENT_DRAWS},
    }
