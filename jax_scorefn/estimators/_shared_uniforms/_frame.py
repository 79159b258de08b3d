"""Estimators whose draws are coupled have one frame: groups of draws made of uniforms, f at each, and a gradient made by hand.

    value  =  mean over groups of  sum_i w_i f(x_i)          gradient  =  mean over groups of  weigh(u, x_1 .. x_n, f_1 .. f_n)

The gradient, in a vector that the distribution hands out (logits, log-probabilities), goes into the value's derivative, so the chain
rule takes it on to whatever computes that vector. It is of first order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn._surrogate import gradient_path, nan_with, where_possible
from jax_scorefn._trees import along_draws
from jax_scorefn.estimators._call import Answer, Call
from jax_scorefn.typing import Array, PyTree


@dataclasses.dataclass(frozen=True)
class Coupling:
    """How the draws of a group are made and what gradient they make.

    Attributes:
      size: draws in a group.
      noise: shape of the uniforms of a group.
      parameter: the vector ``(D,)`` in which the gradient is.
      draw: ``uniforms -> settings`` of the group, on a leading axis.
      build: ``setting -> draw``.
      weigh: ``(uniforms, settings, values (size, ...)) -> gradient (..., D)`` of one group.
      share: ``settings -> (size,)``, the weight of each draw in the value, summing to 1; None is the mean.
    """

    size: int
    noise: tuple[int, ...]
    parameter: Array
    draw: Callable[[Array], PyTree]
    build: Callable[[PyTree], PyTree]
    weigh: Callable[[Array, PyTree, Array], Array]
    share: Callable[[PyTree], Array] | None = None


def estimate(coupling: Coupling, f: Any, call: Call) -> Answer:
    """Value, with the gradient of coupled draws."""
    num_groups, parameter = call.groups(coupling.size), coupling.parameter
    rows = call.uniforms(coupling.noise, parameter.dtype, num_groups)

    def ask(u: Array, _: None) -> Any:
        settings = coupling.draw(u)
        draws = jax.vmap(coupling.build)(settings)
        values = jax.vmap(lambda x: _checks.value(f(x)))(draws)
        share = None if coupling.share is None else coupling.share(settings)
        return values, share, jax.vmap(call.kept)(draws)

    def path(u: Array, values: Array) -> Array:
        gradient = coupling.weigh(u, coupling.draw(u), values.astype(parameter.dtype))
        return gradient_path(parameter, gradient).astype(values.dtype)

    values, shares, kept = call.map(ask, rows, num_groups)
    values = nan_with(values, parameter)  # NaN falls on neither side of a uniform
    if shares is not None:
        values = jax.vmap(where_possible)(values, shares)
    # A second pass makes the draws again and not the values, so that gradients need no more memory than a chunk of groups.
    paths = call.map(path, rows, num_groups, beside=values)
    means = jnp.mean(values, axis=1)
    if shares is not None:  # f is measured from its value at the first draw, so a large constant in it cancels
        first = values[:, :1]
        weighted = jax.vmap(along_draws)(shares.astype(values.dtype), values) * (values - first)
        means = first[:, 0] + jnp.sum(weighted, axis=1)

    flat = lambda tree: jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree)
    weights = None if shares is None else coupling.size * flat(shares)
    return call.answer(jnp.mean(means + paths, axis=0), flat(values), flat(kept), weights=weights, of=means)


def outer(difference: Array, direction: Array) -> Array:
    """A gradient ``(..., D)`` from one number for each element of f and one for each coordinate."""
    return difference[..., None] * direction.reshape((1,) * difference.ndim + direction.shape)


def antithetic_pair(u: Array, logits: Array) -> Array:
    """Coins of these logits made of 1 - u and of u, stacked: b = 1[u > sigma(-phi)], b' = 1[u < sigma(phi)].

    Each comparison is with the small tail, so a saturated logit keeps its digits.
    """
    u = u + jnp.finfo(u.dtype).eps / 2  # the middle of each cell of the uniform's grid: as far from 1 as from 0
    return jnp.stack([u > jax.nn.sigmoid(-logits), u < jax.nn.sigmoid(logits)]).astype(u.dtype)
