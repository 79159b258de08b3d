"""A draw and another value of it: their weighted difference is the derivative, summed over all draws; draws are those of the inverse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as stats

import jax_scorefn as sf

pytestmark = pytest.mark.usefixtures("x64")
VALUES = np.array([3.0, 1.0, 2.0])
GIVEN = sf.family(log_prob=lambda w, x: w @ (x == VALUES).astype(w.dtype), support=VALUES)
DISTRIBUTIONS = {
    "bits": (lambda t: sf.Bernoulli(logits=t), 0.4, 2),
    "bits by probability": (lambda t: sf.Bernoulli(probs=t), 0.4, 2),
    "categories": (lambda t: sf.Categorical(logits=t * jnp.array([1.0, -0.5, 2.0, 0.0])), 0.7, 4),
    "two categories": (lambda t: sf.Categorical(probs=jnp.stack([t, 1 - t])), 0.3, 2),
    "rows": (lambda t: sf.OneHotCategorical(logits=t * jnp.array([1.0, -0.5, 2.0])), 0.7, 3),
    "a given support": (lambda t: GIVEN.at(t * jnp.array([1.0, -0.5, 2.0])), 0.7, 3),
    "Poisson": (lambda t: sf.Poisson(rate=t), 2.3, 40),
    "Binomial": (lambda t: sf.Binomial(total_count=5, probs=t), 0.3, 6),
    "Binomial by logits": (lambda t: sf.Binomial(total_count=jnp.array(5), logits=t), 1.3, 6),
    "Geometric": (lambda t: sf.Geometric(probs=t), 0.4, 90),
    "NegativeBinomial": (lambda t: sf.NegativeBinomial(total_count=2.5, probs=t), 0.4, 90),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.default
def test_the_difference_is_the_derivative(name):
    """Over draws, by the middles of their uniforms, and 60 other values of each, which five trials and all shares here divide."""
    make, at, number = DISTRIBUTIONS[name]

    def f(x):
        x = x.astype(float)
        return jnp.sum(jnp.sin(1.0 + 2.0 * x) * jnp.arange(1.0, 1.0 + x.size).reshape(x.shape)) + jnp.max(x) ** 2 / 9

    def masses(t):
        if name in ("categories", "two categories", "rows", "a given support"):
            return jnp.exp(make(t).choices().log_probs[0][0])
        k = jnp.arange(number) + int(name == "Geometric")
        return jnp.exp(jax.vmap(make(t).log_prob)(k.astype(float) if "bits" in name else k))

    p = masses(at)
    ends = jnp.cumsum(p)
    middles = ends - p / 2
    if "bits" in name:  # the first part of the uniforms is 1
        middles = jnp.array([(1 + p[1]) / 2, p[1] / 2])
    if name == "Geometric":  # which are 1 - u there
        middles = 1 - middles
    others = (np.arange(60_000) + 0.5) / 60_000 if number in (3, 4) else (np.arange(60) + 0.5) / 60
    x = jax.vmap(lambda u: make(at).alternative(u, others[0]).draw)(middles)
    exact = jax.grad(lambda t: masses(t) @ jax.vmap(lambda x: f(x).astype(float))(x))(at)

    def term(u, v):
        pair = make(at).alternative(u, v)
        slope = jax.grad(lambda t: make(t).alternative(u, v).rate)(at)
        return (f(pair.other) - f(pair.draw)) * slope

    found = p @ jnp.mean(jax.vmap(lambda u: jax.vmap(lambda v: term(u, v))(others))(middles), axis=1)
    np.testing.assert_allclose(found, exact, rtol=1e-9 if number not in (3, 4) else 1e-4, atol=1e-12)


LAWS = {
    "Poisson": (lambda m: sf.Poisson(rate=m), lambda u, m: stats.poisson.ppf(u, m), [0.0, 0.3, 5.0, 60.0, 70.0, 900.0, 1e5]),
    "Binomial": (lambda p: sf.Binomial(total_count=1000, probs=p), lambda u, p: stats.binom.ppf(u, 1000, p), [0.0, 1e-5, 0.03, 0.5, 0.99, 1.0]),
    "NegativeBinomial": (
        lambda p: sf.NegativeBinomial(total_count=1.5, probs=p), lambda u, p: stats.nbinom.ppf(u, 1.5, 1 - p), [0.01, 0.5, 0.97, 0.999]),
}  # fmt: skip
LAWS_OF = {
    "Poisson": stats.poisson,
    "Binomial": lambda p: stats.binom(1000, p),
    "NegativeBinomial": lambda p: stats.nbinom(1.5, 1 - p),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", LAWS)
@pytest.mark.default
def test_a_count_is_found_by_inversion(name, dtype):
    make, inverse, values = LAWS[name]
    u = np.concatenate([np.linspace(1e-6, 1 - 1e-6, 4001), [1e-12, 1 - 1e-7]]).astype(dtype)
    for value in values:
        found = np.asarray(
            jax.jit(lambda u, value=value: make(jnp.full(u.shape, value, u.dtype)).alternative(u, u).draw)(u)
        )
        exact = inverse(u.astype(float), float(np.dtype(dtype).type(value)))
        if dtype == "float64":
            np.testing.assert_array_equal(found, exact)
        else:
            law = LAWS_OF[name](float(np.float32(value)))
            room = 3e-6 + 3e-8 * law.mean()  # rounding, in as many steps
            assert np.all(law.cdf(found - 1) - room <= u) and np.all(u <= law.cdf(found) + room)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_counts_of_half_precision_are_those_of_float32(dtype):
    keys = lambda: jax.random.split(jax.random.key(0), 2000)
    for make in (lambda t: sf.Poisson(rate=6 * t), lambda t: sf.Binomial(total_count=jnp.full(10, 7), probs=t),
                 lambda t: sf.NegativeBinomial(total_count=jnp.full(10, 2.5, t.dtype), probs=t)):  # fmt: skip
        program = lambda t, key, make=make: jnp.sum(sf.sample(key, make(t), estimator="coupled").astype(jnp.float32))
        run = jax.jit(jax.vmap(jax.value_and_grad(sf.expectation(program)), (None, 0)))
        t = jnp.full(10, 0.375, dtype)
        for half, single in zip(run(t, keys()), run(t.astype(jnp.float32), keys()), strict=True):
            np.testing.assert_allclose(half.astype(jnp.float32), single, rtol=2e-2)


def test_ends_of_ranges():
    u, v = jnp.array([0.0, 0.3, 1 - 1e-9]), jnp.array([0.1, 0.5, 0.9])
    for make in (
        lambda: sf.Binomial(total_count=jnp.zeros(3), probs=jnp.full(3, 0.5)),
        lambda: sf.Poisson(rate=jnp.zeros(3)),
    ):
        np.testing.assert_array_equal(make().alternative(u, v).draw, 0)
    pair = sf.Binomial(total_count=jnp.zeros(3), probs=jnp.full(3, 0.5)).alternative(u, v)
    np.testing.assert_array_equal(pair.other, 0)
    for logits in ([0.0, -jnp.inf], [800.0, 0.0], [-jnp.inf, 0.0]):
        row = jnp.broadcast_to(jnp.array(logits), (3, 2))
        pair = sf.Categorical(logits=row).alternative(u, v)
        np.testing.assert_array_equal(pair.other, pair.draw)  # there is no other value
        np.testing.assert_array_equal(
            jax.jacobian(lambda row: sf.Categorical(logits=row).alternative(u, v).rate)(row), 0
        )
    for make in (lambda t: sf.Poisson(rate=t), lambda t: sf.Bernoulli(logits=t), lambda t: sf.Binomial(total_count=3, probs=t),
                 lambda t: sf.Geometric(probs=t), lambda t: sf.NegativeBinomial(total_count=2.0, probs=t)):  # fmt: skip
        rate, slope = jax.value_and_grad(lambda t, make=make: jnp.sum(make(t).alternative(u, v).rate))(
            jnp.full(3, jnp.nan)
        )
        assert np.isnan(rate) and np.all(np.isnan(slope))


def test_what_is_refused():
    with pytest.raises(TypeError, match="total_count of a NegativeBinomial carries a derivative"):
        jax.grad(lambda r: sf.NegativeBinomial(total_count=r, probs=0.5).alternative(jnp.float64(0.3), 0.1).rate)(2.0)
    with pytest.raises(NotImplementedError, match=r"Normal has no alternative\(\)"):
        sf.Normal(loc=0.0, scale=1.0).alternative(0.1, 0.2)
