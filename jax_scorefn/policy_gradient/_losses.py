"""Losses: numbers to minimise, whose value is minus the objective's estimate and whose derivatives are policy gradients.

    reinforce       - sum_episodes [ (G - b) box(sum_t l_t) + b ]                               l_t = log pi(a_t | s_t)
    reward_to_go    - sum_t D_t [ r_t box(l_0 + ... + l_t) + b_t (1 - box(l_t)) ]               D_t = discount_0 ... discount_{t-1}
    actor_critic    - sum_t A_t box(l_t)
    ppo_clip        - sum_t min( w_t A_t, clip(w_t) A_t )                                       w_t = exp(l_t - old l_t)

``box`` is ``sf.magic_box``: the number 1 with the derivatives of the likelihood ratio. Each loss takes one trajectory and returns a
sum and its weight. Map over trajectories, add up the sums and the weights over as many batches as you like, and divide at the end
(:func:`mean_loss`): the result does not depend on how they were split. What a masked step counts for is said in ``_episodes``:
nothing, but for its reward and its end.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn._checks import is_python_number
from jax_scorefn._surrogate import magic_box
from jax_scorefn._trees import to_float, widest
from jax_scorefn.policy_gradient._arrays import per_step, trajectory, wide
from jax_scorefn.policy_gradient._episodes import Episodes, episodes
from jax_scorefn.policy_gradient._returns import require_values, with_rest
from jax_scorefn.typing import Array

REDUCTIONS = ("sequence_sum", "token_mean", "sequence_mean")
UNKNOWN_REDUCTION = "grpo: reduction={given!r}; it is one of {known}."
BAD_CLIP = "{name}: {option}={given} must be {wanted}."
ONE_ADVANTAGE = (
    "grpo takes one advantage for the whole sequence, a scalar, not shape {shape}; for one at each step use ppo_clip."
)


class Loss(NamedTuple):
    """A sum and what to divide it by: of one trajectory, of a batch (leading axes), or of all so far (``a + b`` of each).

    Both are float32 at least, whatever the arrays were: half precision has no weight of 1025.
    """

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
    totals, weights = ([to_float(part) for part in parts] for parts in zip(*losses, strict=True))
    dtype = wide([*totals, *weights])
    total, weight = (sum(jnp.sum(part.astype(dtype)) for part in parts) for parts in (totals, weights))
    weight = stop_gradient(jnp.asarray(weight))
    mean = jnp.asarray(total) / jnp.where(weight == 0, 1, weight)
    return mean.astype(widest(totals))


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
      baseline: a number that does not depend on the actions, or one for each step, of which that of an episode's first choice counts.
        Never differentiated.
      discount_t: a number, or one for each step; 0 is an end, as ``terminated`` is.
      terminated: booleans (T,), as in :func:`discounted_returns`.
      truncated: booleans (T,), as in :func:`discounted_returns`.
      v_t: values, as in :func:`discounted_returns`. Never differentiated.
      mask: booleans (T,); False marks steps that nobody chose, as in :func:`discounted_returns`. Rewards in front of the first choice
        of an episode are in the value alone.

    Returns:
      :class:`Loss`: minus the returns of the episodes of the window, and how many there are that have a choice.

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
    name = "reinforce"
    l, r, v = trajectory(name, log_prob_t=log_prob_t, r_t=r_t, v_t=v_t)
    turns = episodes(name, l, mask, discount_t=discount_t, terminated=terminated, truncated=truncated)
    require_values(name, truncated, v_t)
    rewards, in_front = turns.rewards(r)
    returns = turns.accumulate(with_rest(turns, rewards, stop_gradient(v)), turns.discount)
    scores = turns.accumulate(l, jnp.ones_like(l))
    b = turns.chosen(stop_gradient(per_step(name, l, baseline=baseline)))
    return _loss(-((returns - b) * magic_box(scores) + b + in_front), turns.first)


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
      discount_t: a number, or one for each step; 0 is an end, as ``terminated`` is. The product D_t of those before t in the episode
        multiplies what happens at t, as the discounted objective has it; much code leaves it out, and then follows no gradient
        (nota2020).
      terminated: booleans (T,), as in :func:`discounted_returns`.
      truncated: booleans (T,), as in :func:`discounted_returns`.
      v_t: values, as in :func:`discounted_returns`. Never differentiated.
      mask: booleans (T,); False marks steps that nobody chose, as in :func:`discounted_returns`. Rewards in front of the first choice
        of an episode are in the value alone.

    Returns:
      :class:`Loss`: minus the discounted returns of the episodes of the window, and how many there are that have a choice.

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
    l, r, v = trajectory(name, log_prob_t=log_prob_t, r_t=r_t, v_t=v_t)
    turns = episodes(name, l, mask, discount_t=discount_t, terminated=terminated, truncated=truncated)
    require_values(name, truncated, v_t)
    rewards, in_front = turns.rewards(r)
    rewards = with_rest(turns, rewards, stop_gradient(v))
    l, b = turns.chosen(l), turns.chosen(stop_gradient(per_step(name, l, baseline_t=baseline_t)))
    so_far, before = _so_far(l, turns)
    value = before * (rewards * magic_box(so_far) + b * (1 - magic_box(l))) + in_front
    return Loss(_loss(-value, turns.mask).sum, _count(turns.first, l))


def actor_critic(log_prob_t: Array, advantage_t: Array, *, mask: Array | None = None) -> Loss:
    """Each action with its advantage, which comes from elsewhere and is not differentiated: minus sum_t A_t, and T.

    The critic learns by a loss of its own, :func:`critic_loss`; add the two.

    Args:
      log_prob_t: log-probability of each action, shape (T,), differentiable in the parameters.
      advantage_t: from :func:`gae`, :func:`vtrace`, :func:`group_advantages`, ..., shape (T,).
      mask: booleans (T,); False marks steps that nobody chose, which change nothing.

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
    l, advantage = trajectory("actor_critic", log_prob_t=log_prob_t, advantage_t=advantage_t)
    turns = episodes("actor_critic", l, mask)
    l, advantage = turns.chosen(l), turns.chosen(stop_gradient(advantage))
    return _loss(-advantage * magic_box(l), turns.mask)


def critic_loss(v_tm1: Array, target_t: Array, *, mask: Array | None = None) -> Loss:
    """Half the squared distance of the critic from its targets, which are not differentiated; weight: the number of steps.

    Args:
      v_tm1: value of the state in which each action was taken, shape (T,), differentiable in the critic's parameters.
      target_t: from :func:`lambda_returns`, :func:`vtrace` or :func:`discounted_returns`, shape (T,).
      mask: booleans (T,); False marks steps that nobody chose, which change nothing.

    Returns:
      :class:`Loss`.

    Raises:
      TypeError: for arrays that are not one trajectory.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> print(sf.policy_gradient.critic_loss(jnp.array([1.0, 2.0]), jnp.array([2.0, 4.0])).sum)
      2.5
    """
    value, target = trajectory("critic_loss", v_tm1=v_tm1, target_t=target_t)
    turns = episodes("critic_loss", value, mask)
    return _loss(0.5 * turns.chosen(value - stop_gradient(target)) ** 2, turns.mask)


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
    return _loss(-jnp.exp(jnp.where(advantage >= 0, gain, loss)) * advantage, turns.mask)


def _so_far(log_prob_t: Array, turns: Episodes) -> tuple[Array, Array]:
    """Sums of log-probabilities from the start of each episode to each choice, and products of the discounts before it."""

    def step(carry: tuple[Array, Array], row: Any) -> Any:
        log_prob, discount, first = row
        total, product = (jnp.where(first, start, x) for start, x in zip(begin, carry, strict=True))
        total = total + log_prob
        return (total, product * discount), (total, product)

    begin = jnp.zeros((), log_prob_t.dtype), jnp.ones((), log_prob_t.dtype)
    return jax.lax.scan(step, begin, (log_prob_t, turns.discount, turns.first))[1]


def _count(counted: Array, like: Array) -> Array:
    return jnp.sum(counted, dtype=jnp.int32).astype(like.dtype)


def _loss(terms: Array, counted: Array) -> Loss:
    return Loss(jnp.sum(jnp.where(counted, terms, 0.0)), _count(counted, terms))
