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

from jax_scorefn import _checks
from jax_scorefn._regression import fit_on_others
from jax_scorefn._surrogate import magic_box, scale_tangent
from jax_scorefn._trees import along_draws, flatten_floats, stop
from jax_scorefn.control_variates import ControlTerm
from jax_scorefn.estimators._call import Call
from jax_scorefn.estimators._score._source import Source
from jax_scorefn.typing import Array, PyTree


class Term(NamedTuple):
    """What gets a coefficient for each parameter: its column in the table, its value at each draw, and what it is (None: 1)."""

    place: int
    h: Array
    control: ControlTerm | None


class Sampled(NamedTuple):
    """What is known of the draws, each on the leading axis: ``scores`` (S, P) if they are asked for, or None; ``weights`` or None."""

    values: Array
    controls: dict[ControlTerm, Array]
    log_probs: Array
    weights: Array | None
    scores: Array
    samples: PyTree


def scores_of(call: Call, source: Source) -> Callable[[Any, PyTree], Array]:
    """``(what a draw is made of, x) -> its score``: the derivative of log p in every float parameter, as one vector."""
    flat, restore = flatten_floats(stop(call.params))

    def score(made: Any, x: PyTree) -> Array:
        def log_prob(vector: Array) -> Array:
            dist = call.at(restore(vector))
            return _checks.log_prob(dist, source.log_prob(made, x, dist))

        return jax.grad(log_prob)(flat)

    return score


def tabulated(
    rest: Array, columns: Sequence[Array]
) -> tuple[list[Array], Callable[[Array, Sequence[Array]], list[Array]]]:
    """The columns of a regression, at all draws: f less a constant, 1, and the centred control variates.

    With them ``(subtracted, coefficients) -> what the score multiplies``, as a combination of the columns: one factor for each.
    """
    first, ones = stop(rest[:1]), jnp.ones_like(rest)
    combined = lambda subtracted, coefficients: [ones, first - subtracted, *(-c for c in coefficients)]
    return [stop(column) for column in (rest - first, ones, *columns)], combined


def fit(
    table: Sequence[Array], combination: Sequence[Array], weights: Array | None, size: int, solve_for: Sequence[int]
) -> list[Array]:
    """Coefficients of some columns, for each draw from the other groups, in the shape of a column.

    Args:
      table: the columns of :func:`tabulated`.
      combination: what the score multiplies.
      weights: of each draw, or None.
      size: draws in a group.
      solve_for: which columns.
    """
    columns = jnp.stack(table, axis=-1)
    weighted = columns if weights is None else columns * along_draws(weights.astype(columns.dtype), columns)
    found = fit_on_others(weighted, jnp.stack(combination, axis=-1), size, solve_for)
    return list(jnp.moveaxis(found, -1, 0))


def correction(
    call: Call, source: Source, table: Sequence[Array], combination: Sequence[Array], drawn: Sampled, terms: Sequence[Term]
) -> Array:  # fmt: skip
    """A term of value 0 whose derivatives are those that each parameter's own coefficients add.

    Args:
      call: what was asked for.
      source: the draws.
      table: as for :func:`fit`.
      combination: as for :func:`fit`.
      drawn: what is known of the draws.
      terms: what gets coefficients for each parameter.
    """
    like = jax.ShapeDtypeStruct(table[0].shape[1:], table[0].dtype)
    table, combination = ([x.reshape(x.shape[0], -1, 1) for x in columns] for columns in (table, combination))
    flat, restore = flatten_floats(call.params)
    products = [column * drawn.scores[:, None, :].astype(like.dtype) for column in table]  # (S, F, P)
    factors = fit(products, combination, drawn.weights, source.group_size, [term.place for term in terms])
    hs = [term.h.reshape(source.num_samples, -1) for term in terms]
    hs, factors = stop((hs, factors))

    def one(made: Any, row: Any) -> Array:
        hs, factors, weight, x = row  # for each term (F,) and (F, P); ()

        def moved_by(j: int, control: ControlTerm | None, element: Array) -> Array:
            def at(factor: Array) -> tuple[Array, Array]:
                """The box and E h, each parameter's derivative scaled by a factor of its own."""
                moved = restore(scale_tangent(flat, factor.astype(flat.dtype)))
                dist = call.at(moved)
                box = magic_box(_checks.log_prob(dist, source.log_prob(made, x, dist)), weight).astype(like.dtype)
                if control is None:
                    return box, jnp.ones_like(box)
                return box, control.expected(moved, dist, like).reshape(-1)[element]

            # what the family closes over moves both, so that their difference has the scaled derivatives alone
            (box, expected), (box_0, expected_0) = at(factors[j][element]), at(jnp.zeros_like(flat))
            return (expected - expected_0) - hs[j][element] * (box - box_0)

        def all_of(element: Array) -> Array:
            moved = [moved_by(j, term.control, element) for j, term in enumerate(terms)]
            return sum(moved, start=jnp.zeros((), like.dtype))

        return jax.vmap(all_of)(jnp.arange(hs[0].shape[0])).reshape(like.shape)

    beside = (hs, factors, drawn.weights, drawn.samples)
    return jnp.mean(call.map(one, source.draws, source.num_samples, beside), axis=0)
