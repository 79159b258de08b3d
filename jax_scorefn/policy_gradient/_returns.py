"""Returns and advantages of one trajectory: one recursion from the back, with four sets of coefficients.

    e_t = delta_t + decay_t e_{t+1},    delta_t = rho_t (r_t + c_t v_t - v_tm1),    decay_t = lambda kappa_t c_t [goes on]
    c_t = discount_t, or 0 after a termination

    gae                 e_t                                             rho = kappa = 1
    lambda_returns      v_tm1 + e_t                                     rho = kappa = 1
    discounted_returns  lambda = 1, where all values but the last of an episode cancel: they are left out
    vtrace              v_tm1 + e_t, its targets                        rho, kappa: clipped ratios of two policies

Names are those of the field: at step t an action is taken in a state of value ``v_tm1``, brings the reward ``r_t``, and leads to a
state of value ``v_t``, before any reset. An episode goes on unless it was terminated (its end has value 0), truncated (its end has
value ``v_t``) or the window is over (the same). Everything is an array of T steps; map over trajectories with ``jax.vmap``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn.typing import Array

ONE_TRAJECTORY = (
    "{name} takes one trajectory, arrays of shape (T,); {argument} has shape {shape} beside {wanted}. For several trajectories map "
    "over them with jax.vmap (arrays are time-major: vmap with in_axes=1)."
)
NOT_A_FLAG = "{name}: {argument} is an array of booleans, one for each step, not of {dtype}."
NO_VALUE_AT_TRUNCATION = (
    "discounted_returns was given truncated= without v_t=. A truncated episode would have gone on: pass the values of the states that "
    "it was cut at, or, if the rest counts nothing, pass those steps as terminated=."
)


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
      discount_t: a number, or one for each step.
      terminated: booleans (T,): the episode ended with this step, and nothing comes after.
      truncated: booleans (T,): the episode was cut off after this step; needs ``v_t``.
      v_t: value of the state that each step led to, before any reset.
      mask: booleans (T,): False marks padding, which changes nothing and gets 0.

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
    if truncated is not None and v_t is None:
        raise ValueError(NO_VALUE_AT_TRUNCATION)
    r_t = _checked(name, r_t=r_t)
    goes_on, discount_t, mask = _episodes(name, r_t, discount_t, terminated, truncated, mask)
    if v_t is None:
        end = jnp.zeros_like(r_t)
    else:  # only the value of an episode's last state is left, when all others have cancelled
        end = jnp.where(goes_on | (discount_t == 0), 0.0, _checked(name, r_t, v_t=v_t)).astype(r_t.dtype)
    return _accumulate(r_t + discount_t * end, jnp.where(goes_on, discount_t, 0.0), mask)


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
      v_t: value of the state that it led to, before any reset: at a truncation, of the last state of the old episode.
      discount_t: a number, or one for each step.
      lambda_: between 0 (less noise, more bias of the critic) and 1 (no bias of the critic).
      terminated: booleans (T,): the state that this step led to has value 0, whatever ``v_t`` says.
      truncated: booleans (T,): the episode was cut off after this step; ``v_t`` stands for the rest.
      mask: booleans (T,): False marks padding, which changes nothing and gets 0.

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
    delta, decay, mask = _differences("gae", r_t, v_tm1, v_t, discount_t, lambda_, terminated, truncated, mask)
    return _accumulate(delta, decay, mask)


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
    """Targets for a critic: G_t = r_t + discount_t ((1 - lambda) v_t + lambda G_{t+1}), which is ``gae`` plus ``v_tm1``.

    Arguments, errors and bias are those of :func:`gae`. Padding gets 0.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> r, v = jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 1.0, 1.0, 2.0])
      >>> print(sf.policy_gradient.lambda_returns(r, v[:-1], v[1:], discount_t=0.5, lambda_=0.0))
      [1.5 2.5 5. ]

    References: suttonbarto2018 (section 12.1).
    """
    delta, decay, mask = _differences(
        "lambda_returns", r_t, v_tm1, v_t, discount_t, lambda_, terminated, truncated, mask
    )
    return jnp.where(mask, _accumulate(delta, decay, mask) + v_tm1, 0.0).astype(delta.dtype)


def vtrace(
    r_t: Array,
    v_tm1: Array,
    v_t: Array,
    log_rho_t: Array,
    *,
    discount_t: Array | float = 0.99,
    lambda_: Array | float = 1.0,
    clip_rho: float | None = 1.0,
    clip_c: float | None = 1.0,
    clip_pg_rho: float | None = 1.0,
    terminated: Array | None = None,
    truncated: Array | None = None,
    mask: Array | None = None,
) -> VTrace:
    """Targets and advantages from trajectories of another policy, with clipped importance weights.

    targets_t = v_tm1 + e_t with rho_t = min(clip_rho, ratio), kappa_t = min(clip_c, ratio);
    advantages_t = min(clip_pg_rho, ratio) (r_t + discount_t targets_{t+1} - v_tm1). On-policy, with ``lambda_=1``, the advantages are
    those of ``gae`` with ``lambda_=1``.

    Args:
      r_t: rewards, shape (T,).
      v_tm1: value of the state in which each action was taken.
      v_t: value of the state that it led to, before any reset.
      log_rho_t: log-probability of the action under the policy that learns, minus that under the policy that acted. It is clipped as a
        logarithm, so any finite ratio is fine. Never differentiated.
      discount_t: a number, or one for each step.
      lambda_: as in :func:`gae`.
      clip_rho: bound of the weights of the temporal differences; None is no bound. It decides what the targets converge to.
      clip_c: bound of the weights that multiply along the way; it decides only the noise.
      clip_pg_rho: bound of the weights of the advantages.
      terminated: booleans (T,), as in :func:`gae`.
      truncated: booleans (T,), as in :func:`gae`.
      mask: booleans (T,): False marks padding.

    Returns:
      :class:`VTrace`.

    Raises:
      TypeError: for arrays that are not one trajectory, and flags that are not booleans.

    Bias: wherever a bound is reached, by design.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> r, v = jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 1.0, 1.0, 2.0])
      >>> print(sf.policy_gradient.vtrace(r, v[:-1], v[1:], jnp.zeros(3), discount_t=0.5).advantages)
      [2.25 3.5  4.  ]

    References: espeholt2018.
    """
    name = "vtrace"
    delta, decay, mask = _differences(name, r_t, v_tm1, v_t, discount_t, lambda_, terminated, truncated, mask)
    log_rho = stop_gradient(_checked(name, delta, log_rho_t=log_rho_t))
    rho, c, pg_rho = (jnp.exp(clipped(log_rho, bound)) for bound in (clip_rho, clip_c, clip_pg_rho))
    errors = _accumulate(rho * delta, c * decay, mask)
    after = jnp.concatenate([errors[1:], jnp.zeros_like(errors[:1])])
    # beyond an end nothing is added to v_t, which is in delta already
    goes_on, gamma, _ = _episodes(name, delta, discount_t, terminated, truncated, mask)
    advantages = pg_rho * (delta + jnp.where(goes_on, gamma * after, 0.0))
    return VTrace(
        jnp.where(mask, errors + v_tm1, 0.0).astype(delta.dtype), jnp.where(mask, advantages, 0.0).astype(delta.dtype)
    )


def clipped(log_ratio: Array, bound: float | None) -> Array:
    """The logarithm of min(bound, ratio)."""
    return log_ratio if bound is None else jnp.minimum(log_ratio, math.log(bound))


def _accumulate(delta: Array, decay: Array, mask: Array) -> Array:
    """e_t = delta_t + decay_t e_{t+1}, from the back; 0 where masked."""
    delta, decay = (jnp.where(mask, x, 0.0).astype(delta.dtype) for x in (delta, decay))

    def step(e: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        e = row[0] + row[1] * e
        return e, e

    return jax.lax.scan(step, jnp.zeros((), delta.dtype), (delta, decay), reverse=True)[1]


def _differences(
    name: str, r_t: Any, v_tm1: Any, v_t: Any, discount_t: Any, lambda_: Any, terminated: Any, truncated: Any, mask: Any
) -> tuple[Array, Array, Array]:
    """Temporal differences, how much of the next error is added, and the mask."""
    r_t = _checked(name, r_t=r_t)
    v_tm1, v_t = _checked(name, r_t, v_tm1=v_tm1), _checked(name, r_t, v_t=v_t)
    goes_on, discount_t, mask = _episodes(name, r_t, discount_t, terminated, truncated, mask)
    after = jnp.where(discount_t == 0, 0.0, discount_t * v_t)  # whatever v_t says there
    delta = r_t + after - v_tm1
    return delta, jnp.where(goes_on, lambda_ * discount_t, 0.0).astype(delta.dtype), mask


def _episodes(
    name: str, like: Array, discount_t: Any, terminated: Any, truncated: Any, mask: Any
) -> tuple[Array, Array, Array]:
    """Whether an episode goes on after each step, the discount (0 after a termination), and the mask."""
    no = jnp.zeros(like.shape, bool)
    terminated = no if terminated is None else _flags(name, like, terminated=terminated)
    truncated = no if truncated is None else _flags(name, like, truncated=truncated)
    mask = ~no if mask is None else _flags(name, like, mask=mask)
    discount = jnp.broadcast_to(jnp.asarray(discount_t, like.dtype), like.shape)
    discount = jnp.where(terminated, 0.0, discount).astype(like.dtype)
    followed = jnp.concatenate([mask[1:], no[:1]])  # by a step of the window that is no padding
    return ~terminated & ~truncated & followed, discount, mask


def _checked(name: str, like: Array | None = None, **argument: Any) -> Array:
    ((label, value),) = argument.items()
    x = jnp.asarray(value)
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)
    if x.ndim != 1 or (like is not None and x.shape != like.shape):
        wanted = "rewards of one trajectory" if like is None else f"{like.shape[0]} steps"
        raise TypeError(ONE_TRAJECTORY.format(name=name, argument=label, shape=list(x.shape), wanted=wanted))
    return x if like is None else x.astype(like.dtype)  # all is computed in the precision of the first array


def _flags(name: str, like: Array, **argument: Any) -> Array:
    ((label, value),) = argument.items()
    flags = jnp.asarray(value)
    if flags.dtype != jnp.bool_:
        raise TypeError(NOT_A_FLAG.format(name=name, argument=label, dtype=flags.dtype))
    if flags.shape != like.shape:
        wanted = f"{like.shape[0]} steps"
        raise TypeError(ONE_TRAJECTORY.format(name=name, argument=label, shape=list(flags.shape), wanted=wanted))
    return flags
