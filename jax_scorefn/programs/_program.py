"""The surrogate of a program: its costs, each credited to the choices that it depends on."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_scorefn._guards import guard_together
from jax_scorefn._wide import wide
from jax_scorefn.programs._analysed import Analysed
from jax_scorefn.programs._credit import Credits
from jax_scorefn.programs._evaluate import Run
from jax_scorefn.programs._ir import Op, Var
from jax_scorefn.programs._tail import run_tail
from jax_scorefn.programs.lanes._compare import compared, shared
from jax_scorefn.programs.lanes._online import online
from jax_scorefn.programs.lanes._options import Comparison
from jax_scorefn.programs.sites import SECOND_DERIVATIVE, Branches
from jax_scorefn.typing import Array

Subtract = Callable[[Array, Any], Array | float]
"""``(value of a leaf, its row of given baselines) -> what is subtracted``."""


class Ways(NamedTuple):
    """How all choices of a run are estimated: what is subtracted from a cost, and how those that are compared are."""

    subtract: Subtract
    comparison: Comparison


class Program(Analysed):
    """One that is run for its surrogate."""

    def __call__(
        self, operands: list[Any], subtract: Subtract, rows: list[Any] | None, comparison: Comparison
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Surrogates of the costs, the other results, and the values of the leaves."""
        run = Run(self.plan)
        run.write(self.block.ins, self.to_first_order(operands) if self.spans else operands)
        rows = [None] * len(self.leaves) if rows is None else rows
        costs, tails, rest, leaves = self._from(run, 0, [], Ways(subtract, comparison), rows)
        return [c if t is None else c + t for c, t in zip(costs, tails, strict=True)], rest, leaves

    def to_first_order(self, operands: list[Any]) -> list[Any]:
        """The inputs of a program with choices that are compared, and what it closes over: a second derivative of any kind raises."""
        site = next(iter(self.spans))
        message = SECOND_DERIVATIVE.format(name=site.params["name"], estimator=site.estimator)
        constants = self.block.closed_over()
        guarded = guard_together([*operands, *(const.value for const in constants)], message=message)
        for const, value in zip(constants, guarded[len(operands) :], strict=True):
            const.value = value
        return guarded[: len(operands)]

    def _from(self, run: Run, start: int, weights: list[tuple[Op, Array, int]], ways: Ways, rows: list[Any]) -> Any:
        """Run on from an operation, in branches where a choice asks for them; and in lanes, for the choices up to there."""
        before = dict(run.env)
        position, branches = self.up_to_branches(run, start, math.prod(count for _, _, count in weights))
        if branches is None:
            costs, *others = self._at_the_end(run, before, weights, ways, rows)
        else:
            costs, *others = self._branches(run, position, branches, weights, ways, rows)
        return compared(self, run, before, start, position, costs, ways.comparison), *others

    def _at_the_end(
        self,
        run: Run,
        before: dict[Var, Any],
        weights: list[tuple[Op, Array, int]],
        ways: Ways,
        rows: list[Any],
    ) -> Any:
        """Costs, corrections of them, the other results, and the values of the leaves."""
        leaves, corrections, credits = [], {}, Credits(self.of, run.emitted)
        for (v, depth), row in zip(self.leaves, rows, strict=True):
            shares = [p if op in self.of(v) else 1.0 / count for op, p, count in weights]
            value = wide(run.emitted[v.serial])
            value = functools.reduce(operator.mul, (jnp.asarray(share, value.dtype) for share in shares), value)
            leaves.append(jax.lax.stop_gradient(value))
            corrections[v.serial] = credits.correction(value, ways.subtract(value, row), v, depth)
        for found in (shared(self, run, before, ways.comparison), online(self, run, before, ways.comparison)):
            for serial, change in found.items():
                corrections[serial] = corrections[serial] + change
        tails = run_tail(self.plan, self.block, {}, corrections, run.emitted)[: self.num_costs]
        out = [run.read(atom) for atom in self.block.outs]
        costs = wide([jnp.asarray(cost) for cost in out[: self.num_costs]])
        return costs, tails, out[self.num_costs :], leaves

    def _branches(self, run: Run, position: int, branches: Branches, weights: Any, ways: Ways, rows: list[Any]) -> Any:
        """Run on once for each row of draws, and add up with their probabilities."""
        op, chance = self.block.ops[position], branches.probs

        def branch(values: list[Any], p: Array, rows: list[Any]) -> Any:
            mine = run.copy()
            mine.emitted[op.serial] = run.read(op.ins[0])
            mine.write(op.outs, values)
            return self._from(mine, position + 1, [*weights, (op, p, chance.shape[0])], ways, rows)

        costs, tails, others, leaves = jax.vmap(branch)(branches.draws, chance, rows)
        atoms = self.block.outs[: self.num_costs]
        costs = [
            jnp.tensordot(chance.astype(c.dtype), c, axes=1) if op in self.of(atom) else c[0]
            for c, atom in zip(costs, atoms, strict=True)
        ]
        tails = [None if t is None else jnp.sum(t, axis=0) for t in tails]
        return costs, tails, [x[0] for x in others], leaves
