"""Arrays in a mesh with Explicit axes, where their sharding is a part of their type.

A program is traced once and run again under a map over runs, which are laid over devices. What it is traced with has to be of the type
of what it is run with: an operation with a body, whose types were fixed when it was traced, is mapped along an axis of the mesh, and
a type from outside of the mesh has no such axis.
"""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import PartitionSpec

from jax_scorefn._trees import in_explicit_mesh


def onto_mesh(tree: Any) -> Any:
    """The same arrays, as arrays of the mesh around; those that are in a mesh already, and where no axis is Explicit, as they are."""
    if not in_explicit_mesh():
        return tree
    return jax.tree.map(
        lambda x: jax.sharding.reshard(x, PartitionSpec()) if jax.typeof(x).sharding.mesh.empty else x, tree
    )
