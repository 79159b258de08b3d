"""Run a program once for its values, and once more along the linear tail for the corrections.

    value of an output  =  what the program computes  +  tail(delta),   delta_L = (L - b) (magic_box(s_L) - 1)

The first run collects the log-probability of each choice and the value of each leaf; those inside a scan come out stacked, one
row for each iteration, so every delta is computed at once outside of the loop. s_L adds up the log-probabilities of just the
choices that an element depends on: sums over windows.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._surrogate import magic_box
from jax_scorefn.programs._analyze import Analysis, Since
from jax_scorefn.programs._choice import draw_of
from jax_scorefn.programs._dependence import INF, Dependence, Entry, join
from jax_scorefn.programs._ir import Atom, Block, Const, Loop, Op, Var
from jax_scorefn.programs._linear import Plan
from jax_scorefn.typing import Array

TAPS = 16
"""A band of up to this many offsets is summed term by term; a wider one is opened downwards, which is sound."""
Emitted = dict[int, Array]
"""Values by serial number: log-probabilities of choices, leaves, coefficients."""


def bind(op: Op, values: list[Any]) -> list[Any]:
    """Run an operation as it was."""
    if op.kind == "mask":
        chosen, x = values
        zero = jnp.zeros_like(x)
        values = [chosen, *(x if i == op.params["case"] else zero for i in range(op.params["cases"]))]
        return [op.prim.bind(*values)]
    params = op.prim.get_bind_params(op.params)
    functions, params = params if isinstance(params, tuple) else ((), params)
    with nullcontext() if op.context is None else op.context.manager:
        out = op.prim.bind(*functions, *values, **params)
    return list(out) if op.prim.multiple_results else [out]


class Run:
    """The values of one block: ``env`` by variable, ``emitted`` from it and from the bodies in it."""

    def __init__(self, plan: Plan | None):
        self.env: dict[Var, Any] = {}
        self.emitted: Emitted = {}
        self.plan = plan or Plan()
        self.kept = {v.serial for v in (*self.plan.leaves, *self.plan.coefficients)}

    def read(self, atom: Atom) -> Any:
        """The value of a variable or constant."""
        return atom.value if isinstance(atom, Const) else self.env[atom]

    def write(self, variables: list[Var], values: list[Any]) -> None:
        """Set variables, and keep what the corrections will want."""
        for v, value in zip(variables, values, strict=True):
            self.env[v] = value
            if v.serial in self.kept:
                self.emitted[v.serial] = value

    def step(self, op: Op) -> None:
        """Run one operation."""
        values = [self.read(x) for x in op.ins]
        if op.kind == "choice":
            self.emitted[op.serial] = values[0]
            out = draw_of(values, op.params["kind"], op.params["size"])
        elif op.kind == "forget":
            self.emitted[op.serial], *out = values
        elif op.kind == "scan":
            out, emitted = _scan(op, values, self.plan.scans.get(op))
            self.emitted |= emitted
        elif op.kind in ("cond", "remat") and any(body.choices() for body in op.bodies):
            out, emitted = (_cond if op.kind == "cond" else _remat)(op, values)
            self.emitted |= emitted
        else:
            out = bind(op, values)
        self.write(op.outs, list(out))


def run_block(block: Block, operands: list[Any], plan: Plan | None = None) -> tuple[list[Any], Emitted]:
    """Results of a block, and what it emits."""
    run = Run(plan)
    run.write(block.ins, operands)
    for op in block.ops:
        run.step(op)
    return [run.read(atom) for atom in block.outs], run.emitted


def _scan(op: Op, values: list[Any], plan: Plan | None) -> tuple[list[Any], Emitted]:
    body, loop = op.bodies[0], Loop.of(op)
    consts, carry, scanned = loop.split(values)

    def step(carry: list[Any], xs: list[Any]) -> tuple[list[Any], tuple[list[Any], Emitted]]:
        out, emitted = run_block(body, [*consts, *carry, *xs], plan)
        return out[: loop.carry], (out[loop.carry :], emitted)

    how = {"length": loop.length, "reverse": loop.reverse, "unroll": op.params.get("unroll", 1)}
    final, (stacked, emitted) = jax.lax.scan(step, carry, scanned, **how)
    return [*final, *stacked], emitted


def _remat(op: Op, values: list[Any]) -> tuple[list[Any], Emitted]:
    how = {"prevent_cse": op.params["prevent_cse"], "policy": op.params["policy"]}
    return jax.checkpoint(lambda *xs: run_block(op.bodies[0], list(xs)), **how)(*values)


def _cond(op: Op, values: list[Any]) -> tuple[list[Any], Emitted]:
    """A switch whose branches all emit the choices of all; those of the other branches have log-probability 0."""
    index, *operands = values
    shapes: dict[int, Any] = {}
    for body in op.bodies:
        shapes |= jax.eval_shape(lambda *xs, body=body: run_block(body, list(xs))[1], *operands)

    def branch(body: Block) -> Callable[..., Any]:
        def run(*xs: Any) -> tuple[list[Any], Emitted]:
            out, emitted = run_block(body, list(xs))
            return out, {k: emitted.get(k, jnp.zeros(like.shape, like.dtype)) for k, like in shapes.items()}

        return run

    return jax.lax.switch(index, [branch(body) for body in op.bodies], *operands)


def window_sum(log_probs: Array, entries: tuple[Entry, ...], shape: tuple[int, ...]) -> Array:
    """For each element of a leaf of this shape, the sum of the log-probabilities of the choices that its entries cover.

    Axes along which it is the same have length 1.
    """
    places: list[int] = []
    axis = 0
    for entry in entries:
        size = log_probs.shape[axis]
        if (
            entry is None or entry[0] in places
        ):  # two axes of a choice on one of the leaf are a box: take all of the second
            log_probs = jnp.sum(log_probs, axis=axis)
        elif entry[0] == "#":
            lo, hi = (int(min(max(bound, 0), size)) for bound in (entry[1], entry[2] + 1))
            log_probs = jnp.sum(jax.lax.slice_in_dim(log_probs, lo, max(lo, hi), axis=axis), axis=axis)
        else:
            place, lo, hi = entry
            log_probs = _band(log_probs, axis, lo, hi, shape[place])
            places.append(place)
            axis += 1
    order = sorted(range(len(places)), key=places.__getitem__)
    spread = tuple(shape[i] if i in places else 1 for i in range(len(shape)))
    if order != list(range(len(order))):
        log_probs = jnp.transpose(log_probs, order)
    if spread != log_probs.shape:
        log_probs = log_probs.reshape(spread)
    return log_probs


def _band(x: Array, axis: int, lo: float, hi: float, size: int) -> Array:
    """out[t] = sum of x[t + lo .. t + hi] along an axis, for t below ``size``."""
    length = x.shape[axis]
    if lo <= -(size - 1) and hi >= length - 1:
        return jnp.broadcast_to(jnp.sum(x, axis=axis, keepdims=True), (*x.shape[:axis], size, *x.shape[axis + 1 :]))
    if lo == -INF or hi == INF or hi - lo >= TAPS:
        padding = [(0, 0)] * x.ndim
        if hi != INF:  # everything up to t + hi
            padding[axis] = (1, 0)
            index = np.clip(np.arange(size) + hi + 1, 0, length)
            sums = jnp.pad(jnp.cumsum(x, axis=axis), padding)
        else:
            padding[axis] = (0, 1)
            index = np.clip(np.arange(size) + lo, 0, length)
            sums = jnp.pad(jax.lax.cumsum(x, axis=axis, reverse=True), padding)
        return (
            sums
            if index.shape[0] == sums.shape[axis] and np.all(index == np.arange(size))
            else jnp.take(
                sums, index.astype(np.int32), axis=axis, indices_are_sorted=True, unique_indices=False, mode="clip"
            )
        )
    zero = jnp.zeros((), x.dtype)
    total = None
    for offset in range(int(lo), int(hi) + 1):
        config = [(0, 0, 0)] * x.ndim
        config[axis] = (-offset, size - length + offset, 0)
        tap = x if offset == 0 and size == length else jax.lax.pad(x, zero, config)
        total = tap if total is None else total + tap
    assert total is not None
    return total


def sums_since(log_probs: Array, done: Array, axis: int) -> Array:
    """r[j] = sum of log_probs[u] over u < j with no ``done`` in u .. j - 1, along an axis; one more entry than iterations."""
    moved = jnp.moveaxis(log_probs, axis, 0)
    alive = jnp.moveaxis(1 - done.astype(log_probs.dtype), axis, 0)

    def step(r: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        log_prob, alive = row
        r = (r + log_prob) * alive.reshape(alive.shape + (1,) * (r.ndim - alive.ndim))
        return r, r

    first = jnp.zeros_like(moved[0])
    rest = jax.lax.scan(step, first, (moved, alive))[1]
    return jnp.moveaxis(jnp.concatenate([first[None], rest]), 0, axis)


def _at_iterations(
    sums: Array, entries: tuple[Entry, ...], axis: int, shape: tuple[int, ...]
) -> tuple[Array, tuple[Entry, ...]]:
    """Running sums as log-probabilities of one choice for each iteration that is asked for."""
    entry, last = entries[axis], sums.shape[axis] - 1
    assert entry is not None  # one that is lost has no last iteration; it is not kept as one since a mark
    place, _, hi = entry
    if place == "#":
        index, same = np.array([hi + 1]), ("#", 0, 0)
    else:
        index, same = np.arange(shape[place]) + hi + 1, (place, 0, 0)
    taken = jnp.take(sums, np.clip(index, 0, last).astype(np.int32), axis=axis, mode="clip")
    return taken, (*entries[:axis], same, *entries[axis + 1 :])


def _without_overlap(part: Dependence) -> Dependence:
    """Choices by score, each one once: what is charged as ever is not charged since a mark as well."""
    out: Dependence = {s: e for s, e in part.items() if not isinstance(s, Since) and s.params["kind"] != "enumerate"}
    for site, entries in part.items():
        if not isinstance(site, Since):
            continue
        mine = entries[site.axis]
        ever = out[site.choice][site.axis] if site.choice in out else mine and (mine[0], INF, INF)
        if mine is None or ever is None or ever[0] != mine[0] or mine[2] > ever[2]:
            out = join(out, {site.choice: entries})
        else:
            below = (mine[0], mine[1], min(mine[2], ever[1] - 1))
            out[site] = (*entries[: site.axis], below, *entries[site.axis + 1 :])
    return out


class Credits:
    """The deltas of the leaves of one run. What two leaves have in common is added up once."""

    def __init__(self, of: Analysis, emitted: Emitted):
        self.of, self.emitted = of, emitted
        self.sums: dict[Any, Array] = {}

    def correction(self, value: Array, baseline: Array | float, leaf: Var, depth: int) -> Array:
        """Delta of a leaf, whose value has the axes of the scans around it in front."""
        total: Array | None = None
        key: tuple[Any, ...] = (value.shape,)
        for site, entries in _without_overlap(self.of(leaf)).items():
            named = tuple(_in_front(entry, depth) for entry in entries)
            part = self._once((site, named, value.shape), lambda s=site, n=named: self._charged(s, n, value.shape))
            key = (*key, site, named)
            total = part if total is None else self._once(key, lambda a=total, b=part: a + b.astype(a.dtype))
        if total is None:
            return jnp.zeros_like(value)
        box = jnp.broadcast_to(magic_box(total) - 1, value.shape).astype(value.dtype)
        return (value - jax.lax.stop_gradient(baseline)) * box

    def _charged(self, site: Op | Since, entries: tuple[Entry, ...], shape: tuple[int, ...]) -> Array:
        if isinstance(site, Since):
            axis = site.axis
            log_probs = self.emitted[site.choice.serial]
            sums = sums_since(log_probs, self.emitted[site.mark.serial], axis)
            log_probs, entries = _at_iterations(sums, entries, axis, shape)
        else:
            log_probs = self.emitted[site.serial]
        return window_sum(log_probs, entries, shape)

    def _once(self, key: Any, make: Callable[[], Array]) -> Array:
        if key not in self.sums:
            self.sums[key] = make()
        return self.sums[key]


def _in_front(entry: Entry, depth: int) -> Entry:
    """An entry with the axes of the scans around a leaf counted as its first axes."""
    if entry is None or entry[0] == "#":
        return entry
    axis = int(entry[0][1:]) if isinstance(entry[0], str) else entry[0] + depth
    return (axis, entry[1], entry[2])


def run_tail(
    plan: Plan, block: Block, deltas: dict[Var, Any], corrections: Emitted, coefficients: Emitted
) -> list[Any]:
    """Corrections of a block's results: its linear operations on deltas. None where a result has none."""
    deltas = dict(deltas)
    for v in plan.leaves:
        deltas[v] = corrections[v.serial]
    for op, linear in plan.tail:
        if op.kind == "scan":
            out = _scan_tail(op, plan.scans[op], deltas, corrections, coefficients)
        else:
            operands = [
                (deltas[x] if x in deltas else jnp.zeros(x.shape, _dtype(x)))
                if i in linear
                else x.value
                if isinstance(x, Const)
                else coefficients[x.serial]
                for i, x in enumerate(op.ins)
            ]
            out = bind(op, operands)
        for v, value in zip(op.outs, out, strict=True):
            if value is not None and v in plan.active and v not in plan.leaves:
                deltas[v] = value
    return [deltas.get(atom) if isinstance(atom, Var) else None for atom in block.outs]


def _scan_tail(op: Op, plan: Plan, deltas: dict[Var, Any], corrections: Emitted, coefficients: Emitted) -> list[Any]:
    """The corrections of a scan: a scan of the corrections."""
    body, loop = op.bodies[0], Loop.of(op)
    inner = {v.serial for v, _ in plan.all_leaves()}
    wanted = _coefficients(plan)
    moving = {k: x for k, x in corrections.items() if k in inner}
    held = {k: x for k, x in coefficients.items() if k in wanted}
    consts, carries, scanned = loop.split(body.ins)
    outer_consts, outer_carry, outer_scanned = loop.split(op.ins)
    still = {v: deltas[x] for v, x in zip(consts, outer_consts, strict=True) if x in deltas and v in plan.active}
    rows = {
        v.serial: deltas[x] for v, x in zip(scanned, outer_scanned, strict=True) if x in deltas and v in plan.active
    }
    slots = [i for i, v in enumerate(carries) if v in plan.active or body.outs[i] in plan.active]
    first = [deltas.get(outer_carry[i], jnp.zeros(carries[i].shape, _dtype(carries[i]))) for i in slots]  # pyright: ignore

    def step(carry: list[Any], xs: Any) -> tuple[list[Any], list[Any]]:
        moving, held, rows = xs
        here = still | {carries[i]: c for i, c in zip(slots, carry, strict=True)}
        here |= {v: rows[v.serial] for v in scanned if v.serial in rows}
        out = run_tail(plan, body, here, moving, held)
        after = [jnp.zeros_like(c) if out[i] is None else out[i] for i, c in zip(slots, carry, strict=True)]
        return after, [x for x in out[loop.carry :] if x is not None]

    xs = (moving, held, rows)
    adders = _accumulators(op, plan, loop, slots)
    if adders:  # every carry only adds: the scan is a sum
        zeros = [jnp.zeros(carries[i].shape, _dtype(carries[i])) for i in slots]
        added, stacked = jax.vmap(lambda row: step(zeros, row))(xs)
        final = [a + jnp.sum(b, axis=0) for a, b in zip(first, added, strict=True)]
    else:
        final, stacked = jax.lax.scan(step, first, xs, length=loop.length, reverse=loop.reverse)
    results: list[Any] = [None] * len(op.outs)
    for i, value in zip(slots, final, strict=True):
        results[i] = value
    present = [i for i in range(loop.carry, len(op.outs)) if body.outs[i] in plan.active]
    for i, value in zip(present, stacked, strict=True):
        results[i] = value
    return results


def _accumulators(op: Op, plan: Plan, loop: Loop, slots: list[int]) -> bool:
    """Whether each carry of the tail comes back as itself plus something that depends on no carry's correction."""
    body = op.bodies[0]
    carries = {body.ins[loop.consts + i]: i for i in slots}
    sums: dict[Var, frozenset[int]] = {v: frozenset([i]) for v, i in carries.items() if v in plan.active}
    pure = dict.fromkeys(sums, True)
    for operation, linear in plan.tail:
        reached = [sums.get(x, frozenset()) for i, x in enumerate(operation.ins) if i in linear and isinstance(x, Var)]
        if operation.kind == "scan":
            if any(x in sums for x in operation.ins):
                return False
            continue
        carried = frozenset().union(*reached)
        if not carried:
            continue
        for v in operation.outs:
            sums[v] = carried
            pure[v] = (
                operation.name in ("add", "add_any", "sub")
                and sum(bool(r) for r in reached) == 1
                and (operation.name != "sub" or operation.ins[0] in sums)
                and all(pure[x] for x in operation.ins if isinstance(x, Var) and x in sums)
                and all(x.shape == v.shape for x in operation.ins if isinstance(x, Var) and x in sums)
            )
    stacked = [v for v in body.outs[loop.carry :] if isinstance(v, Var)]
    if any(v in sums for v in stacked):
        return False
    for i in range(loop.carry):
        v = body.outs[i]
        if isinstance(v, Var) and v in sums and not (i in slots and sums[v] == {i} and pure[v]):
            return False
    # a carry that is not handed on as itself plus something is overwritten in each iteration: not a sum
    return bool(slots) and all(isinstance(v := body.outs[i], Var) and sums.get(v) == {i} for i in slots)


def _coefficients(plan: Plan) -> set[int]:
    inner = set().union(*(_coefficients(p) for p in plan.scans.values())) if plan.scans else set()
    return {v.serial for v in plan.coefficients} | inner


def _dtype(atom: Atom) -> Any:
    return atom.aval.dtype if isinstance(atom, Var) else jnp.result_type(atom.value)
