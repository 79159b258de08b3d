"""Three programs with several choices, as numbers that every system shares: NumPy only, so that any environment can read them.

    layers    3 layers of 8 Bernoullis; layer k has logits tanh(z_{k-1} W_k), z_0 = 1, and pays sum_i c_i (z_ki - 0.499)^2
    plate     a root and n = 16 pairs a_i, b_i with logits t_i and t_i + a_i - 0.5; pays (root + 0.499)^2 and the mean of
              (w_i a_i + b_i - 0.499)^2
    rollout   20 steps of a policy with logits v . s + u on a damped oscillator that the action pushes; pays the rewards

The variance is that of the gradient of one run, summed over the parameters (over the logits t_i for the plate); no baseline.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

RUNS = 100
"""Runs that one timed gradient averages."""

MINUTE = 60.0
"""Seconds that a system without vectorised gradients of single runs may take for them, program by program."""

DEPTH, WIDTH = 3, 8
LAYERS = np.random.default_rng(1).normal(size=(DEPTH, WIDTH, WIDTH)).astype(np.float32) / np.float32(np.sqrt(WIDTH))
LAYER_COSTS = np.linspace(0.5, 1.5, WIDTH, dtype=np.float32)

PLATE = 16
PLATE_WEIGHTS = np.linspace(0.5, 1.5, PLATE, dtype=np.float32)
PLATE_LOGITS = np.zeros(PLATE, np.float32)

STEPS = 20
POLICY = np.array([0.5, -1.0, 0.2], np.float32)
START = (0.5, 0.0)


def environment(x: Any, v: Any, action: Any, sin: Callable[[Any], Any]) -> tuple[Any, Any, Any]:
    """One step of the rollout: position, velocity and reward, in whatever arrays a system uses."""
    x, v = x + 0.1 * v, 0.95 * v + 0.2 * (2 * action - 1) - 0.05 * sin(x)
    return x, v, 0.1 * action - x**2 - v**2


def moments(gradients: np.ndarray) -> dict[str, Any]:
    """What is said of gradients of single runs, an array (runs, parameters): mean, its standard error, summed variance."""
    count = len(gradients)
    squares = (gradients - gradients.mean(axis=0)) ** 2
    variance = squares.sum(axis=0) / (count - 1)
    return {
        "mean": gradients.mean(axis=0).tolist(),
        "standard_error": np.sqrt(variance / count).tolist(),
        "variance": float(variance.sum()),
        "variance_error": float(squares.sum(axis=1).std(ddof=1) / np.sqrt(count)),
        "count": count,
    }


def one_by_one(gradient: Callable[[], np.ndarray], most: int) -> np.ndarray:
    """Gradients of single runs by so many calls, or fewer where a minute is over before."""
    end, gradients = time.monotonic() + MINUTE, []
    while len(gradients) < most and (len(gradients) < 100 or time.monotonic() < end):
        gradients.append(gradient())
    return np.array(gradients)


def microseconds(gradient: Callable[[], Any], repeats: int = 30) -> float:
    """The median time of a call, after two calls that do not count."""
    for _ in range(2):
        gradient()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        gradient()
        times.append(time.perf_counter() - start)
    return float(np.median(times) * 1e6)


def say(system: str, program: str, **facts: Any) -> None:
    """One JSON line, which is all that a peer's process prints."""
    print(json.dumps({"kind": "peer", "problem": program, "method": system} | facts), flush=True)
