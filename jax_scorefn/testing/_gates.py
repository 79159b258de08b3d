"""Gates: statements about an estimator that a run either supports or refutes.

A gate takes replicated estimates (independent runs on the leading axis). It fails where the mean is further from the truth
than its standard error allows, and it fails too where the standard error is too large for the comparison to mean anything: a
gate that cannot fail proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks
from jax_scorefn._trees import real_parts
from jax_scorefn.typing import Key, PyTree

BIASED = (
    "{name} is biased: at {where} the mean of {count} estimates is {mean:.6g} +- {error:.2g}, the exact value is {exact:.6g}, "
    "{z:.1f} standard errors away (allowed: {sigmas})."
)
IMPRECISE = (
    "{name} cannot be judged: at {where} the standard error is {error:.3g}, above {wanted:.3g} ({precision:g} of the "
    "scale {scale:.3g} of the exact value). Use more replicates or more draws."
)
WRONG_VARIANCE = (
    "{name} has the wrong variance: at {where} it is {variance:.6g} +- {error:.2g} over {count} estimates; {exact:.6g} was "
    "expected, {z:.1f} standard errors away (allowed: {sigmas})."
)
NOT_FINITE = "{name} gave {bad} non-finite numbers out of {total} at {where}."


def replicate(estimate: Callable[[Key], PyTree], key: Key, count: int, *, batch: int = 1000) -> PyTree:
    """``count`` independent runs of ``estimate(key)`` as numpy arrays, stacked on a leading axis; jitted, ``batch`` at a time.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> normal = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))
      >>> runs = sf.testing.replicate(
      ...     lambda key: sf.score_function_grad(lambda x: x, normal, 0.0, key), jax.random.key(0), 2000)
      >>> z = sf.testing.assert_unbiased(runs, 1.0, precision=0.02)
    """
    run = jax.jit(jax.vmap(estimate))
    keys = jax.random.split(key, count)
    parts = [jax.device_get(run(keys[i : i + batch])) for i in range(0, count, batch)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def assert_unbiased(
    estimates: PyTree,
    exact: PyTree,
    *,
    precision: float,
    sigmas: float = 5.0,
    rounding: float | None = None,
    name: str = "the estimator",
) -> PyTree:
    """Raise ``AssertionError`` unless the mean of the estimates is within ``sigmas`` standard errors of ``exact``.

    Args:
      estimates: pytree of arrays with independent replicates on the leading axis. Complex ones are judged by their parts.
      exact: pytree of the same structure without that axis.
      precision: largest standard error that counts, as a share of the largest |exact| of the leaf (or of 1, where that is 0).
      sigmas: allowed distance in standard errors.
      rounding: allowed distance in any case, relative to the largest |exact| or |estimate|; None is 64 times the float's
        epsilon.
      name: what is examined, for the message.

    Returns:
      The z-scores, a pytree like ``exact``.
    """

    def one(path: Any, runs: Any, truth: Any) -> np.ndarray:
        where = jax.tree_util.keystr(path) or "the estimate"
        runs, truth = real_parts(np.asarray(runs)), real_parts(np.asarray(truth))
        runs_, truth_ = _finite(name, where, runs), np.asarray(truth, np.float64)
        count = runs_.shape[0]
        mean, error = runs_.mean(axis=0), runs_.std(axis=0, ddof=1) / np.sqrt(count)
        scale = float(np.max(np.abs(truth_), initial=0)) or 1.0
        eps = float(jnp.finfo(np.asarray(runs).dtype).eps) * 64 if rounding is None else rounding
        floor = eps * max(scale, float(np.max(np.abs(runs_), initial=0)))
        worst = float(np.max(error, initial=0))
        if worst > precision * scale:
            raise AssertionError(
                IMPRECISE.format(
                    name=name, where=where, error=worst, wanted=precision * scale, precision=precision, scale=scale
                )
            )
        distance = np.abs(mean - truth_)
        z = (mean - truth_) / np.maximum(error, np.finfo(np.float64).tiny)
        bad = distance > sigmas * error + floor
        if np.any(bad):
            index = np.unravel_index(np.argmax(np.where(bad, distance / (sigmas * error + floor), 0)), bad.shape)
            spot = where if bad.ndim == 0 else f"{where}{[int(i) for i in index]}"
            raise AssertionError(
                BIASED.format(
                    name=name, where=spot, count=count, mean=mean[index], error=error[index],
                    exact=np.broadcast_to(truth_, mean.shape)[index], z=float(z[index]), sigmas=sigmas,
                )
            )  # fmt: skip
        return z

    return jax.tree_util.tree_map_with_path(one, estimates, exact)


def assert_variance(
    estimates: PyTree, exact: PyTree, *, precision: float, sigmas: float = 5.0, rounding: float = 1e-9,
    name: str = "the estimator",
) -> PyTree:  # fmt: skip
    """Raise ``AssertionError`` unless the variance of the estimates is within ``sigmas`` standard errors of ``exact``.

    The standard error of a variance comes from the fourth moment. Arguments as for :func:`assert_unbiased`; ``rounding`` is
    absolute. Returns the measured variances.
    """

    def one(path: Any, runs: Any, truth: Any) -> np.ndarray:
        where = jax.tree_util.keystr(path) or "the estimate"
        runs, truth = real_parts(np.asarray(runs)), real_parts(np.asarray(truth))
        runs_, truth_ = _finite(name, where, runs), np.asarray(truth, np.float64)
        count = runs_.shape[0]
        squares = (runs_ - runs_.mean(axis=0)) ** 2
        variance, error = squares.sum(axis=0) / (count - 1), squares.std(axis=0, ddof=1) / np.sqrt(count)
        scale = float(np.max(np.abs(truth_), initial=0)) or 1.0
        if float(np.max(error, initial=0)) > precision * scale:
            raise AssertionError(
                IMPRECISE.format(
                    name=name, where=where, error=float(np.max(error)), wanted=precision * scale, precision=precision,
                    scale=scale,
                )
            )  # fmt: skip
        bad = np.abs(variance - truth_) > sigmas * error + rounding
        if np.any(bad):
            i = np.unravel_index(np.argmax(bad), bad.shape)
            exact_ = np.broadcast_to(truth_, variance.shape)[i]
            raise AssertionError(
                WRONG_VARIANCE.format(
                    name=name, where=where, variance=variance[i], error=error[i], count=count, exact=exact_,
                    z=float((variance[i] - exact_) / max(float(error[i]), 1e-300)), sigmas=sigmas,
                )
            )  # fmt: skip
        return variance

    return jax.tree_util.tree_map_with_path(one, estimates, exact)


def _finite(name: str, where: str, runs: Any) -> np.ndarray:
    runs = np.asarray(runs, np.float64)
    if runs.ndim == 0 or runs.shape[0] < 2:
        raise ValueError(f"Estimates need at least two replicates on their leading axis; got {_checks.describe(runs)}.")
    bad = int(np.sum(~np.isfinite(runs)))
    if bad:
        raise AssertionError(NOT_FINITE.format(name=name, bad=bad, total=runs.size, where=where))
    return runs
