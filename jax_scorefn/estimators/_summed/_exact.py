"""Exact: E[f(x)] = sum_k p(x_k; params) f(x_k) over a finite support, or by quadrature nodes."""

from __future__ import annotations

import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn._surrogate import weighted_sum
from jax_scorefn.estimators._call import Answer
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.typing import EVERY_ORDER, Bias, Capability, Info


@estimator(
    rows="points",
    needs=(Capability.SUPPORT | Capability.QUADRATURE,),
    bias=Bias.NONE,
    orders=EVERY_ORDER,
    evaluations="the number of points",
    cite=("golub1969",),
    draws=False,
)
def exact(f, call, *, num_nodes: int = 32, max_value: int | None = None, max_points: int = 2**16):
    """E[f(x)] without sampling: a sum over the whole support, or a quadrature.

    Discrete distributions, products of them and families with a given support are enumerated, which is exact. Poisson,
    NegativeBinomial and Geometric are summed up to ``max_value``; ``Info.omitted_mass`` is the probability left out, and
    the result is exact up to sup |f| times it. Continuous distributions go by quadrature (Gauss-Hermite for normals, Laguerre on
    half-lines, Legendre on intervals) with nodes that do not move: the derivative is that of the density at each node, so a
    step function gets its right answer in the limit. A quadrature is a reference only where ``num_nodes`` and twice as many
    agree; ``Info.omitted_mass`` says by how much its weights miss 1, as they do for Gamma and Beta with parameters below 1,
    or so large that the nodes do not reach their mass. Derivatives in ``probs`` of exactly 0 and 1, and in a rate of 0, are
    right.

    Args:
      key: ignored; may be None.
      num_nodes: nodes for each coordinate of a quadrature.
      max_value: largest value to sum for distributions on all whole numbers.
      max_points: most points that may be asked for.
      has_aux: also return an :class:`Info`, whose samples are the points and whose weights are theirs.

    Returns: The expectation, of the shape and dtype of f
    Raises: more than ``max_points`` points, and an infinite support without ``max_value``.
    Bias: That is for a finite support; the bias of a quadrature vanishes in ``num_nodes``.
    Cost: K for K categories, 2^D for D bits, num_nodes^D for D continuous coordinates.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> coin = sf.family(lambda logit: sf.Bernoulli(logits=logit))
      >>> print(f"{sf.exact_grad(lambda x: 1.0 + 2.0 * x, coin, 1.0):.5f} +- 0")
      0.39322 +- 0
    """
    options = {"num_nodes": num_nodes, "max_value": max_value, "max_points": max_points}
    sizes = {name: _checks.positive_int(name, n) for name, n in options.items() if n is not None}
    grid = call.dist.grid(**sizes)
    values = call.map_outcomes(lambda x: _checks.value(f(x)), grid.points, grid.log_probs.shape[0])

    def info():
        no_error = jnp.zeros(values.shape[1:], values.dtype)
        omitted = jnp.abs(1 - jnp.sum(grid.weights))
        return Info(grid.points, values, grid.log_probs, grid.weights, no_error, omitted)

    return Answer(weighted_sum(values, grid.weights), info, 1)


exact_grad = gradient(exact)
