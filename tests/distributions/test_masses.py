"""Masses and densities whose terms cancel, in float32 against scipy in float64: value, first and second derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from covering import covering

import jax_scorefn as sf

BINOMIAL = sf.family(lambda p: sf.Binomial(total_count=50_000, probs=p))
CODED = sf.family(lambda l: sf.Binomial(total_count=50_000, logits=l))


def test_enumeration_of_a_large_binomial():
    """E[1] was 0.972 and E[x / n] 0.2917."""
    p, n = np.float32(0.3), 50_000
    run = jax.jit(lambda f, family, p: jax.value_and_grad(lambda p: sf.exact(f, family, p))(p), static_argnums=(0, 1))
    one, share = lambda x: jnp.ones((), jnp.float32), lambda x: x.astype(float) / n
    np.testing.assert_allclose(run(one, BINOMIAL, p), [1, 0], atol=2e-4)
    np.testing.assert_allclose(run(share, BINOMIAL, p), [p, 1], rtol=2e-4)
    logit = np.float32(np.log(0.3 / 0.7))
    np.testing.assert_allclose(run(share, CODED, logit), [0.3, 0.21], rtol=2e-4)


def binomial(n):
    def exact(p, k):
        score = (k - n * p) / (p * (1 - p))
        return scipy.stats.binom(n, p).logpmf(k), score, -k / p**2 - (n - k) / (1 - p) ** 2

    return (lambda p: sf.Binomial(total_count=n, probs=p)), exact, lambda p: (n * p, np.sqrt(n * p * (1 - p)), n)


def poisson_mass(rate, k):
    # scipy's own takes k log k from itself: beyond 1e6 it has fewer digits than what is tested
    d = (k - rate) / rate
    if rate > 1e5:
        return -rate * (d**2 / 2 - d**3 / 6 + d**4 / 12) - np.log(2 * np.pi * k) / 2
    return scipy.stats.poisson(rate).logpmf(k)


def gamma(a, x):
    return scipy.stats.gamma(a).logpdf(x), np.log(x) - scipy.special.digamma(a), -scipy.special.polygamma(1, a)


def beta(b):
    def exact(a, x):
        slope = np.log(x) - scipy.special.digamma(a) + scipy.special.digamma(a + b)
        return (
            scipy.stats.beta(a, b).logpdf(x),
            slope,
            scipy.special.polygamma(1, a + b) - scipy.special.polygamma(1, a),
        )

    def where(a):
        mean = a / (a + b)
        return mean, np.sqrt(mean * (1 - mean) / (a + b + 1)), 1

    return (lambda a: sf.Beta(a=a, b=b)), exact, where


def poisson(rate, k):
    return poisson_mass(rate, k), k / rate - 1, -k / rate**2


def negative_binomial(of_count):
    def exact(value, k):
        r, p = (value, 0.3) if of_count else (1e4, value)
        log_mass = scipy.stats.nbinom(r, 1 - p).logpmf(k)
        if of_count:
            psi = scipy.special.polygamma
            return log_mass, psi(0, k + r) - psi(0, r) + np.log1p(-p), psi(1, k + r) - psi(1, r)
        return log_mass, k / p - r / (1 - p), -k / p**2 - r / (1 - p) ** 2

    def where(value):
        r, p = (value, 0.3) if of_count else (1e4, value)
        return r * p / (1 - p), np.sqrt(r * p) / (1 - p), np.inf

    p32 = np.float32(0.3)
    if of_count:
        return (lambda r: sf.NegativeBinomial(total_count=r, probs=p32)), exact, where
    return (lambda p: sf.NegativeBinomial(total_count=1e4, probs=p)), exact, where


def beta_binomial(n, b):
    def exact(a, k):
        psi = scipy.special.polygamma
        derivative = lambda m: psi(m, k + a) - psi(m, a) + psi(m, a + b) - psi(m, n + a + b)
        return scipy.stats.betabinom(n, a, b).logpmf(k), derivative(0), derivative(1)

    def where(a):
        p = a / (a + b)
        return n * p, np.sqrt(n * p * (1 - p) * (a + b + n) / (a + b + 1)), n

    return (lambda a: sf.BetaBinomial(total_count=n, a=a, b=b)), exact, where


# distribution of one parameter; value, slope and curvature; mean, deviation and the end of its range
KINDS = {
    "Binomial 50": (*binomial(50), [0.02, 0.3, 0.99]),
    "Binomial 50,000": (*binomial(50_000), [1e-4, 0.3, 0.9999]),
    "Binomial 2^24": (*binomial(2**24), [1e-6, 0.3, 0.999]),
    "Poisson": (
        lambda rate: sf.Poisson(rate=rate),
        poisson,
        lambda rate: (rate, np.sqrt(rate), np.inf),
        [1e-3, 3.0, 15.5, 1e3, 1e6, 1e9],
    ),
    "Negative binomial, r": (*negative_binomial(True), [1e-3, 0.4, 3.0, 15.5, 1e3, 1e6]),
    "Negative binomial, p": (*negative_binomial(False), [1e-4, 0.3, 0.99]),
    "Beta-binomial": (*beta_binomial(50, 2.5), [0.3, 3.0, 1e3]),
    "Beta-binomial, large": (*beta_binomial(10**6, 1e4), [30.0, 1e4]),
    "Gamma": (
        lambda a: sf.Gamma(concentration=a, rate=1.0),
        gamma,
        lambda a: (a, np.sqrt(a), np.inf),
        [0.3, 3.0, 15.9, 16.1, 1e3, 1e5, 1e7],
    ),
    "Beta": (*beta(2.5), [0.3, 3.0, 1e3, 1e5]),
    "Beta, both large": (*beta(1e5), [0.3, 30.0, 1e3, 1e5]),
}


@pytest.mark.parametrize("name", covering(reversed(KINDS), lambda name: type(KINDS[name][0](KINDS[name][3][0]))))
@pytest.mark.float32
def test_log_probs_and_two_derivatives_near_the_mean_and_far_from_it(name):
    build, exact, where, params = KINDS[name]

    @jax.jit
    def run(p, x):
        """All at once: the coordinates are independent."""
        total = lambda p: jnp.sum(jax.vmap(lambda p, x: build(p).log_prob(x))(p, x))
        slope, curvature = jax.jvp(jax.grad(total), (p,), (jnp.ones_like(p),))
        return jax.vmap(lambda p, x: build(p).log_prob(x))(p, x), slope, curvature

    for p in np.float32(params):
        mean, deviation, end = where(float(p))
        least = 1 if name == "Negative binomial, r" else 0  # log q^r has no curvature in r
        x = np.clip(mean + deviation * np.array([-8, -3, -1, -0.1, 0, 0.1, 1, 3, 8]), least, end)
        if name.startswith(("Binomial", "Poisson", "Negative", "Beta-")):
            x = np.round(x).astype(np.int32)
        else:
            x = np.float32(np.where((x > mean / 100) & (x < end), x, mean))
        got = run(np.full(x.shape, p), x)
        value, slope, curvature = exact(float(p), x.astype(np.float64))
        # what a rounded mean or draw may do: a part of the distance to the mean, in deviations
        error = 4e-6 + 2e-7 * mean / deviation
        np.testing.assert_allclose(got[0], value, rtol=5e-6, atol=10 * error, err_msg=f"value at {p}")
        size = np.sqrt(np.abs(curvature)) + np.abs(slope)
        assert np.all(np.abs(got[1] - slope) <= 5 * error * size), f"slope at {p}"
        np.testing.assert_allclose(got[2], np.broadcast_to(curvature, x.shape), rtol=2e-5, err_msg=f"curvature at {p}")
