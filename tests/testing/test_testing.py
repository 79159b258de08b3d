"""The gates themselves: each passes a right estimator and fails its broken twin, and one that sees too little says so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from broken_twins import KINDS, twin

import jax_scorefn as sf
from jax_scorefn.testing import assert_unbiased, assert_variance, quadrature_expectation, replicate

NORMAL = sf.family(lambda m: sf.Normal(loc=m, scale=1.0))
RUNS = np.random.default_rng(0).normal(2.0, 1.0, (10_000, 3)).astype(np.float32)
pytestmark = pytest.mark.statistical


def test_assert_unbiased_passes_and_fails():
    z = assert_unbiased({"a": RUNS}, {"a": np.full(3, 2.0)}, precision=0.01)
    assert z["a"].shape == (3,) and np.all(np.abs(z["a"]) < 5)
    with pytest.raises(AssertionError, match=r"\['a'\]\[\d\].*is 2\.06, .* standard errors away \(allowed: 5"):
        assert_unbiased({"a": RUNS}, {"a": np.full(3, 2.06)}, precision=0.01)
    with pytest.raises(AssertionError, match="cannot be judged.*Use more replicates"):
        assert_unbiased(RUNS[:100], np.full(3, 2.0), precision=0.01)
    with pytest.raises(AssertionError, match="gave 1 non-finite numbers out of 30000"):
        assert_unbiased(
            np.where(np.arange(30_000).reshape(10_000, 3) == 5, np.nan, RUNS), np.full(3, 2.0), precision=0.01
        )
    with pytest.raises(ValueError, match="at least two replicates"):
        assert_unbiased(RUNS[:1], np.full(3, 2.0), precision=0.01)


def test_a_mean_without_variance_is_held_to_rounding():
    constant = np.full((100,), np.float32(0.1))
    assert_unbiased(constant, 0.1, precision=0.01)
    with pytest.raises(AssertionError, match="is biased"):
        assert_unbiased(constant, 0.1001, precision=0.01)


def test_assert_variance_passes_and_fails():
    np.testing.assert_allclose(assert_variance(RUNS, np.ones(3), precision=0.05), 1.0, atol=0.1)
    with pytest.raises(AssertionError, match=r"has the wrong variance: at the estimate\[1\] it is"):
        assert_variance(RUNS * np.array([1.0, 1.2, 1.1]), np.ones(3), precision=0.05)  # the worst is named
    with pytest.raises(AssertionError, match=r"at the estimate it is 0 \+- 0 .*; 9 was expected, -inf standard errors"):
        assert_variance(np.ones(10), 9.0, precision=0.05, rounding=0.0)
    with pytest.raises(AssertionError, match="cannot be judged"):
        assert_variance(RUNS[:50], np.ones(3), precision=0.05)


def test_the_gate_of_the_exam_fails_every_broken_twin():
    exact = 2 * 0.7 + 2 * 0.7
    assert_unbiased(replicate(twin("right"), jax.random.key(0), 10_000, batch=10_000), exact, precision=0.08)
    for kind in KINDS:
        with pytest.raises(AssertionError, match="is biased"):
            assert_unbiased(replicate(twin(kind), jax.random.key(0), 10_000, batch=10_000), exact, precision=0.08)


def test_the_oracles_agree_with_closed_forms(x64):
    square = quadrature_expectation(lambda x: (x + 3) ** 2, NORMAL, (-12.0, 14.0))
    bump = quadrature_expectation(lambda x: jnp.exp(-(x**2)), NORMAL, (-12.0, 14.0))
    two = quadrature_expectation(
        lambda x, m: x[0] * x[1] * m, sf.family(lambda m: sf.Normal(loc=jnp.stack([m, 2 * m]), scale=1.0)),
        [(-10.0, 10.0), (-10.0, 10.0)], panels=20, nodes=8,
    )  # fmt: skip
    squares, of_bump, of_two = jax.jit(lambda m, n: (
        (square(m), jax.grad(square)(m), jax.grad(jax.grad(square))(m)), jax.grad(bump)(m), jax.grad(two)(n)
    ))(1.0, 0.5)  # fmt: skip
    np.testing.assert_allclose(squares, [17.0, 8.0, 2.0], rtol=1e-10)
    np.testing.assert_allclose(of_bump, -0.27579, atol=5e-6)
    np.testing.assert_allclose(of_two, 6 * 0.5**2, rtol=1e-9)


@pytest.mark.slow  # by default the tests of the estimators have these variances
def test_known_variances_of_a_normal():
    """Mohamed et al. 2020, section 3: x ~ N(1, 1), derivative in the mean, one draw."""
    table = {
        lambda x: (x + 3) ** 2: (8, 495, 4), lambda x: (x - 1) ** 2: (0, 15, 4), lambda x: jnp.exp(-(x**2)): (-0.27579, 0.1758, 0.2117),
        lambda x: jnp.cos(5 * x): (2e-5, 0.5, 12.5),
    }  # fmt: skip
    for f, (gradient, score, path) in table.items():
        for estimator, variance, options in (
            (sf.score_function_grad, score, {"baseline": None}), (sf.pathwise_grad, path, {}),
        ):  # fmt: skip
            runs = replicate(
                lambda key, e=estimator, f=f, o=options: e(f, NORMAL, 1.0, key, num_samples=1, **o),
                jax.random.key(0), 200_000, batch=200_000,
            )  # fmt: skip
            assert_variance(runs, variance, precision=0.05)
            assert_unbiased(runs, gradient, precision=2 * np.sqrt(variance / 200_000) / (abs(gradient) or 1))
