"""A distribution's independent choices as flat vectors: one number for each option of each choice, or one for each choice.

Blocks of choices (``distributions._views.CategoricalView``) differ in their number of options, so nothing is padded: what concerns the
options of all choices is a list of arrays ``(n_j, K_j)``, or the vector of all of them in a row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jax_scorefn.distributions import Categorical
from jax_scorefn.typing import Array

NO_CHOICES = (
    "{name} needs a distribution that makes a choice, and a draw of this {dist} is empty: use exact, which asks f once."
)


def in_a_row(blocks: Sequence[Array]) -> Array:
    """All blocks as one vector."""
    return jnp.concatenate([block.reshape(-1) for block in blocks])


def in_blocks(shapes: Sequence[tuple[int, ...]]) -> tuple[int, Callable[[Array], list[Array]]]:
    """The length of a vector that holds blocks of these shapes, and the way back from the vector to the blocks."""
    sizes = [math.prod(shape) for shape in shapes]
    ends = [0, *itertools.accumulate(sizes)]

    def split(vector: Array) -> list[Array]:
        return [vector[a:b].reshape(shape) for shape, (a, b) in zip(shapes, itertools.pairwise(ends), strict=True)]

    return ends[-1], split


def pick(log_probs: Array, u: Array) -> Array:
    """The option of each choice that its uniform falls on, ``(n,)`` for log-probabilities ``(n, K)``."""
    return Categorical(logits=log_probs).from_uniform(u)


def one_hot(options: Array, like: Array) -> Array:
    """Rows ``(n, K)`` with a 1 at each choice's option."""
    return jax.nn.one_hot(options, like.shape[-1], dtype=like.dtype)
