"""Returns and advantages of one trajectory: one recursion from the back, with four sets of coefficients.

    e_t = delta_t + decay_t e_{t+1},    delta_t = rho_t (r_t + c_t v_t - v_tm1),    decay_t = lambda kappa_t c_t [goes on]
    c_t = discount_t, or 0 after a termination

    gae                 e_t                                             rho = kappa = 1
    lambda_returns      v_tm1 + e_t                                     rho = kappa = 1
    discounted_returns  lambda = 1, where all values but the last of an episode cancel: they are left out
    vtrace              v_tm1 + e_t, its targets                        rho, kappa: clipped ratios of two policies

Names are those of the field: at step t an action is taken in a state of value ``v_tm1``, brings the reward ``r_t``, and leads to a
state of value ``v_t``, before any reset. Where episodes end, and what a masked step counts for, is said in ``_episodes``: a step is a
choice with the masked steps right behind it, t + 1 is the next choice of the episode, and what is masked gets 0. Everything is an
array of T steps; map over trajectories with ``jax.vmap``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn._checks import denies
from jax_scorefn.policy_gradient._arrays import per_step, real, trajectory
from jax_scorefn.policy_gradient._episodes import Episodes, episodes
from jax_scorefn.typing import Array

NO_VALUE_AT_TRUNCATION = (
    "{name} was given truncated= without v_t=. A truncated episode would have gone on: pass the values of the states that "
    "it was cut at, or, if the rest counts nothing, pass those steps as terminated=."
)
BAD_BOUND = "vtrace: {option}={given} must be a number that is 0 or more (it bounds ratios), or None for no bound."


class VTrace(NamedTuple):
    """What :func:`vtrace` returns, each of shape (T,): targets for the critic, and advantages for the policy gradient."""

    targets: Array
    advantages: Array


def discounted_returns(
    r_t: Array,
    *,
    discount_t: Array | float = 1.0,
    terminated: Array | None = None,
    truncated: Array | None = None,
    v_t: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """The return of each step to the end of its episode: G_t = r_t + discount_t G_{t+1}.

    G_{t+1} is 0 after a termination, and ``v_t`` where the episode is truncated or the window is over (0 without ``v_t``: what comes
    after the window then counts nothing).

    Args:
      r_t: rewards, shape (T,).
      discount_t: a number, or one for each step; 0 is an end, as ``terminated`` is.
      terminated: booleans (T,): the episode ended with this step, and nothing comes after.
      truncated: booleans (T,): the episode was cut off after this step; needs ``v_t``.
      v_t: value of the state that each step led to, before any reset. Read where an episode is truncated or the window is over.
      mask: booleans (T,): False marks steps that nobody chose: a prompt, an observation, padding. They get 0, and their rewards are
        those of the choice before them in the episode.

    Returns:
      Returns, shape (T,). They are differentiable in the rewards and values; losses stop them.

    Raises:
      TypeError: for arrays that are not one trajectory, and flags that are not booleans.
      ValueError: for truncations without values.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> r, end = jnp.array([1.0, 2.0, 4.0]), jnp.array([False, True, False])
      >>> print(sf.policy_gradient.discounted_returns(r, discount_t=0.5, terminated=end))
      [2. 2. 4.]

    References: suttonbarto2018 (section 3.3).
    """
    name = "discounted_returns"
    r, v = trajectory(name, "v_t", r_t=r_t, v_t=v_t)
    turns = episodes(name, r, mask, discount_t=discount_t, terminated=terminated, truncated=truncated)
    require_values(name, truncated, v_t)
    rewards = with_rest(turns, turns.rewards(r)[0], v)
    return turns.accumulate(rewards, turns.discount).astype(real(name, "r_t", r_t).dtype)


def gae(
    r_t: Array,
    v_tm1: Array,
    v_t: Array,
    *,
    discount_t: Array | float = 0.99,
    lambda_: Array | float = 0.95,
    terminated: Array | None = None,
    truncated: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """Generalised advantage estimates: sums of discounted temporal differences, to the end of the episode or the window.

    A_t = delta_t + lambda discount_t A_{t+1},  delta_t = r_t + discount_t v_t - v_tm1. With ``lambda_=1`` it is the return minus
    ``v_tm1``, with 0 the temporal difference. Nothing leaks from one episode into the one before it.

    Args:
      r_t: rewards, shape (T,).
      v_tm1: value of the state in which each action was taken.
      v_t: value of the state that it led to, before any reset: at a truncation, of the last state of the old episode. Where masked
        steps lie between two choices of an episode, ``v_tm1`` of the second is read in its place.
      discount_t: a number, or one for each step; 0 is an end, as ``terminated`` is.
      lambda_: between 0 (less noise, more bias of the critic) and 1 (no bias of the critic).
      terminated: booleans (T,): the state that this step led to has value 0, whatever ``v_t`` says.
      truncated: booleans (T,): the episode was cut off after this step; ``v_t`` stands for the rest.
      mask: booleans (T,): False marks steps that nobody chose: a prompt, an observation, padding. They get 0, and their rewards are
        those of the choice before them in the episode.

    Returns:
      Advantages, shape (T,).

    Raises:
      TypeError: for arrays that are not one trajectory, and flags that are not booleans.

    Bias: that of the critic, weighted by 1 - lambda.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> r, v = jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 1.0, 1.0, 2.0])
      >>> print(sf.policy_gradient.gae(r, v[:-1], v[1:], discount_t=0.5, lambda_=1.0))
      [2.25 3.5  4.  ]

    References: schulman2016.
    """
    name = "gae"
    r, before, after = trajectory(name, r_t=r_t, v_tm1=v_tm1, v_t=v_t)
    turns = episodes(name, r, mask, discount_t=discount_t, terminated=terminated, truncated=truncated)
    delta, decay = differences(name, turns, r, before, after, lambda_)
    return turns.accumulate(delta, decay).astype(real(name, "r_t", r_t).dtype)


def lambda_returns(
    r_t: Array,
    v_tm1: Array,
    v_t: Array,
    *,
    discount_t: Array | float = 0.99,
    lambda_: Array | float = 0.95,
    terminated: Array | None = None,
    truncated: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """Targets for a critic: ``gae`` plus ``v_tm1``, G_t = r_t + discount_t (v_t + lambda (G_{t+1} - v_tm1 of step t + 1)).

    Of one critic, ``v_t`` is the ``v_tm1`` of the next step, and this is the recursion of the textbook,
    G_t = r_t + discount_t ((1 - lambda) v_t + lambda G_{t+1}). At an end only r_t + discount_t v_t is left.

    Arguments, errors and bias are those of :func:`gae`. What is masked gets 0.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> r, v = jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 1.0, 1.0, 2.0])
      >>> print(sf.policy_gradient.lambda_returns(r, v[:-1], v[1:], discount_t=0.5, lambda_=0.0))
      [1.5 2.5 5. ]

    References: suttonbarto2018 (section 12.1).
    """
    name = "lambda_returns"
    r, before, after = trajectory(name, r_t=r_t, v_tm1=v_tm1, v_t=v_t)
    turns = episodes(name, r, mask, discount_t=discount_t, terminated=terminated, truncated=truncated)
    delta, decay = differences(name, turns, r, before, after, lambda_)
    return (turns.accumulate(delta, decay) + turns.chosen(before)).astype(real(name, "r_t", r_t).dtype)


def vtrace(
    r_t: Array,
    v_tm1: Array,
    v_t: Array,
    log_rho_t: Array,
    *,
    discount_t: Array | float = 0.99,
    lambda_: Array | float = 1.0,
    clip_rho: Array | float | None = 1.0,
    clip_c: Array | float | None = 1.0,
    clip_pg_rho: Array | float | None = 1.0,
    terminated: Array | None = None,
    truncated: Array | None = None,
    mask: Array | None = None,
) -> VTrace:
    """Targets and advantages from trajectories of another policy, with clipped importance weights.

    targets_t = v_tm1 + e_t with e_t = rho_t delta_t + kappa_t lambda discount_t e_{t+1}, delta_t = r_t + discount_t v_t - v_tm1,
    rho_t = min(clip_rho, ratio), kappa_t = min(clip_c, ratio);
    advantages_t = min(clip_pg_rho, ratio) (r_t + discount_t (lambda targets_{t+1} + (1 - lambda) v_t) - v_tm1). On-policy the
    advantages are those of ``gae`` and the targets those of ``lambda_returns``, for every lambda. That is the convention of rlax; the
    paper has lambda = 1 alone, and code that leaves lambda out of the advantages has others below 1.

    Args:
      r_t: rewards, shape (T,).
      v_tm1: value of the state in which each action was taken.
      v_t: value of the state that it led to, as in :func:`gae`.
      log_rho_t: log-probability of the action under the policy that learns, minus that under the policy that acted. It is clipped as a
        logarithm, so any finite ratio is fine. Never differentiated.
      discount_t: a number, or one for each step; 0 is an end, as ``terminated`` is.
      lambda_: as in :func:`gae`.
      clip_rho: bound of the weights of the temporal differences; None is no bound. It decides what the targets converge to.
      clip_c: bound of the weights that multiply along the way; it decides only the noise.
      clip_pg_rho: bound of the weights of the advantages. Each bound is a number, or an array that may be traced.
      terminated: booleans (T,), as in :func:`gae`.
      truncated: booleans (T,), as in :func:`gae`.
      mask: booleans (T,), as in :func:`discounted_returns`.

    Returns:
      :class:`VTrace`.

    Raises:
      TypeError: for arrays that are not one trajectory, and flags that are not booleans.
      ValueError: for a bound below 0.

    Bias: wherever a bound is reached, by design.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> r, v = jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 1.0, 1.0, 2.0])
      >>> print(sf.policy_gradient.vtrace(r, v[:-1], v[1:], jnp.zeros(3), discount_t=0.5).advantages)
      [2.25 3.5  4.  ]

    References: espeholt2018.
    """
    name = "vtrace"
    r, before, after, log_rho = trajectory(name, r_t=r_t, v_tm1=v_tm1, v_t=v_t, log_rho_t=log_rho_t)
    turns = episodes(name, r, mask, discount_t=discount_t, terminated=terminated, truncated=truncated)
    delta, decay = differences(name, turns, r, before, after, lambda_)
    log_rho = turns.chosen(stop_gradient(log_rho))
    bounds = {"clip_rho": clip_rho, "clip_c": clip_c, "clip_pg_rho": clip_pg_rho}
    rho, c, pg_rho = (jnp.exp(_bounded(log_rho, option, bound)) for option, bound in bounds.items())
    errors = turns.accumulate(rho * delta, c * decay)
    targets = errors + turns.chosen(before)
    # beyond an end there is v_t, in delta
    advantages = turns.chosen(pg_rho * (delta + decay * turns.following(errors)))
    given = real(name, "r_t", r_t).dtype
    return VTrace(targets.astype(given), advantages.astype(given))


def require_values(name: str, truncated: Any, v_t: Any) -> None:
    """A truncation needs the value of what was cut off."""
    if truncated is not None and v_t is None:
        raise ValueError(NO_VALUE_AT_TRUNCATION.format(name=name))


def with_rest(turns: Episodes, rewards: Array, v_t: Array | None) -> Array:
    """Rewards of the turns, and at the end of an episode what the rest is worth: all other values cancel in a return."""
    if v_t is None:
        return rewards
    return rewards + turns.discount * jnp.where(turns.goes_on, jnp.zeros((), v_t.dtype), turns.after(v_t))


def differences(name: str, turns: Episodes, r_t: Array, v_tm1: Array, v_t: Array, lambda_: Any) -> tuple[Array, Array]:
    """Temporal differences, and how much of the next error is added."""
    rewards, _ = turns.rewards(r_t)
    delta = turns.chosen(rewards) + turns.discount * turns.after(v_t, v_tm1) - turns.chosen(v_tm1)
    return delta, turns.chosen(per_step(name, r_t, lambda_=lambda_)) * turns.discount


def _bounded(log_ratio: Array, option: str, bound: Any) -> Array:
    """The logarithm of min(bound, ratio)."""
    if bound is None:
        return log_ratio
    if denies(lambda x: x >= 0, bound):
        raise ValueError(BAD_BOUND.format(option=option, given=bound))
    return jnp.minimum(log_ratio, jnp.log(jnp.asarray(bound, log_ratio.dtype)))
