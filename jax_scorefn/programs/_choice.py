"""A random choice inside ordinary JAX code: ``sample(key, dist)`` is the draw, and remembers its log-probability.

    choice(log_probs, *draw) = draw          a primitive; on its own it is the identity on the draw

The primitive keeps the two together in the traced program, where ``expectation`` finds them. The log-probabilities have one number
for each independent part of the draw, and their axes are the first axes of the draw: under ``vmap`` and for a law of independent
coordinates each element is a choice of its own. Differentiated on its own a choice would give 0 without a word, so it raises.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jax_scorefn import _checks
from jax_scorefn.distributions import Distribution, Joint, as_law
from jax_scorefn.typing import Capability, Key, PyTree

ESTIMATORS = ("score", "pathwise", "enumerate")
MAX_BRANCHES = 4096
"""The most combinations of enumerated values that one program may have."""

DIFFERENTIATED = (
    "The choice {name} was differentiated in the parameters of its law outside of sf.expectation; along the draw that is 0 without "
    "a word. Wrap the program: jax.grad(sf.expectation(program))(params, key). Or, if this derivative is not wanted, stop the "
    "parameters that go into the law with jax.lax.stop_gradient."
)
UNKNOWN_ESTIMATOR = "sample has no estimator {given!r}; its estimators: {known}."
NOT_PATHWISE = "estimator='pathwise' needs reparameterized draws; {law} has {given}. Use estimator='score'."
NOT_ENUMERABLE = "estimator='enumerate' needs a finite support; {law} has {given}. Use estimator='score'."
ENDLESS = (
    "estimator='enumerate' runs the program once for each value of {law}, and there is no end to them: pass max_value=, the largest "
    "that counts (what is above is left out, which is a bias of that probability), or use estimator='score'."
)
NOT_LISTED = (
    "estimator='enumerate' lists the values of {law}, at most {limit} of them, which no option of sample raises, and could not. "
    "Use estimator='score'. What was said: {reason}"
)
ONLY_ENUMERATED = (
    "max_value= is the largest value that estimator='enumerate' counts; it was given with estimator={given!r}."
)

choice_p = Primitive("scorefn_choice")
choice_p.multiple_results = True


def sample(
    key: Key, dist: Any, *, estimator: str = "score", name: str | None = None, max_value: int | None = None
) -> PyTree:
    """A random choice: one draw of ``dist``, in a program that :func:`expectation` can differentiate.

    On its own, under ``jit``, ``vmap``, ``scan`` and ``cond``, it is ``dist.sample(key)``. Inside :func:`expectation` it is scored
    with the costs that depend on it. A law of independent coordinates, or one choice under ``vmap``, is that many choices.

    Args:
      key: one JAX key, used for nothing else.
      dist: a law of :mod:`jax_scorefn.distributions`, or an object of distrax, TFP-on-JAX or NumPyro.
      estimator: how its derivative is estimated: "score" (the log-derivative trick, any law), "pathwise" (through the draw,
        for reparameterized laws and costs without jumps), or "enumerate" (the rest of the program runs once for each value of a
        finite support, and the results are added up with their probabilities).
      name: what :func:`explain` and errors call it; None is the name of the law.
      max_value: for "enumerate" and a law on all whole numbers (Poisson, NegativeBinomial, Geometric), the largest value that
        counts, a Python int.

    Returns:
      The draw.

    Raises:
      TypeError: for a law that lacks what the estimator needs; and, outside of ``expectation``, when a choice by score or enumeration
        is differentiated in the parameters of its law.
      ValueError: for an unknown estimator, a support of more than 4096 values or without an end, and a ``max_value`` for another
        estimator than "enumerate".

    Bias: none; with ``max_value`` that of leaving out what is above it. Orders of derivative: every one for "score" and "enumerate";
    for "pathwise" see :func:`pathwise`. Cost: one draw and its log-probability; for "enumerate" as many runs of the rest of the
    program as there are values.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> def program(logit, key):
      ...     bit = sf.sample(key, sf.Bernoulli(logits=logit))
      ...     return 1.0 + 2.0 * bit
      >>> grads = jax.vmap(jax.grad(sf.expectation(program)), (None, 0))(1.0, jax.random.split(jax.random.key(0), 4000))
      >>> print(f"{grads.mean():.2f} +- {grads.std() / 4000**0.5:.2f}  (exact 0.39)")
      0.41 +- 0.01  (exact 0.39)

    References: schulman2015, foerster2018.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(UNKNOWN_ESTIMATOR.format(given=estimator, known=", ".join(ESTIMATORS)))
    if max_value is not None and estimator != "enumerate":
        raise ValueError(ONLY_ENUMERATED.format(given=estimator))
    _checks.key("sample", key)
    law = as_law(dist)
    if estimator == "pathwise":
        if Capability.REPARAMETERIZED not in law.capabilities:
            raise TypeError(NOT_PATHWISE.format(law=law.name, given=_checks.name_of(law.capabilities)))
        return law.sample(key)
    if estimator == "enumerate":
        return _enumerated(key, law, name or law.name, max_value)
    return _scored(key, law, name or law.name)


def _scored(key: Key, law: Distribution, name: str) -> PyTree:
    if isinstance(law, Joint):  # its parts are choices of their own
        parts, treedef = law._laws()
        keys = jax.random.split(key, len(parts))
        names = [f"{name}[{j}]" for j in range(len(parts))]
        return treedef.unflatten([_scored(keys[j], part, names[j]) for j, part in enumerate(parts)])
    x, log_probs = law.sample_and_log_probs(key)
    leaves, treedef = jax.tree.flatten(jax.lax.stop_gradient(x))
    return treedef.unflatten(choice_p.bind(log_probs, *leaves, kind="score", name=name, law=law.name, size=len(leaves)))


def _enumerated(key: Key, law: Distribution, name: str, max_value: int | None) -> PyTree:
    if Capability.SUPPORT not in law.capabilities:
        raise TypeError(NOT_ENUMERABLE.format(law=law.name, given=_checks.name_of(law.capabilities)))
    if max_value is not None:
        max_value = _checks.positive_int("max_value", max_value)
    elif Capability.FINITE not in law.capabilities:
        raise ValueError(ENDLESS.format(law=law.name))
    try:
        grid = law.grid(max_points=MAX_BRANCHES, max_value=max_value)
    except ValueError as error:
        raise ValueError(NOT_LISTED.format(law=law.name, limit=MAX_BRANCHES, reason=error)) from error
    x, log_prob = law.sample_and_log_prob(key)
    leaves, treedef = jax.tree.flatten(jax.lax.stop_gradient(x))
    points = [jnp.asarray(point, leaf.dtype) for point, leaf in zip(jax.tree.leaves(grid.points), leaves, strict=True)]
    how = {"kind": "enumerate", "name": name, "law": law.name, "size": len(leaves)}
    return treedef.unflatten(choice_p.bind(log_prob, grid.weights, *leaves, *points, **how))


def draw_of(operands: Any, kind: str, size: int) -> Any:
    """The operands that are the draw."""
    start = 1 if kind == "score" else 2
    return operands[start : start + size]


def _identity(*operands: Any, kind: str, size: int, **_: Any) -> list[Any]:
    return list(draw_of(operands, kind, size))


def _jvp(primals: Any, tangents: Any, *, name: str, kind: str, size: int, **params: Any) -> Any:
    moving = tangents[:1] if kind == "score" else tangents[:2]
    if any(type(tangent) is not ad.Zero for tangent in moving):
        raise TypeError(DIFFERENTIATED.format(name=name))
    out = choice_p.bind(*primals, name=name, kind=kind, size=size, **params)
    return out, [ad.Zero(jax.typeof(x).to_tangent_aval()) for x in out]


def _batch(operands: Any, dims: Any, **params: Any) -> Any:
    batch = next(x.shape[d] for x, d in zip(operands, dims, strict=True) if d is not None)
    moved = [batching.bdim_at_front(x, d, batch) for x, d in zip(operands, dims, strict=True)]
    out = choice_p.bind(*moved, **params)
    return out, [0] * len(out)


choice_p.def_impl(_identity)
choice_p.def_abstract_eval(_identity)
mlir.register_lowering(choice_p, mlir.lower_fun(_identity, multiple_results=True))
ad.primitive_jvps[choice_p] = _jvp
batching.primitive_batchers[choice_p] = _batch
