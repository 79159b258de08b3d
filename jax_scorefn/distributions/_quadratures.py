"""Rules of quadrature: nodes and weights for each coordinate, sum_i w_i g(t_i) = integral of g against a density.

hermite             N(0, 1)
laguerre            exp(-t) on the half-line, for g smooth in t
trapezoid_of_log    the same, for g smooth in log t
logistic            the standard logistic density
trapezoid_of_asinh  1 on the line, for densities that fall like |t|^-(df + 1)
half_normal         2 N(0, 1) on the half-line
legendre            1 on [0, 1]
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from jax_scorefn.distributions._base import column
from jax_scorefn.typing import Array


def hermite(num_nodes: int, like: Array) -> tuple[Array, Array]:
    """Nodes and weights of N(0, 1), for each coordinate of ``like``."""
    with np.errstate(all="ignore"):
        nodes, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    return column(nodes, like), column(weights / np.sqrt(2 * np.pi), like)


def laguerre(num_nodes: int, like: Array) -> tuple[Array, Array]:
    """Nodes and the logarithms of the weights for the integral of exp(-t) over the half-line."""
    with np.errstate(all="ignore"):
        nodes, weights = np.polynomial.laguerre.laggauss(num_nodes)
        return column(nodes, like), column(np.log(weights), like)


def trapezoid_of_log(num_nodes: int, like: Array) -> tuple[Array, Array]:
    """Nodes for log t and the logarithms of their weights, for the same integral: no log t in the integrand can hurt there.

    Equal steps over the span at which what is cut off, exp(-span), is about what the steps leave, exp(-pi^2 / step).
    """
    span = np.pi * np.sqrt(num_nodes)
    nodes, step = np.linspace(-span, np.log(span), max(2, num_nodes), retstep=True)
    return column(nodes, like), column(nodes - np.exp(nodes) + np.log(step), like)


def logistic(num_nodes: int, like: Array) -> tuple[Array, Array]:
    """Nodes and weights of the standard logistic density.

    Equal steps over the span at which what is cut off, exp(-span), is about what the steps leave: the density has its poles at
    +- i pi, and that is exp(-2 pi^2 / step).
    """
    span = np.pi * np.sqrt(num_nodes)
    nodes, step = np.linspace(-span, span, max(2, num_nodes), retstep=True)
    weights = step / (4 * np.cosh(nodes / 2) ** 2)
    return column(nodes, like), column(weights, like)


def trapezoid_of_asinh(num_nodes: int, df: Array) -> tuple[Array, Array]:
    """Nodes t = sqrt(df) sinh(s) and their weights for the integral over the line.

    In s a density of Student's is cosh(s)^-df. Equal steps over the span at which what is cut off is about what the steps leave.
    """
    span = jnp.minimum(np.asarray(np.pi * np.sqrt(num_nodes), df.dtype) / jnp.sqrt(1 + df), 40)  # exp(40) is in range
    s = span[None] * column(np.linspace(-1, 1, max(2, num_nodes)), df)
    width, step = jnp.sqrt(df)[None], 2 / (max(2, num_nodes) - 1) * span[None]
    return width * jnp.sinh(s), step * width * jnp.cosh(s)


def half_normal(num_nodes: int, like: Array) -> tuple[Array, Array]:
    """Nodes and weights of the density 2 N(0, 1) on the half-line, up to where what is cut off is about what Gauss's rule leaves."""
    nodes, weights = np.polynomial.legendre.leggauss(num_nodes)
    end = 1.4 * np.sqrt(num_nodes)
    z = end * (nodes + 1) / 2
    return column(z, like), column(end * weights * np.exp(-z * z / 2) / np.sqrt(2 * np.pi), like)


def legendre(num_nodes: int, like: Array) -> tuple[Array, Array]:
    """Nodes and weights for the integral over [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(num_nodes)
    return column((nodes + 1) / 2, like), column(weights / 2, like)
