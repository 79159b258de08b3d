"""The surrogate to every order, against enumeration: no sampling here, every outcome of the draws is summed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering

import jax_scorefn as sf
from jax_scorefn._surrogate import gradient_path, score_surrogate, self_normalized_surrogate

BITS = np.array([0.0, 1.0])


def dist(p, x):
    """Two coupled parameters and a bit."""
    return sf.Bernoulli(logits=p[0] + jnp.sin(p[1])).log_prob(x)


def f(x, p):
    return (1.0 + 2.0 * x) * jnp.cos(p[0] * p[1]) + x * p[0] ** 3


def derivative(order):
    def take(function):
        for i in range(order):
            function = jax.jacfwd(function) if i % 2 else jax.jacrev(function)
        return function

    return take


def mean_over_outcomes(p, order, num_draws, baseline="auto", estimate=None):
    """Mean of the order-th derivative of score_function over all outcomes of its draws."""

    def of_draws(xs):
        fam = sf.family(log_prob=dist, samples=xs, independent=True)

        def value(q):
            return sf.score_function(lambda x: f(x, q), fam, q, None, baseline=baseline)

        return derivative(order)(estimate(xs) if estimate else value)(p)

    return jax.jit(lambda: sf.testing.enumerate_draws(of_draws, dist, p, BITS, num_draws))()


@pytest.mark.parametrize(
    ("order", "num_draws"),
    covering([(0, 2), (1, 3), (2, 2), (3, 2), (0, 3), (1, 2), (2, 3), (3, 3)]),
)
def test_every_order_is_unbiased_with_leave_one_out_and_f_of_the_parameters(x64, order, num_draws):
    p = jnp.array([0.7, -0.4])
    exact = jax.jit(derivative(order)(sf.testing.enumerate_expectation(f, dist, BITS)))(p)
    np.testing.assert_allclose(mean_over_outcomes(p, order, num_draws), exact, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("baseline", [None, lambda values: 3.5])
@pytest.mark.parametrize("order", covering([1, 2, 3], lambda order: order if order < 3 else None))
def test_every_order_is_unbiased_with_other_baselines(x64, order, baseline):
    p = jnp.array([0.7, -0.4])
    exact = jax.jit(derivative(order)(sf.testing.enumerate_expectation(f, dist, BITS)))(p)
    np.testing.assert_allclose(mean_over_outcomes(p, order, 2, baseline), exact, rtol=1e-11, atol=1e-12)


@pytest.mark.default
def test_broken_twins_of_the_surrogate_fail_the_same_comparison(x64):
    """A plain f log p, a dropped df/dtheta, a mean with the draw itself, a flipped sign: each misses where it must."""
    p = jnp.array([0.7, -0.4])
    truth = sf.testing.enumerate_expectation(f, dist, BITS)

    def twin(surrogate):
        def estimate(xs):
            def value(q):
                values = jax.vmap(lambda x: f(x, q))(xs)
                log_probs = jax.vmap(lambda x: dist(q, x))(xs)
                return surrogate(values, log_probs)

            return value

        return estimate

    stop = jax.lax.stop_gradient
    twins = {
        "plain": (2, lambda v, lp: jnp.mean(stop(v) * lp + v)),
        "dropped": (1, lambda v, lp: score_surrogate(stop(v), lp, jnp.mean(v))),
        "in_sample_mean": (1, lambda v, lp: score_surrogate(v, lp, jnp.mean(v))),
        "flipped": (1, lambda v, lp: score_surrogate(v, -lp, 0.0)),
    }
    right = mean_over_outcomes(p, 1, 2, estimate=twin(lambda v, lp: score_surrogate(v, lp, 0.0)))
    exact = {order: jax.jit(derivative(order)(truth))(p) for order in (1, 2)}
    np.testing.assert_allclose(right, exact[1], rtol=1e-11)
    for name, (order, surrogate) in twins.items():
        got = mean_over_outcomes(p, order, 2, estimate=twin(surrogate))
        assert np.max(np.abs(got - exact[order])) > 0.01, name


def test_known_numbers_of_a_bernoulli(x64):
    coin = sf.family(lambda logit: sf.Bernoulli(logits=logit))
    mean = sf.testing.enumerate_expectation(lambda x: 1.0 + 2.0 * x, coin, BITS)
    for function in (mean, lambda t: sf.exact(lambda x: 1.0 + 2.0 * x, coin, t)):
        found = jax.jit(lambda t, f=function: (f(t), jax.grad(f)(t), jax.grad(jax.grad(f))(t)))(1.0)
        np.testing.assert_allclose(found, [2.46212, 0.39322, -0.18172], atol=6e-6)


@pytest.mark.statistical
def test_forward_over_grad_is_the_exact_hessian():
    coin = sf.family(lambda p: sf.Bernoulli(logits=p[0] + jnp.sin(p[1])))
    p = jnp.array([0.7, -0.4])

    def hessian(key):
        grad = lambda q, k: jax.grad(lambda r: sf.score_function(lambda x: f(x, r), coin, r, k, num_samples=16))(q)
        return jax.jacfwd(grad)(p, key)

    def of_grad_form(key):
        return jax.jacfwd(sf.score_function_grad, argnums=2)(lambda x: 1 + 2 * x, coin, p, key, num_samples=16)

    with jax.enable_x64(True):
        q = jnp.array([0.7, -0.4])
        exact = jax.jit(jax.hessian(sf.testing.enumerate_expectation(f, dist, BITS)))(q)
        exact_plain = jax.jit(jax.hessian(sf.testing.enumerate_expectation(lambda x: 1 + 2 * x, dist, BITS)))(q)
    runs = sf.testing.replicate(hessian, jax.random.key(1), 20_000, batch=20_000)
    sf.testing.assert_unbiased(runs, exact, precision=0.02)
    runs = sf.testing.replicate(of_grad_form, jax.random.key(2), 20_000, batch=20_000)
    sf.testing.assert_unbiased(runs, exact_plain, precision=0.02)


def test_magic_box_is_finite_where_the_log_probability_is_not():
    assert sf.magic_box(jnp.float32(-jnp.inf)) == 1.0
    assert jax.grad(lambda s: sf.magic_box(s))(-jnp.inf) == 1.0
    np.testing.assert_allclose(jax.grad(lambda s: sf.magic_box(2.0 * s, 3.0))(0.4), 6.0)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(lambda s: sf.magic_box(s**2))))(jnp.arange(3.0)), [0, 2, 4])


def test_self_normalized_surrogate_is_the_covariance_with_the_score(x64):
    values, weights = np.array([1.0, 4.0, -2.0]), np.array([0.5, 0.3, 1.2])
    scores = np.array([0.3, -0.7, 0.9])
    raised = lambda t: self_normalized_surrogate(values, scores * t + 100.0, weights)
    plain = lambda t: self_normalized_surrogate(values, scores * t, weights)
    tilted = lambda t: jnp.sum(weights * jnp.exp(scores * t) * values) / jnp.sum(weights * jnp.exp(scores * t))
    run = jax.jit(lambda t: (jax.grad(raised)(t), jax.grad(jax.grad(plain))(t), jax.grad(jax.grad(tilted))(t)))
    grad, hessian, exact = run(0.0)
    mean = np.sum(weights * values) / np.sum(weights)
    np.testing.assert_allclose(grad, np.sum(weights * (values - mean) * scores) / np.sum(weights), rtol=1e-12)
    np.testing.assert_allclose(hessian, exact, rtol=1e-12)


def test_variance_of_leave_one_out_is_the_tabulated_one():
    """One Bernoulli, f = (b - .499)^2 (Tucker 2017): .0056611 without a baseline, 1.476e-7 with one, two draws."""
    coin = sf.family(lambda p: sf.Bernoulli(logits=p))
    logit = float(np.log(0.1 / 0.9))
    for num, baseline, variance in ((1, None, 0.0056611), (2, "auto", 1.476e-7)):
        grad = lambda key: sf.score_function_grad(
            lambda x: (x - 0.499) ** 2,
            coin,
            logit,
            key,
            num_samples=num,
            baseline=baseline,
        )
        runs = sf.testing.replicate(grad, jax.random.key(5), 100_000, batch=100_000)
        sf.testing.assert_variance(runs, variance, precision=0.02, rounding=variance * 1e-4)
        sf.testing.assert_unbiased(runs, 1.8e-4, precision=2.0 if num == 1 else 0.02)


def test_the_score_part_is_the_gradient_of_half_the_sample_variance_for_a_log_ratio(x64):
    """VarGrad (Richter 2020): with f = log q - log target and f stopped, leave-one-out is that gradient at fixed draws."""
    xs, p = jnp.array([0.3, -1.0, 0.8, 2.0]), jnp.array([0.2, -0.3])
    log_q = lambda q, x: sf.Normal(loc=q[0], scale=jnp.exp(q[1])).log_prob(x)
    ratio = lambda q, x: log_q(q, x) + 0.5 * x**4
    fam = sf.family(log_prob=log_q, samples=xs, independent=True)
    stopped = lambda p: sf.score_function_grad(lambda x: jax.lax.stop_gradient(ratio(p, x)), fam, p, None)
    half_variance_of = jax.grad(lambda q: 0.5 * jnp.var(jax.vmap(lambda x: ratio(q, x))(xs), ddof=1))
    score_part, half_variance = jax.jit(lambda p: (stopped(p), half_variance_of(p)))(p)
    np.testing.assert_allclose(score_part, half_variance, rtol=1e-12)
    covariance = jax.jit(jax.grad(
        lambda q: jnp.sum((lambda v, s: (v - v.mean()) * (s - s.mean()))(
            jax.vmap(lambda x: ratio(p, x))(xs), jax.vmap(lambda x: log_q(q, x))(xs))) / 3
    ))(p)  # fmt: skip
    np.testing.assert_allclose(score_part, covariance, rtol=1e-12)


def test_magic_box_under_a_checkpointed_vmap_in_a_loop():
    """The value does not depend on s and the derivative does: mapped differently, they broke the checkpoint of a vmap."""
    chunk = jax.checkpoint(
        lambda p: jnp.sum(jax.vmap(lambda x: x * sf.magic_box(x * p))(jnp.arange(3.0))), prevent_cse=False
    )
    looped = lambda p: jnp.sum(jax.lax.map(lambda c: chunk(p + c), jnp.zeros(2)))
    np.testing.assert_allclose(jax.jit(jax.grad(looped))(0.5), 10.0)
    mapped = jax.jit(jax.grad(lambda p: jnp.sum(jax.lax.map(jax.checkpoint(
        lambda c: jax.vmap(lambda x: jnp.sum(sf.magic_box(jnp.stack([x * p, x]))))(c + jnp.arange(3.0))), jnp.zeros(2)))))  # fmt: skip
    np.testing.assert_allclose(mapped(0.5), 6.0)


def test_gradient_path_under_a_checkpointed_vmap_in_a_loop():
    """Its value is 0 whatever it is given, and mapped wherever one of the two is."""
    for each, exact in ((gradient_path, 6.0), (lambda p, s: gradient_path(p * s, jnp.float32(2.0)), 12.0)):
        chunk = jax.checkpoint(
            lambda p, each=each: jnp.sum(jax.vmap(lambda s: each(p, s))(jnp.arange(3.0))), prevent_cse=False
        )
        looped = lambda p, chunk=chunk: jnp.sum(jax.lax.map(lambda c: chunk(p + c), jnp.zeros(2)))
        assert jax.jit(jax.value_and_grad(looped))(0.5) == (0.0, exact)
