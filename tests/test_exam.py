"""The exam: every law x estimator x {eager, jit, vmap, grad, float32, float64}, and lowering for CUDA and TPU.

A law without a case or an estimator without options here fails, so nothing is added without sitting it.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, loss_of, params_of, truth

import jax_scorefn as sf
from jax_scorefn import distributions

SAMPLING = {"score_function": {"num_samples": 8}, "pathwise": {"num_samples": 8}}
OPTIONS = {**SAMPLING, "exact": {}}
REPLICATES, PRECISION = 10_000, 0.08


def _works(name, estimator):
    case = CASES[name]
    return not sf.ESTIMATORS[estimator].missing(case.family.at(params_of(name, jnp.float32)))


PAIRS = [(name, estimator) for name in CASES for estimator in OPTIONS if _works(name, estimator)]
REFUSED = [(name, estimator) for name in CASES for estimator in OPTIONS if not _works(name, estimator)]


def test_every_law_and_every_estimator_sits_the_exam():
    laws = {
        name for name, kind in vars(distributions).items()
        if inspect.isclass(kind) and issubclass(kind, sf.Distribution) and kind not in (sf.Distribution,)
        and kind is not distributions.GivenDraws
    }  # fmt: skip
    assert laws == set(CASES)
    assert set(sf.ESTIMATORS) == set(OPTIONS)
    assert len(PAIRS) + len(REFUSED) == len(CASES) * len(OPTIONS)


def _covering():
    """Every pair in one precision at least; the full cross in the slow run."""
    for i, (name, estimator) in enumerate(pair for pair in PAIRS if pair[1] in SAMPLING):
        for j, dtype in enumerate(("float32", "float64")):
            marks = [] if j == (i % 3 == 0) else [pytest.mark.slow]
            yield pytest.param(name, estimator, dtype, marks=marks)


@pytest.mark.statistical
@pytest.mark.parametrize(("name", "estimator", "dtype"), list(_covering()))
def test_value_and_gradient_are_unbiased(name, estimator, dtype):
    exact = truth(name)
    with jax.enable_x64(dtype == "float64"):
        params = params_of(name, dtype)
        loss = jax.value_and_grad(loss_of(name, estimator, **OPTIONS[estimator]))
        runs = sf.testing.replicate(lambda key: loss(params, key), jax.random.key(7), REPLICATES, batch=REPLICATES)
        assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(runs))
        sf.testing.assert_unbiased(runs, exact, precision=PRECISION, name=f"{estimator} on {name}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name, estimator in PAIRS if estimator == "exact"])
def test_exact_agrees_with_the_oracle(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        params = params_of(name, dtype)
        got = jax.jit(jax.value_and_grad(loss_of(name, "exact")))(params, None)
    rtol = max(CASES[name].exact_rtol, 2e-4 if dtype == "float32" else 1e-9)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(truth(name)), strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


BY_DEFAULT = ("Joint", "Normal")
"""Laws of which the default run evaluates the gradient eagerly, one compilation for each operation; the long run does it for all."""


@pytest.mark.parametrize(
    ("name", "estimator"),
    [pair if pair[0] in BY_DEFAULT else pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS],
)
def test_eager_jit_and_vmap_give_the_same_gradient(name, estimator):
    params = params_of(name, jnp.float32)
    grad = jax.grad(loss_of(name, estimator, **OPTIONS[estimator]))
    eager = grad(params, jax.random.key(3))
    jitted = jax.jit(grad)(params, jax.random.key(3))
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf + 0.01, leaf]), params)
    mapped = jax.jit(jax.vmap(grad))(stacked, jax.vmap(jax.random.key)(jnp.array([4, 3])))
    for e, j, m in zip(*(jax.tree.leaves(tree) for tree in (eager, jitted, mapped)), strict=True):
        assert e.shape == j.shape == m.shape[1:]
        scale = np.max(np.abs(e)) + 1e-3
        np.testing.assert_allclose(j, e, rtol=2e-4, atol=2e-4 * scale)
        np.testing.assert_allclose(m[1], e, rtol=2e-4, atol=2e-4 * scale)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize(("name", "estimator"), PAIRS)
def test_lowers_for_accelerators(name, estimator, platform):
    grad = jax.jit(jax.grad(loss_of(name, estimator, **OPTIONS[estimator])))
    lowered = grad.trace(params_of(name, jnp.float32), jax.random.key(0)).lower(lowering_platforms=(platform,))
    assert "func.func public @main" in lowered.as_text()


@pytest.mark.parametrize(("name", "estimator"), REFUSED)
def test_a_missing_capability_is_named(name, estimator):
    loss = loss_of(name, estimator, **OPTIONS[estimator])
    with pytest.raises(
        TypeError, match=rf"{estimator} needs a law that has \w+.*{name} has .*Estimators that work with it"
    ):
        loss(params_of(name, jnp.float32), jax.random.key(0))


@pytest.mark.slow
@pytest.mark.parametrize("transform", ["jvp", "checkpoint", "scan", "chunked", "hessian"])
@pytest.mark.parametrize(("name", "estimator"), PAIRS)
def test_full_cross_of_transforms(name, estimator, transform):
    options = dict(OPTIONS[estimator])
    params, key = params_of(name, jnp.float32), jax.random.key(3)
    loss = loss_of(name, estimator, **options)
    expected = jax.jit(jax.grad(loss))(params, key)
    key = jax.random.key(3)
    if transform == "jvp":
        one = jax.tree.map(jnp.ones_like, params)
        got = jax.jit(lambda p, k: jax.jvp(lambda q: loss(q, k), (p,), (one,))[1])(params, key)
        expected = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(expected))
    elif transform == "checkpoint":
        got = jax.jit(jax.grad(jax.checkpoint(loss)))(params, key)
    elif transform == "scan":
        got = jax.jit(lambda p, k: jax.lax.scan(lambda c, k: (c, jax.grad(loss)(p, k)), 0, k[None])[1])(params, key)
        got = jax.tree.map(lambda leaf: leaf[0], got)
    elif transform == "chunked":
        got = jax.jit(jax.grad(loss_of(name, estimator, **options, chunk_size=3)))(params, key)
    else:
        got = jax.jit(jax.hessian(loss))(params, key)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(got))
        return
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)


@pytest.mark.statistical
@pytest.mark.parametrize("name", ["gamma", pytest.param("beta", marks=pytest.mark.slow)])
def test_second_derivatives_along_the_implicit_path_are_unbiased(name):
    """E[x^2] has a closed form in both parameters; its Hessian through jax.random's implicit rules, against it."""
    law, second_moment = {
        "gamma": (lambda p: sf.Gamma(concentration=p[0], rate=p[1]), lambda p: p[0] * (p[0] + 1) / p[1] ** 2),
        "beta": (lambda p: sf.Beta(a=p[0], b=p[1]), lambda p: p[0] * (p[0] + 1) / (p[0] + p[1]) / (p[0] + p[1] + 1)),
    }[name]
    params = jnp.array([2.5, 1.5])
    hessian = jax.hessian(lambda p, key: sf.pathwise(jnp.square, sf.family(law), p, key, num_samples=100))
    runs = sf.testing.replicate(lambda key: hessian(params, key), jax.random.key(0), 2000)
    exact = jax.hessian(second_moment)(params)
    sf.testing.assert_unbiased(runs, exact, precision=0.02)
    with pytest.raises(AssertionError, match="is biased"):
        sf.testing.assert_unbiased(1.1 * runs, exact, precision=0.02)
