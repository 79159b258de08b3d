"""Forward: which inputs each value moves with, and where on its way a derivative in them was lost.

A comparison, a rounding or an argmax of what moves has a result that stands still, and the loss goes along with what is made of it.
Where it is compared with what the branches of a ``where`` are, element by element, it may turn out that nothing jumps (``_switch``):
that is asked at the end of each stretch of elementwise operations, and what does not jump is forgotten.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from jax_scorefn.programs._evaluate import bind
from jax_scorefn.programs._ir import Atom, Block, Const, Loop, Op, Var, build, is_inexact
from jax_scorefn.programs._numbers import ELEMENTWISE
from jax_scorefn.programs._source import SAMPLERS, Place, is_in_sample, is_inside, place
from jax_scorefn.programs._switch import DEEPEST, NEAR, VIEWS, Status, identity, judge, made_by, mixes

ORDERS = ("ge", "gt", "le", "lt")
"""Comparisons that tell inside from outside."""
SWITCHES = {"lt", "le", "gt", "ge", "eq", "ne", "convert_element_type", "round", "floor", "ceil", "sign", "rem"}
"""What may turn out not to matter, since both sides are equal at the switch."""
STILL = {"round", "floor", "ceil", "sign", "nextafter"}
"""Results that are floats and stand still."""
NOT_LOST = {"is_finite", "nextafter"}
RAISES = {"pure_callback", "io_callback", "scorefn_report"}
"""What raises when it is differentiated, so that nothing is lost in silence."""
INDEXED = {
    "gather": slice(1, 2),
    "dynamic_slice": slice(1, None),
    "dynamic_update_slice": slice(2, None),
} | dict.fromkeys(
    (
        "scatter",
        "scatter-add",
        "scatter_add",
        "scatter-mul",
        "scatter_mul",
        "scatter-min",
        "scatter_min",
        "scatter-max",
        "scatter_max",
    ),
    slice(1, 2),
)
"""Which operands are indices."""
SMOOTH = {"_interp", "expm", "ndtri", "spence", "triangular"}
"""Functions of JAX without jumps, though what they are made of has some."""


class Taint(NamedTuple):
    """What is known of a value.

    Attributes:
      moves: bits of the inputs whose derivative reaches it.
      lost: where a derivative was lost that would have reached it.
      random: whether it depends on a draw: KEYED on one that is made of a key, SCORED on a choice, whose derivative is by its score.
      lifted: bits of the inputs that the score of a lifted draw moves with, if it depends on one.
    """

    moves: int = 0
    lost: dict[Op, Status] = {}  # noqa: RUF012 - never changed
    random: int = 0
    lifted: int = 0


KEYED, SCORED = 1, 2


@dataclasses.dataclass
class Loss:
    """One operation with no derivative: bits of the inputs that move its operands, whether these are random, and its place."""

    moves: int
    random: int
    uniform: bool
    """Whether it compares something random that stands still with something that moves and is not random."""
    place: Place
    surrogate: bool = False
    """Whether it stops what depends on a lifted draw."""


def join(taints: Sequence[Taint]) -> Taint:
    """What is made of all of them."""
    moves, lost, random, lifted = 0, {}, 0, 0
    for taint in taints:
        moves, random, lifted = moves | taint.moves, random | taint.random, lifted | taint.lifted
        for op, status in taint.lost.items():
            lost[op] = max(status, lost.get(op, status))
    return Taint(moves, lost, random, lifted)


class Losses:
    """``found[op]``: what is lost at an operation, if it reaches a result: ``reaching`` has these, with how sure it is."""

    def __init__(self, block: Block, inputs: Sequence[Taint], results: Sequence[Atom]):
        self.of: dict[Var, Taint] = dict(zip(block.ins, inputs, strict=True))
        self.constants: dict[int, Taint] = {}
        """Of what the program closes over, by the identity of the constant; the caller knows which of it moves."""
        self.found: dict[Op, Loss] = {}
        self._places: dict[Op, Place] = {}
        self._block, self._results = block, results

    def reaching(self) -> dict[Op, Status]:
        """The losses that reach a result."""
        self._run(self._block)
        return join([self._settled(atom) for atom in self._results]).lost

    def __call__(self, atom: Atom) -> Taint:
        if isinstance(atom, Const):
            return self.constants.get(id(atom), Taint())
        return self.of[atom]

    def _run(self, block: Block) -> list[Taint]:
        for op in block.ops:
            self.of |= zip(op.outs, self._op(op), strict=True)
        return [self(atom) for atom in block.outs]

    def _body(self, body: Block, taints: Sequence[Taint]) -> list[Taint]:
        self.of |= zip(body.ins, taints, strict=True)
        return self._run(body)

    def _op(self, op: Op) -> list[Taint]:
        if op.kind == "plain":
            return self._plain(op)
        if op.kind == "opaque" and op.name.startswith("custom"):
            return self._custom(op)
        if op.kind == "mask":  # of the analysis; the program itself does not use it
            return [Taint()]
        if op.kind == "plain draw":  # of parameters that do not move, or not any more
            every = join([self._settled(x) for x in op.ins])
            return [every._replace(moves=0, random=every.random | KEYED)] * len(op.outs)
        if op.kind == "choice":
            return self._choice(op)
        if op.kind == "forget":
            return [self(x) for x in op.ins[1:]]
        if op.kind == "cond":
            return self._cond(op)
        if op.kind == "scan":
            return self._scan(op)
        if op.kind == "while":
            return self._while(op)
        return self._body(op.bodies[0], [self(x) for x in op.ins])

    def _plain(self, op: Op) -> list[Taint]:
        if not any(taint != Taint() for taint in map(self, op.ins)) and not _draws(op):
            return [Taint()] * len(op.outs)
        if op.name in ELEMENTWISE or (op.name in VIEWS and not mixes(op)):
            taints = [self(x) for x in op.ins]
        else:
            taints = [self._settled(x) for x in op.ins]
        if op.name == "stop_gradient":
            return [self._stopped(op, taints[0])]
        if op.name in RAISES or (op.name == "scorefn_guard" and op.params["order"] == 0):
            return [join(taints)._replace(moves=0, lost={})] * len(op.outs)
        if op.name in INDEXED:
            indices = range(len(taints))[INDEXED[op.name]]
            taints = [self._chosen(op, x) if i in indices else x for i, x in enumerate(taints)]
        if op.name == "select_n" and any(map(_endless, op.ins[1:])):
            # where(inside, log p, -inf): a mean that is finite never meets the other side
            taints[0] = taints[0]._replace(lost={x: s for x, s in taints[0].lost.items() if x.name not in ORDERS})
        smooth = self._smooth(op, taints)
        if op.name == "reduce_and":
            smooth = [
                taint._replace(lost={x: s for x, s in taint.lost.items() if not self._checks(x)}) for taint in smooth
            ]
        if op.name == "select_n":
            smooth = [self._without_jumps(op.outs[0], smooth[0])]
        if not any(taint.moves for taint in taints) or op.name in NOT_LOST:
            return smooth
        return [self._without(op, i, taints, taint) for i, taint in enumerate(smooth)]

    def _custom(self, op: Op) -> list[Taint]:
        """A function with a derivative of its own, which is right as it is; where it is 0 by construction, the body has the losses."""
        taints = [self(x) for x in op.ins]
        smooth = self._smooth(op, taints)
        if not any(taint.moves for taint in taints):
            return smooth
        inside = self._body(op.bodies[0], [taint._replace(lost={}) for taint in map(self._settled, op.ins)])
        if not any(taint.lost for taint in inside):
            return smooth
        passing = [taint.moves if passes else 0 for taint, passes in zip(taints, passes_on(op), strict=True)]
        whole = all(taint.moves == moves for taint, moves in zip(taints, passing, strict=True))
        moves, settled = functools.reduce(operator.or_, passing), map(self._settled, op.bodies[0].outs)
        return [
            a if whole and is_inexact(v) else join([a, b])._replace(moves=a.moves & moves)
            for v, a, b in zip(op.outs, smooth, settled, strict=True)
        ]

    def _smooth(self, op: Op, taints: Sequence[Taint]) -> list[Taint]:
        """Of an operation with a derivative in each of its operands."""
        every, random = join(taints), join(taints).random
        if _draws(op):
            random = 0 if is_in_sample(op.source) else random | KEYED  # whose derivative is by its score
        return [
            every._replace(moves=every.moves if is_inexact(v) and op.name not in STILL else 0, random=random)
            for v in op.outs
        ]

    def _without(self, op: Op, i: int, taints: Sequence[Taint], smooth: Taint) -> Taint:
        """Result i, where the operation has no derivative."""
        v, moves = op.outs[i], join(taints).moves
        by = op.params["num_keys"] if op.name == "sort" else 0
        reordered = i >= by and any(self(x).moves for x in op.ins[:by])
        if is_inexact(v) and op.name not in STILL and op.name != "rem" and not reordered:
            return smooth
        if self._place(op).ours or is_inside(op.source, SMOOTH) or any(map(_endless, op.ins)):
            return smooth
        sampler = self._place(op).entry in SAMPLERS  # whose result stands still, whatever is done with it
        status = Status.PENDING if op.name in SWITCHES and not sampler else Status.LOST
        if op.name in ("eq", "ne") and all(self(x).moves for x in op.ins) and len(set(map(identity, op.ins))) == 2:
            status = Status.MAY  # x == max(x): nobody can see here how often they meet
        left = [x for x in taints if x.moves and not x.random]
        right = [x for x in taints if x.random and not x.moves]
        self.found[op] = Loss(
            moves, join(taints).random, len(taints) == 2 and bool(left) and bool(right), self._place(op)
        )
        return smooth._replace(lost={**smooth.lost, op: max(status, smooth.lost.get(op, status))})

    def _stopped(self, op: Op, taint: Taint) -> Taint:
        """What people have stopped themselves is told, and what a library stops of a draw or a step; a softmax is right to stop.

        In a lifted program a draw has its score already, and a surrogate around it has another expectation.
        """
        at, lost = self._place(op), {}
        told = at.entry == "stop_gradient" and not at.ours
        if told and at.library and taint.random & KEYED:  # no derivative: it says so, and brings none back
            lost = taint.lost
            told = any(word in at.library for word in ("sample", "step"))
        elif at.library:
            told = False
        surrogate = 0 if at.library else taint.lifted
        if told and (taint.moves or surrogate):
            self.found[op] = Loss(taint.moves | surrogate, taint.random, False, at, surrogate=bool(surrogate))
            lost = lost | {op: Status.LOST}
        return Taint(0, lost, taint.random, taint.lifted)

    def _checks(self, op: Op) -> bool:
        """Whether it is a library's check of parameters, all(p >= 0): its other side is no value at all."""
        known = any(isinstance(x, Const) for x in map(made_by, op.ins))
        return op.name in ORDERS and known and bool(self._place(op).library)

    def _chosen(self, op: Op, index: Taint) -> Taint:
        """An index: an order of the array that it is used on may bring out what does not jump, as sorting does."""
        array = made_by(op.ins[0])

        def sure(place: Op, status: Status) -> Status:
            own = place.name in ("argmax", "argmin", "sort", "top_k") and made_by(place.ins[0]) is array
            return Status.MAY if own else max(status, Status.LOST)

        return index._replace(lost={place: sure(place, status) for place, status in index.lost.items()})

    def _choice(self, op: Op) -> list[Taint]:
        """A draw does not move; what its derivative goes through is in front of it, and its values may move behind it.

        The score is at the draw as it is, so what made the draw loses nothing.
        """
        first, last = op.estimator.front, op.estimator.front + op.params["size"]
        before = [self._settled(x) for x in op.ins]
        front, behind = join(before[:first]), join(before[last:])
        drawn = {place for x in op.ins[first:last] for place in self(_unstopped(x)).lost if is_in_sample(place.source)}
        lost = {place: status for place, status in join([front, behind]).lost.items() if place not in drawn}
        lifted = front.lifted | behind.lifted | (front.moves if op.params["lifted"] else 0)
        out = Taint(behind.moves, lost, SCORED | front.random | behind.random, lifted)
        return [out if is_inexact(v) else out._replace(moves=0) for v in op.outs]

    def _cond(self, op: Op) -> list[Taint]:
        decided = self(op.ins[0])
        branches = [self._body(body, [self(x) for x in op.ins[1:]]) for body in op.bodies]
        return [join([decided._replace(moves=0), *parts]) for parts in zip(*branches, strict=True)]

    def _scan(self, op: Op) -> list[Taint]:
        body, loop = op.bodies[0], Loop.of(op)
        outside = [self(x) if i < loop.consts else self._settled(x) for i, x in enumerate(op.ins)]
        consts, carry, scanned = loop.split(outside)

        def around(carry: list[Taint]) -> list[Taint]:
            nonlocal out
            self._body(body, [*consts, *carry, *scanned])
            out = [self._settled(x) for x in body.outs]
            return out[: loop.carry]

        out: list[Taint] = []
        return [*_settle(carry, around), *out[loop.carry :]]

    def _while(self, op: Op) -> list[Taint]:
        condition, body = op.bodies
        tests, steps = op.params["cond_nconsts"], op.params["body_nconsts"]
        taints = [self._settled(x) for x in op.ins]
        outside, carry = taints[tests : tests + steps], taints[tests + steps :]

        def around(carry: list[Taint]) -> list[Taint]:
            self._body(condition, [*taints[:tests], *carry])
            decided = self._settled(condition.outs[0])
            self._body(body, [*outside, *carry])
            return [
                join(
                    [self._settled(x), decided._replace(moves=0, lost=_may(decided) if is_inexact(x) else decided.lost)]
                )
                for x in body.outs
            ]

        return _settle(carry, around)

    def _settled(self, atom: Atom) -> Taint:
        """With each switch decided: what does not jump is forgotten."""
        taint = self(atom)
        verdicts = self._verdicts(atom, taint, DEEPEST)
        lost = {op: verdicts.get(op, status) for op, status in taint.lost.items()}
        return taint._replace(lost={op: status for op, status in lost.items() if status is not None})

    def _without_jumps(self, atom: Atom, taint: Taint) -> Taint:
        """What is seen not to jump is forgotten at once; the rest may still turn out not to."""
        verdicts = self._verdicts(atom, taint, NEAR)
        lost = {op: status for op, status in taint.lost.items() if verdicts.get(op, status) is not None}
        return taint._replace(lost=lost)

    def _verdicts(self, atom: Atom, taint: Taint, deepest: int) -> dict[Op, Status | None]:
        pending = [op for op, status in taint.lost.items() if status is Status.PENDING]
        moving = lambda x: 0 if isinstance(x, Var) and x not in self.of else self(x).moves
        return judge(atom, pending, moving, deepest) if pending else {}

    def _place(self, op: Op) -> Place:
        if op not in self._places:
            self._places[op] = place(op.source)
        return self._places[op]


def _settle(carry: list[Taint], around: Callable[[list[Taint]], list[Taint]]) -> list[Taint]:
    """What does not grow any more from one iteration to the next."""
    while True:
        new = [join([a, b]) for a, b in zip(carry, around(carry), strict=True)]
        if new == carry:
            return carry
        carry = new


def _may(taint: Taint) -> dict[Op, Status]:
    return dict.fromkeys(taint.lost, Status.MAY)


def passes_on(op: Op) -> list[bool]:
    """Whether the derivative of an operation reaches each of its operands, and is not 0 whatever it is."""
    floats = [i for i, x in enumerate(op.ins) if is_inexact(x)]
    results = [i for i, v in enumerate(op.outs) if is_inexact(v)]
    described = [x.value if isinstance(x, Const) else jax.ShapeDtypeStruct(x.shape, x.aval.dtype) for x in op.ins]

    def pulled(values: list[Any], cotangents: list[Any]) -> Any:
        def of_floats(*moving: Any) -> list[Any]:
            given = list(values)
            for i, x in zip(floats, moving, strict=True):
                given[i] = x
            out = bind(op, given)
            return [out[i] for i in results]

        return jax.vjp(of_floats, *(values[i] for i in floats))[1](cotangents)

    cotangents = [jax.ShapeDtypeStruct(op.outs[i].shape, op.outs[i].aval.dtype) for i in results]
    try:
        block = build(jax.make_jaxpr(pulled)(described, cotangents))
    except Exception:  # a rule that cannot be traced by itself is believed
        return [True] * len(op.ins)
    moved: set[Atom] = set(block.ins[len(block.ins) - len(results) :])
    for inner in block.ops:
        if any(x in moved for x in inner.ins):
            moved.update(inner.outs)
    reached = {i: x in moved for i, x in zip(floats, block.outs, strict=True)}
    return [reached.get(i, False) for i in range(len(op.ins))]


def _endless(atom: Atom) -> bool:
    """Whether it is infinity, which nothing that moves passes."""
    atom = made_by(atom)
    while (
        isinstance(atom, Var) and atom.op is not None and atom.op.name in ("broadcast_in_dim", "convert_element_type")
    ):
        atom = made_by(atom.op.ins[0])
    return isinstance(atom, Const) and not isinstance(atom.value, Tracer) and bool(np.all(np.isinf(atom.value)))


def _unstopped(atom: Atom) -> Atom:
    return atom.op.ins[0] if isinstance(atom, Var) and atom.op and atom.op.name == "stop_gradient" else atom


def _draws(op: Op) -> bool:
    return op.name.startswith(("random_", "rng_", "threefry"))
