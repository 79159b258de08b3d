"""Distributions of distrax, TFP on JAX and NumPyro, the real packages, against ours for the same parameters."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn as sf

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import distrax
    import numpyro.distributions as nd
    import tensorflow_probability.substrates.jax as tfp

tfd = tfp.distributions
pytestmark = [pytest.mark.usefixtures("foreign"), pytest.mark.filterwarnings("ignore")]
M = jnp.array([0.3, -0.5])

NORMALS = {
    "distrax": lambda m: distrax.Independent(distrax.Normal(m, 1.0), 1),
    "tfp": lambda m: tfd.Independent(tfd.Normal(m, 1.0), 1),
    "numpyro": lambda m: nd.Normal(m, 1.0).to_event(1),
}
COINS = {
    "distrax": lambda l: distrax.Bernoulli(logits=l),
    "tfp": lambda l: tfd.Bernoulli(logits=l),
    "numpyro": lambda l: nd.Bernoulli(logits=l),
}


@pytest.mark.parametrize("library", sorted(NORMALS))
def test_log_prob_and_gradients_are_ours(library):
    theirs, ours = sf.family(NORMALS[library]), sf.family(lambda m: sf.Normal(loc=m, scale=1.0))
    x = jnp.array([1.0, 2.0])
    run = jax.jit(lambda m, x: [(fam(m, x), jax.grad(fam)(m, x)) for fam in (theirs, ours)])
    for a, b in zip(*run(M, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    f = lambda x: jnp.sum(x**2)
    for estimator in (sf.score_function_grad, sf.pathwise_grad):
        grad = jax.jit(jax.vmap(lambda key, e=estimator: e(f, theirs, M, key, num_samples=8)))
        runs = jax.device_get(grad(jax.random.split(jax.random.key(1), 4000)))
        sf.testing.assert_unbiased(runs, 2 * np.asarray(M), precision=0.1, name=f"{estimator.__name__} on {library}")


@pytest.mark.parametrize("library", sorted(COINS))
def test_discrete_distributions_are_scored_and_not_reparameterized(library):
    coin = sf.family(COINS[library])
    f = lambda x: 1.0 + 2.0 * x
    runs = sf.testing.replicate(
        lambda key: sf.score_function_grad(f, coin, 1.0, key), jax.random.key(0), 2000, batch=2000
    )
    sf.testing.assert_unbiased(runs, 0.393224, precision=0.02)
    with pytest.raises(TypeError, match=r"pathwise needs a distribution that has reparameterized draws; \w+.Bernoulli"):
        sf.pathwise_grad(f, coin, 1.0, jax.random.key(0))
    second = jax.jit(jax.hessian(lambda l: sf.score_function(f, coin, l, jax.random.key(0), num_samples=4096)))(1.0)
    np.testing.assert_allclose(second, -0.18172, atol=0.05)


def test_numpyro_distributions_with_a_support_are_enumerated():
    coin = sf.family(lambda l: nd.Categorical(logits=jnp.stack([l, jnp.float32(0.0), jnp.float32(1.0)])))
    ours = sf.family(lambda l: sf.Categorical(logits=jnp.stack([l, jnp.float32(0.0), jnp.float32(1.0)])))
    f = lambda x: x**2
    np.testing.assert_allclose(*jax.jit(lambda l: [sf.exact_grad(f, dist, l) for dist in (coin, ours)])(0.4), rtol=1e-5)


@pytest.mark.parametrize(
    "dist", [lambda m: distrax.Normal(m, 1.0), lambda m: tfd.Normal(m, 1.0), lambda m: nd.Normal(m, 1.0)]
)
def test_a_batch_of_distributions_is_refused_with_the_remedy(dist):
    with pytest.raises(ValueError, match=r"scalar; \w+.Normal returned shape \(2,\).*Independent.*to_event.*jax.vmap"):
        sf.score_function_grad(jnp.sum, sf.family(dist), M, jax.random.key(0))


def test_what_each_library_says_of_reparameterization():
    ours = sf.distributions.as_distribution
    path = sf.Capability.REPARAMETERIZED
    for dist in (
        nd.Normal(0.0, 1.0),
        nd.Gamma(2.0),
        tfd.Normal(0.0, 1.0),
        distrax.Normal(0.0, 1.0),
        distrax.Gamma(2.0, 1.0),
    ):
        assert path in ours(dist).capabilities
    for dist in (nd.Poisson(2.0), tfd.Poisson(2.0), distrax.Categorical(logits=jnp.zeros(3))):
        assert path not in ours(dist).capabilities


def test_foreign_parts_in_a_joint():
    fam = sf.family(
        lambda m: sf.Joint({"a": nd.Normal(m, 1.0), "b": sf.Bernoulli(logits=m), "c": distrax.Laplace(m, 1.0)})
    )
    f = lambda x: x["a"] + x["b"] + x["c"]
    runs = sf.testing.replicate(lambda k: sf.score_function_grad(f, fam, 0.0, k), jax.random.key(0), 2000, batch=2000)
    sf.testing.assert_unbiased(runs, 2.25, precision=0.05)


def test_any_object_that_draws_and_scores_is_a_distribution():
    class Mine:
        capabilities = sf.Capability.LOG_PROB | sf.Capability.SAMPLE | sf.Capability.REPARAMETERIZED

        def __init__(self, m):
            self.m = m

        def sample(self, key):
            return self.m + jax.random.normal(key)

        def log_prob(self, x):
            return -0.5 * (x - self.m) ** 2

    fam = sf.family(Mine)
    np.testing.assert_allclose(sf.pathwise_grad(lambda x: 2 * x, fam, 0.3, jax.random.key(0)), 2.0, rtol=1e-5)
    runs = sf.testing.replicate(
        lambda k: sf.score_function_grad(jnp.square, fam, 0.3, k), jax.random.key(0), 2000, batch=2000
    )
    sf.testing.assert_unbiased(runs, 0.6, precision=0.05)


@pytest.mark.parametrize("library", sorted(COINS))
def test_their_distributions_are_choices_of_a_program(library):
    def program(logit, key):
        return 1.0 + 2.0 * sf.sample(key, COINS[library](logit)).astype(float)

    grads = sf.testing.replicate(lambda key: jax.grad(sf.expectation(program))(1.0, key), jax.random.key(0), 20_000)
    sf.testing.assert_unbiased(grads, 0.39322384, precision=0.05)


LAPLACES = {
    "ours": lambda m, s: sf.Laplace(loc=m, scale=s), "numpyro": nd.Laplace, "distrax": distrax.Laplace,
    "in one of distrax": lambda m, s: distrax.Independent(distrax.Laplace(m, s), 0),
    "one of a mixture": lambda m, s: sf.Mixture(logits=jnp.zeros(2), components=sf.Laplace(loc=jnp.stack([m, m]), scale=jnp.stack([s, s]))),
}  # fmt: skip


@pytest.mark.parametrize("name", LAPLACES)
def test_a_corner_that_moves_has_no_second_derivative_in_a_score(name):
    """E cos of a Laplace distribution is cos(m) / (1 + s^2): its curvature in m is in the corner, and by the score it would be 0."""
    family, m, s, key = sf.family(lambda p: LAPLACES[name](*p)), 0.3, 1.0, jax.random.key(0)
    by_score = lambda m: sf.score_function(jnp.cos, family, (m, s), key, num_samples=16)
    assert np.isfinite(jax.eval_shape(jax.grad(by_score), m).dtype.itemsize)
    program = sf.expectation(lambda m, key: jnp.cos(sf.sample(key, LAPLACES[name](m, s))))
    for twice in (jax.hessian(by_score), jax.grad(jax.grad(by_score)), jax.hessian(lambda m: program(m, key))):
        with pytest.raises(TypeError, match=r"was differentiated twice.*a corner.*Use pathwise"):
            jax.eval_shape(twice, m)
    if name == "ours":
        with pytest.raises(TypeError, match="a corner"):
            jax.eval_shape(jax.hessian(lambda m: sf.exact(jnp.cos, family, (m, s))), m)
        by_path = jax.jit(jax.hessian(lambda m: sf.pathwise(jnp.cos, family, (m, s), key, num_samples=40_000)))
        np.testing.assert_allclose(by_path(m), -np.cos(m) / 2, atol=0.02)
        in_scale = jax.jit(jax.hessian(lambda s: sf.exact(jnp.cos, family, (m, s), num_nodes=128)))
        np.testing.assert_allclose(in_scale(s), np.cos(m) * (6 - 2) / 8, rtol=1e-3)  # of 1 / (1 + s^2)
