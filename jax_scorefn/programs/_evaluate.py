"""Run a program for its values.

The run collects the log-probability of each choice, the value of each leaf and what the tail needs; those inside a scan come out
stacked, one row for each iteration, so every correction is computed at once outside of the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._surrogate import on_path
from jax_scorefn._trees import is_float, reusable, stop
from jax_scorefn._wide import cast, wide
from jax_scorefn.programs._ir import ALIVE, Atom, Block, Loop, Op, Var
from jax_scorefn.programs._linear import Plan
from jax_scorefn.programs._mesh import onto_mesh
from jax_scorefn.programs._while_loop import in_blocks
from jax_scorefn.programs.lanes._lane import Lane, Straight
from jax_scorefn.typing import Array

Emitted = dict[int, Array]
"""Values by serial number: log-probabilities of choices, leaves, coefficients."""


def bind(op: Op, values: list[Any]) -> list[Any]:
    """Run an operation as it was."""
    if op.kind == "mask":
        chosen, x = values
        zero = jnp.zeros_like(x)
        values = [chosen, *(x if i == op.params["case"] else zero for i in range(op.params["cases"]))]
        return [op.prim.bind(*values)]
    if op.name.startswith("custom"):  # people's rules index constants, which numpy's own arrays do not bear
        values = [jnp.asarray(x) if isinstance(x, np.ndarray) else x for x in values]
    params = op.prim.get_bind_params(op.params)
    functions, params = params if isinstance(params, tuple) else ((), params)
    with nullcontext() if op.context is None else op.context.manager:
        out = op.prim.bind(*functions, *values, **params)
    return list(out) if op.prim.multiple_results else [out]


def from_outside(x: Any) -> Any:
    """What a lane takes from outside: a number, or a key that is used there too."""
    return reusable(stop(x))


class Run:
    """The values of one block: ``env`` by variable, ``emitted`` from it and from the bodies in it; of a ``lane``, if there is one."""

    def __init__(self, plan: Plan | None, lane: Lane | Straight | None = None):
        self.env: dict[Var, Any] = {}
        self.emitted: Emitted = {}
        self.paths: dict[Var, Array] = {}
        """Floats that draws which are ints stand for, where a derivative is to go through them."""
        self.plan, self.lane = plan or Plan(), lane
        self.kept = {v.serial for v in (*self.plan.leaves, *self.plan.coefficients)}

    def copy(self) -> Run:
        """The same so far."""
        run = Run(self.plan, self.lane)
        run.env, run.emitted, run.paths = dict(self.env), dict(self.emitted), dict(self.paths)
        return run

    def read(self, atom: Atom) -> Any:
        """The value of a variable or constant."""
        if isinstance(atom, Var):
            return self.env[atom]
        return atom.value if self.lane is None else from_outside(atom.value)

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
            if self.lane is None:
                self.emitted[op.serial] = values[0]
                self.emitted |= {v.serial: x for v, x in op.estimator.kept(op, values)}
                out = op.estimator.draw(values, op.params["size"])
            else:
                out = self.lane.draw(op, values)
                self.paths |= self.lane.paths(op, values)
        elif op.kind == "plain draw":
            out = op.estimator.draw(values, op.params["size"])
        elif op.kind == "forget":
            reset, *out = values
            if self.lane is None:
                self.emitted[op.serial] = reset
        elif op.name == ALIVE:
            out = values
            self.emitted[op.serial] = values[0]
        elif op.kind == "scan":
            out, emitted = _scan(op, values, self.plan.scans.get(op), self.lane)
            self.emitted |= emitted
        elif op.kind in ("cond", "remat") and any(body.choices() for body in op.bodies):
            out, emitted = (_cond if op.kind == "cond" else _remat)(op, values, self.lane)
            self.emitted |= emitted
        else:
            out = bind(op, values)
            if op.name == "convert_element_type" and isinstance(op.ins[0], Var) and op.ins[0] in self.paths:
                out = [on_path(out[0], self.paths[op.ins[0]].astype(out[0].dtype))] if is_float(out[0]) else out
        self.write(op.outs, list(out))


def run_block(
    block: Block, operands: list[Any], plan: Plan | None = None, lane: Lane | Straight | None = None
) -> tuple[list[Any], Emitted]:
    """Results of a block, and what it emits."""
    run = Run(plan, lane)
    run.write(block.ins, operands)
    for op in block.ops:
        run.step(op)
    return [run.read(atom) for atom in block.outs], run.emitted


def _scan(op: Op, values: list[Any], plan: Plan | None, lane: Lane | Straight | None) -> tuple[list[Any], Emitted]:
    body, loop = op.bodies[0], Loop.of(op)
    consts, carry, scanned = loop.split(values)
    carry = onto_mesh(carry)  # it has to be of the type of what comes around
    widened = wide([jnp.asarray(x) for x in consts])  # their derivatives are added up over the iterations

    def step(state: tuple[list[Any], Any], xs: list[Any]) -> tuple[tuple[list[Any], Any], tuple[list[Any], Emitted]]:
        carry, done = state
        given = [cast(x, v.aval.dtype) for x, v in zip(widened, body.ins[: loop.consts], strict=True)]
        here = lane and lane.within(loop.length - 1 - done if loop.reverse else done)
        out, emitted = run_block(body, [*given, *carry, *xs], plan, here)
        return (out[: loop.carry], lane and done + 1), (out[loop.carry :], emitted)

    first, marks = (carry, lane and jnp.int32(0)), [inside.serial for inside in body.ops if inside.name == ALIVE]
    if marks and not scanned:
        ran_on = lambda _, rows: jnp.any(rows[1][marks[0]][-1])
        (final, _), (stacked, emitted) = in_blocks(lambda state, _: step(state, []), ran_on, first, loop.length)
        return [*final, *stacked], emitted
    options = {"length": loop.length, "reverse": loop.reverse, "unroll": op.params.get("unroll", 1)}
    (final, _), (stacked, emitted) = jax.lax.scan(step, first, scanned, **options)
    return [*final, *stacked], emitted


def _remat(op: Op, values: list[Any], lane: Lane | Straight | None) -> tuple[list[Any], Emitted]:
    options = {"prevent_cse": op.params["prevent_cse"], "policy": op.params["policy"]}
    return jax.checkpoint(lambda *xs: run_block(op.bodies[0], list(xs), None, lane), **options)(*values)


def _cond(op: Op, values: list[Any], lane: Lane | Straight | None) -> tuple[list[Any], Emitted]:
    """A switch whose branches all emit the choices of all; those of the other branches have log-probability 0."""
    index, *operands = values
    shapes: dict[int, Any] = {}
    for body in op.bodies:
        shapes |= jax.eval_shape(lambda *xs, body=body: run_block(body, list(xs), None, lane)[1], *operands)

    def branch(body: Block) -> Callable[..., Any]:
        def run(*xs: Any) -> tuple[list[Any], Emitted]:
            out, emitted = run_block(body, list(xs), None, lane)
            return out, {
                k: emitted[k] if k in emitted else onto_mesh(jnp.zeros(like.shape, like.dtype))
                for k, like in shapes.items()
            }

        return run

    return jax.lax.switch(index, [branch(body) for body in op.bodies], *operands)
