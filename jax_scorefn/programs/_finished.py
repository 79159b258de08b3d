"""What a finished run of a ``while_loop`` does counts for nothing, and the analysis is shown so: two changes to the copy of its body.

a choice                          is scored with  where(alive, log p, 0)
where(alive, x + c, x)            is  x + where(alive, c, 0), a sum, whose terms are credited one by one
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn.programs._ir import ALIVE, Atom, Block, Op, Var, inlined, is_inexact

SUMS = {"add": (0, 1), "add_any": (0, 1), "sub": (0,)}
"""Operations that add something to an operand: to which."""
SAME = ("convert_element_type", "copy", "copy_p")
"""Operations that hand on what they are given, if it is of the dtype that is wanted."""


def finish(block: Block) -> None:
    """Change the bodies of all loops that end by themselves."""
    for op in block.everything():
        if op.kind == "scan":
            body = op.bodies[0]
            for mark in [inside for inside in body.ops if inside.name == ALIVE]:
                _score_while_alive(body, mark.outs[0])
                _add_while_alive(body, mark.outs[0])


def _score_while_alive(block: Block, alive: Var) -> None:
    """Mask the log-probabilities of the choices here and in the bodies inside, which are given the flag."""
    ops: list[Op] = []
    for op in block.ops:
        if op.kind == "choice" and op.estimator.scored:
            (op.ins[0],) = inlined(_zero_if_not, [alive, op.ins[0]], ops, op)
        elif any(body.choices() for body in op.bodies):
            place = 0 if op.kind == "scan" else len(op.ins)  # among the constants of a scan, which come first
            op.ins.insert(place, alive)
            for body in op.bodies:
                inner = Var(alive.aval)
                inner.outer = alive
                body.ins.insert(place if op.kind != "cond" else len(body.ins), inner)
                _score_while_alive(body, inner)
        ops.append(op)
    block.ops[:] = ops


def _zero_if_not(alive: Any, x: Any) -> Any:
    """X, and 0 where its loop has ended; of a choice that several loops share, where all of them have."""
    if x.shape[: alive.ndim] != alive.shape:
        alive = jnp.any(alive)
    alive = alive.reshape(alive.shape + (1,) * (x.ndim - alive.ndim))
    return jax.lax.select(jnp.broadcast_to(alive, x.shape), x, jnp.zeros_like(x))


def _add_while_alive(block: Block, alive: Var) -> None:
    ops: list[Op] = []
    for op in block.ops:
        if op.name == "select_n" and len(op.ins) == 3 and is_inexact(op.outs[0]) and _flag(op.ins[0]) is alive:
            _, kept, after = op.ins
            found: list[Op] = []
            result = _added(_while(alive, after), kept, alive, found)
            if result is not None and found:
                ops += found
                found[-1].outs = op.outs
                op.outs[0].op = found[-1]
                continue
        ops.append(op)
    block.ops[:] = ops


def _added(y: Atom, x: Atom, alive: Var, ops: list[Op]) -> Atom | None:
    """What is x, plus what was added to it on the way to y while alive; None if y is no such sum."""
    if y is x:
        return x
    op = y.op if isinstance(y, Var) else None
    if op is None:
        return None
    for i in SUMS.get(op.name, ()):
        below = _added(_while(alive, op.ins[i]), x, alive, ops)
        if below is not None and op.ins[i].shape == op.outs[0].shape == op.ins[1 - i].shape:
            (term,) = inlined(_zero_if_not, [alive, op.ins[1 - i]], ops, op)
            terms = [below, term] if i == 0 else [term, below]
            out = Var(op.outs[0].aval)
            out.op = Op(op.prim, op.params, terms, [out], context=op.context, source=op.source)
            ops.append(out.op)
            return out
    return None


def _flag(atom: Atom) -> Atom:
    """The flag that a mask is made of."""
    while isinstance(atom, Var) and atom.op is not None and atom.op.name == "broadcast_in_dim":
        atom = atom.op.ins[0]
    return atom


def _while(alive: Var, atom: Atom) -> Atom:
    """What it is while alive."""
    while isinstance(atom, Var) and (op := atom.op) is not None:
        if op.name == "select_n" and _flag(op.ins[0]) is alive:
            atom = op.ins[2]
        elif op.name in SAME and isinstance(x := op.ins[0], Var) and x.aval.dtype == atom.aval.dtype:
            atom = x
        else:
            break
    return atom
