"""Losses of one trajectory: numbers to minimise, whose derivatives are policy gradients (their values: minus the estimated objective).

    reinforce       - sum_episodes [ (G - b) box(sum_t l_t) + b ]                               l_t = log pi(a_t | s_t)
    reward_to_go    - sum_t D_t [ r_t box(l_0 + ... + l_t) + b_t (1 - box(l_t)) ]               D_t = discount_0 ... discount_{t-1}
    actor_critic    - sum_t A_t box(l_t)

``box`` is ``sf.magic_box``: the number 1 with the derivatives of the likelihood ratio. Each loss takes one trajectory and returns a
sum and its weight. Map over trajectories, add up the sums and the weights over as many batches as you like, and divide at the end
(:func:`mean_loss`): the result does not depend on how they were split. What a masked step counts for is said in ``_episodes``:
nothing, but for its reward and its end.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn._surrogate import magic_box
from jax_scorefn.policy_gradient._arrays import per_step, trajectory
from jax_scorefn.policy_gradient._episodes import Episodes, episodes
from jax_scorefn.policy_gradient._loss import Loss, count, loss_of
from jax_scorefn.policy_gradient._returns import require_values, with_rest
from jax_scorefn.typing import Array


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
    l, r, v = trajectory(name, "v_t", log_prob_t=log_prob_t, r_t=r_t, v_t=v_t)
    turns = episodes(name, l, mask, discount_t=discount_t, terminated=terminated, truncated=truncated)
    require_values(name, truncated, v_t)
    rewards, in_front = turns.rewards(r)
    returns = turns.accumulate(with_rest(turns, rewards, stop_gradient(v)), turns.discount)
    scores = turns.accumulate(l, jnp.ones_like(l))
    b = turns.chosen(stop_gradient(per_step(name, l, baseline=baseline)))
    return loss_of(-((returns - b) * magic_box(scores) + b + in_front), turns.first)


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
    l, r, v = trajectory(name, "v_t", log_prob_t=log_prob_t, r_t=r_t, v_t=v_t)
    turns = episodes(name, l, mask, discount_t=discount_t, terminated=terminated, truncated=truncated)
    require_values(name, truncated, v_t)
    rewards, in_front = turns.rewards(r)
    rewards = with_rest(turns, rewards, stop_gradient(v))
    l, b = turns.chosen(l), turns.chosen(stop_gradient(per_step(name, l, baseline_t=baseline_t)))
    so_far, before = _so_far(l, turns)
    value = before * (rewards * magic_box(so_far) + b * (1 - magic_box(l))) + in_front
    return Loss(loss_of(-value, turns.mask).sum, count(turns.first, l))


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
    return loss_of(-advantage * magic_box(l), turns.mask)


def _so_far(log_prob_t: Array, turns: Episodes) -> tuple[Array, Array]:
    """Sums of log-probabilities from the start of each episode to each choice, and products of the discounts before it."""

    def step(carry: tuple[Array, Array], row: Any) -> Any:
        log_prob, discount, first = row
        total, product = (jnp.where(first, start, x) for start, x in zip(begin, carry, strict=True))
        total = total + log_prob
        return (total, product * discount), (total, product)

    begin = jnp.zeros((), log_prob_t.dtype), jnp.ones((), log_prob_t.dtype)
    return jax.lax.scan(step, begin, (log_prob_t, turns.discount, turns.first))[1]
