"""Answers that were sampled by another program than the one that learns: weights of what they are worth, or whether they count.

    rho_t = exp(old l_t - sampler l_t)        the learner at the parameters that sampled, over the sampler

                 token                              sequence, rho = prod_t rho_t         geometric, exp(mean_t log rho_t)
    truncate     min(rho_t, high)                   min(rho, high)
    mask         rho_t where it is <= high, else 0  rho where it is <= high, else 0
    band         rho_t where low <= rho_t <= high, else 0
    reject                                          keep where low <= rho <= high        keep where low <= it <= high

A weight of 0 leaves a token in the denominators; what is not kept leaves them too.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.lax import stop_gradient

from jax_scorefn._checks import denies
from jax_scorefn.policy_gradient._arrays import array, counted, real, wide
from jax_scorefn.policy_gradient._loss import count
from jax_scorefn.typing import Array

KINDS = {
    ("token", "truncate"), ("token", "mask"), ("token", "band"), ("sequence", "truncate"), ("sequence", "mask"),
    ("sequence", "reject"), ("geometric", "reject"),
}  # fmt: skip
UNKNOWN = "sampler_correction: there is no kind={kind!r} at level={level!r}; there are {known}."
BAD_BOUNDS = "sampler_correction: low={low} and high={high}; ratios are bounded by 0 <= low <= high."
BAD_ROWS = (
    "sampler_correction takes old_log_prob_t, sampler_log_prob_t and mask of one answer (T,) or of several (B, T), all of one shape; "
    "it got {given}."
)


class Correction(NamedTuple):
    """What :func:`sampler_correction` returns, none of it differentiated.

    Attributes:
      weights: floats of the shape of the log-probabilities, to be multiplied into the advantages; 0 where masked.
      keep: booleans of that shape, to be passed on as ``mask``.
      diagnostics: how far the two programs are apart, :class:`SamplerGap`.
    """

    weights: Array
    keep: Array
    diagnostics: SamplerGap


class SamplerGap(NamedTuple):
    """How far sampler and learner are apart, scalars of all tokens that count.

    Attributes:
      effective_share: effective sample size of the weights over their number, (sum w)^2 / (n sum w^2).
      cut_share: of the tokens, how many were bounded, have weight 0 or are not kept.
      kl_k1: KL(sampler || learner) of a token, by the mean of - log rho: no bias, and it may be below 0.
      kl_k3: the same by the mean of rho - 1 - log rho: no bias, and 0 at least.
      largest: the largest ratio of a token.
    """

    effective_share: Array
    cut_share: Array
    kl_k1: Array
    kl_k3: Array
    largest: Array


def sampler_correction(
    old_log_prob_t: Array,
    sampler_log_prob_t: Array,
    *,
    level: str = "token",
    kind: str = "truncate",
    low: Array | float = 0.5,
    high: Array | float = 2.0,
    mask: Array | None = None,
) -> Correction:
    """Importance weights between the program that sampled and the one that learns, which differ even at the same parameters.

    An engine that samples rounds otherwise than the one that trains. What the loss compares stays current over old,
    exp(l_t - old l_t); this is old over sampler. To leave out the old ones, and compare current with sampler in one ratio, pass the
    sampler's log-probabilities as the old ones of the loss and correct nothing: then its clip bounds both at once.

    Args:
      old_log_prob_t: log-probabilities under the learner, at the parameters that sampled; one answer (T,), or several (B, T). Never
        differentiated.
      sampler_log_prob_t: the same as the sampler has them; never differentiated.
      level: "token", "sequence" (the product over an answer) or "geometric" (its mean as logarithm).
      kind: "truncate", "mask", "band" (IcePop's, tokens) or "reject" (answers).
      low: lower bound of "band" and "reject".
      high: upper bound.
      mask: booleans: which tokens are answer.

    Returns:
      :class:`Correction`. Use ``weights * advantages`` and ``mask=keep``.

    Raises:
      TypeError: for arrays of different shapes.
      ValueError: for a kind that a level does not have, and bounds that are none.

    Bias: at level "sequence" none but what the bounds cut; at level "token" a token's ratio stands for that of the tokens before it
    too. "reject" has the gradient of what is left; "mask" that of the left ones over the number of all.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> old, sampler = jnp.log(jnp.array([0.25, 0.6, 0.125])), jnp.log(jnp.array([0.25, 0.2, 0.5]))
      >>> for kind in ("truncate", "mask", "band"):
      ...     print(sf.policy_gradient.sampler_correction(old, sampler, kind=kind).weights)
      [1.   2.   0.25]
      [1.   0.   0.25]
      [1. 0. 0.]

    References: yao2025 (truncation), lingteam2025 (bands).
    """
    old, sampler = (
        real("sampler_correction", "old_log_prob_t", old_log_prob_t),
        real("sampler_correction", "sampler_log_prob_t", sampler_log_prob_t),
    )
    if (level, kind) not in KINDS:
        known = ", ".join(f"{k} at {l}" for l, k in sorted(KINDS))
        raise ValueError(UNKNOWN.format(kind=kind, level=level, known=known))
    least = low if kind in ("band", "reject") else 0.0
    traced = any(isinstance(x, Tracer) for x in (least, high))
    if any(denies(lambda x: x >= 0, x) for x in (least, high)) or not (
        traced or np.all(np.asarray(least) <= np.asarray(high))
    ):
        raise ValueError(BAD_BOUNDS.format(low=low, high=high))
    mask = None if mask is None else array("sampler_correction", "mask", mask, "booleans")
    if old.ndim not in (1, 2) or sampler.shape != old.shape or (mask is not None and np.shape(mask) != old.shape):
        given = ", ".join(str(list(np.shape(x))) for x in (old, sampler, *(() if mask is None else (mask,))))
        raise TypeError(BAD_ROWS.format(given=given))
    there = counted("sampler_correction", old, mask)
    dtype = wide([old, sampler])
    log_rho = jnp.where(there, stop_gradient(old).astype(dtype) - stop_gradient(sampler).astype(dtype), 0.0)
    log_low, log_high = (jnp.log(jnp.asarray(x, dtype)) for x in (low, high))

    compared = log_rho
    if level != "token":
        compared = jnp.sum(log_rho, axis=-1, keepdims=True)
        if level == "geometric":
            compared = compared / jnp.maximum(jnp.sum(there, axis=-1, keepdims=True).astype(dtype), 1)
        compared = jnp.broadcast_to(compared, log_rho.shape)
    inside = (compared <= log_high) & ((compared >= log_low) | (kind in ("truncate", "mask")))
    keep, weights = there, jnp.ones_like(log_rho)
    if kind == "reject":
        keep = there & inside
    else:
        weights = jnp.exp(jnp.minimum(compared, log_high))
        weights = weights if kind == "truncate" else jnp.where(inside, weights, 0.0)
    weights = jnp.where(keep, weights, 0.0)
    return Correction(weights.astype(old.dtype), keep, _gap(log_rho, weights, there, inside))


def _gap(log_rho: Array, weights: Array, there: Array, inside: Array) -> SamplerGap:
    number = jnp.maximum(count(there, log_rho), 1)
    mean = lambda x: jnp.sum(jnp.where(there, x, 0.0)) / number
    largest = jnp.max(weights, initial=0.0)
    scaled = weights / jnp.where(largest > 0, largest, 1.0)  # squares of large ones overflow
    squares = mean(scaled**2)
    share = jnp.where(squares > 0, mean(scaled) ** 2 / jnp.where(squares > 0, squares, 1.0), 0.0)
    return SamplerGap(
        effective_share=share,
        cut_share=mean((~inside).astype(log_rho.dtype)),
        kl_k1=mean(-log_rho),
        kl_k3=mean(jnp.expm1(log_rho) - log_rho),
        largest=jnp.exp(jnp.max(jnp.where(there, log_rho, -jnp.inf), initial=-jnp.inf)),
    )
