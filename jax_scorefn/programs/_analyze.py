"""Forward: on which choices, and which of their elements, each value of a program depends.

A choice depends on itself, element by element, and on what its log-probability depends on. A scan is a fixed point: what goes
into iteration t is what went in at first, or came out of iteration t - 1.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

from jax_scorefn.programs._dependence import Dependence, at, join, move, rename, shift, widen
from jax_scorefn.programs._ir import Atom, Block, Const, Loop, Op, Var

ROUNDS = 3
"""Plain rounds of a fixed point before a bound that still moves goes to infinity."""


FORGET_PLACE = (
    "sf.programs.forget belongs in the body of a jax.lax.scan that runs forwards, with one flag for each iteration: not under a "
    "cond, not under a vmap inside of the program. For many runs use num_samples=, or map sf.expectation(program)."
)
FORGET_COMPARED = (
    "sf.programs.forget ends what choices by score are charged with, and the choice {name} is compared (estimator='{estimator}'), "
    "with all that comes of it. Use estimator='score_function' for it, or leave the mark out."
)
FORGET_TWICE = (
    "The choice {name} reaches sf.programs.forget in two places; put one mark on all of the state that starts again."
)


@dataclasses.dataclass(frozen=True)
class Since:
    """A choice that is charged only until the next iteration in which a mark says that an episode ends."""

    choice: Op
    mark: Op
    axis: int
    """Which axis of the choice counts the iterations of the loop that the mark is in."""


class Analysis:
    """``of[v]``: the dependence of each variable; ``fallbacks``: primitives that lost an alignment for want of a rule."""

    def __init__(self, block: Block):
        self.of: dict[Var, Dependence] = {v: {} for v in block.ins}
        self.fallbacks: Counter[str] = Counter()
        self.loops: dict[Op, tuple[Op, ...]] = {}
        """Scans around each choice and each mark to forget, the outermost first."""
        self._path: tuple[Op, ...] = ()
        self._block(block, 0)

    def __call__(self, atom: Atom) -> Dependence:
        """The dependence of a variable; a constant has none."""
        return {} if isinstance(atom, Const) else self.of[atom]

    def _block(self, block: Block, depth: int) -> list[Dependence]:
        for op in block.ops:
            for v, part in zip(op.outs, self._op(op, depth), strict=True):
                self.of[v] = part
        return [self(atom) for atom in block.outs]

    def _op(self, op: Op, depth: int) -> list[Dependence]:
        if op.kind == "choice":
            return self._choice(op, depth)
        if op.kind == "plain draw":
            return [self(x) for x in op.estimator.draw(op.ins, op.params["size"])]
        if op.kind == "forget":
            return self._forget(op)
        if op.kind == "scan":
            return self._scan(op, depth)
        if op.kind == "cond":
            return self._cond(op, depth)
        if op.kind == "while":
            return self._while(op, depth)
        if op.kind in ("remat", "opaque"):
            return self._body(op.bodies[0], [self(x) for x in op.ins], depth, op)
        return self.transfer(op, [self(x) for x in op.ins])

    def transfer(self, op: Op, parts: list[Dependence]) -> list[Dependence]:
        """What the results of an operation without a body depend on, when its operands depend on ``parts``."""
        if not any(parts):
            return [{}] * len(op.outs)
        if op.maps is None:
            out = join(*(move(part, {}) for part in parts))
            if any(move(part, {}) != part for part in parts):
                self.fallbacks[op.name] += 1
            return [out] * len(op.outs)
        return [join(*(move(part, m) for part, m in zip(parts, row, strict=True) if m is not None)) for row in op.maps]

    def _body(self, body: Block, parts: list[Dependence], depth: int, op: Op) -> list[Dependence]:
        self.of |= dict(zip(body.ins, parts, strict=True))
        self._path = (*self._path, op)
        out = self._block(body, depth)
        self._path = self._path[:-1]
        return out

    def _choice(self, op: Op, depth: int) -> list[Dependence]:
        self.loops[op] = tuple(x for x in self._path if x.kind == "scan")
        return op.estimator.dependence(op, [self(x) for x in op.ins], depth)

    def _forget(self, op: Op) -> list[Dependence]:
        """What comes from choices of the loop is marked as such that is charged until the next reset."""
        if not self._path or self._path[-1].kind != "scan" or self._path[-1].params["reverse"] or op.ins[0].shape:
            raise TypeError(FORGET_PLACE)
        self.loops[op] = loops = tuple(x for x in self._path if x.kind == "scan")

        def mark(site: Any) -> Any:
            choice = site.choice if isinstance(site, Since) else site
            inside = self.loops[choice][: len(loops)] == loops
            if inside and choice.estimator.replaced:
                raise TypeError(FORGET_COMPARED.format(name=choice.params["name"], estimator=choice.estimator))
            inside = inside and choice.estimator.scored
            if isinstance(site, Since):
                if inside and site.mark is not op:
                    raise TypeError(FORGET_TWICE.format(name=choice.params["name"]))
                return site
            return Since(site, op, len(loops) - 1) if inside else site

        return [join(*({mark(site): entries} for site, entries in self(x).items())) for x in op.ins[1:]]

    def _cond(self, op: Op, depth: int) -> list[Dependence]:
        decided = move(self(op.ins[0]), {})
        branches = [self._body(body, [self(x) for x in op.ins[1:]], depth, op) for body in op.bodies]
        return [join(decided, *parts) for parts in zip(*branches, strict=True)]

    def _while(self, op: Op, depth: int) -> list[Dependence]:
        """A fixed point without a time of its own, for there are no choices inside; what decides the end decides everything."""
        condition, body = op.bodies
        tests, steps = op.params["cond_nconsts"], op.params["body_nconsts"]
        parts = [self(x) for x in op.ins]
        outside, carry = parts[tests : tests + steps], parts[tests + steps :]

        def around(carry: list[Dependence]) -> list[Dependence]:
            nonlocal decided
            (decided,) = self._body(condition, [*parts[:tests], *carry], depth, op)
            out = self._body(body, [*outside, *carry], depth, op)
            return [join(a, b, move(decided, {})) for a, b in zip(carry, out, strict=True)]

        decided: Dependence = {}
        settled = self._settle(carry, around)
        if decided and any(move(part, {}) != part for part in parts):
            self.fallbacks[op.name] += 1
        return settled

    def _settle(
        self, carry: list[Dependence], around: Callable[[list[Dependence]], list[Dependence]]
    ) -> list[Dependence]:
        """What does not grow any more from one iteration to the next, starting from a carry."""
        for round_ in range(100 + 4 * len(carry)):  # a dependence may pass through all slots, one in each round
            seen = Counter(self.fallbacks)
            new = around(carry)
            if new == carry:
                return carry
            self.fallbacks = seen
            carry = new if round_ < ROUNDS else [widen(a, b) for a, b in zip(carry, new, strict=True)]
        raise AssertionError("the dependence of a loop did not settle")  # each bound moves to infinity at most once

    def _scan(self, op: Op, depth: int) -> list[Dependence]:
        body, loop, time = op.bodies[0], Loop.of(op), f"T{depth}"
        consts, first, scanned = loop.split([self(x) for x in op.ins])
        _, _, stacked = loop.split(op.ins)
        inside = [
            rename(part, {0: time, **{i: i - 1 for i in range(1, len(x.shape))}})
            for part, x in zip(scanned, stacked, strict=True)
        ]
        step = 1 if loop.reverse else -1

        def around(carry: list[Dependence]) -> list[Dependence]:
            nonlocal out
            out = self._body(body, [*consts, *carry, *inside], depth + 1, op)
            after = [shift(part, time, step) for part in out[: loop.carry]]
            return [join(a, b) for a, b in zip(after, carry, strict=True)]

        out: list[Dependence] = []
        self._settle(first, around)
        last = 0 if loop.reverse else loop.length - 1
        final = [join(a, at(b, time, last)) for a, b in zip(first, out[: loop.carry], strict=True)]
        results = [
            rename(part, {**{i: i + 1 for i in range(len(v.shape))}, time: 0})
            for part, v in zip(out[loop.carry :], body.outs[loop.carry :], strict=True)
        ]
        return [*final, *results]
