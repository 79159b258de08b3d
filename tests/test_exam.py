"""The exam: every distribution x estimator x {eager, jit, vmap, grad, float32, float64}, and lowering for CUDA and TPU.

A distribution without a case or an estimator without options here fails, so nothing is added without sitting it.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import BIASED, CASES, OPTIONS, PAIRS, REFUSED, SAMPLING, dist_of, loss_of, maker, params_of, truth
from covering import covering

import jax_scorefn as sf
from jax_scorefn import distributions

REPLICATES, PRECISION = 10_000, 0.08


def test_every_distribution_and_every_estimator_sits_the_exam():
    dists = {
        name for name, kind in vars(distributions).items()
        if inspect.isclass(kind) and issubclass(kind, sf.Distribution) and kind is not sf.Distribution
    } | {"FunctionDistribution", "GivenSupport"}  # fmt: skip
    assert dists == set(CASES)
    assert set(sf.ESTIMATORS) == set(OPTIONS)
    assert len(PAIRS) + len(REFUSED) == len(CASES) * len(OPTIONS)


UNBIASED = [
    (*pair, dtype)
    for pair in PAIRS
    if pair[1] in SAMPLING and pair[1] not in BIASED
    for dtype in ("float32", "float64")
]
"""By default every distribution, every estimator and both precisions."""


@pytest.mark.statistical
@pytest.mark.parametrize(("name", "estimator", "dtype"), covering(UNBIASED))
def test_value_and_gradient_are_unbiased(name, estimator, dtype):
    exact = truth(name, estimator)
    with jax.enable_x64(dtype == "float64"):
        params = params_of(name, dtype)
        loss = jax.value_and_grad(loss_of(name, estimator, **OPTIONS[estimator]))
        runs = sf.testing.replicate(lambda key: loss(params, key), jax.random.key(7), REPLICATES, batch=REPLICATES)
        assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(runs))
        # An estimate may have no variance, and then it has more digits than the oracle.
        rounding = max(64 * float(jnp.finfo(dtype).eps), 1e-12)
        sf.testing.assert_unbiased(runs, exact, precision=PRECISION, rounding=rounding, name=f"{estimator} on {name}")


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize(("name", "estimator"), [pair for pair in PAIRS if pair[1] in BIASED])
def test_a_declared_bias_is_there(name, estimator):
    """Who declares a bias that cannot be found declares too much. This objective is not quadratic."""
    params, loss = params_of(name, jnp.float32), jax.value_and_grad(loss_of(name, estimator, **OPTIONS[estimator]))
    runs = sf.testing.replicate(lambda key: loss(params, key), jax.random.key(7), 40_000, batch=10_000)
    with pytest.raises(AssertionError, match="is biased"):
        sf.testing.assert_unbiased(runs, truth(name), precision=PRECISION)


@pytest.mark.parametrize(
    ("name", "dtype"),
    covering(
        [(name, dtype) for name, estimator in PAIRS if estimator == "exact" for dtype in ("float64", "float32")],
        lambda name, dtype: (maker(name, "grid"), CASES[name].support is None),
        lambda name, dtype: dtype,
    ),
)
def test_exact_agrees_with_the_oracle(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        params = params_of(name, dtype)
        got = jax.jit(jax.value_and_grad(loss_of(name, "exact")))(params, None)
    rtol = max(CASES[name].exact_rtol, 2e-4 if dtype == "float32" else 1e-9)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(truth(name)), strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(
    ("name", "estimator"),
    covering(PAIRS, lambda name, estimator: estimator if name == "Normal" and estimator == "score_function" else None),
)
@pytest.mark.default
def test_eager_jit_and_vmap_give_the_same_gradient(name, estimator):
    params = params_of(name, jnp.float32)
    grad = jax.grad(loss_of(name, estimator, **OPTIONS[estimator]))
    eager = grad(params, jax.random.key(3))
    jitted = jax.jit(grad)(params, jax.random.key(3))
    stacked = jax.tree.map(lambda leaf: np.stack([leaf + np.float32(0.01), leaf]), jax.device_get(params))
    mapped = jax.jit(jax.vmap(grad))(stacked, jax.vmap(jax.random.key)(jnp.array([4, 3])))
    for e, j, m in zip(*(jax.tree.leaves(tree) for tree in (eager, jitted, mapped)), strict=True):
        assert e.shape == j.shape == m.shape[1:]
        scale = np.max(np.abs(e)) + 1e-3
        np.testing.assert_allclose(j, e, rtol=2e-4, atol=2e-4 * scale)
        np.testing.assert_allclose(m[1], e, rtol=2e-4, atol=2e-4 * scale)


@pytest.mark.parametrize(
    ("name", "estimator", "platform"), covering([(*pair, platform) for pair in PAIRS for platform in ("cuda", "tpu")])
)
def test_lowers_for_accelerators(name, estimator, platform):
    grad = jax.jit(jax.grad(loss_of(name, estimator, **OPTIONS[estimator])))
    lowered = grad.trace(params_of(name, jnp.float32), jax.random.key(0)).lower(lowering_platforms=(platform,))
    assert "func.func public @main" in lowered.as_text()


@pytest.mark.parametrize(("name", "estimator"), covering(PAIRS))
def test_single_precision_stays_that_where_doubles_are_on(name, estimator):
    """One constant in double precision is enough for a draw that no longer fits into the loop that makes it."""
    with jax.enable_x64(True):
        loss = loss_of(name, estimator, **OPTIONS[estimator])
        found = jax.eval_shape(jax.value_and_grad(loss), params_of(name, jnp.float32), jax.random.key(0))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(found)} == {"float32"}


@pytest.mark.parametrize(("name", "estimator"), covering(REFUSED))
def test_a_missing_capability_is_named(name, estimator):
    loss = loss_of(name, estimator, **OPTIONS[estimator])
    instead = (
        "Estimators that work with it|No other estimator of a bound"
        if name == "GivenDraws"
        else "Estimators that work with it"
    )
    with pytest.raises(TypeError, match=rf"{estimator} needs a distribution that has \w+.*{name} has .*({instead})"):
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
        if sf.ESTIMATORS[estimator].orders < 2:
            with pytest.raises(TypeError, match="estimates derivatives up to order"):
                jax.jit(jax.hessian(loss))(params, key)
            return
        if name == "Laplace" and estimator != "pathwise":  # its curvature in loc is in the corner, which no score sees
            with pytest.raises(TypeError, match="a corner"):
                jax.jit(jax.hessian(loss))(params, key)
            return
        got = jax.jit(jax.hessian(loss))(params, key)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(got))
        return
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("name", ["gamma", "beta"])
def test_second_derivatives_along_the_implicit_path_are_unbiased(name):
    """E[x^2] has a closed form in both parameters; its Hessian through jax.random's implicit rules, against it."""
    dist, second_moment = {
        "gamma": (lambda p: sf.Gamma(concentration=p[0], rate=p[1]), lambda p: p[0] * (p[0] + 1) / p[1] ** 2),
        "beta": (lambda p: sf.Beta(a=p[0], b=p[1]), lambda p: p[0] * (p[0] + 1) / (p[0] + p[1]) / (p[0] + p[1] + 1)),
    }[name]
    params = jnp.array([2.5, 1.5])
    hessian = jax.hessian(lambda p, key: sf.pathwise(jnp.square, sf.family(dist), p, key, num_samples=100))
    runs = sf.testing.replicate(lambda key: hessian(params, key), jax.random.key(0), 2000)
    exact = jax.jit(jax.hessian(second_moment))(params)
    sf.testing.assert_unbiased(runs, exact, precision=0.02)
    with pytest.raises(AssertionError, match="is biased"):
        sf.testing.assert_unbiased(1.1 * runs, exact, precision=0.02)


@pytest.mark.statistical
@pytest.mark.parametrize("estimator", sorted(sf.ESTIMATORS))
def test_orders_are_those_of_the_registry(estimator):
    """The Hessian is unbiased where the record allows it; the first derivative above the declared order raises."""
    record, name = sf.ESTIMATORS[estimator], "Bernoulli" if ("Bernoulli", estimator) in PAIRS else "Normal"
    loss = loss_of(name, estimator, **{"num_samples": 64} if estimator in SAMPLING else {})
    params, derivative = params_of(name, jnp.float32), loss
    if record.orders >= 2:
        exact = truth(name, estimator, hessian=True)[2]
        runs = sf.testing.replicate(lambda key: jax.hessian(loss)(params, key), jax.random.key(5), 4000, batch=2000)
        sf.testing.assert_unbiased(runs, exact, precision=0.08)
    if record.orders < 5:
        for _ in range(int(record.orders)):
            derivative = jax.jacrev(derivative)
        jax.eval_shape(derivative, params, jax.random.key(0))
        with pytest.raises(TypeError, match=f"{estimator} estimates derivatives up to order {record.orders}"):
            jax.eval_shape(jax.jacrev(derivative), params, jax.random.key(0))


def _proposal(name):
    """The distribution of the case at other parameters."""
    params = jax.tree.map(lambda leaf: 0.9 * leaf, params_of(name, jnp.float32))
    return CASES[name].family.at(params)


DELTA = sf.control_variates.delta
VARIANTS = {
    "optimal_constant": (None, {"baseline": sf.baselines.optimal_constant}),
    "self_critical": (sf.Capability.MODE, {"baseline": sf.baselines.self_critical}),
    "delta": (sf.Capability.MOMENTS, {"control_variate": DELTA()}),
    "fitted": (sf.Capability.MOMENTS, {"control_variate": DELTA(order=1, coefficient="fitted")}),
    "per_parameter": (sf.Capability.MOMENTS, {"control_variate": DELTA(order=1, coefficient="fitted_per_parameter")}),
    "antithetic": (sf.Capability.FROM_UNIFORM, {"scheme": sf.schemes.antithetic}),
    "stratified": (sf.Capability.FROM_UNIFORM, {"scheme": sf.schemes.stratified(4)}),
    "sobol": (sf.Capability.FROM_UNIFORM, {"scheme": sf.schemes.sobol(4)}),
    "proposal": (sf.Capability.SAMPLE, {"proposal": _proposal}),
    "everything": (
        sf.Capability.FROM_UNIFORM | sf.Capability.MOMENTS,
        {
            "num_samples": 16, "scheme": sf.schemes.antithetic, "proposal": _proposal,
            "control_variate": [DELTA(order=1, coefficient="fitted_per_parameter"), DELTA(coefficient="fitted")],
            "baseline": sf.baselines.optimal_constant,
        },
    ),
}  # fmt: skip
"""Options of the score function, and what a distribution needs for them."""
VARIANT_PAIRS = [
    (name, variant)
    for name, case in CASES.items()
    for variant, (needs, _) in VARIANTS.items()
    if needs is None or needs in dist_of(name).capabilities
]
EXAMPLES = ("Normal", "Bernoulli")
VARIED = covering(
    VARIANT_PAIRS,
    lambda name, variant: variant if name in EXAMPLES else None,
    lambda name, variant: name if name in EXAMPLES else None,
)


def _varied(name, variant, **more):
    options = {"num_samples": 8, **VARIANTS[variant][1], **more}
    if "proposal" in options:
        options["proposal"] = _proposal(name)
    return loss_of(name, "score_function", **options)


def test_every_variant_sits_the_exam_by_default():
    default = {param.values[1] for param in VARIED if not param.marks}
    assert default == set(VARIANTS)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("name", "variant"),
    [*VARIED, pytest.param("Joint", "per_parameter", id="draws with a key of their own", marks=pytest.mark.slow)],
)
def test_value_and_gradient_of_a_variant_are_unbiased(name, variant):
    params = params_of(name, jnp.float32)
    loss = jax.value_and_grad(_varied(name, variant))
    runs = sf.testing.replicate(lambda key: loss(params, key), jax.random.key(11), REPLICATES, batch=REPLICATES)
    sf.testing.assert_unbiased(runs, truth(name), precision=PRECISION, name=f"{variant} on {name}")


@pytest.mark.sharded
@pytest.mark.parametrize(
    ("name", "variant"),
    covering(
        VARIANT_PAIRS, lambda name, variant: variant if name in EXAMPLES and variant in ("sobol", "proposal") else None
    ),
)
@pytest.mark.default
def test_chunks_and_devices_change_no_variant(name, variant):
    mesh = jax.make_mesh((4,), ("draws",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("draws"))
    params = params_of(name, jnp.float32)
    whole, *others = (
        jax.jit(jax.grad(_varied(name, variant, **how)))(params, jax.random.key(3))
        for how in ({}, {"chunk_size": 3}, {"sharding": sharding})
    )
    for other in others:
        for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(whole), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4 * (1 + np.max(np.abs(b))))
