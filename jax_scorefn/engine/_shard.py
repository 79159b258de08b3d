"""Lay the axis of draws over devices, and bring what was computed for each draw back together.

Meshes with Auto axes are told where the draws go and the compiler does the rest. In meshes with Explicit axes (what
``jax.make_mesh`` gives) each array has its own sharding in its type: there the index of the draws is resharded, padded to a
whole number of draws for each device, and the results are resharded to every device and cut.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec, Sharding

from jax_scorefn.typing import Array, PyTree

NO_MESH = (
    "sharding= is over {names}, of an Explicit mesh (which jax.make_mesh makes), and that mesh is not set here. Call the estimator "
    "under 'with jax.set_mesh(mesh):', or make the mesh with axis_types=(jax.sharding.AxisType.Auto,)."
)
NOT_A_SHARDING = "sharding is a jax.sharding.Sharding for the axis of draws (one dimension), not {given!r}."


def shard(index: Array, sharding: Sharding | None) -> Array:
    """The index of the draws, laid over devices."""
    if sharding is None:
        return index
    if not isinstance(sharding, Sharding):
        raise TypeError(NOT_A_SHARDING.format(given=sharding))
    if missing := set(_explicit_names(sharding)) - set(jax.sharding.get_abstract_mesh().axis_names):
        raise ValueError(NO_MESH.format(names=", ".join(map(repr, sorted(missing)))))
    pad = -index.shape[0] % sharding.num_devices
    if pad:  # the last draw once more, so that nothing new is evaluated; gather cuts the copies off
        index = jnp.concatenate([index, jnp.broadcast_to(index[-1:], (pad,))])
    if _is_explicit(sharding):
        return jax.sharding.reshard(index, sharding)
    return jax.lax.with_sharding_constraint(index, sharding)


def gather(tree: PyTree, size: int, sharding: Sharding | None) -> PyTree:
    """The first ``size`` rows of each leaf, on every device."""
    if sharding is None:
        return tree
    if _is_explicit(sharding):
        tree = jax.sharding.reshard(tree, PartitionSpec())
    elif isinstance(sharding, NamedSharding):
        tree = jax.device_put(tree, NamedSharding(sharding.mesh, PartitionSpec()))
    return jax.tree.map(lambda leaf: leaf[:size], tree)


def rows_at(tree: PyTree, index: Array, sharding: Sharding | None) -> PyTree:
    """The rows of each leaf that belong to an index which :func:`shard` has laid over devices."""
    if sharding is not None and _is_explicit(sharding):
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
