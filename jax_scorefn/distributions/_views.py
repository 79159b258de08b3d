"""A distribution seen in another way, whatever the shape of its draws: as bits, as choices, or as a list of scalar parameters.

What is seen carries the derivative, so an estimator made for such a view serves any network that computes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._trees import stop, widest
from jax_scorefn.typing import Array, Key, PyTree

Pairs: TypeAlias = list[tuple[Array, Array]]
"""Draws of the positive and of the negative part, for each kind of parameter."""

NOT_BITS = (
    "Bits are choices between two with something between the draws, as those of Bernoulli; choices() shows others."
)


class BinaryView(NamedTuple):
    """A distribution as D independent bits.

    Attributes:
      logits: shape ``(D,)``, differentiable.
      build: ``bits (D,) -> draw``, floats in [0, 1], 0 and 1 for the distribution itself; differentiable in them.
    """

    logits: Array
    build: Callable[[Array], PyTree]


class CategoricalView(NamedTuple):
    """A distribution as independent choices, in blocks: block j holds n_j choices among K_j options.

    Attributes:
      log_probs: a list of arrays ``(n_j, K_j)``, normalised and differentiable.
      probs: their exponentials, with a derivative that is right at 0 and 1 too where the distribution was given by probabilities.
      build: ``[options (n_j,)] -> draw``.
      logits: ``[numbers (n_j, K_j)] -> `` those numbers in the structure of a draw, as a function of one's own wants to see them:
        differences for bits, a last axis of K for choices.
      relax: ``[rows (n_j, K_j)] -> `` what lies between the draws; one-hot rows give the draw itself. None where a draw is the number
        of an option, and nothing lies between.
      log_odds: of choices between two, ``log_probs[..., 1] - log_probs[..., 0]`` with all the digits of a distribution that was given
        by its
        logits: a list of arrays ``(n_j,)``. None where there are other choices.
    """

    log_probs: list[Array]
    probs: list[Array]
    build: Callable[[list[Array]], PyTree]
    logits: Callable[[list[Array]], PyTree]
    relax: Callable[[list[Array]], PyTree] | None
    log_odds: list[Array] | None = None


def binary_view(view: CategoricalView) -> BinaryView:
    """Choices between two, with something in between, as bits."""
    if view.log_odds is None or view.relax is None:
        raise NotImplementedError(NOT_BITS)
    ends = list(itertools.accumulate(block.shape[0] for block in view.log_odds))[:-1]
    relax = view.relax

    def build(bits: Array) -> PyTree:
        return relax([jnp.stack([1 - block, block], axis=-1) for block in jnp.split(bits, ends)])

    return BinaryView(jnp.concatenate(view.log_odds), build)


def numbered(log_probs: Array, probs: Array | None, build: Callable[[Array], PyTree]) -> CategoricalView:
    """One block of choices ``(*shape, K)`` whose draw is built of the numbers of the options."""
    size = log_probs.shape[-1]
    rows = log_probs.reshape(-1, size)
    return CategoricalView(
        [rows],
        [jnp.exp(rows) if probs is None else probs.reshape(-1, size)],
        lambda options: build(options[0]),
        lambda numbers: numbers[0].reshape(log_probs.shape),
        None,
    )


def joint_choices(parts: Sequence[CategoricalView], combine: Callable[[list[PyTree]], PyTree]) -> CategoricalView:
    """The blocks of all the parts in a row."""
    ends = [0, *itertools.accumulate(len(part.log_probs) for part in parts)]

    def each(name: str) -> Callable[[list[Array]], PyTree]:
        def whole(blocks: list[Array]) -> PyTree:
            spans = zip(parts, itertools.pairwise(ends), strict=True)
            return combine([getattr(part, name)(blocks[a:b]) for part, (a, b) in spans])

        return whole

    return CategoricalView(
        [block for part in parts for block in part.log_probs],
        [block for part in parts for block in part.probs],
        each("build"),
        each("logits"),
        each("relax") if all(part.relax is not None for part in parts) else None,
        [block for part in parts for block in part.log_odds or []] if all(part.log_odds for part in parts) else None,
    )


class Row(NamedTuple):
    """Numbers for coordinates of a draw, as floats and, since an int32 has more digits, as whole numbers."""

    floats: Array
    whole: Array


class WeakDerivative(NamedTuple):
    """A distribution of P scalar parameters, each of which moves one coordinate of the draw.

    The derivative of E[f(x)] in parameter c is ``constant[c]`` times the difference of two expectations of f: of a draw whose
    coordinate c is replaced by a positive part, and by a negative part.

    Attributes:
      parameter: shape ``(P,)``, differentiable.
      constant: shape ``(P,)``, at least 0, stopped.
      leaf: which leaf of the draw each parameter moves, ``(P,)`` ints of numpy.
      place: which coordinate of that leaf, counted through the flattened leaf.
      num_leaves: leaves of a draw.
      pairs: ``key -> (positive (P,), negative (P,))``, coupled draws of the two parts, independent of other coordinates. What
        moves a float is read from ``floats``, and what moves an int from ``whole``.
    """

    parameter: Array
    constant: Array
    leaf: np.ndarray
    place: np.ndarray
    num_leaves: int
    pairs: Callable[[Key], tuple[Row, Row]]


def joint_weak_derivative(parts: Sequence[WeakDerivative]) -> WeakDerivative:
    """The parameters of all the parts in a row."""
    starts = [0, *itertools.accumulate(part.num_leaves for part in parts)]

    def pairs(key: Key) -> tuple[Row, Row]:
        keys = jax.random.split(key, len(parts))
        sides = zip(*(part.pairs(keys[j]) for j, part in enumerate(parts)), strict=True)
        positive, negative = (Row(*map(_row, zip(*side, strict=True))) for side in sides)
        return positive, negative

    return WeakDerivative(
        _row([part.parameter for part in parts]),
        _row([part.constant for part in parts]),
        np.concatenate([part.leaf + start for part, start in zip(parts, starts[:-1], strict=True)]),
        np.concatenate([part.place for part in parts]),
        starts[-1],
        pairs,
    )


def of_coordinates(
    parameters: Sequence[Array],
    constants: Sequence[Array],
    pairs: Callable[[Key], Pairs],
    place: np.ndarray | None = None,
) -> WeakDerivative:
    """The view of a distribution of independent coordinates.

    Args:
      parameters: the kinds of parameters; of each kind one for each coordinate, in the shape of a draw.
      constants: of each kind.
      pairs: ``key -> pairs``, one for each kind.
      place: the coordinate that each parameter moves, where that is not its own place.
    """
    place = np.tile(np.arange(parameters[0].size), len(parameters)) if place is None else place

    def flat(key: Key) -> tuple[Row, Row]:
        positive, negative = (_both(list(side), parameters[0].dtype) for side in zip(*pairs(key), strict=True))
        return positive, negative

    return WeakDerivative(_row(parameters), stop(_row(constants)), np.zeros_like(place), place, 1, flat)


def _both(arrays: Sequence[Array], dtype: Any) -> Row:
    return Row(_row([array.astype(dtype) for array in arrays]), _row([array.astype(jnp.int32) for array in arrays]))


def _row(arrays: Sequence[Array]) -> Array:
    dtype = widest(arrays) if jnp.issubdtype(arrays[0].dtype, jnp.floating) else jnp.int32
    return jnp.concatenate([array.astype(dtype).reshape(-1) for array in arrays])
