"""Threefry-2x32 with 20 rounds (Salmon et al. 2011), written out: the bits of ``jax.random``, one by one.

    (a, b)  =  threefry2x32(key (k0, k1), counter (c0, c1));   32 bits are a ^ b, 64 bits are a and b

JAX lowers the generator on a CPU to loops over its rounds, each of which goes through memory. Written out it is one expression, which
takes a fraction of that time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.random import threefry2x32_p

from jax_scorefn.noise._materialize import materialize
from jax_scorefn.typing import Array

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)


def _threefry(k0: Array, k1: Array, c0: Array, c1: Array) -> tuple[Array, Array]:
    k0, k1, c0, c1 = jnp.broadcast_arrays(k0, k1, c0, c1)
    keys = (k0, k1, lax.bitwise_xor(lax.bitwise_xor(k0, k1), PARITY))
    a, b = lax.add(c0, k0), lax.add(c1, k1)
    for group in range(5):
        a, b = _four_rounds(a, b, ROTATIONS[group % 2])
        a, b = lax.add(a, keys[(group + 1) % 3]), lax.add(lax.add(b, keys[(group + 2) % 3]), np.uint32(group + 1))
    return a, b


@functools.partial(jax.jit, static_argnums=2)
def _four_rounds(a: Array, b: Array, rotations: tuple[int, ...]) -> tuple[Array, Array]:
    for rotation in rotations:
        a = lax.add(a, b)
        left, right = lax.shift_left(b, np.uint32(rotation)), lax.shift_right_logical(b, np.uint32(32 - rotation))
        b = lax.bitwise_xor(a, lax.bitwise_or(left, right))
    return a, b


def join(a: Array, b: Array, wide: bool) -> Array:
    """32 or (wide) 64 bits of two words, as ``jax.random.bits`` puts them together."""
    return (a.astype(jnp.uint64) << np.uint64(32)) | b.astype(jnp.uint64) if wide else a ^ b


def stock(wide: bool, k0: Array, k1: Array, c0: Array, c1: Array) -> Array:
    """32 or (wide) 64 bits by JAX's own lowering, which other processors have a kernel for."""
    k0, k1, c0, c1 = jnp.broadcast_arrays(k0, k1, c0, c1)
    a, b = threefry2x32_p.bind(k0, k1, c0, c1)
    # In a shard_map, the primitive forgets over which axes of the mesh its arguments vary; this zero knows.
    nothing = (k0 ^ k0) ^ (k1 ^ k1) ^ (c0 ^ c0) ^ (c1 ^ c1)
    return join(a ^ nothing, b ^ nothing, wide=wide)


@functools.partial(materialize, elsewhere=functools.partial(stock, False))
def bits32(k0: Array, k1: Array, c0: Array, c1: Array) -> Array:
    """32 bits for each counter. Shapes broadcast."""
    return join(*_threefry(k0, k1, c0, c1), wide=False)


@functools.partial(materialize, elsewhere=functools.partial(stock, True))
def bits64(k0: Array, k1: Array, c0: Array, c1: Array) -> Array:
    """64 bits for each counter."""
    return join(*_threefry(k0, k1, c0, c1), wide=True)


def bits_in_a_row(wide: bool, k0: Array, k1: Array, first: Array, length: int) -> Array:
    """The bits of the counters first, .. first + length - 1, all below 2^32: the same, and the counters are nowhere in memory."""
    return _row_of(wide, length)(*(jnp.reshape(x, (1,)) for x in (k0, k1, first)))


@functools.lru_cache(maxsize=1024)
def _row_of(wide: bool, length: int) -> Callable[..., Array]:
    def row(make: Callable[..., Array], k0: Array, k1: Array, first: Array) -> Array:
        low = lax.add(*jnp.broadcast_arrays(first, lax.iota(np.uint32, length)))
        return make(*jnp.broadcast_arrays(k0, k1, jnp.zeros((), jnp.uint32), low))

    ours = lambda *words: join(*_threefry(*words), wide=wide)
    return materialize(functools.partial(row, ours), functools.partial(row, functools.partial(stock, wide)), length)
