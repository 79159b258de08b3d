"""Losses whose ratio of the new policy to the one that acted is clipped.

ppo_clip        - sum_t min( w_t A_t, clip(w_t) A_t )                                       w_t = exp(l_t - old l_t)
grpo            the same with one advantage for the whole sequence
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn._checks import is_python_number
from jax_scorefn.policy_gradient._arrays import per_step, trajectory
from jax_scorefn.policy_gradient._episodes import Episodes, episodes
from jax_scorefn.policy_gradient._loss import Loss, loss_of
from jax_scorefn.typing import Array

REDUCTIONS = ("sequence_sum", "token_mean", "sequence_mean")
UNKNOWN_REDUCTION = "grpo: reduction={given!r}; it is one of {known}."
BAD_CLIP = "{name}: {option}={given} must be {wanted}."
ONE_ADVANTAGE = (
    "grpo takes one advantage for the whole sequence, a scalar, not shape {shape}; for one at each step use ppo_clip."
)


def ppo_clip(
    log_prob_t: Array,
    old_log_prob_t: Array,
    advantage_t: Array,
    *,
    clip: Array | float = 0.2,
    clip_high: Array | float | None = None,
    max_log_ratio: Array | float = 20.0,
    mask: Array | None = None,
) -> Loss:
    """The clipped surrogate of PPO: the ratio of the new policy to the old one counts no further than 1 - clip or 1 + clip.

    Ratios are bounded as logarithms, so value and derivative are finite for every finite pair of log-probabilities.

    Args:
      log_prob_t: log-probability of each action under the policy that learns, shape (T,).
      old_log_prob_t: the same under the policy that acted; never differentiated.
      advantage_t: advantages (T,); never differentiated.
      clip: how far the ratio may fall below 1; 1 is no bound from below. Each bound is a number, or an array that may be traced.
      clip_high: how far it may rise above 1; None is ``clip``.
      max_log_ratio: where an advantage is negative the ratio has no bound from above; here is one, beyond which the derivative is 0.
      mask: booleans (T,); False marks steps that nobody chose, which change nothing.

    Returns:
      :class:`Loss`, with the number of steps as its weight.

    Raises:
      TypeError: for arrays that are not one trajectory.
      ValueError: for bounds that are none.

    Bias: none at the first step on a batch, where all ratios are 1 and it is :func:`actor_critic`; later wherever a bound is reached.
    First derivatives only.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> loss = lambda l: sf.policy_gradient.ppo_clip(l, jnp.zeros(3), jnp.array([1.0, 1.0, -1.0])).sum
      >>> print(jax.grad(loss)(jnp.array([0.0, 1e3, -1e3])))
      [-1.  0.  0.]

    References: schulman2017.
    """
    name = "ppo_clip"
    l, old, advantage = trajectory(name, log_prob_t=log_prob_t, old_log_prob_t=old_log_prob_t, advantage_t=advantage_t)
    return _clipped(name, episodes(name, l, mask), l, old, advantage, clip, clip_high, max_log_ratio)


def grpo(
    log_prob_t: Array,
    old_log_prob_t: Array,
    advantage: Array,
    *,
    reduction: str = "sequence_sum",
    clip: Array | float = 0.2,
    clip_high: Array | float | None = None,
    max_log_ratio: Array | float = 20.0,
    mask: Array | None = None,
) -> Loss:
    """:func:`ppo_clip` on one sequence, all of whose steps have the same advantage, from :func:`group_advantages`.

    Args:
      log_prob_t: log-probability of each token under the policy that learns, shape (T,).
      old_log_prob_t: the same under the policy that sampled; never differentiated.
      advantage: one number for the sequence; never differentiated.
      reduction: what an average over sequences weighs. "sequence_sum": sums over tokens, averaged over sequences, the gradient of the
        expected reward; "token_mean": averaged over all tokens of all sequences; "sequence_mean": each sequence averaged over its
        own tokens first, as in the paper, which weighs tokens of short sequences more.
      clip: as in :func:`ppo_clip`.
      clip_high: as in :func:`ppo_clip`.
      max_log_ratio: as in :func:`ppo_clip`.
      mask: booleans (T,): which positions are answer (not prompt, not observation, not padding).

    Returns:
      :class:`Loss`: weight 1, or the number of tokens with "token_mean"; 0 for a sequence without a token of the answer.

    Raises:
      TypeError: for arrays of other shapes.
      ValueError: for an unknown reduction, and for bounds that are none.

    Bias: on-policy with "sequence_sum" none but that of the advantages; the other reductions have objectives of their own.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> l, mask = jnp.zeros(4), jnp.array([False, True, True, True])
      >>> for reduction in ("sequence_sum", "token_mean", "sequence_mean"):
      ...     print(*sf.policy_gradient.grpo(l, l, 2.0, reduction=reduction, mask=mask))
      -6.0 1.0
      -6.0 3.0
      -2.0 1.0

    References: shao2024.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(UNKNOWN_REDUCTION.format(given=reduction, known=REDUCTIONS))
    l, old = trajectory("grpo", log_prob_t=log_prob_t, old_log_prob_t=old_log_prob_t)
    if jnp.shape(advantage) != ():
        raise TypeError(ONE_ADVANTAGE.format(shape=list(jnp.shape(advantage))))
    turns = episodes("grpo", l, mask)
    advantages = per_step("grpo", l, advantage=advantage)
    total, tokens = _clipped("grpo", turns, l, old, advantages, clip, clip_high, max_log_ratio)
    if reduction == "token_mean":
        return Loss(total, tokens)
    if reduction == "sequence_mean":
        total = total / jnp.maximum(tokens, 1)
    return Loss(total, jnp.minimum(tokens, 1))  # a sequence that is all padding is none


def _clipped(
    name: str, turns: Episodes, new: Array, old: Array, advantage: Array, low: Any, high: Any, most: Any
) -> Loss:
    """min(w A, clip(w) A): for A >= 0 the ratio counts up to 1 + high, for A < 0 down to 1 - low."""
    high = low if high is None else high
    for option, given, wanted, good in (
        ("clip", low, "above 0 and at most 1", lambda x: 0 < x <= 1),
        ("clip_high", high, "above 0", lambda x: x > 0),
        ("max_log_ratio", most, "above 0", lambda x: x > 0),
    ):
        if is_python_number(given) and not good(given):
            raise ValueError(BAD_CLIP.format(name=name, option=option, given=given, wanted=wanted))
    low, high, most = (jnp.asarray(x, new.dtype) for x in (low, high, most))
    log_ratio, advantage = turns.chosen(new - stop_gradient(old)), turns.chosen(stop_gradient(advantage))
    gain = jnp.minimum(log_ratio, jnp.log1p(high))
    loss = jnp.clip(log_ratio, jnp.log1p(-low), most)
    return loss_of(-jnp.exp(jnp.where(advantage >= 0, gain, loss)) * advantage, turns.mask)
