"""``sf.plan``: a pilot is asked for, and imported, here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jax_scorefn import _checks
from jax_scorefn.programs.lanes._options import Coupled
from jax_scorefn.programs.plans._plan import Plan

TOO_FEW_RUNS = "plan wants num_runs={runs} to be a multiple of num_samples={samples}, and at least two of them."


def plan(
    program: Callable[..., Any],
    *,
    num_runs: int = 256,
    num_samples: int | None = None,
    argnums: int | Sequence[int] = 0,
    baseline: Any = "auto",
    coupled: Coupled | None = None,
    has_aux: bool = False,
) -> Callable[..., Plan]:
    """Choose an estimator for each choice of a program, by measurement.

    ``sf.plan(program)(params, key)`` runs the program with all estimators that each choice may have at once, reads the variance of
    every combination off the covariance of their terms, times the best of them and those with one estimator throughout, and
    returns the one with the least variance times time. The draws are the pilot's own: estimates that use the plan stay unbiased.

    Chosen for are the choices that have a ``name`` and no ``estimator``, or ``estimator="auto"``; others stay as they are. A choice
    that is drawn again and again under one name has one estimator. "pathwise" is tried where nothing between the draw and a cost
    has a derivative of 0, "exact" for at most 16 values at the top of the program.

    Args:
      program: as for :func:`expectation`.
      num_runs: runs of the pilot.
      num_samples: runs of one estimate that is planned for, out of which a baseline comes; None is ``num_runs``.
      argnums: the arguments whose gradient counts, as in ``jax.grad``. Their variances are added up.
      baseline: as for :func:`expectation`.
      coupled: as for :func:`expectation`.
      has_aux: as for :func:`expectation`.

    Returns:
      A function with the program's signature that returns a :class:`programs.Plan`, to be passed on as ``plan=``. It is no part of a
      program under ``jit``: it measures times. Called again it compiles nothing.

    Raises:
      ValueError: for a program without a choice to plan, and bad options.

    Bias: none. Cost: a run of all estimators for each of ``num_runs``, twice, and the compilation of some six gradients, which takes
    tens of seconds.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> def walk(p, key):  # up with a probability that falls with the height
      ...     def step(x, k):
      ...         up = sf.sample(k, sf.Bernoulli(probs=jnp.exp(-x / p)), name="up")
      ...         return x + 2 * up - 1, None
      ...     return jax.lax.scan(step, 0.0, jax.random.split(key, 30))[0] ** 2
      >>> plan = sf.plan(walk)(60.0, jax.random.key(0))
      >>> plan["up"]
      'coupled'
      >>> gradient = jax.jit(jax.grad(sf.expectation(walk, num_samples=100, plan=plan)))

    References: arya2022, parmas2018.
    """
    from jax_scorefn.programs.plans._pilot import Pilot  # who makes no plan does not wait for it

    _checks.flags(has_aux=has_aux)
    num_runs = _checks.positive_int("num_runs", num_runs, 1)
    num_samples = num_runs if num_samples is None else _checks.positive_int("num_samples", num_samples)
    if num_runs % num_samples or num_runs < 2:
        raise ValueError(TOO_FEW_RUNS.format(runs=num_runs, samples=num_samples))
    return Pilot(program, num_runs, num_samples, argnums, baseline, coupled or Coupled(), has_aux)
