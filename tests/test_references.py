"""Every distribution that scipy has too, beside scipy's: density, draws, moments, mode, entropy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from cases import CASES, params_of
from covering import covering

import jax_scorefn as sf

NAMES = [name for name, case in CASES.items() if case.reference is not None]


def both(name, factor=1.0):
    """The distribution at the parameters of its case, and scipy's, of which they may be off by a factor."""
    params = params_of(name, jnp.float32)
    scaled = jax.tree.map(lambda leaf: factor * np.asarray(leaf, np.float64), params)
    return CASES[name].family.at(params), CASES[name].reference(scaled)


def log_density(reference, x):
    x = np.asarray(x, np.float64)
    return reference.logpdf(x) if hasattr(reference, "logpdf") else reference.logpmf(x)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.float32
def test_density_moments_mode_and_entropy(name):
    dist, reference = both(name)
    points = np.stack([np.broadcast_to(reference.ppf(q), dist.uniform_like().shape) for q in (0.02, 0.3, 0.77, 0.98)])

    @jax.jit
    def run(points):
        found = {"log_prob": jax.vmap(dist.log_prob)(points)}
        if sf.Capability.MOMENTS in dist.capabilities:
            found |= {"mean": dist.mean(), "var": dist.covariance_times(jnp.ones(dist.uniform_like().shape))}
        if sf.Capability.MODE in dist.capabilities:
            found |= {"mode": dist.log_prob(dist.mode())}
        return found if "entropy" in CASES[name].lacks else found | {"entropy": dist.entropy()}

    found = jax.device_get(run(np.float32(points)))
    assert found["log_prob"].dtype == np.float32
    expected = log_density(reference, np.float32(points))
    np.testing.assert_allclose(found["log_prob"], expected.reshape(len(points), -1).sum(axis=1), rtol=2e-5, atol=2e-6)
    for word in ("mean", "var"):
        if word in found:
            np.testing.assert_allclose(found[word], getattr(reference, word)(), rtol=3e-5)
    if "entropy" in found:
        np.testing.assert_allclose(found["entropy"], np.sum(reference.entropy()), rtol=3e-5)
    assert found.get("mode", np.inf) >= found["log_prob"].max() - 1e-6


@pytest.mark.statistical
@pytest.mark.parametrize("name", covering(NAMES, lambda name: CASES[name].dist.__mro__[1]))
def test_draws_have_the_density(name):
    """Their largest distance from the distribution function, which is found out where the parameters are off by 30 %."""
    dist, reference = both(name)
    draws = jax.jit(jax.vmap(dist.sample))(jax.random.split(jax.random.key(3), 40_000))
    first = np.asarray(draws, np.float64).reshape(len(draws), -1)[:, 0]

    def distance(reference):
        at = np.unique(first)
        cdf = np.asarray(reference.cdf(at[:, None] if np.size(reference.cdf(0.5)) > 1 else at)).reshape(len(at), -1)[
            :, 0
        ]
        empirical = np.searchsorted(np.sort(first), at, side="right") / len(first)
        return np.max(np.abs(empirical - cdf)) * np.sqrt(len(first))

    assert distance(reference) < 2.3  # once in 20,000 runs
    if name != "Uniform":  # its parameter moves the objective alone
        assert distance(both(name, 1.3)[1]) > 2.3


def test_what_the_twin_of_a_family_of_draws_looks_like():
    """The distance that is too large is that of a shifted density, and no artefact of the comparison."""
    draws = np.asarray(jax.random.normal(jax.random.key(0), (40_000,)))
    assert scipy.stats.kstest(draws, scipy.stats.norm().cdf).statistic * 200 < 2.3
    assert scipy.stats.kstest(draws, scipy.stats.norm(0.03).cdf).statistic * 200 > 2.3
