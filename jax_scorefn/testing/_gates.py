"""Gates: statements about an estimator that a run either supports or refutes.

A gate takes replicated estimates (independent runs on the leading axis). It fails where the mean is further from the truth
than its standard error allows, and it fails too where the standard error is too large for the comparison to mean anything: a
gate that cannot fail proves nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks
from jax_scorefn._trees import real_parts
from jax_scorefn.typing import Key, PyTree

TOO_FEW_RUNS = "Estimates need at least two replicates on their leading axis; got {given}."

BIASED = (
    "{name} is biased: at {where} the mean of {count} estimates is {found:.6g} +- {error:.2g}, the exact value is {exact:.6g}, "
    "{z:.1f} standard errors away (allowed: {sigmas})."
)
IMPRECISE = (
    "{name} cannot be judged: at {where} the standard error is {error:.3g}, above {wanted:.3g} ({precision:g} of the "
    "scale {scale:.3g} of the exact value). Use more replicates or more draws."
)
WRONG_VARIANCE = (
    "{name} has the wrong variance: at {where} it is {found:.6g} +- {error:.2g} over {count} estimates; {exact:.6g} was "
    "expected, {z:.1f} standard errors away (allowed: {sigmas})."
)
NOT_FINITE = "{name} gave {bad} non-finite numbers out of {total} at {where}."


def replicate(estimate: Callable[[Key], PyTree], key: Key, count: int, *, batch: int = 1000) -> PyTree:
    """``count`` independent runs of ``estimate(key)`` as numpy arrays, stacked on a leading axis; jitted, ``batch`` at a time.

    Args:
      estimate: function of a key that returns a pytree of arrays.
      key: one key, which is split.
      count: how many runs.
      batch: how many at a time: they are mapped with ``vmap``, so so many are in memory together.

    Returns:
      A pytree like that of ``estimate``, of numpy arrays ``(count, ...)``.

    Cost: one compilation, and a second one where ``batch`` does not divide ``count``.

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

    Raises:
      AssertionError: for a mean that is too far off, for one that is too uncertain to be judged, and for estimates that are not
        finite.
      ValueError: for fewer than two replicates.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> coin = sf.family(lambda logit: sf.Bernoulli(logits=logit))
      >>> def mine(key):  # the score function by hand, of one draw
      ...     x = coin.at(0.0).sample(key)
      ...     return x * jax.grad(coin)(0.0, x)
      >>> runs = sf.testing.replicate(mine, jax.random.key(0), 10_000)
      >>> z = sf.testing.assert_unbiased(runs, sf.exact_grad(lambda x: x, coin, 0.0), precision=0.05)
      >>> try:
      ...     sf.testing.assert_unbiased(2 * runs, 0.25, precision=0.05)
      ... except AssertionError as error:
      ...     print(str(error)[:26])
      the estimator is biased: a
    """

    def measure(runs: np.ndarray, dtype: Any, scale: float) -> Any:
        floor = 64 * float(jnp.finfo(dtype).eps) if rounding is None else rounding
        return runs.mean(axis=0), _error(runs), floor * max(scale, float(np.max(np.abs(runs), initial=0)))

    gate = functools.partial(_gate, measure, BIASED, precision=precision, sigmas=sigmas, name=name)
    return jax.tree_util.tree_map_with_path(lambda *leaf: gate(*leaf)[1], estimates, exact)


def assert_variance(
    estimates: PyTree, exact: PyTree, *, precision: float, sigmas: float = 5.0, rounding: float = 1e-9,
    name: str = "the estimator",
) -> PyTree:  # fmt: skip
    """Raise ``AssertionError`` unless the variance of the estimates is within ``sigmas`` standard errors of ``exact``.

    The standard error of a variance comes from the fourth moment. Arguments and errors are those of :func:`assert_unbiased`;
    ``rounding`` is absolute. Returns the measured variances, a pytree like ``exact``.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> normal = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))
      >>> mean_of_four = lambda key: sf.score_function(lambda x: x, normal, 0.0, key, num_samples=4)
      >>> runs = sf.testing.replicate(mean_of_four, jax.random.key(0), 20_000)
      >>> print(f"{sf.testing.assert_variance(runs, 0.25, precision=0.02):.2f}")
      0.25
    """

    def measure(runs: np.ndarray, dtype: Any, scale: float) -> Any:
        squares = (runs - runs.mean(axis=0)) ** 2
        return squares.sum(axis=0) / (len(runs) - 1), _error(squares), rounding

    gate = functools.partial(_gate, measure, WRONG_VARIANCE, precision=precision, sigmas=sigmas, name=name)
    return jax.tree_util.tree_map_with_path(lambda *leaf: gate(*leaf)[0], estimates, exact)


def _error(runs: np.ndarray) -> np.ndarray:
    """Standard error of the mean."""
    return runs.std(axis=0, ddof=1) / np.sqrt(len(runs))


def _gate(
    measure: Any, message: str, path: Any, runs: Any, truth: Any, *, precision: float, sigmas: float, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """What was measured in a leaf, and its z-scores; an error where that is too uncertain to be judged, or too far from the truth.

    ``measure(runs, dtype, scale)`` returns a number for each coordinate, its standard error, and what is laid to rounding.
    """
    where = jax.tree_util.keystr(path) or "the estimate"
    runs, truth = real_parts(np.asarray(runs)), np.asarray(real_parts(np.asarray(truth)), np.float64)
    scale = float(np.max(np.abs(truth), initial=0)) or 1.0
    found, error, rounding = measure(_finite(name, where, runs), runs.dtype, scale)
    about = {"name": name, "count": len(runs), "precision": precision, "scale": scale, "sigmas": sigmas}
    worst = float(np.max(error, initial=0))
    if worst > precision * scale:
        raise AssertionError(IMPRECISE.format(where=where, error=worst, wanted=precision * scale, **about))
    distance, allowed = np.abs(found - truth), sigmas * error + rounding
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # where nothing varies
        z, excess = (found - truth) / np.maximum(error, np.finfo(np.float64).tiny), distance / allowed
    bad = distance > allowed
    if np.any(bad):
        at = np.unravel_index(np.argmax(np.where(bad, excess, 0)), bad.shape)
        where = f"{where}{[int(i) for i in at]}" if at else where
        truth = np.broadcast_to(truth, found.shape)
        raise AssertionError(
            message.format(where=where, found=found[at], error=error[at], exact=truth[at], z=z[at], **about)
        )
    return found, z


def _finite(name: str, where: str, runs: Any) -> np.ndarray:
    runs = np.asarray(runs, np.float64)
    if runs.ndim == 0 or runs.shape[0] < 2:
        raise ValueError(TOO_FEW_RUNS.format(given=_checks.describe(runs)))
    bad = int(np.sum(~np.isfinite(runs)))
    if bad:
        raise AssertionError(NOT_FINITE.format(name=name, bad=bad, total=runs.size, where=where))
    return runs
