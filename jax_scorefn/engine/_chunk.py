"""How many draws at once, when nobody has said.

    largest array of all draws at once  <  32 MiB:        all of them
    otherwise:                                            as many as make that array 4 MiB
    what is kept of 2^16 draws or more   >=   64 MiB:     nothing is, where sums over the draws are enough

An array of that size goes through main memory from one operation to the next; of 4 MiB it stays in a CPU's caches, and the memory
of a gradient stops growing with the number of draws. The sizes are those of the traced program, in every lane of a surrounding
``vmap``, so the choice is the same in each run. A size is chosen only under ``jit`` (a loop outside it is compiled anew in each call)
and only on a CPU; one that was given serves for the sums anywhere. There is no loop of values where what is returned for each draw
is so large that it saves nothing, and neither where the host is called (be it to print), which may be asked twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun, subjaxprs

from jax_scorefn import _checks
from jax_scorefn._trees import in_explicit_mesh
from jax_scorefn.engine._lanes import lanes
from jax_scorefn.typing import Array, ChunkSize, PyTree

SPLIT_FROM, CHUNK = 32 * 2**20, 4 * 2**20
SMALLER_RESULT = 4
"""So many times smaller than the largest array a result has to be for a loop to be worth it."""

FEWEST_SUMMED, SUMS_FROM = 2**16, 64 * 2**20
"""From so many draws, with results of so many bytes, on nothing is kept of a draw where all that is wanted are sums."""


def suitable_chunk(many: Callable[[Array], PyTree], total: int) -> tuple[Callable[[Array], PyTree], int | None]:
    """``many(0 .. total - 1)`` and the size of its chunks. That is None where all at once is best, and ``many`` is traced then."""
    if not _is_chosen():
        return many, None
    traced, result = _traced(many, total)
    memory = _memory(traced, total)
    if memory.calls_host or memory.largest < SPLIT_FROM or memory.largest < SMALLER_RESULT * memory.returned:
        return lambda index: jax.tree.unflatten(jax.tree.structure(result), jaxpr_as_fun(traced)(index)), None
    return many, _in_caches(memory.largest, total)


def chunk_of_sums(
    many: Callable[[Array], PyTree], total: int, chunk_size: ChunkSize, sharding: Any = None
) -> int | None:
    """The size of chunks where the rows of ``many(0 .. total - 1)`` are so large that only their sums are to be kept, else None."""
    is_auto = isinstance(chunk_size, str)
    if total < FEWEST_SUMMED or chunk_size is None or (is_auto and (sharding is not None or not _is_chosen())):
        return None
    memory = _memory(_traced(many, total)[0], total)
    if memory.calls_host or memory.returned < SUMS_FROM:
        return None
    size = _in_caches(memory.largest, total) if is_auto else _checks.positive_int("chunk_size", chunk_size)
    return size if size < total else None


def _is_chosen() -> bool:
    """Whether a size is chosen here, where nobody has given one."""
    return jax.default_backend() == "cpu" and not in_explicit_mesh() and isinstance(jnp.arange(1), Tracer)


def _in_caches(largest: int, total: int) -> int:
    """As many draws as suit the caches."""
    return divisor_near(max(1, CHUNK * total // largest), total)


def divisor_near(most: int, total: int) -> int:
    """The largest divisor of ``total`` between half of ``most`` and that, else ``most``: what is left over is compiled on its own."""
    return next((size for size in range(most, most // 2, -1) if total % size == 0), most)


class _Memory(NamedTuple):
    """Bytes of the largest array of all draws, and of all that is returned for them; whether a draw asks the host."""

    largest: int
    returned: int
    calls_host: bool


def _traced(many: Callable[[Array], PyTree], total: int) -> tuple[ClosedJaxpr, PyTree]:
    return jax.make_jaxpr(many, return_shape=True)(jax.ShapeDtypeStruct((total,), jnp.uint32))


def _memory(traced: ClosedJaxpr, total: int) -> _Memory:
    operations, copies = list(_operations(traced.jaxpr)), lanes(traced.consts)
    largest = max(_sizes((v.aval for operation in operations for v in operation.outvars), total), default=0)
    returned = sum(_sizes(traced.out_avals, total))
    calls_host = any(re.search("callback|debug", operation.primitive.name) for operation in operations)
    return _Memory(copies * largest, copies * returned, calls_host)


def _operations(jaxpr: Any) -> Iterator[Any]:
    """Those of a program and of its parts."""
    yield from jaxpr.eqns
    for part in subjaxprs(jaxpr):
        yield from _operations(part)


def _sizes(avals: Any, total: int) -> Iterator[int]:
    """Bytes of the arrays with an axis for the draws."""
    for aval in avals:
        shape, dtype = getattr(aval, "shape", ()), getattr(aval, "dtype", None)
        if dtype is not None and total in shape and all(isinstance(n, int) for n in shape):
            yield math.prod(shape) * dtype.itemsize
