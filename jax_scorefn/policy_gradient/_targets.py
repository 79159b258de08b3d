"""Other targets and advantages from values: of n steps, of another policy's actions, of what went well.

    n_step_returns   r_t + discount_t r_{t+1} + ... + discounts v after n steps
    retrace          q_t + e_t,  e_t = delta_t + discount_t lambda min(1, rho_{t+1}) e_{t+1},  delta_t = r_t + discount_t v_t - q_t
    upgo             e_t = delta_t + discount_t [delta_{t+1} >= 0] e_{t+1}

The last two are the recursion of ``_returns`` with other coefficients. Peng's Q(lambda) is :func:`lambda_returns` with the largest
action values as ``v_tm1`` and ``v_t``.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn._checks import positive_int
from jax_scorefn.policy_gradient._arrays import per_step, real, trajectory
from jax_scorefn.policy_gradient._episodes import episodes
from jax_scorefn.policy_gradient._returns import differences
from jax_scorefn.typing import Array


def n_step_returns(
    r_t: Array,
    v_tm1: Array,
    v_t: Array,
    *,
    n: int,
    discount_t: Array | float = 0.99,
    terminated: Array | None = None,
    truncated: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """Rewards of n steps, and the value of where they led to; less where an episode or the window ends before.

    Args:
      r_t: rewards, shape (T,).
      v_tm1: value of the state in which each action was taken, read where masked steps lie in front of it, as in :func:`gae`.
      v_t: value of the state that each step led to, before any reset.
      n: how many steps.
      discount_t: a number, or one for each step; 0 is an end, as ``terminated`` is.
      terminated: booleans (T,), as in :func:`discounted_returns`.
      truncated: booleans (T,), as in :func:`discounted_returns`.
      mask: booleans (T,), as in :func:`discounted_returns`.

    Returns:
      Targets, shape (T,); 0 where masked.

    Raises:
      TypeError: for arrays that are not one trajectory, and flags that are not booleans.
      ValueError: for an n below 1.

    Bias: that of the critic, discounted n times.

    Cost: n passes over the trajectory.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> r, v = jnp.array([1.0, 2.0, 4.0]), jnp.full(4, 8.0)
      >>> print(sf.policy_gradient.n_step_returns(r, v[:-1], v[1:], n=2, discount_t=0.5))
      [4. 6. 8.]

    References: suttonbarto2018 (section 7.1).
    """
    name = "n_step_returns"
    n = positive_int("n_step_returns: n", n)
    r, before, v = trajectory(name, r_t=r_t, v_tm1=v_tm1, v_t=v_t)
    turns = episodes(name, r, mask, discount_t=discount_t, terminated=terminated, truncated=truncated)
    rewards, after = turns.chosen(turns.rewards(r)[0]), turns.after(v, before)
    target = rewards + turns.discount * after
    for _ in range(n - 1):
        target = rewards + turns.discount * jnp.where(turns.goes_on, turns.following(target), after)
    return turns.chosen(target).astype(real(name, "r_t", r_t).dtype)


def retrace(
    r_t: Array,
    q_tm1: Array,
    v_tm1: Array,
    v_t: Array,
    log_rho_t: Array,
    *,
    discount_t: Array | float = 0.99,
    lambda_: Array | float = 1.0,
    terminated: Array | None = None,
    truncated: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """Targets for action values from the actions of another policy, whose ratios are cut at one.

    Args:
      r_t: rewards, shape (T,).
      q_tm1: value of the action that was taken, in the state in which it was taken.
      v_tm1: expected value of the actions of the policy that learns, sum_a pi(a) q(s, a), in the state in which each was taken; read
        where masked steps lie in front of it, as in :func:`gae`.
      v_t: the same in the state that the step led to.
      log_rho_t: log-probability of the action under the policy that learns, minus that under the policy that acted, shape (T,);
        never differentiated.
      discount_t: a number, or one for each step; 0 is an end, as ``terminated`` is.
      lambda_: between 0 (one step) and 1.
      terminated: booleans (T,), as in :func:`gae`.
      truncated: booleans (T,), as in :func:`gae`.
      mask: booleans (T,), as in :func:`discounted_returns`.

    Returns:
      Targets, shape (T,): what ``q_tm1`` should be. (Some libraries return the difference.) Stop them in a loss.

    Raises:
      TypeError: for arrays that are not one trajectory, and flags that are not booleans.

    Bias: that of the critic, which iterating removes for every behaviour policy.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> r, q, v = jnp.array([1.0, 2.0]), jnp.array([1.0, 1.0]), jnp.array([0.0, 1.0, 3.0])
      >>> print(sf.policy_gradient.retrace(r, q, v[:-1], v[1:], jnp.log(jnp.array([1.0, 0.5])), discount_t=0.5))
      [2.125 3.5  ]

    References: munos2016.
    """
    name = "retrace"
    r, q, before, after, log_rho = trajectory(name, r_t=r_t, q_tm1=q_tm1, v_tm1=v_tm1, v_t=v_t, log_rho_t=log_rho_t)
    turns = episodes(name, r, mask, discount_t=discount_t, terminated=terminated, truncated=truncated)
    q = turns.chosen(q)
    delta = turns.chosen(turns.rewards(r)[0]) + turns.discount * turns.after(after, before) - q
    trace = jnp.exp(jnp.minimum(turns.chosen(stop_gradient(log_rho)), 0.0))
    decay = turns.discount * turns.chosen(per_step(name, r, lambda_=lambda_)) * turns.following(trace)
    return (turns.accumulate(delta, decay) + q).astype(real(name, "r_t", r_t).dtype)


def upgo(
    r_t: Array,
    v_tm1: Array,
    v_t: Array,
    *,
    discount_t: Array | float = 0.99,
    terminated: Array | None = None,
    truncated: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """Advantages that follow a trajectory as long as its steps are no worse than the critic expects, and take its word from there.

    With G_t = r_t + discount_t (G_{t+1} where r_{t+1} + discount_{t+1} v_{t+2} >= v_{t+1}, else v_{t+1}) it is G_t - v_tm1: that is
    :func:`gae` with a ``lambda_`` of 1 where the next temporal difference is not below 0, and 0 elsewhere.

    Arguments and errors are those of :func:`gae`.

    Bias: upwards, by design: what went well is believed, and what went badly is not.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> r, v = jnp.array([1.0, 1.0, -4.0]), jnp.zeros(4)
      >>> print(sf.policy_gradient.upgo(r, v[:-1], v[1:], discount_t=1.0))
      [ 2.  1. -4.]

    References: vinyals2019.
    """
    name = "upgo"
    r, before, after = trajectory(name, r_t=r_t, v_tm1=v_tm1, v_t=v_t)
    turns = episodes(name, r, mask, discount_t=discount_t, terminated=terminated, truncated=truncated)
    delta, _ = differences(name, turns, r, before, after, 1.0)
    well = turns.following((delta >= 0).astype(delta.dtype))
    return turns.accumulate(delta, turns.discount * stop_gradient(well)).astype(real(name, "r_t", r_t).dtype)
