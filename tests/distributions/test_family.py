"""The four forms of a family, and what is refused in their place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn as sf

XS = jnp.arange(1.0, 5.0)


def test_a_family_is_a_logp_and_keeps_the_name_of_its_function():
    @sf.family
    def coin(logit):
        """A coin."""
        return sf.Bernoulli(logits=logit)

    np.testing.assert_allclose(coin(0.0, 1.0), np.log(0.5), rtol=1e-6)
    assert coin.__name__ == "coin" and coin.__doc__ == "A coin." and hash(coin) == hash(coin)
    static = jax.jit(sf.score_function, static_argnums=(0, 1))
    np.testing.assert_allclose(static(jnp.square, coin, 100.0, jax.random.key(0)), 1.0)


def test_two_plain_functions_agree_with_the_distribution_they_describe():
    """Gamma is drawn with a key for each draw, as two plain functions are: the very same draws."""
    functions = {
        "log_prob": lambda a, x: jax.scipy.stats.gamma.logpdf(x, a),
        "sampler": lambda key, a: jnp.exp(jax.random.loggamma(key, a)),
    }
    plain, dist = sf.family(**functions), sf.family(lambda a: sf.Gamma(concentration=a, rate=1.0))
    f = lambda x: x**2
    score = lambda family: jax.jit(lambda a, k: sf.score_function_grad(f, family, a, k))(1.4, jax.random.key(1))
    through = lambda family: jax.jit(lambda a, k: sf.pathwise_grad(f, family, a, k))(1.4, jax.random.key(1))
    np.testing.assert_allclose(score(plain), score(dist), rtol=1e-4)
    with pytest.raises(TypeError, match="pathwise needs a distribution that has reparameterized draws"):
        sf.pathwise(f, plain, 1.4, jax.random.key(1))
    path = sf.family(**functions, reparameterized=True)
    np.testing.assert_allclose(through(path), through(dist), rtol=1e-4)


def test_a_support_may_be_unnormalized(x64):
    faces = jnp.arange(1.0, 5.0)
    die = sf.family(log_prob=lambda w, face: w * face + 7.0, support=faces)
    mean = lambda w: jnp.sum(faces * jax.nn.softmax(w * faces))
    value, grad = (lambda w: sf.exact(lambda x: x, die, w)), (lambda w: sf.exact_grad(lambda x: x, die, w))
    got, wanted = jax.jit(
        lambda w: ((value(w), grad(w), jax.grad(grad)(w)), (mean(w), jax.grad(mean)(w), jax.grad(jax.grad(mean))(w)))
    )(0.3)  # fmt: skip
    np.testing.assert_allclose(got[:2], wanted[:2], rtol=1e-12)
    np.testing.assert_allclose(got[2], wanted[2], rtol=1e-11)
    runs = sf.testing.replicate(
        lambda key: sf.score_function_grad(lambda x: x, die, 0.3, key, num_samples=8),
        jax.random.key(0),
        5000,
        batch=5000,
    )
    sf.testing.assert_unbiased(runs, wanted[1], precision=0.03)
    with pytest.raises(ValueError, match="max_points=3"):
        sf.exact(lambda x: x, die, 0.3, max_points=3)


@pytest.mark.statistical
def test_given_draws_of_another_distribution_are_weighted():
    """Draws of N(0, 1.5^2) for expectations under N(m, 1): weighted, and self-normalised when constants are missing."""
    log_q = lambda x: jax.scipy.stats.norm.logpdf(x, 0.0, 1.5)
    log_p = lambda m, x: jax.scipy.stats.norm.logpdf(x, m, 1.0)
    f = lambda x: x**2

    def run(key, normalized, size):
        xs = 1.5 * jax.random.normal(key, (size,))
        shift = 0.0 if normalized else 3.0
        fam = sf.family(
            log_prob=lambda m, x: log_p(m, x) + shift, samples=xs, log_proposal=log_q(xs), normalized=normalized,
            independent=True,
        )  # fmt: skip
        return jax.value_and_grad(sf.score_function, argnums=2)(f, fam, 0.3, None)

    exact = (1 + 0.3**2, 0.6)
    runs = sf.testing.replicate(lambda key: run(key, True, 8), jax.random.key(0), 20_000, batch=20_000)
    sf.testing.assert_unbiased(runs, exact, precision=0.05)
    runs = sf.testing.replicate(lambda key: run(key, False, 4000), jax.random.key(0), 500, batch=500)
    sf.testing.assert_unbiased(runs, exact, precision=0.01)
    few = sf.testing.replicate(lambda key: run(key, False, 2), jax.random.key(0), 20_000, batch=20_000)
    with pytest.raises(AssertionError, match="is biased"):  # self-normalised: vanishing, and visible at two draws
        sf.testing.assert_unbiased(few, exact, precision=0.05)


def test_given_draws_second_order_is_that_of_importance_sampling(x64):
    xs = jnp.array([0.0, 1.0])
    log_q = jnp.log(jnp.array([0.3, 0.7]))
    coin = lambda p, x: sf.Bernoulli(logits=p).log_prob(x)

    def hessian(index):
        fam = sf.family(log_prob=coin, samples=xs[index], log_proposal=log_q[index], independent=True)
        return jax.grad(sf.score_function_grad, argnums=2)(lambda x: 1 + 2 * x, fam, 1.0, None)

    got = jax.jit(lambda: sf.testing.enumerate_draws(hessian, lambda _, i: log_q[i], None, jnp.arange(2), 2))()
    np.testing.assert_allclose(got, -0.18172, atol=6e-6)


def test_facts_of_given_draws_are_data():
    logp = lambda m, x: -((x - m) ** 2)
    assert sf.family(log_prob=logp, samples=XS).bias is sf.Bias.VANISHING
    assert sf.family(log_prob=logp, samples=XS, independent=True).bias is sf.Bias.NONE
    assert sf.family(log_prob=logp, samples=XS, independent=True, normalized=False).bias is sf.Bias.VANISHING
    fam = sf.family(log_prob=logp, samples=XS)
    _, info = jax.jit(lambda m: sf.score_function(jnp.sin, fam, m, None, has_aux=True))(0.0)
    np.testing.assert_array_equal(info.samples, XS)
    np.testing.assert_array_equal(info.weights, np.ones(4))
    chunked, whole = (
        jax.jit(lambda m, o=o: sf.score_function_grad(jnp.sin, fam, m, **o))(0.0) for o in ({"chunk_size": 3}, {})
    )
    np.testing.assert_allclose(chunked, whole, rtol=1e-6)


def test_what_is_refused():
    logp = lambda m, x: -((x - m) ** 2)
    bad = [
        {}, {"sampler": logp}, {"log_prob": logp, "samples": XS, "support": XS},
        {"log_prob": logp, "support": XS, "log_proposal": XS},
    ]  # fmt: skip
    for arguments in bad:
        with pytest.raises(TypeError, match="sf.family takes one of these forms; it got"):
            sf.family(**arguments)
    with pytest.raises(TypeError, match="sf.family takes one of these forms"):
        sf.family(logp, log_prob=logp)
    with pytest.raises(TypeError, match="A distribution of one draw is one of sf.distributions.*it is not float"):
        sf.score_function(jnp.sin, sf.family(lambda p: 3.0), 0.0, jax.random.key(0))
    fam = sf.family(log_prob=logp, samples=XS)
    with pytest.raises(ValueError, match="holds 4 given draws and num_samples=7"):
        sf.score_function(jnp.sin, fam, 0.0, None, num_samples=7)
    with pytest.raises(ValueError, match="leading axis of every leaf"):
        sf.score_function(lambda x: 0.0, sf.family(log_prob=logp, samples=(XS, XS[:2])), 0.0, None)
    with pytest.raises(ValueError, match=r"one number for each given draw, shape \(4,\)"):
        sf.score_function(jnp.sin, sf.family(log_prob=logp, samples=XS, log_proposal=XS[:2]), 0.0, None)


@pytest.mark.parametrize("with_key", [False, True])
def test_vargrad_on_given_draws_is_the_score_function_with_leave_one_out(with_key):
    """For an f that does not depend on the parameters; a key is allowed, and not needed."""
    fam = sf.family(log_prob=lambda m, x: -((x - m) ** 2) / 2, samples=jnp.array([0.1, -0.4, 0.9, 1.2]))
    for estimator in (sf.vargrad_grad, sf.score_function_grad):
        run = jax.jit(lambda m, key, estimator=estimator: estimator(jnp.square, fam, m, key, has_aux=True))
        grads, info = run(0.3, jax.random.key(0) if with_key else None)
        np.testing.assert_allclose(grads, 0.435, rtol=1e-5)
        np.testing.assert_allclose(info.samples, [0.1, -0.4, 0.9, 1.2])
    with pytest.raises(TypeError, match="vargrad estimates derivatives up to order 1"):
        jax.eval_shape(jax.grad(lambda m: sf.vargrad_grad(jnp.square, fam, m)), 0.3)
