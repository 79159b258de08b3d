"""Compute an elementwise function in one place, on as few axes as its arguments have.

XLA fuses an elementwise function into everything that uses its result, and computes it anew in each: a generator of random words
three times over, and slowly, where the last axis is short. On a CPU, a function under ``once`` runs on few long axes behind a fence:
a branch that is always taken, which the compiler cannot know. (``optimization_barrier`` is meant for this; with some versions of JAX
it is gone before XLA fuses.) Other processors get the function as it is, and so do arrays in a mesh with Explicit axes.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from jax_scorefn._trees import in_explicit_mesh
from jax_scorefn.typing import Array


def once(function: Callable[..., Array]) -> Callable[..., Array]:
    """The same function of arrays, whose shapes broadcast. It is elementwise, and its arguments have no derivative."""
    traced_once = jax.jit(function)

    def plain(*args: Array) -> Array:
        shape = jnp.broadcast_shapes(*(arg.shape for arg in args))
        return traced_once(*(jnp.broadcast_to(arg, shape) for arg in args))

    def fenced(*args: Array) -> Array:
        shape = jnp.broadcast_shapes(*(arg.shape for arg in args))
        merged = _with_few_axes(args)
        out = jax.eval_shape(plain, *merged)
        never = lambda *args: sum(jnp.broadcast_to(0 * arg, out.shape).astype(out.dtype) for arg in args)
        return jax.lax.cond(_always(merged[-1]), plain, never, *merged).reshape(shape)

    @custom_vmap
    def call(*args: Array) -> Array:
        if 0 in jnp.broadcast_shapes(*(arg.shape for arg in args)):
            return plain(*args)
        return jax.lax.platform_dependent(*args, cpu=fenced, default=plain)

    @call.def_vmap
    def _(size: int, mapped: list[bool], *args: Array) -> tuple[Array, bool]:
        del size
        rank = max(arg.ndim - is_mapped for arg, is_mapped in zip(args, mapped, strict=True))

        def aligned(arg: Array, is_mapped: bool) -> Array:
            missing = rank + is_mapped - arg.ndim
            return arg.reshape(arg.shape[:is_mapped] + (1,) * missing + arg.shape[is_mapped:])

        return call(*map(aligned, args, mapped)), True

    @functools.wraps(function)
    def wrapped(*args: Array) -> Array:
        return function(*args) if in_explicit_mesh() else jitted(*args)

    jitted = jax.jit(lambda *args: call(*args))
    return wrapped


def _with_few_axes(args: tuple[Array, ...]) -> list[Array]:
    """The arguments with neighbouring axes made one wherever each argument runs along both, or is repeated along both.

    Their repetition is left to the function: what is written to memory first is read again for each element.
    """
    shape = jnp.broadcast_shapes(*(arg.shape for arg in args))
    args = tuple(arg.reshape((1,) * (len(shape) - arg.ndim) + arg.shape) for arg in args)
    runs_along = lambda axis: tuple(arg.shape[axis] > 1 for arg in args)
    alike = [list(axes) for _, axes in itertools.groupby((i for i, n in enumerate(shape) if n > 1), key=runs_along)]
    return [arg.reshape([math.prod(arg.shape[i] for i in axes) for axes in alike]) for arg in args]


def _always(x: Array) -> Array:
    """True, whatever the bits of x; nothing in XLA knows the bits of a number."""
    first = jax.lax.bitcast_convert_type(x.reshape(-1)[0], jnp.dtype(f"uint{8 * x.dtype.itemsize}"))
    return (first | jnp.ones_like(first)) != 0
