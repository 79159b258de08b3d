"""Plans: all estimators of a choice at once, the price of every plan from one pilot, and what a plan is."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from all_uniforms import PROGRAMS, gradients, truth
from covering import few
from jax import lax

import jax_scorefn as sf
from jax_scorefn.programs import Plan
from jax_scorefn.programs.plans import _call, _candidates, _pilot, _search

pytestmark = pytest.mark.usefixtures("unchecked_keys")
KEY = jax.random.key(0)


def walk(p, key, length=12):
    """Up with a probability that falls with the height."""

    def step(x, k):
        up = sf.sample(k, sf.Bernoulli(probs=jnp.exp(-x / p)), name="up")
        return x + 2 * up - 1, None

    return lax.scan(step, jnp.zeros_like(p), jax.random.split(key, length))[0] ** 2


def mixed(p, key):
    """A kind, a size along a path, a delay behind a jump, a count."""
    a, b, c, d = jax.random.split(key, 4)
    kind = sf.sample(a, sf.Categorical(logits=p[:3]), name="kind", estimator="auto")
    size = sf.sample(b, sf.Normal(loc=p[kind], scale=1.0), name="size")
    late = sf.sample(c, sf.Normal(loc=p[3] + size, scale=1.0), name="late")
    count = sf.sample(d, sf.Poisson(rate=jnp.exp(p[3])), name="count").astype(float)
    return size**2 + jnp.where(late > 0.5, 1.0, 0.0) * jnp.array([1.0, 3.0, -2.0])[kind] + jnp.sin(count) * size


AT = jnp.array([0.1, 1.0, -0.5, 0.3])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", few(PROGRAMS, "chain", "nested", "joined", "stops", "trials"))
@pytest.mark.default
@pytest.mark.leaks
def test_weights_that_sum_to_one_are_exact(name, monkeypatch):
    """Three tenths of a score and seven of a comparison, of the same draw: over all uniforms."""
    _, exact = truth(name)
    weights = {"z": {"score_function": jnp.float64(0.3), "coupled": jnp.float64(0.7)}}
    with _candidates.all_candidates(weights, frozenset()):
        _, grads = gradients(monkeypatch, name, lambda _: None)
    np.testing.assert_allclose(grads.mean(axis=0), exact, rtol=1e-11, atol=1e-12)


def test_a_pilot_leaves_no_tracer_in_a_cache(checking_leaks):
    """What is planned is in the keys of JAX's caches."""
    program = lambda p, key: sf.sample(key, sf.Bernoulli(logits=p), name="a").astype(float) ** 2
    with checking_leaks():
        assert sf.plan(program, num_runs=16)(0.3, KEY).choices


@pytest.mark.usefixtures("x64")
@pytest.mark.default
@pytest.mark.leaks
def test_weights_that_do_not_sum_to_one_are_seen(monkeypatch):
    _, exact = truth("chain")
    weights = {"z": {"score_function": jnp.float64(0.5), "coupled": jnp.float64(0.7)}}
    with _candidates.all_candidates(weights, frozenset()):
        _, grads = gradients(monkeypatch, "chain", lambda _: None)
    assert np.max(np.abs(grads.mean(axis=0) - exact)) > 1e-3


def able(program, *args):
    """The estimators that each choice may have."""
    return _candidates.candidates(lambda: sf.programs._trace.trace(
        program, sf.programs._trace.signature_of(program), False, args, {})[0])  # fmt: skip


def test_the_rules():
    assert able(mixed, AT, KEY) == {
        "kind": ["score_function", "coupled", "exact"],
        "size": ["score_function", "pathwise", "measure_valued"],
        "late": ["score_function", "measure_valued"],  # a step is behind it
        "count": ["score_function", "coupled"],
    }

    def smooth(p, key):
        x = sf.sample(key, sf.Normal(loc=p, scale=1.0), name="x")
        return jnp.sin(x) * p

    assert able(smooth, 0.3, KEY) == {"x": ["score_function", "pathwise", "measure_valued"]}


def bits(number, where="top"):
    def program(p, key):
        draw = lambda k: sf.sample(k, sf.Bernoulli(probs=p), name="bit")
        if where == "scan":
            return lax.scan(lambda c, k: (c + draw(k), None), 0.0, jax.random.split(key, number))[0]
        if where == "vmap":
            return jnp.sum(jax.vmap(draw)(jax.random.split(key, number)))
        return jnp.sum(sf.sample(key, sf.Bernoulli(probs=jnp.broadcast_to(p, number)), name="bit"))

    return program


@pytest.mark.parametrize(("program", "summed"), [
    (bits(4), True), (bits(5), False), (bits(4, "vmap"), True), (bits(5, "vmap"), False), (bits(2, "scan"), False),
])  # fmt: skip
def test_few_values_at_the_top_may_be_summed(program, summed):
    assert ("exact" in able(program, 0.3, KEY)["bit"]) == summed


def test_choices_that_are_not_left_to_a_plan_stay_out_of_it():
    def program(p, key):
        a, b, c = jax.random.split(key, 3)
        x = sf.sample(a, sf.Bernoulli(probs=p), name="fixed", estimator="score_function")
        y = sf.sample(b, sf.Bernoulli(probs=p))
        return x + y * sf.sample(c, sf.Joint({"u": sf.Bernoulli(probs=p), "v": sf.Poisson(rate=p)}), name="both")["u"]

    assert able(program, 0.3, KEY) == {"both": ["score_function", "coupled"]}


PLANS = [
    {"kind": "score_function", "size": "score_function", "late": "score_function", "count": "score_function"},
    {"kind": "coupled", "size": "measure_valued", "late": "score_function", "count": "coupled"},
    {"kind": "exact", "size": "measure_valued", "late": "measure_valued", "count": "score_function"},
    {"kind": "score_function", "size": "score_function", "late": "measure_valued", "count": "coupled"},
]


def call(*args):
    return _call.Call.of(args, {}, (0,))


@functools.cache
def pilots():
    """What a pilot of two thousand runs says, by which choices are summed."""
    pilot = sf.plan(mixed, num_runs=2000, baseline=None)
    choices = able(mixed, AT, KEY)
    return {
        summed: pilot._terms(choices, summed, frozenset(), *call(AT, KEY)) for summed, _ in _search.structures(choices)
    }


@pytest.mark.statistical
@pytest.mark.parametrize("chosen", few(PLANS, PLANS[2]), ids=lambda plan: "-".join(plan.values()))
def test_a_pilot_prices_a_plan_as_the_plan_turns_out(chosen):
    """Beside the variance of gradients that were made with the plan itself, without a baseline."""
    summed = frozenset(name for name, estimator in chosen.items() if estimator == "exact")
    told, error = pilots()[summed].variance(chosen)
    run = jax.grad(sf.expectation(mixed, plan=Plan(tuple(chosen.items()))))
    grads = np.asarray(jax.jit(jax.vmap(run, (None, 0)))(AT, jax.random.split(jax.random.key(1), 4000)))
    squares = np.sum((grads - grads.mean(axis=0)) ** 2, axis=1)
    assert abs(told - squares.mean()) < 5 * np.hypot(error, squares.std() / 4000**0.5)


def test_paths_are_priced_with_what_they_change():
    """Of x + z, x along its path and z by score: the terms of z hold the path of x."""

    def program(p, key):
        a, b = jax.random.split(key)
        x = sf.sample(a, sf.Normal(loc=p, scale=1.0), name="x")
        return (x + sf.sample(b, sf.Normal(loc=x, scale=1.0), name="z")) ** 2

    pilot, choices = sf.plan(program, num_runs=1000, baseline=None), able(program, 0.3, KEY)
    for along in (frozenset("x"), frozenset("xz")):
        terms = pilot._terms(choices, frozenset(), along, *call(0.3, KEY))
        chosen = {name: "pathwise" if name in along else "score_function" for name in "xz"}
        told, error = terms.variance(chosen)
        run = jax.grad(sf.expectation(program, plan=Plan(tuple(chosen.items()))))
        grads = np.asarray(jax.jit(jax.vmap(run, (None, 0)))(0.3, jax.random.split(jax.random.key(1), 4000)))
        squares = (grads - grads.mean()) ** 2
        assert abs(told - squares.mean()) < 5 * np.hypot(error, squares.std() / 4000**0.5)


def test_a_baseline_is_that_of_the_runs_of_an_estimate():
    """With two runs the mean of the others is one run, whose own variance comes on top."""
    program = lambda p, key: sf.sample(key, sf.Normal(loc=p, scale=1.0), name="x") + 10.0
    variance = lambda **options: sf.plan(program, num_runs=2000, **options)._terms(
        {"x": ["score_function"]}, frozenset(), frozenset(), *call(0.0, KEY)).variance({"x": "score_function"})[0]  # fmt: skip
    np.testing.assert_allclose(variance(), 2, rtol=0.2)  # x^2 of a normal
    np.testing.assert_allclose(variance(num_samples=2), 3, rtol=0.2)
    np.testing.assert_allclose(variance(baseline=None), 102, rtol=0.1)


@functools.cache
def of_walk():
    return sf.plan(walk, num_runs=128)


def test_the_best_of_a_walk_is_to_compare():
    plan = of_walk()(24.0, KEY)
    assert plan["up"] == "coupled"
    assert set(plan.uniform()) == {"coupled", "score_function"}
    assert plan.price is plan.measured[0]
    assert plan.price.variance < 0.3 * plan.uniform()["score_function"].variance
    assert [row.price for row in plan.measured] == sorted(row.price for row in plan.measured)
    lines = str(plan).splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("* coupled ")
    assert of_walk()(24.0, jax.random.key(1)) == plan


def test_a_pilot_compiles_once():
    pilot = of_walk()
    pilot(24.0, KEY)
    sizes = {key: f._cache_size() for key, f in pilot.compiled.items()}
    pilot(30.0, jax.random.key(3))
    assert {key: f._cache_size() for key, f in pilot.compiled.items()} == sizes == dict.fromkeys(sizes, 1)


def test_a_plan_is_its_choices():
    measured = of_walk()(24.0, KEY)
    written = Plan((("up", measured["up"]),))
    assert written == measured
    assert hash(written) == hash(measured)
    assert written != Plan((("up", "score_function"),))
    back = Plan.from_json(measured.to_json())
    assert back == measured
    assert back.measured == measured.measured
    assert json.loads(measured.to_json())["choices"] == [["up", "coupled"]]
    assert written.price is None
    assert str(written).splitlines()[1] == "* coupled"
    traced = []

    @functools.partial(jax.jit, static_argnums=0)
    def gradient(plan, p, key):
        traced.append(plan)
        return jax.grad(sf.expectation(walk, plan=plan))(p, key)

    assert gradient(written, 24.0, KEY) == gradient(measured, 24.0, KEY)
    assert len(traced) == 1


@pytest.mark.default
def test_a_plan_is_used_and_explained():
    for estimator in ("coupled", "score_function"):
        plan = Plan((("up", estimator),))
        assert sf.explain(walk, plan=plan)(24.0, KEY).choices[0].estimator == estimator
        fixed = lambda p, key, e=estimator: walk_by(e)(p, key)
        np.testing.assert_array_equal(
            jax.grad(sf.expectation(walk, plan=plan, num_samples=3))(24.0, KEY),
            jax.grad(sf.expectation(fixed, num_samples=3))(24.0, KEY),
        )
    assert sf.explain(walk)(24.0, KEY).choices[0].estimator == "score_function"


def walk_by(estimator):
    def program(p, key):
        def step(x, k):
            up = sf.sample(k, sf.Bernoulli(probs=jnp.exp(-x / p)), name="up", estimator=estimator)
            return x + 2 * up - 1, None

        return lax.scan(step, jnp.zeros_like(p), jax.random.split(key, 12))[0] ** 2

    return program


def test_a_jitted_part_is_traced_for_each_plan():
    """The caches of jit see the plan around."""
    draw = jax.jit(lambda p, key: sf.sample(key, sf.Bernoulli(probs=p), name="z", estimator="auto"))
    program = lambda p, key: draw(p, key) * 2.0
    assert draw(0.3, KEY).shape == ()
    found = [
        sf.explain(program, plan=Plan((("z", e),)))(0.3, KEY).choices[0].estimator
        for e in ("coupled", "exact", "coupled")
    ]
    assert found == ["coupled", "exact", "coupled"]
    with pytest.raises(ValueError, match="there is none"):
        sf.explain(program)(0.3, KEY)


def unnamed(p, key):
    return sf.sample(key, sf.Bernoulli(probs=p), estimator="auto")


UP = Plan((("up", "coupled"),))
MISTAKES = [
    (lambda: sf.expectation(mixed)(AT, KEY), ValueError, r"The choice kind leaves its estimator to a plan.*sf\.plan\(program\)"),
    (lambda: sf.expectation(unnamed, plan=UP)(0.3, KEY), ValueError, "pass name= to sample"),
    (lambda: sf.expectation(mixed, plan=UP)(AT, KEY), ValueError, "no estimator for the choice kind; it is for up"),
    (lambda: sf.expectation(bits(2), plan=Plan((("bit", "coupled"), ("up", "coupled"))))(0.3, KEY), ValueError, "no choice named up"),
    (lambda: sf.expectation(walk, plan="coupled"), TypeError, "plan= takes what"),
    (lambda: sf.explain(walk, plan={"up": "coupled"}), TypeError, "plan= takes what"),
    (lambda: sf.plan(lambda p, key: p)(0.3, KEY), ValueError, "sf.plan chooses an estimator for each choice that has a name"),
    (lambda: sf.plan(walk, num_runs=10, num_samples=4), ValueError, "a multiple of num_samples=4"),
    (lambda: sf.plan(walk, num_runs=1), ValueError, "at least two"),
    (lambda: sf.plan(walk, argnums=1)(24.0, KEY), ValueError, r"argnums=\(1,\).*hold no floats"),
    (lambda: sf.expectation(mixed, plan=Plan((("kind", "coupled"), ("size", "coupled"), ("late", "coupled"), ("count", "coupled"))))(
        AT, KEY), TypeError, "Normal has"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "says"), MISTAKES)
def test_mistakes_are_named(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_of_many_choices_those_are_tried_that_are_better_one_by_one():
    """Twenty choices, whose best estimators are known: a covariance that is diagonal."""
    names = [f"z{i}" for i in range(20)]
    able = {name: ["score_function", "coupled"] for name in names}
    rows = [(name, estimator) for name in names for estimator in able[name]]
    sizes = np.array([0.0, *(2.0 if (int(name[1:]) % 2 == 0) == (e == "coupled") else 1.0 for name, e in rows)])
    grams = np.stack([np.diag(sizes)] * 4)
    terms = _pilot.Terms(frozenset(), frozenset(), rows, grams)
    best = min(terms.plans(able), key=lambda choices: terms.variance(dict(choices))[0])
    assert dict(best) == {name: "score_function" if int(name[1:]) % 2 == 0 else "coupled" for name in names}


def test_arguments_are_those_of_the_program():
    """Several that move, numbers that decide a shape, a keyword, what is no array, auxiliary data, complex parameters."""

    def program(p, steps, q, key, *, scale, name):
        def step(x, k):
            up = sf.sample(k, sf.Bernoulli(logits=p["a"] - x + q.real), name=name)
            return x + 2 * up - 1, up

        last, ups = lax.scan(step, jnp.zeros_like(p["a"]), jax.random.split(key, steps))
        return {"far": last**2 * scale, "up": jnp.sum(ups) * jnp.abs(q) ** 2}, {"ups": ups}

    pilot = sf.plan(
        program,
        num_runs=32,
        argnums=(0, 2),
        has_aux=True,
        coupled=sf.programs.Coupled(alternatives=3, predict="taylor"),
    )
    p = {"a": jnp.float32(0.3), "f": jnp.tanh}
    plan = pilot(p, 6, jnp.complex64(0.2 + 0.1j), KEY, scale=2.0, name="up")
    assert _call.Call.of((1.0, 2.0, KEY), {}, (-2,))[0].moving == (1,)
    assert plan["up"] in ("coupled", "score_function")
    assert len(plan.measured) == 2
    assert all(row.variance > 0 for row in plan.measured)
