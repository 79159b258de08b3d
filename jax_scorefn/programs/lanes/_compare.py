"""The difference that choices make which have another value: what they add to the derivative of a cost, with the value 0.

    a choice j with a lane of its own      (cost in the lane - cost) departure(rate_j)
    choices that share a lane              (leaf in the lane - leaf) departure(rate of the choice that an element sees), for each leaf

Leaves are the costs that a cost is linear in, as in the credit of scores.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from jax_scorefn import engine
from jax_scorefn._surrogate import moved
from jax_scorefn._trees import stop, widest
from jax_scorefn._wide import wide
from jax_scorefn.programs._analysed import Analysed
from jax_scorefn.programs._credit import in_front
from jax_scorefn.programs._evaluate import Emitted, Run, from_outside
from jax_scorefn.programs._ir import Op, Var
from jax_scorefn.programs._linear import Plan
from jax_scorefn.programs.lanes._lane import Lane, replaced_rates
from jax_scorefn.programs.lanes._options import Comparison
from jax_scorefn.programs.lanes._places import Span, pieces
from jax_scorefn.programs.lanes._predict import believed, predicted
from jax_scorefn.typing import Array

Values: TypeAlias = dict[Var, Any]


def compared(
    program: Analysed, run: Run, before: Values, start: int, end: int, costs: list[Any], comparison: Comparison
) -> list[Any]:
    """The costs, and what the choices between two operations add that have lanes of their own. ``before``: the values at the first."""
    inside = [site for op in program.block.ops[start:end] for site in _choices(op) if site in program.spans]
    not_here = comparison.together(program)
    alone = [site for site in inside if site not in not_here and not comparison.is_online(program, site)]
    if not alone:
        return costs
    spans = {site: program.spans[site] for site in alone}
    numbers = jnp.concatenate(
        [_numbers(span.first, span.end) for span in spans.values()]
    )  # one map for the lanes of all sites
    rates = [wide(run.emitted[site.serial]).reshape(-1) for site in alone]
    rates = jnp.concatenate([rate.astype(widest(rates)) for rate in rates])
    picked = comparison.picked(numbers.size, start)
    chosen = numbers if picked is None else numbers[picked]
    rows = _lanes(program, spans, comparison, chosen, run, before, lambda lane: program.costs_from(lane, start))
    differences = [row - stop(cost)[None] for cost, row in zip(costs, rows, strict=True)]
    if picked is None:
        return [cost + moved(rates, d) for cost, d in zip(costs, differences, strict=True)]
    weight = numbers.size / picked.size
    if comparison.options.predict is None:
        return [cost + moved(rates[picked], weight * d) for cost, d in zip(costs, differences, strict=True)]
    changes = []
    for prediction, d in zip(predicted(program, alone, before, start, rates.dtype), differences, strict=True):
        b = believed(prediction, d, picked, comparison.of_others)
        changes.append(moved(rates, b) + moved(rates[picked], weight * (d - b[picked])))
    return [cost + change for cost, change in zip(costs, changes, strict=True)]


def shared(program: Analysed, run: Run, before: Values, comparison: Comparison) -> Emitted:
    """What the choices that share lanes add to each leaf."""
    spans = comparison.together(program)
    if not spans:
        return {}
    groups = [(_numbers(low, high), sites) for low, high, sites in pieces(spans)]
    numbers, weight = jnp.concatenate([numbers for numbers, _ in groups]), 1.0
    picked = comparison.picked(numbers.size, next(iter(spans)).serial)
    if picked is not None:
        groups, weight = [(numbers[picked], list(spans))], numbers.size / picked.size
    found: Emitted = {}
    for numbers, sites in groups:
        leaves = [(v, depth) for v, depth in program.leaves if any(site in program.of(v) for site in sites)]

        def values(lane: Run, leaves: list[Any] = leaves) -> list[Array]:
            for op in program.block.ops:
                lane.step(op)
            return [wide(lane.emitted[v.serial]) for v, _ in leaves]

        rows = _lanes(program, spans, comparison, numbers, run, before, values, program.plan)
        for (v, depth), row in zip(leaves, rows, strict=True):
            own = wide(run.emitted[v.serial])
            seen = [site for site in sites if site in program.of(v)]
            rates = [_rates(program, run, site, spans[site], (v, depth), numbers) for site in seen]
            rate = functools.reduce(
                operator.add, (x.astype(widest(rates)) for x in rates)
            )  # in a lane all but one are 0
            change = moved(rate, weight * (row - stop(own)[None]))
            found[v.serial] = found[v.serial] + change if v.serial in found else change
    return found


def _rates(program: Analysed, run: Run, site: Op, span: Span, leaf: tuple[Var, int], numbers: Array) -> Array:
    """In each lane, the rates of the choices of a site that the elements of a leaf see."""
    v, depth = leaf
    shape, entries = run.emitted[v.serial].shape, tuple(in_front(entry, depth) for entry in program.of(v)[site])
    rates = wide(run.emitted[site.serial])
    return jax.vmap(lambda number: replaced_rates(rates, span, entries, shape, number))(numbers)


def other_values(sites: Iterable[Op], run: Run) -> dict[int, Array]:
    """By serial number, what the choices are compared with, as far as the run has come."""
    found = [v.serial for site in sites for v, _ in site.estimator.kept(site, site.ins)]
    return {serial: stop(run.emitted[serial]) for serial in found if serial in run.emitted}


def _numbers(low: int, high: int) -> Array:
    return low + jnp.arange(high - low, dtype=jnp.int32)


def _lanes(
    program: Analysed,
    spans: dict[Op, Span],
    comparison: Comparison,
    numbers: Array,
    run: Run,
    before: Values,
    of: Callable[[Run], list[Array]],
    plan: Plan | None = None,
) -> list[Array]:
    """What is asked of each lane, stacked; nothing in it is differentiated."""
    others = other_values(spans, run)
    before = {
        v: stop(x) for v, x in before.items()
    }  # here: a loop that is differentiated in what it closes over is taken apart

    def one(number: Array) -> list[Array]:
        lane = Run(plan, Lane(number, spans, others))
        lane.env = {v: from_outside(x) for v, x in before.items()}
        return of(lane)

    lanes = lambda index: jax.vmap(one)(numbers[index])
    return stop(engine.map_index(lanes, numbers.size, comparison.side_by_side(program.width), None))


def _choices(op: Op) -> list[Op]:
    return [op] if op.kind == "choice" else [site for body in op.bodies for site in body.choices()]
