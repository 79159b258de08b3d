"""Losses: numbers to minimise, whose value is minus the objective's estimate and whose derivatives are policy gradients.

    reinforce       - sum_episodes [ (G - b) box(sum_t l_t) + b ]                               l_t = log pi(a_t | s_t)
    reward_to_go    - sum_t D_t [ r_t box(l_0 + ... + l_t) + b_t (1 - box(l_t)) ]               D_t = discount_0 ... discount_{t-1}
    actor_critic    - sum_t A_t box(l_t)
    ppo_clip        - sum_t min( w_t A_t, clip(w_t) A_t )                                       w_t = exp(l_t - old l_t)

``box`` is ``sf.magic_box``: the number 1 with the derivatives of the likelihood ratio. Each loss takes one trajectory and returns a
sum and its weight. Map over trajectories, add up the sums and the weights over as many batches as you like, and divide at the end
(:func:`mean_loss`): the result does not depend on how they were split.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn._surrogate import magic_box
from jax_scorefn.policy_gradient._returns import _accumulate, _checked, _episodes, discounted_returns
from jax_scorefn.typing import Array

REDUCTIONS = ("sequence_sum", "token_mean", "sequence_mean")
UNKNOWN_REDUCTION = "grpo: reduction={given!r}; it is one of {known}."
BAD_CLIP = "{name}: {option}={given} must be {wanted}."
ONE_ADVANTAGE = (
    "grpo takes one advantage for the whole sequence, a scalar, not shape {shape}; for one at each step use ppo_clip."
)


class Loss(NamedTuple):
    """A sum and what to divide it by: of one trajectory, of a batch (leading axes), or of all so far (``a + b`` of each)."""

    sum: Array
    weight: Array


def mean_loss(*losses: Loss) -> Array:
    """Sum of all sums over sum of all weights, whatever the shapes: the number to differentiate.

    Example:
      >>> import jax.numpy as jnp
      >>> from jax_scorefn.policy_gradient import Loss, mean_loss
      >>> print(mean_loss(Loss(jnp.array([2.0, 4.0]), jnp.array([1.0, 2.0])), Loss(jnp.array(3.0), jnp.array(0.0))))
      3.0
    """
    total, weight = (sum(jnp.sum(part) for part in parts) for parts in zip(*losses, strict=True))
    weight = stop_gradient(jnp.asarray(weight))
    return jnp.asarray(total) / jnp.where(weight == 0, 1, weight)


def reinforce(
    log_prob_t: Array,
    r_t: Array,
    *,
    baseline: Array | float = 0.0,
    discount_t: Array | float = 1.0,
    terminated: Array | None = None,
    truncated: Array | None = None,
    v_t: Array | None = None,
    mask: Array | None = None,
) -> Loss:
    """Every action of an episode with the whole return of the episode: the score function as it stands in the textbook.

    Args:
      log_prob_t: log-probability of each action, shape (T,), differentiable in the parameters.
      r_t: rewards (T,). Where they depend on the parameters (a penalty, say) that derivative is kept.
      baseline: a number that does not depend on the actions, or one for each step, of which that of an episode's first step counts.
      discount_t: a number, or one for each step.
      terminated: booleans (T,), as in :func:`discounted_returns`.
      truncated: booleans (T,), as in :func:`discounted_returns`.
      v_t: values, as in :func:`discounted_returns`.
      mask: booleans (T,); False marks padding, which changes nothing.

    Returns:
      :class:`Loss`: minus the returns of the episodes of the window, and how many there are.

    Raises:
      TypeError, ValueError: as :func:`discounted_returns`.

    Bias: none for one episode, for derivatives of every order. For a window of several see :func:`reward_to_go`.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> loss = lambda l: sf.policy_gradient.reinforce(l, jnp.array([1.0, 2.0])).sum
      >>> print(loss(jnp.zeros(2)), jax.grad(loss)(jnp.zeros(2)))
      -3.0 [-3. -3.]

    References: williams1992.
    """
    returns = discounted_returns(
        r_t, discount_t=discount_t, terminated=terminated, truncated=truncated, v_t=v_t, mask=mask
    )
    log_prob_t = _checked("reinforce", returns, log_prob_t=log_prob_t)
    goes_on, _, mask = _episodes("reinforce", returns, discount_t, terminated, truncated, mask)
    scores = _accumulate(log_prob_t, goes_on.astype(log_prob_t.dtype), mask)
    first = mask & ~_follows(goes_on)
    b = stop_gradient(jnp.broadcast_to(jnp.asarray(baseline, returns.dtype), returns.shape))
    value = (returns - b) * magic_box(scores).astype(returns.dtype) + b
    return _loss(-value, first)


def reward_to_go(
    log_prob_t: Array,
    r_t: Array,
    *,
    baseline_t: Array | float = 0.0,
    discount_t: Array | float = 1.0,
    terminated: Array | None = None,
    truncated: Array | None = None,
    v_t: Array | None = None,
    mask: Array | None = None,
) -> Loss:
    """Each action with what comes after it in its episode: sum_t D_t (G_t - b_t) grad log pi(a_t | s_t).

    Args:
      log_prob_t: log-probability of each action, shape (T,), differentiable in the parameters.
      r_t: rewards (T,). Where they depend on the parameters (a penalty, say) that derivative is kept.
      baseline_t: a number or one for each step, a function of the state and not of the action: ``v_tm1``, say. Never differentiated.
      discount_t: a number, or one for each step. The product D_t of those before t multiplies what happens at t, as the discounted
        objective has it; much code leaves it out, and then follows no gradient (nota2020).
      terminated: booleans (T,), as in :func:`discounted_returns`.
      truncated: booleans (T,), as in :func:`discounted_returns`.
      v_t: values, as in :func:`discounted_returns`.
      mask: booleans (T,); False marks padding, which changes nothing.

    Returns:
      :class:`Loss`: minus the discounted returns of the episodes of the window, and how many there are.

    Raises:
      TypeError, ValueError: as :func:`discounted_returns`.

    Bias: none for one episode, for derivatives of every order (with ``v_t``, that of the critic). In a window of several, actions are
    charged up to the end of their episode: the gradient of the return of the episode in progress, not of the sum over the window. For
    that one use :func:`jax_scorefn.expectation`.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> loss = lambda l: sf.policy_gradient.reward_to_go(l, jnp.array([1.0, 2.0])).sum
      >>> print(loss(jnp.zeros(2)), jax.grad(loss)(jnp.zeros(2)))
      -3.0 [-3. -2.]

    References: williams1992, foerster2018 (every order), mao2019 (the baseline's term).
    """
    name = "reward_to_go"
    returns = discounted_returns(  # for its checks and the values at the ends
        r_t, discount_t=discount_t, terminated=terminated, truncated=truncated, v_t=v_t, mask=mask
    )
    r_t, log_prob_t = _checked(name, returns, r_t=r_t), _checked(name, returns, log_prob_t=log_prob_t)
    goes_on, discount, mask = _episodes(name, returns, discount_t, terminated, truncated, mask)
    if v_t is not None:
        r_t = r_t + jnp.where(goes_on | (discount == 0), 0.0, discount * _checked(name, returns, v_t=v_t))
    b = stop_gradient(jnp.broadcast_to(jnp.asarray(baseline_t, returns.dtype), returns.shape))
    r_t, log_prob_t, b = (jnp.where(mask, x, 0.0) for x in (r_t, log_prob_t, b))
    so_far, before = _so_far(log_prob_t, discount, goes_on)
    value = before * (r_t * magic_box(so_far) + b * (1 - magic_box(log_prob_t)))
    total = _loss(-value, mask)
    return Loss(total.sum, jnp.sum(mask & ~_follows(goes_on)).astype(returns.dtype))


def actor_critic(log_prob_t: Array, advantage_t: Array, *, mask: Array | None = None) -> Loss:
    """Each action with its advantage, which comes from elsewhere and is not differentiated: minus sum_t A_t, and T.

    The critic learns by a loss of its own, :func:`critic_loss`; add the two.

    Args:
      log_prob_t: log-probability of each action, shape (T,), differentiable in the parameters.
      advantage_t: from :func:`gae`, :func:`vtrace`, :func:`group_advantages`, ..., shape (T,).
      mask: booleans (T,); False marks padding, which changes nothing.

    Returns:
      :class:`Loss`, with the number of steps as its weight.

    Raises:
      TypeError: for arrays that are not one trajectory.

    Bias: that of the advantages as estimates of q - v, and of leaving out the discounts D_t of :func:`reward_to_go`; multiply the
    advantages by them where that matters.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> loss = lambda l: sf.policy_gradient.actor_critic(l, jnp.array([1.0, -2.0])).sum
      >>> print(loss(jnp.zeros(2)), jax.grad(loss)(jnp.zeros(2)))
      1.0 [-1.  2.]

    References: mnih2016.
    """
    advantage_t = stop_gradient(_checked("actor_critic", advantage_t=advantage_t))
    log_prob_t = _checked("actor_critic", advantage_t, log_prob_t=log_prob_t)
    mask = _episodes("actor_critic", advantage_t, 1.0, None, None, mask)[2]
    return _loss(-advantage_t * magic_box(jnp.where(mask, log_prob_t, 0.0)), mask)


def critic_loss(v_tm1: Array, target_t: Array, *, mask: Array | None = None) -> Loss:
    """Half the squared distance of the critic from its targets, which are not differentiated; weight: the number of steps.

    Args:
      v_tm1: value of the state in which each action was taken, shape (T,), differentiable in the critic's parameters.
      target_t: from :func:`lambda_returns`, :func:`vtrace` or :func:`discounted_returns`, shape (T,).
      mask: booleans (T,); False marks padding, which changes nothing.

    Returns:
      :class:`Loss`.

    Raises:
      TypeError: for arrays that are not one trajectory.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> print(sf.policy_gradient.critic_loss(jnp.array([1.0, 2.0]), jnp.array([2.0, 4.0])).sum)
      2.5
    """
    v_tm1 = _checked("critic_loss", v_tm1=v_tm1)
    target_t = stop_gradient(_checked("critic_loss", v_tm1, target_t=target_t))
    mask = _episodes("critic_loss", v_tm1, 1.0, None, None, mask)[2]
    return _loss(0.5 * jnp.where(mask, v_tm1 - target_t, 0.0) ** 2, mask)


def ppo_clip(
    log_prob_t: Array,
    old_log_prob_t: Array,
    advantage_t: Array,
    *,
    clip: float = 0.2,
    clip_high: float | None = None,
    max_log_ratio: float = 20.0,
    mask: Array | None = None,
) -> Loss:
    """The clipped surrogate of PPO: the ratio of the new policy to the old one counts no further than 1 - clip or 1 + clip.

    Ratios are bounded as logarithms, so value and derivative are finite for every finite pair of log-probabilities.

    Args:
      log_prob_t: log-probability of each action under the policy that learns, shape (T,).
      old_log_prob_t: the same under the policy that acted; never differentiated.
      advantage_t: advantages (T,); never differentiated.
      clip: how far the ratio may fall below 1.
      clip_high: how far it may rise above 1; None is ``clip``.
      max_log_ratio: where an advantage is negative the ratio has no bound from above; here is one, beyond which the derivative is 0.
      mask: booleans (T,); False marks padding, which changes nothing.

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
    advantage_t = stop_gradient(_checked(name, advantage_t=advantage_t))
    old = stop_gradient(_checked(name, advantage_t, old_log_prob_t=old_log_prob_t))
    log_prob_t = _checked(name, advantage_t, log_prob_t=log_prob_t)
    mask = _episodes(name, advantage_t, 1.0, None, None, mask)[2]
    return _loss(-_clipped(name, log_prob_t, old, advantage_t, clip, clip_high, max_log_ratio, mask), mask)


def grpo(
    log_prob_t: Array,
    old_log_prob_t: Array,
    advantage: Array,
    *,
    reduction: str = "sequence_sum",
    clip: float = 0.2,
    clip_high: float | None = None,
    max_log_ratio: float = 20.0,
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
      clip: how far the ratio may fall below 1.
      clip_high: how far it may rise above 1; None is ``clip``.
      max_log_ratio: as in :func:`ppo_clip`.
      mask: booleans (T,): which positions are answer (not prompt, not padding).

    Returns:
      :class:`Loss`: weight 1, or the number of tokens with "token_mean".

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
    log_prob_t = _checked("grpo", log_prob_t=log_prob_t)
    old = stop_gradient(_checked("grpo", log_prob_t, old_log_prob_t=old_log_prob_t))
    if jnp.shape(advantage) != ():
        raise TypeError(ONE_ADVANTAGE.format(shape=list(jnp.shape(advantage))))
    advantages = stop_gradient(jnp.full(log_prob_t.shape, advantage, log_prob_t.dtype))
    mask = _episodes("grpo", log_prob_t, 1.0, None, None, mask)[2]
    total, tokens = _loss(-_clipped("grpo", log_prob_t, old, advantages, clip, clip_high, max_log_ratio, mask), mask)
    if reduction == "token_mean":
        return Loss(total, tokens)
    return Loss(total / jnp.maximum(tokens, 1) if reduction == "sequence_mean" else total, jnp.ones_like(tokens))


def _clipped(
    name: str, new: Array, old: Array, advantage: Array, low: float, high: float | None, most: float, mask: Array
) -> Array:
    """min(w A, clip(w) A): for A >= 0 the ratio counts up to 1 + high, for A < 0 down to 1 - low."""
    high = low if high is None else high
    if not 0 < low < 1:
        raise ValueError(BAD_CLIP.format(name=name, option="clip", given=low, wanted="between 0 and 1"))
    if not high > 0 or not most > 0:
        option, given = ("max_log_ratio", most) if high > 0 else ("clip_high", high)
        raise ValueError(BAD_CLIP.format(name=name, option=option, given=given, wanted="above 0"))
    log_ratio = jnp.where(mask, new - old, 0.0)
    gain = jnp.minimum(log_ratio, math.log1p(high))
    loss = jnp.clip(log_ratio, math.log1p(-low), most)
    return jnp.exp(jnp.where(advantage >= 0, gain, loss)) * advantage


def _so_far(log_prob_t: Array, discount: Array, goes_on: Array) -> tuple[Array, Array]:
    """Sums of log-probabilities from the start of each episode to each step, and products of the discounts before it."""
    keep = _follows(goes_on)

    def step(carry: tuple[Array, Array], row: Any) -> Any:
        total, product = carry
        log_prob, gamma, keep = row
        total, product = jnp.where(keep, total, 0.0) + log_prob, jnp.where(keep, product, 1.0)
        return (total, product * gamma), (total, product)

    rows = (log_prob_t, discount.astype(log_prob_t.dtype), keep)
    zero = jnp.zeros((), log_prob_t.dtype)
    return jax.lax.scan(step, (zero, zero + 1), rows)[1]


def _follows(goes_on: Array) -> Array:
    """Whether a step goes on with the episode of the one before."""
    return jnp.concatenate([jnp.zeros(1, bool), goes_on[:-1]])


def _loss(terms: Array, counted: Array) -> Loss:
    return Loss(jnp.sum(jnp.where(counted, terms, 0.0)), jnp.sum(counted).astype(terms.dtype))
