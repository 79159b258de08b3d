"""R. Advantages in a group of eight answers, three of them right (GRPO, Dr. GRPO, RLOO)."""

from __future__ import annotations

import jax.numpy as jnp

from benchmarks.settings import Settings
from benchmarks.studies.papers._base import Outcome, Paper, exactly
from jax_scorefn.policy_gradient import group_advantages

TABLE = {"GRPO": "1.2076 -.7246", "without the deviation": ".6250 -.3750", "RLOO": ".7143 -.4286"}
OPTIONS = {
    "GRPO": {"baseline": "mean", "divide_by_std": True},
    "without the deviation": {"baseline": "mean"},
    "RLOO": {"baseline": "leave_one_out"},
}


def measure(settings: Settings) -> Outcome:
    """Right answers and wrong ones; and rewards of which one is alone."""
    del settings
    rewards, outcome = jnp.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]), Outcome()
    for row, options in OPTIONS.items():
        found = group_advantages(rewards, group_axis=0, **options)
        outcome.numbers[row] = {"right": exactly(found[0]), "wrong": exactly(found[-1])}
    alone = group_advantages(
        jnp.array([1.0, 0.0, 0.0, 0.0]), group_axis=0, baseline="leave_one_out", divide_by_std=True
    )
    largest = float(jnp.max(jnp.abs(alone)))
    text = "leave-one-out over the deviation stays small where one answer is right (a public code base has a million there)"
    outcome.claim(f"{text}: {largest:.3f}", largest < 10)
    return outcome


PAPER = Paper(
    letter="R",
    title="Advantages in a group",
    source="Shao et al. 2024, Liu et al. 2025, Ahmadian et al. 2024",
    about="Eight answers to a question, three of which are right and are worth 1.",
    measure=measure,
    wanted={row: dict(zip(("right", "wrong"), text.split(), strict=True)) for row, text in TABLE.items()},
    printed=("right", "wrong"),
)
