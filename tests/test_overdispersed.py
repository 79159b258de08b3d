"""Counts that are more spread than their plain kin: NegativeBinomial and BetaBinomial, against SciPy, NumPyro and what they come from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import jax_scorefn as sf


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
