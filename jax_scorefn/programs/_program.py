"""A traced program with its analysis: which costs are credited to which choices, and the surrogate that does it."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn.programs._analyze import Analysis
from jax_scorefn.programs._choice import MAX_BRANCHES
from jax_scorefn.programs._credit import Credits
from jax_scorefn.programs._evaluate import Run
from jax_scorefn.programs._ir import Op, Var, build
from jax_scorefn.programs._linear import Decomposition
from jax_scorefn.programs._tail import run_tail
from jax_scorefn.programs._wide import wide
from jax_scorefn.typing import Array

NESTED_ENUMERATION = (
    "The choice {name} is enumerated inside of a scan, cond or checkpoint. Its values are summed over the rest of the whole "
    "program, so it has to stand at the top of it: draw it before and pass it in, or use estimator='score'."
)
TOO_MANY_BRANCHES = (
    "Enumerating the choice {name} makes {count:.4g} combinations ({values} values in each of {elements} elements, with what is "
    "enumerated already), above {limit}. Use estimator='score', or enumerate fewer elements."
)
AUX_ENUMERATED = (
    "The auxiliary output depends on the enumerated choice {name}, so it has one value for each value of the choice. Leave "
    "it out of has_aux, or use estimator='score' for this choice."
)

Subtract = Callable[[Array, Any], Array | float]
"""``(value of a leaf, its row of given baselines) -> what is subtracted``."""


class Program:
    """The private copy of a program of which the first ``num_costs`` results are costs, with what was found out about it."""

    def __init__(self, closed: Any, num_costs: int):
        self.block = build(closed)
        self.num_costs = num_costs
        top = {op for op in self.block.ops if op.kind == "choice"}
        self.choices = self.block.choices()
        for op in self.choices:
            if op.params["kind"] == "enumerate" and op not in top:
                raise ValueError(NESTED_ENUMERATION.format(name=op.params["name"]))
        self.of = Analysis(self.block)
        costs = [v for v in self.block.outs[:num_costs] if isinstance(v, Var)]
        self.plan = Decomposition(self.block, costs, self.of).plan
        self.leaves = self.plan.all_leaves()
        for atom in self.block.outs[num_costs:]:
            for site in self.of(atom):
                if site.params["kind"] == "enumerate":
                    raise ValueError(AUX_ENUMERATED.format(name=site.params["name"]))

    def __call__(
        self, operands: list[Any], subtract: Subtract, rows: list[Any] | None
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Surrogates of the costs, the other results, and the values of the leaves."""
        run = Run(self.plan)
        run.write(self.block.ins, operands)
        rows = [None] * len(self.leaves) if rows is None else rows
        costs, tails, rest, leaves = self._from(run, 0, [], subtract, rows)
        return [c if t is None else c + t for c, t in zip(costs, tails, strict=True)], rest, leaves

    def _from(
        self, run: Run, start: int, weights: list[tuple[Op, Array, int]], subtract: Subtract, rows: list[Any]
    ) -> Any:
        """Run on from an operation, in branches where a choice is enumerated."""
        for position in range(start, len(self.block.ops)):
            op = self.block.ops[position]
            if op.kind == "choice" and op.params["kind"] == "enumerate":
                return self._branches(run, position, weights, subtract, rows)
            run.step(op)
        leaves, corrections, credits = [], {}, Credits(self.of, run.emitted)
        for (v, depth), row in zip(self.leaves, rows, strict=True):
            shares = [p if op in self.of(v) else 1.0 / count for op, p, count in weights]
            value = wide(run.emitted[v.serial])
            value = functools.reduce(operator.mul, (jnp.asarray(share, value.dtype) for share in shares), value)
            leaves.append(jax.lax.stop_gradient(value))
            corrections[v.serial] = credits.correction(value, subtract(value, row), v, depth)
        tails = run_tail(self.plan, self.block, {}, corrections, run.emitted)[: self.num_costs]
        out = [run.read(atom) for atom in self.block.outs]
        costs = wide([jnp.asarray(cost) for cost in out[: self.num_costs]])
        return costs, tails, out[self.num_costs :], leaves

    def _branches(self, run: Run, position: int, weights: Any, subtract: Subtract, rows: list[Any]) -> Any:
        """Sum over the values of a choice; of several elements, over all their combinations."""
        op = self.block.ops[position]
        log_prob, probs, *rest = [run.read(x) for x in op.ins]
        drawn, points = rest[: op.params["size"]], rest[op.params["size"] :]
        elements, values = math.prod(log_prob.shape), probs.shape[-1]
        count = values**elements
        total = count * math.prod(n for _, _, n in weights)
        if total > MAX_BRANCHES:
            message = TOO_MANY_BRANCHES.format(
                name=op.params["name"], count=float(total), values=values, elements=elements, limit=MAX_BRANCHES
            )
            raise ValueError(message)
        pick = np.indices((values,) * elements, dtype=np.int32).reshape(elements, -1).T
        which = np.broadcast_to(np.arange(elements, dtype=np.int32), pick.shape)
        chance = jnp.prod(wide(probs).reshape(elements, values)[which, pick], axis=1)
        batch = len(log_prob.shape)
        grids = [
            point.reshape(elements, values, *x.shape[batch:])[which, pick].reshape(count, *x.shape)
            for point, x in zip(points, drawn, strict=True)
        ]

        def branch(values: list[Any], p: Array, rows: list[Any]) -> Any:
            mine = Run(self.plan)
            mine.env, mine.emitted = dict(run.env), dict(run.emitted)
            mine.emitted[op.serial] = log_prob
            mine.write(op.outs, values)
            return self._from(mine, position + 1, [*weights, (op, p, count)], subtract, rows)

        costs, tails, others, leaves = jax.vmap(branch)(grids, chance, rows)
        atoms = self.block.outs[: self.num_costs]
        costs = [
            jnp.tensordot(chance.astype(c.dtype), c, axes=1) if op in self.of(atom) else c[0]
            for c, atom in zip(costs, atoms, strict=True)
        ]
        tails = [None if t is None else jnp.sum(t, axis=0) for t in tails]
        return costs, tails, [x[0] for x in others], leaves
