"""Ends that move: which parameters the support of another library's distribution depends on, and why these must not be scored.

    d/dt int_a^b f p dx  =  E[f d log p / dt]  +  f(b) p(b) db/dt  -  f(a) p(a) da/dt

The score has the first term alone. So what an end depends on goes through a guard of order 0 on its way into the log-probability.

| distribution | declares its ends by |
|---|---|
| of NumPyro | ``support``: a constraint with bounds |
| of TFP on JAX | ``experimental_default_event_space_bijector()``: its values at -inf and inf |
| of distrax | the fields of the class |
| transformed | the ends of the distribution inside, sent through the transform |
| points with a mass of their own | the field that says where they are |
| made of distributions | each of these |

An end is a formula (``low + (high - low) * sigmoid(-inf)``, ``loc + scale * 0``), so what it depends on is found by asking twice: a
parameter moves an end if at two values of it the end is finite, and at two places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jax_scorefn._guards import guard
from jax_scorefn._surrogate import nan_where, scale_tangent
from jax_scorefn._trees import is_float
from jax_scorefn.distributions._base import is_distribution
from jax_scorefn.typing import Array, PyTree

MOVING_ENDS = (
    "A parameter that the support of {dist} depends on carries a derivative through the log-probability. As the ends move, the "
    "score function leaves a boundary term out. Use pathwise, or write the distribution with fixed ends and put the parameters "
    "into f."
)
NOT_ITS_OWN = (
    "The log_prob of {dist} is not that of its draws: what it masks or censors is drawn and not scored, and the gradient would lack "
    "it without a word. Take the distribution inside, and put the mask into f."
)

CORNERS = ("Laplace", "AsymmetricLaplace", "AsymmetricLaplaceQuantile")
"""Densities with a corner that moves: they have one derivative in it."""

_NOT_ITS_OWN = (
    "MaskedDistribution", "Masked", "LeftCensoredDistribution", "RightCensoredDistribution", "IntervalCensoredDistribution", "Unit",
)  # fmt: skip
_POINTS = {
    "Delta": ("v", "log_density"),
    "Empirical": ("samples",),
    "FiniteDiscrete": ("outcomes",),
    "Inflated": ("inflated_loc",),
}
_DISTRAX_ENDS = {
    "Uniform": ("low", "high"),
    "CategoricalUniform": ("_low", "_high"),
    "Gamma": (0.0, np.inf),
    "Beta": (0.0, 1.0),
    "Deterministic": ("loc",),
    "Clipped": ("minimum", "maximum"),
    "ClippedNormal": ("minimum", "maximum"),
    "ClippedLogistic": ("minimum", "maximum"),
}

_PARTS = (
    "components", "components_distribution", "component_distribution", "component_distributions", "component_a", "component_b",
    "distribution", "base_dist",
)  # fmt: skip
"""Where a mixture, or a batch in one draw, has what it is made of; with an underscore in front in distrax."""

_LIBRARIES = {"numpyro", "tensorflow_probability", "distrax"}

Formula = Callable[[Any], list[Any]]


def hold_ends(dist: Any, log_prob: Array) -> Array:
    """The log-probability of a draw, which raises when it is differentiated in what moves the ends of the distribution's support."""
    for part in parts_of(dist):
        refused = _libraries(part) and type(part).__name__ in _NOT_ITS_OWN
        if refused and getattr(part, "_mask", None) is not True:  # NumPyro's mask(True) is no mask
            raise TypeError(NOT_ITS_OWN.format(dist=name_of(part)))
        for leaf in guard(_moving(*_declared(part)), order=0, message=MOVING_ENDS.format(dist=name_of(part))):
            log_prob = nan_where(jnp.any(jnp.isnan(leaf)), log_prob)  # a use, so that nobody drops the guard
        if type(part).__name__ == "GeneralizedPareto" and _libraries(part):
            # it ends where its concentration is below 0, which a number alone can say
            ended = jnp.any(jnp.asarray(part.concentration) < 0)
            log_prob = scale_tangent(log_prob, jnp.where(ended, jnp.nan, 1).astype(log_prob.dtype))
    return log_prob


def has_corner(dist: Any) -> bool:
    """Whether it is, or is made of, one of those whose second derivatives lack what is in a corner."""
    return any(type(part).__name__ in CORNERS and _libraries(part) for part in parts_of(dist))


def name_of(dist: Any) -> str:
    """Library and class, for messages."""
    return f"{type(dist).__module__.split('.')[0]}.{type(dist).__name__}"


def _libraries(dist: Any) -> set[str]:
    return {base.__module__.split(".")[0] for base in type(dist).__mro__} & _LIBRARIES


def parts_of(dist: Any) -> Iterator[Any]:
    """A distribution, and the distributions that it is made of."""
    yield dist
    fields = jax.tree.leaves(list(vars(dist).values()), is_leaf=is_distribution) if _libraries(dist) else []
    for part in {id(field): field for field in fields if is_distribution(field)}.values():
        yield from parts_of(part)


def _moving(tree: PyTree, ends: Formula) -> list[Array]:
    """The traced leaves that the finite ends are functions of. (One that is not traced carries no derivative.)"""
    leaves, treedef = jax.tree.flatten(tree)
    leaves = [leaf + 0 if hasattr(leaf, "pretransformed_input") else leaf for leaf in leaves]  # what TFP deferred
    traced = [j for j, leaf in enumerate(leaves) if isinstance(leaf, Tracer) and is_float(leaf)]

    def places(moved: int) -> list[np.ndarray]:
        """The ends at made-up values of what is traced, in rising order, one of them a little higher."""
        values = [np.ones(leaf.shape, leaf.dtype) if isinstance(leaf, Tracer) else leaf for leaf in leaves]
        for j in traced:
            values[j] = np.full(leaves[j].shape, 0.5 + j / 8 + (j == moved) / 16, leaves[j].dtype)
        with jax.ensure_compile_time_eval():
            try:
                made_up = treedef.unflatten(values)
            except Exception:  # theirs is not made to be rebuilt, as TFP's wrapper of a batch: its parts declare theirs
                return []
            return [np.asarray(end) for end in ends(made_up)]

    here = places(-1) if traced else []
    asked = traced if any(np.any(np.isfinite(end)) for end in here) else []
    return [leaves[j] for j in asked if any(map(_differ, here, places(j)))]


def _differ(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.any((a != b) & np.isfinite(a) & np.isfinite(b)))


def _declared(dist: Any) -> tuple[PyTree, Formula]:
    """What a distribution of one of the libraries says of its ends: a pytree, and the formula that makes them of it."""
    name, libraries = type(dist).__name__, _libraries(dist)
    if libraries and name in _POINTS:
        return [getattr(dist, field) for field in _POINTS[name]], list
    if "tensorflow_probability" in libraries:
        return _of_bijector(dist)
    if "numpyro" in libraries:
        if name == "TransformedDistribution":
            return _through(dist, dist.base_dist, lambda dist: dist.transforms)
        if name == "MixtureGeneral":  # which may say of its support what is not that of its components
            return _together(dist)
        depends = type(dist.support).__name__ == "_Dependent"  # on what, it does not say
        return (dist, jax.tree.leaves) if depends else (dist.support, _bounds)
    if "distrax" in libraries:
        if name == "Transformed":
            return _through(dist, dist.distribution, lambda dist: [dist.bijector.forward])
        if name not in _DISTRAX_ENDS and _inside(dist):
            return _together(dist)
        ends = _DISTRAX_ENDS.get(name, (-np.inf, np.inf))
        return [getattr(dist, end) if isinstance(end, str) else end for end in ends], list
    return [], list


def _of_bijector(dist: Any) -> tuple[PyTree, Formula]:
    try:
        bijector = dist.experimental_default_event_space_bijector()
        if bijector is None:  # of a mixture, and of what is made of one
            if type(dist).__name__ == "TransformedDistribution":
                return _through(dist, dist.distribution, lambda dist: [dist.bijector.forward])
            return _together(dist)
        shape = (*dist.batch_shape, *bijector.inverse_event_shape(dist.event_shape))
    except (
        NotImplementedError,
        AttributeError,
        TypeError,
    ):  # a discrete distribution has none, one of several parts no one shape
        return [], list
    dtype = _dtype(dist)
    return bijector, lambda bijector: [
        _sent(bijector.forward, jnp.full(shape, end, dtype)) for end in (-jnp.inf, jnp.inf)
    ]


def _dtype(dist: Any) -> Any:
    """Of its draws where they are floats: a transform of TFP takes no other one."""
    dtype = getattr(dist, "dtype", None)
    return dtype if isinstance(dtype, (type, np.dtype)) and jnp.issubdtype(dtype, jnp.floating) else None


def _inside(dist: Any) -> list[Any]:
    """The distributions whose draws are the draws of a mixture, or of a batch in one draw."""
    fields = [getattr(dist, place, None) for name in _PARTS for place in (name, f"_{name}")]
    found = jax.tree.leaves(fields, is_leaf=is_distribution)
    return list({id(part): part for part in found if is_distribution(part)}.values())


def _together(dist: Any) -> tuple[PyTree, Formula]:
    """The ends of all of them."""
    declared = [_declared(part) for part in _inside(dist)]
    return [tree for tree, _ in declared], lambda trees: [
        end for (_, ends), tree in zip(declared, trees, strict=True) for end in ends(tree)
    ]


def _through(dist: Any, inside: Any, steps: Callable[[Any], list[Callable[[Any], Any]]]) -> tuple[PyTree, Formula]:
    """The ends of the distribution inside, sent through the steps of a transform."""
    tree, ends = _declared(inside)
    shape, dtype = (*inside.batch_shape, *inside.event_shape), _dtype(inside)

    def image(both: Any) -> list[Any]:
        of_inside, dist = both
        found = [jnp.full(shape, x, dtype) for end in ends(of_inside) for x in _each(end, shape)]
        for step in steps(dist):
            found = [_sent(step, end) for end in found]
        return found

    return (tree, dist), image


def _each(end: Any, shape: tuple[int, ...]) -> list[Array]:
    """An end in the shape of a draw; of the components of a mixture, which have an axis more, one for each number."""
    end = jnp.asarray(end)
    fits = end.ndim <= len(shape) and all(n in (1, m) for n, m in zip(end.shape[::-1], shape[::-1], strict=False))
    return [end] if fits else list(end.reshape(-1))


def _sent(step: Callable[[Any], Any], end: Any) -> Any:
    """An end sent through a transform of theirs; NaN, which is no end, where that takes no made-up values or closes over tracers."""
    try:
        image = step(end)
    except Exception:
        return jnp.nan
    return jnp.nan if isinstance(image, Tracer) else image


def _bounds(constraint: Any) -> list[Any]:
    """The bounds of a constraint of NumPyro, or of those that it is made of."""
    if hasattr(constraint, "cseq"):
        return [end for part in constraint.cseq for end in _bounds(part)]
    if hasattr(constraint, "base_constraint"):
        return _bounds(constraint.base_constraint)
    bounds = (getattr(constraint, "lower_bound", None), getattr(constraint, "upper_bound", None))
    if all(end is None for end in bounds) and type(constraint).__name__ != "_Real":
        return []  # a simplex, a sphere, a Cholesky factor
    return [end if end is not None else infinite for end, infinite in zip(bounds, (-np.inf, np.inf), strict=True)]
