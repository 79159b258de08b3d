"""What a baseline is: a function of the draws of a call, with its facts beside it as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn.typing import Array, Bias


class Values(NamedTuple):
    """What a baseline may look at.

    Attributes:
      values: f at each draw, shape ``(S, ...)``.
      group_size: how many draws in a row depend on each other: 1, except under a scheme.
      at_mode: f at the distribution's mode, where the baseline asked for it.
    """

    values: Array
    group_size: int = 1
    at_mode: Array | None = None


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A baseline and what is true of it.

    Attributes:
      name: its name in messages and tables.
      apply: ``Values -> b``, in a shape that broadcasts with the values.
      bias: what it adds to an estimator that is unbiased without it.
      min_groups: fewest groups of draws (draws, where each is a group of its own) for which it is defined.
      doc: what it computes, in one line.
      linear: whether the baseline of a difference is the difference of the baselines. A control variate's own draws are then
        centred with it too.
      per_parameter: whether an estimator is to fit, beside it, one more constant for each parameter.
      uses_mode: whether it wants f at the distribution's mode.
      of_mean: ``(values, mean of all S values, S) -> b``, if it needs to know no more of draws that do not depend on each other. A
        constant that is added to the values is added to it.
    """

    name: str
    apply: Callable[[Values], Array]
    bias: Bias
    min_groups: int
    doc: str
    linear: bool = False
    per_parameter: bool = False
    uses_mode: bool = False
    of_mean: Callable[[Array, Array, int], Array] | None = None

    def __call__(self, values: Array, group_size: int = 1, at_mode: Array | None = None) -> Array:
        """What is subtracted for each draw, in a shape that broadcasts with ``values`` and does not widen them."""
        b = jnp.asarray(self.apply(Values(values, group_size, at_mode)))
        sizes = zip(b.shape[::-1], values.shape[::-1], strict=False)
        if b.ndim > values.ndim or any(n not in (1, size) for n, size in sizes):
            raise ValueError(_checks.BASELINE_SHAPE.format(baseline=self.name, given=b.shape, wanted=values.shape))
        return b.astype(values.dtype)
