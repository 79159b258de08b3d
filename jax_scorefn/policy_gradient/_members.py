"""Groups of answers to one question: along an axis, or ragged, by a number of each. Sums over a group stand at all its members."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn.policy_gradient._arrays import compared
from jax_scorefn.typing import Array

WHICH = (
    "{name}: say which answers are to one question, by group_axis= (an axis of {argument}) or by group_ids= (integers), not by "
    "{given}."
)
BAD_AXIS = (
    "group_axis={given} is not an axis of {argument} of shape {shape}; say which axis counts the members of a group."
)
BAD_IDS = "{name}: group_ids are integers, one for each row of {argument} of shape {shape}; they are {given}."


@dataclasses.dataclass(frozen=True)
class Groups:
    """Members along ``axis``, or rows with the same of ``ids``, which count from 0."""

    axis: int
    ids: Array | None

    def total(self, x: Array) -> Array:
        """The sum over the group of each member."""
        return self._over(x, jnp.sum, jax.ops.segment_sum)

    def most(self, x: Array) -> Array:
        """The largest of the group of each member."""
        return self._over(x, functools.partial(jnp.max, initial=-jnp.inf), jax.ops.segment_max)

    def deviation(self, x: Array, there: Array, ddof: Any = 0) -> tuple[Array, Array, Array]:
        """Less the mean of its group each member, the deviation of the group, and whether its members differ by more than rounding.

        Where one is not a number, they do.
        """
        count = self.total(there.astype(x.dtype))
        mean = lambda y: self.total(jnp.where(there, y, 0.0)) / jnp.maximum(count, 1)
        centred = x - mean(x)
        centred = jnp.where(
            there, centred - mean(centred), 0.0
        )  # the second pass takes what rounding left in the first
        size = self.most(jnp.abs(centred))  # squares of large ones overflow, those of small ones are 0
        scaled = centred / jnp.where(size > 0, size, 1.0)
        std = size * jnp.sqrt(mean(scaled**2) * (count / jnp.maximum(count - jnp.asarray(ddof, count.dtype), 1)))
        largest, least = (self.most(jnp.where(there, y, -jnp.inf)) for y in (x, -x))
        noise = 8 * jnp.finfo(x.dtype).eps * self.most(jnp.where(there, jnp.abs(x), 0.0))
        return centred, std, (largest + least > noise) | ~(largest + least < jnp.inf)

    def rank(self, x: Array, there: Array) -> Array:
        """How many of its group come before each member: the larger first, of equal ones the earlier, what is not there last."""
        if self.ids is None:
            return jnp.argsort(jnp.lexsort((-x, ~there), axis=self.axis), axis=self.axis)
        place = jnp.arange(x.shape[0])
        order = jnp.lexsort((-x, ~there, self.ids))
        ids = self.ids[order]
        first = jax.lax.cummax(jnp.where(jnp.concatenate([jnp.ones(1, bool), ids[1:] != ids[:-1]]), place, 0))
        return jnp.zeros_like(place).at[order].set(place - first)

    def _over(self, x: Array, along: Any, by_id: Any) -> Array:
        if self.ids is None:
            return jnp.broadcast_to(along(x, axis=self.axis, keepdims=True), x.shape)
        return by_id(x, self.ids, num_segments=x.shape[0])[self.ids]


def groups(name: str, argument: str, like: Array, axis: int | None, ids: Any) -> Groups:
    """The groups of what ``like`` counts; exactly one of axis and ids says which."""
    if (axis is None) == (ids is None):
        raise TypeError(WHICH.format(name=name, argument=argument, given="neither" if axis is None else "both"))
    if axis is not None:
        if not -like.ndim <= axis < like.ndim:
            raise ValueError(BAD_AXIS.format(given=axis, argument=argument, shape=list(like.shape)))
        return Groups(axis, None)
    ids = compared(ids)
    if like.ndim == 0 or ids.shape != like.shape[:1] or not jnp.issubdtype(ids.dtype, jnp.integer):
        given = f"{ids.dtype}{list(ids.shape)}"
        raise TypeError(BAD_IDS.format(name=name, argument=argument, shape=list(like.shape), given=given))
    return Groups(0, jnp.unique(ids, return_inverse=True, size=ids.shape[0])[1].reshape(ids.shape))
