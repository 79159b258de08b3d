"""O. The score of a linear Gaussian state-space model by a particle filter: it comes with structured distributions."""

from __future__ import annotations

from benchmarks.settings import Settings
from benchmarks.studies.papers._base import Outcome, Paper


def measure(settings: Settings) -> Outcome:
    """Nothing yet."""
    del settings
    return Outcome()


PAPER = Paper(
    letter="O",
    title="A particle filter",
    source="Worked out by a Kalman filter",
    about="T = 25, θ = .8: exact by Kalman, log p −28.117560, d/dθ 27.987720.",
    measure=measure,
    not_yet={"all of it": "Resampling steps come with structured distributions."},
)
