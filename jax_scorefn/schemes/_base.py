"""What a scheme is: how draws are made, and which of them belong together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks
from jax_scorefn.typing import Array, Key

NOT_A_SCHEME = "scheme is one of sf.schemes.iid, antithetic, stratified(n) and sobol(replicates), the last two called; it got {given}."

Rows = Callable[[Array], list[Array]]
"""``index (n,) -> uniforms`` of these draws: for each leaf an array ``(n, *leaf_shape)``."""


@dataclasses.dataclass(frozen=True)
class Scheme:
    """How draws are made, and which of them belong together.

    Attributes:
      name: its name in messages and tables.
      group_size: number of draws in a group, as a function of the number of draws.
      make: ``(source, key, num_samples) -> Rows``. ``source.rows(key, n)`` are n independent rows of uniforms, ``source.leaves`` says
        of which shapes and dtypes, ``source.take(table, index)`` looks rows up in a table.
      doc: what it does, in one line.
    """

    name: str
    group_size: Callable[[int], int]
    make: Callable[[Any, Key, int], Rows]
    doc: str

    def __repr__(self) -> str:
        return f"<scheme {self.name}>"


def group_size(scheme: Scheme | None, num_samples: int) -> int:
    """Number of draws that depend on each other; refuses what is no scheme, and a number of draws that is not whole groups."""
    if scheme is None:
        return 1
    if not isinstance(scheme, Scheme):
        raise TypeError(NOT_A_SCHEME.format(given=_checks.describe(scheme)))
    return scheme.group_size(num_samples)


def below_one(dtype: Any) -> np.ndarray:
    """The largest float below 1: uniforms are in [0, 1)."""
    return np.asarray(1 - jnp.finfo(dtype).epsneg, dtype)
