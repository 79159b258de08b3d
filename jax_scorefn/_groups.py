"""Groups of draws that depend on each other, and what the draws outside of a group say.

A number that multiplies the score of a draw may not depend on that draw, nor on those drawn together with it. So whatever is
estimated on the side (a mean, a coefficient) is estimated for each group from all the others: the sum over everything minus the
group's own.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from jax_scorefn.typing import Array

NOT_WHOLE = "{name} makes draws in groups of {size}: num_samples has to be a multiple of that, not {given}."


def whole_groups(name: str, size: int) -> Callable[[int], int]:
    """The size of a group, for numbers of draws that are whole groups of it."""

    def check(num_samples: int) -> int:
        if num_samples % size:
            raise ValueError(NOT_WHOLE.format(name=name, size=size, given=num_samples))
        return size

    return check


def group_means(x: Array, size: int) -> Array:
    """Mean of each group: ``(S, ...) -> (S / size, ...)``."""
    return x if size == 1 else jnp.mean(x.reshape(-1, size, *x.shape[1:]), axis=1)


def others_mean(x: Array) -> Array:
    """Mean of the other groups, for each: ``(G, ...) -> (G, ...)``."""
    # (sum - x) / (G - 1) is the same; with XLA's code for it, a gradient of 1,024 policies with sixteen draws takes 5 % longer.
    mean = jnp.mean(x, axis=0, keepdims=True)
    return mean + (mean - x) / (x.shape[0] - 1)


def to_draws(x: Array, size: int) -> Array:
    """One row for each draw from one for each group: ``(G, ...) -> (G size, ...)``."""
    return x if size == 1 else jnp.repeat(x, size, axis=0)
