"""Choose an estimator by measuring all that can be had: bias, variance, evaluations of f and time, on the problem at hand."""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks
from jax_scorefn._trees import is_inexact, real_parts, to_float
from jax_scorefn.diagnostics import _reference
from jax_scorefn.diagnostics._moments import Moments
from jax_scorefn.diagnostics._report import AuditReport, Row
from jax_scorefn.diagnostics._verdict import Verdict, flat, judge_twice
from jax_scorefn.distributions import Distribution, Family
from jax_scorefn.estimators import ESTIMATORS
from jax_scorefn.typing import Capability, Key, Params, PyTree

NOT_DRAWN = (
    "An audit runs estimators again and again on fresh draws, and the law of this family has {given}. Audit a family with a "
    "sampler; for given draws look at Info.value_standard_error."
)
NEEDS_RICH_BAR = "The progress bar of an audit needs rich: pip install 'jax_scorefn[audit]'."
UNKNOWN = "audit knows no estimator {name!r}; the registry has {known}. Others are passed as a mapping from labels to functions."


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
      params: where the gradient is estimated.
      key: one JAX key; the audit is a function of it, but for the times.
      estimators: names in the registry, or a mapping from labels to estimators (``functools.partial`` of one, or a function of one's
        own with the same arguments); None is every estimator of E[f] in the registry, and the score function without a baseline.
      reference: "auto" (exact where it can be had: a sum over the support, or a quadrature that has settled; else a long run of
        ``score_function`` on keys of its own), or the gradient itself, a pytree like ``params``.
      num_samples: draws in one call of an estimator.
      budget: evaluations of f, shared by the estimators and the reference: what an audit costs, reproducibly. An estimator gets at
        least 200 and at most 20,000 replicates, and an alarm takes as many again.
      max_seconds: no estimator is begun after so many seconds, and one under way stops; the report says so. None is no limit.
      false_alarm: probability that any unbiased estimator is called biased.
      progress: whether to show a bar (needs rich); None shows it in a terminal.

    Returns:
      An :class:`AuditReport`: ``print`` it, ``.recommended``, ``.num_samples_for(standard_error)``, ``.to_dict()``, ``.plot()``.

    Raises:
      TypeError, ValueError: for a family that cannot be drawn from, an unknown estimator, and for what ``score_function`` refuses.

    Cost: about ``budget`` evaluations of f, and three compilations for each estimator.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> normal = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))
      >>> step = lambda x: jnp.where(x > 0.0, 1.0, 0.0)
      >>> report = sf.audit(step, normal, 0.3, jax.random.key(0), estimators=["score_function", "pathwise"], budget=200_000)
      >>> print(report["pathwise"].verdict, "|", report["score_function"].verdict, "|", report.recommended)
      biased | unbiased | score_function
    """
    began = time.perf_counter()
    _checks.key("audit", key)
    _checks.params(params)
    if not isinstance(logp, Family):
        raise TypeError(_checks.NOT_A_FAMILY.format(name="audit", given=_checks.describe(logp)))
    law = logp.at(params)
    if Capability.SAMPLE not in law.capabilities:
        raise ValueError(NOT_DRAWN.format(given=_checks.name_of(law.capabilities)))
    num_samples = _checks.positive_int("num_samples", num_samples)
    budget = _checks.positive_int("budget", budget)
    chosen, missing = _candidates(estimators, law)
    of_params = _checks.of_params("audit", f)
    reference_key, draws_key, key = jax.random.split(key, 3)

    share = budget // (len(chosen) + 1)
    truth = _truth(reference, of_params, logp, law, params, reference_key, share)
    varies = _f_varies(of_params(params), law, draws_key)
    rows: list[Row] = []
    stopped = None
    with _bar(progress, len(chosen)) as advance:
        for j, (label, function) in enumerate(chosen.items()):
            advance(label)
            left = None if max_seconds is None else max_seconds - (time.perf_counter() - began)
            if left is not None and left <= 0:
                stopped = f"stopped after {max_seconds:g} s, before {label}"
                break
            one = _Candidate(label, function, of_params, logp, params, num_samples)
            rows.append(one.measure(truth, jax.random.fold_in(key, j), share, len(chosen), false_alarm, varies, left))
            if rows[-1].cut:
                stopped = f"stopped after {max_seconds:g} s, during {label}"
                break
    return AuditReport(
        tuple(rows), missing, truth, num_samples, time.perf_counter() - began, stopped, float(false_alarm)
    )


@dataclasses.dataclass(frozen=True)
class _Candidate:
    label: str
    function: Callable[..., Any]
    of_params: Callable[[Params], Any]
    logp: Family
    params: Params
    num_samples: int

    def value(self, f: Any, params: Params, key: Key) -> Any:
        draws = {"num_samples": self.num_samples} if _takes(self.function, "num_samples") else {}
        return self.function(f, self.logp, params, key, **draws)

    def grad(self, params: Params, key: Key) -> PyTree:
        return jax.grad(lambda p: self.value(self.of_params(p), p, key), allow_int=True)(params)

    def measure(
        self, truth: _reference.Reference, key: Key, evaluations: int, tests: int, alarm: float, varies: bool, left: float | None
    ) -> Row:  # fmt: skip
        begun = time.perf_counter()
        counting, again, timing, key = jax.random.split(key, 4)
        try:
            each = self._count(counting)
        except Exception as error:  # whatever an estimator, or f, refuses: it is one row of the table
            return Row(self.label, None, failed=f"{type(error).__name__}: {str(error).splitlines()[0]}")
        num = int(np.clip(evaluations // max(each, 1), 2 * CHUNK, MOST))
        run = jax.jit(lambda keys: Moments.of(jax.vmap(lambda k: self._with_cosine(k, truth))(keys)))

        def replicate(key: Key, limit: float | None) -> Moments:
            keys, total = jax.random.split(key, num // CHUNK * CHUNK), None
            for start in range(0, len(keys), CHUNK):
                part = jax.device_get(run(keys[start : start + CHUNK]))
                total = part if total is None else jax.device_get(total.merge(part))
                if start and limit is not None and time.perf_counter() - begun > limit:
                    break
            return total  # pyright: ignore[reportReturnType]

        moments = replicate(key, left)
        grads = _part(moments, "grads")
        second = lambda: _part(replicate(again, left), "grads")
        found = judge_twice(grads, second, truth.gradient, truth.error, tests=tests, false_alarm=alarm)
        if found.verdict is Verdict.BIASED and not varies and not np.any(flat(grads.variance)):
            found = dataclasses.replace(found, verdict=Verdict.IMPRECISE)  # f never varied: nothing was seen
        seconds, first = self._time(timing)
        record = _record(self.function)
        return Row(
            self.label, found, grads, _part(moments, "cosine"), each, seconds, first,
            declared=None if record is None else record.bias_with(self.logp, **getattr(self.function, "keywords", {})),
            orders=1 if record is None else record.orders, cut=int(moments.count) < num // CHUNK * CHUNK,
        )  # fmt: skip

    def _with_cosine(self, key: Key, truth: _reference.Reference) -> PyTree:
        grads = jax.tree.map(lambda g: real_parts(g) if is_inexact(g) else None, self.grad(self.params, key))
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

        both = jax.value_and_grad(lambda p: self.value(counted(self.of_params(p)), p, key), allow_int=True)
        jax.block_until_ready(jax.jit(both)(self.params))
        return sum(seen)

    def _time(self, key: Key) -> tuple[float, float]:
        """Median seconds of a compiled call, and those of the first."""
        call = jax.jit(self.grad)
        begun = time.perf_counter()
        jax.block_until_ready(call(self.params, key))
        first, seconds = time.perf_counter() - begun, []
        while len(seconds) < 5 or (len(seconds) < 50 and sum(seconds) < 0.05):
            same = jax.random.clone(key)
            begun = time.perf_counter()
            jax.block_until_ready(call(self.params, same))
            seconds.append(time.perf_counter() - begun)
        return float(np.median(seconds)), first


CHUNK, MOST = 100, 20_000
"""Replicates in one compiled call, and the most that an estimator gets."""


def _candidates(estimators: Any, law: Distribution) -> tuple[dict[str, Callable[..., Any]], dict[str, str]]:
    """What is measured, and what is not with the reason."""
    if isinstance(estimators, Mapping):
        return dict(estimators), {}
    every = [name for name, record in ESTIMATORS.items() if record.estimates == "E[f]" and name != "exact"]
    for name in estimators or ():
        if name not in ESTIMATORS:
            raise ValueError(UNKNOWN.format(name=name, known=", ".join(ESTIMATORS)))
    chosen: dict[str, Callable[..., Any]] = {}
    missing: dict[str, str] = {}
    for name in every if estimators is None else estimators:
        record = ESTIMATORS[name]
        lacks = record.missing(law)
        required = [
            p.name
            for p in inspect.signature(record.function).parameters.values()
            if p.kind is p.KEYWORD_ONLY and p.default is p.empty
        ]
        if lacks:
            missing[name] = "needs a law that has " + " and ".join(
                _checks.name_of(need).replace(", ", " or ") for need in lacks
            )
        elif required:
            missing[name] = f"needs {', '.join(f'{option}=' for option in required)} of yours: pass it in a mapping"
        else:
            chosen[name] = record.function
            if name == "score_function" and estimators is None:
                chosen["score_function, no baseline"] = _plain
    return chosen, missing


def _plain(f: Any, logp: Family, params: Params, key: Key, *, num_samples: int) -> Any:
    return ESTIMATORS["score_function"].function(f, logp, params, key, num_samples=num_samples, baseline=None)


def _record(function: Any) -> Any:
    inner = getattr(function, "func", function)
    if inner is _plain:
        return ESTIMATORS["score_function"]
    return next((record for record in ESTIMATORS.values() if record.function is inner), None)


def _takes(function: Any, option: str) -> bool:
    parameters = inspect.signature(function).parameters
    taken = option in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return taken and option not in getattr(function, "keywords", {})


def _truth(reference: Any, of_params: Any, logp: Family, law: Any, params: Params, key: Key, share: int) -> Any:
    if not (isinstance(reference, str) and reference == "auto"):
        return _reference.Reference(_reference.floats(reference), None, "given", None)
    return _reference.find(of_params, logp, law, params, key, share)


def _f_varies(f: Any, law: Distribution, key: Key) -> bool:
    """Whether f takes more than one value on a thousand draws."""
    values = jax.jit(jax.vmap(lambda k: _checks.value(f(law.sample(k)))))(jax.random.split(key, 1000))
    return bool(jnp.any(values != values[:1]))


def _part(moments: Moments, name: str) -> Moments:
    """The moments of one entry of a dictionary."""
    fields = {field.name: getattr(moments, field.name) for field in dataclasses.fields(moments)}
    return Moments(**{n: v if n == "count" else v[name] for n, v in fields.items()})


def _bar(progress: bool | None, total: int) -> Any:
    import contextlib
    import sys

    @contextlib.contextmanager
    def shown():
        wanted = sys.stderr.isatty() if progress is None else progress
        if not wanted:
            yield lambda label: None
            return
        try:
            from rich.progress import Progress as Bar
        except ImportError as error:
            if progress:
                raise ImportError(NEEDS_RICH_BAR) from error
            yield lambda label: None
            return
        from rich.console import Console

        with Bar(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("audit", total=total)
            yield lambda label: bar.update(task, advance=1, description=label)

    return shown()
