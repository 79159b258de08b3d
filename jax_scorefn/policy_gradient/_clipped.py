"""The clipped ratio of the new policy to the one that acted, of which every loss of this kind is made.

clipped         min( w A, clip(w) A ),  w = exp(log ratio)
ppo_clip        - sum_t clipped(l_t - old l_t, A_t)
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn._checks import denies
from jax_scorefn.policy_gradient._arrays import trajectory
from jax_scorefn.policy_gradient._episodes import episodes
from jax_scorefn.policy_gradient._loss import Loss, loss_of
from jax_scorefn.typing import Array

FAR = 80.0
"""The largest logarithm of a ratio, for bounds that are infinite: its exponential is a number in float32."""
BAD_CLIP = "{name}: {option}={given} must be {wanted}."


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
        The dual clip of the ratio at c is log(c) here.
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

    References: schulman2017, ye2020 (the dual clip).
    """
    name = "ppo_clip"
    l, old, advantage = trajectory(name, log_prob_t=log_prob_t, old_log_prob_t=old_log_prob_t, advantage_t=advantage_t)
    turns = episodes(name, l, mask)
    log_ratio, advantage = turns.chosen(l - stop_gradient(old)), turns.chosen(stop_gradient(advantage))
    return loss_of(-clipped(name, log_ratio, advantage, clip, clip_high, max_log_ratio), turns.mask)


def clipped(name: str, log_ratio: Array, advantage: Array, low: Any, high: Any, most: Any) -> Array:
    """min(w A, clip(w) A), w = exp(log_ratio): for A >= 0 it counts up to 1 + high, for A < 0 from 1 - low up to exp(most)."""
    high = low if high is None else high
    check_bounds(name, low, high, most)
    low, high, most = (jnp.asarray(x, log_ratio.dtype) for x in (low, high, most))
    gain = jnp.minimum(log_ratio, jnp.minimum(jnp.log1p(high), FAR))
    loss = jnp.clip(log_ratio, jnp.log1p(-low), jnp.minimum(most, FAR))
    return jnp.exp(jnp.where(advantage >= 0, gain, loss)) * advantage


def check_bounds(name: str, low: Any, high: Any, most: Any = 1.0) -> None:
    """An error for numbers that are no bounds of a ratio; what is traced cannot be seen."""
    for option, given, wanted, good in (
        ("clip", low, "above 0 and at most 1", lambda x: (x > 0) & (x <= 1)),
        ("clip_high", high, "above 0", lambda x: x > 0),
        ("max_log_ratio", most, "above 0", lambda x: x > 0),
    ):
        if denies(good, given):
            raise ValueError(BAD_CLIP.format(name=name, option=option, given=given, wanted=wanted))
