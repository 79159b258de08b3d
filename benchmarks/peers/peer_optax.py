# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["optax==0.2.6", "distrax", "jax<0.8"]
# ///
"""optax 0.2.6, the last with `monte_carlo`: the mean of its Jacobians, one for each draw. Its only baseline is a moving average."""

from __future__ import annotations

import importlib.metadata
import itertools
import warnings

import jax
import jax.numpy as jnp
import optax
import problems as p
from serve import serve

SYSTEM = f"optax {importlib.metadata.version('optax')} score_function_jacobians, jax {jax.__version__}"


def gaussian(dim, num_samples):
    """W1."""
    params = (jnp.linspace(-1.0, 1.0, dim), jnp.zeros(dim))
    jacobians = optax.monte_carlo.score_function_jacobians
    f = lambda x: jnp.sum(x**2, axis=-1)
    mean = jax.jit(
        lambda i: [
            jnp.mean(j, axis=0) for j in jacobians(f, params, optax.multi_normal, jax.random.key(i), num_samples)
        ]
    )
    calls = itertools.count()
    return lambda: jax.block_until_ready(mean(next(calls)))


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    serve(
        SYSTEM,
        {f"W1 D={d} S={s}": lambda d=d, s=s: gaussian(d, s) for d, s in p.GAUSSIANS if d * s <= 100_000},
        {"": "its baseline is a moving average, and not used; each draw's Jacobian is kept"},
    )
