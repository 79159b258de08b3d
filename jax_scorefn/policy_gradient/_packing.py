"""Rows that hold several answers: each token has the number of its segment, and what is made of a row are rows of one answer each.

segments      0 0 0 0 1 1 1 -1 -1            a row of two, with padding
unpacked      x x x x . . .  .  .            one row for each, the same numbers, and a mask
              . . . . x x x  .  .
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._checks import positive_int
from jax_scorefn.policy_gradient._arrays import counted, real
from jax_scorefn.typing import Array

BAD_SEGMENTS = (
    "unpack takes segment_ids, integers of shape (T,) or (B, T), and arrays of the same shape; it got {given}."
)


def unpack(segment_ids: Array, num_segments: int, *arrays: Array, mask: Array | None = None) -> tuple[Array, ...]:
    """A row of several answers as several rows of one: the same numbers in each, and a mask that says which are its own.

    A loss of the rows that come out is that of the answers apart, ratios and denominators of whole answers too. Nothing is moved, so
    a gradient comes back to where it belongs.

    Args:
      segment_ids: integers (T,) or (B, T): 0 to ``num_segments`` - 1 for what belongs to an answer and its prompt; others are padding.
      num_segments: S, the most that a row has. A number of Python, since it decides a shape.
      *arrays: of the same shape: log-probabilities, rewards, weights.
      mask: booleans of that shape: which tokens were chosen.

    Returns:
      ``(mask, *arrays)`` of shape (S, T), or (B S, T). A segment that is not there is all masked.

    Raises:
      TypeError: for other shapes and dtypes.
      ValueError: for less than one segment.

    Cost: S times the numbers of a row, one for each token: nothing beside the logits that they came from.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> l, ids = jnp.array([-1.0, -2.0, -3.0, 0.0]), jnp.array([0, 0, 1, -1])
      >>> mask, l = sf.policy_gradient.unpack(ids, 2, l)
      >>> print(sf.policy_gradient.grpo(l, l, jnp.array([1.0, 2.0]), mask=mask).sum)
      [-2. -2.]
    """
    if not isinstance(segment_ids, jax.Array):
        segment_ids = np.asarray(segment_ids)
        if segment_ids.dtype.kind in "iu":  # before JAX cuts them to 32 bits
            segment_ids = np.where((segment_ids >= 0) & (segment_ids < num_segments), segment_ids, -1).astype(np.int32)
    ids = jnp.asarray(segment_ids)
    good = ids.ndim in (1, 2) and jnp.issubdtype(ids.dtype, jnp.integer)
    others = [jnp.asarray(x) for x in (*arrays, *(() if mask is None else (mask,)))]
    if not good or any(x.shape != ids.shape for x in others):
        given = ", ".join(f"{x.dtype}{list(x.shape)}" for x in (ids, *others))
        raise TypeError(BAD_SEGMENTS.format(given=given))
    num_segments = positive_int("unpack: num_segments", num_segments)
    chosen = counted("unpack", ids, mask)
    ids = ids.astype(jnp.int32) if ids.dtype.itemsize < 4 else ids
    number, length = jnp.arange(num_segments, dtype=ids.dtype)[:, None], ids.shape[-1]
    total = num_segments * math.prod(ids.shape[:-1])
    rows = lambda x: jnp.broadcast_to(x[..., None, :], (*x.shape[:-1], num_segments, length)).reshape(total, length)
    place = jnp.broadcast_to(number, (*ids.shape[:-1], *number.shape)).reshape(total, 1)
    return (rows(ids) == place) & rows(chosen), *(rows(real("unpack", "arrays", x)) for x in arrays)
