"""One pilot for all plans: the variance of a sum over choices is a quadratic form in which estimator each of them has.

    gradient of a run under plan c   =   g_0  +  sum_s T_{s, c(s)}              T: the term of choice s by one of its estimators
    variance under c                 =   z^T C z,     z = 1 at the terms of c,   C = the covariance of the terms, of the same draws

All estimators of a choice stand in one program, each with a weight that is 1 or 0 (``Weighed``), and the gradient is linear in these.
A path, and a sum over values, change the terms of others too, so each set of them has a C of its own.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks
from jax_scorefn.programs._expectation import (
    AXIS,
    NO_RUN,
    expectation,
    of_others,
    resolved_baseline,
)
from jax_scorefn.programs._program import Program
from jax_scorefn.programs._trace import signature_of, trace
from jax_scorefn.programs.lanes._options import Comparison, Coupled
from jax_scorefn.programs.plans._call import Call
from jax_scorefn.programs.plans._candidates import SWITCHED, all_candidates, candidates
from jax_scorefn.programs.plans._plan import Plan, Priced
from jax_scorefn.programs.plans._search import (
    Able,
    Chosen,
    combinations,
    estimators,
    expected_time,
    in_turns,
    structures,
    throughout,
)
from jax_scorefn.typing import Array

NOTHING_TO_PLAN = (
    "sf.plan chooses an estimator for each choice that has a name and leaves its estimator open, as in "
    "sf.sample(key, dist, name='demand'); {name} has none."
)
NOTHING_MOVES = (
    "sf.plan looks at the gradient in the positional arguments argnums={argnums}, as jax.grad does, and these hold no floats. "
    "Pass the parameters by position, and say which they are."
)
SIDE_BY_SIDE = 16
"""Runs of a pilot at once."""
TIMED = 3
"""Plans that are timed beside the uniform ones: those with the least expected price."""


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a pilot says of the plans that sum over the same choices and go along the same paths.

    ``rows``: for each term its choice and estimator, the common part first. ``grams``: for each run, (n, K, K) products of what a term
    is above its mean.
    """

    summed: frozenset[str]
    along: frozenset[str]
    rows: list[tuple[str, str]]
    grams: np.ndarray

    def variance(self, choices: Mapping[str, str]) -> tuple[float, float]:
        """Of a plan, and its standard error."""
        z = np.array([1.0, *(choices[name] == estimator for name, estimator in self.rows)])
        n, squares = len(self.grams), self.grams @ z @ z
        return float(squares.sum() / (n - 1)), float(squares.std() / n**0.5)

    def plans(self, able: Able) -> Iterator[Chosen]:
        """Those that are worth a look."""
        return combinations(able, self.summed, self.along, lambda choices: self.variance(choices)[0])


class Pilot:
    """What ``plan`` returns; functions that were compiled are kept."""

    def __init__(
        self,
        program: Callable[..., Any],
        num_runs: int,
        num_samples: int,
        argnums: Any,
        baseline: Any,
        coupled: Coupled,
        has_aux: bool,
    ):
        self.program, self.signature, self.has_aux = program, signature_of(program), has_aux
        self.num_runs, self.num_samples, self.coupled = num_runs, num_samples, coupled
        self.argnums = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        self.baseline, self.subtracted = baseline, resolved_baseline(baseline, num_samples)
        self.compiled: dict[Any, Callable[..., Any]] = {}
        self.able: dict[Call, Able] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Plan:
        _checks.key("plan", self.signature.bind(*args, **kwargs).arguments["key"])
        call, arrays = Call.of(args, kwargs, self.argnums)
        if not call.moving:
            raise ValueError(NOTHING_MOVES.format(argnums=self.argnums))
        if call not in self.able:
            self.able[call] = candidates(lambda: self._trace(*call.whole(arrays)))
        able = self.able[call]
        if not able:
            raise ValueError(NOTHING_TO_PLAN.format(name=getattr(self.program, "__name__", "the program")))
        pilots = [self._terms(able, *structure, call, arrays) for structure in structures(able)]
        variances = {chosen: pilot.variance(dict(chosen)) for pilot in pilots for chosen in pilot.plans(able)}
        uniform = [throughout(able, estimator) for estimator in estimators(able)]
        speeds = self._times(uniform, call, arrays)
        expected = {chosen: v * expected_time(speeds, chosen) for chosen, (v, _) in variances.items()}
        best = [chosen for chosen in sorted(expected, key=lambda c: expected[c]) if chosen not in speeds][:TIMED]
        speeds = self._times([*uniform, *best], call, arrays)
        rows = [Priced(c, *variances[c], seconds) for c, seconds in speeds.items() if c in variances]
        rows.sort(key=lambda row: row.price)
        return Plan(rows[0].choices, tuple(rows))

    def _trace(self, args: Any, kwargs: Any) -> Program:
        return trace(self.program, self.signature, self.has_aux, args, kwargs)[0]

    def _terms(
        self, able: Able, summed: frozenset[str], along: frozenset[str], call: Call, arrays: list[Array]
    ) -> Terms:
        """Run the pilot of a structure."""
        apart = {name: known for name, known in able.items() if name not in summed | along}
        rows = [(name, estimator) for name, known in apart.items() for estimator in known if estimator in SWITCHED]
        at = (call, summed, along)
        if at not in self.compiled:
            self.compiled[at] = jax.jit(functools.partial(self._grams, able, summed, along, rows, call))
        return Terms(summed, along, rows, np.asarray(self.compiled[at](arrays), float))

    def _grams(
        self,
        able: Able,
        summed: frozenset[str],
        along: frozenset[str],
        rows: list[tuple[str, str]],
        call: Call,
        arrays: list[Array],
    ) -> Array:
        """For each run, products of what its terms are above their means."""
        table = jnp.array([[0.0] * len(rows), *np.eye(len(rows))])  # the common part, and each term with it
        size = next(n for n in range(SIDE_BY_SIDE, 0, -1) if self.num_runs % n == 0)

        def cost(moving: list[Array], weights: Array, index: Array, row: Any) -> Any:
            one = dict.fromkeys(((name, "pathwise") for name in along), jnp.ones(()))
            one |= {pair: weights[k] for k, pair in enumerate(rows)}
            of = lambda name: {e: one.get((name, e), jnp.zeros(())) for e in able[name] if e != "exact"}
            with all_candidates({name: of(name) for name in able}, summed):
                args, kwargs = call.whole(arrays, moving)
                program, leaves, key, _ = trace(self.program, self.signature, self.has_aux, args, kwargs)
            picks = jax.random.fold_in(jax.random.fold_in(key, NO_RUN), index)
            subtract = lambda value, row: 0.0 if row is None else row
            operands = [*leaves, jax.random.fold_in(key, index)]
            comparison = Comparison(self.coupled, picks, functools.partial(of_others, index), size)
            costs, _, values = program(operands, subtract, row, comparison)
            return _total(costs), jax.lax.stop_gradient(values)

        def terms(index: Array, row: Any) -> Array:
            """Of one run, (K, P)."""
            gradient = lambda w: jax.grad(lambda m: cost(m, w, index, row)[0])(call.moved(arrays))
            found = [jnp.reshape(g, (len(table), -1)) for g in jax.tree.leaves(jax.vmap(gradient)(table))]
            found = jnp.concatenate([_real(g) for g in found], axis=1)
            return jnp.concatenate([found[:1], found[1:] - found[:1]])

        groups = jnp.arange(self.num_runs, dtype=jnp.uint32).reshape(-1, size)
        beside = lambda f, *rows: jax.vmap(f, axis_name=AXIS)(*rows)
        baselines: Any = None
        if self.subtracted is not None:
            value = lambda index: cost(call.moved(arrays), table[0], index, None)[1]
            values = jax.lax.map(lambda group: beside(value, group), groups)
            baselines = [self._subtract(v.reshape(self.num_runs, *v.shape[2:])) for v in values]
        of_runs = lambda group: None if baselines is None else [row[group] for row in baselines]
        of_group = lambda group: beside(terms, group, of_runs(group))
        like = jax.eval_shape(of_group, groups[0])
        first = jnp.zeros(like.shape[1:], like.dtype)
        total, _ = jax.lax.scan(lambda total, group: (total + jnp.sum(of_group(group), axis=0), None), first, groups)

        def grams(group: Array) -> Array:
            above = of_group(group) - total[None] / self.num_runs
            return above @ jnp.swapaxes(above, 1, 2)

        return jax.lax.map(grams, groups).reshape(self.num_runs, len(table), len(table))

    def _subtract(self, value: Array) -> Array:
        """Of the other runs of each estimate."""
        baseline = self.subtracted
        assert baseline is not None
        of_one = lambda rows: jnp.broadcast_to(baseline(rows), rows.shape)
        estimates = jax.vmap(of_one)(value.reshape(-1, self.num_samples, *value.shape[1:]))
        return estimates.reshape(value.shape)

    def _times(self, plans: list[Chosen], call: Call, arrays: list[Array]) -> dict[Chosen, float]:
        """Seconds of a run under each plan, timed in turns: so many estimates in a compiled loop as the pilot has runs for."""
        runs = {}
        for chosen in plans:
            if (at := (call, chosen)) not in self.compiled:
                self.compiled[at] = jax.jit(functools.partial(self._gradient, chosen, call))
            runs[chosen] = self.compiled[at]
        found = in_turns(list(runs.values()), arrays)
        return {chosen: seconds / self.num_runs for chosen, seconds in zip(runs, found, strict=True)}

    def _gradient(self, chosen: Chosen, call: Call, arrays: list[Array]) -> Any:
        options: Any = {"baseline": self.baseline, "coupled": self.coupled, "has_aux": self.has_aux, "lost": "ignore"}
        run = expectation(self.program, num_samples=self.num_samples, plan=Plan(chosen), **options)

        def cost(moving: list[Array], number: Array) -> Array:
            args, kwargs = call.whole(arrays, moving)
            bound = self.signature.bind(*args, **kwargs)
            bound.arguments["key"] = jax.random.fold_in(bound.arguments["key"], number)
            costs = run(*bound.args, **bound.kwargs)
            return _total(costs[0] if self.has_aux else costs)

        numbers = jnp.arange(self.num_runs // self.num_samples, dtype=jnp.uint32)
        return jax.lax.map(lambda number: jax.grad(cost)(call.moved(arrays), number), numbers)


def _real(g: Array) -> Array:
    """Complex numbers as two real ones."""
    return jnp.concatenate([g.real, g.imag], axis=1) if jnp.iscomplexobj(g) else g


def _total(costs: Any) -> Array:
    return sum((jnp.sum(jnp.real(cost)) for cost in jax.tree.leaves(costs)), jnp.zeros(()))
