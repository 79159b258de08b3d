"""What an audit holds estimators against: an exact gradient where there is one, else a long run on keys of its own.

Exact is a sum over a finite support, or a quadrature whose answers with n and with 2 n nodes agree to within the error that is to be
resolved: fixed nodes cannot know where an f jumps, and then they do not agree.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._trees import is_inexact, real_parts
from jax_scorefn.diagnostics._moments import Moments
from jax_scorefn.diagnostics._problem import Clock, Problem, replicate
from jax_scorefn.distributions import Distribution
from jax_scorefn.estimators import exact, score_function
from jax_scorefn.typing import Capability, Key, PyTree

NODES = (32, 64)
MOST_POINTS = 2**14
SHARE = 0.25
"""Of the time of an audit, for its reference."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """A gradient to be held against.

    Attributes:
      gradient: a pytree of float64 arrays, None in place of what is not a float.
      error: standard errors, or what a quadrature was seen to be off; None where it is exact.
      how: in words.
      points: evaluations of f that ``exact`` takes for it; None where it cannot be had so.
    """

    gradient: PyTree
    error: PyTree | None
    how: str
    points: int | None


def floats(tree: PyTree) -> PyTree:
    """The float leaves, and the parts of complex ones, as float64, None in place of the others."""
    return jax.tree.map(
        lambda leaf: np.asarray(real_parts(np.asarray(leaf)), np.float64) if is_inexact(leaf) else None, tree
    )


def find(problem: Problem, key: Key, evaluations: int, clock: Clock) -> Reference:
    """The best reference for a problem, in a share of the time; a sampled one takes this many evaluations of f."""
    dist = problem.dist
    if (
        Capability.FINITE in dist.capabilities
        and (points := _points(dist)) is not None
        and clock.affords(points, SHARE)
    ):
        return Reference(_exact(problem, points), None, f"the sum over all {points} outcomes", points)
    if dist.capabilities & (Capability.QUADRATURE | Capability.SUPPORT):
        found = _series(problem, clock) if Capability.SUPPORT in dist.capabilities else None
        found = found or _quadrature(problem, clock)
        if found is not None:
            return found
    num_samples, chunk = 64, clock.affordable(64, 200)
    one = lambda k: problem.grad(score_function, problem.params, k, num_samples=num_samples)
    run = jax.jit(lambda keys: Moments.of(jax.vmap(one)(keys)))
    begun = clock.seconds
    late = lambda: clock.left <= 0 or clock.seconds - begun > SHARE * (clock.max_seconds or math.inf)
    moments = replicate(run, key, max(200, evaluations // num_samples), chunk, late)
    how = f"{int(moments.count) * num_samples} draws of score_function on keys of their own"
    return Reference(floats(moments.mean), floats(moments.standard_error), how, None)


def _exact(problem: Problem, points: int, **options: Any) -> PyTree:
    grad = lambda p: problem.grad(exact, p, None, max_points=max(points, 1), **options)
    return floats(jax.jit(grad)(problem.params))


def _points(dist: Distribution, **options: Any) -> int | None:
    """Number of points of the distribution's grid; None where there are too many."""
    try:
        grid = jax.eval_shape(lambda: dist.grid(max_points=MOST_POINTS, **options))
    except ValueError:
        return None
    return grid.log_probs.shape[0]


def _series(problem: Problem, clock: Clock) -> Reference | None:
    """A support without an end, cut where next to nothing is left."""
    dist = problem.dist
    if Capability.MOMENTS not in dist.capabilities or Capability.QUADRATURE in dist.capabilities:
        return None
    mean, variance = dist.mean(), dist.covariance_times(jax.tree.map(jnp.ones_like, dist.mean()))
    reach = max(
        float(jnp.max(m + 30 * jnp.sqrt(v)) + 30)
        for m, v in zip(jax.tree.leaves(mean), jax.tree.leaves(variance), strict=True)
    )
    if not np.isfinite(reach) or (points := _points(dist, max_value=int(reach))) is None:
        return None
    if not clock.affords(points, SHARE):
        return None
    gradient = _exact(problem, points, max_value=int(reach))
    return Reference(gradient, None, f"the sum over {points} outcomes, up to {int(reach)}", points)


def _quadrature(problem: Problem, clock: Clock) -> Reference | None:
    """Both quadratures, where they agree; the distance between them is the error."""
    dist = problem.dist
    points = [_points(dist, num_nodes=n) for n in NODES]
    if None in points or not clock.affords(sum(n or 0 for n in points), SHARE):
        return None
    try:
        coarse, fine = (_exact(problem, m or 1, num_nodes=n) for m, n in zip(points, NODES, strict=True))
    except (TypeError, ValueError):
        return None
    leaves = list(zip(jax.tree.leaves(coarse), jax.tree.leaves(fine), strict=True))
    scale = max(float(np.max(np.abs(b), initial=0)) for _, b in leaves)
    if not all(np.all(np.abs(a - b) <= AGREE * max(scale, 1e-30)) for a, b in leaves):
        return None
    error = jax.tree.map(lambda a, b: np.abs(a - b), coarse, fine)
    return Reference(fine, error, f"a quadrature: {NODES[0]} and {NODES[1]} nodes agree", points[-1])


AGREE = 1e-3
"""How far the two quadratures may be apart, as a share of the largest entry. What is left counts as the reference's error."""
