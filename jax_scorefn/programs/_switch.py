"""Does a value jump where an operation switches? Told by trying it, in numpy, at a few random places.

    where(x > 0, x, 0)     x > 0 switches at 0, and both sides are 0 there: nothing is lost
    where(x > 0, 1, 0)     the sides differ: a derivative is lost

The value is a function of *leaves*, element by element: what it is made of by elementwise operations, with the axes moved about. One
leaf that moves with the parameters is moved until the operation changes its result; that point is enclosed down to rounding, and the
value is compared on both sides. Leaves are taken as independent; where they may not be, and only some points show a jump, it is "may".
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.core import Tracer

from jax_scorefn.programs._ir import Atom, Const, Op, Var
from jax_scorefn.programs._numbers import ELEMENTWISE, nonnegative

SETTINGS, SPLIT, ROUNDS, LEAVES, TRIED = 8, 65, 9, 3, 32
"""Random settings of the leaves; points that an interval is split by; how often; leaves, and switches of each, that are tried."""
MOST, DEEPEST, NEAR = 200, 50, 8
"""Operations that are looked at for one value, and how many behind each other: at last, and at once."""
GRID = np.concatenate([-np.logspace(8, 1, 8), np.linspace(-6.0, 6.0, 161) + 0.0123, np.logspace(1, 8, 8)])
OFFSETS = np.array([0.0, 1e-3, 1e-2, 0.1, 0.4, 1.0])
"""How far from the numbers of the program, and from their sums and differences, a switch is looked for."""
FAR = np.array([[1e-3], [0.1], [1.0]])
"""How far from a switch it is seen by how much the value changes at all."""
BLIND = "outside of the domain"
SELECT = ELEMENTWISE["select_n"]
VIEWS = ("broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose")


def mixes(op: Op) -> bool:
    """Whether a view of an array merges axes of it, or splits one."""
    (targets, *_), (x, *_) = (op.maps or [()])[0] or ({},), op.ins
    places = [(targets or {}).get(axis) for axis, size in enumerate(x.shape) if size != 1]
    return any(place is None or isinstance(place, tuple) for place in places)


Where = tuple[Any, ...]
"""For each axis of an array, which axis of the value it is."""


class Status(enum.IntEnum):
    """What is known of a loss; the worst counts."""

    PENDING = 0
    MAY = 1
    LOST = 2


def made_by(atom: Atom) -> Atom:
    """The variable that an operation made, whatever bodies it was handed into or out of."""
    while isinstance(atom, Var):
        if atom.op is None and atom.outer is not None and not atom.is_carry and atom.outer.shape == atom.shape:
            atom = atom.outer
        elif atom.op is not None and atom.op.kind in ("opaque", "remat") and atom.op.bodies:
            atom = atom.op.bodies[0].outs[atom.op.outs.index(atom)]
        else:
            break
    return atom


class Region:
    """A value as a function of leaves. ``switches``: the operations in it, each with the slots where it is used."""

    def __init__(self, atom: Atom, moving: Callable[[Atom], int], deepest: int):
        self.steps: list[tuple[Callable[..., Any] | None, Any, tuple[int, ...]]] = []
        self.made_of: list[frozenset[int]] = []
        """The slots that each is made of."""
        self.switches: dict[Op, list[int]] = {}
        self.leaves: dict[int, Atom | None] = {}
        """Slot -> what it is; None for numbers that are known, of which there are several."""
        self.unknown = False
        """Whether some operation was not looked into, so that its result counts as a leaf."""
        self._slots: dict[Any, int] = {}
        self._visited: dict[Any, int] = {}
        self._depth, self._deepest = 0, deepest
        self._moving = moving
        self.out = self._visit(atom, tuple(range(len(atom.shape))))
        self.moves = {slot: moving(v) for slot, v in self.leaves.items() if v is not None}

    def _add(self, key: Any, function: Any, params: Any, operands: tuple[int, ...] = ()) -> int:
        if key not in self._slots:
            self._slots[key] = slot = len(self.steps)
            self.steps.append((function, params, operands))
            self.made_of.append(frozenset([slot]).union(*(self.made_of[i] for i in operands)))
        return self._slots[key]

    def _visit(self, atom: Atom, where: Where) -> int:
        atom = made_by(atom)
        if isinstance(atom, Const):
            return self._constant(atom)
        where = tuple(at for at, size in zip(where, atom.shape, strict=True) if size != 1)
        if (atom, where) not in self._visited:
            self._depth += 1
            self._visited[atom, where] = self._made(atom, where)
            self._depth -= 1
        return self._visited[atom, where]

    def _made(self, v: Var, where: Where) -> int:
        """The slot of a variable, with those of what it is made of."""
        op = v.op
        known = op is not None and (op.name in ELEMENTWISE or op.name in VIEWS or op.kind == "cond")
        cut = known and (self._depth > self._deepest or len(self._visited) > MOST)
        if op is None or not known or cut or (operands := self._operands(op, v, where)) is None:
            self.unknown |= cut or (op is not None and op.name in UNKNOWN and bool(self._moving(v)))
            return self._leaf(v, where)
        if op.name in VIEWS:
            return operands[0]
        key = (op.name, _key(op.params), operands)
        slot = switch = self._add(key, ELEMENTWISE.get(op.name, SELECT), op.params, operands)
        if op.name == "rem":  # it jumps where the quotient passes a whole number
            switch = self._add(("quotient", operands), lambda _, x, y: np.trunc(x / y), None, operands)
        if switch not in (places := self.switches.setdefault(op, [])):
            places.append(switch)
        return slot

    def _operands(self, op: Op, v: Var, where: Where) -> tuple[int, ...] | None:
        """The slots of the operands of an operation; None where an axis of one is mixed."""
        if op.kind == "cond":
            cases = [body.outs[op.outs.index(v)] for body in op.bodies]
            return (self._visit(op.ins[0], ()), *(self._visit(x, _full(where, x.shape)) for x in cases))
        axes = [i for i, size in enumerate(v.shape) if size != 1]
        at = dict(zip(axes, where, strict=True))
        found = []
        for x, targets in zip(op.ins[: 1 if op.name in VIEWS else None], (op.maps or [()])[0], strict=False):
            inner = []
            for axis, size in enumerate(x.shape):
                target = (targets or {}).get(axis)
                if size == 1:
                    inner.append(None)
                elif target is not None and not isinstance(target, tuple) and target in at:
                    inner.append(at[target])
                else:
                    return None
            found.append((x, tuple(inner)))
        return tuple(self._visit(x, inner) for x, inner in found)

    def _constant(self, atom: Const) -> int:
        if isinstance(atom.value, Tracer):
            return self._leaf_slot(("tracer", id(atom.value)), atom, None)
        values = np.asarray(atom.value)
        if values.dtype.kind not in "fiub":
            return self._leaf_slot(("constant", id(atom)), None, None)
        values = values.astype(float).ravel()
        if values.size and np.all(values == values[0]):
            return self._add(("number", float(values[0])), None, float(values[0]))
        return self._leaf_slot(("constant", id(atom)), None, values)

    def _leaf(self, v: Var, where: Where) -> int:
        return self._leaf_slot((identity(v), where), v, None)

    def _leaf_slot(self, key: Any, v: Atom | None, values: Any) -> int:
        slot = self._add(key, None, values)
        self.leaves.setdefault(slot, v)
        return slot

    def draw(self, rng: np.random.Generator) -> dict[int, np.ndarray]:
        """Random values of the leaves, one for each setting."""
        found = {}
        for slot, v in self.leaves.items():
            values = self.steps[slot][1]
            if values is not None and np.size(values):
                found[slot] = rng.choice(values, SETTINGS)
            elif isinstance(v, Var) and v.aval.dtype == np.bool_:
                found[slot] = rng.integers(2, size=SETTINGS).astype(float)
            else:
                x = rng.normal(size=SETTINGS) * rng.choice([0.3, 1.0, 3.0], SETTINGS)
                x = np.abs(x) if v is not None and nonnegative(v, made_by) else x
                found[slot] = np.round(x) if isinstance(v, Var) and v.aval.dtype.kind in "iu" else x
        return found

    def evaluate(self, leaves: Mapping[int, np.ndarray], slots: Sequence[int]) -> list[np.ndarray]:
        """Values at slots."""
        values: dict[int, Any] = {}
        for i in sorted(frozenset().union(*(self.made_of[slot] for slot in slots))):
            function, params, operands = self.steps[i]
            if i in leaves:
                values[i] = leaves[i]
            else:
                values[i] = params if function is None else function(params, *(values[j] for j in operands))
        shape = np.broadcast_shapes(*map(np.shape, leaves.values()))
        return [np.broadcast_to(values[slot], shape).astype(float) for slot in slots]


UNKNOWN = {
    "bessel_i0e", "bessel_i1e", "igamma", "igammac", "polygamma", "regularized_incomplete_beta", "zeta", "digamma",
    "erf_inv", "atan2", "acos", "acosh", "asin", "asinh", "atanh", "bitcast_convert_type", "reduce_precision",
}  # fmt: skip
"""Elementwise operations that are not tried."""


def identity(atom: Atom, depth: int = 4) -> Any:
    """The same for two values that are made in the same way."""
    atom = made_by(atom)
    if isinstance(atom, Const):
        known = not isinstance(atom.value, Tracer) and np.ndim(atom.value) == 0
        return ("number", str(atom.value)) if known else id(atom.value)
    op = atom.op
    if op is None or op.bodies or depth == 0 or len(op.ins) > 4:
        return atom
    return (op.name, _key(op.params), op.outs.index(atom), *(identity(x, depth - 1) for x in op.ins))


def _key(params: Mapping[str, Any]) -> Any:
    """Parameters, as what can be compared."""
    try:
        hash(key := tuple(params.items()))
    except TypeError:
        return id(params)
    return key


def judge(
    atom: Atom, ops: Sequence[Op], moving: Callable[[Atom], int], deepest: int = DEEPEST
) -> dict[Op, Status | None]:
    """For each operation whose switches a value may hide: None where it does not jump, and else what is lost."""
    region = Region(atom, moving, deepest)
    with np.errstate(all="ignore"):
        unseen = Status.MAY if region.unknown else Status.LOST
        return {op: _jumps(region, op) if op in region.switches else unseen for op in ops}


def _jumps(region: Region, op: Op) -> Status | None:
    rng = np.random.default_rng(0)
    seen: list[bool] = []
    alone, blind = True, False
    for slot in region.switches[op]:
        for leaf in [leaf for leaf, moves in region.moves.items() if moves and leaf in region.made_of[slot]][:LEAVES]:
            settings = region.draw(rng)
            sides = _sides(region, slot, leaf, settings)
            if sides is None or sides == BLIND:
                blind |= sides == BLIND
                continue
            low, high = (region.evaluate(side, [region.out])[0] for side in sides)
            gap = np.abs(low - high)
            usual = _changes(region, leaf, sides, (low, high))
            fine = ~np.isnan(low) & ~np.isnan(high)  # NaN on one side is the end of a domain
            blind |= bool(np.all(np.isnan(low) & np.isnan(high)))
            close = gap <= 1e-5 * usual + 3e-7 * np.minimum(
                np.abs(low), np.abs(high)
            )  # constants are rounded, each for itself
            jump = ~close & (low != high)  # an infinite one as well
            seen += list(jump[fine])
            others = [m for s, m in region.moves.items() if s != leaf and m & region.moves[leaf]]
            alone &= not others
    if not any(seen):
        return Status.MAY if blind and not seen else None
    return Status.LOST if (all(seen) or alone) and not region.unknown else Status.MAY


def _changes(region: Region, leaf: int, sides: Any, values: Any) -> np.ndarray:
    """By how much the value changes somewhat farther away on either side, where it is finite."""
    usual = np.zeros_like(values[0])
    for side, value, sign in zip(sides, values, (-1.0, 1.0), strict=True):
        x = side[leaf] + sign * FAR * (1.0 + np.abs(side[leaf]))
        (there,) = region.evaluate(side | {leaf: x}, [region.out])
        gaps = np.abs(there - value)
        usual = np.maximum(usual, np.max(np.where(np.isfinite(gaps), gaps, 0.0), axis=0))
    return usual


def _grid(region: Region, slot: int, leaf: int, positive: bool) -> np.ndarray:
    """Where a leaf is tried: everywhere, and around the numbers that the switch is made with."""
    steps = ((region.steps[i], i) for i in region.made_of[slot])
    numbers = [params for (function, params, _), i in steps if function is None and i not in region.leaves]
    numbers = np.unique([x for x in map(float, numbers) if np.isfinite(x)])[:12]
    centres = np.concatenate([numbers, -numbers, *(numbers + x for x in numbers), *(numbers - x for x in numbers)])
    around = centres[:, None] + np.concatenate([OFFSETS, -OFFSETS]) * np.maximum(1.0, np.abs(centres[:, None]))
    grid = np.concatenate([GRID, around.ravel() + 1e-9])
    return np.unique(np.maximum(grid, 1e-9) if positive else grid)


def _sides(region: Region, slot: int, leaf: int, settings: dict[int, np.ndarray]) -> Any:
    """Settings on both sides of switches, as close as floats can be; None if there is no switch, BLIND if nothing can be told."""
    grid = _grid(region, slot, leaf, bool(np.all(settings[leaf] >= 0.0)) and nonnegative(region.leaves[leaf], made_by))

    def at(x: np.ndarray, given: dict[int, np.ndarray], slots: Sequence[int] = (slot,)) -> list[np.ndarray]:
        return region.evaluate(given | {leaf: x}, slots)

    points = np.broadcast_to(grid[:, None], (len(grid), SETTINGS))
    values, *operands = at(points, settings, [slot, *region.steps[slot][2]])
    changes = (values[1:] != values[:-1]) & ~np.isnan(values[1:]) & ~np.isnan(values[:-1])
    pairs = [(i, s) for s in range(SETTINGS) for i in _few(np.flatnonzero(changes[:, s]))]
    if not pairs:
        valid = ~np.any([np.isnan(x) for x in operands], axis=0)
        return BLIND if np.mean(valid) < 0.1 else None
    rows, which = (np.array(x) for x in zip(*pairs, strict=True))
    low, high = grid[rows], grid[rows + 1]
    here, given = np.arange(len(rows)), {k: v[which] for k, v in settings.items()}
    for _ in range(ROUNDS):
        if np.all(high - low < 1e-12):
            break
        x = low + (high - low) * np.linspace(0.0, 1.0, SPLIT)[:, None]
        x[-1] = high
        (values,) = at(x, given)
        first = np.argmax(values[1:] != values[:-1], axis=0)
        low, high = x[first, here], x[first + 1, here]
    return given | {leaf: low}, given | {leaf: high}


def _full(where: Where, shape: Sequence[int]) -> Where:
    """With an entry for each axis, those of length 1 too."""
    entries = iter(where)
    return tuple(None if size == 1 else next(entries) for size in shape)


def _few(places: np.ndarray) -> np.ndarray:
    return places if len(places) <= TRIED else places[np.linspace(0, len(places) - 1, TRIED).astype(int)]
