"""A rare event: d/dtheta P(x > 3), x ~ N(theta, 1), theta = 0. The derivative is the density at 3.

One draw in 741 sees the event. Draws of N(3, 1), each weighted by p / q, see it every other time.
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

NUM_DRAWS = 64
EDGE = 3.0
NORMAL = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))


def _objective(estimate: Estimate, params: Any, key: jax.Array) -> jax.Array:
    return estimate(lambda x: x > EDGE, NORMAL, params, key)


def _setup(settings: Settings) -> Setup:
    del settings
    density = np.exp(-(EDGE**2) / 2) / np.sqrt(2 * np.pi)
    z = np.linspace(EDGE, EDGE + 12, 200_001)
    normal = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    weight = normal / (np.exp(-((z - EDGE) ** 2) / 2) / np.sqrt(2 * np.pi))
    known = {
        "score": float(np.trapezoid(z**2 * normal, z)) - density**2,
        "score-proposal": float(np.trapezoid(weight * z**2 * normal, z)) - density**2,
    }
    params = jnp.asarray(0.0, float)
    reference = Reference(np.array([density]), np.zeros(1), 16 * EPSILON, "closed form: the density at 3")
    return Setup(params, _objective, (NORMAL, params), lambda grad: grad[None], reference, known)


TAIL = Problem(
    name="tail",
    title="A rare event",
    formula="d/dθ  P(x > 3),   x ~ N(θ, 1),   θ = 0",
    about="A step, which has no slope anywhere: pathwise answers 0. And an event that one draw in 741 sees: the proposal draws from "
    "N(3, 1) and weights.",
    num_draws=NUM_DRAWS,
    replicates=(20_000, 200_000),
    batch=5_000,
    setup=_setup,
    refuses={
        "pathwise": "f is a step: its derivative along the path is 0 wherever there is one.",
        "exact": "Fixed quadrature nodes converge slowly at a jump.",
        "score-delta": "f is a step: its Taylor polynomial is a constant.",
        "double-cv": "f is a step: its slope is 0 wherever there is one.",
    },
    full_only=("score-mean", "score-best", "score-sobol"),
)
