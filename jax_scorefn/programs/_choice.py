"""A random choice inside ordinary JAX code: ``sample(key, dist)`` is the draw, and remembers its log-probability (see ``sites``)."""

from __future__ import annotations

from typing import Any

from jax_scorefn import _checks
from jax_scorefn.distributions import as_distribution
from jax_scorefn.programs.plans._context import estimator_of
from jax_scorefn.typing import Key, PyTree

ONLY_EXACT = "max_value= is the largest value that estimator='exact' counts; it was given with estimator={given!r}."


def sample(
    key: Key, dist: Any, *, estimator: str | None = None, name: str | None = None, max_value: int | None = None
) -> PyTree:
    """A random choice: one draw of ``dist``, in a program that :func:`expectation` can differentiate.

    On its own, under ``jit``, ``vmap``, ``scan`` and ``cond``, it is ``dist.sample(key)``. Inside :func:`expectation` it is scored
    with the costs that depend on it. A distribution of independent coordinates, or one choice under ``vmap``, is that many choices;
    so is a distribution of another library with a ``batch_shape``, whose log-probabilities have that shape.

    Args:
      key: one JAX key, used for nothing else.
      dist: a distribution of :mod:`jax_scorefn.distributions`, or an object of distrax, TFP-on-JAX or NumPyro. An object of one's own
        that says a ``batch_shape`` says that its elements are independent, and gives each a log-probability.
      estimator: how its derivative is estimated: "score_function" (the log-derivative trick, any distribution), "pathwise" (through
        the draw, for reparameterized distributions and costs without jumps), or "exact" (the rest of the program runs once for each
        value of a finite support, and the results are added up with their probabilities), "coupled" (the program runs again with
        another value in the place of each draw, all other randomness kept, for discrete distributions), or "measure_valued" (it runs
        again with two others for each parameter, for distributions with a weak derivative; see :func:`measure_valued`). "score" and
        "enumerate" are other names of the first and the third.
      name: what :func:`explain` and errors call it; None is the name of the distribution.
      max_value: for "exact" and a distribution on all whole numbers (Poisson, NegativeBinomial, Geometric), the largest value that
        counts, a Python int.

    Returns:
      The draw.

    Raises:
      TypeError: for a distribution that lacks what the estimator needs; and, outside of ``expectation``, when a choice by score or
        enumeration is differentiated in the parameters of its distribution.
      ValueError: for an unknown estimator, log-probabilities with a shape that is not the ``batch_shape``, a support of more than 4096
        values or without an end, and a ``max_value`` for another estimator than "exact".

    Bias: none; with ``max_value`` that of leaving out what is above it. Orders of derivative: every one for "score_function" and
    "exact"; the first for "coupled" and "measure_valued", of which the second raises; for "pathwise" see :func:`pathwise`.
    Cost: one draw and its log-probability; for "exact" as many runs of the rest of the program as there are values, for "coupled" one
    of the program for each choice of the site (each iteration of a scan, each element), for "measure_valued" two for each
    parameter of it; with fewer: :class:`programs.Coupled`.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> def program(logit, key):
      ...     bit = sf.sample(key, sf.Bernoulli(logits=logit))
      ...     return 1.0 + 2.0 * bit
      >>> grads = jax.vmap(jax.grad(sf.expectation(program)), (None, 0))(1.0, jax.random.split(jax.random.key(0), 4000))
      >>> print(f"{grads.mean():.2f} +- {grads.std() / 4000**0.5:.2f}  (exact 0.39)")
      0.41 +- 0.01  (exact 0.39)

    References: schulman2015, foerster2018, arya2022, mohamed2020.
    """
    _checks.key("sample", key)
    dist = as_distribution(dist, batches=True)
    site = estimator_of(estimator, name, dist)
    if max_value is not None and not site.takes_max_value:
        raise ValueError(ONLY_EXACT.format(given=site.name))
    return site.sample(key, dist, name or dist.name, max_value)
