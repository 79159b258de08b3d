"""The surrogate: a number whose value is a mean and whose derivatives, of every order, are score-function estimates.

    magic_box(s, w)     value w (1 by default), derivative magic_box(s, w) ds          (Foerster et al. 2018)
    score_surrogate     mean_i [ (f_i - b_i) magic_box(log p(x_i), w_i) + b_i ]

Each x_i is held fixed. Differentiating once gives mean_i [ w_i (f_i - b_i) grad log p(x_i) + w_i grad f_i ], and since the
box comes back in its own derivative, differentiating again gives the product rule's remaining terms, which a plain
f * log p lacks. The weight w_i = p(x_i) / q(x_i) is for draws of another distribution q; it is 1 for draws of p itself.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn._trees import along_draws
from jax_scorefn.typing import Array


def _mapped_with(x: Array, other: Array) -> Array:
    """X, in an array that is mapped wherever ``other`` is: where value and derivative differ in that, checkpoint of a vmap fails."""
    return jax.lax.select(jnp.bool_(True), x, other)  # the compiler takes the choice away


@jax.custom_jvp
def _box(s: Array, weight: Array) -> Array:
    return jnp.where(jnp.isnan(s), s, weight)


@_box.defjvp
def _box_jvp(primals, tangents):
    (s, weight), (ds, _) = primals, tangents
    box = _box(s, weight)
    return box, box * ds


def magic_box(log_prob: Array, weight: Array | None = None) -> Array:
    """Value ``weight`` (1 when none is given); the derivative is ``magic_box(log_prob, weight)`` times that of ``log_prob``.

    The number 1 with the derivatives of a likelihood ratio: multiply a cost by the box of the log-probability of the
    choices that led to it, and every derivative of the mean of that product is an unbiased score-function estimate.
    Unlike ``exp(s - stop_gradient(s))`` it is finite at ``s = -inf``. At NaN it is NaN.

    Args:
      log_prob: float array of any shape.
      weight: array of the same shape and dtype, never differentiated; None is 1.

    Returns:
      An array of the shape and dtype of ``log_prob``.

    Orders of derivative: every one. Cost: none beyond that of ``log_prob``.

    Example:
      >>> import jax
      >>> from jax_scorefn import magic_box
      >>> third = jax.grad(jax.grad(jax.grad(lambda s: magic_box(2.0 * s))))
      >>> print(magic_box(jax.numpy.float32(5.0)), third(0.3))
      1.0 8.0

    References: foerster2018 (the "magic box" of DiCE).
    """
    log_prob = jnp.asarray(log_prob)
    weight = jnp.ones_like(log_prob) if weight is None else stop_gradient(weight)
    return _box(log_prob, weight)


@jax.custom_jvp
def scale_tangent(x: Array, factor: Array) -> Array:
    """Value x, derivative ``factor`` times that of x. (x - stop(x) would be NaN where x is infinite.)"""
    return _mapped_with(x, factor)


@scale_tangent.defjvp
def _scale_tangent_jvp(primals, tangents):
    (x, factor), (dx, _) = primals, tangents
    return scale_tangent(x, factor), stop_gradient(factor) * dx


@jax.custom_jvp
def departure(x: Array) -> Array:
    """Value 0, derivative that of x. (x - stop(x) would be NaN where x is infinite.)"""
    return _mapped_with(jnp.zeros_like(x), x)


@departure.defjvp
def _departure_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return departure(x), dx


def moved(rates: Array, differences: Array) -> Array:
    """Value 0, derivative ``sum_j differences_j d rate_j``, and mixed derivatives of that; NaN if a rate is.

    Rates are numbers ``(n,)``, or of the shape of the differences, ``(n, ...)``.
    """
    rates = nan_where(jnp.isnan(rates), departure(rates)).astype(differences.dtype)
    return jnp.tensordot(rates, differences, axes=1) if rates.ndim == 1 else jnp.sum(rates * differences, axis=0)


def on_path(value: Array, path: Array) -> Array:
    """The value of one with the derivative of the other."""
    return stop_gradient(value) + departure(path)


def gradient_path(x: Array, gradient: Array) -> Array:
    """Value 0, derivative ``sum of gradient * dx`` over the axes of x, the last ones of ``gradient``: a gradient made elsewhere.

    What the gradient itself depends on may be differentiated too: mixed derivatives are those of the product.
    """
    moved = jnp.broadcast_to(departure(x).astype(gradient.dtype), gradient.shape)
    return departure(jnp.sum(gradient * moved, axis=tuple(range(-x.ndim, 0))))  # 0, if the gradient is infinite as well


def score_surrogate(
    values: Array, log_probs: Array, baselines: Array | float = 0.0, weights: Array | None = None
) -> Array:
    """mean_i of (f_i - b_i) magic_box(log p_i, w_i) + b_i, for values (S, ...), log_probs (S,), baselines that broadcast."""
    baselines = stop_gradient(baselines)
    boxes = along_draws(magic_box(log_probs, weights).astype(values.dtype), values)
    return jnp.mean((values - baselines) * boxes + baselines, axis=0)


def where_possible(values: Array, probs: Array) -> Array:
    """The values (n, ...), with 0 for one that is not finite at an outcome of probability exactly 0: it is no outcome."""
    return jnp.where(along_draws(stop_gradient(probs) == 0, values) & ~jnp.isfinite(values), 0, values)


def weighted_sum(values: Array, weights: Array) -> Array:
    """sum_i w_i f_i with differentiable weights that sum to 1: f is measured from its mean, so a large constant in it cancels."""
    values = where_possible(values, weights)
    weights = along_draws(weights.astype(values.dtype), values)
    stopped, first = stop_gradient(weights), values[:1]
    center = stop_gradient(first + jnp.sum(stopped * (values - first), axis=0, keepdims=True))
    return center[0] * jnp.sum(stopped, axis=0) + jnp.sum(weights * (values - center), axis=0)


def self_normalized_surrogate(values: Array, log_probs: Array, weights: Array) -> Array:
    """Ratio of the surrogates of f and of 1, for densities known up to a factor: that factor cancels.

    Its first derivative is sum w_i (f_i - fbar) grad log p_i / sum w_i (+ the weighted mean of grad f_i), with fbar the
    weighted mean of f: the ratio brings its own baseline.
    """
    # f is measured from its weighted mean, which changes no derivative and keeps a large constant in f out of the sums.
    share = weights / jnp.sum(weights)
    center = stop_gradient(jnp.sum(values * along_draws(share.astype(values.dtype), values), axis=0))
    boxes = magic_box(log_probs, share)
    total = jnp.sum((values - center) * along_draws(boxes.astype(values.dtype), values), axis=0)
    return center + total / jnp.sum(boxes).astype(values.dtype)


@jax.custom_jvp
def nan_where(bad: Array, x: Array) -> Array:
    """X, but NaN with derivatives of NaN where ``bad``. (x times NaN would not do: XLA takes a product with a bit for a selection.)"""
    return jnp.where(bad, _nan_made_of(x, bad), x)


@nan_where.defjvp
def _nan_where_jvp(primals, tangents):
    (bad, x), (_, dx) = primals, tangents
    return nan_where(bad, x), dx * jnp.where(bad, _nan_made_of(x, bad), 1)


def _nan_made_of(x: Array, bad: Array) -> Array:
    """NaN where ``bad``, of numbers that the compiler does not know: XLA's exp on a CPU makes garbage of the constant NaN."""
    kept = jnp.where(bad, x, 0)  # where all is well no NaN is made on the way either, for jax_debug_nans
    zero = jnp.where(bad, kept - kept, 1)
    return zero / zero


def nan_with(values: Array, parameters: Array) -> Array:
    """The values, but NaN with derivatives of NaN if a parameter is NaN: draws of nothing must not pass for others."""
    nothing = jnp.any(jnp.isnan(stop_gradient(parameters)))
    return nan_where(jnp.broadcast_to(nothing, values.shape), values)
