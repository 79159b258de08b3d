"""What the fields of a distribution may hold: a number that no distribution has makes no numbers.

    scale: Positive              a field's domain is its annotation
    broadcast_fields(dist)       when it is made: arrays and numbers of one shape
    float_fields(dist, name...)  when it is used: float arrays, confined to their domains
    confine(dist, name, x, ...)  an error that names the field, where the number is known; under jit NaN, in derivatives too

The ends of a range belong to it where there is a distribution: a rate of 0 makes a Poisson count of 0, a scale of 0 makes no density.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jax_scorefn import _checks
from jax_scorefn._surrogate import nan_where
from jax_scorefn._wide import wide
from jax_scorefn.typing import Array

OUTSIDE = "{dist} got {field}={given}; {field} must be {wanted}.{hint}"
FIELD_SHAPES = (
    "The fields of {dist} have shapes {shapes}. They are broadcast to one shape when it is made, so an in_axes or a function over its "
    "leaves has changed some of them alone (map all of them: in_axes=0 for the whole of it), or they do not broadcast."
)


@dataclasses.dataclass(frozen=True)
class Domain:
    """The numbers that a field may hold.

    Attributes:
      words: the domain in an error message.
      contains: ``array -> booleans`` that broadcast to it, of numpy for an array of numpy.
      hint: what to do with a number that may be anything.
      speaks: whether everything that is computed of a number outside is NaN as it is, so that traced ones need no look.
    """

    words: str
    contains: Callable[[Any], Any]
    hint: str = ""
    speaks: bool = False


def _of_categories(weights: Any) -> Any:
    there = ((weights >= 0) & (weights < np.inf)).all(axis=-1, keepdims=True)
    return there & (weights > 0).any(axis=-1, keepdims=True)


def _is_triangular(matrix: Any) -> Any:
    if matrix.ndim < 2:
        return np.True_
    rows, columns = matrix.shape[-2:]
    above = np.broadcast_to(~np.tri(rows, columns, dtype=bool), matrix.shape)
    diagonal = np.broadcast_to(np.eye(rows, columns, dtype=bool), matrix.shape)
    wrong = (above & (matrix != 0)) | (diagonal & ~(matrix > 0)) | ~(abs(matrix) < np.inf)
    return ~wrong.any(axis=(-2, -1), keepdims=True)


def _is_symmetric(matrix: Any) -> Any:
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        return np.True_
    tolerance = float(jnp.finfo(matrix.dtype).eps) ** 0.5  # products of matrices are symmetric up to rounding
    size = abs(matrix).max(axis=(-2, -1), keepdims=True, initial=0)
    gap = abs(matrix - matrix.swapaxes(-1, -2)).max(axis=(-2, -1), keepdims=True, initial=0)
    return (gap <= tolerance * size) & (size < np.inf)


_LOGITS = " Or give logits=, which may be any number."
FINITE = Domain("finite", lambda x: abs(x) < np.inf, speaks=True)
POSITIVE = Domain(
    "above 0 and finite",
    lambda x: (x > 0) & (x < np.inf),
    " Of a number that may be anything, jnp.exp or jax.nn.softplus is.",
)

Finite: TypeAlias = Annotated[Any, FINITE]
End: TypeAlias = Annotated[Any, Domain("a number, which may be infinite", lambda x: x == x, speaks=True)]
Positive: TypeAlias = Annotated[Any, POSITIVE]
NonNegative: TypeAlias = Annotated[
    Any, Domain("at least 0 and finite", lambda x: (x >= 0) & (x < np.inf), POSITIVE.hint)
]
Logit: TypeAlias = Annotated[Any, Domain("a number", lambda x: x == x, speaks=True)]
Probability: TypeAlias = Annotated[Any, Domain("between 0 and 1", lambda x: (x >= 0) & (x <= 1), _LOGITS)]
PossibleLogit: TypeAlias = Annotated[Any, Domain("above -inf", lambda x: x > -np.inf)]
PossibleProbability: TypeAlias = Annotated[Any, Domain("above 0 and at most 1", lambda x: (x > 0) & (x <= 1), _LOGITS)]
UncertainLogit: TypeAlias = Annotated[Any, Domain("below inf", lambda x: x < np.inf)]
UncertainProbability: TypeAlias = Annotated[
    Any, Domain("at least 0 and below 1", lambda x: (x >= 0) & (x < 1), _LOGITS)
]
Weights: TypeAlias = Annotated[
    Any, Domain("at least 0 and finite, with one above 0 along the last axis", _of_categories, _LOGITS)
]
LogWeights: TypeAlias = Annotated[
    Any,
    Domain(
        "below inf, with one above -inf along the last axis",
        lambda x: abs(x.max(axis=-1, keepdims=True)) < np.inf,
        speaks=True,
    ),
]
Triangular: TypeAlias = Annotated[
    Any, Domain("lower-triangular, with a diagonal above 0", _is_triangular, " jnp.tril makes it so.")
]
Symmetric: TypeAlias = Annotated[
    Any, Domain("symmetric", _is_symmetric, " If it is the lower triangle, give scale_tril=.")
]
Count: TypeAlias = Annotated[
    Any, Domain("a whole number of at least 0 that an int32 holds", lambda x: (x >= 0) & (x % 1 == 0) & (x < 2.0**31))
]


_DOMAINS = {name: value.__metadata__[0] for name, value in globals().items() if hasattr(value, "__metadata__")}


def domains_of(cls: type) -> dict[str, Domain]:
    """The domain of each field that is annotated with one."""
    annotations = {name: text for base in cls.__mro__[::-1] for name, text in inspect.get_annotations(base).items()}
    return {name: _DOMAINS[text] for name, text in annotations.items() if text in _DOMAINS}


def is_array(x: Any) -> bool:
    """An array of JAX, traced or not, or of numpy; no Python number."""
    return isinstance(x, jax.Array | np.ndarray | np.generic)


def broadcast_fields(dist: Any) -> None:
    """Give the fields one shape, where one is an array with axes and the others are arrays or numbers.

    Later it would be too late: a distribution that is made under ``vmap`` comes out with a new first axis in each field, and a number
    that had none would then run along another axis than it should.
    """
    fields = {name: getattr(dist, name) for name in dist.domains}
    fields = {name: field for name, field in fields.items() if field is not None}
    if not all(is_array(field) or isinstance(field, int | float) for field in fields.values()):
        return  # what in_axes, or a function over leaves, puts there
    try:
        shape = jnp.broadcast_shapes(*map(np.shape, fields.values()))
    except ValueError:  # said where they are used
        return
    for name, field in fields.items():
        if np.shape(field) != shape and not (isinstance(field, int) and name in dist.static):
            array = jnp.broadcast_to(field if is_array(field) else float(field), shape)
            object.__setattr__(dist, name, array)


def float_fields(dist: Any, *names: str) -> tuple[Array, ...]:
    """Fields of a distribution as float arrays of one shape (explicitly, so rank promotion may be an error), each in its domain.

    Half precision is widened to float32: a uniform of 8 bits makes another distribution than the one that is scored.
    """
    fields = {name: getattr(dist, name) for name in names}
    shapes = {np.shape(field) for field in fields.values() if is_array(field)}
    if len(shapes) > 1:
        given = ", ".join(f"{name} {np.shape(field)}" for name, field in fields.items())
        raise ValueError(FIELD_SHAPES.format(dist=dist.name, shapes=given))
    arrays = []
    for name, field in fields.items():
        array = jnp.asarray(float(field) if isinstance(field, int) else field)  # a plain Python int, as in loc=0
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(_checks.FLOAT_PARAMETER.format(dist=dist.name, field=name, dtype=array.dtype))
        arrays.append(confine(dist, name, wide(array), dist.domains[name], given=field))
    dtype = jnp.result_type(*arrays)
    shape = jnp.broadcast_shapes(*(array.shape for array in arrays))
    return tuple(jnp.broadcast_to(array.astype(dtype), shape) for array in arrays)


def confine(dist: Any, name: str, array: Array, domain: Domain, given: Any = None) -> Array:
    """The array, but NaN with derivatives of NaN wherever it is not in its domain; an error where its numbers are known.

    ``given`` is the field that the array was made from, since under ``jit`` a Python number is known and its array is not.
    """
    numbers = known(array, given)
    if domain.speaks and isinstance(numbers, Tracer):
        return array
    inside = domain.contains(numbers)
    if not isinstance(numbers, np.ndarray) or isinstance(inside, jax.Array):
        return nan_where(jnp.broadcast_to(~inside, array.shape), array)
    nan = np.isnan(numbers)  # nobody's choice of a number: it stays NaN, and tells nothing of those beside it
    together = tuple(axis for axis, size in enumerate(np.shape(inside)) if size == 1)
    wrong = np.broadcast_to(~inside & ~nan.any(axis=together, keepdims=True), numbers.shape)
    if not wrong.any():
        return array
    outside = numbers[wrong][0]
    found = str(outside) if numbers.ndim == 0 else f"an array {list(numbers.shape)} with {outside}"
    raise ValueError(OUTSIDE.format(dist=dist.name, field=name, given=found, wanted=domain.words, hint=domain.hint))


def known(array: Array, given: Any = None) -> Any:
    """The numbers of an array, as numpy has them: under an eager ``grad`` too, but not where they are traced."""
    is_number = isinstance(given, int | float | np.ndarray | np.generic)
    stopped = given if is_number else jax.lax.stop_gradient(given if isinstance(given, jax.Array) else array)
    if isinstance(stopped, Tracer) or not getattr(stopped, "is_fully_addressable", True):
        return jax.lax.stop_gradient(array)
    numbers = np.asarray(stopped).astype(array.dtype)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return numbers
    return np.where(abs(numbers) < jnp.finfo(array.dtype).tiny, np.zeros((), array.dtype), numbers)  # as XLA sees them


def one_of(dist: Any, first: str, second: str) -> str:
    """The name of the one of two fields that was given."""
    given = [name for name in (first, second) if getattr(dist, name) is not None]
    if len(given) != 1:
        raise ValueError(_checks.ONE_OF_TWO.format(dist=dist.name, first=first, second=second))
    return given[0]
