"""One normal draw, four objectives: d/dtheta E[f(x)], x ~ N(theta, 1), theta = 1 (Mohamed et al. 2020, section 3).

The objectives are chosen so that no estimator is best on all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn as sf
from benchmarks.method import Estimate
from benchmarks.settings import Settings
from benchmarks.studies.estimators.problems._base import EPSILON, Problem, Reference, Setup, covariance_variances

NUM_DRAWS = 32
THETA = 1.0


def _moments(f: Callable[[Any], Any], slope: Callable[[Any], Any], gradient: float) -> dict[str, float]:
    """Exact variances by a float64 quadrature over +-12 standard deviations."""
    z = np.linspace(-12, 12, 200_001)
    weights = np.exp(-(z**2) / 2)
    weights /= weights.sum()
    values = f(THETA + z)
    a = values - weights @ values
    moments = {
        "f2s2": float(weights @ (values * z) ** 2),
        "a2s2": float(weights @ (a * z) ** 2),
        "a2": float(weights @ a**2),
        "s2": 1.0,
    }
    known = covariance_variances(moments, gradient, NUM_DRAWS)
    known["pathwise"] = float(weights @ slope(THETA + z) ** 2) - gradient**2
    return known | {"size": float(np.sqrt(moments["f2s2"]))}


def _problem(
    name: str,
    title: str,
    text: str,
    about: str,
    f: Callable[[Any], Any],
    slope: Callable[[Any], Any],
    gradient: float,
    jax_f: Callable[[jax.Array], jax.Array],
) -> Problem:
    normal = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))

    def objective(estimate: Estimate, params: Any, key: jax.Array) -> jax.Array:
        return estimate(jax_f, normal, params, key)

    def setup(settings: Settings) -> Setup:
        del settings
        known = _moments(f, slope, gradient)
        rounding = 16 * EPSILON * known.pop("size")
        reference = Reference(np.array([gradient]), np.zeros(1), rounding, "closed form")
        params = jnp.asarray(THETA, float)
        return Setup(params, objective, (normal, params), lambda grad: grad[None], reference, known)

    return Problem(
        name=f"gauss-{name}",
        title=title,
        formula=f"d/dθ  E[ f(x) ],   x ~ N(θ, 1),   θ = 1,   f(x) = {text}",
        about=about,
        num_draws=NUM_DRAWS,
        replicates=(20_000, 200_000),
        batch=5_000,
        setup=setup,
        full_only=("double-cv",) if name == "square" else ("double-cv", "score-mean"),
    )


SQUARE = _problem(
    "square",
    "A shifted square",
    "(x + 3)²",
    "Smooth, and large where the draws are. The score function pays for the size of f, the pathwise estimator "
    "only for its slope.",
    lambda x: (x + 3) ** 2,
    lambda x: 2 * (x + 3),
    2 * (THETA + 3),
    lambda x: (x + 3.0) ** 2,
)
BUMP = _problem(
    "bump",
    "A bump",
    "exp(−x²)",
    "Small and bounded, with slopes that cancel: here the score function with a baseline has less variance than "
    "the pathwise estimator.",
    lambda x: np.exp(-(x**2)),
    lambda x: -2 * x * np.exp(-(x**2)),
    -2 * THETA / 3 * float(np.exp(-(THETA**2) / 3)) / 3**0.5,
    lambda x: jnp.exp(-(x**2)),
)
WAVE = _problem(
    "wave",
    "A fast wave",
    "cos(5x)",
    "Bounded but steep. The slopes are five times the values, and the pathwise estimator pays twenty-five times "
    "the variance.",
    lambda x: np.cos(5 * x),
    lambda x: -5 * np.sin(5 * x),
    -5 * float(np.sin(5 * THETA)) * float(np.exp(-12.5)),
    lambda x: jnp.cos(5.0 * x),
)
WELL = _problem(
    "well",
    "At the bottom of a well",
    "(x − 1)²",
    "The gradient is 0, and every estimator is nothing but noise around it.",
    lambda x: (x - 1) ** 2,
    lambda x: 2 * (x - 1),
    2 * (THETA - 1),
    lambda x: (x - 1.0) ** 2,
)
