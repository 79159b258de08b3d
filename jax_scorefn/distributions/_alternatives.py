"""A draw x beside another value y that it might have had: the derivative of an expectation is a difference.

    d E f(x)  =  E[ (f(y) - f(x)) d rate ]            rate = a h:  a a number, h differentiated

    ===================  ==============================================  ==================  =================================
    distribution         y                                               h                   a
    ===================  ==============================================  ==================  =================================
    Bernoulli            1 - x                                           p                   1 - 2 x
    Categorical          a category drawn among the others               log p_x - log p_y   -1 / (1/(1 - p_x) + 1/(1 - p_y))
    Poisson              x + 1                                           rate                1
    Binomial             x - 1 with probability x / n, or else x + 1     p                   -n, or n
    Geometric            x + 1                                           p                   -x / p
    NegativeBinomial     x + 1                                           p                   (x + r) / (1 - p)
    ===================  ==============================================  ==================  =================================

Draws are made by inversion of one uniform each, so that a draw moves little where its parameters do (Arya et al. 2022). A count is
found by adding up probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_scorefn._surrogate import nan_where
from jax_scorefn._trees import stop
from jax_scorefn.distributions import _counts
from jax_scorefn.typing import Array, PyTree

MOST = {32: 2.0**22}
"""The largest mean whose counts a float of so many bits tells apart, and adds up; a float64 those of an int32."""


class Alternative(NamedTuple):
    """A draw, another value of it, and the rate at which the parameters move probability from the one to the other.

    Attributes:
      draw: the draw, stopped.
      other: what it is compared with, stopped, of the same structure.
      rate: one number for each independent part, whose axes are the first axes of the draw. Its derivative weighs the difference.
    """

    draw: PyTree
    other: PyTree
    rate: Array


def fine_uniform(like: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Of 32 bits at least, which has the digits that a rare count asks for."""
    return jax.ShapeDtypeStruct(like.shape, like.dtype if jnp.finfo(like.dtype).bits >= 32 else jnp.float32)


def swapped(draw: PyTree, other: PyTree, here: Array) -> PyTree:
    """The draw, with the other value in those parts that are marked."""

    def one(x: Array, y: Array) -> Array:
        mark = jnp.reshape(here, (*here.shape, *[1] * (x.ndim - here.ndim)))
        return jax.lax.select(jnp.broadcast_to(mark, x.shape), y, x)

    return jax.tree.map(one, draw, other)


def bit(x: Array, p: Array) -> Alternative:
    """Of a bit that is 1 with probability p."""
    return Alternative(x, 1 - x, (1 - 2 * x) * p)


def option(x: Array, v: Array, log_probs: Array) -> Alternative:
    """Of the number of an option, by a uniform and the log-probabilities, with the options on the last axis."""
    options = jax.lax.broadcasted_iota(jnp.int32, log_probs.shape, log_probs.ndim - 1)
    p, mine = jnp.exp(stop(log_probs)), options == x[..., None]
    sums = jnp.cumsum(jnp.where(mine, 0, p), axis=-1)
    rest = sums[..., -1]  # 1 - p_x, with the digits that it has
    likeliest = jnp.argmax(jnp.where(mine, -1, p), axis=-1).astype(jnp.int32)
    y = jnp.sum(sums <= (v * rest)[..., None], axis=-1, dtype=jnp.int32)
    possible = jnp.any((options == y[..., None]) & (p > 0) & ~mine, axis=-1)
    y = jnp.where(possible, y, likeliest)  # where a sum was rounded
    others = options == y[..., None]
    rest_of_y = jnp.sum(jnp.where(others, 0, p), axis=-1)
    known = (rest > 0) & (rest_of_y > 0)
    weight = jnp.where(known, rest * rest_of_y / jnp.where(known, rest + rest_of_y, 1), 0)
    log_p, log_q = (jnp.sum(jnp.where(which & known[..., None], log_probs, 0), axis=-1) for which in (mine, others))
    bad = jnp.any(jnp.isnan(log_probs), axis=-1)
    return Alternative(x, jnp.where(known, y, x), nan_where(bad, weight * (log_q - log_p)))


def one_more(k: Array, rate: Array) -> Alternative:
    """Of a count, which is compared with the next one."""
    none = k == _counts.NO_COUNT
    return Alternative(k, jnp.where(none, k, k + 1), nan_where(none, rate))


def inverted(u: Array, mean: Array, mass: Callable[[Array], Array], ratio: Callable[[Array], Array]) -> Array:
    """The count k with F(k - 1) <= u < F(k), an int32, of parameters that are stopped. In float32 F is right to 3e-8 times the mean.

    ``mass`` is the probability of a count, and ``ratio`` that of the next one over it. Both sums go out from the mean, where the
    probabilities are largest: F below it first, and from there to the draw.
    """
    most = MOST.get(jnp.finfo(mean.dtype).bits, _counts.MOST_RATE)
    known = mean <= most
    middle = jnp.floor(jnp.where(known, mean, 0))

    def down(k: Array, p: Array) -> Array:
        """The probability of k - 1."""
        above = ratio(jnp.maximum(k - 1, 0))
        return jnp.where((k > 0) & (above > 0), p / jnp.where(above > 0, above, 1), 0)

    def sum_below(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        k, p, total = state
        p = down(k, p)
        return k - 1, p, total + p

    p = jnp.where(known, mass(middle), 0)
    not_all = lambda state: jnp.any(state[2] + down(*state[:2]) > state[2])
    _, _, below = jax.lax.while_loop(not_all, sum_below, (middle, p, jnp.zeros_like(mean)))

    def moves(state: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        """Whether up, and whether down; what the sum does not see any more is not waited for."""
        k, p, below = state
        up = (below + p <= u) & (ratio(k) > 0) & (below + p + p * ratio(k) > below + p)
        return up, (below > u) & (k > 0) & (below - down(k, p) < below)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        k, p, below = state
        up, lower = moves(state)
        before = down(k, p)
        return (
            jnp.where(up, k + 1, jnp.where(lower, k - 1, k)),
            jnp.where(up, p * ratio(k), jnp.where(lower, before, p)),
            jnp.where(up, below + p, jnp.where(lower, below - before, below)),
        )

    any_moves = lambda state: jnp.any(jnp.logical_or(*moves(state)))
    k, _, _ = jax.lax.while_loop(any_moves, step, (middle, p, below))
    return jnp.where(known, k.astype(jnp.int32), _counts.NO_COUNT)
