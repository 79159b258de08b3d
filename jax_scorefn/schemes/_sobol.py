"""Sobol nets, each shifted as a whole: u_i = net_i XOR shift     (Sobol' 1967; Owen 1995).

Point i of a net of 2^k points is the exclusive-or of those of k rows of direction numbers where i has a bit, so any draw
can be made by itself.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks
from jax_scorefn._trees import along_draws
from jax_scorefn.noise import Fine, uniform_of_bits
from jax_scorefn.schemes._base import Rows, Scheme
from jax_scorefn.typing import Array, Key

NOT_A_NET = (
    "The scheme sobol makes {replicates} nets, each of a power of 2 points: num_samples has to be {replicates} times a power "
    "of 2, not {given}."
)
TOO_MANY_DIMENSIONS = (
    "sobol has direction numbers for {limit} coordinates, and this distribution has {given}: use antithetic."
)
MAX_DIMENSIONS = 21201


def sobol(replicates: int = 8) -> Scheme:
    """Randomised quasi-Monte Carlo: independent digital shifts of one Sobol net.

    A net fills the unit cube more evenly than chance does, and for a smooth f in few dimensions its error falls nearly as 1/S
    instead of 1/sqrt(S). Shifted at random, each of its points is uniform.

    Args:
      replicates: number of nets, a Python int of at least 2; ``num_samples`` is this times a power of 2. More nets give a
        better baseline and standard error, larger ones less variance.

    Returns:
      A :class:`Scheme`. Bias: none.

    Cost: one exclusive-or for each bit of the net's size, draw and coordinate; the direction numbers are scipy's.

    Raises:
      TypeError, ValueError: for anything but an int of at least 2.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> normal = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))
      >>> def std(scheme):
      ...     grad = lambda key: sf.pathwise_grad(jnp.sin, normal, 0.0, key, scheme=scheme)
      ...     return sf.testing.replicate(grad, jax.random.key(0), 1000).std()
      >>> print(f"{std(None):.3f} -> {std(sf.schemes.sobol()):.3f}")
      0.056 -> 0.010

    References: sobol1967, joe2008, owen1995.
    """
    count = _checks.positive_int("replicates", replicates, least=2)

    def size_of(num_samples: int) -> int:
        size, rest = divmod(num_samples, count)
        if rest or size == 0 or size & (size - 1):
            raise ValueError(NOT_A_NET.format(replicates=count, given=num_samples))
        return size

    def make(source: Any, key: Key, num_samples: int) -> Rows:
        size = size_of(num_samples)
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
                    on = along_draws((point >> np.uint32(bit)) & np.uint32(1) == 1, net)
                    net = net ^ jnp.where(on, columns[bit][None], np.uint32(0))
                if word == jnp.uint64:  # the net has 32 bits; those below are the shift's alone
                    net = net.astype(word) << np.uint64(32)
                return uniform_of_bits(net ^ shift, leaf.dtype, fine=isinstance(leaf, Fine))

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
