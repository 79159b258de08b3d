"""A call of a program: its arrays, which of them move, and all else, by which one call is told from another."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn._trees import is_inexact
from jax_scorefn.programs._trace import is_traced
from jax_scorefn.typing import Array


@dataclasses.dataclass(frozen=True)
class Call:
    """The arguments but for their arrays. What is static is told apart by what is printed of it."""

    treedef: Any
    static: tuple[tuple[int, str], ...]
    traced: tuple[int, ...]
    moving: tuple[int, ...]
    avals: tuple[str, ...]
    leaves: list[Any] = dataclasses.field(compare=False)

    @classmethod
    def of(cls, args: Any, kwargs: Any, argnums: tuple[int, ...]) -> tuple[Call, list[Array]]:
        """Of a call, and its arrays."""
        paths, treedef = jax.tree.flatten_with_path((args, kwargs))
        leaves = [leaf for _, leaf in paths]
        traced = tuple(i for i, leaf in enumerate(leaves) if is_traced(leaf))
        argnums = tuple(k % len(args) if args else k for k in argnums)
        differentiated = [i for i in traced if paths[i][0][0].idx == 0 and paths[i][0][1].idx in argnums]
        moving = tuple(k for k, i in enumerate(traced) if i in differentiated and is_inexact(jnp.asarray(leaves[i])))
        arrays = [jnp.asarray(leaves[i]) for i in traced]
        static = tuple((i, repr(leaf)) for i, leaf in enumerate(leaves) if i not in traced)
        kept = [None if i in traced else leaf for i, leaf in enumerate(leaves)]
        return cls(treedef, static, traced, moving, tuple(str(jax.typeof(x)) for x in arrays), kept), arrays

    def moved(self, arrays: Sequence[Array]) -> list[Array]:
        """Those arrays that are differentiated."""
        return [arrays[k] for k in self.moving]

    def whole(self, arrays: Sequence[Array], moving: Sequence[Array] | None = None) -> Any:
        """The arguments again, with others in the place of those that move."""
        arrays = list(arrays)
        for k, x in zip(self.moving, self.moved(arrays) if moving is None else moving, strict=True):
            arrays[k] = x
        leaves = list(self.leaves)
        for i, x in zip(self.traced, arrays, strict=True):
            leaves[i] = x
        return jax.tree.unflatten(self.treedef, leaves)
