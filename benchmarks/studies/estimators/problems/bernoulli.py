"""Bits, and a target close to one half (Tucker et al. 2017): f = mean_j (b_j - t)^2, t = .499, p = 1/2.

f hardly depends on the bits: nearly all of it is a constant, which is noise to a score function without a baseline.
The gradient of each logit is p (1 - p) (1 - 2t) / D, and every moment that the variances need is a finite sum.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn as sf
from benchmarks.method import Estimate
from benchmarks.settings import Settings
from benchmarks.studies.estimators.problems._base import EPSILON, Problem, Reference, Setup, covariance_variances

TARGET = 0.499
NUM_DRAWS = 2
BITS = sf.family(lambda logits: sf.Bernoulli(logits=logits))


def _objective(estimate: Estimate, params: Any, key: jax.Array) -> jax.Array:
    return estimate(lambda bits: jnp.mean((bits - TARGET) ** 2), BITS, params, key)


def _known(size: int, gradient: float) -> dict[str, float]:
    """Exact variances of one coordinate at p = 1/2: s = b - 1/2, s^2 = 1/4, f - E f = (1 - 2t) mean_j (b_j - 1/2)."""
    mean = 0.25 + (0.5 - TARGET) ** 2
    spread = (1 - 2 * TARGET) ** 2 / (4 * size)
    moments = {"f2s2": (mean**2 + spread) / 4, "a2s2": spread / 4, "a2": spread, "s2": 0.25}
    return covariance_variances(moments, gradient, NUM_DRAWS)


def _problem(name: str, title: str, size: int, about: str, replicates: tuple[int, int], batch: int) -> Problem:
    def setup(settings: Settings) -> Setup:
        del settings
        gradient = 0.25 * (1 - 2 * TARGET) / size
        reference = Reference(np.full(size, gradient), np.zeros(size), 16 * EPSILON * 0.125 / size**0.5, "closed form")
        params = jnp.zeros(size)
        known = _known(size, gradient)
        return Setup(params, _objective, (BITS, params), lambda grad: grad, reference, known, num_points=2**size)

    formula = f"∇η  E[ mean over j of (bⱼ − 0.499)² ],   bⱼ ~ Bernoulli(σ(ηⱼ)),   D = {size},   η = 0"
    if size == 1:
        formula = "d/dη  E[ (b − 0.499)² ],   b ~ Bernoulli(σ(η)),   η = 0"
    return Problem(name, title, formula, about, NUM_DRAWS, replicates, batch, setup)


ONE = _problem(
    "bernoulli-1",
    "One bit",
    1,
    "The toy of Tucker et al. (2017): the two values of f differ by 0.002. Two draws with a leave-one-out "
    "baseline see just that "
    "difference; without a baseline the estimate is nearly all constant.",
    (50_000, 500_000),
    10_000,
)
MANY = _problem(
    "bernoulli-200",
    "Two hundred bits",
    200,
    "The same in 200 dimensions. Its support has 2²⁰⁰ points, so nothing can be enumerated.",
    (10_000, 50_000),
    2_000,
)
