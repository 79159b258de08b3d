"""Which answers count, and what is taken off for length: rules that are made of rewards and lengths alone, without a gradient.

informative       a group whose rewards are not all the same
best_of_group     the k of a group with the largest metric
overlong_penalty  0 up to L - c tokens, (L - c - n) / c up to L, then -1
whiten            (x - mean) / deviation over everything that is not masked
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient

from jax_scorefn._checks import positive_int
from jax_scorefn._trees import is_key
from jax_scorefn.policy_gradient._arrays import counted, real, wide
from jax_scorefn.policy_gradient._members import Groups, groups
from jax_scorefn.typing import Array

BAD_NUMBER = "{name}: {option}={given} must be {wanted}."
NOT_ENOUGH = (
    "collect_informative: after {batches} batches {found} of {wanted} groups have rewards that differ. The task is too hard or too "
    "easy for the policy; more batches, or questions of another difficulty, are needed."
)


def informative(
    returns: Array, *, group_axis: int | None = None, group_ids: Array | None = None, mask: Array | None = None
) -> Array:
    """Which answers are in a group whose returns differ by more than rounding: the others have advantages of 0.

    Args:
      returns: as in :func:`group_advantages`.
      group_axis: as in :func:`group_advantages`.
      group_ids: as in :func:`group_advantages`.
      mask: booleans; members that do not exist are never informative.

    Returns:
      Booleans of the shape of the returns. As a ``mask`` of a mean over groups they leave the others out of its denominator.

    Raises:
      TypeError, ValueError: as :func:`group_advantages`.

    Bias: a question counts as often as its group is informative, 1 - sum_r p(r)^n, so the objective is another one: it leaves out what
    is almost always, or almost never, solved. Without the mask (0 in the sum, 1 in the denominator) it is the one that was.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> print(sf.policy_gradient.informative(jnp.array([[1.0, 0.0], [1.0, 1.0]]), group_axis=1))
      [[ True  True]
       [False False]]

    References: yu2025.
    """
    x = real("informative", "returns", returns)
    members = groups("informative", "returns", x, group_axis, group_ids)
    there = counted("informative", x, mask)
    x = jnp.where(there, stop_gradient(x).astype(wide([x])), 0.0)
    return there & members.deviation(x, there)[2]


def best_of_group(
    metric: Array,
    keep: int,
    *,
    group_axis: int | None = None,
    group_ids: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """The few of each group with the largest metric: with minus the length, say, short answers alone are learned from.

    Args:
      metric: floats of the shape of the returns.
      keep: how many of a group; of equal ones the earlier are kept.
      group_axis: as in :func:`group_advantages`.
      group_ids: as in :func:`group_advantages`.
      mask: booleans; members that do not exist are never kept.

    Returns:
      Booleans, to be passed to :func:`group_advantages` as ``mask``: mean and deviation are those of the kept ones, the others get 0.

    Raises:
      TypeError, ValueError: as :func:`group_advantages`, and for a number below 1.

    Bias: the gradient of a reward among the kept ones, which is another objective.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> print(sf.policy_gradient.best_of_group(jnp.array([3.0, 1.0, 2.0]), 2, group_axis=0))
      [ True False  True]

    References: shrivastava2025.
    """
    x = real("best_of_group", "metric", metric)
    keep = positive_int("keep", keep)
    members = groups("best_of_group", "metric", x, group_axis, group_ids)
    there = counted("best_of_group", x, mask)
    return there & (members.rank(jnp.where(there, stop_gradient(x), 0.0), there) < keep)


def overlong_penalty(lengths: Array, *, longest: int, cushion: int) -> Array:
    """What is added to the reward of an answer that comes near the longest length: from 0 down to -1.

    Args:
      lengths: tokens of each answer.
      longest: L, the number of tokens at which answers are cut.
      cushion: c, the last tokens in which the penalty grows.

    Returns:
      Floats: 0 up to L - c, (L - c - length) / c up to L, and -1 beyond.

    Raises:
      ValueError: unless 0 < c <= L.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> print(sf.policy_gradient.overlong_penalty(jnp.array([10, 90, 95, 200]), longest=100, cushion=10))
      [ 0.   0.  -0.5 -1. ]

    References: yu2025.
    """
    if not 0 < cushion <= longest:
        wanted = f"above 0 and at most longest={longest}"
        raise ValueError(BAD_NUMBER.format(name="overlong_penalty", option="cushion", given=cushion, wanted=wanted))
    given = real("overlong_penalty", "lengths", lengths)
    over = longest - cushion - given.astype(wide([given]))
    return jnp.clip(over / cushion, -1.0, 0.0).astype(given.dtype)


def whiten(x: Array, *, mask: Array | None = None) -> Array:
    """Minus the mean and over the deviation of all that is not masked, whatever its shape; 0 where masked. Never differentiated.

    Args:
      x: advantages or returns of all tokens of a batch.
      mask: booleans of the same shape.

    Returns:
      Floats of the same shape; 0 everywhere where all are the same but for rounding.

    Raises:
      TypeError: for a mask of another shape.

    Bias: the mean of the batch holds the token itself, and the deviation is a scale that the batch chose: both vanish as the batch
    grows, but for the scale.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> print(sf.policy_gradient.whiten(jnp.array([1.0, 3.0, 100.0]), mask=jnp.array([True, True, False])))
      [-1.  1.  0.]

    References: hu2025.
    """
    given = real("whiten", "x", x)
    there = counted("whiten", given, mask)
    flat, there = given.reshape(-1), there.reshape(-1)
    flat = jnp.where(there, stop_gradient(flat).astype(wide([flat])), 0.0)
    centred, std, differ = Groups(0, None).deviation(flat, there)  # all of them are one group
    white = jnp.where(differ, centred / jnp.where(differ, std, 1.0), 0.0)
    return white.astype(given.dtype).reshape(given.shape)


def collect_informative(
    sample: Callable[[int], tuple[Any, Any]], num_groups: int, *, group_axis: int = 1, most_batches: int = 10
) -> tuple[Any, Any]:
    """Sample until so many groups have rewards that differ: a loop on the host, around a sampler that is compiled or not.

    Args:
      sample: batch number -> ``(returns, data)``: returns (groups, members), and a pytree of arrays whose leading axis counts groups.
      num_groups: how many are wanted.
      group_axis: axis of the returns that counts members; the other one counts groups.
      most_batches: how often it is asked.

    Returns:
      ``(returns, data)`` of the first so many groups, as NumPy arrays (keys as keys).

    Raises:
      RuntimeError: where there are too few after so many batches.

    Bias: that of :func:`informative`: what is refilled takes the place of what was left out.

    Example:
      >>> import numpy as np, jax_scorefn as sf
      >>> rewards = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
      >>> returns, data = sf.policy_gradient.collect_informative(lambda i: (rewards, {"question": np.arange(4)}), 3)
      >>> print(data["question"])
      [1 3 1]

    References: yu2025.
    """
    num_groups, most_batches = positive_int("num_groups", num_groups), positive_int("most_batches", most_batches)
    found: list[tuple[Any, Any]] = []
    number = 0
    for batch in range(most_batches):
        returns, data = jax.tree.map(lambda x: x if is_key(x) else np.asarray(x), sample(batch))
        good = np.asarray(informative(returns, group_axis=group_axis)).any(axis=group_axis)
        found.append((np.moveaxis(returns, group_axis, -1)[good], jax.tree.map(lambda x, good=good: x[good], data)))
        number += int(good.sum())
        if number >= num_groups:
            join = lambda *parts: (jnp if is_key(parts[0]) else np).concatenate(parts)[:num_groups]
            together = jax.tree.map(join, *found)
            return np.moveaxis(together[0], -1, group_axis), together[1]
    raise RuntimeError(NOT_ENOUGH.format(batches=most_batches, found=number, wanted=num_groups))
