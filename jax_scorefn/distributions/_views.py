"""A law of independent coins or choices, looked at as such, whatever the shape of its draws.

The logits and log-probabilities carry the derivative, so an estimator for coins serves any network that computes their logits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from jax_scorefn.typing import Array, PyTree


class Bits(NamedTuple):
    """A law as D independent coins.

    Attributes:
      logits: shape ``(D,)``, differentiable.
      build: ``bits (D,) -> draw``, floats in [0, 1], 0 and 1 for the law itself; differentiable in them.
    """

    logits: Array
    build: Callable[[Array], PyTree]


def joint_bits(parts: Sequence[Bits], combine: Callable[[list[PyTree]], PyTree]) -> Bits:
    """The coins of all the parts in a row."""
    ends = [0, *itertools.accumulate(part.logits.shape[0] for part in parts)]

    def build(bits: Array) -> PyTree:
        return combine([part.build(bits[a:b]) for part, (a, b) in zip(parts, itertools.pairwise(ends), strict=True)])

    return Bits(jnp.concatenate([part.logits for part in parts]), build)


class Choices(NamedTuple):
    """A law as independent choices, in blocks: block j holds n_j choices among K_j options.

    Attributes:
      log_probs: a list of arrays ``(n_j, K_j)``, normalised and differentiable.
      probs: their exponentials, with a derivative that is right at 0 and 1 too where the law was given by probabilities.
      build: ``[options (n_j,)] -> draw``.
      logits: ``[numbers (n_j, K_j)] -> `` those numbers in the structure of a draw, as a function of one's own wants to see them:
        differences for coins, a last axis of K for choices.
      relax: ``[rows (n_j, K_j)] -> `` what lies between the draws; one-hot rows give the draw itself. None where a draw is the number
        of an option, and nothing lies between.
    """

    log_probs: list[Array]
    probs: list[Array]
    build: Callable[[list[Array]], PyTree]
    logits: Callable[[list[Array]], PyTree]
    relax: Callable[[list[Array]], PyTree] | None


def numbered(log_probs: Array, probs: Array | None, build: Callable[[Array], PyTree]) -> Choices:
    """One block of choices ``(*shape, K)`` whose draw is built of the numbers of the options."""
    size = log_probs.shape[-1]
    rows = log_probs.reshape(-1, size)
    return Choices(
        [rows],
        [jnp.exp(rows) if probs is None else probs.reshape(-1, size)],
        lambda options: build(options[0]),
        lambda numbers: numbers[0].reshape(log_probs.shape),
        None,
    )


def joint_choices(parts: Sequence[Choices], combine: Callable[[list[PyTree]], PyTree]) -> Choices:
    """The blocks of all the parts in a row."""
    ends = [0, *itertools.accumulate(len(part.log_probs) for part in parts)]

    def each(name: str) -> Callable[[list[Array]], PyTree]:
        def whole(blocks: list[Array]) -> PyTree:
            spans = zip(parts, itertools.pairwise(ends), strict=True)
            return combine([getattr(part, name)(blocks[a:b]) for part, (a, b) in spans])

        return whole

    return Choices(
        [block for part in parts for block in part.log_probs],
        [block for part in parts for block in part.probs],
        each("build"),
        each("logits"),
        each("relax") if all(part.relax is not None for part in parts) else None,
    )
