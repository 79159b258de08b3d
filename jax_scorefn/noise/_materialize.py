"""Compute an elementwise function in one place, on as few axes as its arguments have.

XLA fuses an elementwise function into everything that uses its result, and computes it anew in each: a generator of random words
three times over, and slowly, where the last axis is short. On a CPU, a function under ``materialize`` runs on few long axes behind a
fence, which prevents fusion: a branch that is always taken, which the compiler cannot know. (``optimization_barrier`` is meant for
this; with some versions of JAX it is gone before XLA fuses.) What goes through the fence is written to memory on both sides. So a
function that numbers its elements makes the numbers itself, of a ``row`` of given length. Other processors, and arrays in a mesh with
Explicit axes, get the function as it is, or another that is given for them.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from jax_scorefn._trees import in_explicit_mesh
from jax_scorefn.typing import Array


def materialize(
    function: Callable[..., Array], elsewhere: Callable[..., Array] | None = None, row: int | None = None
) -> Callable[..., Array]:
    """The same function of arrays, whose shapes broadcast. It is elementwise, and its arguments have no derivative.

    ``elsewhere`` computes the same for other processors, where something is better there than the function as it is. With a ``row``
    the last axis of all arguments has length 1, and that of the result this length.
    """
    elsewhere = function if elsewhere is None else elsewhere
    traced = jax.jit(function)

    def plain(*args: Array) -> Array:
        return traced(*jnp.broadcast_arrays(*args))

    def fenced(*args: Array) -> Array:
        shape = jnp.broadcast_shapes(*(arg.shape for arg in args))
        merged = _with_few_axes(args)
        if row is not None:
            shape, merged = (*shape[:-1], row), [arg[..., None] for arg in merged]
        out = jax.eval_shape(plain, *merged)
        nothing = lambda arg: jnp.broadcast_to(
            lax.convert_element_type(lax.mul(arg, lax.full_like(arg, 0)), out.dtype), out.shape
        )
        never = lambda *args: functools.reduce(lax.add, map(nothing, args))
        return lax.cond(_always(merged), plain, never, *merged).reshape(shape)

    @custom_vmap
    def call(*args: Array) -> Array:
        if row == 0 or 0 in jnp.broadcast_shapes(*(arg.shape for arg in args)):
            return plain(*args)
        return lax.platform_dependent(*args, cpu=fenced, default=lambda *args: elsewhere(*jnp.broadcast_arrays(*args)))

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
        return elsewhere(*args) if in_explicit_mesh() else jitted(*args)

    jitted = jax.jit(lambda *args: call(*args))
    return wrapped


def _with_few_axes(args: tuple[Array, ...]) -> list[Array]:
    """The arguments with neighbouring axes made one wherever each argument runs along both, or is repeated along both.

    Their repetition is left to the function: what is written to memory first is read again for each element.
    """
    shape = jnp.broadcast_shapes(*(arg.shape for arg in args))
    args = tuple(arg.reshape((1,) * (len(shape) - arg.ndim) + arg.shape) for arg in args)
    runs_along = lambda axis: tuple(arg.shape[axis] != 1 for arg in args)
    alike = [list(axes) for _, axes in itertools.groupby((i for i, n in enumerate(shape) if n != 1), key=runs_along)]
    return [arg.reshape([math.prod(arg.shape[i] for i in axes) for axes in alike]) for arg in args]


def _always(args: list[Array]) -> Array:
    """True, whatever the bits of the arguments. XLA sees that only where all of them are constants."""
    return functools.reduce(lax.bitwise_and, map(_any_bits, args))


def _any_bits(x: Array) -> Array:
    """Whether the bits of the first number, or 1, are not 0."""
    first = lax.index_in_dim(x.reshape(-1), 0, keepdims=False)
    bits = lax.bitcast_convert_type(first, jnp.dtype(f"uint{8 * x.dtype.itemsize}"))
    one = lax.full_like(bits, 1)
    return lax.ne(lax.bitwise_or(bits, one), lax.full_like(bits, 0))
