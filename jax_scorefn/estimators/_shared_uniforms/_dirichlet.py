"""Uniforms that avoid each other: n of them, any two negatively dependent, by a Dirichlet copula     (Dimitriev and Zhou 2021)

w ~ Dirichlet(1, .., 1),   u_i = (1 - w_i)^(n-1) ~ U(0, 1)            P(u_i < r, u_j < r) = max(0, 2 r^(1/(n-1)) - 1)^(n-1)
"""

from __future__ import annotations

import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn.estimators._relaxed import exponentials
from jax_scorefn.typing import Array

TOO_FEW = "{name} wants groups of at least 2 draws; it got group_size={given}."


def size_of(name: str, group_size: int) -> int:
    """The n of a call."""
    n = _checks.positive_int("group_size", group_size)
    if n < 2:
        raise ValueError(TOO_FEW.format(name=name, given=group_size))
    return n


def below(u: Array, log_r: Array) -> Array:
    """Whether each of n such uniforms is below r, (n, D) from independent uniforms (n, D) and log r (D,)."""
    e, n = exponentials(u), u.shape[0]  # a Dirichlet is exponentials over their sum
    others = (1 - jnp.eye(n, dtype=u.dtype)) @ e  # a small rest of a sum keeps its digits
    log_rest = jnp.log(others) - jnp.log(jnp.sum(e, axis=0, keepdims=True))  # log(1 - w)
    return (n - 1) * log_rest < log_r[None]


def _both_below(log_r: Array, n: int) -> Array:
    return jnp.maximum(0, 2 * jnp.exp(log_r / (n - 1)) - 1) ** (n - 1)


def parted(log_r: Array, n: int) -> Array:
    """How often one of two is below r and the other is not: among independent ones, over among these. 1 in the limit of r = 0."""
    r, both = jnp.exp(log_r), _both_below(log_r, n)
    return (1 - r) / (1 - both / jnp.where(r > 0, r, 1))


def neither_below(log_r: Array, n: int) -> Array:
    """The same of neither being below r, which is at most 1/3."""
    r, both = jnp.exp(log_r), _both_below(log_r, n)
    return (1 - r) ** 2 / (1 - 2 * r + both)
