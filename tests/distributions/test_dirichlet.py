"""Dirichlet: density, moments, tiny and huge concentrations, rows, the edge of the simplex, and the path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import jax_scorefn as sf


@jax.jit
def drawn_and_scored(a, keys):
    scored = lambda a, key: sf.Dirichlet(concentration=a).sample_and_log_prob(key)[::-1]
    (value, x), slope = jax.vmap(jax.value_and_grad(scored, has_aux=True), (None, 0))(a, keys)
    log_x = jax.vmap(lambda key: jax.nn.log_softmax(jax.random.loggamma(key, a)))(keys)
    return value, slope, x, log_x


@pytest.mark.parametrize("scale", [0.01, 1.0, 50.0, 1e4, 1e6])
@pytest.mark.float32
def test_densities_and_scores_of_any_concentration(scale):
    """In float32 at draws of the distribution, against scipy in float64 and the score log x + psi(A) - psi(a)."""
    a = np.float32(scale) * np.float32([0.3, 1.0, 2.5, 0.9])
    exact = np.float64(a)

    with jax.debug_key_reuse(False):
        value, slope, x, log_x = jax.device_get(drawn_and_scored(a, jax.random.split(jax.random.key(0), 200)))
    log_x = np.float64(log_x)
    log_x -= scipy.special.logsumexp(log_x, axis=1, keepdims=True)
    norm = scipy.special.gammaln(exact.sum()) - scipy.special.gammaln(exact).sum()
    expected = (exact - 1) @ log_x.T + norm
    error = 2e-5 + 1e-6 * np.sqrt(scale)  # what the rounding of a draw does, in deviations
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=10 * error + 2e-15 * abs(norm))
    score = log_x + scipy.special.digamma(exact.sum()) - scipy.special.digamma(exact)
    size = np.sqrt(scipy.special.polygamma(1, exact)) + np.abs(score)
    assert np.all(np.abs(slope - score) <= 5 * error * size)
    assert np.all(np.isfinite(value)) and np.allclose(x.sum(axis=1), 1, atol=1e-6)


def test_the_score_of_a_concentration_so_small_that_draws_are_corners():
    """0.001: three coordinates of four are 0 in float32, and their scores are finite with a mean of 0."""
    a = jnp.full(4, 1e-3)
    score = lambda key: jax.grad(lambda a: sf.Dirichlet(concentration=a).sample_and_log_prob(key)[1])(a)
    runs = sf.testing.replicate(score, jax.random.key(0), 20_000, batch=20_000)
    x = jax.jit(jax.vmap(sf.Dirichlet(concentration=a).sample))(jax.random.split(jax.random.key(1), 1000))
    assert np.mean(np.asarray(x) == 0) > 0.6
    assert np.all(np.isfinite(runs))
    z = runs.mean(axis=0) / (runs.std(axis=0) / np.sqrt(len(runs)))
    assert np.all(np.abs(z) < 5) and np.all(runs.std(axis=0) > 100)
    # the twin scores the draws as they are, with the smallest float for 0
    mean_log = jax.scipy.special.digamma(a) - jax.scipy.special.digamma(jnp.sum(a))
    as_drawn = lambda key: jnp.log(jnp.maximum(jax.random.dirichlet(key, a), 1e-37)) - mean_log
    runs = sf.testing.replicate(as_drawn, jax.random.key(0), 20_000, batch=20_000)
    with pytest.raises(AssertionError, match="is biased"):
        sf.testing.assert_unbiased(runs, np.zeros(4), precision=20.0)


@pytest.mark.slow
def test_rows_are_independent_and_their_log_densities_add_up(unchecked_keys):
    a = jnp.array([[2.0, 3.0, 1.0], [0.5, 0.5, 4.0]])
    whole = sf.Dirichlet(concentration=a)
    x, log_probs = whole.sample_and_log_probs(jax.random.key(0))
    assert x.shape == (2, 3) and log_probs.shape == (2,)
    one_by_one = [sf.Dirichlet(concentration=row).log_prob(part) for row, part in zip(a, x, strict=True)]
    np.testing.assert_allclose(log_probs, one_by_one, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(whole.log_prob(x), sum(one_by_one), rtol=1e-5)
    np.testing.assert_allclose(whole.mean(), a / a.sum(axis=1, keepdims=True), rtol=1e-6)
    grid = whole.grid(num_nodes=8)
    assert grid.points.shape == (8**4, 2, 3) and grid.log_probs.shape == (8**4,)
    moments = jax.jit(
        lambda a: sf.exact(
            lambda x: x[0, 0] * x[1, 2], sf.family(lambda a: sf.Dirichlet(concentration=a)), a, num_nodes=8
        )
    )
    smooth = jnp.array([[2.0, 3.0, 1.0], [1.0, 3.0, 4.0]])
    np.testing.assert_allclose(moments(smooth), 2 / 6 * 4 / 8, rtol=1e-4)
    for bad in (jnp.float32(1.0), jnp.zeros((2, 0))):
        with pytest.raises(ValueError, match="last axis of K >= 1 parts"):
            sf.Dirichlet(concentration=bad).mean()


scored = jax.jit(jax.value_and_grad(lambda a, x: sf.Dirichlet(concentration=a).log_prob(x)))


@pytest.mark.parametrize(
    ("a", "x", "expected"),
    [
        ([1.0, 1.0, 2.0], [0.0, 0.5, 0.5], scipy.stats.dirichlet([1, 1, 2]).logpdf([0.0, 0.5, 0.5])),
        ([2.0, 1.0, 2.0], [0.0, 0.5, 0.5], -np.inf), ([0.5, 1.0, 2.0], [0.0, 0.5, 0.5], np.inf),
        ([2.0, 1.0, 2.0], [0.3, 0.3, 0.3], -np.inf), ([2.0, 1.0, 2.0], [-0.2, 0.7, 0.5], -np.inf),
        ([2.0, 1.0, 2.0], [np.nan, 0.7, 0.5], np.nan), ([2.0], [1.0], 0.0),
    ],
)  # fmt: skip
def test_the_edge_of_the_simplex_and_what_is_off_it(a, x, expected):
    value, slope = scored(jnp.array(a), jnp.array(x))
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    assert np.all(np.isfinite(slope)) or np.isnan(expected)


@pytest.mark.slow
@pytest.mark.statistical
def test_second_derivatives_along_the_path_are_unbiased():
    """Of E[x_0 x_1] = a_0 a_1 / (A (A + 1)); a twin that is 10 % too large must fail."""
    family, a = sf.family(lambda a: sf.Dirichlet(concentration=a)), jnp.array([1.5, 2.5, 1.0])
    hessian = jax.hessian(lambda a, key: sf.pathwise(lambda x: x[0] * x[1], family, a, key, num_samples=100))
    runs = sf.testing.replicate(lambda key: hessian(a, key), jax.random.key(0), 2000)
    exact = jax.jit(jax.hessian(lambda a: a[0] * a[1] / (jnp.sum(a) * (jnp.sum(a) + 1))))(a)
    sf.testing.assert_unbiased(runs, exact, precision=0.02)
    with pytest.raises(AssertionError, match="is biased"):
        sf.testing.assert_unbiased(1.1 * runs, exact, precision=0.02)


@pytest.mark.slow
@pytest.mark.statistical
def test_the_path_of_tiny_concentrations_is_as_good_as_is_said():
    """Right down to .05 in float32; with all of a row at .01 the score function is right and the path is not."""
    family, f = sf.family(lambda a: sf.Dirichlet(concentration=a)), lambda x: x[0]
    slope = lambda a: np.float64([a * 2, -a, -a]) / (3 * a) ** 2  # of a_0 / A

    def runs(estimator, a):
        grad = lambda key: estimator(f, family, jnp.full(3, a), key, num_samples=100)
        return sf.testing.replicate(grad, jax.random.key(3), 2000)

    sf.testing.assert_unbiased(runs(sf.pathwise_grad, 0.05), slope(0.05), precision=0.1)
    sf.testing.assert_unbiased(runs(sf.score_function_grad, 0.01), slope(0.01), precision=0.5)
    with pytest.raises(AssertionError, match="is biased"):
        sf.testing.assert_unbiased(runs(sf.pathwise_grad, 0.01), slope(0.01), precision=0.5)
