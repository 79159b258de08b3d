"""How far the value may be off: standard errors of a weighted mean, and of a ratio of weighted sums."""

from __future__ import annotations

import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn._trees import along_draws
from jax_scorefn.typing import Array


def mean_error(values: Array, weights: Array, baselines: Array | float = 0.0) -> Array:
    """Standard error of mean(w (f - b) + b). NaN for one draw."""
    values, baselines = stop_gradient(values), stop_gradient(baselines)
    weights = along_draws(stop_gradient(weights).astype(values.dtype), values)
    # w (f - b) + b is f where w is 1: measured from the first value, so that a constant in f costs no digits
    terms = (values - values[:1]) + (weights - 1) * (values - baselines)
    deviations = terms - jnp.mean(terms, axis=0, keepdims=True)
    num_draws = values.shape[0]
    return jnp.sqrt(jnp.sum(deviations**2, axis=0) / (num_draws - 1) / num_draws)


def ratio_error(values: Array, weights: Array) -> Array:
    """Standard error of sum(w f) / sum(w), to first order. NaN for one draw."""
    values = stop_gradient(values)
    num_draws = values.shape[0]
    weights = along_draws(stop_gradient(weights).astype(values.dtype), values)
    first = values[:1]
    mean = first + jnp.sum(weights * (values - first), axis=0, keepdims=True) / jnp.sum(weights)
    spread = jnp.sum((weights * (values - mean)) ** 2, axis=0) / (num_draws - 1)
    return jnp.sqrt(spread * num_draws) / jnp.sum(weights)
