"""Map a function of one draw over all draws: draw i is made of ``(key, i)`` alone, whatever the split.

With ``chunk_size=None`` all draws are one ``vmap``. With a size, a loop runs over chunks of that many draws (and a shorter last
one), each recomputed in the backward pass, so that memory is that of one chunk plus what is returned for each draw. With
"auto" the traced program decides (see ``_chunk``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn.engine._chunk import suitable_chunk
from jax_scorefn.engine._shard import gather, rows_at, shard
from jax_scorefn.typing import Array, ChunkSize, PyTree

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


def points(table: PyTree, sharding: jax.sharding.Sharding | None = None) -> Callable[[Array], PyTree]:
    """Draws that are there already: rows of a table."""
    return lambda index: rows_at(table, index, sharding)


def map_index(
    many: Callable[[Array], PyTree], total: int, chunk_size: ChunkSize, sharding: jax.sharding.Sharding | None
) -> PyTree:
    """``many(index)`` of 0 .. total - 1, in chunks and over devices, stacked on a leading axis."""
    if isinstance(chunk_size, str) and chunk_size == "auto":
        many, chunk_size = suitable_chunk(many, total) if sharding is None else (many, None)

    def span(start: Array | int, size: int) -> PyTree:
        index = shard(start + jnp.arange(size, dtype=jnp.uint32), sharding)
        return gather(many(index), size, sharding)

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
    chunks = jax.lax.map(chunk, jnp.arange(num_full, dtype=jnp.uint32) * chunk_size)
    stacked = jax.tree.map(lambda leaf: leaf.reshape(num_full * chunk_size, *leaf.shape[2:]), chunks)
    if not rest:
        return stacked
    last = span(num_full * chunk_size, rest)
    return jax.tree.map(lambda head, tail: jnp.concatenate([head, tail]), stacked, last)
