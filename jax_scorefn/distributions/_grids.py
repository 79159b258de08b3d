"""Grids: a distribution stood for by weighted points, sum_i w_i f(x_i) = E[f(x)].

A finite support is the case in which w_i is the probability of x_i; a quadrature is the case in which the value of w_i is fixed
by the rule and its derivative is that of the density, w_i grad log p(x_i), at a point that stays where it is. So one
function (``exact``) serves both. Independent parts multiply: a grid of a product is the product of the grids.
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

from jax_scorefn._surrogate import magic_box
from jax_scorefn.typing import Array, PyTree

TOO_MANY_POINTS = (
    "The grid of {dist} has {points} points ({detail}), above max_points={limit}. Use score_function, which samples, or "
    "raise max_points=."
)
NEEDS_MAX_VALUE = "{dist} has an infinite support: pass max_value= (the largest value to sum) to exact."


class Grid(NamedTuple):
    """Points on the leading axis, their log-probabilities (differentiable in the parameters) and weights.

    Attributes:
      points: pytree, leading axis n.
      log_probs: shape ``(n,)``.
      weights: shape ``(n,)``, differentiable to every order: probabilities, or a rule's weights times the density's ratio.
    """

    points: PyTree
    log_probs: Array
    weights: Array


def refuse_above(max_points: int, dist: str, points: int, detail: str) -> None:
    """An error for a grid that would have more points."""
    if points > max_points:
        raise ValueError(TOO_MANY_POINTS.format(dist=dist, points=f"{points:.4g}", detail=detail, limit=max_points))


def combinations(dist: str, sizes: Sequence[int], max_points: int) -> list[np.ndarray]:
    """For each part, the index of its value in each row of the product; refused above ``max_points`` rows."""
    alike = f"{sizes[0]} values in each of {len(sizes)} coordinates" if len(set(sizes)) == 1 else None
    refuse_above(max_points, dist, math.prod(sizes), alike or f"parts of {list(sizes)}")
    return [index.reshape(-1) for index in np.indices(tuple(sizes), dtype=np.int32)] if sizes else []


def product_grid(
    dist: str,
    nodes: Array,
    log_probs: Array,
    max_points: int,
    *,
    rule: Array | None = None,
    probs: Array | None = None,
) -> Grid:
    """Grid of independent coordinates from ``(n, *event)`` nodes and log-probabilities for each of them.

    With ``rule``, the weights of a quadrature; with ``probs``, probabilities that are known better than as exp(log_probs).
    """
    num_nodes, event = nodes.shape[0], nodes.shape[1:]
    size = math.prod(event)
    index = combinations(dist, [num_nodes] * size, max_points)
    rows = np.stack(index, axis=1) if index else np.zeros((1, 0), np.int32)
    columns = np.broadcast_to(np.arange(size), rows.shape)

    def pick(array: Array) -> Array:
        return array.reshape(num_nodes, size)[rows, columns]

    total = jnp.sum(pick(log_probs), axis=1)
    if rule is not None:
        weights = magic_box(total, jnp.prod(pick(rule), axis=1))
    else:
        weights = jnp.exp(total) if probs is None else jnp.prod(pick(probs), axis=1)
    return Grid(pick(nodes).reshape((rows.shape[0], *event)), total, weights)


def joint_grid(dist: str, grids: Sequence[Grid], max_points: int) -> Grid:
    """Grid of independent parts of any kind; ``points`` is a list with one entry for each part."""
    index = combinations(dist, [grid.log_probs.shape[0] for grid in grids], max_points)
    points = [jax.tree.map(lambda x, i=i: x[i], grid.points) for grid, i in zip(grids, index, strict=True)]
    log_probs = functools.reduce(operator.add, (grid.log_probs[i] for grid, i in zip(grids, index, strict=True)))
    weights = [grid.weights[i] for grid, i in zip(grids, index, strict=True)]
    return Grid(points, log_probs, functools.reduce(operator.mul, weights))
