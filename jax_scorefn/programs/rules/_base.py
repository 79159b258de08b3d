"""A rule says all that is known of a primitive: where each element of its results came from, and in which operands it is linear.

    @rule("cumsum", linear=0)                     the name of a primitive, or several
    def cumulative(op): ...                       an Operation (name, params, shapes) -> a map for each operand

A map sends axes of the operand to axes of the result, ``{axis: target}``:

    j                 element t of axis j of the result depends on element t of this axis
    (j, lo, hi)       on the elements t + lo .. t + hi
    ("#", lo, hi)     on the elements lo .. hi, whatever its own place
    (left out)        on all of them: what is summed, mixed or permuted

``None`` in place of a map says that the result does not depend on the operand at all. To say too little is a wrong gradient; to say
too much costs variance, and no rule at all says that everything depends on everything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

TAKEN = "{name} has a rule already. To give a rule to one use of it, wrap that in a function: sf.programs.with_rule(f, rule)."
NOT_MAPS = (
    "The rule of {name} gave {given} for {operands} operands and {results} results; it gives one map for each operand, or, with "
    "each_result=True, a list of such lists, one for each result."
)
NOT_LINEAR = (
    "linear= is None, an operand by its number, a tuple of them, 'together', 'each', or a function of the operation that returns "
    "one of these; not {given!r}."
)

Target = int | tuple[Any, float, float]
Map = Mapping[int, Target]


class Operation(NamedTuple):
    """What a rule sees of an operation.

    Attributes:
      name: of the primitive.
      params: its parameters.
      shapes: of the operands.
      results: shapes of the results.
      values: of each operand the value, where it is known when the program is traced; None for the others.
    """

    name: str
    params: Mapping[str, Any]
    shapes: tuple[tuple[int, ...], ...]
    results: tuple[tuple[int, ...], ...]
    values: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Rule:
    """What is known of a primitive, or of a function.

    Attributes:
      function: ``function(operation)`` returns a map for each operand, a dict ``{axis: target}`` or None.
      linear: the operands in which it is linear when the others are stopped: one by its number, a tuple of several together,
        "together" for all, "each" for each by itself (a product), a function of the operation that returns one of these, or None.
      each_result: whether ``function`` returns a list for each result; without it, one list serves all.
    """

    function: Callable[[Operation], Any]
    linear: Any = None
    each_result: bool = False

    def maps(self, op: Operation) -> list[Sequence[Map | None]]:
        """For each result, the maps of the operands."""
        found = self.function(op)
        rows = list(found) if self.each_result else [found] * len(op.results)
        if len(rows) != len(op.results) or any(len(row) != len(op.shapes) for row in rows):
            details = {"given": found, "operands": len(op.shapes), "results": len(op.results)}
            raise ValueError(NOT_MAPS.format(name=op.name, **details))
        return rows

    def groups(self, op: Operation) -> list[tuple[int, ...]]:
        """Sets of operands: in those of each together it is linear when the others are stopped."""
        linear = self.linear(op) if callable(self.linear) else self.linear
        match linear:
            case None:
                return []
            case "together":
                return [tuple(range(len(op.shapes)))]
            case "each":
                return [(i,) for i in range(len(op.shapes))]
            case int():
                return [(linear,)]
            case tuple():
                return [linear]
            case list():
                return linear
        raise ValueError(NOT_LINEAR.format(given=linear))


RULES: dict[str, Rule] = {}
"""Name of a primitive -> its rule."""


def rule(*names: str, linear: Any = None, each_result: bool = False) -> Callable[[Any], Any]:
    """Register a rule for primitives; a name has one."""

    def register(function: Any) -> Any:
        for name in names:
            if name in RULES:
                raise ValueError(TAKEN.format(name=name))
        RULES.update(dict.fromkeys(names, Rule(function, linear, each_result)))
        return function

    return register


def same(axes: Any) -> dict[int, Target]:
    """Each axis stays where it is."""
    return {axis: axis for axis in axes}


def moved(axes: Any) -> dict[int, Target]:
    """The axes that are left, in order, are those of the result."""
    return {old: new for new, old in enumerate(axes)}
