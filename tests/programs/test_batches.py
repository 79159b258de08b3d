"""Batches of other libraries: each element of one is a choice of its own in a program, and none of an estimator's."""

import functools
import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import outcomes
import pytest
from covering import covering

import jax_scorefn as sf

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import distrax
    import numpyro.distributions as nd
    import tensorflow_probability.substrates.jax as tfp

pytestmark = [pytest.mark.usefixtures("foreign"), pytest.mark.filterwarnings("ignore")]
P = jnp.array([0.3, -0.5, 0.8])
WEIGHTS = jnp.array([1.0, -2.0, 3.0])


class Coins:
    """A distribution of somebody's own that says that it is a batch."""

    def __init__(self, logits):
        self.logits, self.batch_shape = logits, logits.shape

    def sample(self, key):
        return jax.random.bernoulli(key, jax.nn.sigmoid(self.logits)).astype(self.logits.dtype)

    def log_prob(self, x):
        return jax.nn.log_sigmoid(jnp.where(x > 0, self.logits, -self.logits))


class Summed(Coins):
    """The same as one event."""

    def __init__(self, logits):
        self.logits = logits

    def log_prob(self, x):
        return jnp.sum(super().log_prob(x))


COINS = {
    "numpyro": lambda l: nd.Bernoulli(logits=l),
    "distrax": lambda l: distrax.Bernoulli(logits=l, dtype=l.dtype),
    "tfp": lambda l: tfp.distributions.Bernoulli(logits=l, dtype=l.dtype),
    "own": Coins,
}
EVENTS = {
    "numpyro": lambda l: nd.Bernoulli(logits=l).to_event(1),
    "distrax": lambda l: distrax.Independent(distrax.Bernoulli(logits=l, dtype=l.dtype), 1),
    "tfp": lambda l: tfp.distributions.Independent(tfp.distributions.Bernoulli(logits=l, dtype=l.dtype), 1),
    "own": Summed,
}


class Given:
    """A distribution whose draw is given."""

    def __init__(self, dist, x):
        self.dist, self.x, self.batch_shape = dist, x, getattr(dist, "batch_shape", ())

    def sample(self, key):
        del key
        return jax.lax.stop_gradient(self.x)

    def log_prob(self, x):
        return self.dist.log_prob(x)


def chain(make, p, x, key=None):
    """Two batches, the second on the first element by element; the cost is a sum of terms of one element each, and one of all."""
    key = jax.random.wrap_key_data(jnp.asarray(outcomes.KEY)) if key is None else key
    given = (lambda dist, bits: dist) if x is None else Given
    a = sf.sample(key, given(make(p * WEIGHTS), x and x[0]), name="a").astype(p.dtype)
    b = sf.sample(jax.random.fold_in(key, 1), given(make(p[0] - p + a), x and x[1]), name="b").astype(p.dtype)
    return jnp.sum(jnp.sin(a + p) * (b + 1.0) ** 2 * WEIGHTS) + jnp.prod(1.0 + b) * p[1]


def by_bits(make):
    return lambda p, x, key: chain(make, p, (x[:3], x[3:]))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("library", covering(COINS))  # the next test has all of them
def test_each_element_is_credited_exactly_and_with_less_noise_than_their_sum(library):
    program, params = by_bits(COINS[library]), P.astype(float)
    got, exact = outcomes.gradients(program, params, 6)
    np.testing.assert_allclose(got, exact, rtol=1e-11)
    summed = by_bits(EVENTS[library])
    np.testing.assert_allclose(outcomes.gradients(summed, params, 6)[0], exact, rtol=1e-11)
    fine, whole = (outcomes.variance(each, params, 6) for each in (program, summed))
    assert fine < 0.7 * whole


@pytest.mark.usefixtures("x64")
def test_credit_that_goes_to_another_element_is_seen(monkeypatch):
    outcomes.roll_scores(monkeypatch)
    got, exact = outcomes.gradients(by_bits(COINS["numpyro"]), P.astype(float), 6)
    assert np.max(np.abs(got - exact)) > 0.05


@pytest.mark.parametrize("library", COINS)
def test_the_libraries_own_draws_are_charged_element_by_element(library, capsys):
    program = lambda p, key: chain(COINS[library], p, None, key)
    found = sf.explain(program)(P, jax.random.key(0))
    assert {"a": "axis 0 equal", "b": "axis 0 equal"} in [cost.charged for cost in found.costs]
    assert [choice.shape for choice in found.choices] == [(3,), (3,)]
    grad = jax.jit(jax.vmap(jax.grad(sf.expectation(program)), (None, 0)))
    runs = grad(P, jax.random.split(jax.random.key(1), 20_000))
    exact = outcomes.gradients(by_bits(COINS["own"]), P, 6)[1]
    sf.testing.assert_unbiased(runs, exact, precision=0.05)


def test_batches_of_events_of_a_joint_and_of_two_axes():
    def program(p, key):
        rows = nd.Dirichlet(jnp.exp(p)[None] + jnp.ones((2, 3)))
        table = nd.Normal(jnp.zeros((2, 3)) + p, 1.0)
        x = sf.sample(key, sf.Joint({"rows": rows, "table": table, "one": nd.Normal(p[0], 1.0)}), name="x")
        return jnp.sum(jnp.sum(x["rows"] ** 2, -1)) + jnp.sum(x["table"] ** 3) + x["one"]

    found = sf.explain(program)(P, jax.random.key(0))
    assert {choice.shape for choice in found.choices} == {(2,), (2, 3), ()}
    assert "axis 0 equal; axis 1 equal" in [words for cost in found.costs for words in cost.charged.values()]
    assert np.all(np.isfinite(jax.jit(jax.grad(sf.expectation(program, num_samples=4)))(P, jax.random.key(0))))


def test_draws_are_those_of_the_library():
    dist = nd.Gamma(jnp.array([1.0, 2.0, 3.0]), 1.0)
    key = jax.random.key(0)
    np.testing.assert_array_equal(sf.sample(key, dist), dist.sample(key))
    path = lambda m: jnp.sum(sf.sample(key, nd.Normal(m, 1.0), estimator="pathwise") ** 2)
    np.testing.assert_allclose(jax.grad(path)(P), 2 * nd.Normal(P, 1.0).sample(key), rtol=1e-6)


@pytest.mark.usefixtures("x64")
def test_batches_with_a_support_are_enumerated():
    def program(p, key):
        k1, k2 = jax.random.split(key)
        c = sf.sample(k1, nd.Categorical(logits=jnp.stack([p, p * WEIGHTS])), estimator="exact")
        x = sf.sample(k2, sf.Joint((nd.Bernoulli(logits=p[:2]),)), estimator="score_function")[0]
        return jnp.sin(c[0] * 1.0 + p[0]) * (c[1] + 1.0) ** 2 + 0.0 * jnp.sum(x)

    def exact(p):
        first, second = jax.nn.softmax(p), jax.nn.softmax(p * WEIGHTS)
        return sum(
            first[i] * second[j] * jnp.sin(i * 1.0 + p[0]) * (j + 1.0) ** 2
            for i, j in itertools.product(range(3), range(3))
        )

    params = P.astype(float)
    for take in (lambda f: f, jax.grad, jax.hessian):
        got = jax.jit(take(lambda p: sf.expectation(program)(p, jax.random.key(0))))(params)
        np.testing.assert_allclose(got, jax.jit(take(exact))(params), rtol=1e-10)
    with pytest.raises(ValueError, match="4096 is the most"):
        sf.sample(jax.random.key(0), nd.Bernoulli(logits=jnp.zeros(13)), estimator="exact")
    with pytest.raises(TypeError, match="needs a finite support; distrax.Bernoulli has"):
        sf.sample(jax.random.key(0), distrax.Bernoulli(logits=jnp.zeros(3)), estimator="exact")


def test_what_does_not_say_that_it_is_a_batch_is_refused():
    """Log-probabilities with a shape may be those of steps that depend on each other."""

    class Steps(Coins):
        def __init__(self, logits):
            self.logits = logits

    with pytest.raises(ValueError, match=r"must be a scalar; \w+.Steps returned shape \(3,\)"):
        sf.sample(jax.random.key(0), Steps(P))

    class Wrong(Coins):
        def log_prob(self, x):
            return super().log_prob(x)[:2]

    with pytest.raises(ValueError, match=r"has batch_shape=\(3,\), log-probabilities of shape \(2,\) and draws"):
        sf.sample(jax.random.key(0), Wrong(P))
    with pytest.raises(ValueError, match="to_event"):
        sf.score_function_grad(jnp.sum, sf.family(COINS["numpyro"]), P, jax.random.key(0))
    with pytest.raises(ValueError, match="to_event"):
        sf.exact_grad(jnp.sum, sf.family(COINS["numpyro"]), P)


@functools.cache
def moving():
    return jax.grad(sf.expectation(lambda h, key: jnp.sum(sf.sample(key, nd.Uniform(0.0, h)) ** 2)))


def test_ends_that_move_are_refused_in_a_batch_too():
    with pytest.raises(TypeError, match="A parameter that the support of numpyro.Uniform depends on"):
        moving()(P + 1.0, jax.random.key(0))
