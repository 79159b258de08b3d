"""Run the linear tail of a program on the corrections of its leaves.

    value of an output  =  what the program computes  +  tail(delta)

The same linear operations, on deltas in place of values.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn._wide import cast, wide, wide_dtype
from jax_scorefn.programs._evaluate import Emitted, bind
from jax_scorefn.programs._ir import RULED, Atom, Block, Const, Loop, Op, Var
from jax_scorefn.programs._linear import Plan
from jax_scorefn.programs._mesh import onto_mesh
from jax_scorefn.typing import Array


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
                (deltas[x] if x in deltas else _zeros(x))
                if i in linear
                else x.value
                if isinstance(x, Const)
                else coefficients[x.serial]
                for i, x in enumerate(op.ins)
            ]
            out = _bind_wide(op, operands)
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
    constants = {k: x for k, x in coefficients.items() if k in wanted}
    consts, carries, scanned = loop.split(body.ins)
    outer_consts, outer_carry, outer_scanned = loop.split(op.ins)
    still = {v: deltas[x] for v, x in zip(consts, outer_consts, strict=True) if x in deltas and v in plan.active}
    rows = {
        v.serial: deltas[x] for v, x in zip(scanned, outer_scanned, strict=True) if x in deltas and v in plan.active
    }
    slots = [i for i, v in enumerate(carries) if v in plan.active or body.outs[i] in plan.active]
    first = onto_mesh([deltas.get(outer_carry[i], _zeros(carries[i])) for i in slots])  # pyright: ignore

    def step(carry: list[Any], xs: Any) -> tuple[list[Any], list[Any]]:
        moving, constants, rows = xs
        here = still | {carries[i]: c for i, c in zip(slots, carry, strict=True)}
        here |= {v: rows[v.serial] for v in scanned if v.serial in rows}
        out = run_tail(plan, body, here, moving, constants)
        after = [jnp.zeros_like(c) if out[i] is None else out[i] for i, c in zip(slots, carry, strict=True)]
        return after, [x for x in out[loop.carry :] if x is not None]

    xs = (moving, constants, rows)
    adders = _accumulators(op, plan, loop, slots)
    if adders:  # every carry only adds: the scan is a sum
        zeros = onto_mesh([_zeros(carries[i]) for i in slots])
        added, stacked = jax.vmap(lambda row: step(zeros, row), axis_size=loop.length)(xs)
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


def _zeros(atom: Atom) -> Array:
    return jnp.zeros(atom.shape, wide_dtype(_dtype(atom)))


def _dtype(atom: Atom) -> Any:
    return atom.aval.dtype if isinstance(atom, Var) else jnp.result_type(atom.value)


DTYPES = ("new_dtype", "preferred_element_type")
"""Parameters of linear operations that say of what dtype the result is."""


def _bind_wide(op: Op, operands: list[Any]) -> list[Any]:
    """A linear operation in float32 where it was traced in half precision."""
    if all(v.aval.dtype == wide_dtype(v.aval.dtype) for v in (*op.outs, *(x for x in op.ins if isinstance(x, Var)))):
        return bind(op, operands)
    if "scatter" in op.name or op.name == RULED:  # it holds operations that were traced in its own dtype
        return wide(bind(op, [cast(jnp.asarray(x), _dtype(y)) for x, y in zip(operands, op.ins, strict=True)]))
    params = {k: wide_dtype(x) if k in DTYPES and x is not None else x for k, x in op.params.items()}
    return bind(dataclasses.replace(op, params=params), [wide(jnp.asarray(x)) for x in operands])
