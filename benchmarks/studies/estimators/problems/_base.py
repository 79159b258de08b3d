"""A problem: an expectation, where its gradient is wanted, and the best reference that there is for it.

A problem is written for any estimator: ``objective(estimate, params, key)`` calls ``estimate(f, family, params,
key)`` where the expectation stands, and may put it inside a vmap or add terms that are known in closed form.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

import jax_scorefn as sf
from benchmarks.method import Estimate
from benchmarks.settings import Settings
from benchmarks.studies.estimators.methods import NODES

EPSILON = float(np.finfo(np.float32).eps)


@dataclasses.dataclass(frozen=True)
class Reference:
    """What the gradient should be, one number for each coordinate.

    Attributes:
      gradient: shape ``(C,)``, float64.
      standard_error: shape ``(C,)``; 0 where the reference is exact.
      rounding: distance that float32 arithmetic alone may cause (it keeps z finite where nothing is random).
      how: where the reference comes from, in words.
    """

    gradient: np.ndarray
    standard_error: np.ndarray
    rounding: float
    how: str


@dataclasses.dataclass(frozen=True)
class Setup:
    """A problem with its data loaded and its reference computed.

    Attributes:
      params: where the gradient is taken.
      objective: ``(estimate, params, key) -> scalar``.
      distribution: a family and parameters for it: what decides which methods apply.
      coordinates: the gradient as one vector ``(C,)``, out of the pytree that ``jax.grad`` returns.
      reference: see :class:`Reference`.
      known: method -> exact variance of one call times the number of draws, averaged over the coordinates.
      num_points: points that enumeration or quadrature of one distribution takes.
      contexts: expectations in one gradient.
      facts: measured facts about the problem itself, for the report.
    """

    params: Any
    objective: Callable[[Estimate, Any, jax.Array], jax.Array]
    dist: tuple[sf.Family, Any]
    coordinates: Callable[[Any], jax.Array]
    reference: Reference
    known: Mapping[str, float] = dataclasses.field(default_factory=dict)
    num_points: int = NODES
    contexts: int = 1
    facts: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Curve:
    """A training run to look at: ``run(method, settings) -> (steps, values)`` for each name in ``methods``."""

    title: str
    ylabel: str
    methods: tuple[str, ...]
    run: Callable[[str, Settings], tuple[np.ndarray, np.ndarray]]
    about: str


@dataclasses.dataclass(frozen=True)
class Problem:
    """A section of the report.

    Attributes:
      name: what ``--only`` and the results file call it.
      title: heading.
      formula: the expectation, in one line of text.
      about: one or two sentences: what it is and what it shows.
      num_draws: S, draws in one call.
      replicates: independent calls, in quick and in full mode.
      batch: replicates under one vmap; 1 where the compilation of that vmap costs more than it saves.
      setup: loads and prepares.
      refuses: methods that do not apply for a reason that the distribution alone does not tell -> the reason.
      full_only: methods that are measured in full mode only, to keep the quick run quick.
      curve: a training run to plot.
    """

    name: str
    title: str
    formula: str
    about: str
    num_draws: int
    replicates: tuple[int, int]
    batch: int
    setup: Callable[[Settings], Setup]
    refuses: Mapping[str, str] = dataclasses.field(default_factory=dict)
    full_only: tuple[str, ...] = ()
    curve: Curve | None = None


def covariance_variances(moments: Mapping[str, float], gradient: float, num_draws: int) -> dict[str, float]:
    """Exact variances (times S) of the score-function methods of a scalar problem.

    With the deviations a = f - E f and the score s, the leave-one-out estimate is the sample covariance of f and s,
    whose variance is E[a^2 s^2]/S - (S-2) g^2/(S(S-1)) + E[a^2] E[s^2]/(S(S-1)). With the batch mean it is (S-1)/S of
    that estimate.
    """
    s = num_draws
    plain = moments["f2s2"] - gradient**2
    sample_covariance = (
        moments["a2s2"] / s
        - (s - 2) * gradient**2 / (s * (s - 1))
        + moments["a2"] * moments["s2"] / (s * (s - 1))
    )  # fmt: skip
    return {
        "score": plain,
        "score-loo": s * sample_covariance,
        "score-mean": s * sample_covariance * ((s - 1) / s) ** 2,
        "exact": 0.0,
    }
