"""The problems that every system shares, as numbers: NumPy only, so that any environment can read them.

    W1       diagonal Gaussian, mean and log-scale, f = sum of squares
    W2       Bernoulli, logits, f = mean squared distance from .499
    W3       softmax policy from a 4-64-64-2 network on 1,024 observations, each with its own draws and its own baseline
    W4       20 categorical latents with K = 10 from a 64-256-200 network for each of 64 data points, likewise
    layers   3 layers of 8 Bernoullis; layer k has logits tanh(z_{k-1} W_k), z_0 = 1, and pays sum_i c_i (z_ki - 0.499)^2
    plate    a root and n = 16 pairs a_i, b_i with logits t_i and t_i + a_i - 0.5; pays (root + 0.499)^2 and the mean of
             (w_i a_i + b_i - 0.499)^2; the gradient is that in the logits t_i
    births   births at rate 6 and deaths at rate 1 a head for two units of time from 0; pays the last number
    rollout  20 steps of a policy with logits v . s + u on a damped oscillator that the action pushes; pays the rewards

The first four have S draws and a leave-one-out baseline where a system has one; a gradient of the others is that of the mean over
``RUNS`` runs, without a baseline.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

GAUSSIANS = ((10, 100), (10, 10_000), (10, 100_000), (1000, 100), (1000, 10_000))
BERNOULLIS = ((1, 100), (1, 10_000), (200, 100), (200, 10_000))
POLICY_DRAWS = 16
LATENT_DRAWS = (8, 1024)
LATENTS, CATEGORIES = 20, 10
TARGET = 0.499

WORKLOADS = (
    *(f"W1 D={d} S={s}" for d, s in GAUSSIANS),
    *(f"W2 D={d} S={s}" for d, s in BERNOULLIS),
    f"W3 S={POLICY_DRAWS}",
    *(f"W4 S={s}" for s in LATENT_DRAWS),
)


def normals(seed: int, *shape: int) -> np.ndarray:
    """Fixed numbers of a normal distribution, float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def network(sizes: tuple[int, ...]) -> list[dict[str, np.ndarray]]:
    """Parameters of a fully connected network with tanh between the layers."""
    pairs = enumerate(itertools.pairwise(sizes))
    return [{"w": normals(k, n, m) / np.float32(np.sqrt(n)), "b": np.zeros(m, np.float32)} for k, (n, m) in pairs]


POLICY = network((4, 64, 64, 2))
OBSERVATIONS = normals(10, 1024, 4)
ENCODER = network((64, 256, LATENTS * CATEGORIES))
DATA = normals(11, 64, 64)
TABLE = normals(12, LATENTS, CATEGORIES)

RUNS = 100
"""Runs that a gradient of a program averages."""

DEPTH, WIDTH = 3, 8
LAYERS = np.random.default_rng(1).normal(size=(DEPTH, WIDTH, WIDTH)).astype(np.float32) / np.float32(np.sqrt(WIDTH))
LAYER_COSTS = np.linspace(0.5, 1.5, WIDTH, dtype=np.float32)

PLATE = 16
PLATE_WEIGHTS = np.linspace(0.5, 1.5, PLATE, dtype=np.float32)
PLATE_LOGITS = np.zeros(PLATE, np.float32)

STEPS = 20
POLICY_WEIGHTS = np.array([0.5, -1.0, 0.2], np.float32)
START = (0.5, 0.0)


def environment(x: Any, v: Any, action: Any, sin: Callable[[Any], Any]) -> tuple[Any, Any, Any]:
    """One step of the rollout: position, velocity and reward, in whatever arrays a system uses."""
    x, v = x + 0.1 * v, 0.95 * v + 0.2 * (2 * action - 1) - 0.05 * sin(x)
    return x, v, 0.1 * action - x**2 - v**2


RATES, TIME = np.array([6.0, 1.0], np.float32), 2.0

PROGRAMS = {"layers": LAYERS, "plate": PLATE_LOGITS, "rollout": POLICY_WEIGHTS, "births": RATES}
"""With several choices: where the gradient is taken."""
NAMES = (*WORKLOADS, *PROGRAMS)
