"""A law of independent bits, looked at as coins, whatever the shape of its draws.

The logits carry the derivative, so an estimator for coins serves any network that computes their logits.
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
