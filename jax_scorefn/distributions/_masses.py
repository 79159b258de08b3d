"""Probabilities of counts, whose derivatives are differences of probabilities, so that they are right at the ends of a range too.

    Binomial     B(k; n, p)     dB/dp    = n (B(k - 1; n - 1, p) - B(k; n - 1, p))
    Poisson      P(k; rate)     dP/drate = P(k - 1; rate) - P(k; rate)
    Multinomial  M(k; n, p)     dM/dp_i  = n M(k - e_i; n - 1, p)
    powers       q^m            dq^m/dq  = m q^(m - 1)
    neg. bin.    P(k; r, p)     dP/dp    = r / (1 - p) (P(k - 1; r + 1, p) - P(k; r, p))

The derivative of exp(k log p) is that of a logarithm, and at p = 0 there is none, where the first outcome above 0 has a derivative of
n. Each of these functions is what its own derivative is made of, so derivatives of every order are there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn.typing import Array


def _of_itself(value: Callable[..., Array], slope: Callable[..., Array], *args: Array) -> Array:
    """``value(*args)``, whose tangent is ``slope(the function itself, *args, *tangents)``."""

    @jax.custom_jvp
    def mass(*args: Array) -> Array:
        return value(*args)

    @mass.defjvp
    def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
        return mass(*primals), slope(mass, *primals, *tangents)

    return mass(*args)


def binomial_mass(log_mass: Callable[[Array, Array, Array], Array], k: Array, n: Array, p: Array) -> Array:
    """exp(log_mass(k, n, p)) for 0 <= k <= n, else 0, as floats of one shape; differentiable in p."""

    def value(k: Array, n: Array, p: Array) -> Array:
        possible = (k >= 0) & (k <= n)
        return jnp.where(possible, jnp.exp(log_mass(jnp.where(possible, k, 0), jnp.maximum(n, 0), p)), 0)

    return _of_itself(value, lambda mass, k, n, p, *d: n * (mass(k - 1, n - 1, p) - mass(k, n - 1, p)) * d[2], k, n, p)


def multinomial_mass(log_mass: Callable[[Array, Array], Array], k: Array, p: Array) -> Array:
    """exp(log_mass(k, p)) where no count is below 0, else 0: counts of n trials along the last axis, as floats of the shape of p."""

    def slope(mass: Callable[..., Array], k: Array, p: Array, *d: Array) -> Array:
        one_less = jnp.eye(k.shape[-1], dtype=k.dtype).reshape((-1,) + (1,) * (k.ndim - 1) + (k.shape[-1],))
        slopes = jnp.sum(k, axis=-1)[None] * mass(k[None] - one_less, jnp.broadcast_to(p, (k.shape[-1], *p.shape)))
        return jnp.sum(jnp.moveaxis(slopes, 0, -1) * d[1], axis=-1)

    value = lambda k, p: jnp.where(jnp.all(k >= 0, axis=-1), jnp.exp(log_mass(jnp.maximum(k, 0), p)), 0)
    return _of_itself(value, slope, k, p)


def poisson_mass(log_mass: Callable[[Array, Array], Array], k: Array, rate: Array) -> Array:
    """exp(log_mass(k, rate)) for k >= 0, else 0, as floats of one shape; differentiable in the rate."""
    value = lambda k, rate: jnp.where(k >= 0, jnp.exp(log_mass(jnp.maximum(k, 0), rate)), 0)
    return _of_itself(value, lambda mass, k, rate, *d: (mass(k - 1, rate) - mass(k, rate)) * d[1], k, rate)


def power(log: Callable[[Array], Array], m: Array, q: Array) -> Array:
    """q^m for m >= 0 by exp(m log(q)), as floats of one shape; differentiable in q."""
    value = lambda m, q: jnp.where(m <= 0, 1, jnp.exp(m * log(q)))
    return _of_itself(value, lambda mass, m, q, *d: m * mass(m - 1, q) * d[1], m, q)


def negative_binomial_mass(log_mass: Callable[[Array, Array, Array], Array], k: Array, r: Array, p: Array) -> Array:
    """exp(log_mass(k, r, p)) for k >= 0, else 0, as floats of one shape; differentiable in p, and in r by the logarithm."""

    def slope(mass: Callable[..., Array], k: Array, r: Array, p: Array, *d: Array) -> Array:
        here = mass(k, r, p)
        of_log = jax.jvp(lambda r: log_mass(jnp.maximum(k, 0), r, p), (r,), (d[1],))[1]
        in_p = r / (1 - p) * (mass(k - 1, r + 1, p) - here)
        return in_p * d[2] + here * jnp.where(here > 0, of_log, 0)

    value = lambda k, r, p: jnp.where(k >= 0, jnp.exp(log_mass(jnp.maximum(k, 0), r, p)), 0)
    return _of_itself(value, slope, k, r, p)
