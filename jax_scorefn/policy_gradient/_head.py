"""Log-probabilities of tokens from hidden states and the matrix of the vocabulary, block by block: logits are never there as a whole.

    log p(x_t) = h_t . w_{x_t} - log sum_k exp(h_t . w_k)          the sum by blocks of k, with a running maximum

A block is computed again on the way back.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn._checks import denies, positive_int
from jax_scorefn._surrogate import nan_where
from jax_scorefn.policy_gradient._arrays import real, wide
from jax_scorefn.policy_gradient._sequences import sequence, without_probability
from jax_scorefn.typing import Array

BAD_SHAPES = (
    "token_log_probs_of_head takes one sequence: hidden (T, D), head (D, K), tokens (T,) of integers, answer (T,) of booleans, "
    "segment_ids (T,) of integers or None; it got {given}."
)
BAD_OPTION = "token_log_probs_of_head: {option}={given} must be {wanted}."


def token_log_probs_of_head(
    hidden: Array,
    head: Array,
    tokens: Array,
    answer: Array,
    *,
    chunk_size: int = 256,
    vocabulary_chunk: int = 16_384,
    temperature: Array | float = 1.0,
    segment_ids: Array | None = None,
) -> Array:
    """:func:`token_log_probs` of ``hidden @ head``, whose T x K logits are never in memory at once.

    Args:
      hidden: what the model's last layer says of each position, shape (T, D): the one at t is about the token at t + 1.
      head: the matrix to the logits of the vocabulary, (D, K).
      tokens: prompt, answer and padding, integers (T,).
      answer: booleans (T,), as in :func:`token_log_probs`.
      chunk_size: positions at once.
      vocabulary_chunk: tokens of the vocabulary at once.
      temperature: the logits are divided by it; may be traced.
      segment_ids: as in :func:`token_log_probs`.

    Returns:
      Floats (T,), as :func:`token_log_probs`. Sums are in float32 at least, those of the gradient over all blocks too.

    Raises:
      TypeError: for other shapes.
      ValueError: as :func:`token_log_probs`, for chunks below 1, and a temperature that is not above 0.

    Cost: memory of one block of logits, chunk_size x vocabulary_chunk, and of the head in float32; the products are made twice for a
    gradient.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> answer = jnp.array([False, True, True])
      >>> print(sf.policy_gradient.token_log_probs_of_head(jnp.ones((3, 2)), jnp.zeros((2, 4)), jnp.array([0, 1, 3]), answer))
      [ 0.        -1.3862944 -1.3862944]
    """
    x, matrix = real("token_log_probs_of_head", "hidden", hidden), real("token_log_probs_of_head", "head", head)
    good = x.ndim == 2 and matrix.ndim == 2 and matrix.shape[0] == x.shape[1]
    tokens, answer, segment_ids = sequence(BAD_SHAPES, good, x, tokens, answer, segment_ids, matrix)
    for option, given in (("chunk_size", chunk_size), ("vocabulary_chunk", vocabulary_chunk)):
        positive_int(f"token_log_probs_of_head: {option}", given)
    if denies(lambda y: y > 0, temperature):
        raise ValueError(BAD_OPTION.format(option="temperature", given=temperature, wanted="above 0"))
    if x.shape[0] == 0:
        return jnp.zeros(0, x.dtype)
    size, dtype = matrix.shape[1], wide([x, matrix])
    none = without_probability("token_log_probs_of_head", tokens, answer, segment_ids, size)
    tokens, answer = jnp.asarray(tokens), jnp.asarray(answer)
    if x.shape[0] == 1:  # nothing stands before it
        return nan_where(none, jnp.zeros(1, x.dtype))
    block = min(vocabulary_chunk, size)
    blocks = -(-size // block)
    # wide, so that what comes back to them from all blocks is added up wide; a product is of what was given
    parts = (
        jnp.pad(matrix.astype(dtype), ((0, 0), (0, blocks * block - size))).reshape(-1, blocks, block).swapaxes(0, 1)
    )

    def of_positions(rows: tuple[Array, Array]) -> Array:
        h, index = rows

        @jax.checkpoint
        def step(carry: tuple[Array, Array, Array], row: tuple[Array, Array]) -> Any:
            (most, total, chosen), (start, part) = carry, row
            product = jnp.matmul(h.astype(x.dtype), part.astype(matrix.dtype), preferred_element_type=dtype)
            logits = product / jnp.asarray(temperature, dtype)
            logits = jnp.where(start + jnp.arange(block)[None] < size, logits, -jnp.inf)  # the last block is filled up
            top = jnp.maximum(most, stop_gradient(jnp.max(logits, axis=1)))
            total = total * jnp.exp(most - top) + jnp.sum(jnp.exp(logits - top[:, None]), axis=1)
            here = (index >= start) & (index < start + block)
            own = jnp.take_along_axis(logits, jnp.where(here, index - start, 0)[:, None], axis=1)[:, 0]
            return (top, total, jnp.where(here, own, chosen)), None

        nothing = jnp.zeros(h.shape[0], dtype)
        begin = jnp.full_like(nothing, jnp.finfo(dtype).min), nothing, nothing
        (most, total, chosen), _ = jax.lax.scan(step, begin, (block * jnp.arange(blocks), parts))
        return chosen - most - jnp.log(total)

    # what is not answer is never looked at, whatever stands there
    before = jnp.where(answer[1:, None], x[:-1], jnp.zeros((), x.dtype)).astype(dtype)
    index = jnp.where(answer[1:] & ~none[1:], tokens[1:], 0)
    length = before.shape[0]
    rows = max(1, min(chunk_size, length))
    chunks = -(-length // rows)
    fill = chunks * rows - length
    before = jnp.pad(before, ((0, fill), (0, 0))).reshape(chunks, rows, -1)
    index = jnp.pad(index, (0, fill)).reshape(chunks, rows)
    found = jax.lax.map(of_positions, (before, index)).reshape(-1)[:length]
    found = jnp.concatenate([jnp.zeros(1, found.dtype), found])
    found = jnp.where(answer, found, 0.0)
    return jnp.where(none, stop_gradient(nan_where(none, found)), found).astype(x.dtype)
