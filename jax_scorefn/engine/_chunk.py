"""How many draws at once, when nobody has said.

    largest array of all draws at once  <  32 MiB:   all of them
    otherwise:                                       as many as make that array 4 MiB

An array of that size goes through main memory from one operation to the next; of 4 MiB it stays in a CPU's caches, and the memory
of a gradient stops growing with the number of draws. The sizes are those of the traced program, so the choice is the same in each run.
Only under ``jit`` (a loop outside it is compiled anew in each call), only on a CPU, only where what is returned for each draw is so
small that the loop saves something, and never where the host is called (be it to print), which may be asked twice. A surrounding
``vmap`` is not seen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.extend.core import jaxpr_as_fun, subjaxprs

from jax_scorefn._trees import in_explicit_mesh
from jax_scorefn.typing import Array, PyTree

SPLIT_FROM, CHUNK = 32 * 2**20, 4 * 2**20
SMALLER_RESULT = 4
"""A result of less than this part of the largest array is worth a loop."""


def suitable_chunk(many: Callable[[Array], PyTree], total: int) -> tuple[Callable[[Array], PyTree], int | None]:
    """``many(0 .. total - 1)`` and the size of its chunks. That is None where all at once is best, and ``many`` is traced then."""
    if jax.default_backend() != "cpu" or in_explicit_mesh() or not isinstance(jnp.arange(1), Tracer):
        return many, None
    traced, result = jax.make_jaxpr(many, return_shape=True)(jax.ShapeDtypeStruct((total,), jnp.uint32))
    operations = list(_operations(traced.jaxpr))
    largest = max(_sizes((v.aval for operation in operations for v in operation.outvars), total), default=0)
    returned = max(_sizes(traced.out_avals, total), default=0)
    calls_host = any(re.search("callback|debug", operation.primitive.name) for operation in operations)
    if calls_host or largest < SPLIT_FROM or largest < SMALLER_RESULT * returned:
        return lambda index: jax.tree.unflatten(jax.tree.structure(result), jaxpr_as_fun(traced)(index)), None
    most = max(1, CHUNK * total // largest)
    # A shorter last chunk would be compiled on its own.
    return many, next((size for size in range(most, most // 2, -1) if total % size == 0), most)


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
