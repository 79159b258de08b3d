"""One pilot for all plans: the variance of a sum over choices is a quadratic form in which estimator each of them has.

    gradient of a run under plan c   =   g_0  +  sum_s T_{s, c(s)}              T: the term of choice s by one of its estimators
    variance under c                 =   z^T C z,     z = 1 at the terms of c,   C = the covariance of the terms, of the same draws

All estimators of a choice stand in one program, each with a weight that is 1 or 0 (``Weighed``), and the gradient is linear in these.
A path, and a sum over values, change the terms of others too, so each set of them has a C of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks, engine
from jax_scorefn.programs._expectation import NO_RUN, _of_others, _resolve, _signature, expectation, trace
from jax_scorefn.programs.lanes._options import Comparison, Coupled
from jax_scorefn.programs.plans._candidates import SWITCHED, All, candidates
from jax_scorefn.programs.plans._context import planned
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
TOO_FEW_RUNS = "plan wants num_runs={runs} to be a multiple of num_samples={samples}, and at least two of them."
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


def plan(
    program: Callable[..., Any],
    *,
    num_runs: int = 256,
    num_samples: int | None = None,
    argnums: int | Sequence[int] = 0,
    baseline: Any = "auto",
    coupled: Coupled | None = None,
    has_aux: bool = False,
) -> Callable[..., Plan]:
    """Choose an estimator for each choice of a program, by measurement.

    ``sf.plan(program)(params, key)`` runs the program with all estimators that each choice may have at once, reads the variance of
    every combination off the covariance of their terms, times the best of them and those with one estimator throughout, and
    returns the one with the least variance times time. The draws are the pilot's own: estimates that use the plan stay unbiased.

    Chosen for are the choices that have a ``name`` and no ``estimator``, or ``estimator="auto"``; others stay as they are. A choice
    that is drawn again and again under one name has one estimator. "pathwise" is tried where nothing between the draw and a cost
    has a derivative of 0, "exact" for at most 16 values at the top of the program.

    Args:
      program: as for :func:`expectation`.
      num_runs: runs of the pilot.
      num_samples: runs of one estimate that is planned for, out of which a baseline comes; None is ``num_runs``.
      argnums: the arguments whose gradient counts, as in ``jax.grad``. Their variances are added up.
      baseline: as for :func:`expectation`.
      coupled: as for :func:`expectation`.
      has_aux: as for :func:`expectation`.

    Returns:
      A function with the program's signature that returns a :class:`programs.Plan`, to be passed on as ``plan=``. It is no part of a
      program under ``jit``: it measures times. Called again it compiles nothing.

    Raises:
      ValueError: for a program without a choice to plan, and bad options.

    Bias: none. Cost: a run of all estimators for each of ``num_runs``, twice, and the compilation of some six gradients, which takes
    tens of seconds.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> def walk(p, key):  # up with a probability that falls with the height
      ...     def step(x, k):
      ...         up = sf.sample(k, sf.Bernoulli(probs=jnp.exp(-x / p)), name="up")
      ...         return x + 2 * up - 1, None
      ...     return jax.lax.scan(step, 0.0, jax.random.split(key, 30))[0] ** 2
      >>> plan = sf.plan(walk)(60.0, jax.random.key(0))
      >>> plan["up"]
      'coupled'
      >>> gradient = jax.jit(jax.grad(sf.expectation(walk, num_samples=100, plan=plan)))

    References: arya2022, parmas2018.
    """
    signature, num_runs = _signature(program), _checks.positive_int("num_runs", num_runs, 1)
    num_samples = num_runs if num_samples is None else _checks.positive_int("num_samples", num_samples)
    if num_runs % num_samples or num_runs < 2:
        raise ValueError(TOO_FEW_RUNS.format(runs=num_runs, samples=num_samples))
    pilot = Pilot(program, signature, num_runs, num_samples, argnums, baseline, coupled or Coupled(), has_aux)
    return pilot


class Pilot:
    """What ``plan`` returns; functions that were compiled are kept."""

    def __init__(
        self,
        program: Callable[..., Any],
        signature: inspect.Signature,
        num_runs: int,
        num_samples: int,
        argnums: Any,
        baseline: Any,
        coupled: Coupled,
        has_aux: bool,
    ):
        self.program, self.signature, self.has_aux = program, signature, has_aux
        self.num_runs, self.num_samples, self.coupled = num_runs, num_samples, coupled
        self.argnums = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        self.baseline, self.subtracted = baseline, _resolve(baseline, num_samples)
        self.compiled: dict[Any, Callable[..., Any]] = {}
        self.able: dict[str, Able] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Plan:
        _checks.key("plan", self.signature.bind(*args, **kwargs).arguments["key"])
        shapes = str(
            jax.tree.map(
                lambda x: jnp.asarray(x).aval if hasattr(x, "dtype") or isinstance(x, float) else x, (args, kwargs)
            )
        )
        if shapes not in self.able:
            self.able[shapes] = candidates(lambda: trace(self.program, self.signature, self.has_aux, args, kwargs)[0])
        able, call = self.able[shapes], (args, kwargs)
        if not able:
            raise ValueError(NOTHING_TO_PLAN.format(name=getattr(self.program, "__name__", "the program")))
        pilots = [self._terms(shapes, able, *structure, call) for structure in structures(able)]
        variances = {choices: pilot.variance(dict(choices)) for pilot in pilots for choices in pilot.plans(able)}
        uniform = [throughout(able, estimator) for estimator in estimators(able)]
        speeds = self._times(shapes, uniform, call)
        expected = {choices: v * expected_time(speeds, choices) for choices, (v, _) in variances.items()}
        best = [choices for choices in sorted(expected, key=lambda c: expected[c]) if choices not in speeds][:TIMED]
        speeds = self._times(shapes, [*uniform, *best], call)
        rows = [
            Priced(choices, *variances[choices], seconds) for choices, seconds in speeds.items() if choices in variances
        ]
        rows.sort(key=lambda row: row.price)
        return Plan(rows[0].choices, tuple(rows))

    def _moving(self, call: Any) -> list[Any]:
        return [call[0][k] for k in self.argnums]

    def _with(self, moving: Sequence[Any], call: Any) -> Any:
        args = list(call[0])
        for k, x in zip(self.argnums, moving, strict=True):
            args[k] = x
        return tuple(args), call[1]

    def _terms(self, shapes: str, able: Able, summed: frozenset[str], along: frozenset[str], call: Any) -> Terms:
        """Run the pilot of a structure."""
        rows = [
            (name, estimator)
            for name, known in able.items()
            for estimator in known
            if name not in summed | along and estimator in SWITCHED
        ]
        at = (shapes, summed, along)
        if at not in self.compiled:
            self.compiled[at] = jax.jit(functools.partial(self._grams, able, summed, along, rows))
        return Terms(summed, along, rows, np.asarray(self.compiled[at](call), float))

    def _grams(
        self, able: Able, summed: frozenset[str], along: frozenset[str], rows: list[tuple[str, str]], call: Any
    ) -> Array:
        moving, base = self._moving(call), {(name, "pathwise"): 1.0 for name in along}
        table = jnp.array([[0.0] * len(rows), *np.eye(len(rows))])  # the common part, and each term with it

        def cost(moving: list[Any], weights: Array, index: Array, row: Any) -> Any:
            given = {**base, **{pair: weights[k] for k, pair in enumerate(rows)}}
            known = {
                name: {e: jnp.asarray(given.get((name, e), 0.0)) for e in estimators if e in (*SWITCHED, "pathwise")}
                for name, estimators in able.items()
            }
            with planned(All(known, summed)):
                args, kwargs = self._with(moving, call)
                program, leaves, key, _ = trace(self.program, self.signature, self.has_aux, args, kwargs)
            comparison = Comparison(
                self.coupled, jax.random.fold_in(jax.random.fold_in(key, NO_RUN), index), _of_others
            )
            subtract = lambda value, row: 0.0 if row is None else row
            costs, _, values = program([*leaves, jax.random.fold_in(key, index)], subtract, row, comparison)
            return _total(costs), jax.lax.stop_gradient(values)

        def gradients(index: Array, row: Any) -> Array:
            """Of one run, (K, P)."""
            of = lambda weights: jax.grad(lambda m: cost(m, weights, index, row)[0])(moving)
            terms = jnp.concatenate(
                [jnp.reshape(g, (len(table), -1)) for g in jax.tree.leaves(jax.vmap(of)(table))], axis=1
            )
            return jnp.concatenate([terms[:1], terms[1:] - terms[:1]])

        many = lambda f: engine.map_index(f, self.num_runs, SIDE_BY_SIDE, None)
        baselines = None
        if self.subtracted is not None:
            values = many(jax.vmap(lambda index: cost(moving, table[0], index, None)[1]))
            baselines = [self._subtract(value) for value in values]
        at = lambda index: None if baselines is None else [row[index] for row in baselines]
        total = jnp.mean(many(jax.vmap(lambda index: gradients(index, at(index)))), axis=0)

        def gram(index: Array) -> Array:
            above = gradients(index, at(index)) - total
            return above @ above.T

        return many(jax.vmap(gram))

    def _subtract(self, value: Array) -> Array:
        """Of the other runs of each estimate."""
        baseline = self.subtracted
        assert baseline is not None
        of_one = lambda rows: jnp.broadcast_to(baseline(rows), rows.shape)
        estimates = jax.vmap(of_one)(value.reshape(-1, self.num_samples, *value.shape[1:]))
        return estimates.reshape(value.shape)

    def _times(self, shapes: str, plans: list[Chosen], call: Any) -> dict[Chosen, float]:
        """Seconds of a run under each plan, timed in turns."""
        runs = {}
        for choices in plans:
            if (at := (shapes, choices)) not in self.compiled:
                self.compiled[at] = jax.jit(functools.partial(self._gradient, choices))
            runs[choices] = self.compiled[at]
        found = in_turns(list(runs.values()), call)
        return {choices: seconds / self.num_runs for choices, seconds in zip(runs, found, strict=True)}

    def _gradient(self, choices: Chosen, call: Any) -> Any:
        options: Any = {"baseline": self.baseline, "coupled": self.coupled, "has_aux": self.has_aux, "lost": "ignore"}
        run = expectation(self.program, num_samples=self.num_runs, plan=Plan(choices), **options)

        def cost(moving: list[Any]) -> Array:
            args, kwargs = self._with(moving, call)
            costs = run(*args, **kwargs)
            return _total(costs[0] if self.has_aux else costs)

        return jax.grad(cost)(self._moving(call))


def _total(costs: Any) -> Array:
    return sum((jnp.sum(jnp.real(cost)) for cost in jax.tree.leaves(costs)), jnp.zeros(()))
