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
from jax_scorefn.engine._shard import gather, index_of, num_shards, rows_of, shard, share
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
        return jax.vmap(one_draw)(draws(index), rows_of(beside, index, sharding))

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
    table = _table(lambda index: jax.vmap(one_draw)(draws(index)), num_samples, chunk_size, sharding, _summed)
    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=(0, 1)), table)


def points(table: PyTree, sharding: jax.sharding.Sharding | None = None) -> Callable[[Array], PyTree]:
    """Draws that are there already: rows of a table."""
    return lambda index: rows_of(table, index, sharding)


def map_index(
    many: Callable[[Array], PyTree], total: int, chunk_size: ChunkSize, sharding: jax.sharding.Sharding | None
) -> PyTree:
    """``many(index)`` of 0 .. total - 1, in chunks and over devices, stacked on a leading axis."""
    if isinstance(chunk_size, str) and chunk_size == "auto":
        many, chunk_size = suitable_chunk(many, total) if sharding is None else (many, None)
    if chunk_size is None and sharding is None:
        return many(jnp.arange(total, dtype=jnp.uint32))
    table = _table(many, total, chunk_size, sharding, lambda rows, exists: rows)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:total], table)


def _table(
    many: Callable[[Array], PyTree],
    total: int,
    chunk_size: Any,
    sharding: jax.sharding.Sharding | None,
    kept: Callable[[PyTree, Array], PyTree],
) -> PyTree:
    """What is kept of the rows of each chunk, ``(devices, rows of a device, ...)``: device by device and chunk by chunk."""
    devices, own = num_shards(sharding), share(total, sharding)

    def span(start: Array | int, size: int) -> PyTree:
        index = index_of(start, size, total, sharding)
        rows = gather(many(shard(index, total, sharding)), sharding)
        return kept(jax.tree.map(lambda leaf: leaf.reshape(devices, size, *leaf.shape[1:]), rows), index < total)

    if chunk_size is None:
        return span(0, own)
    chunk_size = _checks.positive_int('Unless it is None or "auto", chunk_size', chunk_size)
    if chunk_size >= total:
        return span(0, own)

    size = max(1, chunk_size // devices)
    num_full, rest = divmod(own, size)
    chunk = jax.checkpoint(
        lambda start: span(start, size),
        policy=jax.checkpoint_policies.save_only_these_names(HOST_RESULT),
        prevent_cse=False,  # inside a loop there is nothing to be merged with
    )
    table = _loop(chunk, jnp.arange(num_full, dtype=jnp.uint32) * size)
    return _joined(table, span(num_full * size, rest)) if rest else table


def _loop(chunk: Callable[[Array], PyTree], starts: Array) -> PyTree:
    """The rows of the chunks, in a loop over loops where they are many: a gradient is a sum of sums then, none of many terms."""
    total = starts.shape[0]
    inner = divisor_near(math.isqrt(total), total) if total >= MANY_CHUNKS else total
    outer, rest = divmod(total, inner)
    in_turn = lambda starts: _one_after_another(jax.lax.map(chunk, starts))
    if outer == 1:
        return in_turn(starts)
    table = _one_after_another(jax.lax.map(in_turn, starts[: total - rest].reshape(outer, inner)))
    return _joined(table, in_turn(starts[total - rest :])) if rest else table


def _one_after_another(tables: PyTree) -> PyTree:
    """Tables on a leading axis as one, each device with its own rows."""
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1).reshape(leaf.shape[1], -1, *leaf.shape[3:]), tables)


def _joined(head: PyTree, tail: PyTree) -> PyTree:
    return jax.tree.map(lambda head, tail: jnp.concatenate([head, tail], axis=1), head, tail)


def _summed(rows: PyTree, exists: Array) -> PyTree:
    """The sum of each device's rows, as one row."""
    there = lambda leaf: exists.reshape(exists.shape + (1,) * (leaf.ndim - 2))
    return jax.tree.map(lambda leaf: jnp.sum(jnp.where(there(leaf), leaf, 0), axis=1, keepdims=True), rows)
