"""Choose an estimator by measuring all that can be had: bias, variance, evaluations of f and time, on the problem at hand."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks
from jax_scorefn._progress import bar
from jax_scorefn._trees import is_inexact, partition, real_parts, to_float
from jax_scorefn.diagnostics import _reference
from jax_scorefn.diagnostics._candidates import candidates, is_default, record_of
from jax_scorefn.diagnostics._moments import Moments
from jax_scorefn.diagnostics._problem import Clock, Problem, replicate
from jax_scorefn.diagnostics._report import AuditReport, Row
from jax_scorefn.diagnostics._verdict import Verdict, flat, judge_twice
from jax_scorefn.distributions import Family
from jax_scorefn.typing import Capability, Key, Params, PyTree

NOT_DRAWN = (
    "An audit runs estimators again and again on fresh draws, and the distribution of this family has {given}. Audit a family with a "
    "sampler; for given draws look at Info.value_standard_error."
)
BAD_REFERENCE = "reference is 'auto', or a gradient like params, with floats of the shapes {wanted}; it got {given}."
NEEDS_RICH_BAR = "The progress bar of an audit needs rich: pip install rich (the extra audit brings it)."


def audit(
    f: Any,
    logp: Family,
    params: Params,
    key: Key,
    *,
    estimators: Sequence[str] | Mapping[str, Any] | None = None,
    reference: Any = "auto",
    num_samples: int = 16,
    budget: int = 2_000_000,
    max_seconds: float | None = None,
    false_alarm: float = 1e-3,
    progress: bool | None = None,
) -> AuditReport:
    """Measure every estimator that the family allows, on this f and at these parameters, and recommend one.

    Each is held against one reference, with its gradient's variance, its evaluations of f and its time beside it. What an estimator
    cannot do here is found by its measured bias, pathwise through a jump for one. An unbiased estimator is called biased in fewer than
    one audit in a thousand: thresholds count all coordinates of all estimators, and an alarm has to be raised twice, on other keys.

    Args:
      f: function of one draw that returns a scalar; of two arguments, ``f(x, params)``, if it depends on the parameters.
      logp: a :func:`family` that can be drawn from.
      params: where the gradient is estimated, in its floats and complex numbers; other leaves (ints, functions) stay as they are.
      key: one JAX key; the audit is a function of it, but for the times.
      estimators: a name of an estimator of E[f] in the registry, or several, or a mapping from labels to estimators
        (``functools.partial`` of one, or a function of one's own with the same arguments); None is every estimator of E[f] in the
        registry, and the score function without a baseline; for a black box those that do not differentiate f.
      reference: "auto" (exact where it can be had: a sum over the support, or a quadrature that has settled; else a long run of
        ``score_function`` on keys of its own), or the gradient itself, a pytree like ``params``.
      num_samples: draws in one call of an estimator.
      budget: evaluations of f, shared by the estimators and the reference: what an audit costs, reproducibly. An estimator gets at
        least 200 and at most 20,000 replicates, and an alarm takes as many again.
      max_seconds: how long the audit may take, but for a compilation under way. The default is measured first, then what is likely
        to be better; an estimator that there is no time for is not begun, and the report says so. If that is the default, nothing
        is recommended. None is no limit.
      false_alarm: probability that any unbiased estimator is called biased.
      progress: whether to show a bar (needs rich); None shows it in a terminal.

    Returns:
      An :class:`AuditReport`: ``print`` it, ``.recommended``, ``.num_samples_for(standard_error)``, ``.to_dict()``, ``.plot()``.

    Raises:
      TypeError, ValueError: for a family that cannot be drawn from, an unknown estimator, a reference of other shapes, and for what
        ``score_function`` refuses.

    Cost: about ``budget`` evaluations of f, and three compilations for each estimator.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> normal = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))
      >>> step = lambda x: jnp.where(x > 0.0, 1.0, 0.0)
      >>> report = sf.audit(step, normal, 0.3, jax.random.key(0), estimators=["score_function", "pathwise"], budget=200_000)
      >>> print(report["pathwise"].verdict, "|", report["score_function"].verdict, "|", report.recommended)
      biased | unbiased | score_function
    """
    clock = Clock(max_seconds)
    _checks.key("audit", key)
    _checks.params(params)
    if not isinstance(logp, Family):
        raise TypeError(_checks.NOT_A_FAMILY.format(name="audit", given=_checks.describe(logp)))
    dist = logp.at(params)
    if Capability.SAMPLE not in dist.capabilities:
        raise ValueError(NOT_DRAWN.format(given=_checks.name_of(dist.capabilities)))
    num_samples = _checks.positive_int("num_samples", num_samples)
    budget = _checks.positive_int("budget", budget)
    floats, whole = partition(params, is_inexact)
    problem = Problem(_checks.of_params("audit", f), logp, dist, floats, whole)
    chosen, missing = candidates(estimators, dist, problem.is_black_box())
    reference_key, draws_key, key = jax.random.split(key, 3)

    share = budget // (len(chosen) + 1)
    varies = problem.varies(draws_key, clock)
    truth = _truth(reference, problem, reference_key, share, clock)
    rows: list[Row] = []
    waiting = list(chosen)
    with bar("audit", len(chosen), wanted=progress, missing=NEEDS_RICH_BAR, transient=True) as show:
        while waiting and clock.left > clock.overhead:
            label = waiting[0]
            show(len(rows), label)
            one = _Candidate(label, chosen[label], problem, num_samples, clock, len(waiting))
            draws = jax.random.fold_in(key, len(rows))
            row = one.measure(truth, draws, share, len(chosen), false_alarm, varies)
            if row is None:
                break
            rows.append(row)
            waiting.pop(0)
    stopped = f"stopped after {max_seconds:g} s, before {', '.join(waiting)}" if waiting else None
    default = next((label for label, function in chosen.items() if is_default(function)), None)
    return AuditReport(tuple(rows), missing, truth, num_samples, clock.seconds, stopped, float(false_alarm), default)


@dataclasses.dataclass(frozen=True)
class _Candidate:
    label: str
    function: Callable[..., Any]
    problem: Problem
    num_samples: int
    clock: Clock
    waiting: int

    @property
    def draws(self) -> dict[str, int]:
        return {"num_samples": self.num_samples} if _takes(self.function, "num_samples") else {}

    def grad(self, params: Params, key: Key) -> PyTree:
        return self.problem.grad(self.function, params, key, **self.draws)

    def measure(
        self, truth: _reference.Reference, key: Key, evaluations: int, tests: int, alarm: float, varies: bool
    ) -> Row | None:
        """Its row; None if the time was over before there were replicates."""
        clock = self.clock
        begun, mine = (
            clock.seconds,
            clock.seconds + clock.left / self.waiting,
        )  # an equal share of what is left, but for the least
        counting, again, timing, key = jax.random.split(key, 4)
        try:
            each = self._count(counting)
        except Exception as error:  # whatever an estimator, or f, refuses: it is one row of the table
            return Row(self.label, None, failed=f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}")
        num = int(np.clip(evaluations // max(each, 1), 2 * CHUNK, MOST))
        timed = clock.seconds - begun  # about what the call that is timed will take, compiled and all
        chunk, seen = clock.affordable(each, CHUNK), []
        if not clock.affords(2 * chunk * each):
            return None

        @jax.jit
        def run(keys: Key) -> Moments:
            return Moments.of(jax.vmap(lambda k: self._with_cosine(k, truth))(keys))

        def late() -> bool:
            seen.append(clock.seconds)
            return clock.left <= timed or (chunk * len(seen) >= LEAST and clock.seconds > mine)

        moments = replicate(run, key, num, chunk, late)
        grads = _part(moments, "grads")
        second = lambda: _part(replicate(run, again, num, chunk, lambda: clock.left <= timed), "grads")
        found = judge_twice(grads, second, truth.gradient, truth.error, tests=tests, false_alarm=alarm)
        if found.verdict is Verdict.BIASED and not varies and not np.any(flat(grads.variance)):
            found = dataclasses.replace(found, verdict=Verdict.IMPRECISE)  # f never varied: nothing was seen
        seconds, first = self._time(timing)
        record = record_of(self.function)
        clock.overhead = clock.seconds - begun - (seen[-1] - seen[0])
        return Row(
            self.label, found, grads, _part(moments, "cosine"), each, seconds, first,
            declared=None if record is None else record.bias_with(self.problem.logp, **getattr(self.function, "keywords", {})),
            orders=1 if record is None else record.orders, cut=int(moments.count) < num // chunk * chunk,
        )  # fmt: skip

    def _with_cosine(self, key: Key, truth: _reference.Reference) -> PyTree:
        grads = jax.tree.map(real_parts, self.grad(self.problem.params, key))
        pairs = list(zip(jax.tree.leaves(grads), jax.tree.leaves(truth.gradient), strict=True))
        dot = lambda xs: sum(jnp.sum(jnp.asarray(a) * jnp.asarray(b, a.dtype)) for a, b in xs)
        norms = jnp.sqrt(dot([(g, g) for g, _ in pairs])) * jnp.sqrt(
            sum(jnp.asarray(np.sum(t**2), g.dtype) for g, t in pairs)
        )
        return {"grads": grads, "cosine": dot(pairs) / jnp.where(norms > 0, norms, 1)}

    def _count(self, key: Key) -> int:
        """Evaluations of f in one gradient, seen by a host function that f calls on the side."""
        seen: list[int] = []

        def look(x: Any) -> Any:
            seen.append(int(np.size(x)))
            return np.zeros(np.shape(x), np.float32)

        def counted(f: Any) -> Any:
            def g(x: PyTree) -> Any:
                first = jax.lax.stop_gradient(jnp.ravel(jnp.asarray(jax.tree.leaves(x)[0]))[:1])  # mapped where x is
                called = jax.pure_callback(
                    look, jax.ShapeDtypeStruct((1,), jnp.float32), first, vmap_method="expand_dims"
                )
                value = to_float(f(x))
                return value + 0 * jnp.sum(called).astype(value.dtype)

            return g

        value = functools.partial(self.problem.value, self.function, key=key, around=counted, **self.draws)
        jax.block_until_ready(jax.jit(jax.value_and_grad(value))(self.problem.params))
        return sum(seen)

    def _time(self, key: Key) -> tuple[float, float]:
        """Median seconds of a compiled call, and those of the first."""
        call = jax.jit(self.grad)
        begun = time.perf_counter()
        jax.block_until_ready(call(self.problem.params, key))
        first, seconds = time.perf_counter() - begun, []
        while len(seconds) < 5 or (len(seconds) < 50 and sum(seconds) < 0.05):
            same = jax.random.clone(key)
            begun = time.perf_counter()
            jax.block_until_ready(call(self.problem.params, same))
            seconds.append(time.perf_counter() - begun)
            if self.clock.left <= 0:
                break
        return float(np.median(seconds)), first


CHUNK, MOST, LEAST = 100, 20_000, 100
"""Replicates in one compiled call, the most that an estimator gets, and the least while there is time."""


def _takes(function: Any, option: str) -> bool:
    parameters = inspect.signature(function).parameters
    taken = option in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return taken and option not in getattr(function, "keywords", {})


def _truth(reference: Any, problem: Problem, key: Key, share: int, clock: Clock) -> _reference.Reference:
    if not (isinstance(reference, str) and reference == "auto"):
        gradient = _reference.floats(reference)
        found, wanted = (
            [jnp.shape(leaf) for leaf in jax.tree.leaves(t)] for t in (gradient, _reference.floats(problem.params))
        )
        if found != wanted:
            raise ValueError(BAD_REFERENCE.format(given=_checks.describe(reference), wanted=wanted))
        return _reference.Reference(gradient, None, "given", None)
    return _reference.find(problem, key, share, clock)


def _part(moments: Moments, name: str) -> Moments:
    """The moments of one entry of a dictionary."""
    fields = {field.name: getattr(moments, field.name) for field in dataclasses.fields(moments)}
    return Moments(**{n: v if n == "count" else v[name] for n, v in fields.items()})
