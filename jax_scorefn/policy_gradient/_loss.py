"""A loss as a sum and a weight: what many are added up to, and divided by at the end.

mean  =  sum of all sums / sum of all weights                  whatever way they were split into batches
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn._trees import to_float, widest
from jax_scorefn.policy_gradient._arrays import wide
from jax_scorefn.typing import Array


class Loss(NamedTuple):
    """A sum and what to divide it by: of one trajectory, of a batch (leading axes), or of all so far (``a + b`` of each).

    :func:`mean_loss` makes the number to differentiate of it. Both are float32 at least, whatever the arrays were: half precision
    has no weight of 1025.
    """

    sum: Array
    weight: Array


def mean_loss(*losses: Loss) -> Array:
    """Sum of all sums over sum of all weights, whatever the shapes: the number to differentiate.

    Args:
      losses: results of loss functions, each with a ``sum`` and a ``weight`` of any shape (of a mapped loss, one for each trajectory).

    Returns:
      A scalar, differentiable as often as the sums are; 0 where all weights are.

    Bias: that of a ratio, where the weights depend on what was drawn; none where they do not.

    Example:
      >>> import jax.numpy as jnp
      >>> from jax_scorefn.policy_gradient import Loss, mean_loss
      >>> print(mean_loss(Loss(jnp.array([2.0, 4.0]), jnp.array([1.0, 2.0])), Loss(jnp.array(3.0), jnp.array(0.0))))
      3.0
    """
    totals, weights = ([to_float(part) for part in parts] for parts in zip(*losses, strict=True))
    dtype = wide([*totals, *weights])
    total, weight = (sum(jnp.sum(part.astype(dtype)) for part in parts) for parts in (totals, weights))
    weight = stop_gradient(jnp.asarray(weight))
    mean = jnp.asarray(total) / jnp.where(weight == 0, 1, weight)
    return mean.astype(widest(totals))


def count(counted: Array, like: Array) -> Array:
    """How many are True, as a weight."""
    return jnp.sum(counted, dtype=jnp.int32).astype(like.dtype)


def loss_of(terms: Array, counted: Array) -> Loss:
    """The terms that count, one for each step, and how many there are."""
    return Loss(jnp.sum(jnp.where(counted, terms, 0.0)), count(counted, terms))
