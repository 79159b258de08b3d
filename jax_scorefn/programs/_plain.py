"""Draws of a lifted program that no derivative reaches: their parameters depend on no argument, and they stay plain draws.

A value moves if it is a float that is made of one that moves; the float arguments do, and what a transformation around the program
passes to it by a closure. What is stopped, drawn, or a whole number does not. A draw whose log-probability does not move has no
score, so it may stand where no choice may: an environment's own resets in a ``while_loop``.
"""

from __future__ import annotations

from typing import Any

from jax.core import Tracer

from jax_scorefn.programs._ir import Atom, Block, Const, Loop, Op, Var, is_inexact


def plain_draws(block: Block) -> None:
    """Mark these draws, in the block and in its bodies, as no choices."""
    lifted = [op for op in _all(block) if op.kind == "choice" and op.params["lifted"]]
    if not lifted:
        return
    moving = {v for v in block.ins if is_inexact(v)}
    before = -1
    while len(moving) > before:  # a loop hands on what its last round found
        before = len(moving)
        _propagate(block, moving)
    for op in lifted:
        if not _moves(op.ins[0], moving):
            op.kind = "plain draw"


def _moves(x: Atom, moving: set[Any]) -> bool:
    return x in moving or (isinstance(x, Const) and isinstance(x.value, Tracer) and is_inexact(x))


def _all(block: Block) -> list[Op]:
    return [found for op in block.ops for found in (op, *(x for body in op.bodies for x in _all(body)))]


def _propagate(block: Block, moving: set[Any]) -> None:
    def bound(inner: Any, outer: Any) -> None:
        moving.update(
            v for v, x in zip(inner, outer, strict=True) if _moves(x, moving) and isinstance(v, Var) and is_inexact(v)
        )

    for op in block.ops:
        if op.kind == "choice" or op.name == "stop_gradient":
            continue
        match op.kind:
            case "scan":
                (body,), loop = op.bodies, Loop.of(op)
                bound(body.ins, op.ins)
                _propagate(body, moving)
                bound(loop.split(body.ins)[1], body.outs[: loop.carry])
                bound(op.outs, body.outs)
            case "while":
                test, body = op.bodies
                tests, steps = op.params["cond_nconsts"], op.params["body_nconsts"]
                carry = op.ins[tests + steps :]
                bound(body.ins, op.ins[tests:])
                _propagate(body, moving)
                bound(body.ins[steps:], body.outs)
                bound(test.ins, [*op.ins[:tests], *carry])
                bound(test.ins[tests:], body.outs)
                _propagate(test, moving)
                bound(op.outs, carry)
                bound(op.outs, body.outs)
            case "cond" | "remat" | "opaque":
                for body in op.bodies:
                    bound(body.ins, op.ins[1:] if op.kind == "cond" else op.ins)
                    _propagate(body, moving)
                    bound(op.outs, body.outs)
        ruled = op.name.startswith("custom")  # a derivative of its own may go on where the body's ends
        if (ruled or not op.bodies) and any(_moves(x, moving) for x in op.ins):
            moving.update(v for v in op.outs if is_inexact(v))
