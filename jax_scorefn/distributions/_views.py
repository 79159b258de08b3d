"""Two ways to look at a law of independent discrete coordinates, whatever the shape of its draws.

    bits       D coins with logits phi_d; a draw is built of D numbers in [0, 1], 0 and 1 for the law itself
    choices    n choices, choice j among the values 0 .. K_j - 1 with log-probabilities; a draw is built of n whole numbers

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
      build: ``bits (D,) -> draw``, floats in [0, 1]; differentiable in them.
    """

    logits: Array
    build: Callable[[Array], PyTree]


class Choices(NamedTuple):
    """A law as n independent choices among at most K values each.

    Attributes:
      log_probs: shape ``(n, K)``, differentiable; -inf where a choice has fewer values than the others.
      build: ``indices (n,) -> draw``, int32.
    """

    log_probs: Array
    build: Callable[[Array], PyTree]


def joint_bits(parts: Sequence[Bits], combine: Callable[[list[PyTree]], PyTree]) -> Bits:
    """The coins of all the parts in a row."""
    ends = _ends([part.logits.shape[0] for part in parts])

    def build(bits: Array) -> PyTree:
        return combine([part.build(bits[a:b]) for part, (a, b) in zip(parts, ends, strict=True)])

    return Bits(jnp.concatenate([part.logits for part in parts]), build)


def joint_choices(parts: Sequence[Choices], combine: Callable[[list[PyTree]], PyTree]) -> Choices:
    """The choices of all the parts in a row, those with fewer values filled up with impossible ones."""
    ends = _ends([part.log_probs.shape[0] for part in parts])
    most = max(part.log_probs.shape[1] for part in parts)

    def filled(log_probs: Array) -> Array:
        room = most - log_probs.shape[1]
        return jnp.pad(log_probs, ((0, 0), (0, room)), constant_values=-jnp.inf)

    def build(index: Array) -> PyTree:
        return combine([part.build(index[a:b]) for part, (a, b) in zip(parts, ends, strict=True)])

    return Choices(jnp.concatenate([filled(part.log_probs) for part in parts]), build)


def _ends(sizes: Sequence[int]) -> list[tuple[int, int]]:
    starts = [sum(sizes[:j]) for j in range(len(sizes) + 1)]
    return list(itertools.pairwise(starts))
