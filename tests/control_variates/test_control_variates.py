"""Control variates and baselines, over every outcome of their draws: exact means of value, gradient and Hessian."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering
from told import mean_over_bits, mean_over_groups
from traced_once import with_hessian, with_jacobian

import jax_scorefn as sf
from jax_scorefn import baselines, control_variates

KNOWN, DELTA = control_variates.known, control_variates.delta
THETA = np.array([0.4, -0.7])
PROBS = 1 / (1 + np.exp(-np.array([THETA[0] + THETA[1], THETA[0] * THETA[1]])))


def logits(theta):
    return jnp.stack([theta[0] + theta[1], theta[0] * theta[1]])


BITS = sf.family(lambda theta: sf.Bernoulli(logits=logits(theta)))
ALL = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def f(x, theta):
    """Not linear, not separable, and a function of the parameters."""
    return jnp.exp(0.7 * x[0]) + x[0] * x[1] * (1 + theta[1] ** 2) + theta[0] * x[1]


def h(x):
    return x[0] + 0.5 * x[1] ** 3


def expected_h(theta):
    p = jax.nn.sigmoid(logits(theta))
    return p[0] + 0.5 * p[1]


OPTIONS = {
    "optimal constant": {"baseline": baselines.optimal_constant},
    "self-critical": {"baseline": baselines.self_critical},
    "a user's baseline": {"baseline": lambda v: (jnp.sum(v, keepdims=True) - v) ** 2 / 30},
    "delta 1": {"control_variate": DELTA(order=1)},
    "delta 2, no baseline": {"control_variate": DELTA(coefficient=0.6), "baseline": None},
    "delta 1, fitted": {"control_variate": DELTA(order=1, coefficient="fitted")},
    "delta 1, per parameter": {"control_variate": DELTA(order=1, coefficient="fitted_per_parameter")},
    "known": {"control_variate": KNOWN(h, expected_h, coefficient=1.7)},
    "known, per parameter": {"control_variate": KNOWN(h, expected_h, coefficient="fitted_per_parameter")},
    "known, self-critical": {"control_variate": KNOWN(h, expected_h), "baseline": baselines.self_critical},
    "three at once": {
        "control_variate": [
            KNOWN(h, expected_h, coefficient="fitted"), DELTA(order=1, coefficient="fitted_per_parameter"),
            KNOWN(lambda x: 3.0, 3.0, coefficient=0.3),
        ],
        "baseline": baselines.optimal_constant,
    },
}  # fmt: skip
DRAWS = {"three at once": 6}


DERIVATIVES = {1: jax.value_and_grad, 2: with_hessian}


@functools.cache
def exact(order):
    oracle = sf.testing.enumerate_expectation(lambda x, p: f(x, p), BITS, ALL)
    with jax.enable_x64(True):
        return jax.device_get(jax.jit(DERIVATIVES[order](oracle))(THETA))


def mean_of(options, order, num_draws, estimator=sf.score_function):
    def estimate(scheme):
        def loss(theta):
            options_ = {"num_samples": num_draws, "scheme": scheme, **options}
            return estimator(lambda x: f(x, theta), BITS, theta, jax.random.key(0), **options_)

        return DERIVATIVES[order](loss)(jnp.asarray(THETA))

    return mean_over_bits(estimate, PROBS, num_draws)


def assert_same(got, expected, rtol=1e-10):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(
    ("name", "order"),
    covering(
        [(name, order) for name in OPTIONS for order in (1, 2)],
        lambda name, order: order,
        lambda name, order: OPTIONS[name].get("baseline", "auto") or "none",
    ),
)
def test_every_one_is_unbiased_to_second_order(name, order, x64):
    draws = DRAWS.get(name, 5 if "per" in name or "fitted" in name else 4)
    rtol = 1e-8 if name == "three at once" else 1e-10  # two columns may be nearly one there, which magnifies rounding
    assert_same(mean_of(OPTIONS[name], order, draws), exact(order), rtol)
    assert sf.ESTIMATORS["score_function"].bias_with(BITS, **OPTIONS[name]) is sf.Bias.NONE


@pytest.mark.slow
def test_third_order_with_a_coefficient_for_each_parameter(x64):
    third = lambda loss, theta: jax.jacfwd(jax.hessian(loss))(theta)

    def estimate(scheme):
        options = {"num_samples": 4, "scheme": scheme, "baseline": baselines.optimal_constant}
        return third(
            lambda t: sf.score_function(lambda x: f(x, t), BITS, t, jax.random.key(0), **options), jnp.asarray(THETA)
        )

    got = mean_over_bits(estimate, PROBS, 4)
    expected = third(sf.testing.enumerate_expectation(lambda x, p: f(x, p), BITS, ALL), jnp.asarray(THETA))
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_double_control_variate_is_unbiased_to_second_order(x64):
    for coefficient in (1.0, -0.4):
        options = {"coefficient": coefficient}
        got = mean_of(options, 2, 3, sf.double_control_variate)
        assert_same(got, exact(2))
    assert sf.ESTIMATORS["double_control_variate"].orders == float("inf")


def test_twins_with_a_fault_are_caught(x64):
    """The same sum over outcomes finds a coefficient that saw its own draw, and an expectation that was forgotten."""
    truth = exact(1)
    twins = {
        "the draw's own value": {"baseline": lambda v: jnp.mean(v, keepdims=True)},
        "no expectation": {"control_variate": KNOWN(h, lambda theta: 0.0)},
        "an expectation without its derivative": {
            "control_variate": KNOWN(h, lambda theta: jax.lax.stop_gradient(expected_h(theta)))
        },
    }
    for twin, options in twins.items():
        with pytest.raises(AssertionError):
            assert_same(mean_of(options, 1, 4), truth, rtol=1e-3)
            pytest.fail(twin)


def test_values_with_a_shape_get_coefficients_of_their_own(x64):
    both = lambda x, theta: jnp.stack([f(x, theta), 3 * x[0] - x[1]])
    options = {"num_samples": 5, "control_variate": DELTA(order=1, coefficient="fitted_per_parameter")}

    def estimate(scheme):
        def loss(theta):
            return sf.score_function(lambda x: both(x, theta), BITS, theta, jax.random.key(0), scheme=scheme, **options)

        return with_jacobian(loss)(jnp.asarray(THETA))

    got = mean_over_bits(estimate, PROBS, 5)
    oracle = sf.testing.enumerate_expectation(lambda x, p: both(x, p), BITS, ALL)
    assert_same(got, jax.jit(with_jacobian(oracle))(THETA))


@pytest.mark.parametrize(
    "options", [{}, {"baseline": baselines.optimal_constant}], ids=["leave-one-out", "optimal constant"]
)
def test_groups_are_left_out_whole(options, x64):
    """Antithetic pairs, every outcome: a baseline of the other pairs is unbiased, one of the other draws is not."""
    family = sf.family(lambda theta: sf.Bernoulli(logits=theta))
    theta, p = jnp.log(3.0 / 5.0), 3 / 8
    pairs = 4 if options else 2

    def gradient(scheme, **options):
        return sf.score_function_grad(
            lambda x: 1 + 2 * x, family, theta, jax.random.key(0), num_samples=2 * pairs, scheme=scheme, **options
        )

    of_pair = lambda u: np.array([u, 1 - u])
    got = mean_over_groups(lambda scheme: gradient(scheme, **options), of_pair, 8, pairs)
    np.testing.assert_allclose(got, 2 * p * (1 - p), rtol=1e-12)
    alone = lambda v: (jnp.sum(v, keepdims=True) - v) / (len(v) - 1)
    wrong = mean_over_groups(lambda scheme: gradient(scheme, baseline=alone), of_pair, 8, pairs)
    assert abs(wrong / got - 1) > 0.05


def test_delta_of_a_quadratic_leaves_nothing(x64):
    matrix = jnp.array([[2.0, -0.5, 0.3], [-0.5, 1.0, 0.2], [0.3, 0.2, -1.0]])
    quadratic = lambda x: x @ matrix @ x + jnp.sum(3.0 * x) - 2.0
    params = {"loc": jnp.array([0.3, -1.0, 2.0]), "tril": jnp.array([[1.0, 0, 0], [0.4, 0.8, 0], [-0.2, 0.1, 1.5]])}
    family = sf.family(lambda p: sf.MultivariateNormal(loc=p["loc"], scale_tril=p["tril"]))
    mean = lambda p: (
        p["loc"] @ matrix @ p["loc"] + jnp.trace(matrix @ p["tril"] @ p["tril"].T) + 3 * jnp.sum(p["loc"]) - 2
    )

    def run(key, coefficient=1.0):
        options = {"num_samples": 8, "control_variate": DELTA(coefficient=coefficient)}
        return jax.value_and_grad(lambda p: sf.score_function(quadratic, family, p, key, **options))(params)

    value, grads = jax.jit(jax.value_and_grad(mean))(params)
    for coefficient in (1.0, "fitted"):
        got_value, got = jax.jit(lambda key, c=coefficient: run(key, c))(jax.random.key(0))
        np.testing.assert_allclose(got_value, value, rtol=1e-7)
        np.testing.assert_allclose(got["loc"], grads["loc"], rtol=1e-6)
        np.testing.assert_allclose(got["tril"], np.tril(grads["tril"]), rtol=1e-6, atol=1e-6)


def test_delta_in_a_joint_and_for_whole_numbers():
    """Parts with one moment each; draws that are ints are expanded between them."""
    family = sf.family(
        lambda p: sf.Joint({"n": sf.Poisson(rate=jnp.exp(p["r"])), "x": sf.Normal(loc=p["m"], scale=2.0)})
    )
    f = lambda x: jnp.asarray(x["n"]).astype(float) * x["x"] + x["x"] ** 2
    params = {"r": jnp.array(0.5), "m": jnp.array(-1.0)}
    run = lambda key, **o: sf.score_function_grad(f, family, params, key, num_samples=16, **o)
    plain, reduced = (
        sf.testing.replicate(lambda key, o=o: run(key, **o), jax.random.key(0), 4000, batch=4000)
        for o in ({}, {"control_variate": DELTA()})
    )
    exact = {"r": -np.exp(0.5), "m": np.exp(0.5) - 2}
    sf.testing.assert_unbiased(reduced, exact, precision=0.02)
    assert all(reduced[name].var() < 1e-6 * plain[name].var() for name in exact)


@pytest.mark.slow
def test_moments_and_modes_of_the_distributions():
    """Against their own draws, and against neighbours of the mode."""
    a, b = jnp.array([0.6, 2.5]), jnp.array([1.5, 0.7])
    dists = [
        sf.Normal(loc=a, scale=b), sf.Laplace(loc=a, scale=b), sf.Logistic(loc=a, scale=b), sf.Gumbel(loc=a, scale=b), sf.Exponential(rate=a), sf.Gamma(concentration=a, rate=b),
        sf.Weibull(concentration=a, scale=b), sf.Uniform(low=a - 3, high=b), sf.Beta(a=a, b=b), sf.Dirichlet(concentration=a), sf.Bernoulli(logits=a - 1), sf.Binomial(total_count=5, logits=a - 1),
        sf.Multinomial(total_count=6, logits=a), sf.Geometric(probs=a / 3), sf.BetaBinomial(total_count=6, a=a, b=b), sf.Poisson(rate=a), sf.NegativeBinomial(total_count=b + 1, logits=a - 2), sf.MultivariateNormal(loc=a, covariance=jnp.array([[2.0, 0.7], [0.7, 1.0]])),
    ]  # fmt: skip
    moded = [
        dist for dist in dists if sf.Capability.MODE in dist.capabilities and dist.name not in ("Gamma", "Weibull")
    ]
    greedy = sf.Autoregressive(
        step=lambda t, c, k: (c, t[k]), params=jnp.array([[0.0, 1.0], [2.0, 0.0]]), carry=(), length=3
    )
    support = sf.family(log_prob=lambda w, x: w * x, support=jnp.arange(1.0, 4.0))

    def around_the_mode(dist):
        mode = dist.mode()
        step = 1 if jnp.issubdtype(mode.dtype, jnp.integer) or dist.name == "Bernoulli" else 0.05
        units = np.concatenate([np.eye(2), -np.eye(2)]) * step
        return dist.log_prob(mode), jnp.stack([dist.log_prob(mode + jnp.asarray(unit, mode.dtype)) for unit in units])

    @jax.jit
    def run(keys):
        drawn = [jax.vmap(dist.sample)(of_dist).astype(float) for dist, of_dist in zip(dists, keys, strict=True)]
        means = [(dist.mean(), jnp.stack([dist.covariance_times(unit) for unit in jnp.eye(2)])) for dist in dists]
        known = [
            sf.Gamma(concentration=3.0, rate=2.0).mode(),
            sf.Categorical(logits=jnp.array([[0.0, 2.0, 1.0], [3.0, 0.0, 1.0]])).mode(),
            sf.Weibull(concentration=jnp.array([0.6, 2.0]), scale=2**0.5).mode(),
            greedy.mode(), support.at(2.0).mode(), support.at(-2.0).mode(),
        ]  # fmt: skip
        return drawn, means, [around_the_mode(dist) for dist in moded], known

    drawn, means, modes, known = jax.device_get(run(jax.random.split(jax.random.key(1), (len(dists), 20_000))))
    for dist, draws, (mean, covariance) in zip(dists, drawn, means, strict=True):
        error = draws.std(axis=0) / np.sqrt(20_000)
        assert np.all(np.abs(draws.mean(axis=0) - mean) < 5 * error), dist.name
        products = (draws - mean)[:, :, None] * (draws - mean)[:, None]
        error = products.std(axis=0) / np.sqrt(20_000)
        assert np.all(np.abs(products.mean(axis=0) - covariance) < 5 * error), dist.name
        assert np.any(np.abs(products.mean(axis=0) - 1.3 * covariance) > 5 * error), dist.name
    for dist, (highest, neighbours) in zip(moded, modes, strict=True):
        assert np.all(neighbours <= highest + 1e-5), dist.name
    for got, expected in zip(known, (1.0, [1, 0], [0, 1], [1, 0, 1], 3.0, 1.0), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("coefficient", ["fitted", "fitted_per_parameter"])
def test_a_baseline_may_be_one_number_for_all_draws(coefficient):
    normal = sf.family(lambda m: sf.Normal(loc=m, scale=1.0))
    control = DELTA(order=1, coefficient=coefficient)
    for baseline in (baselines.self_critical, baselines.batch_mean, lambda v: 3.0):
        options = {"num_samples": 8, "baseline": baseline, "control_variate": control}
        run = lambda key, options=options: sf.score_function_grad(jnp.sin, normal, 0.5, key, **options)
        assert np.isfinite(jax.jit(run)(jax.random.key(0)))


@pytest.mark.statistical
def test_the_second_pass_scores_the_draws_of_the_first_whatever_the_generator():
    """A sampler that branches on the parameters draws something else when it is mapped over them, with keys that do not promise
    otherwise."""

    def sampler(key, m):
        return jax.lax.cond(m > 0, lambda k: m + jax.random.normal(k), lambda k: m - jax.random.normal(k), key)

    family = sf.family(log_prob=lambda m, x: jax.scipy.stats.norm.logpdf(x - m), sampler=sampler)
    f = lambda x: jnp.stack([3 * x + jnp.sin(3 * x), x**2])
    options = {
        "num_samples": 16,
        "control_variate": KNOWN(lambda x: x, lambda m: m, coefficient="fitted_per_parameter"),
    }
    run = jax.jit(lambda key: jax.jacfwd(lambda m: sf.score_function(f, family, m, key, **options))(jnp.float32(0.8)))
    runs = np.stack([run(key) for key in jax.random.split(jax.random.key(5, impl="rbg"), 2000)])
    exact = np.array([3 + 3 * np.cos(2.4) * np.exp(-4.5), 1.6])
    sf.testing.assert_unbiased(runs, exact, precision=0.02)


def test_dtypes_do_not_meet_by_accident(x64):
    """A Python float beside a float32 leaf, a float32 proposal; half precision f; a float64 distribution under a float32 f."""
    family = sf.family(lambda p: sf.Normal(loc=p["m"], scale=p["s"]))
    q = sf.Normal(loc=jnp.float32(0), scale=jnp.float32(2))
    params = {"m": 0.5, "s": jnp.float32(1)}
    with jax.numpy_dtype_promotion("standard"):
        options = {"num_samples": 16, "proposal": q, "baseline": baselines.optimal_constant}
        grads = jax.jit(lambda: sf.score_function_grad(jnp.square, family, params, jax.random.key(0), **options))()
        assert all(np.isfinite(leaf) for leaf in grads.values())
    wide = sf.family(lambda m: sf.Normal(loc=m, scale=jnp.float64(1)))
    narrow = lambda key: sf.double_control_variate(lambda x: x.astype(jnp.float32), wide, jnp.float64(0.5), key)
    assert jax.eval_shape(narrow, jax.random.key(0)).dtype == jnp.float32
    both = [
        KNOWN(lambda x: x, lambda m: m, coefficient="fitted"),
        KNOWN(jnp.cos, lambda m: jnp.cos(m) * jnp.exp(-0.5), coefficient="fitted"),
    ]
    half = lambda x: (x**2).astype(jnp.float16)
    assert np.isfinite(
        jax.jit(lambda key: sf.score_function_grad(half, wide, 0.5, key, control_variate=both))(jax.random.key(0))
    )


def test_what_is_refused():
    normal = sf.family(lambda m: sf.Normal(loc=m, scale=1.0))
    category = sf.family(lambda l: sf.Categorical(logits=jnp.stack([l, 0.0])))
    uniform = sf.family(lambda w: sf.Uniform(low=0.0, high=1.0))
    run = lambda f=jnp.sin, family=normal, n=8, **o: jax.eval_shape(
        lambda m, key: sf.score_function_grad(f, family, m, key, num_samples=n, **o), 0.5, jax.random.key(0)
    )
    with pytest.raises(
        TypeError,
        match=r"delta\(order=2\) needs a distribution that has a known mean.*Categorical has .*control_variates.known",
    ):
        run(lambda x: x.astype(float), category, control_variate=DELTA())
    with pytest.raises(TypeError, match="control_variate is .* it got float"):
        run(control_variate=3.0)
    with pytest.raises(ValueError, match="coefficient of a control variate is a number, 'fitted'"):
        DELTA(coefficient="best")
    for wrong in (None, 1j, jnp.ones(2)):
        with pytest.raises(ValueError, match="coefficient of a control variate is a number"):
            DELTA(coefficient=wrong)
    with pytest.raises(ValueError, match="order 1 or 2, not 3"):
        DELTA(order=3)
    with pytest.raises(ValueError, match=r"has shape \(2,\) \(its value\); f has shape \(\)"):
        run(control_variate=KNOWN(lambda x: jnp.stack([x, x]), 0.0))
    with pytest.raises(ValueError, match="Fitting 1 coefficients .* at least 4 groups, and there are 3"):
        run(n=3, control_variate=DELTA(coefficient="fitted"))
    with pytest.raises(TypeError, match="self_critical needs a distribution that has a known mode; Uniform"):
        run(jnp.sin, uniform, baseline=baselines.self_critical)
    with pytest.raises(TypeError, match="h that depends on the parameters"):
        jax.eval_shape(jax.grad(lambda m: sf.score_function(
            jnp.sin, normal, m, jax.random.key(0), num_samples=8,
            control_variate=KNOWN(lambda x: m * x, lambda m: m**2, coefficient="fitted_per_parameter"),
        )), 0.5)  # fmt: skip
    unnormalized = sf.family(
        log_prob=lambda m, x: -((x - m) ** 2), sampler=lambda k, m: m + jax.random.normal(k), normalized=False
    )
    with pytest.raises(ValueError, match="brings a baseline of its own"):
        run(jnp.sin, unnormalized, baseline=baselines.batch_mean)
    with pytest.raises(TypeError, match="expectation subtracts.*not optimal_constant"):
        sf.expectation(
            lambda m, key: sf.sample(key, sf.Normal(loc=m, scale=1.0)),
            num_samples=8,
            baseline=baselines.optimal_constant,
        )


def test_without_a_baseline_delta_leaves_the_constant_on_the_score(x64):
    """A quadratic f: no variance with a baseline; without one that of E h times the mean score."""
    f, mean, num = lambda x: (x + 3.0) ** 2, 1.0, 8
    normal = sf.family(lambda m: sf.Normal(loc=m, scale=1.0))

    @jax.jit
    def run(keys):
        control = sf.control_variates.delta()
        one = lambda key, baseline: sf.score_function_grad(
            f, normal, mean, key, num_samples=num, control_variate=control, baseline=baseline, has_aux=True
        )
        return jax.vmap(lambda key: (one(key, "auto")[0], *one(key, None)))(keys)

    with jax.debug_key_reuse(False):
        quiet, noisy, info = jax.device_get(run(jax.random.split(jax.random.key(0), 50)))
    np.testing.assert_allclose(quiet, 8.0, rtol=1e-12)
    expected = (mean + 3.0) ** 2 + 1.0  # E h, times the score x - m
    np.testing.assert_allclose(noisy, 8.0 + expected * np.mean(info.samples - mean, axis=1), rtol=1e-10)
