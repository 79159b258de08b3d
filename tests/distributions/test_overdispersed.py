"""Counts that are more spread than their plain kin: NegativeBinomial and BetaBinomial, against SciPy, NumPyro and what they come
from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import jax_scorefn as sf


@pytest.mark.slow
def test_the_convention_is_that_of_numpyro_and_not_that_of_scipy():
    numpyro = pytest.importorskip("numpyro.distributions")
    ours, k = sf.NegativeBinomial(total_count=2.5, probs=0.3), jnp.arange(6)
    log_probs = jax.vmap(ours.log_prob)(k)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        np.testing.assert_allclose(log_probs, numpyro.NegativeBinomialProbs(2.5, 0.3).log_prob(k), rtol=1e-5)
        logits = jnp.log(0.3 / 0.7)
        theirs = numpyro.NegativeBinomialLogits(2.5, logits)
        np.testing.assert_allclose(log_probs, theirs.log_prob(k), rtol=1e-5)
        np.testing.assert_allclose(sf.NegativeBinomial(total_count=2.5, logits=logits).mean(), theirs.mean, rtol=1e-5)
    np.testing.assert_allclose(log_probs, scipy.stats.nbinom(2.5, 0.7).logpmf(k), rtol=1e-5)


def test_one_failure_is_a_geometric_count_and_many_are_a_poisson_one():
    k = jnp.arange(30)
    one = jax.vmap(sf.NegativeBinomial(total_count=1.0, probs=0.4).log_prob)(k)
    np.testing.assert_allclose(one, jax.vmap(sf.Geometric(probs=0.6).log_prob)(k + 1), rtol=1e-5)
    many = jax.vmap(sf.NegativeBinomial(total_count=1e8, logits=jnp.log(3e-8)).log_prob)(k)
    np.testing.assert_allclose(many, jax.vmap(sf.Poisson(rate=3.0).log_prob)(k), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.statistical
def test_the_gradient_in_the_number_of_failures_by_score():
    """E[x^2] = m^2 + m / q for the mean m = r p / q. Without the digamma terms it would be biased."""
    family = sf.family(lambda r: sf.NegativeBinomial(total_count=r, probs=0.4))
    grad = lambda key, f: sf.score_function_grad(f, family, 3.0, key, num_samples=64)
    square = lambda x: x.astype(float) ** 2
    runs = sf.testing.replicate(lambda key: grad(key, square), jax.random.key(0), 4000)
    exact = jax.grad(lambda r: (r * 0.4 / 0.6) ** 2 + r * 0.4 / 0.36)(3.0)
    sf.testing.assert_unbiased(runs, exact, precision=0.02)
    halved = family.at(jax.lax.stop_gradient(3.0))  # log q^r alone: what is left when a count is taken for a constant
    twin = lambda key: jnp.mean(
        jax.vmap(lambda k: square(halved.sample(k)) * np.float32(np.log(0.6)))(jax.random.split(key, 64))
    )
    with pytest.raises(AssertionError, match="is biased"):
        sf.testing.assert_unbiased(sf.testing.replicate(twin, jax.random.key(0), 4000), exact, precision=0.02)


@pytest.mark.slow
def test_a_count_of_trials_with_a_drawn_probability():
    """Against NumPyro, the Binomial that it becomes, the sum over all counts, and at counts that there are not."""
    numpyro = pytest.importorskip("numpyro.distributions")
    k = jnp.arange(8)
    log_probs = jax.vmap(sf.BetaBinomial(total_count=7, a=2.5, b=0.7).log_prob)(k)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        np.testing.assert_allclose(log_probs, numpyro.BetaBinomial(2.5, 0.7, 7).log_prob(k), rtol=1e-4, atol=1e-5)
    sharp = jax.vmap(sf.BetaBinomial(total_count=7, a=3e7, b=7e7).log_prob)(k)
    np.testing.assert_allclose(sharp, jax.vmap(sf.Binomial(total_count=7, probs=0.3).log_prob)(k), rtol=1e-4)
    flat = jax.vmap(sf.BetaBinomial(total_count=7, a=1.0, b=1.0).log_prob)(k)
    np.testing.assert_allclose(flat, -np.log(8), rtol=1e-5)
    values = jax.vmap(sf.BetaBinomial(total_count=7, a=2.5, b=0.7).log_prob)(jnp.array([-1.0, 8.0, 2.5]))
    assert np.all(values == -np.inf)
    for n, a, b in ((50_000, 1e-3, 1e-3), (50_000, 20.0, 5e4), (3, 1e-6, 1e6)):
        one = jax.jit(
            lambda a, n=n, b=b: sf.exact(
                lambda x: jnp.float32(1), sf.family(lambda a: sf.BetaBinomial(total_count=n, a=a, b=b)), a
            )
        )
        np.testing.assert_allclose(one(a), 1, atol=2e-4)


@pytest.mark.parametrize(
    ("n", "a", "b"),
    [(10, 3.0, 2.0), (10, 0.5, 0.5), (10, 0.5, 2.0), (10, 2.0, 0.5), (0, 1.0, 1.0), (11, 1.5, 0.5), (9, 4.0, 4.0)],
)
def test_the_likeliest_count(n, a, b):
    dist = sf.BetaBinomial(total_count=n, a=a, b=b)
    log_probs = scipy.stats.betabinom(n, a, b).logpmf(np.arange(n + 1))
    assert log_probs[int(dist.mode())] >= log_probs.max() - 1e-6


@pytest.mark.slow
def test_a_traced_number_of_trials_is_drawn_and_scored(unchecked_keys):
    build = lambda q: sf.BetaBinomial(total_count=q["n"], a=q["a"], b=2.0)
    family, key = sf.family(build), jax.random.key(0)
    q = {"n": jnp.array([3, 0, 5]), "a": 1.5}
    grads = jax.jit(
        lambda q: sf.score_function_grad(lambda x: jnp.sum(x.astype(float)), family, q, key, num_samples=8000)
    )(q)
    np.testing.assert_allclose(grads["a"], 8 * 2 / 3.5**2, atol=0.2)
    same = sf.BetaBinomial(total_count=5, a=1.5, b=2.0)
    facts = lambda dist: ([dist.log_prob(x) for x in (0, 2, 5, 6, -1)], dist.mean(), dist.mode())
    for got, expected in zip(
        *map(jax.tree.leaves, jax.jit(lambda n: (facts(build({"n": n, "a": 1.5})), facts(same)))(5)), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=5e-6)  # folded by the compiler, or not
    with pytest.raises(TypeError, match="its total_count is a Python int"):
        build({"n": jnp.array(3), "a": 0.4}).grid()
    with pytest.raises(TypeError, match="total_count of a BetaBinomial was differentiated"):
        jax.grad(lambda n: build({"n": n, "a": 0.4}).log_prob(1))(3.0)
    with pytest.raises(ValueError, match="BetaBinomial got total_count=3000000000; its draws are int32"):
        sf.BetaBinomial(total_count=3_000_000_000, a=1.0, b=1.0).sample(key)
