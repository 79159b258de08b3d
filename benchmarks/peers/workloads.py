"""The four workloads of the speed benchmark, as numbers that every system shares: NumPy only, so that any environment can read them.

    W1  diagonal Gaussian, mean and log-scale, f = sum of squares
    W2  Bernoulli, logits, f = mean squared distance from .499
    W3  softmax policy from a 4-64-64-2 network on 1,024 observations, each with its own draws and its own baseline
    W4  20 categorical latents with K = 10 from a 64-256-200 network for each of 64 data points, each with its own draws and baseline

A peer is a process that answers questions, one line in and one line out: how long did some calls take, and what came out. So that a
system and this library can take turns, block by block, on a machine whose speed changes from minute to minute.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

GAUSSIANS = ((10, 100), (10, 10_000), (10, 100_000), (1000, 100), (1000, 10_000))
BERNOULLIS = ((1, 100), (1, 10_000), (200, 100), (200, 10_000))
POLICY_DRAWS = 16
LATENT_DRAWS = (8, 1024)
LATENTS, CATEGORIES = 20, 10
TARGET = 0.499

NAMES = (
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

BLOCK_SECONDS, MOST_CALLS, SETTLE_SECONDS = 0.1, 200, 0.03
PROJECTIONS, PROJECTION_SECONDS = 200, 4.0


def block(call: Callable[[], Any]) -> list[float]:
    """Seconds of each of some calls in a row, when other systems have gone to sleep; the first finds their data in the caches."""
    time.sleep(SETTLE_SECONDS)
    call()
    times: list[float] = []
    while not times or (sum(times) < BLOCK_SECONDS and len(times) < MOST_CALLS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def projections(call: Callable[[], Any]) -> list[float]:
    """Gradients along one fixed direction, which all systems share: the same expectation wherever it is estimated."""
    found: list[float] = []
    end = time.monotonic() + PROJECTION_SECONDS
    while len(found) < 10 or (len(found) < PROJECTIONS and time.monotonic() < end):
        flat = np.concatenate([np.asarray(leaf, np.float64).reshape(-1) for leaf in call()])
        found.append(float(flat @ np.cos(np.arange(flat.size))))
    return found


def serve(system: str, calls: dict[str, Callable[[], Callable[[], Any]]]) -> None:
    """Answer until there are no more questions: "name", then "block" or "projections" as often as wanted.

    ``calls[name]()`` makes a function without arguments that returns the gradient's leaves: layers in order, weights before biases.
    """
    print(json.dumps({"system": system}), flush=True)
    call: Callable[[], Any] = lambda: ()
    for line in sys.stdin:
        question = line.strip()
        if question in calls:
            call = calls[question]()
            for _ in range(3):
                call()
            answer: Any = "ready"
        else:
            answer = {"block": block, "projections": projections}[question](call)
        print(json.dumps(answer), flush=True)
