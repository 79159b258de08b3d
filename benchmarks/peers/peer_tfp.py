# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["distrax==0.1.9", "jax<0.11"]
# ///
"""TensorFlow Probability on JAX: `monte_carlo.expectation` of draws that are not reparameterised. It has no baseline.

distrax brings it.
"""

from __future__ import annotations

import importlib.metadata

import jax
import jax.numpy as jnp
import tensorflow_probability.substrates.jax as tfp
from in_jax import workloads
from serve import serve

tfd = tfp.distributions
SYSTEM = f"TFP {importlib.metadata.version('tfp-nightly')} monte_carlo.expectation, jax {jax.__version__}"


def surrogate(make, f, num_samples):
    """The loss whose gradient is taken."""

    def loss(params, key):
        dist = make(params)
        xs = jax.lax.stop_gradient(dist.sample(num_samples, seed=key))
        return jnp.mean(tfp.monte_carlo.expectation(f, xs, log_prob=dist.log_prob, use_reparameterization=False))

    return loss


if __name__ == "__main__":
    serve(SYSTEM, workloads(
        surrogate,
        lambda loc, scale: tfd.Independent(tfd.Normal(loc, scale), 1),
        lambda logits: tfd.Independent(tfd.Bernoulli(logits=logits, dtype=jnp.float32), 1),
        lambda logits: tfd.Categorical(logits=logits),
        lambda logits: tfd.Independent(tfd.Categorical(logits=logits), 1),
    ), {"": "it has no baseline"})  # fmt: skip
