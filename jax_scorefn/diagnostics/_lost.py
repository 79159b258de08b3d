"""Where a derivative is lost on its way through a function, as a table: the places that ``jax.grad`` passes over without a word."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ParamSpec

import jax
import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn._trees import is_inexact, partition
from jax_scorefn._users_code import noted
from jax_scorefn.programs import LostGradient, find_lost, short

NOT_A_FUNCTION = "lost_gradients wants a function that jax.grad could take; it was given {given}."
NO_SUCH_ARGUMENT = (
    "argnums={given!r} counts positional arguments from 0, and the function was called with {count} of them."
)
NOTHING_TO_DIFFERENTIATE = (
    "None of the arguments {given} holds a float or a complex number, so there is no derivative to lose."
)
NOTHING_LOST = "No derivative is lost."
P = ParamSpec("P")
HEADINGS = ("place", "operation", "derivative in", "lost", "depends on a draw", "what to do")


@dataclasses.dataclass(frozen=True)
class LostGradients:
    """The table of :func:`lost_gradients`; a sequence of its places, so it is false if there is none.

    Attributes:
      places: a :class:`LostGradient` for each line and operation where a derivative is lost, in the order of the program.
    """

    places: tuple[LostGradient, ...]

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[LostGradient]:
        return iter(self.places)

    def __getitem__(self, i: int) -> LostGradient:
        return self.places[i]

    def rows(self) -> list[tuple[str, ...]]:
        """Place, operation, arguments, how sure, whether it depends on a draw, what to do: one row for each place."""
        return [
            (
                short(place.file, place.line),
                place.operation,
                ", ".join(place.arguments),
                "stopped" if place.stopped else "yes" if place.certain else "maybe",
                "yes" if place.random else "no",
                place.remedy,
            )
            for place in self.places
        ]

    def __str__(self) -> str:
        """The table as text; without rich a line for each place."""
        if not self.places:
            return NOTHING_LOST
        try:
            from rich.console import Console
            from rich.table import Table
        except ImportError:
            return "\n".join(map(str, self.places))
        table = Table(title="Where a derivative is lost", show_lines=True)
        for heading in HEADINGS:
            table.add_column(heading)
        for row in self.rows():
            table.add_row(*row)
        out = io.StringIO()
        Console(file=out, width=150, highlight=False, markup=False, force_jupyter=False).print(table)
        return out.getvalue()


def lost_gradients(
    f: Callable[P, Any], argnums: int | Sequence[int] = 0, *, has_aux: bool = False
) -> Callable[P, LostGradients]:
    """Find where ``jax.grad(f, argnums)`` loses a derivative without a word.

    f is traced and nothing of it is run. The derivative is followed from the arguments to the results, through jitted functions, loops
    and branches; where a comparison, a rounding, an argmax, an order, a cast to integers or a ``stop_gradient`` ends it, and what is
    made of that reaches a result, there is a record. A step that a value does not jump at is none: whether both sides of a ``where``
    are equal at the switch is tried in numbers, as far as the value is made of its arguments element by element.

    Args:
      f: any function that JAX can trace, with or without choices of :func:`sample`, whose derivatives are not lost.
      argnums: the number of the positional argument that is differentiated, or several, as for ``jax.grad``.
      has_aux: whether f returns a pair of results and auxiliary data, which is left out.

    Returns:
      A function with the signature of f, which returns a :class:`LostGradients`: a sequence of records that prints as a table.
      Python ints, bools and strings among the arguments stay as they are.

    Raises:
      TypeError: for what is no function, for mutable arrays, and where no argument to be differentiated holds a float.
      ValueError: for an ``argnums`` that was not given.

    What is not looked into counts as smooth: functions with a derivative of their own (``jax.custom_jvp``), ``shard_map``, kernels.
    Cost: one trace, and a few milliseconds.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> def loss(p, key):
      ...     hit = jax.random.uniform(key, (3,)) < p
      ...     return jnp.sum(jnp.where(hit, 1.0, p)) + jnp.sum(jnp.where(p > 0.0, p, 0.0))
      >>> for place in sf.lost_gradients(loss)(0.3, jax.random.key(0)):
      ...     print(place.line, place.operation, place.arguments, place.random, place.certain)
      2 < ('p',) True True
    """
    if not callable(f):
        raise TypeError(NOT_A_FUNCTION.format(given=_checks.describe(f)))
    _checks.flags(has_aux=has_aux)

    @functools.wraps(f)
    def found(*args: P.args, **kwargs: P.kwargs) -> LostGradients:
        wanted = [argnums] if isinstance(argnums, int) else list(argnums)
        if not all(-len(args) <= i < len(args) for i in wanted):
            raise ValueError(NO_SUCH_ARGUMENT.format(given=argnums, count=len(args)))
        named = {_name(f, i): arg for i, arg in enumerate(args)}
        chosen = {_name(f, i % len(args)) for i in wanted}
        return _found(f, has_aux, named, kwargs, chosen)

    return found


def _found(f: Any, has_aux: bool, named: dict[str, Any], kwargs: dict[str, Any], chosen: set[str]) -> LostGradients:
    arrays, whole = partition(
        (list(named.values()), kwargs), lambda x: hasattr(x, "dtype") or isinstance(x, float | complex)
    )
    count: list[int] = []

    def flat(arrays: Any) -> list[Any]:
        args, kwargs = whole(arrays)
        out, aux = noted(f)(*args, **kwargs) if has_aux else (noted(f)(*args, **kwargs), ())
        results = jax.tree.leaves(out)
        count.append(len(results))
        return [jnp.asarray(x) for x in (*results, *jax.tree.leaves(aux))]

    names: list[str | None] = []
    keys = list(named)
    for path, leaf in jax.tree.leaves_with_path(arrays):
        name = keys[path[1].idx] if path[0].idx == 0 else None
        names.append(name + jax.tree_util.keystr(path[2:]) if name in chosen and is_inexact(leaf) else None)
    if not any(names):
        raise TypeError(NOTHING_TO_DIFFERENTIATE.format(given=", ".join(sorted(chosen))))
    closed = jax.make_jaxpr(flat)(jax.tree.map(jnp.asarray, arrays))
    return LostGradients(tuple(find_lost(closed, names, count[-1])))


def _name(f: Any, i: int) -> str:
    """What f calls its positional argument i."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):  # some built-in functions have none
        parameters = []
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return named[i] if i < len(named) else f"argument {i}"
