"""Lower bounds on a log-evidence log Z = log E_q[ w ], w = exp( f(x) - log q(x) ), and what their gradients are made of.

    L     = log 1/K sum_k w_k                    the bound of K particles x_k ~ q; one particle gives f(x) - log q(x)
    L_-k  = the same, with w_k replaced by the geometric mean of the other weights
    h(x)  = its value at x held fixed, and beside it 0 with the derivative dh/dx dx that is due to x's movement

The weights stay logarithms: none is ever exponentiated but for its share, which is at most 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn._surrogate import gradient_path
from jax_scorefn._trees import is_inexact, stop, widest
from jax_scorefn.distributions import Distribution
from jax_scorefn.estimators._call import Call
from jax_scorefn.typing import Array, PyTree

NOT_A_LOG_TARGET = (
    "f is the log of the target, one number for each draw; in {name} it returned shape {shape}. Sum the parts of one draw inside "
    "f; for a batch of problems map over them with jax.vmap."
)
NO_CONSTANT = (
    "The bound of {name} contains log q itself, and the log-probability of {dist} was declared to lack its constant "
    "(normalized=False): the bound would be off by it. Give q with its constant; the target, f, needs none."
)


def log_density(call: Call, dist: Distribution) -> Callable[[PyTree], Array]:
    """``x -> log q(x)``, with its constant."""
    if not dist.normalized:
        raise ValueError(NO_CONSTANT.format(name=call.record.name, dist=dist.name))
    return lambda x: _checks.log_prob(dist, dist.log_prob(x))


def log_target(call: Call, f: Callable[[PyTree], Any]) -> Callable[[PyTree], Array]:
    """``x -> f(x)``, a float scalar."""

    def scalar(x: PyTree) -> Array:
        value = _checks.value(f(x))
        if value.shape != ():
            raise ValueError(NOT_A_LOG_TARGET.format(name=call.record.name, shape=value.shape))
        return value

    return scalar


def log_weight(target: Array, log_q: Array) -> Array:
    """f(x) - log q(x), in the wider of the two precisions."""
    dtype = widest([target, log_q])
    return target.astype(dtype) - log_q.astype(dtype)


def value_and_path(h: Callable[[PyTree], Array], x: PyTree) -> tuple[Array, Array]:
    """The value h(x) at x held fixed, and 0 with the derivative due to x's movement: of first order, from one evaluation of h.

    The value keeps the derivative in what h closes over. Their sum has the value and the derivative of h(x).
    """
    value, pull_back = jax.vjp(h, stop(x))
    (slopes,) = pull_back(jnp.ones_like(value))
    pairs = zip(jax.tree.leaves(x), jax.tree.leaves(slopes), strict=True)
    path = sum(jnp.real(gradient_path(leaf, slope)) for leaf, slope in pairs if is_inexact(leaf))
    return value, jnp.asarray(path, value.dtype)


def log_mean_exp(log_w: Array) -> Array:
    """L of each row of log-weights: ``(..., K) -> (...)``. Its derivative is the weighted mean of theirs."""
    return jax.nn.logsumexp(log_w, axis=-1) - math.log(log_w.shape[-1])


def _finite(log_w: Array) -> Array:
    """The same, where a weight of 0 has no derivative: it would be infinite, and meet a factor of 0."""
    return jnp.where(jnp.isfinite(log_w), log_w, stop(log_w))


def shares(log_w: Array) -> Array:
    """w_k / sum_j w_j of each row."""
    return jax.nn.softmax(_finite(log_w), axis=-1)


def learning_signals(log_w: Array) -> Array:
    """L - L_-k of each particle, ``(G, K) -> (G, K)``: what it does better than the others       (Mnih and Rezende 2016).

    Where all the others have weight 0 there is nothing to compare with, and the signal is L.
    """
    log_w = _finite(log_w)
    top = stop(jnp.max(log_w, axis=-1, keepdims=True))
    top = jnp.where(jnp.isfinite(top), top, 0)
    row = log_w - top  # of differences, a large constant in f costs no digits
    itself = jnp.eye(row.shape[-1], dtype=bool)[None]
    others = jnp.broadcast_to(row[:, None, :], (*row.shape, row.shape[-1]))
    geometric = jnp.sum(jnp.where(itself, 0, others), axis=-1, keepdims=True) / (row.shape[-1] - 1)
    without = log_mean_exp(jnp.where(itself, geometric, others))
    bound = log_mean_exp(row)[:, None]
    nothing = jnp.isneginf(without)
    return jnp.where(nothing, bound + top, bound - jnp.where(nothing, 0, without))
