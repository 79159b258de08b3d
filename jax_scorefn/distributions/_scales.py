"""Quotients and logarithms of a scale, with derivatives that stay in the range of the dtype.

    y = x / s      dy = (dx - y ds) / s
    log s          ds / s

JAX's derivative of a quotient has s^-2 in it, which is 0 or infinite for an s beyond 1e19 or below 1e-19 in float32. Here it is
divided by s once. What it is divided by is written s = s0 u, with s0 held fixed and u = 1: derivatives of it are taken
in u, so those of every order stay in range where the exact ones do.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jax_scorefn._trees import stop
from jax_scorefn.typing import Array


def _per(tangent: Array, scale: Array) -> Array:
    """Tangent / scale, differentiated in units of the scale."""
    fixed = stop(scale)
    return tangent / fixed * (1 / (1 + (scale - fixed) / fixed))


@jax.custom_jvp
def over(x: Array, scale: Array) -> Array:
    """The quotient x / scale of two arrays of one shape."""
    return x / scale


@over.defjvp
def _over_jvp(primals, tangents):
    (x, scale), (dx, ds) = primals, tangents
    y = over(x, scale)
    return y, _per(dx - y * ds, scale)


@jax.custom_jvp
def log(scale: Array) -> Array:
    """The logarithm of a positive array."""
    return jnp.log(scale)


@log.defjvp
def _log_jvp(primals, tangents):
    (scale,), (ds,) = primals, tangents
    return log(scale), _per(ds, scale)
