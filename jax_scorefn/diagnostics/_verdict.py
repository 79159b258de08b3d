"""Is this estimate biased? A statement about replicates that errs once in a thousand.

    t = (mean - reference) / s,   s^2 = error of the mean^2 + error of the reference^2
    T = t + g t^2 / 3 + g^2 t^3 / 27 + g / 6,   g = skewness / sqrt(n)                              (Hall 1992)

T is nearly Student's t whatever the skewness of the replicates. It is compared with the quantile that leaves ``false_alarm`` for
all coordinates of all estimators together. Where one replicate makes much of the variance, the mean is not a mean of many, and nothing
is said. A standard error that is too large to see a bias of the size of the gradient is called that as well.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jax_scorefn.typing import PyTree


class Verdict(enum.StrEnum):
    """What the replicates of an estimate say about its bias."""

    UNBIASED = "unbiased"
    """No bias was found, and the error of the mean is at most a tenth of the gradient."""
    BIASED = "biased"
    IMPRECISE = "imprecise"
    """No bias was found, but the error is too large to say much. More replicates, or more draws."""
    HEAVY_TAILED = "heavy-tailed"
    """Few replicates make most of the variance: their mean and its error cannot be trusted."""
    NOT_FINITE = "not finite"
    """Some replicates are not finite."""


PRECISION = 0.1
"""Largest standard error, as a share of the largest entry of the reference, with which an estimate is called unbiased."""
SHARE = 0.2
"""Largest share of one replicate in the variance with which a mean is judged."""

UNSEEN = 700.0
"""A coordinate that never varied is called biased where nothing but an outcome of less than 7 / n in probability (it would have been
seen), and of more than a hundred times the gradient, could put it right."""


@dataclasses.dataclass(frozen=True)
class Judgement:
    """A verdict, with what it rests on.

    Attributes:
      verdict: over all coordinates, the worst.
      z: (mean - reference) / standard error, one vector for all coordinates.
      bias: mean - reference.
      error: its standard error.
      threshold: the |z| that counts, for all coordinates of all estimators together.
      worst: index of the coordinate that decided.
    """

    verdict: Verdict
    z: np.ndarray
    bias: np.ndarray
    error: np.ndarray
    threshold: float
    worst: int


def flat(tree: PyTree) -> np.ndarray:
    """All coordinates as one vector of float64."""
    return np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(tree)])


def judge_twice(moments: Any, again: Callable[[], Any], *args: Any, **options: Any) -> Judgement:
    """The judgement of replicates, where an alarm has to be raised twice: ``again`` makes those of other keys, if it comes to that."""
    found = judge(moments, *args, **options)
    if found.verdict is Verdict.BIASED and judge(again(), *args, **options).verdict is not Verdict.BIASED:
        return dataclasses.replace(found, verdict=Verdict.IMPRECISE)
    return found


def judge(
    moments: Any,
    reference: PyTree,
    reference_error: PyTree | None = None,
    *,
    tests: int = 1,
    false_alarm: float = 1e-3,
    rounding: float | None = None,
) -> Judgement:
    """Hold the mean of replicates against a reference.

    Args:
      moments: of the replicates.
      reference: what the mean should be, a pytree like it.
      reference_error: standard errors of the reference; None where it is exact.
      tests: how many estimators are judged together; the coordinates are counted here.
      false_alarm: probability that any of them is called biased without being so.
      rounding: distance, relative to the largest entry, that is laid to rounding; None is 64 times the float's epsilon.
    """
    from scipy.special import stdtrit  # takes long to import

    n = float(moments.count)
    mean, variance, skew, share = map(flat, (moments.mean, moments.variance, moments.skewness, moments.largest_share))
    kurtosis = flat(moments.kurtosis)
    truth = flat(reference)
    other = np.zeros_like(truth) if reference_error is None else flat(reference_error)
    epsilon = np.finfo(np.asarray(jax.tree.leaves(moments.mean)[0]).dtype).eps
    scale = max(float(np.max(np.abs(truth), initial=0)), float(np.max(np.abs(mean), initial=0)))
    std = float(np.sqrt(np.max(variance, initial=0)))
    floor = (64 * epsilon if rounding is None else rounding) * max(scale, std)

    bias = mean - truth
    error = np.sqrt(variance / n + other**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(np.abs(bias) <= floor, 0.0, bias / error)
        g = skew / np.sqrt(n) * np.where(error > 0, np.sqrt(variance / n) / error, 0) ** 3
    t = np.clip(z, -1e6, 1e6)
    hall = np.where(error > 0, t + g * t**2 / 3 + g**2 * t**3 / 27 + g / 6, t)
    level = false_alarm / (2 * max(1, tests) * max(1, mean.size))
    threshold = -float(stdtrit(n - 1, level))

    bad = np.any(flat(moments.nonfinite) > 0) or not np.all(np.isfinite(mean))
    beyond = (np.abs(hall) > threshold) & (np.abs(z) > threshold)
    # What never varied may have an outcome that was never seen; to make up for the bias it would have to be this large.
    trusted = np.where(variance > 0, (share < SHARE) & (kurtosis < n / 20), np.abs(bias) > UNSEEN * scale / n)
    if bad:
        verdict, worst = Verdict.NOT_FINITE, int(np.argmax(flat(moments.nonfinite) + ~np.isfinite(mean)))
    elif np.any(beyond & trusted):
        verdict, worst = Verdict.BIASED, int(np.argmax(np.where(beyond & trusted, np.abs(z), -1)))
    elif np.any(~trusted & (variance > 0) & (np.abs(bias) + 3 * error > PRECISION * scale)):
        verdict, worst = Verdict.HEAVY_TAILED, int(np.argmax(np.where(~trusted, share, -1)))
    elif np.any(beyond) or float(np.max(error, initial=0)) > PRECISION * max(
        float(np.max(np.abs(truth), initial=0)), floor
    ):
        verdict, worst = Verdict.IMPRECISE, int(np.argmax(error))
    else:
        verdict, worst = Verdict.UNBIASED, int(np.argmax(np.abs(z), axis=0)) if z.size else 0
    return Judgement(verdict, z, bias, error, threshold, worst)
