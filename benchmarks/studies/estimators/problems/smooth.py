"""A smooth function of four coordinates: where draws that are spread evenly pay.

f(x) = sin(a . x) + 0.3 cos(x_2),   x ~ N(m, I),     E f = sin(a . m) exp(-|a|^2 / 2) + 0.3 cos(m_2) exp(-1/2)
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn as sf
from benchmarks.method import Estimate
from benchmarks.settings import Settings
from benchmarks.studies.estimators.problems._base import EPSILON, Problem, Reference, Setup

NUM_DRAWS = 1024
SLOPE = np.array([0.5, -0.3, 0.4, 0.2], np.float32)
MEAN = np.array([0.3, -0.2, 0.1, 0.4], np.float32)
NORMAL = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))


def _f(x: jax.Array) -> jax.Array:
    return jnp.sin(SLOPE @ x) + 0.3 * jnp.cos(x[1])


def _gradient() -> np.ndarray:
    a, m = SLOPE.astype(float), MEAN.astype(float)
    wave = np.cos(a @ m) * np.exp(-(a @ a) / 2) * a
    wave[1] -= 0.3 * np.sin(m[1]) * np.exp(-0.5)
    return wave


def _objective(estimate: Estimate, params: Any, key: jax.Array) -> jax.Array:
    return estimate(_f, NORMAL, params, key)


def _setup(settings: Settings) -> Setup:
    del settings
    gradient = _gradient()
    params = jnp.asarray(MEAN)
    reference = Reference(gradient, np.zeros(4), 16 * EPSILON, "closed form")
    return Setup(params, _objective, (NORMAL, params), lambda grad: grad, reference)


SMOOTH = Problem(
    name="smooth-4",
    title="A smooth wave in four dimensions",
    formula="∇m  E[ sin(a·x) + 0.3 cos(x₂) ],   x ~ N(m, I),   D = 4",
    about="A thousand draws of a smooth function: nets that fill the cube more evenly than chance does, eight of 128 points, "
    "each shifted at random.",
    num_draws=NUM_DRAWS,
    replicates=(1_000, 10_000),
    batch=1,
    setup=_setup,
    refuses={"exact": "Quadrature takes more nodes in four dimensions than its limit."},
    full_only=("score-mean", "score-best", "double-cv"),
)
