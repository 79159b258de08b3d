"""Least squares on the other groups of draws: the coefficients of a group never see that group's own draws.

    minimise over c      Var( y - sum_j c_j z_j )       =>       c = Cov(z, z)^-1 Cov(z, y)

with y and z means over a group, since it is the variance between groups that an estimate has.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn._groups import group_means, to_draws
from jax_scorefn._wide import wide
from jax_scorefn.typing import Array


def fit_on_others(columns: Array, combination: Array, size: int, solve_for: Sequence[int]) -> Array:
    """Coefficients of some columns in the least-squares fit to a combination of the columns, from the other groups.

    Args:
      columns: shape ``(S, ..., C)``, one fit for each index in the middle.
      combination: y as a combination of the columns, shape ``(S, ..., C)`` (its middle may be of length 1).
      size: how many draws in a row are a group.
      solve_for: which columns are the z.

    Returns:
      Coefficients for each draw, shape ``(S, ..., len(solve_for))``; 0 for a column that does not vary.
    """
    dtype, chosen = columns.dtype, list(solve_for)
    columns, combination = wide((stop_gradient(columns), stop_gradient(combination)))
    groups, combination = group_means(columns, size), group_means(combination, size)
    means = _others_mean(groups)
    products = _others_mean(groups[..., :, None] * groups[..., None, :])
    covariance = products - means[..., :, None] * means[..., None, :]
    target = jnp.sum(covariance[..., chosen] * combination[..., None], axis=-2)
    variance = _diagonal(covariance)[..., chosen]

    # What rounding leaves of a column that is constant, or that cancels within each group, does not count as varying.
    rounding = 1000 * jnp.finfo(columns.dtype).eps
    inside = _others_mean(group_means(columns[..., chosen] ** 2, size))
    varies = (variance > rounding * _diagonal(products)[..., chosen]) & (variance > rounding**2 * inside)
    scale = jnp.sqrt(jnp.where(varies, variance, 1))
    target = jnp.where(varies, target / scale, 0)

    if len(chosen) > 1:
        gram = covariance[..., chosen, :][..., chosen] / (scale[..., :, None] * scale[..., None, :])
        gram = jnp.where(varies[..., :, None] & varies[..., None, :], gram, 0)
        own = jnp.broadcast_to(jnp.eye(len(chosen), dtype=bool), gram.shape)
        ridge = jnp.finfo(columns.dtype).eps ** 0.5  # two columns that say the same share what they explain
        gram = gram + jnp.where(own, jnp.where(varies, ridge, 1)[..., None].astype(gram.dtype), 0)
        target = jnp.linalg.solve(gram, target[..., None])[..., 0]
    return to_draws((target / scale).astype(dtype), size)


def _diagonal(x: Array) -> Array:
    return jnp.diagonal(x, axis1=-2, axis2=-1)


def _others_mean(x: Array) -> Array:
    """Mean of the other groups. The own one is in none of the sums, for rounding would leave some of it, and a ratio magnify that."""
    nothing = jnp.zeros_like(x[:1])
    before = jnp.concatenate([nothing, jnp.cumsum(x[:-1], axis=0)])
    after = jnp.concatenate([jnp.cumsum(x[:0:-1], axis=0)[::-1], nothing])
    return (before + after) / (x.shape[0] - 1)
