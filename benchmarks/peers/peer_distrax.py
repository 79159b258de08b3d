# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["distrax==0.1.9", "jax<0.11"]
# ///
"""distrax: its distributions, and the surrogate as people write it beside them, (f - leave-one-out) log p."""

from __future__ import annotations

import importlib.metadata

import distrax
import jax
import jax.numpy as jnp
from in_jax import workloads
from jax.lax import stop_gradient
from serve import serve

SYSTEM = f"distrax {importlib.metadata.version('distrax')}, surrogate by hand, jax {jax.__version__}"


def surrogate(make, f, num_samples):
    """The loss whose gradient is taken."""

    def loss(params, key):
        dist = make(params)
        xs = stop_gradient(dist.sample(seed=key, sample_shape=num_samples))
        values = f(xs)
        baseline = (jnp.sum(values, axis=0) - values) / (num_samples - 1)
        return jnp.mean(stop_gradient(values - baseline) * dist.log_prob(xs))

    return loss


if __name__ == "__main__":
    serve(SYSTEM, workloads(
        surrogate,
        distrax.MultivariateNormalDiag,
        lambda logits: distrax.Independent(distrax.Bernoulli(logits=logits), 1),
        lambda logits: distrax.Categorical(logits=logits),
        lambda logits: distrax.Independent(distrax.Categorical(logits=logits), 1),
    ), {"W2 D=1 S=100": "a hundred bits: what is timed is the call"})  # fmt: skip
