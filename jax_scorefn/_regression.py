"""Least squares on the other groups of draws: the coefficients of a group never see that group's own draws.

    minimise over c      Var( y - sum_j c_j z_j )       =>       c = Cov(z, z)^-1 Cov(z, y)

with y and z means over a group, since it is the variance between groups that an estimate has.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn.typing import Array


def fit_on_others(columns: Array, combination: Array, solve_for: Sequence[int]) -> Array:
    """Coefficients of some columns in the least-squares fit to a combination of the columns, for each group.

    Args:
      columns: group means, shape ``(G, ..., C)``, one fit for each index in the middle.
      combination: the y of each group as a combination of the columns, shape ``(G, ..., C)`` (its middle may be of length 1).
      solve_for: which columns are the z.

    Returns:
      Coefficients, shape ``(G, ..., len(solve_for))``; 0 for a column that does not vary.
    """
    columns, combination = stop_gradient(columns), stop_gradient(combination)
    chosen = list(solve_for)
    means = _others_mean(columns)
    products = _others_mean(columns[..., :, None] * columns[..., None, :])
    covariance = products - means[..., :, None] * means[..., None, :]
    target = jnp.sum(covariance[..., chosen] * combination[..., None], axis=-2)
    variance = jnp.diagonal(covariance, axis1=-2, axis2=-1)[..., chosen]
    # what rounding leaves of a constant column does not count as varying
    squares = jnp.diagonal(products, axis1=-2, axis2=-1)[..., chosen]
    varies = variance > 1000 * jnp.finfo(columns.dtype).eps * squares
    scale = jnp.sqrt(jnp.where(varies, variance, 1))
    if len(chosen) == 1:
        return jnp.where(varies, target / scale**2, 0)
    gram = covariance[..., chosen, :][..., chosen] / (scale[..., :, None] * scale[..., None, :])
    gram = jnp.where(varies[..., :, None] & varies[..., None, :], gram, 0)
    ridge = jnp.finfo(columns.dtype).eps ** 0.5  # two columns that say the same share what they explain
    own = jnp.broadcast_to(jnp.eye(len(chosen), dtype=bool), gram.shape)
    gram = gram + jnp.where(own, jnp.where(varies, ridge, 1)[..., None].astype(gram.dtype), 0)
    solution = jnp.linalg.solve(gram, jnp.where(varies, target / scale, 0)[..., None])[..., 0]
    return solution / scale


def _others_mean(x: Array) -> Array:
    """Mean of the other groups. The own one is in none of the sums, for rounding would leave some of it, and a ratio magnify that."""
    nothing = jnp.zeros_like(x[:1])
    before = jnp.concatenate([nothing, jnp.cumsum(x[:-1], axis=0)])
    after = jnp.concatenate([jnp.cumsum(x[:0:-1], axis=0)[::-1], nothing])
    return (before + after) / (x.shape[0] - 1)
