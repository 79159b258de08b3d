"""Choices by their alternatives: exact over all uniforms (``all_uniforms``), beside the score at the same uniforms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from all_uniforms import PROGRAMS, P, gradients, truth
from covering import covering, few
from jax import lax

import jax_scorefn as sf
from jax_scorefn.programs import _analysed
from jax_scorefn.programs.lanes import _lane, _options, _places
from jax_scorefn.programs.sites import Compared, _coupled

pytestmark = pytest.mark.usefixtures("x64", "unchecked_keys")


MIXED = {
    "all": lambda _: "coupled",
    "even": lambda i: "coupled" if i % 2 == 0 else "score",
    "odd": lambda i: "coupled" if i % 2 else "score",
}


@pytest.mark.parametrize("mixed", MIXED)
@pytest.mark.parametrize("name", few(PROGRAMS, "scan_in_scan", "branches", "windows", "long_way", "values_of_another"))
@pytest.mark.leaks
def test_it_is_exact_over_all_uniforms(name, mixed, monkeypatch):
    value, exact = truth(name)
    values, grads = gradients(monkeypatch, name, MIXED[mixed])
    np.testing.assert_allclose(values.mean(), value, rtol=1e-12)
    np.testing.assert_allclose(grads.mean(axis=0), exact, rtol=1e-12, atol=1e-12)


SUMMED = {
    "first": (
        lambda i: "exact" if i == 0 else "coupled",
        ("chain", "vector", "table", "plate", "branches", "trials", "between"),
    ),
    "last": (lambda i: "coupled" if i == 0 else "exact", ("vector", "table", "one_hot", "between", "sorting")),
    "score between": (lambda i: ("coupled", "exact", "score")[i % 3], ("chain",)),
}


@pytest.mark.parametrize(
    ("which", "name"), covering([(which, name) for which, (_, names) in SUMMED.items() for name in names])
)
def test_it_is_exact_beside_choices_that_are_summed(which, name, monkeypatch):
    """In the branches of a choice, and across them."""
    value, exact = truth(name)
    values, grads = gradients(monkeypatch, name, SUMMED[which][0])
    np.testing.assert_allclose(values.mean(), value, rtol=1e-12)
    np.testing.assert_allclose(grads.mean(axis=0), exact, rtol=1e-12, atol=1e-12)


def everywhere(self, iteration):
    return self._replace(iterations=(*self.iterations, 0 * iteration))


LANES = {
    "plate": 2,
    "vector": 4,
    "windows": 2,
    "apart": 1,
    "scanned": 4,
    "layers": 3,
    "sorting": 4,
    "table": 2,
    "pairs": 2,
    "neighbours": 2,
    "unlike": 2,
}


@pytest.mark.parametrize("name", LANES)
@pytest.mark.leaks
def test_choices_that_share_a_lane_give_what_they_give_alone(name, monkeypatch):
    """Not on the mean: for each draw."""
    program, n, _ = PROGRAMS[name]
    made = lambda p, key: program(p, lambda i, dist: sf.sample(jax.random.fold_in(key, i), dist, estimator="coupled"))
    assert sf.explain(made)(P, jax.random.key(0)).lanes == LANES[name] <= n
    together = gradients(monkeypatch, name, MIXED["all"])
    monkeypatch.setattr(_places, "_may_share", lambda choices: False)
    alone = gradients(monkeypatch, name, MIXED["all"])
    np.testing.assert_allclose(together[1], alone[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["windows", "layers"])
@pytest.mark.leaks
def test_a_lane_that_replaces_too_much_is_seen(name, monkeypatch):
    """A twin with one colour less."""
    _, exact = truth(name)
    colours = _places.colours
    monkeypatch.setattr(_places, "colours", lambda shape, seen: tuple(max(1, c - 1) for c in colours(shape, seen)))
    grads = gradients(monkeypatch, name, MIXED["all"])[1]
    assert np.max(np.abs(grads.mean(axis=0) - exact)) > 1e-3


@pytest.mark.parametrize("name", ["pairs", "neighbours"])
@pytest.mark.leaks
def test_sites_that_a_cost_sees_together_have_lanes_of_their_own(name, monkeypatch):
    """A twin that gives all sites the first lane."""
    _, exact = truth(name)
    first = lambda lanes, *_: {site: span._replace(first=0) for site, span in lanes.items()}
    monkeypatch.setattr(_analysed, "together", first)
    grads = gradients(monkeypatch, name, MIXED["all"])[1]
    assert np.max(np.abs(grads.mean(axis=0) - exact)) > 1e-3


_alternative = sf.Bernoulli.alternative


def one_sided(self, u, v):
    """Weights of another pair of values."""
    pair = _alternative(self, u, v)
    return pair._replace(rate=(1 - pair.draw) * pair.rate)


@pytest.mark.parametrize("broken", ["the iteration", "the weight"])
def test_what_is_wrong_is_seen(broken, monkeypatch):
    """Twins: a choice that is replaced in all iterations of the first lane; rates of one side without the weight of both."""
    _, exact = truth("scanned")
    if broken == "the iteration":
        monkeypatch.setattr(_lane.Lane, "within", everywhere)
    else:
        monkeypatch.setattr(sf.Bernoulli, "alternative", one_sided)
    grads = gradients(monkeypatch, "scanned", MIXED["all"])[1]
    assert np.max(np.abs(grads.mean(axis=0) - exact)) > 1e-3


@pytest.mark.parametrize("name", few(PROGRAMS, "added", "joined"))
@pytest.mark.leaks
def test_the_gate_of_each_program_is_able_to_fail(name, monkeypatch):
    """A twin whose rates are too small by a tenth."""
    _, exact = truth(name)
    beside = Compared.beside
    monkeypatch.setattr(
        Compared, "beside", lambda self, x, others, rates, u, **about: beside(self, x, others, 0.9 * rates, u, **about)
    )
    grads = gradients(monkeypatch, name, MIXED["all"])[1]
    assert np.max(np.abs(grads.mean(axis=0) - exact)) > 1e-3


def test_a_score_sees_past_a_coupled_choice(monkeypatch):
    """A cost depends on a choice by score through one that is coupled: without that it is charged with too little."""
    _, exact = truth("through")
    monkeypatch.setattr(_coupled.Coupled, "dependence", lambda self, site, parts, depth: [{}] * site.params["size"])
    grads = gradients(monkeypatch, "through", MIXED["odd"])[1]
    assert np.max(np.abs(grads.mean(axis=0) - exact)) > 1e-3


def walk(p, key, estimator="coupled", length=8, **options):
    def step(x, k):
        b = sf.sample(k, sf.Bernoulli(probs=jnp.exp(-x / p)), estimator=estimator)
        return x + 2 * b - 1, None

    return lax.scan(step, jnp.zeros_like(p), jax.random.split(key, length))[0] ** 2


@pytest.mark.parametrize(
    "options", [{"num_samples": 4}, {"num_samples": 4, "chunk_size": 2}, {"num_samples": 4, "baseline": None}], ids=str
)
def test_runs_chunks_and_transformations_agree(options):
    """A mean over runs is one of single runs; no baseline is subtracted."""
    key, p = jax.random.key(3), jnp.float64(16.0)
    run = jax.value_and_grad(sf.expectation(walk, **options))
    single = [jax.grad(one_run)(p, jax.random.fold_in(key, i)) for i in range(4)]
    found = jax.jit(run)(p, key)
    np.testing.assert_allclose(found[1], np.mean(single), rtol=1e-12)
    mapped = jax.jit(jax.vmap(run, (0, None)))(jnp.stack([p, p]), key)
    np.testing.assert_allclose(mapped[1], np.mean(single), rtol=1e-12)


def one_run(p, key):
    """Of a run whose key is this one itself."""
    known = jax.random.key_data(key)
    return sf.expectation(lambda p, key: walk(p, jax.random.wrap_key_data(known)), lost="ignore")(p, jax.random.key(0))


def test_lanes_in_pieces_are_the_same_lanes(monkeypatch):
    p, key = jnp.float64(16.0), jax.random.key(3)
    whole = jax.jit(jax.grad(sf.expectation(walk, num_samples=3)))(p, key)
    monkeypatch.setattr(_options, "ELEMENTS", 9)
    np.testing.assert_allclose(jax.jit(jax.grad(sf.expectation(walk, num_samples=3)))(p, key), whole, rtol=1e-12)


def test_more_than_2_to_the_15_replaced_rows():
    """Chunked as not chunked, where a compiler once erred."""
    p, key = jnp.float32(40.0), jax.random.key(5)
    of = lambda **options: jax.jit(
        jax.grad(sf.expectation(functools.partial(walk, length=50), num_samples=1000, **options))
    )(p, key)
    whole = of()
    np.testing.assert_allclose(of(chunk_size=100), whole, rtol=1e-5)
    np.testing.assert_allclose(of(coupled=sf.programs.Coupled(chunk_size=16)), whole, rtol=1e-5)


def ten_thousand_people(p, key):
    """Who is ill or well on each of ten days: 200,000 choices, each of which may change all people afterwards."""

    def day(ill, k):
        first, second = jax.random.split(k)
        caught = sf.Bernoulli(probs=(1 - ill) * (1 - jnp.exp(-p * jnp.mean(ill))))
        ill = ill + sf.sample(first, caught, estimator="coupled")
        return ill - sf.sample(second, sf.Bernoulli(probs=0.2 * ill), estimator="coupled"), None

    start = (jnp.arange(10_000) < 200).astype(float)
    return jnp.mean(lax.scan(day, start, jax.random.split(key, 10))[0])


@pytest.mark.slow
@pytest.mark.parametrize("runs", [1, 8])
def test_the_memory_of_many_lanes_is_bounded(runs, monkeypatch):
    def memory():
        gradient = jax.jit(jax.grad(sf.expectation(ten_thousand_people, num_samples=runs)))
        return gradient.lower(0.4, jax.random.key(0)).compile().memory_analysis().temp_size_in_bytes

    assert memory() < 2**29
    monkeypatch.setattr(_options, "ELEMENTS", 2**29)
    assert memory() > 2**31


def test_complex_costs_and_several():
    def program(p, key):
        a, b = jax.random.split(key)
        x = sf.sample(a, sf.Bernoulli(probs=p), estimator="coupled")
        y = sf.sample(b, sf.Bernoulli(probs=p * (1 + x) / 2), estimator="coupled")
        return {"complex": x.astype(complex) * (1 + 2j) + y.astype(complex) * 1j, "row": jnp.stack([x, x * y])}

    loss = lambda p, key: (lambda c: c["complex"].imag * 3 + c["row"] @ jnp.array([1.0, 2.0]))(
        sf.expectation(program, num_samples=200)(p, key))  # fmt: skip
    keys = jax.random.split(jax.random.key(1), 500)
    grads = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(0.4, keys)
    exact = jax.grad(lambda p: 3 * (2 * p + (1 - p) * p / 2 + p * p) + p + 2 * p * p)(0.4)
    assert abs(grads.mean() - exact) < 4 * grads.std() / 500**0.5


@pytest.mark.leaks
def test_a_second_derivative_raises_and_names_the_choice():
    with pytest.raises(TypeError, match="The choice Bernoulli is estimated by its alternatives"):
        jax.grad(jax.grad(sf.expectation(walk)))(16.0, jax.random.key(0))
    with pytest.raises(
        TypeError, match=r"was differentiated in the parameters of its distribution outside of sf\.expectation"
    ):
        jax.grad(walk)(16.0, jax.random.key(0))
    with pytest.raises(TypeError, match="estimator='coupled' compares a draw .* Normal has"):
        sf.sample(jax.random.key(0), sf.Normal(loc=0.0, scale=1.0), estimator="coupled")


def scaled(p, a, key, estimator="coupled"):
    return a * sf.sample(key, sf.Bernoulli(probs=p), estimator=estimator)


def beside_a_score(p, a, key):
    first, second = jax.random.split(key)
    return scaled(p, 1.0, first) * sf.sample(second, sf.Bernoulli(probs=a))


@pytest.mark.parametrize("program", [scaled, functools.partial(scaled, estimator="measure_valued"), beside_a_score])
def test_a_mixed_second_derivative_raises(program):
    """Differences are not differentiated, so it would be 0: of a cost that is scaled, and of another choice by score."""
    loss = lambda p, a: sf.expectation(lambda p, a, key: program(p, a, key))(p, a, jax.random.key(0))
    for first, second in ((0, 1), (1, 0)):
        with pytest.raises(TypeError, match="was differentiated twice"):
            jax.grad(jax.grad(loss, first), second)(0.3, 0.6)
        closed = lambda x, first=first: jax.grad(lambda y: loss(*((y, x) if first == 0 else (x, y))))(0.4)
        with pytest.raises(TypeError, match="was differentiated twice"):
            jax.grad(closed)(0.6)


def test_a_comparison_before_and_after_a_choice_that_is_summed():
    """A lane of the first goes on through the values of the second to the third."""

    def program(p, key):
        k = jax.random.split(key, 3)
        a = sf.sample(k[0], sf.Bernoulli(probs=p), estimator="coupled")
        x = sf.sample(k[1], sf.Bernoulli(probs=p), estimator="exact")
        return a + (x + a) * sf.sample(k[2], sf.Bernoulli(probs=p), estimator="coupled")

    grads = jax.vmap(jax.grad(sf.expectation(program)), (None, 0))(0.3, jax.random.split(jax.random.key(0), 4000))
    assert abs(grads.mean() - (1 + 4 * 0.3)) < 4 * grads.std() / 4000**0.5


def test_a_mark_to_forget_refuses_a_choice_that_is_compared():
    def program(p, key):
        def step(c, k):
            c = c + sf.sample(k, sf.Bernoulli(logits=p - c), estimator="coupled", name="bit")
            return sf.programs.forget(jnp.where(c > 1.5, 0.0, c), when=c > 1.5), c**2

        return jnp.sum(lax.scan(step, 0.0, jax.random.split(key, 6))[1])

    with pytest.raises(TypeError, match="the choice bit is compared"):
        sf.expectation(program)(0.4, jax.random.key(0))


def test_samplers_of_jax_say_that_their_draws_are_others():
    with pytest.raises(TypeError, match=r"sf\.random\.bernoulli makes the draws of jax\.random, .* use sf\.sample"):
        sf.random.bernoulli(jax.random.key(0), 0.3, estimator="coupled")


def test_the_deviation_of_the_random_walk():
    """d/dp E X_n^2 for p = 2 n, and the deviation of one gradient: .798 for 10 steps."""
    grads = jax.jit(jax.vmap(jax.grad(sf.expectation(functools.partial(walk, length=10))), (None, 0)))(
        20.0, jax.random.split(jax.random.key(0), 40_000)
    )
    assert abs(grads.mean() - 1.48982) < 4 * grads.std() / 200
    np.testing.assert_allclose(grads.std(), 0.798, rtol=0.03)
