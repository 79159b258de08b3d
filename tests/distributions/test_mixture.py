"""Mixtures: value, gradient and Hessian by every way there is to them, weights of 0, lists, what is refused, and the path."""

import dataclasses
import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from cases import CASES, params_of
from covering import covering
from traced_once import with_hessian

import jax_scorefn as sf
from jax_scorefn.distributions._mixture import _velocity
from jax_scorefn.distributions._paths import has_path, on_path, tails

PROBS = jax.nn.softmax


def normals(p):
    return sf.Mixture(logits=p["w"], components=sf.Normal(loc=p["loc"], scale=p["scale"]))


def poissons(p):
    return sf.Mixture(logits=p["w"], components=sf.Poisson(rate=p["rate"]))


def three_planes(p):
    return sf.Mixture(logits=p["w"], components=sf.MultivariateNormal(loc=p["loc"], scale_tril=p["tril"]))


def density(log_p):
    """A log-density that shares no code with the library."""
    return lambda p, x: jnp.log(jnp.sum(PROBS(p["w"]) * jnp.exp(log_p(p, x))))


def plane(p, x):
    z = jax.vmap(jnp.linalg.solve)(p["tril"], x[None] - p["loc"])
    return -jnp.sum(z**2, axis=1) / 2 - jnp.log(2 * jnp.pi * p["tril"][:, 0, 0] * p["tril"][:, 1, 1])


TRIL = [[[0.7, 0.0], [0.2, 0.5]], [[0.5, 0.0], [0.0, 0.8]], [[0.6, 0.0], [-0.3, 0.6]]]
ONE = lambda x: jnp.sin(2 * x) + x**2 / 4
PROBLEMS = {  # distribution, parameters, f, the oracle, options of exact
    "two normals": (
        normals, {"w": [0.3, -0.5], "loc": [-1.0, 1.2], "scale": [0.6, 0.9]}, ONE,
        (density(lambda p, x: jax.scipy.stats.norm.logpdf(x, p["loc"], p["scale"])), (-9.0, 10.0)), {"num_nodes": 48},
    ),
    "two poissons": (
        poissons, {"w": [0.3, -0.5], "rate": [1.0, 4.0]}, lambda x: jnp.sin(x) + x**2 / 9,
        (density(lambda p, x: jax.scipy.stats.poisson.logpmf(x, p["rate"])), np.arange(40.0)), {"max_value": 39},
    ),
    "three planes": (
        three_planes, {"w": [0.3, -0.5, 0.1], "loc": [[-1.0, 0.3], [0.4, 0.9], [0.8, -0.7]], "tril": TRIL},
        lambda x: jnp.sin(x[0]) * x[1] + x[0] ** 2 / 3, (density(plane), [(-6.0, 6.0), (-6.0, 6.0)]), {"num_nodes": 24},
    ),
}  # fmt: skip


@functools.cache
def truth(name):
    """Value, gradient and Hessian in float64."""
    _, params, f, (log_p, domain), _ = PROBLEMS[name]
    with jax.enable_x64(True):
        params = arrays(params, jnp.float64)
        if isinstance(domain, np.ndarray):
            oracle = sf.testing.enumerate_expectation(f, log_p, domain)
        else:
            oracle = sf.testing.quadrature_expectation(f, log_p, domain, panels=40, nodes=6)
        return jax.device_get(jax.jit(with_hessian(oracle))(params))


def arrays(params, dtype):
    return {name: jnp.asarray(leaf, dtype) for name, leaf in params.items()}


def lower(tree):
    """Of a derivative in a triangle, the part that is in it: there is none above."""
    if isinstance(tree, dict):
        return {name: jax.tree.map(np.tril, leaf) if name == "tril" else leaf for name, leaf in tree.items()}
    return tree


def as_float(f):
    return lambda x: f(jnp.asarray(x).astype(float))


@pytest.mark.parametrize("name", covering(PROBLEMS, lambda name: isinstance(PROBLEMS[name][3][1], np.ndarray)))
def test_sums_and_quadratures_are_exact(name, x64):
    build, params, f, _, options = PROBLEMS[name]
    loss = lambda p: sf.exact(as_float(f), sf.family(build), p, **options)
    got = jax.jit(with_hessian(loss))(arrays(params, jnp.float64))
    value, grads, hessian = truth(name)
    np.testing.assert_allclose(got[0], value, rtol=1e-7)
    for leaf in params:
        np.testing.assert_allclose(lower(got[1])[leaf], lower(grads)[leaf], rtol=1e-6, atol=1e-7, err_msg=leaf)
        if leaf == "tril":
            continue
        for other in params:
            if other != "tril":
                np.testing.assert_allclose(got[2][leaf][other], hessian[leaf][other], rtol=1e-5, atol=1e-6)


def runs_of(estimator, name, twice=False, build=None, num=2000):
    own, params, f, *_ = PROBLEMS[name]
    family = sf.family(build or own)
    loss = lambda p, key: estimator(as_float(f), family, p, key, num_samples=64)
    run = jax.hessian(loss) if twice else jax.value_and_grad(loss)
    params = arrays(params, jnp.float32)
    return sf.testing.replicate(lambda key: run(params, key), jax.random.key(5), num, batch=500)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("name", "estimator"),
    covering(
        [(name, "score_function") for name in PROBLEMS] + [("two normals", "pathwise")],
        lambda *_: "the path has a test of its own",
    ),
)
def test_estimates_are_unbiased(name, estimator):
    """Value and gradient in weights and components; the twin that takes the choice of the component for given must fail."""
    value, grads, _ = truth(name)
    runs = runs_of(getattr(sf, estimator), name)
    sf.testing.assert_unbiased((runs[0], lower(runs[1])), (value, lower(grads)), precision=0.05)
    own = PROBLEMS[name][0]
    stopped = runs_of(getattr(sf, estimator), name, build=lambda p: own({**p, "w": jax.lax.stop_gradient(p["w"])}))
    with pytest.raises(AssertionError, match="is biased"):
        sf.testing.assert_unbiased(stopped[1], grads, precision=0.05)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize(
    ("name", "estimator"),
    [("two normals", "pathwise"), ("two normals", "score_function"), ("two poissons", "score_function")],
)
def test_second_derivatives_are_unbiased(name, estimator):
    hessian = truth(name)[2]
    runs = runs_of(getattr(sf, estimator), name, twice=True)
    sf.testing.assert_unbiased(runs, hessian, precision=0.15)
    with pytest.raises(AssertionError, match="is biased"):
        sf.testing.assert_unbiased(jax.tree.map(lambda leaf: 1.3 * leaf, runs), hessian, precision=0.15)


@pytest.mark.statistical
def test_the_path_of_the_component_alone_is_biased():
    """A sampler that follows the drawn component has no derivative in the weights, and says nothing of it."""
    params = PROBLEMS["two normals"][1]

    def sampler(key, p):
        first, second = jax.random.split(key)
        k = jax.random.categorical(first, p["w"])
        return p["loc"][k] + p["scale"][k] * jax.random.normal(second)

    naive = sf.family(log_prob=lambda p, x: normals(p).log_prob(x), sampler=sampler, reparameterized=True)
    run = lambda key: sf.pathwise_grad(ONE, naive, arrays(params, jnp.float32), key, num_samples=64)
    runs = sf.testing.replicate(run, jax.random.key(0), 1000, batch=500)
    assert np.all(runs["w"] == 0) and np.all(np.abs(truth("two normals")[1]["w"]) > 0.05)
    with pytest.raises(AssertionError, match="is biased"):
        sf.testing.assert_unbiased(runs, truth("two normals")[1], precision=0.05)


WAVE = lambda x: jnp.cos(x - 0.7) * jnp.exp(-x * x / 8)
PATHS = [name for name, case in CASES.items() if has_path(case.dist)]


def two_of(name):
    """Parameters of two numbers of the distribution of a case."""
    two = lambda leaf: leaf if isinstance(leaf, list) else [leaf, 1.5 * leaf + 0.3]
    return {field: two(leaf) for field, leaf in CASES[name].params.items()}


def interval_of(name):
    """Where its density is integrated, of one number."""
    found = CASES[name].intervals
    return found[0] if isinstance(found, list) else found


def laplace(f):
    """E[f] of two Laplace numbers by their standard ones, which have their kink at 0."""
    moved = lambda z, p: jnp.sum(PROBS(p["w"]) * jax.vmap(f)(p["loc"] + p["scale"] * z))
    return sf.testing.quadrature_expectation(
        moved, lambda _, z: -jnp.abs(z) - jnp.log(2.0), (-40.0, 40.0), panels=400, nodes=8
    )


@pytest.mark.statistical
@pytest.mark.parametrize("twice", covering([False, True]))
@pytest.mark.parametrize("name", covering(sorted(PATHS)))
def test_paths_of_every_kind_of_component(name, twice):
    """In weights and all fields, once and twice, against a quadrature of the density in float64."""
    params, f = {"w": [0.3, -0.5], **two_of(name)}, WAVE
    build = lambda p: sf.Mixture(logits=p["w"], components=CASES[name].family.at(p))
    derivative = jax.hessian if twice else jax.value_and_grad
    with jax.enable_x64(True):
        log_p = lambda p, x: build(p).log_prob(x)
        oracle = sf.testing.quadrature_expectation(f, log_p, interval_of(name), panels=400, nodes=8)
        oracle = laplace(f) if name == "Laplace" else oracle  # its density has kinks that move
        exact = jax.device_get(jax.jit(derivative(oracle))(arrays(params, jnp.float64)))
    params, family = arrays(params, jnp.float32), sf.family(build)
    run = derivative(lambda p, key: sf.pathwise(f, family, p, key, num_samples=64))
    runs = sf.testing.replicate(lambda key: run(params, key), jax.random.key(5), 2000, batch=500)
    sf.testing.assert_unbiased(runs, exact, precision=0.15 if twice else 0.03)
    with pytest.raises(AssertionError, match="is biased"):
        sf.testing.assert_unbiased(
            jax.tree.map(lambda leaf: 1.3 * leaf, runs), exact, precision=0.15 if twice else 0.03
        )


@pytest.mark.slow
def test_moments_are_those_of_the_whole(unchecked_keys):
    """A mixture of planes, and one of joints whose draw is a tree, against their draws."""
    planes = three_planes(arrays(PROBLEMS["three planes"][1], jnp.float32))
    pairs = jax.vmap(
        lambda m: sf.Joint({"n": sf.Poisson(rate=jnp.exp(m)), "x": sf.Normal(loc=jnp.stack([m, -m]), scale=1.0)})
    )
    joint = sf.Mixture(probs=jnp.array([0.3, 0.7]), components=pairs(jnp.array([-1.0, 1.0])))
    for dist in (planes, joint):
        flat = lambda x: jnp.concatenate([jnp.ravel(leaf).astype(float) for leaf in jax.tree.leaves(x)])
        draws = np.asarray(
            jax.jit(jax.vmap(lambda k, dist=dist: flat(dist.sample(k))))(jax.random.split(jax.random.key(0), 40_000))
        )
        mean, units = dist.mean(), np.eye(draws.shape[1], dtype=np.float32)
        _, unflatten = jax.flatten_util.ravel_pytree(mean)
        covariance = np.stack([flat(dist.covariance_times(unflatten(unit))) for unit in units])
        apart = draws - np.asarray(flat(mean))
        assert np.all(np.abs(apart.mean(axis=0)) < 5 * draws.std(axis=0) / 200)
        products = apart[:, :, None] * apart[:, None]
        assert np.all(np.abs(products.mean(axis=0) - covariance) < 5 * products.std(axis=0) / 200)
        assert np.any(np.abs(products.mean(axis=0) - 1.3 * covariance) > 5 * products.std(axis=0) / 200)


# Weights of 0, places without density


def linear(estimator, w, **options):
    """Gradient in unnormalised weights of E[x^2] of three normals around 0, 1 and 3."""
    family = sf.family(lambda w: sf.Mixture(probs=w, components=sf.Normal(loc=jnp.array([0.0, 1.0, 3.0]), scale=1.0)))
    return jax.jit(lambda w: estimator(lambda x: x**2, family, w, **options))(w)


@pytest.mark.slow
@pytest.mark.statistical
def test_derivatives_in_a_weight_of_zero():
    """The mean of a component that is never drawn is in the gradient: w enters as a sum, and the others' draws see it."""
    w, squares = jnp.array([0.4, 0.6, 0.0]), np.array([1.0, 2.0, 10.0])
    expected = squares - squares @ np.array([0.4, 0.6, 0.0])
    np.testing.assert_allclose(linear(sf.exact_grad, w), expected, rtol=1e-4)
    for estimator in (sf.score_function_grad, sf.pathwise_grad):
        run = lambda key, estimator=estimator: linear(estimator, w, key=key, num_samples=256)
        runs = sf.testing.replicate(run, jax.random.key(0), 4000, batch=500)
        error = runs.std(axis=0) / np.sqrt(len(runs))
        assert np.all(np.abs(runs.mean(axis=0) - expected) < 5 * error + 1e-4) and np.all(error < 0.5), estimator
    second = jax.jit(jax.hessian(lambda w: sf.exact(lambda x: x**2, sf.family(lambda w: sf.Mixture(
        probs=w, components=sf.Normal(loc=jnp.array([0.0, 1.0, 3.0]), scale=1.0))), w)))(w)  # fmt: skip
    closed = jax.hessian(lambda w: w @ jnp.asarray(squares, jnp.float32) / jnp.sum(w))(w)
    np.testing.assert_allclose(second, closed, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_the_score_in_weights_of_zero_to_the_second_order():
    """log(w p_0 + v p_1) in both weights, where one of them is 0."""
    at = jnp.float32(0.3)
    p = jax.scipy.stats.norm.pdf(at, jnp.array([0.0, 2.0]))
    closed = lambda w: jnp.log(w @ p / jnp.sum(w))
    ours = lambda w: sf.Mixture(probs=w, components=sf.Normal(loc=jnp.array([0.0, 2.0]), scale=1.0)).log_prob(at)
    for w in (jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5])):
        for derivative in (lambda g: g, jax.grad, jax.hessian):
            np.testing.assert_allclose(derivative(ours)(w), derivative(closed)(w), rtol=1e-4, atol=1e-5)


@pytest.mark.float32
def test_places_without_density():
    """A component that cannot have made the draw says nothing, and where none can it is impossible; no derivative is NaN."""

    def score(q, x):
        parts = [sf.Exponential(rate=q[0]), sf.Normal(loc=q[1], scale=1.0)]
        return sf.Mixture(logits=q[2:], components=parts).log_prob(x)

    run, q = jax.jit(jax.value_and_grad(score)), jnp.array([1.5, 0.3, 0.2, -0.4])
    value, slope = run(q, -0.5)
    np.testing.assert_allclose(value, scipy.stats.norm.logpdf(-0.8) + np.log(PROBS(q[2:])[1]), rtol=1e-5)
    np.testing.assert_allclose(slope[:2], [0, -0.8], rtol=1e-5)
    far, slope = run(q, 1e4)  # all densities are 0 in float32, and their logarithms are not
    assert np.isfinite(far) and np.all(np.isfinite(slope))
    both = jax.value_and_grad(
        lambda r: sf.Mixture(logits=jnp.zeros(2), components=sf.Exponential(rate=r)).log_prob(jnp.float32(-1.0))
    )
    value, slope = jax.jit(both)(jnp.array([1.0, 2.0]))
    assert value == -np.inf and np.all(slope == 0)
    forbidden = jnp.array([1.5, 0.3, -jnp.inf, -0.4])
    value, slope = run(forbidden, 0.5)
    np.testing.assert_allclose(value, scipy.stats.norm.logpdf(0.2), rtol=1e-5)
    assert np.all(np.isfinite(slope)) and slope[0] == 0


def test_draws_that_round_to_an_end_keep_a_finite_path():
    """Of gamma draws of concentration 0.02 half are 0 in float32: they stay there."""
    family = sf.family(
        lambda a: sf.Mixture(logits=jnp.zeros(2), components=sf.Gamma(concentration=a, rate=jnp.ones(2)))
    )
    grad = lambda key: sf.pathwise_grad(lambda x: x, family, jnp.array([0.02, 2.0]), key, num_samples=64)
    runs = sf.testing.replicate(grad, jax.random.key(0), 1000, batch=500)
    sf.testing.assert_unbiased(runs, np.array([0.5, 0.5]), precision=0.1)  # of E[x] = sum a / 2


@jax.jit
def without_unit(c):
    params = {"w": jnp.array([0.3, 0.1]), "loc": c * jnp.array([-1.0, 1.5]), "scale": c * jnp.array([0.7, 1.1])}
    grads = sf.pathwise_grad(lambda x: jnp.sin(x / c), sf.family(normals), params, jax.random.key(0))
    return {"w": grads["w"], "loc": c * grads["loc"], "scale": c * grads["scale"]}


@pytest.mark.parametrize("power", [-66, -33, 33, 66])
@pytest.mark.float32
def test_the_path_has_no_unit(power, unchecked_keys):
    """Of a draw in units of c, whatever c is."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4),
        without_unit(np.float32(2.0**power)),
        without_unit(np.float32(1)),
    )


# Lists


@pytest.mark.slow
def test_a_list_is_the_batch_of_its_components(unchecked_keys):
    batch = sf.Mixture(
        logits=jnp.array([0.3, -0.2]), components=sf.Gamma(concentration=jnp.array([0.7, 4.0]), rate=1.0)
    )
    parts = [sf.Gamma(concentration=0.7, rate=1), sf.Gamma(concentration=4.0, rate=1)]
    listed = sf.Mixture(logits=jnp.array([0.3, -0.2]), components=parts)
    assert listed.capabilities == batch.capabilities
    for key in jax.random.split(jax.random.key(0), 5):
        x = batch.sample(key)
        np.testing.assert_allclose(listed.sample(key), x, rtol=1e-6)
        np.testing.assert_allclose(listed.log_prob(x), batch.log_prob(x), rtol=1e-5)
    both = jax.jit(lambda: [sf.exact(lambda x: x**2, sf.family(lambda _: dist), 1.0) for dist in (batch, listed)])()
    np.testing.assert_allclose(*both, rtol=1e-5)
    grads = [
        jax.grad(lambda w, dist=dist: sf.Mixture(logits=w, components=dist.components).sample(jax.random.key(3)))(
            batch.logits
        )
        for dist in (batch, listed)
    ]
    np.testing.assert_allclose(*grads, rtol=1e-4)


@pytest.mark.slow
def test_counts_with_too_many_zeros():
    """A list of Poissons, one of them of rate 0: P(0) = w + (1 - w) exp(-rate), whose derivatives by the sum are exact."""
    inflated = sf.family(
        lambda p: sf.Mixture(
            probs=jnp.stack([p[0], 1 - p[0]]), components=[sf.Poisson(rate=0.0), sf.Poisson(rate=p[1])]
        )
    )
    p, zero = jnp.array([0.3, 2.5]), lambda x: (x == 0).astype(float)
    got = jax.jit(jax.value_and_grad(lambda p: sf.exact(zero, inflated, p, max_value=30)))(p)
    expected = jax.value_and_grad(lambda p: p[0] + (1 - p[0]) * jnp.exp(-p[1]))(p)
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(got[1], expected[1], rtol=1e-4)
    points = inflated.at(p).grid(max_value=30).points
    np.testing.assert_array_equal(points, np.arange(31))
    runs = sf.testing.replicate(
        lambda key: sf.score_function_grad(zero, inflated, p, key, num_samples=64), jax.random.key(0), 2000
    )
    sf.testing.assert_unbiased(runs, expected[1], precision=0.02)


@pytest.mark.float32
def test_components_of_several_kinds_are_summed_and_scored():
    """Normal data with outliers: a quadrature of both, and no path, since the ends and kinks of one are not those of the other."""
    build = lambda p: sf.Mixture(
        logits=p["w"], components=[sf.Normal(loc=p["m"], scale=1.0), sf.Laplace(loc=p["m"], scale=4.0)]
    )
    params = {"w": jnp.array([1.0, -1.0]), "m": jnp.float32(0.3)}
    loss = jax.jit(jax.value_and_grad(lambda p: sf.exact(lambda x: x**2, sf.family(build), p)))
    value, grads = loss(params)
    p = PROBS(params["w"])
    np.testing.assert_allclose(value, 0.09 + p[0] + 32 * p[1], rtol=1e-4)
    np.testing.assert_allclose(grads["w"], np.float32([-1, 1]) * p[0] * p[1] * 31, rtol=1e-4)
    dist = build(params)
    assert sf.Capability.REPARAMETERIZED not in dist.capabilities and sf.Capability.FROM_UNIFORM in dist.capabilities
    with pytest.raises(TypeError, match="Mixture of Laplace and Normal was differentiated"):
        jax.grad(lambda m: build({"w": params["w"], "m": m}).sample(jax.random.key(0)))(0.3)


# What is refused


def test_what_is_refused():
    key, two = jax.random.key(0), jnp.zeros(2)
    plane = lambda m: sf.Mixture(logits=two, components=sf.Normal(loc=m, scale=jnp.ones((2, 3))))
    beta = lambda a: sf.Mixture(logits=two, components=sf.Beta(a=a, b=1.0))
    for build, at, kind in ((plane, jnp.zeros((2, 3)), "Normal"), (beta, jnp.ones(2), "Beta")):
        with pytest.raises(
            TypeError, match="pathwise needs a distribution that has reparameterized draws; Mixture has"
        ):
            sf.pathwise_grad(jnp.sum, sf.family(build), at, key)
        with pytest.raises(TypeError, match=f"A draw of a Mixture of {kind} was differentiated in its parameters"):
            jax.grad(lambda p, build=build: jnp.sum(build(p).sample(jax.random.key(0))))(at)
    refused = (
        (ValueError, r"weights it got one Normal with fields of shapes \[\(3,\), \(3,\)\]", lambda: sf.Normal(loc=jnp.zeros(3), scale=1.0)),
        (ValueError, "with K = 2 weights it got 1 of them", lambda: [sf.Normal(loc=0.0, scale=1.0)]),
        (TypeError, "with K = 2 weights it got int", lambda: 3),
        (TypeError, "all of them discrete or all of them continuous", lambda: [sf.Poisson(rate=1.0), sf.Normal(loc=0.0, scale=1.0)]),
        (TypeError, "one structure, one shape, one dtype", lambda: [sf.Normal(loc=0.0, scale=1.0), sf.Laplace(loc=jnp.zeros(2), scale=1.0)]),
        (ValueError, r"Normal got scale=an array \[2\] with -1.0; scale must be above 0", lambda: sf.Normal(loc=two, scale=jnp.array([1.0, -1.0]))),
    )  # fmt: skip
    for error, message, components in refused:
        dist = sf.Mixture(logits=two, components=components())
        with pytest.raises(error, match=message):
            dist.sample(jax.random.key(0))
    for weights in (jnp.zeros((2, 2)), jnp.zeros((3, 2))):
        with pytest.raises(ValueError, match=r"Mixture wants logits of shape \(K,\)"):
            sf.Mixture(logits=weights, components=sf.Normal(loc=two, scale=1.0)).log_prob(0.0)
    with pytest.raises(ValueError, match="takes logits or probs"):
        sf.Mixture(components=sf.Normal(loc=two, scale=1.0)).log_prob(0.0)
    with pytest.raises(ValueError, match="The grid of Mixture has 64 points"):
        sf.Mixture(logits=two, components=sf.Normal(loc=two, scale=1.0)).grid(max_points=40)


# In a program


@pytest.mark.statistical
@pytest.mark.parametrize("rest", ["pathwise", "score"])
def test_a_program_sums_over_the_component_and_draws_the_rest(rest):
    """Which component it is, by the sum; then its number, by path or score."""

    def program(p, key):
        first, second = jax.random.split(key)
        k = sf.sample(first, sf.Categorical(logits=p["w"]), estimator="enumerate")
        return ONE(sf.sample(second, sf.Normal(loc=p["loc"][k], scale=p["scale"][k]), estimator=rest))

    value, grads, _ = truth("two normals")
    params = arrays(PROBLEMS["two normals"][1], jnp.float32)
    loss = jax.value_and_grad(sf.expectation(program, num_samples=64))
    runs = sf.testing.replicate(lambda key: loss(params, key), jax.random.key(0), 1000, batch=500)
    sf.testing.assert_unbiased(runs, (value, grads), precision=0.05)


@pytest.mark.statistical
def test_between_components_that_are_far_apart_the_path_of_a_weight_has_no_draws():
    """The limit that is stated: the derivative is carried by a place that is never drawn. By score and by the sum it is right."""
    params = {"w": jnp.array([0.3, -0.5]), "loc": jnp.array([-20.0, 20.0])}
    build = lambda w: sf.Mixture(logits=w, components=sf.Normal(loc=params["loc"], scale=1.0))
    exact = jax.grad(lambda w: PROBS(w) @ params["loc"])(params["w"])

    def program(w, key):
        first, second = jax.random.split(key)
        k = sf.sample(first, sf.Categorical(logits=w), estimator="enumerate")
        return sf.sample(second, sf.Normal(loc=params["loc"][k], scale=1.0), estimator="pathwise")

    summed = jax.grad(sf.expectation(program, num_samples=16))
    run = lambda grad: sf.testing.replicate(lambda key: grad(params["w"], key), jax.random.key(0), 1000, batch=500)
    by = lambda estimator: run(lambda w, key: estimator(lambda x: x, sf.family(build), w, key, num_samples=16))
    scored, lost = by(sf.score_function_grad), by(sf.pathwise_grad)
    for runs in (run(summed), scored):
        sf.testing.assert_unbiased(runs, exact, precision=0.5)
    assert np.all(np.abs(lost.mean(axis=0)) < 0.5 * np.abs(exact))


# Probabilities below and above


def number_of(name, dtype):
    """Parameters of one number of the distribution of a case."""
    return {field: leaf.reshape(-1)[0] for field, leaf in params_of(name, dtype).items()}


def test_the_distributions_whose_draws_can_move_are_named():
    planes = sf.Mixture(logits=jnp.zeros(2), components=sf.Normal(loc=jnp.zeros((2, 3)), scale=1.0))
    with pytest.raises(TypeError, match=f"of {', '.join(sorted(PATHS))}. Use a score-function estimator"):
        jax.grad(lambda m: jnp.sum(dataclasses.replace(planes, logits=m).sample(jax.random.key(0))))(jnp.zeros(2))
    assert {"Normal", "Gamma"} < set(PATHS) and not {"Beta", "VonMises", "TruncatedNormal", "Uniform"} & set(PATHS)


@pytest.mark.parametrize("name", PATHS)
def test_tails_have_their_own_digits(name):
    """From 1e-6 below to 1e-6 above, in float32 against scipy in float64."""
    params = number_of(name, jnp.float32)
    exact = CASES[name].reference(jax.tree.map(np.float64, params))
    x = exact.ppf([1e-6, 1e-4, 0.01, 0.2, 0.5, 0.8, 0.99]).tolist() + exact.isf([1e-4, 1e-6]).tolist()
    x = np.float32(x)
    below, above = jax.jit(jax.vmap(lambda x: tails(x, CASES[name].family.at(params))))(x)
    np.testing.assert_allclose(below, exact.cdf(np.float64(x)), rtol=2e-5)
    np.testing.assert_allclose(above, exact.sf(np.float64(x)), rtol=2e-5)


@pytest.mark.parametrize("name", covering(PATHS))
def test_velocities_keep_the_part_below(name, x64):
    """Once and twice, against differences of scipy's quantiles at one rank; so do numbers of a mixture of two."""
    start, unravel = jax.flatten_util.ravel_pytree(number_of(name, jnp.float64))
    exact = lambda numbers: CASES[name].reference(jax.tree.map(np.float64, unravel(jnp.asarray(numbers))))
    moving = lambda p: CASES[name].family.at(jax.tree.map(lambda leaf: leaf[None], unravel(p)))
    for rank in (0.03, 0.5, 0.9):
        x = jnp.float64(exact(start).ppf(rank))
        alone = lambda p: on_path(_velocity, x, sf.Mixture(probs=jnp.ones(1), components=moving(p)))
        got = jax.jit(lambda p: (jax.grad(alone)(p), jax.hessian(alone)(p)))(start)
        step = 1e-3 * np.eye(len(start))
        quantile = lambda shift: exact(start + shift).ppf(rank)
        slope = [(quantile(e) - quantile(-e)) / 2e-3 for e in step]
        bend = [
            [(quantile(e + d) - quantile(e - d) - quantile(d - e) + quantile(-e - d)) / 4e-6 for d in step]
            for e in step
        ]
        np.testing.assert_allclose(got[0], slope, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got[1], bend, rtol=1e-3, atol=2e-4)
