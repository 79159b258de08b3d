"""Lay the draws over devices: each device has a share of draws in a row, and works through it from its first draw to its last.

    device d has the draws  d n, d n + 1, .. d n + n - 1,    n = the number of draws over that of devices, rounded up

Draws beyond the last one are the last one again, so that nothing new is evaluated, and are cut off. Meshes with Auto axes are told
where the draws go and the compiler does the rest: what is returned for a draw stays where it was made. In meshes with Explicit axes
(what ``jax.make_mesh`` gives) each array has its own sharding in its type: there the index of the draws is resharded, and the results
are resharded to every device.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec, Sharding

from jax_scorefn._trees import in_explicit_mesh
from jax_scorefn.typing import Array, PyTree

NO_MESH = (
    "sharding= is over {names}, of an Explicit mesh (which jax.make_mesh makes), and that mesh is not set here. Call the estimator "
    "under 'with jax.set_mesh(mesh):', or make the mesh with axis_types=(jax.sharding.AxisType.Auto,)."
)
AUTO_AXES = (
    "The mesh has Explicit axes, where each operation has to know how its result is sharded, and one of these does not. Leave it to "
    "the compiler: jax.sharding.auto_axes(call, out_sharding=jax.sharding.PartitionSpec()), where call makes sharding= of the mesh "
    "that it finds, jax.sharding.get_abstract_mesh()."
)
NOT_A_SHARDING = "sharding is a jax.sharding.Sharding for the axis of draws (one dimension), not {given!r}."


@contextlib.contextmanager
def over_devices(sharding: Any) -> Iterator[None]:
    """What JAX says of arrays in a mesh with Explicit axes, with a way out."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if sharding is not None and in_explicit_mesh() and re.search("shard|mesh|spec", str(error), re.IGNORECASE):
            error.add_note(AUTO_AXES)
        raise


def num_shards(sharding: Sharding | None) -> int:
    """Over how many devices, or groups of devices that have the same draws, the draws are laid."""
    if sharding is None:
        return 1
    if not isinstance(sharding, Sharding):
        raise TypeError(NOT_A_SHARDING.format(given=sharding))
    if missing := set(_explicit_names(sharding)) - set(jax.sharding.get_abstract_mesh().axis_names):
        raise ValueError(NO_MESH.format(names=", ".join(map(repr, sorted(missing)))))
    return sharding.num_devices // sharding.shard_shape((sharding.num_devices,))[0]


def share(total: int, sharding: Sharding | None) -> int:
    """The number of draws of each device."""
    return -(-total // num_shards(sharding))


def index_of(start: Array | int, size: int, total: int, sharding: Sharding | None) -> Array:
    """The draws start, .. start + size - 1 of every share, device by device: ``(devices, size)``. Some may not be below the total."""
    firsts = np.arange(num_shards(sharding), dtype=np.uint32) * np.uint32(share(total, sharding))
    return jnp.asarray(firsts)[:, None] + (start + jnp.arange(size, dtype=jnp.uint32))[None]


def shard(index: Array, total: int, sharding: Sharding | None) -> Array:
    """The same in one row that is laid over devices, with the last draw for those that do not exist."""
    index = index.reshape(-1)
    if sharding is None:
        return index
    index = jnp.minimum(index, np.uint32(total - 1))
    if _is_explicit(sharding):
        return jax.sharding.reshard(index, sharding)
    return jax.lax.with_sharding_constraint(index, sharding)


def gather(tree: PyTree, sharding: Sharding | None) -> PyTree:
    """The rows of an index, on every device where no operation could go on with them."""
    return jax.sharding.reshard(tree, PartitionSpec()) if _is_explicit(sharding) else tree


def rows_of(table: PyTree, index: Array, sharding: Sharding | None) -> PyTree:
    """The rows of a table of all draws that belong to an index of :func:`shard`: each device has them in a row, in its share."""
    devices = num_shards(sharding)
    if devices == 1 or _is_explicit(sharding):
        return rows_at(table, index, sharding)

    def rows(leaf: Array) -> Array:
        own = share(leaf.shape[0], sharding)
        pad = own * devices - leaf.shape[0]
        leaf = jnp.concatenate([leaf, leaf[-1:].repeat(pad, axis=0)]) if pad else leaf
        leaf = leaf.reshape(devices, own, *leaf.shape[1:])
        found = jax.lax.dynamic_slice_in_dim(leaf, index[0], index.shape[0] // devices, axis=1)
        return found.reshape(index.shape[0], *leaf.shape[2:])

    return jax.tree.map(rows, table)


def rows_at(tree: PyTree, index: Array, sharding: Sharding | None) -> PyTree:
    """The rows of each leaf at any index that is laid over devices."""
    if _is_explicit(sharding):
        return jax.tree.map(lambda leaf: leaf.at[index].get(out_sharding=sharding), tree)
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _is_explicit(sharding: Any) -> bool:
    return bool(_explicit_names(sharding))


def _explicit_names(sharding: Any) -> list[str]:
    """Of the axes of a mesh that are used, those whose shardings are in the types of arrays."""
    if not isinstance(sharding, NamedSharding):
        return []
    types = dict(zip(sharding.mesh.axis_names, sharding.mesh.axis_types, strict=True))
    names = [name for entry in sharding.spec for name in (entry if isinstance(entry, tuple) else (entry,)) if name]
    return [name for name in names if types[name] == AxisType.Explicit]
