"""Lanes: the program run again with other values in place of draws, of one choice, or of several that no element of a cost depends on
together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_scorefn._surrogate import departure
from jax_scorefn._trees import is_float
from jax_scorefn.distributions import swapped
from jax_scorefn.programs._dependence import Entry
from jax_scorefn.programs._ir import Op, Var
from jax_scorefn.programs.lanes._places import Span
from jax_scorefn.typing import Array


def replaced_rates(
    rates: Array, span: Span, entries: tuple[Entry, ...], shape: tuple[int, ...], number: Array
) -> Array:
    """For each element of a cost, the rate of the choice that it sees of those replaced in a lane; 0 if it sees none."""
    colour = _colour(span, number)
    index, seen = [], jnp.full(shape, span.holds(number))
    for entry, length, among, mine in zip((*entries, None), span.shape, span.colours, colour, strict=True):
        if among == length:
            index.append(jnp.full(shape, mine))
            continue
        axis, low, high = entry  # pyright: ignore[reportGeneralTypeIssues]
        at = jax.lax.broadcasted_iota(jnp.int32, shape, axis)
        first = at + int(low)
        chosen = first + (mine - first) % among
        seen = seen & (chosen <= at + int(high)) & (chosen >= 0) & (chosen < length)
        index.append(jnp.clip(chosen, 0, length - 1))
    return jnp.where(seen, rates[tuple(index)], 0)


def _colour(span: Span, number: Array) -> tuple[Array, ...]:
    """Of each axis in a lane."""
    rest, found = number - span.first, []
    for among in reversed(span.colours):
        found.append(rest % among)
        rest = rest // among
    return tuple(reversed(found))


class Lane(NamedTuple):
    """The run of a ``number``, in an iteration of each of the scans around.

    ``others``: by serial number the other values of choices, as the run has kept them that the lane leaves: where it does, the two
    are still the same.
    """

    number: Array
    spans: dict[Op, Span]
    others: dict[int, Array]
    iterations: tuple[Any, ...] = ()

    def within(self, iteration: Array) -> Lane:
        """In an iteration of one more scan."""
        return self._replace(iterations=(*self.iterations, iteration))

    def draw(self, op: Op, values: list[Any]) -> list[Any]:
        """The draw of a choice, with other values where they are taken."""
        size, shape = op.params["size"], op.estimator.shape(op)
        drawn = op.estimator.draw(values, size)
        kept = [v.serial for v, _ in op.estimator.kept(op, op.ins)] if op in self.spans else []
        if op not in self.spans or any(serial not in self.others for serial in kept):  # the run has not come there
            return drawn
        span = self.spans[op]
        own = [jax.lax.broadcasted_iota(jnp.int32, shape, k) for k in range(len(shape))]
        *colour, which = _colour(span, self.number)
        here = span.holds(self.number)
        for at, among, mine in zip((*self.iterations, *own), span.colours[:-1], colour, strict=True):
            here = here & (jnp.asarray(at, jnp.int32) % among == mine)
        other = op.estimator.other(op, lambda v: self.others[v.serial][self.iterations], which)
        return swapped(drawn, other, jnp.broadcast_to(here, shape))

    def paths(self, op: Op, values: list[Any]) -> dict[Var, Array]:
        """Nothing goes through a draw."""
        del op, values
        return {}


class Straight(NamedTuple):
    """A run whose draws are moved towards their other values, by numbers ``(*scans, *shape, A)`` for each choice (``_predict``)."""

    moves: dict[Op, Array]
    iterations: tuple[Any, ...] = ()

    def within(self, iteration: Array) -> Straight:
        """In an iteration of one more scan."""
        return self._replace(iterations=(*self.iterations, iteration))

    def draw(self, op: Op, values: list[Any]) -> list[Any]:
        """The draw; floats of it are moved."""
        drawn, moved = op.estimator.draw(values, op.params["size"]), self._moved(op, values)
        return [y if y is not None and is_float(x) else x for x, y in zip(drawn, moved, strict=True)]

    def paths(self, op: Op, values: list[Any]) -> dict[Var, Array]:
        """What the ints of a draw would be as floats that are moved."""
        return {v: y for v, y in zip(op.outs, self._moved(op, values), strict=True) if y is not None}

    def _moved(self, op: Op, values: list[Any]) -> list[Array | None]:
        drawn = op.estimator.draw(values, op.params["size"])
        if not op.estimator.replaced:
            return [None] * len(drawn)
        move = departure(values[0])
        if op in self.moves:
            move = move + self.moves[op][self.iterations].astype(move.dtype)

        def one(x: Array, others: Array) -> Array:
            x = x if is_float(x) else x.astype(move.dtype)
            step = others.astype(x.dtype) - jnp.expand_dims(x, move.ndim - 1)
            far = move.reshape(*move.shape, *[1] * (step.ndim - move.ndim)).astype(x.dtype)
            return x + jnp.sum(far * step, axis=move.ndim - 1)

        return list(map(one, drawn, op.estimator.others(values, op.params["size"])))
