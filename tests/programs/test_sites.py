"""The estimators of a choice as objects: their names, their other names, and what one more of them costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn as sf
from jax_scorefn.programs import sites
from jax_scorefn.programs.sites._base import SITES, SiteEstimator, site

P = jnp.array([0.3, -0.5, 0.8])


def program(estimator, p, key):
    k1, k2 = jax.random.split(key)
    a = sf.sample(k1, sf.Categorical(logits=p), estimator=estimator, name="a").astype(float)
    b = sf.sample(k2, sf.Bernoulli(logits=p[0] + a), name="b")
    return jnp.sin(a + 1.0) * (b + p[1]) ** 2


@pytest.mark.parametrize(("name", "other"), [("score_function", "score"), ("exact", "enumerate")])
def test_the_other_names_mean_the_same(name, other):
    runs = [
        jax.jit(jax.value_and_grad(sf.expectation(lambda p, key, e=e: program(e, p, key), num_samples=3)))(
            P, jax.random.key(0)
        )
        for e in (name, other)
    ]
    jax.tree.map(np.testing.assert_array_equal, *runs)
    found = [sf.explain(lambda p, key, e=e: program(e, p, key))(P, jax.random.key(0)) for e in (name, other)]
    assert found[0] == found[1] and [choice.estimator for choice in found[0].choices] == [name, "score_function"]


def test_the_default_is_the_score_function():
    both = [
        jax.make_jaxpr(lambda key, how=how: sf.sample(key, sf.Bernoulli(logits=0.3), **how))(jax.random.key(0))
        for how in ({}, {"estimator": "score_function"})
    ]
    assert str(both[0]) == str(both[1]) and "estimator=score_function" in str(both[0])
    with pytest.raises(ValueError, match=r"no estimator \['exact'\]"):
        sf.sample(jax.random.key(0), sf.Bernoulli(logits=0.3), estimator=["exact"])


@pytest.fixture
def straight_through():
    """One more estimator, which is one class: the draw, with the derivative of the mean."""

    @site
    class StraightThrough(SiteEstimator):
        name = "straight_through"

        def sample(self, key, dist, name, max_value):
            x, mean = jax.lax.stop_gradient(dist).sample(key), dist.mean()
            return x + mean - jax.lax.stop_gradient(mean)

    yield
    del SITES["straight_through"]


def test_one_more_estimator_is_one_class(straight_through):
    loss = sf.expectation(
        lambda p, key: jnp.sum(jnp.array([1.0, 2.0, 3.0]) * sf.sample(key, sf.Bernoulli(logits=p), estimator="straight_through"))
    )  # fmt: skip
    got = jax.jit(jax.grad(loss))(P, jax.random.key(0))
    np.testing.assert_allclose(got, jnp.array([1.0, 2.0, 3.0]) * jax.nn.sigmoid(P) * jax.nn.sigmoid(-P), rtol=1e-5)
    with pytest.raises(
        ValueError, match="its estimators: score_function, pathwise, exact, coupled, measure_valued, straight_through"
    ):
        sf.sample(jax.random.key(0), sf.Bernoulli(logits=P), estimator="luck")


@pytest.fixture
def halves():
    """One that runs the program for the draw and for its opposite, each with its own probability."""

    @site
    class BothSides(SiteEstimator):
        name, nested = "both_sides", "{name} has to be at the top."

        def sample(self, key, dist, name, max_value):
            x, log_prob = dist.sample_and_log_prob(key)
            return self.choose(x, [log_prob], name=name, dist=dist.name)

        def dependence(self, site, parts, depth):
            return SITES["exact"].dependence(site, parts, depth)

        def branches(self, site, values, so_far):
            log_prob, x = values
            return sites.Branches([jnp.stack([x, 1 - x])], jnp.stack([jnp.exp(log_prob), -jnp.expm1(log_prob)]))

    yield
    del SITES["both_sides"]


def test_one_that_branches_has_a_value_for_each_row(halves):
    def cost(p, key):
        a = sf.sample(key, sf.Bernoulli(logits=p[0]), estimator="both_sides", name="a")
        return jnp.sin(a + p[1]) * jnp.exp(a * p[2])

    def exact(p):
        q = jax.nn.sigmoid(p[0])
        return (1 - q) * jnp.sin(p[1]) + q * jnp.sin(1.0 + p[1]) * jnp.exp(p[2])

    got = jax.jit(jax.grad(sf.expectation(cost)))(P, jax.random.key(0))
    np.testing.assert_allclose(got, jax.grad(exact)(P), rtol=1e-5)
    looped = lambda p, key: jax.lax.scan(lambda c, k: (c + cost(p, k), None), 0.0, jax.random.split(key, 2))[0]
    with pytest.raises(ValueError, match="a has to be at the top"):
        sf.expectation(looped)(P, jax.random.key(0))


def test_an_auxiliary_output_behind_a_mark_is_allowed(unchecked_keys):
    def window(p, key):
        def step(s, k):
            s = s + sf.sample(k, sf.Bernoulli(logits=p - s))
            return sf.programs.forget(s, when=s > 1.0), s**2

        last, costs = jax.lax.scan(step, 0.0, jax.random.split(key, 4))
        return jnp.sum(costs), last

    value, aux = sf.expectation(window, num_samples=3, has_aux=True)(0.3, jax.random.key(0))
    assert value.shape == () and aux.shape == (3,)


def test_an_explanation_says_where_costs_and_choices_stand():
    def program(logits, key):
        z = sf.sample(key, sf.Bernoulli(logits=logits), name="z")
        return (z > 0.5) & (logits < 0.0)

    found = sf.explain(program)(jnp.zeros(3), jax.random.key(0))
    first = program.__code__.co_firstlineno
    (cost,), (choice,) = found.costs, found.choices
    assert cost.operation == "and"  # and not the conversion behind it
    assert (cost.place, choice.place) == (f"test_sites.py:{first + 2}", f"test_sites.py:{first + 1}")
    lines = str(found).splitlines()
    assert len(lines) == 4 and choice.place in lines[3] and "score_function" in lines[3]
    assert repr(found) == "<Explanation: 1 cost, 1 choice>"  # what a notebook shows below the table


def test_a_line_of_a_notebook_is_one_of_a_cell():
    assert sf.programs.short("/home/me/train.py", 12) == "train.py:12"
    assert sf.programs.short("/tmp/ipykernel_31/4711.py", 3) == "line 3 of a cell"
