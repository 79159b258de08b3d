"""Measure-valued derivatives: every distribution against closed forms, interacting choices against sums, and the known variances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering
from jax.scipy.special import gamma

import jax_scorefn as sf
from jax_scorefn.testing import assert_unbiased, assert_variance, replicate

pytestmark = pytest.mark.statistical

NORMAL = sf.family(lambda m: sf.Normal(loc=m, scale=1.0))
BITS = sf.family(lambda l: sf.Bernoulli(logits=l))
CATEGORIES = sf.family(lambda l: sf.Categorical(logits=l))


# Every distribution


T = -0.6
"""E[exp(T x)] is known for most distributions."""
SHAPE = 1.8  # of Gamma and Weibull
DISTRIBUTIONS = {  # distribution, parameters, E[f(x)] in closed form, f (None: exp(T x))
    "bernoulli": (lambda p: sf.Bernoulli(logits=p[0]), [0.4], lambda p: 1 + jax.nn.sigmoid(p[0]) * jnp.expm1(T), None),
    "bernoulli in p": (lambda p: sf.Bernoulli(probs=p[0]), [0.3], lambda p: 1 + p[0] * jnp.expm1(T), None),
    "categorical": (
        lambda p: sf.Categorical(logits=p), [0.5, -1.0, 0.3, 0.0],
        lambda p: jnp.sum(jax.nn.softmax(p) * jnp.exp(T * jnp.arange(4.0))), None,
    ),
    "categorical in q": (  # unnormalised, and a category that has no probability but a derivative
        lambda p: sf.Categorical(probs=p), [0.5, 0.9, 0.0],
        lambda p: jnp.sum(p * jnp.exp(T * jnp.arange(3.0))) / jnp.sum(p), None,
    ),
    "binomial": (
        lambda p: sf.Binomial(total_count=4, logits=p[0]), [-0.4], lambda p: (1 + jax.nn.sigmoid(p[0]) * jnp.expm1(T)) ** 4, None,
    ),
    "binomial of one": (lambda p: sf.Binomial(total_count=1, probs=p[0]), [0.6], lambda p: 1 + p[0] * jnp.expm1(T), None),
    "geometric": (
        lambda p: sf.Geometric(probs=p[0]), [0.4], lambda p: p[0] * jnp.exp(T) / (1 - (1 - p[0]) * jnp.exp(T)), None,
    ),
    "geometric in logits": (
        lambda p: sf.Geometric(logits=p[0]), [0.3],
        lambda p: jax.nn.sigmoid(p[0]) * jnp.exp(T) / (1 - jax.nn.sigmoid(-p[0]) * jnp.exp(T)), None,
    ),
    "poisson": (lambda p: sf.Poisson(rate=jnp.exp(p[0])), [0.5], lambda p: jnp.exp(jnp.exp(p[0]) * jnp.expm1(T)), None),
    "negative binomial": (
        lambda p: sf.NegativeBinomial(total_count=2.5, logits=p[0]), [-0.5],
        lambda p: (jax.nn.sigmoid(-p[0]) / (1 - jax.nn.sigmoid(p[0]) * jnp.exp(T))) ** 2.5, None,
    ),
    "negative binomial in p": (
        lambda p: sf.NegativeBinomial(total_count=2.5, probs=p[0]), [0.3], lambda p: ((1 - p[0]) / (1 - p[0] * jnp.exp(T))) ** 2.5, None,
    ),
    "normal": (
        lambda p: sf.Normal(loc=p[0], scale=p[1]), [0.4, 1.3], lambda p: jnp.exp(T * p[0] + T**2 * p[1] ** 2 / 2), None,
    ),
    "tanh": (  # E[1 / (1 + x)] = E[(1 + exp(-2 z)) / 2]
        lambda p: sf.TanhNormal(loc=p[0], scale=p[1]), [0.4, 0.5], lambda p: (1 + jnp.exp(-2 * p[0] + 2 * p[1] ** 2)) / 2,
        lambda x: 1 / (1 + x),
    ),
    "laplace": (
        lambda p: sf.Laplace(loc=p[0], scale=p[1]), [0.3, 0.7], lambda p: jnp.exp(T * p[0]) / (1 - T**2 * p[1] ** 2), None,
    ),
    "exponential": (lambda p: sf.Exponential(rate=p[0]), [1.5], lambda p: p[0] / (p[0] - T), None),
    "gamma": (lambda p: sf.Gamma(concentration=SHAPE, rate=p[0]), [2.0], lambda p: (p[0] / (p[0] - T)) ** SHAPE, None),
    "weibull": (
        lambda p: sf.Weibull(concentration=SHAPE, scale=p[0]), [0.8], lambda p: p[0] ** 2 * gamma(1 + 2 / SHAPE), jnp.square,
    ),
}  # fmt: skip
EVERY = sf.family(
    lambda params: sf.Joint(
        [
            {name: DISTRIBUTIONS[name][0](params[name]) for name in DISTRIBUTIONS if name > "c"},
            sf.Joint([DISTRIBUTIONS[name][0](params[name]) for name in DISTRIBUTIONS if name < "c"]),
        ]
    )
)
"""All of them in one draw, which is a tree in a tree."""


def every_value(x):
    x = {**x[0], **dict(zip((name for name in DISTRIBUTIONS if name < "c"), x[1], strict=True))}
    dtype = x["normal"].dtype
    terms = {
        name: (DISTRIBUTIONS[name][3] or (lambda v: jnp.exp(T * v)))(x[name].astype(dtype)) for name in DISTRIBUTIONS
    }
    return sum(terms.values()) + terms["poisson"] * terms["laplace"]  # and two that interact


def every_exact(params):
    terms = {name: DISTRIBUTIONS[name][2](params[name]) for name in DISTRIBUTIONS}
    return sum(terms.values()) + terms["poisson"] * terms["laplace"]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_distribution_at_once(dtype):
    with jax.enable_x64(dtype == "float64"):
        params = {name: jnp.asarray(dist[1], dtype) for name, dist in DISTRIBUTIONS.items()}
        exact = jax.device_get(jax.jit(jax.value_and_grad(every_exact))(params))
        run = jax.value_and_grad(lambda p, key: sf.measure_valued(every_value, EVERY, p, key, num_samples=4))
        runs = replicate(lambda key: run(params, key), jax.random.key(1), 10_000, batch=10_000)
        assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(runs))
    assert_unbiased(runs, exact, precision=0.03, rounding=1e-5)
    for name in DISTRIBUTIONS:
        with pytest.raises(AssertionError, match="is biased"):
            assert_unbiased(1.2 * runs[1][name], exact[1][name], precision=0.04)


def test_each_distribution_says_where_its_parameters_are():
    dist = sf.Joint(
        [sf.Normal(loc=jnp.zeros((2, 2)), scale=1.0), sf.Joint({"a": sf.Categorical(logits=jnp.zeros((2, 3)))})]
    )
    weak = dist.weak_derivative()
    assert weak.num_leaves == 2 and weak.parameter.shape == weak.constant.shape == (14,)
    np.testing.assert_array_equal(weak.leaf, [0] * 8 + [1] * 6)
    np.testing.assert_array_equal(weak.place, [0, 1, 2, 3, 0, 1, 2, 3, 0, 0, 0, 1, 1, 1])


# Choices that interact

RNG = np.random.default_rng(7)
COUPLING = jnp.asarray(RNG.normal(size=(8, 8)) / 3, jnp.float32)
TABLE = jnp.asarray(RNG.normal(size=(4, 4)), jnp.float32)
PAYS = jnp.asarray(RNG.normal(size=64), jnp.float32)
P0 = jnp.array([0.6, 0.51, 0.48])
HIDDEN = jnp.asarray(RNG.normal(size=(2, 3)), jnp.float32)


def network(w):
    return jnp.tanh(jnp.array([0.5, -1.0]) @ HIDDEN * w[:3]) * 2 + w[3]


PROBLEMS = {  # family, parameters, f (None: of the parameters), options
    "three that share a logit": (
        sf.family(lambda eta: sf.Bernoulli(logits=jnp.full(3, eta))), 0.4, lambda b: jnp.sum((b - P0) ** 2) + b[0] * b[1], {},
    ),
    "eight that interact": (BITS, jnp.linspace(-2.0, 2.0, 8), lambda b: jnp.tanh(b @ (COUPLING @ b)) + b @ COUPLING[0], {}),
    "three of eight that interact": (
        BITS, jnp.linspace(-2.0, 2.0, 8), lambda b: jnp.tanh(b @ (COUPLING @ b)) + b @ COUPLING[0], {"coordinates": 3},
    ),
    "two choices that interact": (CATEGORIES, jnp.asarray(RNG.normal(size=(2, 4)), jnp.float32), lambda x: TABLE[x[0], x[1]], {}),
    "five of two choices": (
        CATEGORIES, jnp.asarray(RNG.normal(size=(2, 4)), jnp.float32), lambda x: TABLE[x[0], x[1]], {"coordinates": 5},
    ),
    "64 categories": (CATEGORIES, jnp.asarray(RNG.normal(size=64), jnp.float32), lambda x: 1 + PAYS[x], {}),
    "logits of a network": (
        sf.family(lambda w: sf.Joint({"a": sf.Bernoulli(logits=network(w)[:2]), "b": sf.Categorical(logits=network(w))})),
        jnp.array([0.3, -0.8, 0.5, 0.2]), lambda x: 3.0 + x["a"][0] * TABLE[x["b"], 0] + 2.0 * x["a"][1] * x["a"][0] - TABLE[x["b"], 1], {},
    ),
    "f of the parameters": (BITS, jnp.array([0.5, -0.5]), None, {"coordinates": 1}),
}  # fmt: skip


def loss_of(estimator, problem, **options):
    family, _, f, _ = PROBLEMS[problem]

    def loss(params, key):
        objective = f or (lambda b: (b[0] + params[0]) ** 2 * (1 + b[1] * params[1]))
        return estimator(objective, family, params, key, **options)

    return jax.value_and_grad(loss)


@pytest.mark.parametrize("problem", covering(PROBLEMS, lambda p: PROBLEMS[p][0], lambda p: bool(PROBLEMS[p][3])))
def test_value_and_gradient_are_unbiased(problem):
    _, params, _, options = PROBLEMS[problem]
    run = loss_of(sf.measure_valued, problem, num_samples=4, **options)
    count = 5000 if problem == "64 categories" else 20_000
    runs = replicate(lambda key: run(params, key), jax.random.key(3), count, batch=count)
    exact = jax.device_get(jax.jit(loss_of(sf.exact, problem))(params, None))
    assert_unbiased(runs, exact, precision=0.02)
    with pytest.raises(AssertionError, match="is biased"):
        assert_unbiased(jax.tree.map(lambda x: 1.1 * x, runs), exact, precision=0.025)


def test_a_step_of_normal_draws_whose_means_a_network_makes():
    """The chain rule goes on from the means and the scale; the closed form is a product of normal tails."""
    family = sf.family(lambda w: sf.Normal(loc=network(w), scale=jnp.exp(w[0])))
    f = lambda x: jnp.all(x > 0.0)  # a bool
    w = jnp.array([0.3, -0.8, 0.5, 0.7])
    run = jax.value_and_grad(lambda w, key: sf.measure_valued(f, family, w, key, num_samples=8))
    runs = replicate(lambda key: run(w, key), jax.random.key(4), 10_000, batch=10_000)
    closed = lambda w: jnp.prod(jax.scipy.stats.norm.cdf(network(w) * jnp.exp(-w[0])))
    exact = jax.jit(jax.value_and_grad(closed))(w)
    assert_unbiased(runs, exact, precision=0.015)
    with pytest.raises(AssertionError, match="is biased"):
        assert_unbiased(1.1 * runs[1], exact[1], precision=0.018)


# Known variances

VARIANCES = {  # f, gradient, variance of one draw in the mean of N(1, 1), its digits
    "(x+3)^2": (lambda x: (x + 3) ** 2, 8.0, 17.49, 0.005),
    "(x-1)^2": (lambda x: (x - 1) ** 2, 0.0, 0.0, 1e-9),
    "exp(-x^2)": (lambda x: jnp.exp(-(x**2)), -0.27579, 0.01257, 5e-6),
    "cos(5x)": (lambda x: jnp.cos(5 * x), 2e-5, 0.2957, 5e-5),
}


def test_the_normal_table():
    f = lambda x: jnp.stack([row[0](x) for row in VARIANCES.values()])
    jacobian = jax.jacobian(lambda m, key: sf.measure_valued(f, NORMAL, m, key, num_samples=1))
    runs = replicate(lambda key: jacobian(1.0, key), jax.random.key(2026), 200_000, batch=200_000)
    for j, (_, gradient, variance, digits) in enumerate(VARIANCES.values()):
        precision = 0.005 * max(1.0, np.sqrt(variance) / max(abs(gradient), 1e-5))
        assert_unbiased(runs[:, j], gradient, precision=precision, rounding=1e-5)
        assert_variance(runs[:, j], variance, precision=0.02, rounding=digits)
        if variance:
            with pytest.raises(AssertionError, match="wrong variance"):
                assert_variance(1.1 * runs[:, j], variance, precision=0.025)


# Ends and digits


@pytest.mark.parametrize("in_categories", covering([False, True]))
@pytest.mark.float32
def test_saturated_logits(in_categories):
    """Right at +-8 and at +-40, and 0 at infinity. What has no probability is not shown to f."""
    logits = jnp.array([8.0, -8.0, 40.0, -40.0, jnp.inf, -jnp.inf], jnp.float32)
    slopes = np.array([1, 2, 3, 4, 0, 0]) / (2 + 2 * np.cosh([8.0, 8.0, 40.0, 40.0, 1.0, 1.0]))
    if in_categories:  # each coin is a choice between 0 and its logit; a third category is forbidden
        family = sf.family(lambda l: sf.Categorical(logits=jnp.stack([0 * l, l, jnp.full_like(l, -jnp.inf)], axis=-1)))
        logits = jnp.where(jnp.isinf(logits), jnp.sign(logits) * 200, logits)
    else:
        family = BITS
    forbidden = lambda b: (b[4] == 0) | (b[5] == 1) | jnp.any(b > 1)
    f = lambda b: jnp.where(forbidden(b), jnp.nan, jnp.sum(jnp.arange(1.0, 7.0) * b.astype(jnp.float32)))
    run = jax.jit(jax.value_and_grad(lambda l, key: sf.measure_valued(f, family, l, key, num_samples=512)))
    value, grads = run(logits, jax.random.key(0))
    np.testing.assert_allclose(grads, slopes, rtol=1e-5)
    assert abs(value - 9.0) < 0.1


def test_a_category_that_is_certain_or_forbidden():
    pays = jnp.array([1.0, 3.0, jnp.nan])
    logits = jnp.array([[0.0, -jnp.inf, -jnp.inf], [12.0, 0.0, -jnp.inf]])
    run = jax.jit(jax.value_and_grad(lambda l, key: sf.measure_valued(lambda x: jnp.sum(pays[x]), CATEGORIES, l, key)))
    value, grads = run(logits, jax.random.key(0))
    slope = 2 / (2 + 2 * np.cosh(12.0))
    np.testing.assert_allclose(grads, [[0, 0, 0], [-slope, slope, 0]], rtol=1e-4)
    assert value == 2.0


def test_an_offset_in_f_does_not_drown_the_gradient():
    """1e4 added to an f of standard deviation 1 or more, in float32: less than a tenth of the standard error."""
    grad = jax.jit(jax.vmap(
        lambda k, c: sf.measure_valued_grad(lambda x: c + x + jnp.sin(3 * x), NORMAL, 0.5, k), (0, None)
    ))  # fmt: skip
    plain, shifted = (grad(jax.random.split(jax.random.key(1), 200), c) for c in (0.0, 1e4))
    assert np.max(np.abs(plain - shifted)) < 0.1 * np.std(plain)


@pytest.mark.nans
def test_nan_parameters_never_become_numbers():
    family = sf.family(lambda p: sf.Joint({"a": sf.Bernoulli(probs=p), "b": sf.Categorical(logits=jnp.zeros(2))}))
    run = jax.jit(jax.value_and_grad(lambda p, key: sf.measure_valued(lambda x: x["a"] + 5, family, p, key)))
    value, grad = run(jnp.nan, jax.random.key(0))
    assert np.isnan(value) and np.isnan(grad)


# What it costs and how it is computed


def _counted(**options):
    """Evaluations of f in each call of a host function, and the gradient."""
    seen = []
    box = sf.black_box(lambda b: (seen.append(len(b)), np.float32(b.sum(axis=-1) ** 2))[1], vectorized=True)
    run = jax.jit(jax.value_and_grad(lambda l, key: sf.measure_valued(box, BITS, l, key, **options)))
    _, grads = jax.block_until_ready(run(jnp.zeros(5), jax.random.key(0)))
    return sorted(seen), grads


@pytest.mark.parametrize("chunked", covering([False, True]))
def test_evaluations_are_those_of_the_registry_and_f_may_be_a_black_box(chunked):
    assert sf.ESTIMATORS["measure_valued"].evaluations.startswith("S (1 + 2P) for P")
    counts, grads = _counted(num_samples=6)
    assert counts == [6, 6 * 2 * 5]
    run = jax.jit(lambda l, key: sf.measure_valued_grad(lambda b: jnp.sum(b) ** 2, BITS, l, key, num_samples=6))
    np.testing.assert_allclose(grads, run(jnp.zeros(5), jax.random.key(0)), rtol=1e-5)
    counts, grads = _counted(num_samples=1, coordinates=2)
    assert counts == [1, 2 * 2] and np.sum(grads != 0) == 2
    if chunked:
        assert _counted(num_samples=6, coordinates=2, chunk_size=4)[0] == [2, 4, 2 * 2 * 2, 4 * 2 * 2]


@pytest.mark.slow
@pytest.mark.sharded
@pytest.mark.parametrize("coordinates", [3, None])
def test_chunks_devices_and_shapes(coordinates):
    family = sf.family(
        lambda l: sf.Joint({"n": sf.Normal(loc=l[0], scale=jnp.exp(l[1])), "b": sf.Bernoulli(logits=l[1])})
    )
    params = jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)
    f = lambda x: jnp.stack([jnp.sum(x["n"] * x["b"]), jnp.max(x["n"])])  # values with a shape
    mesh = jax.make_mesh((4,), ("draws",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("draws"))

    def run(**how):
        loss = lambda l: sf.measure_valued(
            f, family, l, jax.random.key(2), num_samples=22, coordinates=coordinates, has_aux=True, **how
        )
        jacobian, info = jax.jacobian(loss, has_aux=True)(params)
        return jacobian, info.samples, info.values, info.log_probs

    whole = jax.jit(run)()
    assert whole[0].shape == (2, 2, 3) and whole[1]["n"].shape == (22, 3) and whole[2].shape == (22, 2)
    np.testing.assert_allclose(jax.vmap(family.at(params).log_prob)(whole[1]), whole[3], rtol=1e-5)
    for how in ({"chunk_size": 5}, {"sharding": sharding}):
        found = jax.jit(lambda how=how: run(**how))()
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(whole), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_values_keep_their_precision():
    half = lambda p, key: sf.measure_valued(lambda x: x.astype(jnp.float16), BITS, p, key, num_samples=4)
    whole = lambda p, key: sf.measure_valued(lambda x: x, CATEGORIES, p, key, num_samples=4)  # ints
    nothing = lambda p, key: sf.measure_valued(sf.black_box(lambda x: 1.0), NORMAL, p, key, num_samples=4)

    @jax.jit
    def run(keys):
        params = jnp.float32(0.0), jnp.zeros(2, jnp.bfloat16), jnp.zeros(0)
        return [
            jax.value_and_grad(f)(p, keys[j])
            for j, (f, p) in enumerate(zip((half, whole, nothing), params, strict=True))
        ]

    (value, grads), (_, of_ints), (one, _) = run(jax.random.split(jax.random.key(0), 3))
    assert value.dtype == jnp.float16 and grads.dtype == jnp.float32 and of_ints.dtype == jnp.bfloat16
    np.testing.assert_allclose(grads, 0.25, rtol=1e-3)
    np.testing.assert_allclose(of_ints.astype(jnp.float32), [-0.25, 0.25], rtol=1e-6)
    assert one == 1.0


def test_what_is_refused():
    key = lambda: jax.random.key(0)
    for dist, other in (
        (lambda a, b: sf.Gamma(concentration=a, rate=b), "rate"),
        (lambda a, b: sf.Weibull(concentration=a, scale=b), "scale"),
    ):
        family = sf.family(lambda p, dist=dist: dist(p[0], p[1]))
        held = sf.family(lambda p, dist=dist: dist(jax.lax.stop_gradient(p[0]), p[1]))
        estimate = lambda p, family: sf.measure_valued(jnp.square, family, p, key())
        with pytest.raises(
            TypeError,
            match=rf"The concentration of a \w+ distribution carries a derivative.*known in the {other} alone",
        ):
            jax.eval_shape(jax.grad(lambda p: estimate(p, family)), (2.0, 3.0))
        jax.eval_shape(jax.grad(lambda p: estimate(p, held)), (2.0, 3.0))
        jax.eval_shape(lambda p: estimate(p, family), (2.0, 3.0))  # nothing is differentiated
    with pytest.raises(ValueError, match="coordinates=3 of the scalar parameters were asked for, and Normal has 2"):
        sf.measure_valued(jnp.square, NORMAL, 0.0, key(), coordinates=3)
    with pytest.raises(ValueError, match="coordinates is a positive Python int"):
        sf.measure_valued(jnp.square, NORMAL, 0.0, key(), coordinates=0)
    with pytest.raises(TypeError, match="measure_valued needs a distribution that has a weak derivative; Uniform has"):
        sf.measure_valued(jnp.square, sf.family(lambda h: sf.Uniform(low=0.0, high=h)), 1.0, key())
    with pytest.raises(TypeError, match="measure_valued estimates derivatives up to order 1"):
        jax.eval_shape(jax.hessian(lambda m: sf.measure_valued(jnp.square, NORMAL, m, key())), 0.5)


@pytest.mark.parametrize("build", covering([
    lambda: sf.Logistic(loc=0.0, scale=1.0), lambda: sf.Gumbel(loc=0.0, scale=1.0), lambda: sf.Cauchy(loc=0.0, scale=1.0),
    lambda: sf.StudentT(df=0.7), lambda: sf.StudentT(df=40.0),
], lambda build: type(build()).__mro__[1]))  # fmt: skip
@pytest.mark.parametrize("dtype", covering(["float32", "float64"]))
def test_the_point_outward_where_a_density_has_fallen(build, dtype):
    """Log p(r(z, e)) = log p(z) - e on the side of z, for a fall of 1e-6 as for one of 50, from the mode and from far out."""
    with jax.enable_x64(dtype == "float64"):
        z = np.array([-8.0, -1.0, -1e-3, -0.0, 0.0, 1e-3, 1.0, 30.0], dtype)
        z, e = (jnp.asarray(x) for x in np.broadcast_arrays(z[:, None], np.array([1e-6, 0.01, 1.0, 50.0], dtype)))
        dist = jax.tree.map(lambda leaf: jnp.full(z.shape, leaf, dtype), build())
        away = jax.jit(lambda z, e: jnp.copysign(dist._outward(z, e), z))(z, e)
        assert np.all(np.abs(away) >= np.abs(z)) and np.all(np.signbit(away) == np.signbit(z))
        fallen = dist._standard_log_prob(z) - dist._standard_log_prob(away)
        steep = np.abs(jax.vmap(jax.vmap(jax.grad(lambda x: type(dist)._standard_log_prob(build(), x))))(away))
        rounding = np.finfo(dtype).eps * (np.abs(dist._standard_log_prob(z)) + steep * np.abs(away))
        finite = np.isfinite(away)  # of a heavy tail the place may be out of range
        assert finite.mean() > 0.9
        assert np.all((np.abs(fallen - e) <= 8 * rounding + 64 * np.finfo(dtype).eps * e)[finite])
