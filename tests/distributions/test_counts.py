"""Counts beyond 65,536, up to what an int32 holds and beyond, in float32 and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from covering import covering

import jax_scorefn as sf

LARGE = {
    "Poisson 7e4": (lambda: sf.Poisson(rate=7e4), scipy.stats.poisson(7e4)),
    "Poisson 1e8": (lambda: sf.Poisson(rate=1e8), scipy.stats.poisson(1e8)),
    "Poisson 2e9": (lambda: sf.Poisson(rate=2e9), scipy.stats.poisson(2e9)),
    "NegativeBinomial 1e7": (
        lambda: sf.NegativeBinomial(total_count=50.0, logits=12.0),
        scipy.stats.nbinom(50.0, 1 / (1 + np.exp(12.0))),
    ),
    "BetaBinomial 1e6": (
        lambda: sf.BetaBinomial(total_count=10**6, a=2.0, b=500.0),
        scipy.stats.betabinom(10**6, 2.0, 500.0),
    ),
    "Binomial 1e6 .7": (
        lambda: sf.Binomial(total_count=10**6, probs=0.7),
        scipy.stats.binom(10**6, float(np.float32(0.7))),
    ),
    "Binomial 2^30 .25": (lambda: sf.Binomial(total_count=2**30, probs=0.25), scipy.stats.binom(2**30, 0.25)),
    "Binomial 1e8 rare": (
        lambda: sf.Binomial(total_count=10**8, probs=1e-6),
        scipy.stats.binom(10**8, float(np.float32(1e-6))),
    ),
    "Binomial 1e6 sure": (
        lambda: sf.Binomial(total_count=10**6, logits=14.0),
        scipy.stats.binom(10**6, 1 - 1 / (1 + np.exp(14.0))),
    ),
}


def p_value(draws, exact):
    """Chi-square over forty bins of the same size."""
    edges = np.unique(exact.ppf(np.linspace(0, 1, 41)[1:-1]))
    counts = np.histogram(draws, np.concatenate([[-np.inf], edges + 0.5, [np.inf]]))[0]
    probs = np.diff(np.concatenate([[0], exact.cdf(edges), [1]]))
    assert counts[probs == 0].sum() == 0
    return scipy.stats.chisquare(counts[probs > 0], len(draws) * probs[probs > 0]).pvalue


def quick(name):
    """SciPy's quantiles of the other distributions take seconds."""
    return LARGE[name][1].dist.name if name.startswith(("Poisson", "Binomial")) else None


@pytest.mark.statistical
@pytest.mark.parametrize("name", covering(LARGE, quick))
def test_large_counts_have_their_distribution(name):
    """Every count is there, the odd ones too. The samplers of jax.random, whose variance is up to 1.46 times that, must fail."""
    dist, exact = LARGE[name]
    draw = jax.jit(jax.vmap(lambda key: dist().sample(key)))
    draws = np.asarray(draw(jax.random.split(jax.random.key(3), 200_000)))
    assert draws.dtype == np.int32
    draws = draws.astype(np.float64)
    assert p_value(draws, exact) > 1e-4
    if exact.std() > 10:
        assert abs(np.mean(draws % 2) - 0.5) < 5 * 0.5 / np.sqrt(len(draws))


@pytest.mark.statistical
def test_draws_of_jax_random_are_found_out():
    keys = jax.random.split(jax.random.key(3), 200_000)
    poisson = jax.jit(jax.vmap(lambda key: jax.random.poisson(key, jnp.float32(1e8))))(keys)
    assert p_value(np.asarray(poisson, np.float64), scipy.stats.poisson(1e8)) < 1e-10
    with jax.debug_key_reuse(False):
        count = jax.jit(jax.vmap(lambda key: jax.random.binomial(key, jnp.float32(1e8), jnp.float32(1e-6))))(keys)
    assert p_value(np.asarray(count, np.float64), LARGE["Binomial 1e8 rare"][1]) < 1e-10


@pytest.mark.statistical
@pytest.mark.parametrize("estimator", ["score_function", "measure_valued"])
def test_the_gradient_at_a_rate_of_1e8(estimator):
    """It was 1.48 for 1. f counts from the rate, as a float32 has to."""
    family = sf.family(lambda rate: sf.Poisson(rate=rate))
    f = lambda x: (x - 100_000_000).astype(float)
    grad = getattr(sf, f"{estimator}_grad")
    if estimator == "measure_valued":  # f is linear: every pair differs by 1
        assert jax.jit(lambda key: grad(f, family, 1e8, key, num_samples=8))(jax.random.key(0)) == 1
        return
    value = jax.jit(lambda key: grad(f, family, 1e8, key, num_samples=100_000))(jax.random.key(0))
    np.testing.assert_allclose(value, 1, atol=5 * np.sqrt(2 / 100_000))


BEYOND = {
    "Poisson": (lambda p: sf.Poisson(rate=p), [3e9, 1e30, np.inf], 1e9),
    "NegativeBinomial": (lambda p: sf.NegativeBinomial(total_count=1e3, logits=p), [16.0, 50.0, np.inf], 5.0),
    "Geometric": (lambda p: sf.Geometric(probs=p), [1e-9, 1e-30], 1e-6),
    "Geometric in logits": (lambda p: sf.Geometric(logits=p), [-21.0, -100.0, -np.inf], -14.0),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    covering(
        [(name, dtype) for name in BEYOND for dtype in ("float32", "float64")],
        lambda name, _: name.split()[0],
        lambda _, dtype: dtype,
    ),
)
@pytest.mark.nans
def test_counts_beyond_an_int32_are_nan_and_never_clipped(name, dtype):
    """Geometric(1e-9) had the mean 8.8e8, and Poisson(3e9) was 2^31 with a gradient of 0."""
    build, beyond, right = BEYOND[name]
    f = lambda x: x.astype(dtype) * np.asarray(1e-9, dtype)
    with jax.enable_x64(dtype == "float64"):
        for estimator in (sf.score_function, sf.measure_valued):

            @jax.jit
            def run(p, key, estimator=estimator):
                return jax.value_and_grad(lambda p: estimator(f, sf.family(build), p, key, num_samples=8))(p)

            for p in beyond:
                assert np.all(np.isnan(run(np.asarray(p, dtype), jax.random.key(0)))), (estimator.__name__, p)
            assert np.all(np.isfinite(run(np.asarray(right, dtype), jax.random.key(0))))


def test_a_count_that_is_none_is_nan_as_a_proposal_and_given_counts_are_scored():
    small = sf.family(lambda p: sf.Geometric(probs=p))
    grad = lambda proposal: sf.score_function_grad(
        lambda x: x.astype(float), small, 0.1, jax.random.key(0), proposal=proposal
    )
    for proposal in (sf.Geometric(probs=1e-9), sf.Poisson(rate=3e9)):
        assert np.isnan(jax.jit(grad)(proposal))
    slope = jax.jit(jax.grad(lambda p: sf.Geometric(probs=p).log_prob(jnp.int32(1_000_000_000))))(1e-9)
    np.testing.assert_allclose(slope * 1e-9, 1 - 1e9 * 1e-9, atol=1e-6)


def test_more_trials_than_an_int32_holds_are_refused():
    with pytest.raises(ValueError, match="Binomial got total_count=3000000000; its draws are int32"):
        sf.Binomial(total_count=3_000_000_000, probs=0.5).sample(jax.random.key(0))


def test_one_count_beside_another_is_what_it_is_alone():
    """Large and small rates in one draw: each takes its own part of the sampler."""
    both = jax.jit(lambda rate: sf.Poisson(rate=rate).sample(jax.random.key(5)))
    alone = jax.random.poisson(jax.random.key(5), np.float32([3.0, 20.0]), dtype=jnp.int32)
    np.testing.assert_array_equal(both(np.float32([3.0, 20.0])), alone)
    first, second = both(np.float32([3.0, 1e8])), both(np.float32([5.0, 1e8]))
    assert first[1] == second[1] and abs(int(first[1]) - 10**8) < 1e5
