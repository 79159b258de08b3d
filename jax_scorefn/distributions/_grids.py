"""Grids: a law stood for by weighted points, sum_i w_i f(x_i) = E[f(x)].

A finite support is the case in which w_i is the probability of x_i; a quadrature is the case in which w_i is fixed by the
rule. In both the derivative is that of the density at fixed points, sum_i w_i f(x_i) grad log p(x_i), so that one function
(``exact``) serves both. Independent parts multiply: a grid of a product is the product of the grids.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn.typing import Array, PyTree

TOO_MANY_POINTS = (
    "The grid of {law} has {points} points ({detail}), above max_points={limit}. Use score_function, which samples, or "
    "raise max_points=."
)
NEEDS_MAX_VALUE = "{law} has an infinite support: pass max_value= (the largest value to sum) to exact."


class Grid(NamedTuple):
    """Points on the leading axis, their log-probabilities (differentiable in the parameters) and weights.

    Attributes:
      points: pytree, leading axis n.
      log_probs: shape ``(n,)``.
      weights: shape ``(n,)``, fixed by a quadrature rule; None where the weights are the probabilities.
    """

    points: PyTree
    log_probs: Array
    weights: Array | None

    def weight(self) -> Array:
        """The weights as numbers, without a derivative."""
        return jax.lax.stop_gradient(jnp.exp(self.log_probs) if self.weights is None else self.weights)


def combinations(law: str, sizes: Sequence[int], max_points: int) -> list[np.ndarray]:
    """For each part, the index of its value in each row of the product; refused above ``max_points`` rows."""
    total = math.prod(sizes)
    if total > max_points:
        distinct = sorted(set(sizes))
        detail = (
            f"{distinct[0]} values in each of {len(sizes)} coordinates"
            if len(distinct) == 1
            else f"parts of {list(sizes)}"
        )
        raise ValueError(TOO_MANY_POINTS.format(law=law, points=f"{total:.4g}", detail=detail, limit=max_points))
    return [index.reshape(-1) for index in np.indices(tuple(sizes), dtype=np.int32)] if sizes else []


def product_grid(law: str, nodes: Array, weights: Array | None, log_probs: Array, max_points: int) -> Grid:
    """Grid of independent coordinates from ``(n, *event)`` nodes, weights and log-probabilities for each of them."""
    num_nodes, event = nodes.shape[0], nodes.shape[1:]
    size = math.prod(event)
    index = combinations(law, [num_nodes] * size, max_points)
    rows = np.stack(index, axis=1) if index else np.zeros((1, 0), np.int32)
    columns = np.broadcast_to(np.arange(size), rows.shape)

    def pick(array: Array) -> Array:
        return array.reshape(num_nodes, size)[rows, columns]

    return Grid(
        points=pick(nodes).reshape((rows.shape[0], *event)),
        log_probs=jnp.sum(pick(log_probs), axis=1),
        weights=None if weights is None else jnp.prod(pick(weights), axis=1),
    )


def joint_grid(law: str, grids: Sequence[Grid], max_points: int) -> Grid:
    """Grid of independent parts of any kind; ``points`` is a list with one entry for each part."""
    index = combinations(law, [grid.log_probs.shape[0] for grid in grids], max_points)
    points = [jax.tree.map(lambda x, i=i: x[i], grid.points) for grid, i in zip(grids, index, strict=True)]
    log_probs = functools.reduce(operator.add, (grid.log_probs[i] for grid, i in zip(grids, index, strict=True)))
    if all(grid.weights is None for grid in grids):
        return Grid(points, log_probs, None)
    weights = [grid.weight()[i] for grid, i in zip(grids, index, strict=True)]
    return Grid(points, log_probs, functools.reduce(operator.mul, weights))
