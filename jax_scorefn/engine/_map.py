"""Map a function of one draw over all draws: draw i is made of ``(key, i)`` alone, whatever the split.

With ``chunk_size=None`` all draws are one ``vmap``. With a size, a loop runs over chunks of that many draws (and a shorter last
one), each recomputed in the backward pass, so that memory is that of one chunk plus what is returned for each draw, or of one chunk
alone where the results are summed. With "auto" the traced program decides (see ``_chunk``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn.engine._chunk import divisor_near, suitable_chunk
from jax_scorefn.engine._shard import gather, rows_at, shard
from jax_scorefn.typing import Array, ChunkSize, PyTree

MANY_CHUNKS = 64
"""From as many on, a loop is one over loops."""

HOST_RESULT = "scorefn_host_result"
"""Name under which results of host calls are kept across recomputation, so that the host is called once."""


def map_draws(
    one_draw: Callable[[Any, PyTree], PyTree],
    draws: Callable[[Array], Any],
    num_samples: int,
    *,
    beside: PyTree = None,
    chunk_size: ChunkSize = None,
    sharding: jax.sharding.Sharding | None = None,
) -> PyTree:
    """``one_draw(draw i, row i of beside)`` for i = 0 .. num_samples - 1, stacked on a leading axis.

    ``draws(index)`` makes what the draws of an index are made of: see ``noise_of`` and ``points``.
    """

    def many(index: Array) -> PyTree:
        return jax.vmap(one_draw)(draws(index), rows_at(beside, index, sharding))

    return map_index(many, num_samples, chunk_size, sharding)


def sum_draws(
    one_draw: Callable[[Any], PyTree],
    draws: Callable[[Array], Any],
    num_samples: int,
    *,
    chunk_size: int,
    sharding: jax.sharding.Sharding | None = None,
) -> PyTree:
    """The sum of ``one_draw(draw i)``: nothing is kept of a draw but its share in the sum of its chunk."""
    sums = map_index(lambda index: jax.vmap(one_draw)(draws(index)), num_samples, chunk_size, sharding, _summed)
    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), sums)


def points(table: PyTree, sharding: jax.sharding.Sharding | None = None) -> Callable[[Array], PyTree]:
    """Draws that are there already: rows of a table."""
    return lambda index: rows_at(table, index, sharding)


def map_index(
    many: Callable[[Array], PyTree],
    total: int,
    chunk_size: ChunkSize,
    sharding: jax.sharding.Sharding | None,
    kept: Callable[[PyTree], PyTree] = lambda rows: rows,
) -> PyTree:
    """``many(index)`` of 0 .. total - 1, in chunks and over devices, stacked on a leading axis: what is kept of each chunk's rows."""
    if isinstance(chunk_size, str) and chunk_size == "auto":
        many, chunk_size = suitable_chunk(many, total) if sharding is None else (many, None)

    def span(start: Array | int, size: int) -> PyTree:
        index = shard(start + jnp.arange(size, dtype=jnp.uint32), sharding)
        return kept(gather(many(index), size, sharding))

    if chunk_size is None:
        return span(0, total)
    chunk_size = _checks.positive_int('Unless it is None or "auto", chunk_size', chunk_size)
    if chunk_size >= total:
        return span(0, total)

    num_full, rest = divmod(total, chunk_size)
    chunk = jax.checkpoint(
        lambda start: span(start, chunk_size),
        policy=jax.checkpoint_policies.save_only_these_names(HOST_RESULT),
        prevent_cse=False,  # inside a loop there is nothing to be merged with
    )
    stacked = _loop(chunk, jnp.arange(num_full, dtype=jnp.uint32) * chunk_size)
    return _joined(stacked, span(num_full * chunk_size, rest)) if rest else stacked


def _loop(chunk: Callable[[Array], PyTree], starts: Array) -> PyTree:
    """The rows of the chunks, in a loop over loops where they are many: a gradient is a sum of sums then, none of many terms."""
    total = starts.shape[0]
    inner = divisor_near(math.isqrt(total), total) if total >= MANY_CHUNKS else total
    outer, rest = divmod(total, inner)
    rows_of = lambda starts: _one_after_another(jax.lax.map(chunk, starts))
    if outer == 1:
        return rows_of(starts)
    stacked = _one_after_another(jax.lax.map(rows_of, starts[: total - rest].reshape(outer, inner)))
    return _joined(stacked, rows_of(starts[total - rest :])) if rest else stacked


def _one_after_another(chunks: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), chunks)


def _joined(head: PyTree, tail: PyTree) -> PyTree:
    return jax.tree.map(lambda head, tail: jnp.concatenate([head, tail]), head, tail)


def _summed(rows: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0, keepdims=True), rows)
