"""Schemes: how the uniforms that draws are made of are made themselves.

    iid                 u_i                                    every draw alone
    antithetic          u, 1 - u                               pairs
    stratified(n)       (pi_d(i) + u_i) / n                    n draws, each coordinate in each of n strata once
    sobol(replicates)   net_i XOR shift                        a digital net, shifted as a whole at random

Each draw by itself has the law that was asked for, so any mean over draws is unbiased. The draws of one *group* (a pair, a pass
over the strata, a net) depend on each other, and groups are independent. A baseline is therefore made of the *other groups*,
and a standard error of the spread between groups.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks
from jax_scorefn.engine import uniform_of_bits
from jax_scorefn.typing import Array, Key

NOT_A_SCHEME = "scheme is one of sf.schemes.iid, antithetic, stratified(n) and sobol(replicates), the last two called; it got {given}."
NOT_WHOLE = "The scheme {name} makes draws in groups of {size}: num_samples has to be a multiple of that, not {given}."
NOT_A_NET = (
    "The scheme sobol makes {replicates} nets, each of a power of 2 points: num_samples has to be {replicates} times a power "
    "of 2, not {given}."
)
TOO_MANY_DIMENSIONS = "sobol has direction numbers for {limit} coordinates, and this law has {given}: use antithetic."
MAX_DIMENSIONS = 21201

Rows = Callable[[Array], list[Array]]
"""``index (n,) -> uniforms`` of these draws: for each leaf an array ``(n, *leaf_shape)``."""


@dataclasses.dataclass(frozen=True)
class Scheme:
    """How draws are made, and which of them belong together.

    Attributes:
      name: its name in messages and tables.
      group_size: number of draws in a group, as a function of the number of draws.
      make: ``(source, key, num_draws) -> Rows``. ``source.rows(key, n)`` are n independent rows of uniforms, ``source.leaves`` says
        of which shapes and dtypes, ``source.take(table, index)`` looks rows up in a table.
      doc: what it does, in one line.
    """

    name: str
    group_size: Callable[[int], int]
    make: Callable[[Any, Key, int], Rows]
    doc: str

    def __repr__(self) -> str:
        return f"<scheme {self.name}>"


def group_size(scheme: Scheme | None, num_draws: int) -> int:
    """Number of draws that depend on each other; refuses what is no scheme, and a number of draws that is not whole groups."""
    if scheme is None:
        return 1
    if not isinstance(scheme, Scheme):
        raise TypeError(NOT_A_SCHEME.format(given=_checks.describe(scheme)))
    return scheme.group_size(num_draws)


def _whole(name: str, size: int) -> Callable[[int], int]:
    def check(num_draws: int) -> int:
        if num_draws % size:
            raise ValueError(NOT_WHOLE.format(name=name, size=size, given=num_draws))
        return size

    return check


iid = Scheme("iid", lambda _: 1, lambda source, key, num_draws: source.rows(key, num_draws), "Independent draws.")


def _pairs(source: Any, key: Key, num_draws: int) -> Rows:
    rows = source.rows(key, num_draws // 2)

    def make(index: Array) -> list[Array]:
        def one(u: Array) -> Array:
            mirrored = jnp.minimum(1 - u, _below_one(u.dtype))
            return jnp.where(_along(index % 2 == 1, u), mirrored, u)

        return [one(u) for u in rows(index // 2)]

    return make


antithetic = Scheme(
    "antithetic", _whole("antithetic", 2), _pairs, "Draws 2j and 2j + 1 are made of u and 1 - u (hammersley1956)."
)


def stratified(num_strata: int) -> Scheme:
    """Latin hypercube: each group of ``num_strata`` draws visits each of as many strata of each coordinate once.

    In one dimension this is stratified sampling. With several, each coordinate has a random order of its own, so what is
    removed is the variance of the part of f that is a sum over coordinates.

    Args:
      num_strata: draws in a group, a Python int of at least 2; ``num_samples`` is a multiple of it.

    Cost: a sort of random words and one whole number for each draw and coordinate, held for all draws.

    Raises:
      TypeError, ValueError: for anything but an int of at least 2.

    References: mckay1979.
    """
    size = _checks.positive_int("num_strata", num_strata)
    if size < 2:
        raise ValueError(f"stratified wants at least 2 strata; it got {size}.")

    def make(source: Any, key: Key, num_draws: int) -> Rows:
        key_rows, key_order = jax.random.split(key)
        rows = source.rows(key_rows, num_draws)
        keys = jax.random.split(key_order, len(source.leaves))

        def order(j: int, leaf: Any) -> Array:
            shape = (num_draws // size, size, *leaf.shape)
            strata = jnp.argsort(jax.random.bits(keys[j], shape), axis=1)
            return strata.reshape(num_draws, *leaf.shape).astype(jnp.uint32)

        orders = [order(j, leaf) for j, leaf in enumerate(source.leaves)]

        def of(index: Array) -> list[Array]:
            places = [source.take(order, index) for order in orders]
            pairs = zip(places, rows(index), strict=True)
            return [jnp.minimum((place.astype(u.dtype) + u) / size, _below_one(u.dtype)) for place, u in pairs]

        return of

    return Scheme(f"stratified({size})", _whole("stratified", size), make, "Latin hypercubes (mckay1979).")


def sobol(replicates: int = 8) -> Scheme:
    """Randomised quasi-Monte Carlo: independent digital shifts of one Sobol net.

    A net fills the unit cube more evenly than chance does, and for a smooth f in few dimensions its error falls nearly as 1/S
    instead of 1/sqrt(S). Shifted at random, each of its points is uniform.

    Args:
      replicates: number of nets, a Python int of at least 2; ``num_samples`` is this times a power of 2. More nets give a
        better baseline and standard error, larger ones less variance.

    Cost: one exclusive-or for each bit of the net's size, draw and coordinate; the direction numbers are scipy's.

    Raises:
      TypeError, ValueError: for anything but an int of at least 2.

    References: sobol1967, joe2008, owen1995.
    """
    count = _checks.positive_int("replicates", replicates)
    if count < 2:
        raise ValueError(f"sobol wants at least 2 replicates; it got {count}.")

    def size_of(num_draws: int) -> int:
        size, rest = divmod(num_draws, count)
        if rest or size == 0 or size & (size - 1):
            raise ValueError(NOT_A_NET.format(replicates=count, given=num_draws))
        return size

    def make(source: Any, key: Key, num_draws: int) -> Rows:
        size = size_of(num_draws)
        num_bits = size.bit_length() - 1
        sizes = [math.prod(leaf.shape) for leaf in source.leaves]
        directions = _directions(sum(sizes), num_bits)
        starts = np.cumsum([0, *sizes])
        keys = jax.random.split(key, len(sizes))

        def part(j: int, leaf: Any) -> Callable[[Array], Array]:
            word = jnp.uint64 if jnp.finfo(leaf.dtype).bits == 64 else jnp.uint32
            shifts = jax.random.bits(keys[j], (count, *leaf.shape), word)
            columns = directions[:, starts[j] : starts[j + 1]].reshape(num_bits, *leaf.shape)

            def of(index: Array) -> Array:
                point, shift = index % np.uint32(size), source.take(shifts, index // np.uint32(size))
                net = jnp.zeros(shift.shape, jnp.uint32)
                for bit in range(num_bits):
                    on = _along((point >> np.uint32(bit)) & np.uint32(1) == 1, net)
                    net = net ^ jnp.where(on, columns[bit][None], np.uint32(0))
                if word == jnp.uint64:  # the net has 32 bits; those below are the shift's alone
                    net = net.astype(word) << np.uint64(32)
                return uniform_of_bits(net ^ shift, leaf.dtype)

            return of

        parts = [part(j, leaf) for j, leaf in enumerate(source.leaves)]
        return lambda index: [of(index) for of in parts]

    return Scheme(f"sobol({count})", size_of, make, "Digitally shifted Sobol nets (owen1995).")


@functools.lru_cache(maxsize=32)
def _directions(dimensions: int, num_bits: int) -> np.ndarray:
    """Point l of a net of 2^num_bits is the exclusive-or of these rows where l has a bit: ``(num_bits, dimensions)``."""
    from scipy.stats import qmc  # it takes half a second to import

    if dimensions > MAX_DIMENSIONS:
        raise ValueError(TOO_MANY_DIMENSIONS.format(limit=MAX_DIMENSIONS, given=dimensions))
    if dimensions == 0:
        return np.zeros((num_bits, 0), np.uint32)
    sequence, at, rows = qmc.Sobol(dimensions, scramble=False, bits=32), 0, []
    for bit in range(num_bits):
        # scipy goes through the net in Gray-code order, where point 2^(bit + 1) - 1 is row `bit` alone
        sequence.fast_forward(2 ** (bit + 1) - 1 - at)
        at = 2 ** (bit + 1)
        rows.append(sequence.random(1)[0] * 2**32)
    return np.array(rows).reshape(num_bits, dimensions).astype(np.uint32)


def _below_one(dtype: Any) -> np.ndarray:
    return np.asarray(1 - jnp.finfo(dtype).epsneg, dtype)


def _along(per_draw: Array, like: Array) -> Array:
    return per_draw.reshape(per_draw.shape + (1,) * (like.ndim - 1))
