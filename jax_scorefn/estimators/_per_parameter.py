"""A coefficient for each parameter: E[(f - sum_j c_jk h_j) s_k] + sum_j c_jk d_k E h_j,   s_k = d log p / d theta_k.

A surrogate has one value and its derivative all parameters, so coefficients that differ between parameters are put into the *tangent*:

    - h_j(x) box( log p(x; theta * c_j) )  +  E h_j(theta * c_j),          theta * c: theta, with a derivative scaled by c

is a term whose mean has every derivative 0, whatever c is, and whose first derivative in theta_k is c_jk (- h_j s_k + d_k E h_j). The
constant, h = 1, is the case of a baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_scorefn import _checks, engine
from jax_scorefn._regression import fit_on_others
from jax_scorefn._surrogate import magic_box, scale_tangent
from jax_scorefn._trees import along_draws, flatten_floats, stop
from jax_scorefn.control_variates._base import Bound
from jax_scorefn.estimators._source import Source
from jax_scorefn.typing import Array, Params, PyTree


class Term(NamedTuple):
    """What gets a coefficient for each parameter: its column in the table, its value at each draw, and what it is (None: 1)."""

    place: int
    h: Array
    control: Bound | None


def scores_of(source: Source, family: Any, params: Params) -> Callable[[Any, PyTree], Array]:
    """``(what a draw is made of, x) -> its score``: the derivative of log p in every float parameter, as one vector."""
    flat, restore = flatten_floats(stop(params))

    def score(made: Any, x: PyTree) -> Array:
        def log_prob(vector: Array) -> Array:
            law = family.at(restore(vector), needs=())
            return _checks.log_prob(law, source.log_prob(made, x, law))

        return jax.grad(log_prob)(flat)

    return score


def fit(
    table: Sequence[Array], combination: Sequence[Array], weights: Array | None, size: int, solve_for: Sequence[int]
) -> list[Array]:
    """Coefficients of some columns, for each draw from the other groups, in the shape of a column.

    Args:
      table: the columns, each of the shape of f at all draws: f, 1, and the centred control variates.
      combination: what the score multiplies, as a combination of the columns: one factor for each.
      weights: of each draw, or None.
      size: draws in a group.
      solve_for: which columns.
    """
    columns = jnp.stack(table, axis=-1)
    weighted = columns if weights is None else columns * along_draws(weights.astype(columns.dtype), columns)
    found = fit_on_others(weighted, jnp.stack(combination, axis=-1), size, solve_for)
    return list(jnp.moveaxis(found, -1, 0))


def correction(
    source: Source, family: Any, params: Params, table: Sequence[Array], combination: Sequence[Array], scores: Array,
    weights: Array | None, samples: PyTree, terms: Sequence[Term], how: dict[str, Any],
) -> Array:  # fmt: skip
    """A term of value 0 whose derivatives are those that each parameter's own coefficients add.

    Args:
      source: the draws.
      family: what makes the law out of parameters.
      params: the parameters.
      table: as for :func:`fit`.
      combination: as for :func:`fit`.
      scores: of each draw, ``(S, P)``.
      weights: of each draw, or None.
      samples: the draws.
      terms: what gets coefficients for each parameter.
      how: options of the engine.
    """
    like = jax.ShapeDtypeStruct(table[0].shape[1:], table[0].dtype)
    table, combination = ([x.reshape(x.shape[0], -1, 1) for x in columns] for columns in (table, combination))
    flat, restore = flatten_floats(params)
    products = [column * scores[:, None, :].astype(like.dtype) for column in table]  # (S, F, P)
    factors = fit(products, combination, weights, source.group_size, [term.place for term in terms])
    hs = [term.h.reshape(source.num_draws, -1) for term in terms]
    hs, factors = stop((hs, factors))

    def one(made: Any, row: Any) -> Array:
        hs, factors, weight, x = row  # for each term (F,) and (F, P); ()

        def moved_by(j: int, control: Bound | None, element: Array) -> Array:
            def at(factor: Array) -> tuple[Array, Array]:
                """The box and E h, each parameter's derivative scaled by a factor of its own."""
                moved = restore(scale_tangent(flat, factor.astype(flat.dtype)))
                law = family.at(moved, needs=())
                box = magic_box(_checks.log_prob(law, source.log_prob(made, x, law)), weight).astype(like.dtype)
                if control is None:
                    return box, jnp.ones_like(box)
                return box, control.expected(moved, law, like).reshape(-1)[element]

            # what the family closes over moves both, so that their difference has the scaled derivatives alone
            (box, expected), (box_0, expected_0) = at(factors[j][element]), at(jnp.zeros_like(flat))
            return (expected - expected_0) - hs[j][element] * (box - box_0)

        def all_of(element: Array) -> Array:
            moved = [moved_by(j, term.control, element) for j, term in enumerate(terms)]
            return sum(moved, start=jnp.zeros((), like.dtype))

        return jax.vmap(all_of)(jnp.arange(hs[0].shape[0])).reshape(like.shape)

    drawn = engine.map_draws(one, source.draws, source.num_draws, beside=(hs, factors, weights, samples), **how)
    return jnp.mean(drawn, axis=0)
