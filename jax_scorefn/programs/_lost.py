"""Where a derivative is lost on its way through a program, as records; and the warning when it is really taken there."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import jax
from jax.core import Tracer

from jax_scorefn._trees import is_key
from jax_scorefn.programs._ir import Block, Const, Op, build, is_inexact
from jax_scorefn.programs._source import SAMPLERS
from jax_scorefn.programs._switch import Status
from jax_scorefn.programs._taint import KEYED, Loss, Losses, Taint
from jax_scorefn.programs._watch import watch

LOST = (
    "{file}:{line}, in {function}: the derivative in {arguments} {verb} lost at {operation}, {luck}. {remedy}{unwanted} "
    "sf.expectation(..., lost='ignore') says nothing, lost='raise' raises."
)
UNWANTED = " Where that derivative is not wanted, say so with jax.lax.stop_gradient;"
NO_SUCH_ANSWER = (
    "lost= says what expectation does where a derivative is lost: 'ignore', 'warn' or 'raise'; it was given {given!r}."
)
ANSWERS = ("ignore", "warn", "raise")

SURROGATE = (
    "In a lifted program a draw has its score already: leave out what brings it in by hand (a stopped cost times a log-probability, a "
    "straight-through draw), whose expectation is another one."
)
OPERATORS = {
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "eq": "==",
    "ne": "!=",
    "rem": "%",
    "convert_element_type": "a cast",
}
STEPS = {*OPERATORS, "round", "floor", "ceil", "sign"}


class LostGradientWarning(UserWarning):
    """A derivative was taken that is lost on its way: it is 0, or lacks a part, where that of the expectation is not."""


@dataclasses.dataclass(frozen=True)
class LostGradient:
    """One place where a derivative is lost.

    Attributes:
      file: path of the file, of people's own code.
      line: number of the line.
      function: the function that it is in.
      operation: what has no derivative: ``<``, ``argmax``, ``round``, ``jax.random.categorical``, ``stop_gradient``, ...
      arguments: names of the arguments whose derivative is lost.
      random: whether what is lost depends on a random draw; otherwise the step is where it is, whatever is drawn.
      certain: False where it may be that the value does not jump there, and nothing is lost.
      stopped: whether it is a ``stop_gradient``, which somebody wrote on purpose.
      remedy: what to do.
    """

    file: str
    line: int
    function: str
    operation: str
    arguments: tuple[str, ...]
    random: bool
    certain: bool
    stopped: bool
    remedy: str

    def __str__(self) -> str:
        verb = "is" if self.certain else "may be"
        luck = "which depends on a draw" if self.random else "which depends on no draw"
        given = dataclasses.asdict(self) | {"arguments": ", ".join(self.arguments)}
        unwanted = "" if self.operation == "stop_gradient" else UNWANTED
        return LOST.format(**given, verb=verb, luck=luck, unwanted=unwanted)


@dataclasses.dataclass(frozen=True)
class Found:
    """A record, with the bits of the inputs that it is about, and how it is random."""

    record: LostGradient
    moves: int
    random: int


def argument_name(path: Sequence[Any]) -> str:
    """``params['w']`` for the path of a leaf in a dict of arguments."""
    return f"{path[0].key}{jax.tree_util.keystr(tuple(path[1:]))}"


def find_lost(closed: Any, names: Sequence[str | None], num_results: int) -> list[LostGradient]:
    """What is lost in a traced function, between its inputs with a name and its first results, in the order of the program."""
    return lost_in(build(closed), names, num_results)


def lost_in(block: Block, names: Sequence[str | None], num_results: int) -> list[LostGradient]:
    """The same in a program that is analysed already."""
    return [place.record for place in _find(block, names, num_results)[0]]


def _find(block: Block, names: Sequence[str | None], num_results: int) -> tuple[list[Found], list[Const]]:
    """What is lost between inputs (those with a name may be differentiated) and the first results.

    What the program closes over counts as an input, if a transformation of JAX passes it: these constants come behind the inputs.
    """
    taints, bits = [], list(names)
    for i, v in enumerate(block.ins):
        taints.append(Taint(1 << i if names[i] is not None else 0, {}, KEYED if is_key(v.aval) else 0))
    losses = Losses(block, taints, block.outs[:num_results])
    constants = block.closed_over()
    for const in constants:
        losses.constants[id(const)] = Taint(1 << len(bits))
        bits.append("what the program closes over")
    found: dict[tuple[Any, ...], Found] = {}
    for op, status in losses.reaching().items():
        loss = losses.found[op]
        record = _record(op, loss, status is Status.LOST, bits)
        line = (record.file, record.line, record.operation)
        if line in found:  # of one line, the surest
            known = found[line]
            loss.moves, loss.random = loss.moves | known.moves, loss.random | known.random
            record = _record(op, loss, record.certain or known.record.certain, bits)
        found[line] = Found(record, loss.moves, loss.random)
    return list(found.values()), constants


def _record(op: Op, loss: Loss, certain: bool, names: Sequence[str | None]) -> LostGradient:
    at, sampler = loss.place, loss.place.entry if loss.place.entry in SAMPLERS else None
    moved = tuple(dict.fromkeys(str(name) for i, name in enumerate(names) if loss.moves >> i & 1))
    library = at.library
    operation = f"jax.random.{sampler}" if sampler else library or OPERATORS.get(op.name, op.name)
    stopped = op.name == "stop_gradient" and not library and not loss.surrogate
    certain, random = certain or sampler is not None, loss.random != 0 or sampler is not None
    remedy = (
        SURROGATE if loss.surrogate else _remedy(op.name, sampler, library, bool(loss.random & KEYED), loss.uniform)
    )
    return LostGradient(at.file, at.line, at.function, operation, moved, random, certain, stopped, remedy)


def _remedy(name: str, sampler: str | None, library: str, keyed: bool, uniform: bool) -> str:
    if sampler:
        return f"Make it a choice: sf.sample(key, sf.{SAMPLERS[sampler]}), in sf.expectation."
    if library and name == "stop_gradient" and "sample" not in library:
        return "It is stopped there: score the draw in front of it, sf.sample(key, dist), which needs no derivative behind it."
    if library:
        return "If it is a draw, make it a choice: sf.sample(key, its distribution), in sf.expectation."
    if name == "stop_gradient":
        return "It was stopped on purpose; if its derivative is wanted, leave the stop_gradient out."
    if not keyed:
        return "Parameters move past a step, so no estimator brings it back: make it a random choice, or a smooth function."
    if uniform and name in ("lt", "le", "gt", "ge"):
        return "A uniform number compared with p is a choice: sf.sample(key, sf.Bernoulli(probs=p)), in sf.expectation."
    if name in ("argmax", "argmin"):
        return "The largest of logits with Gumbel noise is a choice: sf.sample(key, sf.Categorical(logits=logits)), in sf.expectation."
    return "The draw moves and the step does not: score the draw, sf.sample(key, dist), in place of differentiating along it."


def watched(block: Block, leaves: list[Any], names: Sequence[str], num_results: int, lost: str) -> list[Any]:
    """The inputs of a program, which tell when a derivative is taken that is lost on its way.

    ``block.ins`` has the inputs and the key behind them.
    """
    inputs = [
        name if isinstance(x, Tracer) and is_inexact(v) else None
        for name, x, v in zip(names, leaves, block.ins, strict=False)
    ]
    moving = [i for i, name in enumerate(inputs) if name is not None]
    if not moving and not block.closed_over():
        return leaves
    found, constants = _find(block, [*inputs, *(None for _ in block.ins[len(leaves) :])], num_results)
    found = [place for place in found if not place.record.stopped]
    if not found:
        return leaves
    bits = [*moving, *range(len(block.ins), len(block.ins) + len(constants))]
    told: set[LostGradient] = set()

    def tell(moved: list[bool]) -> None:
        mask = sum(1 << bit for bit, moves in zip(bits, moved, strict=True) if moves)
        records = [place.record for place in found if place.moves & mask and place.record not in told]
        told.update(records)
        if records and lost == "raise":
            raise TypeError("\n".join(map(str, records)))
        for record in records:
            warnings.warn_explicit(str(record), LostGradientWarning, record.file, record.line, registry=_told)

    seen = watch([*(leaves[i] for i in moving), *(const.value for const in constants)], tell)
    for const, value in zip(constants, seen[len(moving) :], strict=True):
        const.value = value
    leaves = list(leaves)
    for i, value in zip(moving, seen, strict=False):
        leaves[i] = value
    return leaves


_told: dict[Any, Any] = {}
"""What Python's filters remember of the places that they have shown."""
