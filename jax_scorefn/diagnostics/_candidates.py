"""Which estimators an audit measures, in which order, and why it does not measure the others.

The default comes first, then those that are likely to be better, then the rest, and those that declare a bias last: an audit that runs
out of time has compared what matters.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from jax_scorefn import _checks
from jax_scorefn.distributions import Distribution, Family
from jax_scorefn.estimators import ESTIMATORS, Record
from jax_scorefn.typing import Bias, Key, Params

UNKNOWN = "audit knows no estimator {name!r}; the registry has {known}. Others are passed as a mapping from labels to functions."
BLACK_BOX = "differentiates f, and f is a black box"
A_BOUND = "estimates a bound, E[f - log q], and this is an audit of E[f]: f is not the same function for both"
DEFAULT, PLAIN = "score_function", "score_function, no baseline"
LIKELY = (
    DEFAULT,
    "pathwise",
    "disarm",
    "disarm_categorical",
    "unordered_set",
    "measure_valued",
    "rao_blackwell",
    "sum_and_sample",
)


def candidates(
    estimators: Any, dist: Distribution, black_box: bool
) -> tuple[dict[str, Callable[..., Any]], dict[str, str]]:
    """What is measured, and what is not with the reason."""
    chosen: dict[str, Callable[..., Any]] = {}
    missing: dict[str, str] = {}
    for label, function in _asked(estimators).items():
        record = record_of(function)
        reason = None if record is None else _reason(record, function, dist, black_box, isinstance(estimators, Mapping))
        if reason is None:
            chosen[label] = function
        else:
            missing[label] = reason
    missing.pop(PLAIN, None)
    return chosen, missing


def _asked(estimators: Any) -> dict[str, Callable[..., Any]]:
    if isinstance(estimators, Mapping):
        return dict(estimators)
    if isinstance(estimators, str):
        estimators = [estimators]
    if estimators is not None:
        for name in estimators:
            if name not in ESTIMATORS:
                raise ValueError(UNKNOWN.format(name=name, known=", ".join(ESTIMATORS)))
        return {name: ESTIMATORS[name].function for name in sorted(estimators, key=lambda name: name != DEFAULT)}
    every = [name for name, record in ESTIMATORS.items() if record.estimates == "E[f]" and name != "exact"]
    every.sort(key=lambda name: LIKELY.index(name) if name in LIKELY else len(LIKELY))
    every.sort(key=lambda name: ESTIMATORS[name].bias is Bias.BIASED)
    unbiased = {name: ESTIMATORS[name].function for name in every if ESTIMATORS[name].bias is not Bias.BIASED}
    return {**unbiased, PLAIN: _plain, **{name: ESTIMATORS[name].function for name in every}}


def _reason(record: Record, function: Any, dist: Distribution, black_box: bool, given: bool) -> str | None:
    """Why an estimator is not measured; None if it is. What was given by hand is tried, unless it estimates something else."""
    if record.estimates != "E[f]":
        return A_BOUND
    if given:
        return None
    if lacks := record.missing(dist):
        wanted = [_checks.name_of(need).replace(", ", " or ") for need in lacks]
        return "needs a distribution that has " + " and ".join(wanted)
    parameters = inspect.signature(function).parameters.values()
    if required := [
        p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty and p.name != "num_samples"
    ]:
        return f"needs {', '.join(f'{option}=' for option in required)} of yours: pass it in a mapping"
    return BLACK_BOX if black_box and record.differentiates_f else None


def _plain(f: Any, logp: Family, params: Params, key: Key, *, num_samples: int) -> Any:
    return ESTIMATORS[DEFAULT].function(f, logp, params, key, num_samples=num_samples, baseline=None)


def record_of(function: Any) -> Record | None:
    """The record of an estimator, also where options are bound to it; None for a function of one's own."""
    inner = getattr(function, "func", function)
    if inner is _plain:
        return ESTIMATORS[DEFAULT]
    return next((record for record in ESTIMATORS.values() if record.function is inner), None)


def is_default(function: Any) -> bool:
    """Whether it is the score function as it comes."""
    return function is ESTIMATORS[DEFAULT].function
