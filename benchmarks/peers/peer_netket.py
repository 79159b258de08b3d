# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["netket==3.23.0"]
# ///
"""NetKet: `nk.jax.expect` of draws with an unnormalised log-density, whose baseline is the mean of the chain."""

from __future__ import annotations

import importlib.metadata

import jax
import jax.numpy as jnp
import netket as nk
import problems as p
from in_jax import calls_of
from jax.lax import stop_gradient
from serve import serve

SYSTEM = f"NetKet {importlib.metadata.version('netket')} jax.expect, jax {jax.__version__}"


def gradient(log_prob, sample, f, params, leaves):
    """Calls of the gradient of the mean."""

    def loss(params, key):
        xs = sample(jax.tree.map(stop_gradient, params), key)
        return nk.jax.expect(log_prob, lambda params, x: f(x), params, xs)[0]

    return calls_of(loss, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params), leaves)


def gaussian(dim, num_samples):
    """W1."""
    log_prob = lambda q, x: jnp.sum(jax.scipy.stats.norm.logpdf(x, q[0], jnp.exp(q[1])), -1)
    sample = lambda q, key: q[0] + jnp.exp(q[1]) * jax.random.normal(key, (num_samples, dim), jnp.float32)
    return gradient(log_prob, sample, lambda x: jnp.sum(x**2, -1), (jnp.linspace(-1.0, 1.0, dim), jnp.zeros(dim)), list)


def bernoulli(dim, num_samples):
    """W2."""
    log_prob = lambda q, x: jnp.sum(x * jax.nn.log_sigmoid(q) + (1 - x) * jax.nn.log_sigmoid(-q), -1)
    sample = lambda q, key: jax.random.bernoulli(key, jax.nn.sigmoid(q), (num_samples, dim)).astype(jnp.float32)
    f = lambda x: jnp.mean((x - p.TARGET) ** 2, -1)
    return gradient(log_prob, sample, f, jnp.linspace(-0.5, 0.5, dim), lambda g: [g])


if __name__ == "__main__":
    serve(SYSTEM, {
        **{f"W1 D={d} S={s}": lambda d=d, s=s: gaussian(d, s) for d, s in p.GAUSSIANS},
        **{f"W2 D={d} S={s}": lambda d=d, s=s: bernoulli(d, s) for d, s in p.BERNOULLIS},
    }, {"": "its baseline is the mean of all draws, a draw's own among them: a factor 1 - 1/S"})  # fmt: skip
