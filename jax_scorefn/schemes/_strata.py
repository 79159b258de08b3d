"""Latin hypercubes: u_i = (pi_d(i) + v_i) / n, with a random order pi_d for each coordinate     (McKay et al. 1979)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn._groups import whole_groups
from jax_scorefn.schemes._base import Rows, Scheme, below_one
from jax_scorefn.typing import Array, Key


def stratified(num_strata: int) -> Scheme:
    """Latin hypercube: each group of ``num_strata`` draws visits each of as many strata of each coordinate once.

    In one dimension this is stratified sampling. With several, each coordinate has a random order of its own, so what is
    removed is the variance of the part of f that is a sum over coordinates.

    Args:
      num_strata: draws in a group, a Python int of at least 2; ``num_samples`` is a multiple of it.

    Returns:
      A :class:`Scheme`. Bias: none.

    Cost: a sort of random words and one whole number for each draw and coordinate, held for all draws.

    Raises:
      TypeError, ValueError: for anything but an int of at least 2.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> normal = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))
      >>> def std(scheme):
      ...     grad = lambda key: sf.score_function_grad(jnp.sin, normal, 0.0, key, scheme=scheme)
      ...     return sf.testing.replicate(grad, jax.random.key(0), 1000).std()
      >>> print(f"{std(None):.3f} -> {std(sf.schemes.stratified(16)):.3f}")
      0.075 -> 0.020

    References: mckay1979.
    """
    size = _checks.positive_int("num_strata", num_strata, least=2)

    def make(source: Any, key: Key, num_samples: int) -> Rows:
        key_rows, key_order = jax.random.split(key)
        rows = source.rows(key_rows, num_samples)
        keys = jax.random.split(key_order, len(source.leaves))

        def order(j: int, leaf: Any) -> Array:
            shape = (num_samples // size, size, *leaf.shape)
            strata = jnp.argsort(jax.random.bits(keys[j], shape, jnp.uint32), axis=1)
            return strata.reshape(num_samples, *leaf.shape).astype(jnp.uint32)

        orders = [order(j, leaf) for j, leaf in enumerate(source.leaves)]

        def of(index: Array) -> list[Array]:
            places = [source.take(order, index) for order in orders]
            pairs = zip(places, rows(index), strict=True)
            return [jnp.minimum((place.astype(u.dtype) + u) / size, below_one(u.dtype)) for place, u in pairs]

        return of

    return Scheme(f"stratified({size})", whole_groups("stratified", size), make, "Latin hypercubes (mckay1979).")
