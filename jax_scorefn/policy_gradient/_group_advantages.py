"""Advantages among several answers to one question: each return beside the others of its group.

leave one out (RLOO)      A_i = R_i - mean_{j != i} R_j                      unbiased
mean (GRPO)               A_i = R_i - mean_j R_j                             1 - 1/n of it
... over deviation        A_i / std_j R_j                                    biased: questions are weighted by 1 / std

A member that is not there counts nowhere, neither in the mean nor in the deviation.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn._checks import denies, flags
from jax_scorefn.policy_gradient._arrays import counted, real, wide
from jax_scorefn.policy_gradient._members import groups
from jax_scorefn.typing import Array

BASELINES = ("leave_one_out", "mean")
UNKNOWN = "group_advantages: {option}={given!r}; it is one of {known}."
TOO_FEW = (
    "A group has {given} member{s}: with {baseline!r} there is nothing to compare it with. Sample two answers at least to each "
    "question."
)
BAD_DDOF = "group_advantages: ddof={given}; it is 1 (n - 1 in the denominator of the variance) or 0 (n)."


def group_advantages(
    returns: Array,
    *,
    group_axis: int | None = None,
    group_ids: Array | None = None,
    baseline: str = "leave_one_out",
    divide_by_std: bool = False,
    ddof: Array | int = 1,
    mask: Array | None = None,
) -> Array:
    """Each return minus what the others of its group got.

    Args:
      returns: floats of any shape with an axis for the members of a group; or one for each answer, (B,), or (B, K) of K rewards.
      group_axis: that axis. There is no default: a wrong one is the commonest mistake.
      group_ids: in its place, integers (B,): answers with the same number are a group, however many and wherever they are.
      baseline: "leave_one_out", the mean of the *other* members, or "mean", that of all, the member itself too.
      divide_by_std: divide by the standard deviation of the group. Where its members differ by rounding, the advantages are 0.
      ddof: what is taken off n in the denominator of the variance: 1, as every implementation of GRPO has it, or 0.
      mask: booleans of the same shape; False marks members that do not exist. They change nothing and get 0.

    Returns:
      Advantages, of the shape of the returns, never differentiated. A member that is alone in its group gets 0. Over a deviation none
      is larger than sqrt(n) with ``ddof=1``, n / sqrt(n - 1) with ``ddof=0``.

    Raises:
      ValueError: for an unknown option, an axis that is not there, or groups of one along an axis.
      TypeError: for both or neither of axis and ids, returns that are not real, ids that are no integers, and a mask of another shape
        or dtype.

    Bias: with "leave_one_out", none. With "mean" the gradient is 1 - 1/n of the right one. With ``divide_by_std`` each question has
    a weight of its own, 1 / std, and that is another objective.

    Cost: two passes, so that a common offset of the returns does no harm.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> print(sf.policy_gradient.group_advantages(jnp.array([[1.0, 2.0, 6.0]]), group_axis=1))
      [[-3.  -1.5  4.5]]
      >>> print(sf.policy_gradient.group_advantages(jnp.array([1.0, 5.0, 2.0, 6.0]), group_ids=jnp.array([7, 3, 7, 7])))
      [-3.   0.  -1.5  4.5]

    References: kool2019, ahmadian2024 (RLOO), shao2024 (GRPO).
    """
    flags(divide_by_std=divide_by_std)
    returns = real("group_advantages", "returns", returns)
    given = returns.dtype
    if baseline not in BASELINES:
        raise ValueError(UNKNOWN.format(option="baseline", given=baseline, known=BASELINES))
    members = groups("group_advantages", "returns", returns, group_axis, group_ids)
    size = returns.shape[members.axis]
    if members.ids is None and size < 2:
        raise ValueError(TOO_FEW.format(given=size, s="" if size == 1 else "s", baseline=baseline))
    if denies(lambda x: (x == 0) | (x == 1), ddof):
        raise ValueError(BAD_DDOF.format(given=ddof))
    there = counted("group_advantages", returns, mask)

    returns = stop_gradient(returns).astype(wide([returns]))
    returns = jnp.where(there, returns, 0.0)
    centred, std, differ = members.deviation(returns, there, ddof)
    advantages = centred
    if baseline == "leave_one_out":  # R_i - mean of the others = n / (n - 1) (R_i - mean of all)
        count = members.total(there.astype(returns.dtype))
        advantages = centred * (count / jnp.maximum(count - 1, 1))
    if divide_by_std:
        advantages = jnp.where(differ, advantages / jnp.where(differ, std, 1.0), 0.0)
    return advantages.astype(given)
