"""Moments in any split, verdicts that do not cry wolf, planted faults that are found, and audits that recommend the right thing."""

import dataclasses
import functools
import json
import sys
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from covering import covering

import jax_scorefn as sf
from jax_scorefn import _checks
from jax_scorefn.diagnostics import Moments, Verdict, _candidates, _plot, _verdict
from jax_scorefn.diagnostics._problem import Clock, Problem

RNG = np.random.default_rng(0)
COIN = sf.family(lambda l: sf.Bernoulli(logits=l))
NORMAL = sf.family(lambda m: sf.Normal(loc=m, scale=1.0))


@pytest.mark.parametrize(
    "sizes",
    covering([((1, 999),), ((1000,),), ((400, 350, 250),), ((10,) * 100,)]),
    ids=str,
)
def test_moments_are_those_of_all_at_once(sizes):
    """In float64, against scipy; an offset of 1e6 is no matter, and a twin that forgets a term fails."""
    data = {"a": RNG.gamma(0.5, size=(1000, 3)) + 1e6, "b": RNG.normal(size=1000)}
    ends = np.cumsum(sizes)
    of_parts = [jax.tree.map(lambda x, i=i, n=n: x[i - n : i], data) for i, n in zip(ends, sizes, strict=True)]

    @jax.jit
    def merged(of_parts):
        parts = [Moments.of(part) for part in of_parts]
        stacked = Moments.merge_all(jax.tree.map(lambda *xs: jnp.stack(xs), *parts))
        names = ("count", "mean", "variance", "skewness", "kurtosis", "standard_error")
        return [[getattr(whole, name) for name in names] for whole in (functools.reduce(Moments.merge, parts), stacked)]

    with jax.enable_x64(True):
        found = jax.device_get(merged(of_parts))
    for count, mean, variance, skewness, kurtosis, standard_error in found:
        for name, x in data.items():
            assert count == 1000
            np.testing.assert_allclose(mean[name], x.mean(axis=0), rtol=1e-12)
            np.testing.assert_allclose(variance[name], x.var(axis=0, ddof=1), rtol=1e-6)
            np.testing.assert_allclose(skewness[name], scipy.stats.skew(x), rtol=1e-5, atol=1e-8)
            np.testing.assert_allclose(kurtosis[name], scipy.stats.kurtosis(x, fisher=False), rtol=1e-5)
            np.testing.assert_allclose(standard_error[name], x.std(axis=0, ddof=1) / np.sqrt(1000), rtol=1e-6)


def test_gradient_moments_stream_and_merge():
    """Chunks of any size give the same; so do halves on two devices; leaves that are not floats are left out."""
    params = {"l": jnp.array([0.3, -1.0]), "n": 3}
    family = sf.family(lambda p: sf.Bernoulli(logits=p["l"]))
    grad = lambda p, key: sf.score_function_grad(lambda b: jnp.sum(b) ** 2, family, p, key, num_samples=4)
    run = lambda size: sf.diagnostics.gradient_moments(
        grad, params, jax.random.key(0), num_replicates=100, chunk_size=size
    )
    with jax.debug_key_reuse(False):
        whole, *others = jax.jit(lambda: [run(size) for size in (100, 32, 7)])()
    for other in others:
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), other, whole)
    assert whole.mean["n"] is None and whole.mean["l"].shape == (2,)
    data = jnp.asarray(RNG.normal(size=(8, 50, 2)), jnp.float32)
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("x")
    merged = jax.jit(
        jax.shard_map(
            lambda x: Moments.merge_all(jax.lax.all_gather(Moments.of(x[0]), "x")),
            mesh=mesh, in_specs=spec, out_specs=jax.sharding.PartitionSpec(), check_vma=False,
        )
    )(data)  # fmt: skip
    np.testing.assert_allclose(merged.variance, np.asarray(data).reshape(-1, 2).var(axis=0, ddof=1), rtol=1e-5)
    with pytest.raises(ValueError, match="at least 2 replicates"):
        sf.diagnostics.gradient_moments(grad, params, jax.random.key(0), num_replicates=1)


def test_ratios_and_effective_sample_sizes():
    ratios = jax.jit(lambda x: sf.diagnostics.snr(Moments.of(x)))(np.float32([[1.0, 5.0, 0.0], [3.0, 5.0, 0.0]]))
    np.testing.assert_allclose(ratios, [np.sqrt(2), np.inf, 0.0], rtol=1e-6)
    size = jax.jit(sf.diagnostics.effective_sample_size)(np.float32([-1e3, -1e3, -np.inf]))
    np.testing.assert_allclose(size, 2.0, rtol=1e-6)


DISTRIBUTIONS = {
    "normal": (lambda size: RNG.normal(size=size), 0.0),
    "exponential": (lambda size: RNG.exponential(size=size), 1.0),
    "lognormal": (lambda size: np.exp(RNG.normal(size=size)), np.exp(0.5)),
    "heavy lognormal": (lambda size: np.exp(2 * RNG.normal(size=size)), np.exp(2.0)),
    "score of exp(2x)": (lambda size: (lambda x: np.exp(2 * x) * x)(RNG.normal(size=size)), 2 * np.exp(2.0)),
    "Student, 3": (lambda size: RNG.standard_t(3, size=size), 0.0),
    "rare, 1 %": (lambda size: (RNG.random(size) < 0.01) * 1.0, 0.01),
    "coin": (lambda size: (RNG.random(size) < 0.3) * 1.0, 0.3),
}


def moments_of(x):
    """In numpy: thousands of small audits."""
    mean = x.mean(axis=0)
    d = x - mean
    powers = [np.sum(p, axis=0) for p in (d * d, d * d * d, (d * d) ** 2)]
    return Moments(np.float64(len(x)), mean, *powers, x.min(axis=0), x.max(axis=0), np.zeros(mean.shape))


@jax.jit
def facts_of(moments):
    return {
        name: getattr(moments, name)
        for name in ("mean", "variance", "skewness", "kurtosis", "largest_share", "nonfinite")
    }


def _audit(facts, n, i):
    return types.SimpleNamespace(count=n, **{name: fact[i] for name, fact in facts.items()})


def verdict_of(x, truth):
    return _verdict.judge(moments_of(x), truth, tests=1, rounding=0.0).verdict


@pytest.mark.statistical
def test_an_unbiased_estimate_is_not_called_biased():
    """3,000 audits of 4 coordinates, each distribution in turn: none of them is. A plain |z| > 5 would have been, in the tails."""
    found, plain = [], 0
    for draw, mean in DISTRIBUTIONS.values():
        for n in (100, 300, 1000):
            first, second = (draw((n, 125, 4)) for _ in range(2))
            moments, again = moments_of(first), None
            facts = jax.device_get(facts_of(moments))
            for i in range(125):
                verdict = _verdict.judge(_audit(facts, n, i), np.full(4, mean), rounding=0.0).verdict
                if verdict is Verdict.BIASED:  # an alarm has to be raised twice
                    again = jax.device_get(facts_of(moments_of(second))) if again is None else again
                    other = _verdict.judge(_audit(again, n, i), np.full(4, mean), rounding=0.0).verdict
                    verdict = verdict if other is Verdict.BIASED else Verdict.IMPRECISE
                found.append(verdict)
            with np.errstate(divide="ignore"):
                plain += np.sum(np.any(np.abs(moments.mean - mean) > 5 * first.std(axis=0) / np.sqrt(n), axis=1))
    assert len(found) == 3000
    assert found.count(Verdict.BIASED) == 0 and plain > 50


@pytest.mark.statistical
def test_verdicts_are_what_they_say():
    n, (normal, _), (heavy, heavy_mean) = 1000, DISTRIBUTIONS["normal"], DISTRIBUTIONS["score of exp(2x)"]
    assert verdict_of(1 + 0.1 * normal((n, 4)), np.ones(4)) is Verdict.UNBIASED
    assert verdict_of(1 + 10 * normal((n, 4)), np.ones(4)) is Verdict.IMPRECISE
    assert verdict_of(1.05 + 0.1 * normal((n, 4)), np.ones(4)) is Verdict.BIASED
    draws = heavy((100, 20_000))  # the plain rule cries wolf in 13 % of runs
    z = (draws.mean(axis=0) - heavy_mean) / draws.std(axis=0, ddof=1) * 10
    assert 0.12 < np.mean(np.abs(z) > 5) < 0.15
    tails = [verdict_of(heavy((100, 1)), np.full(1, heavy_mean)) for _ in range(200)]
    assert tails.count(Verdict.HEAVY_TAILED) > 190
    spoiled = jax.jit(Moments.of)(np.float32([1.0, np.nan, 2.0]))
    assert _verdict.judge(jax.device_get(spoiled), 1.0).verdict is Verdict.NOT_FINITE
    off = np.array([0.0, 0.4])  # what never varies, and is off: enough replicates say so
    assert verdict_of(np.zeros((1000, 2)), np.zeros(2)) is Verdict.UNBIASED
    assert verdict_of(np.zeros((1000, 2)), off) is Verdict.BIASED
    assert verdict_of(np.zeros((100, 2)), off) is Verdict.IMPRECISE


# Estimators written by hand, with and without a fault, on a coin with an f that depends on the parameter.

BITS = jnp.array([0.4, -0.3])


def objective(b, params):
    return (b[0] + 2 * b[1]) ** 2 + params[0] * b[1] + b[0] * params[1] ** 2


@jax.jit
def truth(params):
    return jax.grad(lambda p: sf.exact(lambda b: objective(b, p), COIN, p))(params)


def hand_written(params, key, *, num=2, sign=1.0, f_is_held=False, baseline="others", factor=1.0, proposal=None):
    draw_key, base_key = jax.random.split(key)
    drawn = COIN.at(jax.lax.stop_gradient(params) if proposal is None else proposal)
    x = jax.vmap(drawn.sample)(jax.random.split(draw_key, num))
    if baseline == "same key":
        base_key = jax.random.clone(draw_key)
    others = jax.vmap(drawn.sample)(jax.random.split(base_key, num))

    def surrogate(p):
        own = jax.lax.stop_gradient(p) if f_is_held else p
        f = jax.vmap(lambda b: objective(b, own))(x)
        held = jax.lax.stop_gradient(f)
        if baseline == "others":
            b = (jnp.sum(held) - held) / (num - 1)
        elif baseline == "own":
            b = jnp.mean(held, keepdims=True)
        else:  # f at draws of the baseline's own, one for each
            b = jax.lax.stop_gradient(jax.vmap(lambda b: objective(b, p))(others))
        log_p = jax.vmap(COIN.at(p).log_prob)(x)
        w = jax.lax.stop_gradient(jax.nn.softmax(log_p - jax.vmap(drawn.log_prob)(x)))  # 1 / num without a proposal
        return factor * sign * jnp.sum(w * (held - b) * log_p) + jnp.sum(w * f)

    return jax.grad(surrogate)(params)


FAULTS = {
    "the sign is flipped": {"sign": -1.0},
    "df/dtheta is dropped": {"f_is_held": True},
    "the mean of all draws is the baseline": {"baseline": "own"},
    "the baseline has the draws of f": {"baseline": "same key"},
    "1/S is 1/(S-1)": {"num": 4, "factor": 4 / 3},
    "weights are normalised over two draws": {"proposal": jnp.array([-1.0, 1.0])},
}  # fmt: skip
CHECK = {"num_replicates": 20_000, "chunk_size": 5000}


@pytest.mark.statistical
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found(fault):
    with jax.debug_key_reuse(False):
        found = sf.diagnostics.check_unbiased(
            lambda p, key: hand_written(p, key, **FAULTS[fault]), truth(BITS), BITS, jax.random.key(1), **CHECK
        )
    assert found.verdict is Verdict.BIASED and not found and "is biased" in found.message and found.z.shape == (2,)


RIGHT = [{}, {"num": 3}, {"num": 8}, {"baseline": "fresh", "num": 4}]


@pytest.mark.statistical
@pytest.mark.parametrize("options", RIGHT)
def test_what_is_right_passes(options):
    found = sf.diagnostics.check_unbiased(
        lambda p, key: hand_written(p, key, **options), truth, BITS, jax.random.key(2), **CHECK
    )
    assert found and found.verdict is Verdict.UNBIASED and found.moments.count == 20_000


AUDIT = {"budget": 400_000}
SOME = ["score_function", "disarm", "unordered_set", "rebar", "reinmax", "relax", "pathwise"]


@functools.cache
def audited(name):
    bits = lambda **options: sf.audit(
        lambda b: jnp.sum((b - 0.49) ** 2) + b[0] * b[1], COIN, jnp.zeros(3), jax.random.key(0), **options, **AUDIT
    )
    problem = {
        "bits": lambda: bits(),
        "some": lambda: bits(estimators=SOME),
        "square": lambda: sf.audit(lambda x: (x + 3) ** 2, NORMAL, 1.0, jax.random.key(1), **AUDIT),
        "hump": lambda: sf.audit(lambda x: jnp.exp(-(x**2)), NORMAL, 1.0, jax.random.key(2), **AUDIT),
        "step": lambda: sf.audit(
            lambda x: jnp.where(x > 0, 1.0, 0.0),
            NORMAL,
            0.3,
            jax.random.key(3),
            estimators=["score_function", "vargrad", "pathwise"],
            **AUDIT,
        ),
    }[name]
    return problem()


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("which", ["some", "bits"])
def test_the_audit_of_bits(which):
    """Everything unbiased passes or is called noisy; nothing that declares a bias is recommended; plain score is not."""
    report = audited(which)
    names = {row.name for row in report.rows}
    assert {"score_function", "disarm", "unordered_set", "rebar", "reinmax"} <= names
    for row in report.rows:
        assert row.declared is sf.Bias.BIASED or row.verdict in ("unbiased", "imprecise"), row.message
    assert report[report.recommended].declared is sf.Bias.NONE
    assert [report[n].evaluations for n in ("score_function", "rebar", "reinmax")] == [16, 48, 16]
    assert report.reference.points == 8 and "needs critic=" in report.missing["relax"] and "pathwise" in report.missing
    wanted = report.num_samples_for(0.001)
    assert abs(wanted / (16 * report[report.recommended].largest_variance / 1e-6) - 1) < 0.01 or wanted == 1
    if which == "bits":
        plain = report["score_function, no baseline"]
        assert report.recommended != plain.name and names >= {
            "rodeo",
            "gumbel_softmax",
            "sum_and_sample",
            "measure_valued",
        }
        for better in ("disarm", "unordered_set", "score_function"):
            assert report[better].variance < plain.variance
    again = json.loads(json.dumps(report.to_dict()))
    assert again["recommended"] == report.recommended and len(again["rows"]) == len(report.rows)
    assert all(row["seconds"] > 0 and row["first_seconds"] > 0 for row in again["rows"] if row["verdict"] != "failed")
    with pytest.raises(ValueError, match="ranked by"):
        report.ranked("luck")


def small_audit(**options):
    two = {"estimators": ["score_function", "disarm"], "budget": 20_000}
    return sf.audit(lambda b: jnp.sum(b) ** 2, COIN, jnp.zeros(2), jax.random.key(0), **two, **options)


one_small_audit = functools.cache(small_audit)


def test_people_can_read_a_report(tmp_path, monkeypatch):
    """As text, in a notebook and as a figure: what the extra is for."""
    pytest.importorskip("rich")
    pytest.importorskip("matplotlib")
    report = one_small_audit()
    text, html = str(report), report._repr_html_()
    for row in report.rows:
        assert row.name.split(",")[0] in text and row.name.split(",")[0] in html
    monkeypatch.setattr(
        "rich.console._is_jupyter", lambda: True
    )  # where a console shows what it prints, there and then
    assert str(report) == text and report._repr_html_() == html
    figure = report.plot()
    figure.savefig(tmp_path / "audit.png")
    assert (tmp_path / "audit.png").stat().st_size > 10_000
    names = {text.get_text(): text for text in figure.axes[1].texts}
    assert {name.partition(" (")[0] for name in names} == {row.name for row in report.rows if row.variance > 0}
    bold = [name for name, text in names.items() if text.get_fontweight() == "bold"]
    assert bold == [report.recommended]
    heights = sorted(text.xyann[1] for text in names.values())
    assert np.all(np.diff(heights) > _plot.GAP - 1e-9)  # no name on another


def test_the_frontier_is_what_nothing_undercuts_in_both():
    points = [(1.0, 5.0), (2.0, 3.0), (2.0, 4.0), (3.0, 3.0), (4.0, 1.0), (9.0, 2.0)]
    assert _plot.frontier(points) == ([1.0, 2.0, 4.0], [5.0, 3.0, 1.0])


def test_what_does_not_fit_is_one_line():
    report = dataclasses.replace(one_small_audit(), missing=dict.fromkeys("abcd", "needs a path"))
    (line,) = [line for line in report.notes() if "do not fit" in line]
    assert f"({len(report.missing)};" in line and all(name in line for name in report.missing)


def test_without_rich_a_report_is_plain_lines(monkeypatch):
    report = sf.audit(jnp.sum, COIN, jnp.zeros(2), jax.random.key(0), estimators=["disarm"], budget=10_000)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert str(report).splitlines()[0] == report["disarm"].message
    monkeypatch.setitem(sys.modules, "rich.table", None)
    with pytest.raises(ImportError, match="needs rich: pip install rich"):
        report._table()


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize(("name", "recommended"), [("square", "pathwise"), ("hump", "measure_valued")])
def test_the_audit_of_the_normal_table(name, recommended):
    report = audited(name)
    assert report.recommended == recommended and "quadrature" in report.reference.how
    assert all(row.verdict in ("unbiased", "imprecise") for row in report.rows), [row.message for row in report.rows]


@pytest.mark.statistical
@pytest.mark.default
def test_pathwise_through_a_jump_is_refused_with_its_z():
    report = audited("step")
    assert "on keys of their own" in report.reference.how  # the two quadratures do not agree
    assert report["pathwise"].verdict == "biased" and report["pathwise"].z < -50
    assert report["score_function"].verdict == "unbiased" and report.recommended != "pathwise"
    assert "pathwise is biased" in str(report)


@pytest.mark.statistical
@pytest.mark.slow
def test_an_elbo_and_an_unnormalised_energy():
    """F that depends on the parameters; a finite set with an unknown constant."""
    target = sf.Normal(loc=2.0, scale=0.5)
    elbo = lambda x, p: target.log_prob(x) - sf.Normal(loc=p["m"], scale=jnp.exp(p["s"])).log_prob(x)
    family = sf.family(lambda p: sf.Normal(loc=p["m"], scale=jnp.exp(p["s"])))
    report = sf.audit(elbo, family, {"m": 0.0, "s": 0.0}, jax.random.key(5), budget=1_000_000)
    assert report["pathwise"].verdict == "unbiased" and report["vargrad"].verdict in ("unbiased", "imprecise")
    assert report.recommended == "pathwise"
    dropped = {"mine": lambda f, logp, p, key, num_samples: sf.score_function(
        lambda x: elbo(x, jax.lax.stop_gradient(p)) + p["m"] * 0.3, logp, p, key, num_samples=num_samples)}  # fmt: skip
    assert (
        sf.audit(elbo, family, {"m": 0.0, "s": 0.0}, jax.random.key(6), estimators=dropped)["mine"].verdict == "biased"
    )
    energy = sf.family(
        log_prob=lambda w, x: w * jnp.sum(x[0] * x[1]) + x[2],
        support=np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, -1).T,
    )
    report = sf.audit(lambda x: x[0] * x[1] * (1 + x[2]), energy, 0.4, jax.random.key(7), budget=1_000_000)
    assert report["score_function"].verdict == "unbiased" and report.reference.points == 8


def _of(name, **options):
    return functools.partial(sf.ESTIMATORS[name].function, **options)


SCORES = {
    "none": {"baseline": None}, "leave one out": {}, "optimal": {"baseline": sf.baselines.optimal_constant},
    "f at the mode": {"baseline": sf.baselines.self_critical}, "antithetic": {"scheme": sf.schemes.antithetic},
    "stratified": {"scheme": sf.schemes.stratified(4)}, "sobol": {"scheme": sf.schemes.sobol(4)},
    "control variate": {"control_variate": sf.control_variates.delta()}, "proposal": {"proposal": sf.Bernoulli(logits=jnp.zeros(2))},
}  # fmt: skip
OTHERS = ["arm", "arms", "disarm", "disarm_categorical", "measure_valued", "rao_blackwell", "rebar", "rodeo"]
ALL_RIGHT = {
    **{f"score, {name}": _of("score_function", **options) for name, options in SCORES.items()},
    **{name: _of(name) for name in (*OTHERS, "sum_and_sample", "double_control_variate")},
    **{f"unordered set of {n}": _of("unordered_set", set_size=n) for n in (2, 4)},
    "relax": _of("relax", critic=lambda slope, z: slope * jnp.sum(jnp.tanh(z) ** 2), tuning=jnp.ones(())),
    "rebar, colder": _of("rebar", tuning=sf.RebarTuning(log_temperature=jnp.log(0.2), coefficient=jnp.asarray(0.7))),
}


@pytest.mark.statistical
@pytest.mark.slow
def test_all_that_is_right_passes():
    """Twenty and more, with an f that depends on the parameters, at the default budget; with them one that is wrong."""
    wrong = _of("straight_through")
    report = sf.audit(objective, COIN, BITS, jax.random.key(8), estimators={**ALL_RIGHT, "wrong": wrong})
    assert len(ALL_RIGHT) >= 20 and {row.name for row in report.rows} == {*ALL_RIGHT, "wrong"}
    for row in report.rows:
        assert row.verdict == ("biased" if row.name == "wrong" else "unbiased"), row.message


def test_audits_are_reproducible_and_stop_when_told():
    first, second = one_small_audit(), small_audit()
    for a, b in zip(first.rows, second.rows, strict=True):
        assert a.variance == b.variance and a.z == b.z and a.evaluations == b.evaluations
    stopped = small_audit(max_seconds=1e-3)
    assert not stopped.rows and "stopped after 0.001 s, before score_function" in stopped.stopped
    assert stopped.recommended is None and "stopped after" in str(stopped)
    with pytest.raises(ValueError, match="No estimator passed the audit"):
        stopped.num_samples_for(0.1)


def test_an_audit_begins_with_the_default_and_then_the_likely_ones():
    """And recommends nothing that was not compared with the default, if it was stopped."""
    chosen, missing = _candidates.candidates(None, COIN.at(jnp.zeros(2)), black_box=False)
    assert list(chosen)[:4] == ["score_function", "disarm", "disarm_categorical", "unordered_set"]
    biased = [sf.ESTIMATORS[name].bias is sf.Bias.BIASED for name in chosen if name in sf.ESTIMATORS]
    assert biased == sorted(biased) and "score_function, no baseline" in chosen and "pathwise" in missing
    normal, _ = _candidates.candidates(None, NORMAL.at(0.0), black_box=False)
    assert list(normal)[:3] == ["score_function", "pathwise", "measure_valued"]
    named, _ = _candidates.candidates(["rebar", "arm", "score_function"], COIN.at(jnp.zeros(2)), black_box=False)
    assert list(named) == ["score_function", "rebar", "arm"]
    report = audited("some")
    without = dataclasses.replace(report, rows=tuple(row for row in report.rows if row.name != report.default))
    assert report.default == "score_function" and report.recommended and without.recommended
    stopped = dataclasses.replace(without, stopped="stopped after 1 s, before score_function")
    assert stopped.recommended is None and "before score_function, the default, was measured" in "".join(
        stopped.notes()
    )
    assert dataclasses.replace(report, stopped="stopped").recommended == report.recommended


@pytest.mark.parametrize("name", ["coins", "counts"])
def test_what_differentiates_f_is_not_tried_on_a_black_box(name):
    family = {"coins": COIN, "counts": sf.family(lambda l: sf.Binomial(total_count=2, logits=l))}[name]
    box = sf.black_box(lambda x: float(np.sum(x)))
    for f, expected in (
        (box, True),
        (lambda x: 2 * box(x), True),
        (jnp.sum, False),
        (lambda x: jnp.arange(3)[x], False),
    ):
        problem = Problem(_checks.of_params("audit", f), family, family.at(jnp.zeros(())), jnp.zeros(()), lambda p: p)
        assert problem.is_black_box() is expected
    chosen, missing = _candidates.candidates(None, family.at(jnp.zeros(2)), black_box=True)
    assert "double_control_variate" in missing and missing["double_control_variate"].endswith("f is a black box")
    assert not any(sf.ESTIMATORS[name].differentiates_f for name in chosen if name in sf.ESTIMATORS)


def test_an_audit_of_a_slow_black_box_keeps_its_time():
    """Once each of its parts took as long as it liked, and an estimator of the alphabet's beginning was measured alone."""

    def slow(b):
        time.sleep(0.002)
        return float(np.sum((b - 0.3) ** 2))

    report = sf.audit(sf.black_box(slow), COIN, jnp.zeros(3), jax.random.key(0), max_seconds=1.0)
    assert report.stopped and report.seconds < 10
    order = [row.name for row in report.rows] + report.stopped.split("before ")[1].split(", ")
    assert order[:2] == ["score_function", "disarm"] and report.recommended in (None, *order)
    assert all(row.cut and f"fewer replicates of {row.name}" in "".join(report.notes()) for row in report.rows[:1])


def test_a_clock_without_a_limit_decides_nothing():
    free, bound = Clock(None, seconds_of_f=1.0), Clock(10.0, seconds_of_f=0.01)
    assert free.left == float("inf") and free.affords(1e9) and free.affordable(1e9, 100) == 100
    assert bound.affords(900) and not bound.affords(900, 0.25) and not bound.affords(2000)
    assert bound.affordable(10, 100) == 5 and bound.affordable(1e6, 100) == 1
    assert not Clock(10.0, began=bound.began - 11, seconds_of_f=1e-6).affords(1)


def test_a_bound_is_no_estimate_of_what_is_audited():
    bounds = {"stl": functools.partial(sf.sticking_the_landing), "score": sf.score_function}
    report = sf.audit(jnp.sin, NORMAL, 0.5, jax.random.key(0), estimators=bounds, budget=20_000)
    assert [row.name for row in report.rows] == ["score"] and "estimates a bound" in report.missing["stl"]
    none = sf.audit(jnp.sin, NORMAL, 0.5, jax.random.key(0), estimators=["iwae"], budget=1000)
    assert not none.rows and "iwae estimates a bound" in str(none)


def test_what_an_estimator_refuses_is_a_row_and_f_that_never_varies_says_nothing():
    def picky(f, logp, params, key, num_samples):
        raise RuntimeError("not today\nor ever")

    def silent(f, logp, params, key, num_samples):
        raise NotImplementedError

    report = sf.audit(
        lambda x: jnp.where(x > 40.0, 1.0, 0.0), NORMAL, 0.0, jax.random.key(0), reference=0.3, budget=10_000,
        estimators={"picky": picky, "silent": silent, "score": sf.score_function, "path": sf.pathwise},
    )  # fmt: skip
    assert report["picky"].verdict == "failed" and "RuntimeError: not today" in str(report)
    assert report["silent"].failed == "NotImplementedError: "
    assert (
        report["score"].verdict == "imprecise" and report["path"].verdict == "imprecise" and report.recommended is None
    )
    with pytest.raises(KeyError, match="disarm: not in this audit. Measured are: picky, silent, score, path"):
        report["disarm"]


def test_what_an_audit_refuses():
    key = jax.random.key(0)
    with pytest.raises(TypeError, match="audit needs a family"):
        sf.audit(lambda x: x, lambda x: x, 0.0, key)
    with pytest.raises(ValueError, match="has a log-probability, given draws. Audit a family with a"):
        sf.audit(lambda x: x, sf.family(log_prob=lambda p, x: -p * x, samples=jnp.ones(3)), 1.0, key)
    with pytest.raises(ValueError, match="has a log-probability. Audit a family with a"):
        sf.audit(lambda x: x, sf.family(log_prob=lambda p, x: -p * x), 1.0, key)
    with pytest.raises(
        ValueError, match=r"reference is 'auto', or a gradient like params, .*\[\(\)\]; it got an array float\d+\[2\]"
    ):
        sf.audit(jnp.sin, NORMAL, 0.0, key, estimators="pathwise", reference=jnp.zeros(2))
    with pytest.raises(ValueError, match="knows no estimator 'reinforce'"):
        sf.audit(lambda x: x, NORMAL, 0.0, key, estimators=["reinforce"])
