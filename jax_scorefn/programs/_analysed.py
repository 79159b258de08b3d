"""A traced program with its analysis: which costs are credited to which choices, and how it goes on from one of its operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn._wide import wide
from jax_scorefn.programs._analyze import Analysis, Since
from jax_scorefn.programs._evaluate import Run
from jax_scorefn.programs._finished import finish
from jax_scorefn.programs._ir import Var, build, refuse_hidden
from jax_scorefn.programs._linear import Decomposition
from jax_scorefn.programs._plain import plain_draws
from jax_scorefn.programs.lanes._places import spans, together
from jax_scorefn.programs.sites import Branches
from jax_scorefn.typing import Array


class Analysed:
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
        self.spans = spans(self.choices, self.leaves, self.of)
        self.together = together(self.spans, self.choices, self.plan.elements(), self.of)
        # elements of the largest array that a choice changes
        self.width = max((math.prod(v.shape) for v, part in self.of.of.items() if part), default=1) or 1
        for atom in self.block.outs[num_costs:]:
            for site in self.of(atom):
                if not isinstance(site, Since) and site.estimator.in_aux:
                    raise ValueError(site.estimator.in_aux.format(name=site.params["name"]))

    def up_to_branches(self, run: Run, start: int, so_far: int) -> tuple[int, Branches | None]:
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
        position, branches = self.up_to_branches(run, start, so_far)
        if branches is None:
            return [wide(jnp.asarray(run.read(atom))) for atom in self.block.outs[: self.num_costs]]

        def branch(values: list[Any]) -> list[Array]:
            mine = run.copy()
            mine.write(self.block.ops[position].outs, values)
            return self.costs_from(mine, position + 1, so_far * branches.probs.shape[0])

        return [jnp.tensordot(branches.probs.astype(c.dtype), c, axes=1) for c in jax.vmap(branch)(branches.draws)]
