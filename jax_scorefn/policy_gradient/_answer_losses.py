"""Losses of answers of a language model with advantages from elsewhere: a row of tokens, or rows of them, (B, T).

    grpo     - sum_t clipped(l_t - old_t, A)                  every token with its own ratio
    gspo     - clipped(mean_t (l_t - old_t), A)               every answer with one, the geometric mean
    cispo    - sum_t stop(min(w_t, cap)) A box(l_t)           a ratio that weighs, and no token without a gradient

What an average over answers weighs is the ``reduction``: a sum over tokens, their mean over all answers, or each answer's own mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient

from jax_scorefn._surrogate import magic_box
from jax_scorefn.policy_gradient._arrays import array, counted, real, wide
from jax_scorefn.policy_gradient._clipped import FAR, check_bounds, clipped
from jax_scorefn.policy_gradient._loss import Loss, count
from jax_scorefn.typing import Array

REDUCTIONS = ("sequence_sum", "token_mean", "sequence_mean")
LEVELS = ("sequence", "token")
UNKNOWN = "{name}: {option}={given!r}; it is one of {known}."
BAD_ROWS = (
    "{name} takes log_prob_t and old_log_prob_t of one answer (T,) or of several (B, T), an advantage for each answer or for each "
    "token, and a mask of booleans (the shape of log_prob_t); it got {given}."
)

TOKENS_HAVE_NONE = (
    "gspo: at level 'sequence' an answer is one choice and has one advantage; for one at each token pass level='token'."
)


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
    """:func:`ppo_clip` on answers: each token has a ratio of its own, clipped, and the advantage of its answer.

    With the advantages of :func:`group_advantages` and other options it is what goes by other names too; the page on language models
    has them, and what each is the gradient of.

    Args:
      log_prob_t: log-probability of each token under the policy that learns, shape (T,), or (B, T) of several answers.
      old_log_prob_t: the same under the policy that sampled; never differentiated.
      advantage: one number for each answer, or one for each token; never differentiated.
      reduction: what an average over answers weighs. "sequence_sum": sums over tokens, averaged over answers, the gradient of the
        expected reward; "token_mean": averaged over all tokens of all answers; "sequence_mean": each answer averaged over its
        own tokens first, as in the paper, which weighs tokens of short answers more.
      clip: as in :func:`ppo_clip`.
      clip_high: as in :func:`ppo_clip`.
      max_log_ratio: as in :func:`ppo_clip`.
      mask: booleans of the shape of ``log_prob_t``: which positions are answer (not prompt, not observation, not padding).

    Returns:
      :class:`Loss`, for each answer: weight 1, or the number of tokens with "token_mean"; 0 for one without a token of the answer.

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
    _known("grpo", "reduction", reduction, REDUCTIONS)

    def one(log_ratio: Array, l: Array, advantage: Array, mask: Array) -> Loss:
        return _reduced(-clipped("grpo", log_ratio, advantage, clip, clip_high, max_log_ratio), mask, reduction)

    return _of_rows("grpo", one, log_prob_t, old_log_prob_t, advantage, mask)


def gspo(
    log_prob_t: Array,
    old_log_prob_t: Array,
    advantage: Array,
    *,
    level: str = "sequence",
    clip: Array | float = 3e-4,
    clip_high: Array | float | None = 4e-4,
    max_log_ratio: Array | float = 20.0,
    mask: Array | None = None,
) -> Loss:
    """An answer has one ratio, the geometric mean of those of its tokens, and is clipped as a whole.

    s = exp(mean_t (l_t - old_t)), and the loss of an answer is - min(s A, clip(s) A). At level "token" each token has
    stop(s) exp(l_t - stop(l_t)) in its place, which is as large and lets tokens have advantages of their own; the loss is the mean
    over tokens.

    Args:
      log_prob_t: as in :func:`grpo`, (T,) or (B, T).
      old_log_prob_t: as in :func:`grpo`.
      advantage: one number for each answer; at level "token" also one for each token. Never differentiated.
      level: "sequence" or "token". With one advantage for an answer the two have the same value and the same gradient.
      clip: how far the ratio may fall below 1; a ratio that is a mean hardly moves, and the bounds are the paper's.
      clip_high: how far it may rise above 1; None is ``clip``.
      max_log_ratio: as in :func:`ppo_clip`.
      mask: booleans, as in :func:`grpo`.

    Returns:
      :class:`Loss`, for each answer: weight 1, or 0 for one without a token of the answer.

    Raises:
      TypeError: for arrays of other shapes.
      ValueError: for an unknown level, and for bounds that are none.

    Bias: on-policy it is :func:`grpo` with "sequence_mean", whose tokens of short answers weigh more. Off-policy s is the likelihood
    ratio of the answer to the power of one over its length, which is no importance weight: also without a bound another gradient.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> loss = lambda l: sf.policy_gradient.gspo(l, jnp.zeros(4), 1.0).sum
      >>> print(jax.grad(loss)(jnp.zeros(4)), jax.grad(loss)(jnp.full(4, 1e-3)))
      [-0.25 -0.25 -0.25 -0.25] [0. 0. 0. 0.]

    References: zheng2025.
    """
    _known("gspo", "level", level, LEVELS)

    def one(log_ratio: Array, l: Array, advantage: Array, mask: Array) -> Loss:
        mean = jnp.sum(log_ratio) / jnp.maximum(count(mask, l), 1)
        if level == "sequence" and advantage.ndim == 0:
            value = -clipped("gspo", mean, advantage, clip, clip_high, max_log_ratio)
            return Loss(jnp.where(jnp.any(mask), value, 0.0), jnp.minimum(count(mask, l), 1))
        terms = clipped("gspo", stop_gradient(mean) + (l - stop_gradient(l)), advantage, clip, clip_high, max_log_ratio)
        return _reduced(-terms, mask, "sequence_mean")

    log_prob_t, advantage = real("gspo", "log_prob_t", log_prob_t), real("gspo", "advantage", advantage)
    if level == "sequence" and np.ndim(advantage) == np.ndim(log_prob_t) > 0:
        raise ValueError(TOKENS_HAVE_NONE)
    return _of_rows("gspo", one, log_prob_t, old_log_prob_t, advantage, mask, per_token=False)


def cispo(
    log_prob_t: Array,
    old_log_prob_t: Array,
    advantage: Array,
    *,
    reduction: str = "token_mean",
    clip: Array | float = 1.0,
    clip_high: Array | float = 4.0,
    mask: Array | None = None,
) -> Loss:
    """The ratio of each token weighs its score, up to a bound, and no token is left without a gradient.

    The gradient of a token is - clip(w_t) A grad l_t with w_t = exp(l_t - old_t) clipped to 1 - clip .. 1 + clip_high and stopped:
    beyond a bound a token weighs no more, where in :func:`grpo` it weighs nothing.

    Args:
      log_prob_t: as in :func:`grpo`, (T,) or (B, T).
      old_log_prob_t: as in :func:`grpo`.
      advantage: one number for each answer, or one for each token; never differentiated.
      reduction: as in :func:`grpo`; the paper averages over all tokens.
      clip: how far the ratio may fall below 1; 1, the default, is no bound from below, as the paper has it.
      clip_high: how far it may rise above 1, so that it weighs 5 at most. (Code elsewhere takes the largest ratio itself.)
      mask: booleans, as in :func:`grpo`.

    Returns:
      :class:`Loss`, as :func:`grpo`. Its value is minus the weighted advantages, and not times the log-probabilities.

    Raises:
      TypeError: for arrays of other shapes.
      ValueError: for an unknown reduction, and for bounds that are none.

    Bias: on-policy that of the reduction, none with "sequence_sum". Off-policy the ratio of one token stands for that of all of the
    answer, and wherever a bound is reached.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> loss = lambda l: sf.policy_gradient.cispo(l, jnp.zeros(3), 1.0, reduction="sequence_sum").sum
      >>> print(jax.grad(loss)(jnp.log(jnp.array([0.5, 1.0, 100.0]))))
      [-0.5 -1.  -5. ]

    References: minimax2025.
    """
    _known("cispo", "reduction", reduction, REDUCTIONS)
    check_bounds("cispo", clip, clip_high)

    def one(log_ratio: Array, l: Array, advantage: Array, mask: Array) -> Loss:
        low, high = (jnp.asarray(x, l.dtype) for x in (clip, clip_high))
        weight = jnp.exp(jnp.clip(stop_gradient(log_ratio), jnp.log1p(-low), jnp.minimum(jnp.log1p(high), FAR)))
        return _reduced(-weight * advantage * magic_box(l), mask, reduction)

    return _of_rows("cispo", one, log_prob_t, old_log_prob_t, advantage, mask)


def _known(name: str, option: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ValueError(UNKNOWN.format(name=name, option=option, given=given, known=known))


def _of_rows(
    name: str,
    one: Callable[[Array, Array, Array, Array], Loss],
    new: Any,
    old: Any,
    advantage: Any,
    mask: Any,
    per_token: bool = True,
) -> Loss:
    """``one(log ratio, l, advantage, mask)`` of the answer, or of each; what is masked is 0 before anything is computed with it."""
    l, old, advantage = (
        real(name, label, x) for label, x in (("log_prob_t", new), ("old_log_prob_t", old), ("advantage", advantage))
    )
    mask = None if mask is None else array(name, "mask", mask, "booleans")
    good = l.ndim in (1, 2) and old.shape == l.shape and advantage.shape in (l.shape, l.shape[:-1])
    if not good or (mask is not None and np.shape(mask) != l.shape):
        given = ", ".join(str(list(np.shape(x))) for x in (l, old, advantage, *(() if mask is None else (mask,))))
        raise TypeError(BAD_ROWS.format(name=name, given=given))
    mask = counted(name, l, mask)
    l, old, advantage = (x.astype(wide([l, old, advantage])) for x in (l, old, stop_gradient(advantage)))
    if advantage.shape == l.shape:
        advantage = jnp.where(mask, advantage, 0.0)
    elif per_token:
        advantage = jnp.broadcast_to(advantage[..., None], l.shape)
    l, log_ratio = (jnp.where(mask, x, 0.0) for x in (l, l - stop_gradient(old)))
    return (jax.vmap(one) if l.ndim == 2 else one)(log_ratio, l, advantage, mask)


def _reduced(terms: Array, mask: Array, reduction: str) -> Loss:
    """Of one answer: the sum of its terms, and what it weighs."""
    total, tokens = jnp.sum(jnp.where(mask, terms, 0.0)), count(mask, terms)
    if reduction == "token_mean":
        return Loss(total, tokens)
    if reduction == "sequence_mean":
        total = total / jnp.maximum(tokens, 1)
    return Loss(total, jnp.minimum(tokens, 1))  # an answer that is all padding is none
