"""Backward: from the outputs through linear operations to the leaves, the costs that are credited one by one.

An output is sum_L W_L L with coefficients W_L that depend on no choice. A leaf L gets a correction of value 0,

    delta_L = (L - b) (magic_box(log-probs of the choices it depends on) - 1),

and the tail carries the corrections to the outputs: the same linear operations, on deltas instead of values. Going down is
worth it only where something below depends on strictly less. The program's own values are never touched, so a leaf that is
also used in another way is credited once.
"""

from __future__ import annotations

import dataclasses
import heapq
import math

from jax.extend.core.primitives import add_p, copy_p

from jax_scorefn.programs._analyze import Analysis
from jax_scorefn.programs._dependence import lost_alignment
from jax_scorefn.programs._ir import Atom, Block, Loop, Op, Var, is_inexact


@dataclasses.dataclass
class Plan:
    """What to do in one block.

    Attributes:
      leaves: variables that get a correction of their own here.
      tail: linear operations to run on corrections, in order, each with the operands that are linear.
      coefficients: variables whose values the tail needs.
      active: variables that have a correction (leaves, and what the tail passes on, operands of the block among them).
      scans: the plan of each scan that the tail goes through.
    """

    leaves: list[Var] = dataclasses.field(default_factory=list)
    tail: list[tuple[Op, tuple[int, ...]]] = dataclasses.field(default_factory=list)
    coefficients: list[Var] = dataclasses.field(default_factory=list)
    active: set[Var] = dataclasses.field(default_factory=set)
    scans: dict[Op, Plan] = dataclasses.field(default_factory=dict)

    def all_leaves(self, depth: int = 0) -> list[tuple[Var, int]]:
        """Leaves of this block and of the scans in it, each with the number of scans around it."""
        inner = [pair for plan in self.scans.values() for pair in plan.all_leaves(depth + 1)]
        return [(v, depth) for v in self.leaves] + inner

    def elements(self, times: int = 1) -> dict[Var, int]:
        """Of each leaf, in all iterations of the scans around it."""
        found = {v: times * math.prod(v.shape) for v in self.leaves}
        for op, plan in self.scans.items():
            found |= plan.elements(times * Loop.of(op).length)
        return found


class Decomposition:
    """The plan of a program, from what its values depend on."""

    def __init__(self, block: Block, costs: list[Var], of: Analysis):
        self.of = of
        self._useful: dict[Var, bool] = {}
        self.plan = self._block(block, set(costs))

    def _block(self, block: Block, wanted: set[Var]) -> Plan:
        plan = Plan(active={v for v in wanted if self.of(v)})
        for op in list(reversed(block.ops)):
            here = [v for v in op.outs if v in plan.active]
            if not here:
                continue
            if op.kind == "scan":
                self._scan(op, here, plan)
                continue
            if self._cases(op) and self.useful(here[0]):
                self._mask(op, block, plan)
                continue
            linear = self._linear(op)
            if linear and any(self.useful(v) for v in here):
                plan.tail.append((op, linear))
                for i, x in enumerate(op.ins):
                    if i not in linear and isinstance(x, Var):
                        plan.coefficients.append(x)
                plan.active |= {x for i, x in enumerate(op.ins) if i in linear and isinstance(x, Var) and self.of(x)}
            else:
                plan.leaves += here
        plan.tail.reverse()
        return plan

    def _scan(self, op: Op, here: list[Var], plan: Plan) -> None:
        """Follow the results that have something finer inside; a carry that is reached has to be followed around the loop."""
        body, loop = op.bodies[0], Loop.of(op)
        inside = dict(zip(op.outs, body.outs, strict=True))
        followed = [v for v in here if self._followed(inside[v])]
        plan.leaves += [v for v in here if v not in followed]
        if not followed:
            return
        wanted = {inside[v] for v in followed}
        slots: set[int] = set()
        while True:
            inner = self._block(body, {v for v in wanted if isinstance(v, Var)})
            _, carried, _ = loop.split(body.ins)
            reached = {i for i, v in enumerate(carried) if v in inner.active}
            reached |= {i for i, v in enumerate(op.outs[: loop.carry]) if v in followed}
            if reached <= slots:
                break
            slots |= reached
            wanted |= {body.outs[i] for i in slots}
        plan.scans[op] = inner
        plan.tail.append((op, ()))
        for outer, v in zip(op.ins, body.ins, strict=True):
            if v in inner.active and isinstance(outer, Var) and self.of(outer):
                plan.active.add(outer)

    def _cases(self, op: Op) -> tuple[int, ...]:
        """The operands among which a mask that depends on no choice selects."""
        if op.name != "select_n" or self.of(op.ins[0]) or not is_inexact(op.outs[0]):
            return ()
        return tuple(i for i, x in enumerate(op.ins) if i and self.of(x))

    def _mask(self, op: Op, block: Block, plan: Plan) -> None:
        """Go down through a mask: what it selects is the sum of its cases, each of them 0 where another one is taken.

        Those zeros are put into the leaves themselves. What a mask takes out may be infinite, and a correction of it that was
        masked later on would be 0 times infinity in the derivative.
        """
        out, (*others, last) = op.outs[0], self._cases(op)
        plan.coefficients += [op.ins[0]] if isinstance(op.ins[0], Var) else []
        for case in others:
            this, rest = Var(out.aval), Var(out.aval)
            plan.tail.append((Op(add_p, {}, [this, rest], [out]), (0, 1)))
            plan.active |= {this, rest}
            self._case(op, case, op.ins[case], this, block, plan)
            out = rest
        self._case(op, last, op.ins[last], out, block, plan)

    def _case(self, op: Op, case: int, x: Atom, out: Var, block: Block, plan: Plan) -> None:
        """One case of a mask, as ``out``: down through sums to carries and leaves, the last operation first, each of them once."""
        assert isinstance(x, Var)
        under = {x: out}
        pending = [_last_first(x)]
        while pending:
            *_, x = heapq.heappop(pending)
            source = x.op
            parts = [y for y in source.ins if self.of(y)] if source and self._is_sum(source) else []
            if not (source and parts and self.useful(x)):
                self._masked(op, case, x, under[x], block, plan)
                continue
            for y in parts:
                if isinstance(y, Var) and y not in under:
                    under[y] = Var(y.aval)
                    heapq.heappush(pending, _last_first(y))
            terms = [under.get(y, y) if isinstance(y, Var) else y for y in source.ins]
            plan.tail.append((Op(source.prim, source.params, terms, [under[x]]), tuple(range(len(terms)))))
            plan.active |= {under[y] for y in parts if isinstance(y, Var)}

    def _masked(self, op: Op, case: int, x: Var, out: Var, block: Block, plan: Plan) -> None:
        """The end of a walk down through a mask: a carry, or a leaf that is 0 where another case is taken."""
        masked = Op(op.prim, {"case": case - 1, "cases": len(op.ins) - 1}, [op.ins[0], x], [out], kind="mask")
        if x.is_carry:
            plan.tail.append((masked, (1,)))
            plan.active.add(x)
            return
        leaf = Var(out.aval)
        masked.outs, leaf.op = [leaf], masked
        self.of.of[leaf] = self.of(x)
        block.ops.insert(block.ops.index(op), masked)
        plan.leaves.append(leaf)
        plan.active.add(leaf)
        plan.tail.append((Op(copy_p, {}, [leaf], [out]), (0,)))

    def _is_sum(self, op: Op) -> bool:
        """Whether a mask passes through it: each element is linear in those in its place, and so 0 where all of these are."""
        shape, stays = op.outs[0].shape, {axis: axis for axis in range(len(op.outs[0].shape))}
        if len(self._linear(op)) < len(op.ins) or op.maps is None:
            return False
        return all(x.shape == shape and op.maps[0][i] == stays for i, x in enumerate(op.ins) if self.of(x))

    def _linear(self, op: Op) -> tuple[int, ...]:
        """The operands to go down through; none where the operation is not linear in what depends on choices."""
        if op.kind != "plain" or not all(map(is_inexact, op.outs)):
            return ()
        linear = op.linear([not self.of(x) for x in op.ins])
        return linear if linear and all(is_inexact(op.ins[i]) for i in linear) else ()

    def useful(self, v: Var) -> bool:
        """Whether something below a variable, reached by linear operations, depends on strictly less than the variable.

        With a stack of its own: a program may have more operations in a row than Python has room for calls.
        """
        stack: list[tuple[Var, list[Var] | None]] = [(v, None)]
        while stack:
            x, below = stack.pop()
            if x in self._useful:
                continue
            if below is not None:  # they have been answered by now
                self._useful[x] = any(self._useful[y] for y in below)
                continue
            gains, below = self._look(x)
            if gains:
                self._useful[x] = True
            else:
                stack += [(x, below), *((y, None) for y in below)]
        return self._useful[v]

    def _followed(self, atom: Atom) -> bool:
        """Whether to follow a result of a scan into its body; what depends on no choice there may have come in from outside."""
        return isinstance(atom, Var) and bool(self.of(atom)) and self.useful(atom)

    def _look(self, v: Var) -> tuple[bool, list[Var]]:
        """Whether the next step down gains something, and where it leads."""
        op = v.op
        if op is None:  # an operand of a body: a carry is an accumulator, another is what it is outside
            return v.is_carry, [v.outer] if isinstance(v.outer, Var) else []
        if op.kind == "scan":
            inside = op.bodies[0].outs[op.outs.index(v)]
            return False, [inside] if isinstance(inside, Var) and self.of(inside) else []
        operands = [op.ins[i] for i in (self._linear(op) or self._cases(op))]
        below = [x for x in operands if isinstance(x, Var) and self.of(x)]
        return any(self._gains(op, v, x) for x in below), below

    def _gains(self, op: Op, v: Var, x: Var) -> bool:
        mine = self.of(x)
        alone = self.of.transfer(op, [mine if y is x else {} for y in op.ins])[op.outs.index(v)]
        return alone != self.of(v) or lost_alignment(mine, alone)


def _last_first(v: Var) -> tuple[int, int, Var]:
    """Where a variable stands among those of its block, from the end; operands of the block come last."""
    return (-v.op.serial if v.op else 1, v.serial, v)
