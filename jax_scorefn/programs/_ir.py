"""A private copy of a traced program: blocks of operations on variables, calls of jitted functions written out.

JAX's own jaxprs are read and never edited. Each call of a jitted function gets fresh variables, so that its choices are its own.
What has a body is one of four: ``scan`` and ``remat`` (run again from the copy), ``cond`` (the same if there is a choice inside),
and everything else (``while`` among it), which is bound as it was and whose body is looked into at most.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import Literal

from jax_scorefn.programs._noise import NOISE, carries_noise, is_mark, is_search, recognized
from jax_scorefn.programs._source import Source, place
from jax_scorefn.programs.rules import RULES, Map, Operation, Rule

CHOICE, FORGET, ALIVE, RULED = "scorefn_choice", "scorefn_forget", "scorefn_alive", "scorefn_ruled"
DRAWN = (CHOICE, NOISE)
CALLS = ("jit", "pjit", "closed_call", "core_call", "core_closed_call")
REMAT = ("checkpoint", "remat", "remat2")
WHILE = {"cond_jaxpr", "body_jaxpr", "cond_nconsts", "body_nconsts"}
OPAQUE_BODIES = {"custom_jvp_call": ("call_jaxpr",), "custom_vjp_call": ("call_jaxpr", "fun_jaxpr")}
BODIES = {"scan", "cond", "while", *CALLS, *REMAT, *OPAQUE_BODIES}
"""What is looked into, and has no use for a rule."""
CHOICE_INSIDE = (
    "There is a random choice inside of {primitive}, where it cannot be credited. {remedy} "
    "Or draw it before, and pass it in. It stands at {file}:{line}, in {function}."
)
REMEDIES = {
    "while": "Write the loop as sf.programs.while_loop(cond, body, init, max_steps=...); jax.lax.fori_loop with bounds that are known "
    "when it is traced is a scan already.",
    RULED: "A function with a rule is one operation; let it take the draw as an argument.",
    "shard_map": "Put sf.expectation inside of the mapped function, or shard the draws with its option sharding=.",
}
MUTABLE = (
    "The program uses a mutable array ({primitive} on {aval}); what is written there cannot be followed. Write it with "
    "values that are passed along, for instance in the carry of a jax.lax.scan."
)

_serial = itertools.count()


class Var:
    """A value of the program. Variables of a body know what they are bound to outside."""

    __slots__ = ("aval", "is_carry", "is_noise", "op", "outer", "serial")

    def __init__(self, aval: Any):
        self.aval, self.serial = aval, next(_serial)
        self.op: Op | None = None
        self.outer: Var | Const | None = None
        self.is_carry = self.is_noise = False

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.aval.shape)


class Const:
    """A value that is known outside of the program: a literal, or something closed over."""

    __slots__ = ("shape", "value")

    def __init__(self, value: Any):
        self.value = value
        self.shape = np.shape(value)


Atom = Var | Const


@dataclasses.dataclass(eq=False)
class Op:
    """One operation. ``bodies`` holds blocks: one of a scan, remat or opaque call, several of a cond.

    ``context`` is what it was traced in, where there is a mesh: which of its axes are explicit may change from call to call.
    ``source`` is where it stands in people's code.
    """

    prim: Any
    params: dict[str, Any]
    ins: list[Atom]
    outs: list[Var]
    kind: str = "plain"
    context: Any = None
    source: Source | None = None
    bodies: list[Block] = dataclasses.field(default_factory=list)
    serial: int = dataclasses.field(default_factory=lambda: next(_serial))

    @property
    def name(self) -> str:
        return self.prim.name

    @property
    def title(self) -> str:
        """What people know it by."""
        return self.params["name"] if self.name == RULED else self.name

    @property
    def estimator(self) -> Any:
        """Of a choice: how its derivative is estimated."""
        return self.params["estimator"]

    @property
    def rule(self) -> Rule | None:
        """What is known of it: of the primitive, or of the function that it is."""
        return self.params["rule"] if self.name == RULED else RULES.get(self.name)

    @functools.cached_property
    def operation(self) -> Operation:
        """What a rule sees of it. To be asked for when the block is built: operands change while calls are written out."""
        values = tuple(x.value if isinstance(x, Const) and not isinstance(x.value, Tracer) else None for x in self.ins)
        shapes, results = tuple(x.shape for x in self.ins), tuple(v.shape for v in self.outs)
        return Operation(self.name, self.params, shapes, results, values)

    @functools.cached_property
    def maps(self) -> list[Sequence[Map | None]] | None:
        """For each result, where the axes of each operand go; None without a rule."""
        return None if self.rule is None else self.rule.maps(self.operation)

    def linear(self, free: Sequence[bool]) -> tuple[int, ...]:
        """Operands in which it is linear together while the others, all of them ``free`` of choices, are stopped."""
        if self.rule is None or self.rule.linear is None:
            return ()
        groups = self.rule.groups(self.operation)
        return next((g for g in groups if all(free[i] for i in range(len(free)) if i not in g)), ())


@dataclasses.dataclass(eq=False)
class Block:
    """Operations in order, with the variables that go in and what comes out."""

    ins: list[Var]
    ops: list[Op]
    outs: list[Atom]

    def everything(self) -> Iterator[Op]:
        """The operations of this block and of the bodies in it."""
        for op in self.ops:
            yield op
            for body in op.bodies:
                yield from body.everything()

    def choices(self) -> list[Op]:
        """The choices among them."""
        return [op for op in self.everything() if op.kind == "choice"]

    def closed_over(self) -> list[Const]:
        """What they take from outside that a transformation of JAX may differentiate, each once."""
        constants = {id(x): x for op in self.everything() for x in op.ins if isinstance(x, Const)}
        return [x for x in constants.values() if isinstance(x.value, Tracer) and is_inexact(x)]


@dataclasses.dataclass(frozen=True)
class Loop:
    """How the operands of a scan are laid out: constants, carry, and what is scanned over."""

    consts: int
    carry: int
    length: int
    reverse: bool

    @classmethod
    def of(cls, op: Op) -> Loop:
        """Read off the ranks, whose meaning does not change between versions: xs and ys have one more axis outside."""
        body = op.bodies[0]
        carry = sum(len(out.shape) == len(inner.shape) for out, inner in zip(op.outs, body.outs, strict=True))
        stacked = sum(len(x.shape) > len(inner.shape) for x, inner in zip(op.ins, body.ins, strict=True))
        return cls(len(op.ins) - stacked - carry, carry, op.params["length"], op.params["reverse"])

    def split(self, items: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """Constants, carry and scanned of a list laid out as the operands are."""
        a, b = self.consts, self.consts + self.carry
        return list(items[:a]), list(items[a:b]), list(items[b:])


def build(closed: Any) -> Block:
    """The private copy of a closed jaxpr."""
    return _block(closed)


def refuse_hidden(block: Block, inside: Op | None = None) -> None:
    """Refuse a choice where it cannot be credited."""
    for op in block.ops:
        if op.kind == "choice" and inside is not None:
            raise TypeError(_hidden(inside, op))
        whole = op.kind == "while" or (op.kind == "opaque" and op.name not in CALLS)
        for body in op.bodies:
            refuse_hidden(body, inside or (op if whole else None))


def _hidden(inside: Op, choice: Op) -> str:
    at = place(choice.source)
    remedy = REMEDIES.get(inside.name, "Leave it out of the program, or move the choice out of it.")
    return CHOICE_INSIDE.format(primitive=inside.title, remedy=remedy, file=at.file, line=at.line, function=at.function)


def _open(jaxpr: Any) -> tuple[Any, list[Any]]:
    """A jaxpr and its constants, whether it is closed or not."""
    return getattr(jaxpr, "jaxpr", jaxpr), list(getattr(jaxpr, "consts", ()))


def _block(jaxpr: Any, within: Source | None = None) -> Block:
    opened, consts = _open(jaxpr)
    ins = [Var(v.aval) for v in opened.invars]
    ops: list[Op] = []
    block = Block(ins, ops, _inline(opened, consts, list(ins), ops, within))
    again = lambda closed, operands, ops: _inline(*_open(closed), operands, ops, within)
    ops[:] = recognized(ops, block.outs, again)
    _write_out_calls(block)
    return block


def _write_out_calls(block: Block) -> None:
    """Write out the calls that the results are reached from by linear operations: there may be costs in them to tell apart.

    The others are bound whole, which keeps JAX's own cache of what it has traced.
    """
    reached = {v for v in block.outs if isinstance(v, Var)}
    ops: list[Op] = []
    pending = list(block.ops)
    renamed: dict[Var, Atom] = {}
    while pending:
        op = pending.pop()
        if not any(v in reached for v in op.outs):
            ops.append(op)
        elif op.kind == "opaque" and op.name in CALLS:
            inner = op.bodies[0]
            bound: dict[Var, Atom] = dict(zip(inner.ins, op.ins, strict=True))
            for inside in inner.ops:
                inside.ins = [bound.get(x, x) if isinstance(x, Var) else x for x in inside.ins]
            results = [bound.get(x, x) if isinstance(x, Var) else x for x in inner.outs]
            renamed |= dict(zip(op.outs, results, strict=True))
            reached |= {x for v, x in zip(op.outs, results, strict=True) if v in reached and isinstance(x, Var)}
            pending += inner.ops
        else:
            ops.append(op)
            if op.kind == "scan" or (op.rule and op.rule.linear is not None):
                reached |= {x for x in op.ins if isinstance(x, Var)}
    block.ops[:] = reversed(ops)

    def current(x: Atom) -> Atom:
        while isinstance(x, Var) and x in renamed:
            x = renamed[x]
        return x

    for op in block.ops:
        op.ins = [current(x) for x in op.ins]
        _bind_bodies(op)
    block.outs[:] = [current(x) for x in block.outs]


def _inline(jaxpr: Any, consts: list[Any], ins: list[Atom], ops: list[Op], within: Source | None) -> list[Atom]:
    env: dict[Any, Atom] = dict(zip(jaxpr.invars, ins, strict=True))
    env |= {v: Const(c) for v, c in zip(jaxpr.constvars, consts, strict=True)}

    def read(atom: Any) -> Atom:
        return Const(atom.val) if isinstance(atom, Literal) else env[atom]

    meshes = None if jax.sharding.get_abstract_mesh().empty else True
    for eqn in jaxpr.eqns:
        name, params = eqn.primitive.name, eqn.params
        for v in (*eqn.invars, *eqn.outvars):
            if "Ref" in type(v.aval).__name__:
                raise TypeError(MUTABLE.format(primitive=name, aval=v.aval))
        operands = [read(v) for v in eqn.invars]
        source = within._replace(info=eqn.source_info) if within else Source(eqn.source_info, None, None)
        drawn = any(isinstance(x, Var) and x.is_noise for x in operands)
        drawn = drawn and not is_search(params)
        if name in CALLS and (drawn or _has(DRAWN, [_called(params)])):
            opened, inner_consts = _open(_called(params))
            results = _inline(opened, inner_consts, operands, ops, source.body(params.get("name")))
            env |= dict(zip(eqn.outvars, results, strict=True))
            continue
        outs, context = [Var(v.aval) for v in eqn.outvars], meshes and eqn.ctx
        op = Op(eqn.primitive, params, operands, outs, context=context, source=source)
        _describe(op)
        for out in op.outs:
            out.op, out.is_noise = op, is_mark(op) or (drawn and carries_noise(op))
        env |= dict(zip(eqn.outvars, op.outs, strict=True))
        ops.append(op)
    return [read(v) for v in jaxpr.outvars]


def inlined(function: Any, operands: list[Atom], ops: list[Op], of: Op) -> list[Atom]:
    """The results of a function of arrays, whose operations are appended to a list as a part of another one."""
    like = [
        jax.ShapeDtypeStruct(x.shape, x.aval.dtype if isinstance(x, Var) else jnp.result_type(x.value))
        for x in operands
    ]
    results = _inline(*_open(jax.make_jaxpr(function)(*like)), operands, found := [], None)
    for op in found:
        op.source, op.context = of.source, of.context
    ops += found
    return results


def _called(params: dict[str, Any]) -> Any:
    return params.get("jaxpr", params.get("call_jaxpr"))


def _describe(op: Op) -> None:
    """Say what kind of operation it is and copy its bodies; refuse a choice where it cannot be credited."""
    name, params = op.name, op.params
    within = op.source and op.source.body(params.get("name") if name in CALLS else None)
    if name == CHOICE:
        op.kind = "choice"
    elif name == FORGET:
        op.kind = "forget"
    elif name == "scan":
        op.kind, op.bodies = "scan", [_block(params["jaxpr"], within)]
    elif name == "cond":
        op.kind, op.bodies = "cond", [_block(branch, within) for branch in params["branches"]]
    elif name in REMAT:
        op.kind, op.bodies = "remat", [_block(params["jaxpr"], within)]
    elif name in CALLS:
        op.kind, op.bodies = "opaque", [_block(_called(params), within)]
    else:
        if name == "while" and params.keys() >= WHILE:
            op.kind, op.bodies = "while", [_block(params[key], within) for key in ("cond_jaxpr", "body_jaxpr")]
            return
        body = next((params[key] for key in OPAQUE_BODIES.get(name, ()) if key in params), None)
        if body is not None:
            op.kind, op.bodies = "opaque", [_block(body, within)]
        elif _has((CHOICE,), list(params.values())):
            raise TypeError(_hidden(op, op))
    _bind_bodies(op)


def _bind_bodies(op: Op) -> None:
    """Tell the operands of the bodies what they are bound to."""
    if op.kind == "while":  # nothing is followed into it
        return
    for body in op.bodies:
        operands = op.ins[1:] if op.kind == "cond" else op.ins
        for inner, outer in zip(body.ins, operands, strict=True):
            inner.outer = outer
        if op.kind == "scan":
            for inner in Loop.of(op).split(body.ins)[1]:
                inner.is_carry = True


def _has(names: tuple[str, ...], items: Any) -> bool:
    """Whether one of these primitives is in any jaxpr among (nested lists of) parameters."""
    for item in items:
        if isinstance(item, list | tuple):
            if _has(names, item):
                return True
            continue
        jaxpr = getattr(item, "jaxpr", item)
        for eqn in getattr(jaxpr, "eqns", ()):
            if eqn.primitive.name in names or _has(names, list(eqn.params.values())):
                return True
    return False


def is_inexact(atom: Atom) -> bool:
    """Whether a value is a float or a complex number."""
    dtype = atom.aval.dtype if isinstance(atom, Var) else jnp.result_type(atom.value)
    return jnp.issubdtype(dtype, jnp.inexact)
