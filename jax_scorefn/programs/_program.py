"""A traced program with its analysis: which costs are credited to which choices, and the surrogate that does it."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_scorefn.programs._analyze import Analysis, Since
from jax_scorefn.programs._credit import Credits
from jax_scorefn.programs._evaluate import Run
from jax_scorefn.programs._finished import finish
from jax_scorefn.programs._ir import Op, Var, build, refuse_hidden
from jax_scorefn.programs._lanes import Comparison, compared, shared, spans
from jax_scorefn.programs._linear import Decomposition
from jax_scorefn.programs._online import online
from jax_scorefn.programs._plain import plain_draws
from jax_scorefn.programs._tail import run_tail
from jax_scorefn.programs._wide import wide
from jax_scorefn.programs.sites import Branches
from jax_scorefn.typing import Array

Subtract = Callable[[Array, Any], Array | float]
"""``(value of a leaf, its row of given baselines) -> what is subtracted``."""


class Ways(NamedTuple):
    """How all choices of a run are estimated: what is subtracted from a cost, and how those that are compared are."""

    subtract: Subtract
    comparison: Comparison


class Program:
    """The private copy of a program of which the first ``num_costs`` results are costs, with what was found out about it.

    ``names`` are those of its inputs, without the key.
    """

    def __init__(self, closed: Any, num_costs: int, names: Sequence[str]):
        self.block = build(closed)
        plain_draws(self.block)
        refuse_hidden(self.block)
        finish(self.block)
        self.num_costs, self.names = num_costs, names
        top = {op for op in self.block.ops if op.kind == "choice"}
        self.choices = self.block.choices()
        for op in self.choices:
            if op.estimator.nested and op not in top:
                raise ValueError(op.estimator.nested.format(name=op.params["name"]))
        self.of = Analysis(self.block)
        costs = [v for v in self.block.outs[:num_costs] if isinstance(v, Var)]
        self.plan = Decomposition(self.block, costs, self.of).plan
        self.leaves = self.plan.all_leaves()
        self.spans = spans(self)
        for atom in self.block.outs[num_costs:]:
            for site in self.of(atom):
                if not isinstance(site, Since) and site.estimator.in_aux:
                    raise ValueError(site.estimator.in_aux.format(name=site.params["name"]))

    def __call__(
        self, operands: list[Any], subtract: Subtract, rows: list[Any] | None, comparison: Comparison
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Surrogates of the costs, the other results, and the values of the leaves."""
        run = Run(self.plan)
        run.write(self.block.ins, operands)
        rows = [None] * len(self.leaves) if rows is None else rows
        costs, tails, rest, leaves = self._from(run, 0, [], Ways(subtract, comparison), rows)
        return [c if t is None else c + t for c, t in zip(costs, tails, strict=True)], rest, leaves

    def _from(self, run: Run, start: int, weights: list[tuple[Op, Array, int]], ways: Ways, rows: list[Any]) -> Any:
        """Run on from an operation, in branches where a choice asks for them; and in lanes, for the choices up to there."""
        before = dict(run.env)
        position, branches = self._up_to_branches(run, start, math.prod(count for _, _, count in weights))
        if branches is None:
            costs, *others = self._at_the_end(run, before, weights, ways, rows)
        else:
            costs, *others = self._branches(run, position, branches, weights, ways, rows)
        return compared(self, run, before, start, position, costs, ways.comparison), *others

    def _up_to_branches(self, run: Run, start: int, so_far: int) -> tuple[int, Branches | None]:
        """Run on to the next choice that asks for branches, or to the end: where that is, and the branches."""
        for position in range(start, len(self.block.ops)):
            op = self.block.ops[position]
            if op.kind == "choice":
                branches = op.estimator.branches(op, [run.read(x) for x in op.ins], so_far)
                if branches is not None:
                    return position, branches
            run.step(op)
        return len(self.block.ops), None

    def costs_from(self, run: Run, start: int, so_far: int = 1) -> list[Array]:
        """The costs alone, added up over branches."""
        position, branches = self._up_to_branches(run, start, so_far)
        if branches is None:
            return [wide(jnp.asarray(run.read(atom))) for atom in self.block.outs[: self.num_costs]]

        def branch(values: list[Any]) -> list[Array]:
            mine = run.copy()
            mine.write(self.block.ops[position].outs, values)
            return self.costs_from(mine, position + 1, so_far * branches.probs.shape[0])

        return [jnp.tensordot(branches.probs.astype(c.dtype), c, axes=1) for c in jax.vmap(branch)(branches.draws)]

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
