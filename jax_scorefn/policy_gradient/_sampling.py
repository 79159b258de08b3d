"""What a sampler does to logits before it draws, so that a draw is scored by the distribution that it came from.

temperature     logits / temperature
top_k           the k largest, all others minus infinity
top_p           the fewest largest whose probabilities reach p
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient

from jax_scorefn._checks import denies
from jax_scorefn.policy_gradient._arrays import real, wide
from jax_scorefn.typing import Array

BAD_OPTION = "sampling_logits: {option}={given} must be {wanted}."
NO_AXIS = "sampling_logits takes logits with the vocabulary along the last axis, not a scalar."


def sampling_logits(
    logits: Array, *, temperature: Array | float = 1.0, top_k: int | None = None, top_p: Array | float | None = None
) -> Array:
    """The logits of the distribution that a sampler with these options draws from.

    Sample from it and score by it, in :func:`token_log_probs` too: the log-probabilities of the model itself are of another
    distribution, and with them as old ones every ratio is off. The options are applied in this order: temperature, top k, top p.

    Args:
      logits: of the model, any shape, with the vocabulary along the last axis.
      temperature: above 0, may be traced.
      top_k: how many of the largest stay; of equal ones the first.
      top_p: the fewest of the largest whose probabilities add up to this stay, one at least; may be traced.

    Returns:
      Logits of the same shape; those that cannot be drawn are minus infinity, and have no derivative. What can be drawn is decided by
      the logits that are given: when the parameters have moved, a token that was drawn may be among what no longer can, with
      probability 0. Where that matters compute the set with the old logits, and put it on the new ones by :func:`legal_logits`.

    Raises:
      TypeError: for a scalar.
      ValueError: for options out of range.

    Bias: what is learned is the policy that samples. That of the model at temperature 1 is another one.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> x = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05]))
      >>> print(jnp.isfinite(sf.policy_gradient.sampling_logits(x, top_p=0.75)))
      [ True  True False False]

    References: holtzman2020 (top p).
    """
    x = real("sampling_logits", "logits", logits)
    if x.ndim == 0:
        raise TypeError(NO_AXIS)
    for option, given, wanted, good in (
        ("temperature", temperature, "above 0", lambda y: y > 0),
        ("top_k", top_k, "a whole number, 1 or more", lambda y: (y >= 1) & (y == np.floor(y))),
        ("top_p", top_p, "above 0 and at most 1", lambda y: (y > 0) & (y <= 1)),
    ):
        if denies(good, given):
            raise ValueError(BAD_OPTION.format(option=option, given=given, wanted=wanted))
    x = x / jnp.asarray(temperature, x.dtype)
    if top_k is None and top_p is None:
        return x
    still = stop_gradient(x)
    order = jnp.argsort(-still, axis=-1)
    place = jnp.argsort(order, axis=-1)
    stays = jnp.ones(x.shape, bool) if top_k is None else place < top_k
    if top_p is not None:
        probs = jax.nn.softmax(jnp.where(stays, still, -jnp.inf).astype(wide([x])), axis=-1)
        in_order = jnp.take_along_axis(probs, order, axis=-1)
        before = jnp.take_along_axis(jnp.cumsum(in_order, axis=-1) - in_order, place, axis=-1)
        most = jnp.asarray(top_p, before.dtype)  # at 1 it is all: a sum of 128,000 of them comes to 1 before its end
        stays = stays & ((before < most) | (most >= 1) | (place == 0))
    return jnp.where(stays, x, jnp.asarray(-jnp.inf, x.dtype))
