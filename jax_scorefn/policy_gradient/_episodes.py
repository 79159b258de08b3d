"""Episodes and masks: which steps of a row belong together. Every function of this package that takes a mask has it from here.

A row is T steps in the order of time, of one episode or of several. An episode ends with a step that is ``terminated`` or whose
discount is 0 (the two say the same: what comes after is worth 0), with one that is ``truncated`` (what comes after is worth ``v_t``),
or with the row (the same).

A step that is masked (``mask`` is False: a prompt, an observation, padding) is a step that nobody chose:

    its log-probability, value, ratio, advantage    count nowhere, whatever they are, NaN included
    its discount                                    counts nowhere: there is one discount for each choice
    its end, or discount of 0                       ends the episode, as that of any step
    its reward                                      is one of the choice before it in its episode

So a choice and the masked steps right behind it, up to the next choice or the end of the episode, are one step, a *turn*:

    reward          the sum of their rewards, none of them discounted within the turn
    end             the end that one of them has; steps behind that belong to the next episode
    discount        that of the choice, or 0 at an end that is worth 0
    value after     ``v_t`` of the choice; of the masked step, where it is one that is truncated; and where masked steps lie between
                    two choices of an episode, ``v_tm1`` of the second: what a critic says of a masked step counts nowhere

Rewards of masked steps in front of the first choice of an episode come before any choice of it. They are in no return; they are in the
value of the objective, without a discount and without a score. An episode without a choice counts nowhere, in no sum and no weight.
Padding in a window that goes on, then, has rewards of 0 and discounts that are not 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_scorefn._trees import take_rows
from jax_scorefn.policy_gradient._arrays import flags, per_step
from jax_scorefn.typing import Array


class Episodes(NamedTuple):
    """The turns of a row, each field of shape (T,). What is said of a turn stands at its choice.

    Attributes:
      mask: whether a step was chosen.
      discount: of a turn, 0 where nothing comes after it; 1 where masked.
      goes_on: whether another choice follows in the episode.
      first: whether a choice is the first of its episode.
      spans: how turns lie in the row; None where every step is chosen, and a turn is a step.
    """

    mask: Array
    discount: Array
    goes_on: Array
    first: Array
    spans: Spans | None

    def chosen(self, x: Array) -> Array:
        """What steps have that were chosen, and 0 elsewhere: before anything is multiplied, since 0 times NaN is NaN."""
        return jnp.where(self.mask, x, jnp.zeros((), x.dtype))

    def rewards(self, r_t: Array) -> tuple[Array, Array]:
        """Rewards of the turns; and at the first choice of an episode those in front of it."""
        if self.spans is None:
            return r_t, jnp.zeros_like(r_t)
        sums = scan_back(r_t, jnp.ones_like(r_t), self.spans.joined)
        begins = take_rows((sums, self.mask), self.spans.start)
        return self.chosen(sums), jnp.where(self.first & ~begins[1], begins[0], jnp.zeros((), r_t.dtype))

    def after(self, v_t: Array, v_tm1: Array | None = None) -> Array:
        """Value of what each turn leads to, 0 where that is nothing."""
        if self.spans is not None:
            v_t = jnp.where(self.spans.cut, take_rows(v_t, self.spans.last), v_t)
            if v_tm1 is not None:
                v_t = jnp.where(self.goes_on & self.spans.joined, self.following(v_tm1), v_t)
        return jnp.where(self.mask & (self.discount != 0), v_t, jnp.zeros((), v_t.dtype))

    def following(self, x: Array) -> Array:
        """What the next choice of the episode has, and 0 where there is none."""
        if self.spans is None:
            shifted = jnp.concatenate([x[1:], x[:1]])
        else:
            shifted = take_rows(x, jnp.minimum(self.spans.last + 1, x.shape[0] - 1))
        return jnp.where(self.goes_on, shifted, jnp.zeros((), x.dtype))

    def accumulate(self, delta: Array, decay: Array) -> Array:
        """From the back, e = delta + decay e of the next choice of the episode; 0 where masked."""
        one = jnp.ones((), delta.dtype)
        e = scan_back(self.chosen(delta), jnp.where(self.mask, decay, one), self.goes_on | ~self.mask)
        return self.chosen(e)


class Spans(NamedTuple):
    """How turns lie in a row with masked steps, each field of shape (T,).

    Attributes:
      last: index of the last step of the turn.
      start: index of the first step of the episode, masked or not.
      joined: whether the next step is a masked one of the same episode.
      cut: whether the turn ends with a truncation.
    """

    last: Array
    start: Array
    joined: Array
    cut: Array


def episodes(
    name: str, like: Array, mask: Any, *, discount_t: Any = 1.0, terminated: Any = None, truncated: Any = None
) -> Episodes:
    """The turns of a row of ``like.shape`` steps."""
    discount = per_step(name, like, discount_t=discount_t)
    over = flags(name, like, terminated=terminated) | (discount == 0)
    cut = flags(name, like, truncated=truncated) & ~over
    ended = over | cut
    index = jnp.arange(like.shape[0], dtype=jnp.int32)
    is_last = index == like.shape[0] - 1
    begins = _after(ended, True)
    zero, one = jnp.zeros((), like.dtype), jnp.ones((), like.dtype)
    if mask is None:
        return Episodes(jnp.ones(like.shape, bool), jnp.where(over, zero, discount), ~ended & ~is_last, begins, None)

    mask = flags(name, like, mask=mask)
    joined = ~ended & ~is_last & ~jnp.roll(mask, -1)
    last = jax.lax.cummin(jnp.where(joined, like.shape[0], index), reverse=True)
    start = jax.lax.cummax(jnp.where(begins, index, 0))
    choice_before = _after(jax.lax.cummax(jnp.where(mask, index, -1)), -1)
    over, cut, ended, is_last = take_rows((over, cut, ended, is_last), last)
    discount = jnp.where(mask, jnp.where(over, zero, discount), one)
    spans = Spans(last, start, joined, cut)
    return Episodes(mask, discount, mask & ~ended & ~is_last, mask & (choice_before < start), spans)


def scan_back(delta: Array, decay: Array, goes_on: Array) -> Array:
    """e_t = delta_t + decay_t e_{t+1} [goes on], from the back. What does not go on is not looked at, NaN included."""
    zero = jnp.zeros((), delta.dtype)

    def step(e: Array, row: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        delta, decay, goes_on = row
        e = delta + decay * jnp.where(goes_on, e, zero)
        return e, e

    return jax.lax.scan(step, zero, (delta, decay, goes_on), reverse=True)[1]


def _after(x: Array, first: Any) -> Array:
    """What the step before has."""
    return jnp.concatenate([jnp.full(1, first, x.dtype), x[:-1]])[: x.shape[0]]
