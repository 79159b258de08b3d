"""How many times a surrounding ``vmap`` repeats what is computed from some arrays.

Inside of a ``vmap`` an array has the shape of one lane. A function with a batching rule of its own is told the number of lanes,
once for each ``vmap`` around it. One around a ``jit`` comes when the inside of that is traced already, and is not seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.custom_batching import custom_vmap

from jax_scorefn._trees import is_key, stop
from jax_scorefn.typing import Array


def lanes(arrays: Sequence[Any]) -> int:
    """The product of the sizes of all axes that are mapped for one of the arrays; 1 outside of any ``vmap``."""
    sizes: list[int] = []

    @custom_vmap
    def see(*arrays: Array) -> Array:
        del arrays
        return jnp.zeros(())

    @see.def_vmap
    def _(size: int, mapped: list[bool], *arrays: Array) -> tuple[Array, bool]:
        del mapped
        sizes.append(size if isinstance(size, int) else 1)  # a size that is not known when this is exported
        return see(*arrays), False

    if traced := [array for array in arrays if isinstance(array, Tracer)]:
        see(*(jax.random.key_data(array) if is_key(array) else stop(array) for array in traced))
    return math.prod(sizes)
