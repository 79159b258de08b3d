"""Other values that are carried along a scan, a few at a time, in place of a lane for each.

    iteration t brings E other values.  With probability E / (n + E) the lane takes one of them, at random, and its rate; n <- n + E
    what it adds                        n (cost in the lane - cost) grad rate
    the lane has come back              n <- 0

The lane stands for each of the n values that it might have taken, with the same probability, so n times its difference is their sum on
the mean. Where it has come back to the run itself its difference is 0 for good, and so is what it stands for. Several lanes are
independent, and their mean is taken.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn._surrogate import moved
from jax_scorefn._trees import is_key, stop, widest
from jax_scorefn._wide import wide
from jax_scorefn.noise import uniform
from jax_scorefn.programs._analysed import Analysed
from jax_scorefn.programs._dependence import Dependence, join, move
from jax_scorefn.programs._evaluate import Emitted, Run, from_outside, run_block
from jax_scorefn.programs._ir import Loop, Op, Var
from jax_scorefn.programs.lanes._lane import Lane
from jax_scorefn.programs.lanes._options import Comparison
from jax_scorefn.programs.lanes._places import Span
from jax_scorefn.typing import Array, Key

SUMMED = (
    "Coupled(lanes=) carries other values along a scan, and the choice {name} is summed over its values, each of which goes on with a "
    "scan of its own. Use estimator='score_function' for it, or Coupled()."
)
NOT_ADDED_UP = (
    "Coupled(lanes=) carries another value of {name} along a scan, and changes it on the way, so a cost has to be added up in the "
    "scan or come of its last state. This one is of all iterations together: {operation}. Carry what it needs in the state, or use "
    "Coupled()."
)


def online(program: Analysed, run: Run, before: dict[Any, Any], comparison: Comparison) -> Emitted:
    """What choices in scans add to each leaf."""
    found: Emitted = {}
    if comparison.options.lanes is None:
        return found
    for scan in program.block.ops:
        sites = (
            [site for body in scan.bodies for site in body.choices() if site in program.spans]
            if scan.kind == "scan"
            else []
        )
        if not sites:
            continue
        for site in program.choices:
            if site.estimator.nested:
                raise ValueError(SUMMED.format(name=site.params["name"]))
        for serial, change in _along(program, run, before, comparison, scan, sites).items():
            found[serial] = found[serial] + change if serial in found else change
    return found


def _aligned(program: Analysed, scan: Op, sites: list[Op]) -> dict[Var, int]:
    """Leaves that are made of what the scan stacks, each element of one iteration: which axis counts the iterations."""
    carry, seen = Loop.of(scan).carry, program.of.fallbacks.copy()
    part: dict[Var, Dependence] = {}
    for k, v in enumerate(scan.outs):
        if any(site in program.of(v) for site in sites):
            part[v] = {"last state": ()} if k < carry else {"rows": ((0, 0, 0),)}
    for op in program.block.ops[program.block.ops.index(scan) + 1 :]:
        parts = [part.get(x, {}) if isinstance(x, Var) else {} for x in op.ins]
        if any(parts):
            out = [join(*(move(p, {}) for p in parts))] * len(op.outs) if op.bodies else program.of.transfer(op, parts)
            part |= dict(zip(op.outs, out, strict=True))
    program.of.fallbacks = seen

    def refuse(op: Op | None) -> None:
        title = op.title if op else "the result"
        raise ValueError(NOT_ADDED_UP.format(name=sites[0].params["name"], operation=title))

    for op, plan in program.plan.scans.items():
        leaves = [v for v, _ in plan.all_leaves() if any(site in program.of(v) for site in sites)]
        if leaves and any("rows" in part.get(x, {}) for x in op.ins if isinstance(x, Var)):
            refuse(op)
    found = {}
    for v in program.plan.leaves:
        if "rows" in part.get(v, {}):
            (entry,) = part[v]["rows"]
            if "last state" in part[v] or entry is None or entry[1:] != (0, 0) or not isinstance(entry[0], int):
                refuse(v.op)
            else:
                found[v] = entry[0]
    return found


def _along(
    program: Analysed, run: Run, before: dict[Any, Any], comparison: Comparison, scan: Op, sites: list[Op]
) -> Emitted:
    body, loop, plan = scan.bodies[0], Loop.of(scan), program.plan.scans.get(scan)
    aligned = _aligned(program, scan, sites)
    inner = [v.serial for v, _ in plan.all_leaves()] if plan else []
    outer = [v for v, _ in program.leaves if v.serial not in inner and v not in aligned]
    later = [v for v in outer if any(site in program.of(v) for site in sites)]
    lanes = comparison.options.lanes or 1
    spans, number, rates = {}, 0, []
    for site in sites:
        span = program.spans[site]
        spans[site] = Span(number, span.shape[1:], span.shape[1:])
        number += spans[site].size
        rates.append(wide(run.emitted[site.serial]).reshape(loop.length, -1))
    rates = jnp.concatenate([rate.astype(widest(rates)) for rate in rates], axis=1)  # (T, E)

    kept = [v.serial for site in sites for v, _ in site.estimator.kept(site, site.ins)]
    others_at = {serial: stop(run.emitted[serial]) for serial in kept}
    outside = Run(program.plan, Lane(jnp.int32(-1), {}, {}))
    outside.env = {v: from_outside(x) for v, x in before.items()}
    position = program.block.ops.index(scan)
    for op in program.block.ops[:position]:
        outside.step(op)
    consts, carry, scanned = loop.split([outside.read(x) for x in scan.ins])
    carry = [x if is_key(x) else jnp.asarray(x) for x in carry]

    def beside(which: Array, state: list[Any], row: list[Any], values: dict[int, Array]) -> Any:
        lane = Lane(which, spans, values)
        out, emitted = run_block(body, [*map(from_outside, consts), *state, *map(from_outside, row)], plan, lane)
        return stop((out[: loop.carry], out[loop.carry :], [wide(emitted[v]) for v in inner]))

    def step(state: Any, xs: Any) -> Any:
        own, others, n, rate = state
        row, new, u, values = xs
        fresh = u[0] * (n + number) < number
        which = jnp.minimum((u[1] * number).astype(jnp.int32), number - 1)
        n, rate = n + number, jnp.where(fresh, new[which], rate)
        start = [jnp.concatenate([a[None], _select(fresh, a[None], b)]) for a, b in zip(own, others, strict=True)]
        which = jnp.concatenate([jnp.full(1, -1, jnp.int32), jnp.where(fresh, which, -1)])
        after, stacked, leaves = jax.vmap(beside, (0, 0, None, None))(
            which, start, row, values
        )  # the run itself beside them: the same bits
        changes = [_mean_change(rate * n, leaf) for leaf in leaves]
        same = [jnp.all((data := _numbers(x))[1:] == data[:1], axis=tuple(range(1, data.ndim))) for x in after]
        left = jnp.where(jnp.stack(same).all(axis=0), 0, n) if same else jnp.zeros_like(n)
        return ([x[0] for x in after], [x[1:] for x in after], left, rate), (stacked, changes, rate * n)

    chances = _chances(jax.random.fold_in(comparison.key, scan.serial), loop.length, lanes).astype(rates.dtype)
    none = jnp.zeros(lanes, rates.dtype)
    first = (carry, [jnp.broadcast_to(x, (lanes, *x.shape)) for x in carry], none, none)
    options = {"length": loop.length, "reverse": loop.reverse}
    (own, others, n, rate), (stacked, changes, weights) = jax.lax.scan(
        step, first, (scanned, rates, chances, others_at), **options
    )
    stacked = [jnp.moveaxis(x, 1, 0) for x in stacked]

    def to_the_end(wanted: list[Var], state: list[Any], rows: list[Any]) -> list[Array]:
        """What becomes of it after the scan."""
        lane = outside.copy()
        lane.write(scan.outs, [*state, *rows])
        for op in program.block.ops[position + 1 :]:
            lane.step(op)
        return stop([wide(lane.emitted[v.serial]) for v in wanted])

    found = dict(zip(inner, changes, strict=True))
    if later and carry:
        states = [jnp.concatenate([a[None], b]) for a, b in zip(own, others, strict=True)]
        row = [x[0] for x in stacked]
        ends = jax.vmap(lambda state: to_the_end(later, state, list(map(from_outside, row))))(states)
        found |= {v.serial: _mean_change(rate * n, end) for v, end in zip(later, ends, strict=True)}
    ends = (
        jax.vmap(lambda rows: to_the_end(list(aligned), list(map(from_outside, own)), rows))(stacked) if aligned else []
    )
    for (v, axis), end in zip(aligned.items(), ends, strict=True):
        weight = weights.T.reshape(lanes, *(loop.length if k == axis else 1 for k in range(end.ndim - 1)))
        found[v.serial] = _mean_change(jnp.broadcast_to(weight, (lanes, *end.shape[1:])), end)
    return found


def _mean_change(rates: Array, values: Array) -> Array:
    """What the lanes add on the mean; the first of the values are those of the run itself."""
    return moved(rates, values[1:] - values[:1]) / (values.shape[0] - 1)


def _chances(key: Key, length: int, lanes: int) -> Array:
    """For each iteration, whether a lane takes another value, and which."""
    return uniform(key, jax.ShapeDtypeStruct((length, 2, lanes), jnp.float32))


def _select(chosen: Array, x: Array, y: Array) -> Array:
    mask = chosen.reshape(-1, *[1] * (y.ndim - 1))
    return jax.lax.select(jnp.broadcast_to(mask, y.shape), jnp.broadcast_to(x, y.shape), y)


def _numbers(x: Array) -> Array:
    return jax.random.key_data(x) if is_key(x) else x
