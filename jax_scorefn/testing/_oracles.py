"""Exact expectations as plain differentiable JAX functions of the parameters: what estimators are held against.

They share no code with the estimators: a sum of exp(log p) f over a support, and an integral of exp(log p) f by a composite
Gauss-Legendre rule. Differentiate them with ``jax.grad`` to any order; in float64 for references.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks
from jax_scorefn._trees import num_leading, to_float
from jax_scorefn.typing import Array, Params, PyTree

LogProb = Callable[[Params, Any], Array]


def enumerate_expectation(f: Callable[..., Any], logp: LogProb, support: PyTree) -> Callable[[Params], Array]:
    """``params -> sum_k exp(logp(params, x_k)) f(x_k)``, for the values x_k on the leading axis of ``support``.

    Args:
      f: function of one value; for an f that depends on the parameters, two arguments ``f(x, params)``.
      logp: ``(params, x) -> log-probability`` (a family is one). Its probabilities must sum to 1 over the support.
      support: every value, on the leading axis.

    Returns:
      A differentiable function of the parameters.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> coin = sf.family(lambda logit: sf.Bernoulli(logits=logit))
      >>> mean = sf.testing.enumerate_expectation(lambda x: 1.0 + 2.0 * x, coin, jnp.array([0.0, 1.0]))
      >>> print(f"{mean(1.0):.5f} {jax.grad(mean)(1.0):.5f} {jax.grad(jax.grad(mean))(1.0):.5f}")
      2.46212 0.39322 -0.18172
    """
    num_leading(support)
    support, at = jax.tree.map(np.asarray, support), _checks.of_params("enumerate_expectation", f)

    def expectation(params: Params) -> Array:
        probs = jnp.exp(jax.vmap(lambda x: logp(params, x))(support))
        values = jax.vmap(lambda x: to_float(at(params)(x)))(support)
        return jnp.tensordot(probs.astype(values.dtype), values, axes=1)

    return expectation


def quadrature_expectation(
    f: Callable[..., Any],
    logp: LogProb,
    intervals: Sequence[tuple[float, float]] | tuple[float, float],
    *,
    panels: int = 200,
    nodes: int = 16,
) -> Callable[[Params], Array]:
    """``params -> integral of exp(logp(params, x)) f(x)`` over an interval, or over a box for x of shape ``(D,)``.

    Args:
      f: function of one value; with two arguments, ``f(x, params)``.
      logp: ``(params, x) -> log-density``.
      intervals: ``(low, high)`` for scalar x, or one pair for each of D coordinates. Where f jumps, put the jump on the edge of a
        panel (the middle of the interval is one).
      panels: equal panels for each coordinate.
      nodes: Gauss-Legendre nodes in each panel.

    Returns:
      A differentiable function of the parameters. Trust it where twice the panels give the same.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> normal = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))
      >>> mean = sf.testing.quadrature_expectation(lambda x: (x > 0.0).astype(float), normal, (-12.0, 12.0))
      >>> print(f"{mean(0.3):.4f} {jax.grad(mean)(0.3):.4f}")
      0.6179 0.3814
    """
    at = _checks.of_params("quadrature_expectation", f)
    scalar = np.ndim(intervals[0]) == 0
    boxes: Any = [intervals] if scalar else list(intervals)
    axes = [_composite_legendre(low, high, panels, nodes) for low, high in boxes]
    points = np.array(list(itertools.product(*(axis[0] for axis in axes))))
    weights = np.prod(np.array(list(itertools.product(*(axis[1] for axis in axes)))), axis=1)
    points = points[:, 0] if scalar else points

    def expectation(params: Params) -> Array:
        xs = jnp.asarray(points, dtype=jnp.result_type(float))
        density = jnp.exp(jax.vmap(lambda x: logp(params, x))(xs))
        values = jax.vmap(lambda x: to_float(at(params)(x)))(xs)
        return jnp.tensordot((jnp.asarray(weights, density.dtype) * density).astype(values.dtype), values, axes=1)

    return expectation


def enumerate_draws(
    estimate: Callable[[PyTree], PyTree], logp: LogProb, params: Params, support: PyTree, num_draws: int
) -> PyTree:
    """Mean of an estimate over every outcome of its draws, computed without sampling.

    Args:
      estimate: function of the draws (leading axis ``num_draws``) that returns a pytree: a gradient, a Hessian.
      logp: ``(params, x) -> log-probability`` of the distribution that the draws come from.
      params: where the outcomes are weighted.
      support: every value of one draw, on the leading axis.
      num_draws: number of independent draws.

    Returns:
      sum over outcomes (x_1 .. x_S) of p(x_1) ... p(x_S) estimate(x_1 .. x_S).

    Cost: one call of the estimate for each of K^S outcomes, mapped at once.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> coin = sf.family(lambda logit: sf.Bernoulli(logits=logit))
      >>> by_score = lambda x: jnp.mean((1.0 + 2.0 * x) * jax.vmap(jax.grad(coin), (None, 0))(1.0, x))
      >>> print(f"{sf.testing.enumerate_draws(by_score, coin, 1.0, jnp.array([0.0, 1.0]), 3):.5f}")
      0.39322
    """
    size = num_leading(support)
    support = jax.tree.map(jnp.asarray, support)
    outcomes = jnp.asarray(list(itertools.product(range(size), repeat=num_draws)))
    log_probs = jax.vmap(lambda x: logp(params, x))(support)
    probs = jnp.exp(jnp.sum(log_probs[outcomes], axis=1))
    estimates = jax.vmap(lambda index: estimate(jax.tree.map(lambda xs: xs[index], support)))(outcomes)
    return jax.tree.map(lambda leaf: jnp.tensordot(probs.astype(leaf.dtype), leaf, axes=1), estimates)


def _composite_legendre(low: float, high: float, panels: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    t, w = np.polynomial.legendre.leggauss(nodes)
    edges = np.linspace(low, high, panels + 1)
    half = np.diff(edges) / 2
    middle = edges[:-1] + half
    return (middle[:, None] + half[:, None] * t).reshape(-1), (half[:, None] * w).reshape(-1)
