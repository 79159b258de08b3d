"""Multinomial: masses of large counts, draws of large counts, rows, the support, probabilities of 0, traced trials."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from covering import covering

import jax_scorefn as sf


@pytest.mark.parametrize("n", [1, 50, 50_000, 10**8])
@pytest.mark.float32
def test_masses_and_scores_in_float32(n):
    """Near the mean and far from it, against scipy in float64 and the score k - n p."""
    logits = np.float32([0.3, -1.0, 0.0, -6.0])
    p = scipy.special.softmax(np.float64(logits))
    rng = np.random.default_rng(0)
    far = rng.multinomial(n, [0.25] * 4, 4)[: 4 if n < 10**5 else 0]
    k = np.concatenate([rng.multinomial(n, p, 8), far]).astype(np.int32)
    run = jax.vmap(jax.value_and_grad(lambda l, k: sf.Multinomial(total_count=n, logits=l).log_prob(k)), (None, 0))
    value, slope = jax.jit(run)(logits, k)
    expected = scipy.stats.multinomial(n, p / p.sum()).logpmf(k)
    deviations = np.sqrt(n * p * (1 - p))
    error = 4e-6 + 2e-7 * np.sqrt(n)  # what a rounded mean may do, in deviations
    away = 1 + np.abs(k - n * p).max(axis=1) / deviations.min()
    assert np.all(np.abs(value - expected) < 5e-6 * np.abs(expected) + 10 * error * away)
    assert np.all(np.abs(slope - (k - n * p)) < 5 * error * (deviations + np.abs(k - n * p)) + 1e-6)


@pytest.mark.statistical
@pytest.mark.parametrize("n", covering([30, 10**7]))
def test_draws_have_their_distribution_in_every_category(n):
    """Each count and each sum of two is binomial; a twin with probabilities that are off by 2 % must fail."""
    p = np.array([0.2, 0.05, 0.6, 0.15])
    dist = sf.Multinomial(total_count=n, probs=jnp.asarray(p, jnp.float32))
    draws = np.asarray(jax.jit(jax.vmap(dist.sample))(jax.random.split(jax.random.key(3), 100_000)))
    assert draws.dtype == np.int32 and np.all(draws.sum(axis=1) == n) and draws.min() >= 0

    def worst(p):
        values = []
        for some in ([0], [1], [2], [3], [0, 1], [1, 3]):
            exact = scipy.stats.binom(n, p[some].sum())
            edges = np.unique(exact.ppf(np.linspace(0, 1, 21)[1:-1]))
            found = np.histogram(draws[:, some].sum(axis=1), np.concatenate([[-np.inf], edges + 0.5, [np.inf]]))[0]
            probs = np.diff(np.concatenate([[0], exact.cdf(edges), [1]]))
            values.append(scipy.stats.chisquare(found, len(draws) * probs).pvalue)
        return min(values)

    assert worst(p) > 1e-4
    assert worst(p + 0.02 * np.array([1, -1, 1, -1]) * p.min()) < 1e-4 or n == 30
    assert worst(p + np.array([0.02, 0, -0.02, 0])) < 1e-4


@pytest.mark.slow
def test_rows_and_their_support(unchecked_keys):
    """Two rows of three categories: every pair of values, with the sum and the second moments of the distribution."""
    logits = jnp.array([[0.3, -0.5, 0.0], [1.0, 0.0, -jnp.inf]])
    dist = sf.Multinomial(total_count=3, logits=logits)
    grid = jax.jit(dist.grid)()
    assert grid.points.shape == (100, 2, 3) and len(np.unique(grid.points.reshape(100, -1), axis=0)) == 100
    assert np.all(grid.points.sum(axis=-1) == 3)
    np.testing.assert_allclose(jnp.sum(grid.weights), 1, rtol=1e-5)
    x = grid.points.astype(jnp.float32)
    np.testing.assert_allclose(jnp.tensordot(grid.weights, x, axes=1), dist.mean(), rtol=1e-5, atol=1e-6)
    v = jnp.arange(6.0).reshape(2, 3)
    along = jnp.sum((x - dist.mean()[None]) * v[None], axis=(1, 2))
    by_sum = jnp.tensordot(grid.weights * along, x - dist.mean()[None], axes=1)
    np.testing.assert_allclose(by_sum, dist.covariance_times(v), rtol=1e-4, atol=1e-5)
    sample, log_probs = dist.sample_and_log_probs(jax.random.key(0))
    assert log_probs.shape == (2,) and sample[1, 2] == 0
    np.testing.assert_allclose(jnp.sum(log_probs), dist.log_prob(sample), rtol=1e-6)
    with pytest.raises(
        ValueError, match=r"The grid of Multinomial has 1.769e\+05 points \(the ways to write 100 as a sum of 4"
    ):
        sf.Multinomial(total_count=100, logits=jnp.zeros(4)).grid()


@functools.cache
def likeliest(n):
    """Compiled once for all probabilities."""

    def run(probs):
        dist = sf.Multinomial(total_count=n, probs=probs)
        mode = dist.mode()
        return mode, dist.log_prob(mode), dist.grid().log_probs

    return jax.jit(run)


@pytest.mark.parametrize(
    "probs", [[0.2, 0.3, 0.5], [0.01, 0.01, 0.98], [0.25, 0.25, 0.5], [0.0, 0.4, 0.6], [0.34, 0.33, 0.33]]
)
@pytest.mark.parametrize("n", [0, 1, 4, 7])
def test_the_likeliest_counts(probs, n):
    mode, its_log_prob, log_probs = likeliest(n)(jnp.array(probs))
    assert int(mode.sum()) == n and its_log_prob >= np.max(log_probs) - 1e-5


def test_derivatives_in_probabilities_of_zero():
    """E[k_0 k_2] = n (n - 1) p_0 p_2 at p_2 = 0, where no draw has a k_2 above 0; its Hessian, too."""
    family = sf.family(lambda q: sf.Multinomial(total_count=4, probs=q))
    f = lambda k: (k[0] * k[2]).astype(float)
    closed = lambda q: 12 * q[0] * q[2] / jnp.sum(q) ** 2
    q = jnp.array([0.3, 0.7, 0.0])
    run = jax.jit(lambda q: (sf.exact_grad(f, family, q), jax.hessian(lambda q: sf.exact(f, family, q))(q)))
    for got, expected in zip(run(q), (jax.grad(closed)(q), jax.hessian(closed)(q)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_impossible_counts():
    dist = sf.Multinomial(total_count=3, logits=jnp.zeros(3))
    for x in ([1, 1, 2], [4, -1, 0], [3, 1, -1], [1.5, 1.5, 0.0], [2**31 - 1, 2**31 - 1, 5]):
        assert dist.log_prob(jnp.array(x)) == -np.inf, x
    for x in (jnp.array([jnp.nan, 1.0, 2.0]), jnp.array([-(2**31), 1, 2], jnp.int32)):
        assert np.isnan(dist.log_prob(x))


@pytest.mark.slow
def test_a_traced_number_of_trials_is_drawn_and_scored(unchecked_keys):
    build = lambda q: sf.Multinomial(total_count=q["n"], logits=q["l"])
    l, key = jnp.array([[0.3, 0.0, -0.4], [0.0, 0.5, 0.2]]), jax.random.key(0)
    x = jax.jit(lambda n: build({"n": n, "l": l}).sample(key))(jnp.array([5, 0]))
    np.testing.assert_array_equal(x.sum(axis=-1), [5, 0])
    at = jnp.array([[2, 1, 2], [1, 1, 1]])
    both = jax.jit(lambda n: [build({"n": n, "l": l}).log_prob(at), build({"n": n, "l": l}).mean()])(jnp.array([5, 3]))
    alone = [sf.Multinomial(total_count=n, logits=row) for n, row in zip((5, 3), l, strict=True)]
    np.testing.assert_allclose(both[0], sum(dist.log_prob(k) for dist, k in zip(alone, at, strict=True)), rtol=1e-5)
    np.testing.assert_allclose(both[1], jnp.stack([dist.mean() for dist in alone]), rtol=1e-6)
    made = jax.vmap(lambda l: build({"n": jnp.array(4), "l": l}))(l)
    assert made.total_count.shape == (2,) and made.sample(key).shape == (2, 3)
    with pytest.raises(TypeError, match="exact needs a distribution that has a support that can be listed"):
        sf.exact(lambda k: 0.0, sf.family(build), {"n": jnp.array(3), "l": l})
    with pytest.raises(TypeError, match="total_count of a Multinomial was differentiated"):
        jax.grad(lambda n: build({"n": n, "l": l}).log_prob(at))(jnp.array([5.0, 3.0]))
    for bad in (-1, 2.5):
        assert np.isnan(jax.jit(lambda n: build({"n": n, "l": l}).log_prob(at))(bad))


def test_one_row_by_choices_is_as_good_as_by_the_sum():
    """rao_blackwell of a single row sums over its values, so it is exact."""
    family = sf.family(lambda l: sf.Multinomial(total_count=3, logits=l))
    f, l = lambda k: jnp.sin((k[0] + 2 * k[1]).astype(float)), jnp.array([0.3, -0.2, 0.5])
    summed = jax.jit(lambda l, key: sf.rao_blackwell_grad(f, family, l, key, num_samples=2))(l, jax.random.key(0))
    np.testing.assert_allclose(summed, jax.jit(lambda l: sf.exact_grad(f, family, l))(l), rtol=1e-4, atol=1e-6)
