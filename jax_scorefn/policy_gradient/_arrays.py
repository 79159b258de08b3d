"""What a function of one trajectory is given: shapes, flags, numbers, and the precision that it computes in.

Everything is computed in the widest dtype of the arrays that came in, and in float32 at least: added up in bfloat16, a thousand ones
are 256. What has one number for each step goes out in the dtype that was given. Sums and weights (:class:`Loss`) stay as they were
computed, since bfloat16 has no 1025 and float16 no 81,920.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._checks import describe
from jax_scorefn._trees import to_float, widest
from jax_scorefn._wide import wide_dtype
from jax_scorefn.typing import Array

ONE_TRAJECTORY = (
    "{name} takes one trajectory, arrays of shape (T,); {argument} has shape {shape}, not {wanted}. For several trajectories map "
    "over them with jax.vmap (arrays are time-major: vmap with in_axes=1)."
)
OTHER_SHAPE = "{name}: {argument} has shape {shape}, not {wanted}."
NOT_A_FLAG = (
    "{name}: {argument} is an array of booleans, one for each step, not of {dtype}: pass {argument} != 0. Weights that are no flags "
    "are multiplied into the advantages."
)
NOT_AN_ARRAY = "{name}: {argument} is an array of {kind}, not {given}."
NOT_REAL = "{name}: {argument} is an array of real numbers, not of {dtype}."


def trajectory(name: str, may_be_none: str = "", **arguments: Any) -> list[Any]:
    """Arrays of one trajectory in the dtype to compute in; the first says how long it is. One of them may be None, and stays it."""
    arrays = {label: real(name, label, x) for label, x in arguments.items() if x is not None or label != may_be_none}
    label, first = next(iter(arrays.items()))
    if first.ndim != 1:
        raise TypeError(_wrong_shape(name, label, first, "[T]"))
    for label, x in arrays.items():
        if x.shape != first.shape:
            raise TypeError(_wrong_shape(name, label, x, list(first.shape)))
    dtype = wide(arrays.values())
    return [None if x is None else arrays[label].astype(dtype) for label, x in arguments.items()]


def per_step(name: str, like: Array, **argument: Any) -> Array:
    """A number, or one for each step, as an array of steps."""
    ((label, value),) = argument.items()
    x = real(name, label, value)
    if x.shape not in ((), like.shape):
        raise TypeError(_wrong_shape(name, label, x, list(like.shape)))
    return jnp.broadcast_to(x.astype(like.dtype), like.shape)


def flags(name: str, like: Array, **argument: Any) -> Array:
    """Booleans, one for each step (or whatever ``like`` counts); None is False throughout."""
    ((label, value),) = argument.items()
    if value is None:
        return jnp.zeros(like.shape, bool)
    x = array(name, label, value, "booleans")
    if x.dtype != jnp.bool_:
        raise TypeError(NOT_A_FLAG.format(name=name, argument=label, dtype=x.dtype))
    if x.shape != like.shape:
        raise TypeError(_wrong_shape(name, label, x, list(like.shape)))
    return x


def counted(name: str, like: Array, mask: Any) -> Array:
    """Which of them count; None is all."""
    return jnp.ones(like.shape, bool) if mask is None else flags(name, like, mask=mask)


def real(name: str, label: str, value: Any) -> Array:
    """An array of floats, for integers of the default dtype."""
    x = array(name, label, value, "real numbers")
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(NOT_REAL.format(name=name, argument=label, dtype=x.dtype))
    return to_float(x)


def array(name: str, label: str, value: Any, kind: str) -> Array:
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(NOT_AN_ARRAY.format(name=name, argument=label, kind=kind, given=describe(value))) from error


def compared(ids: Any) -> Array:
    """Integers that are only compared with each other; those that JAX would cut to 32 bits are numbered anew."""
    if not isinstance(ids, jax.Array):
        host = np.asarray(ids)
        if host.dtype.kind in "iu" and np.any(host != host.astype(jax.dtypes.canonicalize_dtype(host.dtype))):
            ids = np.unique(host, return_inverse=True)[1].reshape(host.shape).astype(np.int32)
    return jnp.asarray(ids)


def wide(arrays: Iterable[Array]) -> Any:
    """The dtype to compute in: the widest of theirs, and float32 at least."""
    return wide_dtype(widest(list(arrays)))


def _wrong_shape(name: str, label: str, x: Array, wanted: Any) -> str:
    message = ONE_TRAJECTORY if len(wanted) == 1 else OTHER_SHAPE
    return message.format(name=name, argument=label, shape=list(x.shape), wanted=wanted)
