"""How far the value may be off: standard errors from the spread between independent groups of draws."""

from __future__ import annotations

import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn._groups import group_means
from jax_scorefn._trees import along_draws
from jax_scorefn.typing import Array


def mean_error(
    values: Array, group_size: int = 1, weights: Array | None = None, baselines: Array | float = 0.0
) -> Array:
    """Standard error of mean(w (f - b) + b). NaN for one group."""
    values, baselines = stop_gradient(values), stop_gradient(baselines)
    terms = values - values[:1]  # measured from the first value, so that a constant in f costs no digits
    if weights is not None:  # w (f - b) + b is f where w is 1
        weights = along_draws(stop_gradient(weights).astype(values.dtype), values)
        terms = terms + (weights - 1) * (values - baselines)
    means = group_means(terms, group_size)
    return jnp.std(means, axis=0, ddof=1) / jnp.sqrt(jnp.asarray(means.shape[0], means.dtype))


def ratio_error(values: Array, group_size: int, weights: Array) -> Array:
    """Standard error of sum(w f) / sum(w), to first order. NaN for one group."""
    values = stop_gradient(values)
    weights = along_draws(stop_gradient(weights).astype(values.dtype), values)
    first = values[:1]
    mean = first + jnp.sum(weights * (values - first), axis=0, keepdims=True) / jnp.sum(weights)
    sums = group_means(weights * (values - mean), group_size) * group_size
    num_groups = sums.shape[0]
    return jnp.sqrt(jnp.sum(sums**2, axis=0) / (num_groups - 1) * num_groups) / jnp.sum(weights)
