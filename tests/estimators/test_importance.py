"""Draws of another distribution: weights in log space, ratios where a constant is missing, cuts that say that they are biased."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering
from told import mean_over_bits
from traced_once import with_hessian

import jax_scorefn as sf
from jax_scorefn import baselines

THETA = np.array([0.4, -0.7])
BITS = sf.family(lambda theta: sf.Bernoulli(logits=theta * theta[::-1] + theta))
ALL = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Q = np.array([0.3, 0.6])
NORMAL = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))


def f(x, theta):
    return jnp.exp(0.7 * x[0]) + x[0] * x[1] * (1 + theta[1] ** 2)


@functools.cache
def exact():
    oracle = sf.testing.enumerate_expectation(lambda x, p: f(x, p), BITS, ALL)
    with jax.enable_x64(True):
        return jax.device_get(jax.jit(with_hessian(oracle))(THETA))


def mean_of(num_draws=3, **options):
    theta = jnp.asarray(THETA)

    def estimate(scheme):
        loss = lambda theta: sf.score_function(
            lambda x: f(x, theta), BITS, theta, jax.random.key(0), num_samples=num_draws, scheme=scheme,
            proposal=sf.Bernoulli(probs=jnp.asarray(Q)), **options,
        )  # fmt: skip
        return with_hessian(loss)(theta)

    return mean_over_bits(estimate, Q, num_draws)


@pytest.mark.parametrize(
    "options",
    covering(
        [
            {}, {"baseline": None}, {"num_draws": 4, "baseline": baselines.optimal_constant},
            {"num_draws": 4, "control_variate": sf.control_variates.delta(order=1, coefficient="fitted_per_parameter")},
        ],
        lambda options: str(options.get("baseline", "auto")) if "control_variate" not in options else None,
    ),
    ids=["leave-one-out", "none", "optimal constant", "per parameter"],
)  # fmt: skip
def test_a_proposal_is_unbiased_to_second_order(options, x64):
    for a, b in zip(mean_of(**options), exact(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def test_cut_weights_are_biased_and_say_so(x64):
    record = sf.ESTIMATORS["score_function"]
    assert record.bias_with(BITS, max_weight=1.2) is sf.Bias.BIASED
    assert record.bias_with(BITS) is sf.Bias.NONE
    gradient = mean_of(max_weight=1.2)[1]
    assert np.max(np.abs(gradient - exact()[1])) > 1e-3
    np.testing.assert_allclose(mean_of(max_weight=1e3)[1], exact()[1], rtol=1e-9)


def test_facts_of_a_call_are_data():
    record = sf.ESTIMATORS["score_function"]
    density = sf.family(log_prob=lambda m, x: -((x - m) ** 2), normalized=False)
    chain = sf.family(log_prob=lambda m, x: -((x - m) ** 2), samples=jnp.arange(4.0))
    assert record.bias_with(density) is record.bias_with(chain) is sf.Bias.VANISHING
    assert record.bias_with(BITS, baseline=baselines.batch_mean) is sf.Bias.VANISHING
    assert record.bias_with(chain, max_weight=2.0, baseline="auto") is sf.Bias.BIASED


@pytest.mark.statistical
def test_a_good_proposal_has_less_variance_and_a_rare_event_is_seen():
    """P(x > 4) under N(0, 1), and its derivative, which no plain draw sees: the density at 4."""
    exact = np.exp(-8.0) / np.sqrt(2 * np.pi)
    f = lambda x: x > 4.0
    grad = lambda key, **o: sf.score_function_grad(f, NORMAL, 0.0, key, num_samples=256, **o)
    runs = sf.testing.replicate(
        lambda key: grad(key, proposal=sf.Normal(loc=4.0, scale=1.0), baseline=None), jax.random.key(0), 2000
    )
    sf.testing.assert_unbiased(runs, exact, precision=0.02)
    plain = sf.testing.replicate(lambda key: grad(key), jax.random.key(0), 2000)
    assert plain.var() > 1000 * runs.var()


def test_effective_sample_size():
    run = jax.jit(lambda q: sf.score_function(
        jnp.sin, NORMAL, 0.0, jax.random.key(0), num_samples=2000, proposal=q, has_aux=True
    )[1])  # fmt: skip
    for shift in (0.0, 0.5, 1.0):
        info = run(sf.Normal(loc=shift, scale=1.0))
        share = info.effective_sample_size / 2000
        assert abs(share - np.exp(-(shift**2))) < 0.1  # E_q w^2 = exp(shift^2)
    plain = jax.jit(lambda k: sf.score_function(jnp.sin, NORMAL, 0.0, k, num_samples=2000, has_aux=True)[1])(
        jax.random.key(0)
    )
    assert plain.effective_sample_size == 2000.0
    far = run(sf.Normal(loc=6.0, scale=1.0))
    assert 1 <= far.effective_sample_size < 20


# A density without its constant: exp(-(x - m)^4 / s), whose log Z is not known

ENERGY = lambda params, x: -((x - params["m"]) ** 4) / jnp.exp(params["s"]) - 0.3 * x**2
PARAMS = {"m": jnp.array(0.4), "s": jnp.array(0.2)}


def energy_truth():
    """By quadrature of the normalised density."""
    x = np.linspace(-8, 8, 20_001)

    def mean(params):
        weights = jax.nn.softmax(jax.vmap(lambda x: ENERGY(params, x))(jnp.asarray(x)))
        return jnp.sum(weights * (jnp.asarray(x) + jnp.cos(2 * jnp.asarray(x))))

    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), PARAMS)
        return jax.device_get(jax.jit(jax.value_and_grad(mean))(params))


@pytest.mark.statistical
@pytest.mark.parametrize("form", covering(["proposal", "given draws"]))
def test_the_constant_of_a_density_cancels(form):
    q = sf.Normal(loc=0.2, scale=1.0)
    cost = lambda x: x + jnp.cos(2 * x)
    density = sf.family(log_prob=ENERGY, normalized=False)

    def run(key, offset=0.0):
        if form == "proposal":
            shifted = sf.family(log_prob=lambda p, x: ENERGY(p, x) + offset, normalized=False)
            loss = lambda p: sf.score_function(cost, shifted, p, key, num_samples=400, proposal=q)
        else:
            xs = jax.vmap(q.sample)(jax.random.split(key, 400))
            family = sf.family(
                log_prob=lambda p, x: ENERGY(p, x) + offset, samples=xs, log_proposal=jax.vmap(q.log_prob)(xs), normalized=False,
                independent=True,
            )  # fmt: skip
            loss = lambda p: sf.score_function(cost, family, p, None)
        return jax.value_and_grad(loss)(PARAMS)

    runs = sf.testing.replicate(run, jax.random.key(0), 4000)
    value, grads = energy_truth()
    assert abs(runs[0].mean() - value) < 0.002 + 5 * runs[0].std() / 63  # vanishing, as declared
    for name in grads:
        assert abs(runs[1][name].mean() - grads[name]) < 0.004 + 5 * runs[1][name].std() / 63
    both = jax.jit(run)
    a, b = both(jax.random.key(1)), both(jax.random.key(1), 1000.0)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-4)  # 1000 takes digits of the energy
    assert sf.ESTIMATORS["score_function"].bias_with(density) is sf.Bias.VANISHING


@pytest.mark.statistical
def test_a_sampler_of_an_unnormalized_density_is_normalised_by_its_draws():
    """Log p without -log Z(theta): the plain score would lack d log Z."""
    sampler = lambda key, rate: jax.random.exponential(key) / rate
    family = sf.family(log_prob=lambda rate, x: -rate * x, sampler=sampler, normalized=False)
    grad = lambda key: sf.score_function_grad(lambda x: x, family, 2.0, key, num_samples=1000)
    runs = sf.testing.replicate(grad, jax.random.key(0), 1000)
    sf.testing.assert_unbiased(runs * 1000 / 999, -0.25, precision=0.01)
    assert family.bias is sf.Bias.VANISHING


@pytest.mark.parametrize("log_ratio", [1e3, -1e3])
def test_28_a_ratio_beyond_all_numbers_is_cut_before_it_is_one(log_ratio):
    """The gradients of cut weights, and of ratios of weights, are finite where the weight itself is not."""
    log_prob = lambda m, x: -((x - m) ** 2) / 2
    xs = np.float32([0.3, -1.0, 2.0, 0.5])
    far = log_prob(0.0, xs) - np.float32([log_ratio, 0.0, 0.0, 0.1])
    loss = lambda family, **o: lambda m: sf.score_function(jnp.sin, family, m, None, **o)

    @jax.jit
    def run(m, far):
        families = [sf.family(log_prob=log_prob, samples=xs, log_proposal=far, normalized=n) for n in (True, False)]
        cut = [loss(family, max_weight=5.0) for family in families]
        return [(jax.value_and_grad(f)(m), jax.grad(jax.grad(f))(m)) for f in cut], jax.value_and_grad(
            loss(families[1])
        )(m)

    found = jax.tree.leaves(run(0.0, far))
    assert len(found) == 8 and np.all(np.isfinite(found))


def test_a_proposal_equal_to_the_distribution_weighs_1_whatever_rounds():
    for make, at in ((lambda l: sf.TanhNormal(loc=l, scale=1.0), 8.0), (lambda l: sf.Normal(loc=l, scale=1.0), 1e4)):
        run = jax.jit(lambda at, k, make=make: sf.score_function(
            lambda x: x, sf.family(make), at, k, num_samples=200, proposal=make(at), has_aux=True
        ))  # fmt: skip
        _, info = run(at, jax.random.key(0))
        np.testing.assert_array_equal(info.weights, 1.0)


@pytest.mark.statistical
def test_a_constant_that_lacks_is_noticed_in_the_proposal_and_in_parts():
    """The weights are ratios as soon as one of the two densities lacks its constant; and so is the score."""
    half = sf.family(
        log_prob=lambda m, x: -((x - m) ** 2) / 8, sampler=lambda k, m: m + 2 * jax.random.normal(k), normalized=False
    )
    value = lambda key: sf.score_function(lambda x: x**2, NORMAL, 0.0, key, num_samples=2000, proposal=half.at(0.0))
    runs = sf.testing.replicate(value, jax.random.key(0), 500)
    sf.testing.assert_unbiased(runs, 1.0, precision=0.01)
    assert sf.ESTIMATORS["score_function"].bias_with(NORMAL, proposal=half.at(0.0)) is sf.Bias.VANISHING
    shifted = sf.family(
        log_prob=lambda m, x: -((x - m) ** 2) / 2 + 3 * m,
        sampler=lambda k, m: m + jax.random.normal(k),
        normalized=False,
    )
    joint = sf.family(lambda m: sf.Joint({"a": shifted.at(m)}))
    grad = lambda key: sf.score_function_grad(lambda x: x["a"] ** 2, joint, 0.5, key, num_samples=2000, baseline=None)
    sf.testing.assert_unbiased(sf.testing.replicate(grad, jax.random.key(0), 500), 1.0, precision=0.01)


def test_what_is_refused():
    density = sf.family(log_prob=lambda m, x: -((x - m) ** 2))
    given = sf.family(log_prob=lambda m, x: -((x - m) ** 2), samples=jnp.arange(4.0))
    q = sf.Normal(loc=0.0, scale=1.0)
    run = lambda family, **o: jax.jit(lambda k: sf.score_function(jnp.sin, family, 0.0, k, **o))(jax.random.key(0))
    assert np.isfinite(run(density, proposal=q))
    with pytest.raises(
        TypeError,
        match="score_function needs a distribution that has a sampler or given draws; Density has a log-prob.*proposal=",
    ):
        run(density)
    with pytest.raises(ValueError, match="so proposal= has nothing to draw"):
        run(given, proposal=q)
    with pytest.raises(TypeError, match="proposal is a distribution to draw from.*it got float"):
        run(density, proposal=3.0)
    for wrong in (0.0, -1.0, "big", jnp.ones(2)):
        with pytest.raises(ValueError, match="max_weight is a positive number"):
            run(density, proposal=q, max_weight=wrong)
    with pytest.raises(ValueError, match="max_weight cuts the weights of draws from another distribution"):
        run(NORMAL, max_weight=3.0)
    with pytest.raises(TypeError, match="needs a key, not None"):
        sf.score_function(jnp.sin, density, 0.0, None, proposal=q)
    with pytest.raises(TypeError, match=r"proposal is a distribution to draw from.*it got Family.*family.at\(params\)"):
        run(NORMAL, proposal=NORMAL)
    with pytest.raises(
        TypeError, match="proposal= needs a distribution that can be drawn from; Density has a log-probability"
    ):
        run(NORMAL, proposal=density.at(0.0))
    with pytest.raises(ValueError, match=r"proposal Normal has shape \(\), and one of Normal has \(3,\)"):
        sf.score_function(jnp.sum, NORMAL, jnp.zeros(3), jax.random.key(0), proposal=q)
