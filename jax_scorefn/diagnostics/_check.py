"""The exam for a gradient estimate of one's own: any function of the parameters and a key."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jax_scorefn import _checks
from jax_scorefn.diagnostics._moments import Moments, gradient_moments
from jax_scorefn.diagnostics._reference import floats
from jax_scorefn.diagnostics._verdict import Judgement, Verdict, judge_twice
from jax_scorefn.typing import Key, Params, PyTree


@dataclasses.dataclass(frozen=True)
class BiasCheck:
    """What :func:`check_unbiased` found.

    Attributes:
      verdict: a :class:`Verdict`.
      z: (mean - reference) / standard error for each coordinate, a pytree like the gradient.
      mean: the mean of the replicates.
      standard_error: its standard error.
      reference: what it was held against.
      threshold: the |z| that counts.
      moments: of the replicates.
      message: the finding in a sentence.
    """

    verdict: Verdict
    z: PyTree
    mean: PyTree
    standard_error: PyTree
    reference: PyTree
    threshold: float
    moments: Moments
    message: str

    def __bool__(self) -> bool:
        """Whether it passed: no bias, with an error small enough to have seen one."""
        return self.verdict is Verdict.UNBIASED


def check_unbiased(
    grad_fn: Callable[[Params, Key], PyTree],
    reference: PyTree | Callable[[Params], PyTree],
    params: Params,
    key: Key,
    *,
    num_replicates: int = 2000,
    chunk_size: int = 500,
    false_alarm: float = 1e-3,
    reference_error: PyTree | None = None,
) -> BiasCheck:
    """Whether ``grad_fn(params, key)`` is an unbiased estimate of the reference, by measurement.

    An alarm is raised only if it is raised twice, by replicates of other keys: so an unbiased estimate is called biased less than
    once in a thousand checks, whatever its distribution; see :class:`Verdict` for what else may be said.

    Args:
      grad_fn: ``(params, key) -> grads``, any gradient estimate: a hand-written one, another library's.
      reference: the exact gradient, a pytree like ``grads``, or a function of the parameters that returns it (``jax.grad`` of an
        oracle of ``sf.testing``; ``sf.exact_grad``).
      params: where it is examined.
      key: split into one key for each replicate.
      num_replicates: independent calls.
      chunk_size: calls under one vmap.
      false_alarm: probability of calling an unbiased estimate biased, over all coordinates.
      reference_error: standard errors of the reference, where it was sampled; None for an exact one.

    Returns:
      A :class:`BiasCheck`, which is true if the estimate passed.

    Raises:
      TypeError: for a bad key.
      ValueError: for fewer than two replicates.

    Cost: ``num_replicates`` calls, as many again after an alarm, and one compilation.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> coin = sf.family(lambda logit: sf.Bernoulli(logits=logit))
      >>> f = lambda x: 1.0 + 2.0 * x
      >>> def mine(logit, key):   # the mean over all draws as a baseline: too small by 1 - 1/S
      ...     return sf.score_function_grad(f, coin, logit, key, num_samples=2, baseline=lambda v: jnp.mean(v, keepdims=True))
      >>> found = sf.diagnostics.check_unbiased(mine, lambda logit: sf.exact_grad(f, coin, logit), 1.0, jax.random.key(0))
      >>> print(found.verdict, f"{found.mean:.2f}", f"{found.reference:.2f}")
      biased 0.21 0.39
    """
    _checks.key("check_unbiased", key)
    truth = floats(reference(params) if callable(reference) else reference)
    run = jax.jit(lambda k: gradient_moments(grad_fn, params, k, num_replicates=num_replicates, chunk_size=chunk_size))
    first, second = jax.random.split(key)
    moments = jax.device_get(run(first))
    again = lambda: jax.device_get(run(second))
    found = judge_twice(moments, again, truth, reference_error, false_alarm=false_alarm)
    mean, restore = ravel_pytree(moments.mean)
    z, error = (restore(jnp.asarray(x, mean.dtype)) for x in (found.z, found.error))
    return BiasCheck(found.verdict, z, moments.mean, error, truth, found.threshold, moments, say(found))


def say(found: Judgement, name: str = "The estimate") -> str:
    """A judgement as a sentence."""
    where, i = f"coordinate {found.worst}", found.worst
    z = f"{found.bias[i]:.3g} +- {found.error[i]:.2g} off at {where} ({found.z[i]:.1f} standard errors; {found.threshold:.1f} count)"
    return {
        Verdict.UNBIASED: f"{name} is unbiased as far as can be seen: at most {z}.",
        Verdict.BIASED: f"{name} is biased: {z}.",
        Verdict.IMPRECISE: f"{name} is too noisy to judge: {z}. Use more replicates or more draws.",
        Verdict.HEAVY_TAILED: f"{name} has tails too heavy to judge: few replicates make most of its variance, at {where}.",
        Verdict.NOT_FINITE: f"{name} is not finite in some replicates, at {where}.",
    }[found.verdict]
