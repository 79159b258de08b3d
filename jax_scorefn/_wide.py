"""What is added up has 32 bits at least, and what is given back the dtype that was given.

A program, and a distribution, computes in its own dtypes. Where the library adds, over runs, iterations, branches or
log-probabilities, numbers of half precision would stop growing at 256 or overflow at 65,504: they are float32 there, and so are
derivatives, which are added backwards.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def wide_dtype(dtype: Any) -> Any:
    """float32 for a float of fewer bits; any other dtype as it is."""
    return jnp.float32 if jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32 else dtype


def cast(x: Any, dtype: Any) -> Any:
    """An array in another dtype; keys and other things with the right dtype pass."""
    return x if x.dtype == dtype else x.astype(dtype)


def wide(tree: Any) -> Any:
    """The arrays of a tree, those of half precision as float32."""
    return jax.tree.map(lambda x: cast(x, wide_dtype(x.dtype)) if hasattr(x, "dtype") else x, tree)
