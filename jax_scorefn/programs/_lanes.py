"""The difference that choices make which have another value: what they add to the derivative of a cost, with the value 0.

    a choice j with a lane of its own      (cost in the lane - cost) departure(rate_j)
    choices that share a lane              (leaf in the lane - leaf) departure(rate of the choice that an element sees), for each leaf

Leaves are the costs that a cost is linear in, as in the credit of scores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jax_scorefn import engine
from jax_scorefn._surrogate import moved
from jax_scorefn._trees import in_explicit_mesh, stop, widest
from jax_scorefn.programs._credit import in_front
from jax_scorefn.programs._evaluate import Emitted, Run, from_outside
from jax_scorefn.programs._ir import Loop, Op
from jax_scorefn.programs._lane import Lane, Span, colours, replaced_rates
from jax_scorefn.programs._linear import Plan
from jax_scorefn.programs._wide import wide
from jax_scorefn.typing import Array

if TYPE_CHECKING:
    from jax_scorefn.programs._program import Program

SIDE_BY_SIDE = 2**12
"""Lanes that are run side by side."""


def spans(program: Program) -> dict[Op, Span]:
    """The lanes of the choices that are replaced and that a cost depends on. In branches each has its own."""
    shared = not any(site.estimator.nested for site in program.choices) and not in_explicit_mesh()
    found, first = {}, 0
    for site in program.choices:
        seen = [program.of(v)[site] for v, _ in program.leaves if site in program.of(v)]
        if site.estimator.replaced and seen:
            shape = (*(Loop.of(loop).length for loop in program.of.loops[site]), *site.ins[0].shape)
            found[site] = Span(first, shape, colours(shape, seen) if shared else shape)
            first += found[site].size
    return found


def compared(program: Program, run: Run, before: dict[Any, Any], start: int, end: int, costs: list[Any]) -> list[Any]:
    """The costs, and what the choices between two operations add that have lanes of their own. ``before``: the values at the first."""
    inside = [site for op in program.block.ops[start:end] for site in _choices(op)]
    alone = [site for site in inside if site in program.spans and not program.spans[site].is_shared]
    if not alone:
        return costs
    numbers = jnp.concatenate([_numbers(program.spans[site]) for site in alone])  # one map for the lanes of all sites
    rows = _lanes(program, numbers, None, before, lambda lane: program.costs_from(lane, start))
    rates = [wide(run.emitted[site.serial]).reshape(-1) for site in alone]
    rates = jnp.concatenate([rate.astype(widest(rates)) for rate in rates])
    return [cost + moved(rates, row - stop(cost)[None]) for cost, row in zip(costs, rows, strict=True)]


def shared(program: Program, run: Run, before: dict[Any, Any]) -> Emitted:
    """What the choices that share lanes add to each leaf."""
    found: Emitted = {}
    for site, span in program.spans.items():
        if not span.is_shared:
            continue
        leaves = [(v, depth) for v, depth in program.leaves if site in program.of(v)]

        def values(lane: Run, leaves: list[Any] = leaves) -> list[Array]:
            for op in program.block.ops:
                lane.step(op)
            return [wide(lane.emitted[v.serial]) for v, _ in leaves]

        rates, numbers = wide(run.emitted[site.serial]), _numbers(span)
        for (v, depth), rows in zip(leaves, _lanes(program, numbers, program.plan, before, values), strict=True):
            own = wide(run.emitted[v.serial])
            entries = tuple(in_front(entry, depth) for entry in program.of(v)[site])
            of_lane = lambda number, e=entries, s=own.shape, span=span, r=rates: replaced_rates(r, span, e, s, number)
            change = moved(jax.vmap(of_lane)(numbers), rows - stop(own)[None])
            found[v.serial] = found[v.serial] + change if v.serial in found else change
    return found


def _numbers(span: Span) -> Array:
    return span.first + jnp.arange(span.size, dtype=jnp.int32)


def _lanes(
    program: Program, numbers: Array, plan: Plan | None, before: dict[Any, Any], of: Callable[[Run], list[Array]]
) -> list[Array]:
    """What is asked of each lane, stacked; nothing in it is differentiated."""

    def one(number: Array) -> list[Array]:
        lane = Run(plan, Lane(number, program.spans))
        lane.env = {v: from_outside(x) for v, x in before.items()}
        return of(lane)

    return stop(engine.map_index(lambda index: jax.vmap(one)(numbers[index]), numbers.size, SIDE_BY_SIDE, None))


def _choices(op: Op) -> list[Op]:
    return [op] if op.kind == "choice" else [site for body in op.bodies for site in body.choices()]
