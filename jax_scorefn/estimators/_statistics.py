"""How far the value may be off: the standard error of a (weighted) mean."""

from __future__ import annotations

import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn._trees import along_draws
from jax_scorefn.typing import Array


def standard_error(values: Array, weights: Array) -> Array:
    """Standard error of mean(w f), or of sum(w f) / sum(w) where the weights are relative. NaN for one draw."""
    values = stop_gradient(values)
    num_draws = values.shape[0]
    weights = along_draws(stop_gradient(weights).astype(values.dtype), values)
    first = values[:1]
    mean = first + jnp.sum(weights * (values - first), axis=0, keepdims=True) / jnp.sum(weights)
    # two passes; the divisor S - 1 makes S = 1 a division of 0 by 0
    spread = jnp.sum((weights * (values - mean)) ** 2, axis=0) / (num_draws - 1)
    return jnp.sqrt(spread * num_draws) / jnp.sum(weights)
