"""Samplers in programs as users write them: what is a choice, what stays a plain draw, ends of ranges, and what is refused."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn as sf
from jax_scorefn import random
from jax_scorefn.random import _continuous, _sampler
from jax_scorefn.random._without_replacement import PlackettLuce

P = jnp.array([0.2, 0.3, 0.5])


def grad_of(program, *args, num_samples=1, key=0):
    return jax.jit(jax.grad(sf.expectation(program, num_samples=num_samples)))(*args, random.key(key))


def test_the_import_is_all_that_changes(unchecked_keys):
    """A walk that ``jax.grad`` gives 0 for: its derivative is that of all sums over its paths."""

    def walk(random):
        def program(logit, key):
            def step(x, k):
                x = x + 2.0 * random.bernoulli(k, jax.nn.sigmoid(logit - x)).astype(float) - 1.0
                return x, x**2

            return jnp.sum(jax.lax.scan(step, 0.0, random.split(key, 3))[1])

        return program

    def exact(logit, x=0.0, steps=3):
        if steps == 0:
            return 0.0
        p = jax.nn.sigmoid(logit - x)
        return sum(q * ((x + up) ** 2 + exact(logit, x + up, steps - 1)) for q, up in ((p, 1.0), (1 - p, -1.0)))

    assert jax.grad(walk(jax.random))(0.5, random.key(0)) == 0
    slope = jax.grad(sf.expectation(walk(random), num_samples=16))
    runs = sf.testing.replicate(lambda key: slope(0.5, key), random.key(1), 2000)
    sf.testing.assert_unbiased(runs, jax.grad(exact)(0.5), precision=0.05)


def sites(program, *args):
    return {site.name: site for site in sf.explain(program)(*args, random.key(0)).choices}


def test_each_part_is_a_choice_with_its_own_cost(capsys):
    def program(l, key):
        k1, k2 = random.split(key)
        x = random.categorical(k1, l, axis=0, shape=(4, 2), name="c")
        y = random.multinomial(k2, 3, jax.nn.softmax(l.T))
        return jnp.sum(x.astype(float) ** 2), jnp.sum(y[:, 0] ** 2)

    found = sf.explain(program)(jnp.zeros((3, 2)), random.key(0))
    assert [choice.name for choice in found.choices] == ["c", "multinomial"]
    charged = [cost.charged for cost in found.costs]
    assert (
        {"c": "axis 0 equal; axis 1 equal"} in charged
        and {"multinomial": "axis 0 equal"} in charged
        and len(charged) == 2
    )


def test_what_hangs_on_nothing_stays_a_plain_draw(capsys):
    """In a loop, where a choice is not possible, too; and ints are no parameters of a derivative."""

    def program(p, n, key):
        k1, k2, k3 = random.split(key, 3)

        def again(state):
            k, _ = state
            k, now = random.split(k)
            return k, random.bernoulli(now, 0.5)

        _, bit = jax.lax.while_loop(lambda state: ~state[1], again, (k1, jnp.array(False)))
        count = random.binomial(k3, n, 0.5) + random.categorical(k2, P).astype(float)
        return p * (bit.astype(float) + count)

    assert sites(program, 0.3, jnp.array(4, jnp.int32)) == {}
    summed = lambda p, key: p * random.bernoulli(key, 0.25, estimator="exact").astype(float)
    assert grad_of(summed, 0.3) == 0.25  # asked for, so summed over


@pytest.mark.parametrize("estimator", ["score_function", "exact"])
@pytest.mark.parametrize("p", [0.0, 1.0])
def test_certain_bits(estimator, p):
    got = grad_of(lambda p, key: 3.0 * random.bernoulli(key, p, estimator=estimator).astype(float) + 1.0, p)
    assert (
        got
        == {("exact", 0.0): 3.0, ("exact", 1.0): 3.0, ("score_function", 0.0): -1.0, ("score_function", 1.0): 4.0}[
            estimator, p
        ]
    )


@pytest.mark.parametrize(("p", "dtype"), [(1e-9, jnp.float32), (1e-3, jnp.bfloat16), (0.3, jnp.float16)])
@pytest.mark.parametrize("mode", ["low", "high"])
def test_rare_bits_are_scored_as_they_are_drawn(p, dtype, mode):
    """The part of all uniforms that is below p is the probability that is scored, so that E[f score] is f(1) - f(0)."""
    p = jnp.asarray(p, dtype)
    q = jax.jit(lambda p: random._discrete._as_drawn(p, mode))(p)
    digits = jnp.finfo(dtype).nmant * (2 if mode == "high" else 1)
    assert float(q) == np.ceil(float(p) * 2.0**digits) / 2.0**digits
    assert jax.grad(lambda p: random._discrete._as_drawn(p, mode))(p) == 1
    score = lambda q, bit: jax.grad(lambda p: sf.Bernoulli(probs=random._discrete._as_drawn(p, mode)).log_prob(bit))(p)
    q = float(q)
    np.testing.assert_allclose(q * float(score(p, 1.0)) * 3.0 + (1 - q) * float(score(p, 0.0)) * 1.0, 2.0, rtol=2e-2)


def test_categories_that_are_forbidden():
    def loss(estimator, **options):
        def program(l, key):
            x = random.categorical(key, l, estimator=estimator, **options)
            return jnp.sum(jnp.array([1.0, 5.0, 2.0, 100.0])[x].reshape(-1) ** jnp.arange(1.0, 1.0 + x.size))

        return program

    l = jnp.array([0.3, -0.5, 0.8, -jnp.inf])
    free = jax.nn.softmax(l[:3])
    truth = free * (jnp.array([1.0, 5.0, 2.0]) - free @ jnp.array([1.0, 5.0, 2.0]))
    np.testing.assert_allclose(grad_of(loss("exact"), l)[:3], truth, rtol=1e-5)
    for options in ({}, {"shape": (2,), "replace": False}):
        for estimator in ("exact", "score_function"):
            got = grad_of(loss(estimator, **options), l, num_samples=1 if estimator == "exact" else 4)
            assert np.all(np.isfinite(got)) and got[3] == 0


def test_weights_of_zero_without_replacement_have_their_derivative():
    """By the sum over the support, of the probabilities themselves; they differ from those of a small weight by its size."""
    pair = lambda p, key: random.choice(key, jnp.array([1.0, 3.0, 9.0, 2.0]), (2,), False, p, estimator="exact")
    loss = lambda p, key: pair(p, key) @ jnp.array([1.0, 0.1])
    at = [grad_of(loss, jnp.array([0.2, 0.3, 0.5, small])) for small in (0.0, 1e-4)]
    assert np.all(np.isfinite(at[0]))
    np.testing.assert_allclose(*at, rtol=2e-3, atol=2e-3)


def test_the_log_probability_of_an_ordered_draw():
    dist = PlackettLuce(2, logits=jnp.log(P))
    grid = dist.grid()
    assert grid.points.shape == (6, 2)
    np.testing.assert_allclose(jnp.sum(grid.weights), 1, rtol=1e-6)
    np.testing.assert_allclose(dist.log_prob(jnp.array([2, 0])), np.log(0.5 * 0.2 / 0.5), rtol=1e-6)
    many = lambda p, key: jnp.sum(random.choice(key, 12, (6,), False, p, estimator="exact"))
    with pytest.raises(ValueError, match=r"6\.653e\+05 ways to draw 6 of 12"):
        sf.expectation(many)(jnp.ones(12), random.key(0))


def test_entries_are_differentiated_as_well():
    def program(a, p, key):
        return jnp.sum(random.choice(key, a, (2,), p=p) ** 2)

    values, p = jnp.array([1.0, 2.0, 4.0]), P
    loss = jax.grad(sf.expectation(program, num_samples=8), argnums=(0, 1))
    runs = sf.testing.replicate(lambda key: loss(values, p, key), random.key(3), 4000)
    truth = jax.grad(lambda a, p: 2 * jnp.sum(p / jnp.sum(p) * a**2), argnums=(0, 1))(values, p)
    sf.testing.assert_unbiased(runs, truth, precision=0.05)


def test_the_older_keys_work_in_an_expectation():
    program = lambda p, key: 3.0 * random.bernoulli(key, p).astype(float)
    slope = jax.jit(jax.grad(sf.expectation(program, num_samples=4)))(0.5, jax.random.PRNGKey(0))
    assert np.isfinite(slope)


@pytest.mark.usefixtures("unchecked_keys")
def test_what_is_whole_raises():
    key = random.key(0)
    for name, field, draw in (
        ("binomial", "n", lambda x: random.binomial(key, 5 * x, 0.3)),
        ("multinomial", "n", lambda x: random.multinomial(key, 5 * x, P)),
        ("randint", "maxval", lambda x: random.randint(key, (), 0, 5 * x).astype(float)),
    ):
        with pytest.raises(TypeError, match=rf"sf\.random\.{name} was differentiated in {field}, which is whole"):
            jax.grad(lambda x, draw=draw: jnp.sum(draw(x)))(1.0)


@pytest.mark.usefixtures("unchecked_keys")
def test_what_cannot_be_estimated_is_refused():
    key = random.key(0)
    with pytest.raises(ValueError, match="no estimator 'luck'"):
        random.bernoulli(key, 0.3, estimator="luck")
    with pytest.raises(ValueError, match="no estimator 'luck'"):
        random.gamma(key, 0.3, estimator="luck")
    with pytest.raises(ValueError, match="no estimator"):
        random.poisson(key, 0.3, estimator=["exact"])
    with pytest.raises(TypeError, match="finite support; Gamma"):
        random.gamma(key, 0.3, estimator="exact")
    with pytest.raises(TypeError, match="reparameterized draws; Bernoulli"):
        random.bernoulli(key, 0.3, estimator="pathwise")
    with pytest.raises(ValueError, match="max_value"):
        random.poisson(key, 0.3, estimator="exact")
    with pytest.raises(ValueError, match="max_value"):
        random.poisson(key, 0.3, max_value=3)
    with pytest.raises(TypeError, match="missing a required argument: 'p'"):
        random.geometric(key)
    scored = lambda c: random.weibull_min(key, 1.0, c, estimator="score_function")
    with pytest.raises(ValueError, match="share numbers"):
        jax.eval_shape(scored, jnp.ones(3))


@pytest.mark.usefixtures("foreign")
def test_an_option_that_nobody_considered_raises():
    """As ``method="approximate"`` of newer versions, which draws from another distribution."""
    signature = inspect.signature(lambda key, lam, shape=None, method="exact", more=None: None)
    given = lambda **options: _sampler._unknown(
        signature, {"lam": P, "shape": (2,), **options}, {"key", "lam", "shape"}
    )
    assert given(method="exact") == given(method="".join("exact"), more=None) == ""
    assert given(method="approximate", more=3) == "method='approximate', more=3"
    if "method" not in inspect.signature(jax.random.poisson).parameters:
        return
    draw = lambda x, **options: random.poisson(random.key(0), x, method="approximate", **options).astype(float)
    assert draw(3.0) == jax.random.poisson(random.key(0), 3.0, method="approximate")
    for loss in (draw, lambda x: sf.expectation(lambda x, key: draw(x))(x, random.key(1))):
        with pytest.raises(TypeError, match="log-probability of its draws with method='approximate' is not known"):
            jax.grad(loss)(3.0)
    with pytest.raises(TypeError, match="estimator='score_function' needs it"):
        jax.eval_shape(lambda a: random.gamma(random.key(0), a, method="approximate", estimator="score_function"), 0.5)


@pytest.mark.float32
@pytest.mark.nans
def test_logarithms_of_other_numbers_are_none():
    x = jnp.array([0.5, 1e-30, 0.0, 7.0])
    log_x = jnp.array([np.log(0.5), -69.0, -200.0, np.log(7.1)], jnp.float32)
    np.testing.assert_array_equal(_continuous._agreeing(log_x, x), log_x)
    assert np.all(np.isnan(_continuous._agreeing(log_x, x[::-1])[jnp.array([0, 3])]))


def test_docstrings_say_what_is_common():
    for name, sampler in random.SAMPLERS.items():
        if sampler.function is None or name == "randint":
            continue
        text = inspect.getdoc(sampler.function)
        assert f"``jax.random.{name}``" in text and "\nArgs:\n  estimator: " in text and "\nRaises:\n" in text
        counted = "max_value" in inspect.signature(sampler.function).parameters
        assert ("max_value: " in text) is counted is (name in ("geometric", "poisson"))
        assert ('"exact"' in text) is ("exact" in sampler.estimators)
        assert all(f"``{p}``" in text for p in sampler.parameters)
