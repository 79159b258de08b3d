"""The gradient of each draw: what it adds to the gradient, which is their mean.

    value  =  combine(y_1 .. y_S, params),    y_i = one(draw i, params)
    g_i    =  S dvalue/dy_i dy_i/dparams  +  dvalue/dparams,                what is common to all draws

The estimator runs three times, and what it maps over its draws is answered in another way each time: recorded; given, for all
dvalue/dy_i in one backward pass; and for each draw alone, under vmap, where nothing but y_i moves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import engine
from jax_scorefn._reports import report
from jax_scorefn._trees import is_inexact, num_leading, partition, reusable, stop
from jax_scorefn.estimators._statistics import mean_error
from jax_scorefn.typing import Array, ChunkSize, Info, Key, PyTree

NOTHING_DRAWN = "{name} draws nothing, so per_draw=True has no draws to tell apart: leave it out."

FEWEST = 4
"""Independent groups that tell a standard error. With two of them and leave-one-out both have one gradient, and it would be 0."""


class _Mapped(NamedTuple):
    """One map over the draws: what they are made of, what stands beside them (stopped, to first order), and the result."""

    made: PyTree
    beside: PyTree
    rows: PyTree


def gradients_of_draws(
    name: str, estimate: Callable[..., Any], params: PyTree, key: Key | None, chunk_size: ChunkSize, sharding: Any
) -> tuple[PyTree, Info]:
    """The gradient of each row of draws, on a leading axis, and the Info, with the standard error of their mean.

    ``estimate(params, key, map_draws)`` is ``((value, Info), number of rows that do not depend on each other)``.
    """
    maps: list[_Mapped] = []

    def record(one: Any, draws: Any, total: int, *, beside: PyTree = None, **layout: Any) -> PyTree:
        made = engine.map_index(draws, total, **layout)
        rows = engine.map_draws(one, engine.points(made, sharding), total, beside=beside, **layout)
        maps.append(_Mapped(reusable(made), beside, rows))
        return rows

    given, params = params, stop(params)
    (_, info), num_groups = estimate(params, key, record)
    if not maps:
        raise ValueError(NOTHING_DRAWN.format(name=name))
    total = num_leading(maps[0].rows)
    moving, joined = partition(params, is_inexact)
    parts = [partition(each.rows, is_inexact) for each in maps]

    def combined(rows: list[PyTree], moving: PyTree) -> Array:
        given = iter([join(row) for row, (_, join) in zip(rows, parts, strict=True)])
        return estimate(joined(moving), reusable(key), lambda *_, **__: next(given))[0][0]

    slopes, common = jax.grad(combined, argnums=(0, 1))([part for part, _ in parts], moving)

    def of_row(made: list[Any], beside: list[Any], slopes: list[PyTree]) -> PyTree:
        def row(moving: PyTree) -> list[PyTree]:
            found, turn = [], iter(zip(made, beside, maps, strict=True))

            def alone(one: Any, *_: Any, **__: Any) -> PyTree:
                draw, next_to_it, each = next(turn)
                found.append(partition(one(draw, next_to_it), is_inexact)[0])
                return each.rows

            estimate(joined(moving), reusable(key), alone)
            return found

        return jax.vjp(row, moving)[1](slopes)[0]

    def many(index: Array) -> PyTree:
        tables = [each.made for each in maps], [each.beside for each in maps], slopes
        own = jax.vmap(of_row)(*engine.rows_of(tables, index, sharding))
        return jax.tree.map(lambda g, shared: total * g + shared[None], own, common)

    rows = engine.map_index(many, total, chunk_size, sharding)
    error = jax.tree.map(lambda g: mean_error(g, total // num_groups), rows)
    if num_groups < FEWEST:
        error = jax.tree.map(lambda e: jnp.full_like(e, jnp.nan), error)
    rows, error = _with_zeros(rows, params, (total,)), _with_zeros(error, params, ())
    return report((rows, info._replace(gradient_standard_error=error)), given)


def _with_zeros(found: PyTree, params: PyTree, lead: tuple[int, ...]) -> PyTree:
    """With JAX's zero for the ints and bools among the parameters."""
    zero = lambda leaf: np.zeros((*lead, *jnp.shape(leaf)), jax.dtypes.float0)
    return partition(jax.tree.map(lambda leaf: leaf if is_inexact(leaf) else zero(leaf), params), is_inexact)[1](found)
