"""Each sampler inside of ``sf.expectation`` against exact values; outside a discrete one raises. Broken twins fail the same gates."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering

import jax_scorefn as sf
from jax_scorefn import random
from jax_scorefn.random._call import Call

P = jnp.array([0.2, 0.3, 0.5])
ROWS = jnp.array([[0.5, -1.0, 0.2], [0.1, 0.4, 1.0]])


def cost(x):
    """Of a draw of any dtype and shape: no sum of terms of one element each."""
    x = x.astype(float).reshape(-1)
    weights = jnp.arange(1.0, 1.0 + x.size)
    return jnp.sin(jnp.sum(weights * x)) + 0.5 * jnp.sum(weights * x**2)


def independent(table):
    """Rows of values and their probabilities, of independent parts."""
    for row in itertools.product(*table):
        yield [value for value, _ in row], math.prod(p for _, p in row)


def ordered(weights, number):
    """Ordered rows without repetition, and their probabilities."""
    for row in itertools.permutations(range(weights.shape[0]), number):
        left, p = jnp.sum(weights), 1.0
        for k in row:
            p, left = p * weights[k] / left, left - weights[k]
        yield list(row), p


def of_counts(n, p):
    return [(k, math.comb(n, k) * p**k * (1 - p) ** (n - k)) for k in range(n + 1)]


def of_rows(n, p):
    for row in itertools.product(range(n + 1), repeat=p.shape[0]):
        if sum(row) == n:
            ways = math.factorial(n) / math.prod(math.factorial(k) for k in row)
            yield row, ways * math.prod(p[i] ** k for i, k in enumerate(row))


def softmax(l):
    return jax.nn.softmax(l, axis=-1)


def each(p):
    return [(k, p[k]) for k in range(p.shape[0])]


def pairs_of(l):
    """Two rows, each of two numbers in order, laid out as ``categorical`` does: draws in front."""
    for (a, p), (b, q) in itertools.product(ordered(softmax(l[0]), 2), ordered(softmax(l[1]), 2)):
        yield [a[0], b[0], a[1], b[1]], p * q


MOST = 14
DISCRETE = {
    "bernoulli": (P, lambda k, p, **o: random.bernoulli(k, p, **o), lambda p: independent([[(0, 1 - q), (1, q)] for q in p])),
    "bernoulli, shape": (
        jnp.array(0.3), lambda k, p, **o: random.bernoulli(k, p, (2,), "high", **o), lambda p: independent([[(0, 1 - p), (1, p)]] * 2)
    ),
    "binomial": (
        P[:2], lambda k, p, **o: random.binomial(k, 3.0, p, **o), lambda p: independent([of_counts(3, q) for q in p])
    ),
    "binomial, ns": (
        P[:2], lambda k, p, **o: random.binomial(k, jnp.array([2, 3], jnp.int32), p, **o),
        lambda p: independent([of_counts(2, p[0]), of_counts(3, p[1])]),
    ),
    "categorical": (ROWS, lambda k, l, **o: random.categorical(k, l, **o), lambda l: independent([each(softmax(r)) for r in l])),
    "categorical, axis": (
        ROWS.T, lambda k, l, **o: random.categorical(k, l, axis=0, **o), lambda l: independent([each(softmax(r)) for r in l.T])
    ),
    "categorical, shape": (
        ROWS[0], lambda k, l, **o: random.categorical(k, l, shape=(2,), **o), lambda l: independent([each(softmax(l))] * 2)
    ),
    "categorical, once each": (ROWS, lambda k, l, **o: random.categorical(k, l, shape=(2, 2), replace=False, **o), pairs_of),
    "choice": (P, lambda k, p, **o: random.choice(k, 3, (2,), p=p, **o), lambda p: independent([each(p / jnp.sum(p))] * 2)),
    "choice, entries": (
        P, lambda k, p, **o: random.choice(k, jnp.array([[1.0, 2.0, 4.0], [0.0, 1.0, -1.0]]), p=p, axis=1, **o),
        lambda p: (([a, b], q) for a, b, q in zip((1.0, 2.0, 4.0), (0.0, 1.0, -1.0), p / jnp.sum(p), strict=True)),
    ),
    "choice, once each": (P, lambda k, p, **o: random.choice(k, 3, (2, 1), False, p, **o), lambda p: ordered(p, 2)),
    "geometric": (
        jnp.array(0.8), lambda k, p, **o: random.geometric(k, p, **o),
        lambda p: (([k], p * (1 - p) ** (k - 1)) for k in range(1, MOST + 1)),
    ),
    "multinomial": (
        P, lambda k, p, **o: random.multinomial(k, 3, p, **o), lambda p: of_rows(3, p / jnp.sum(p))
    ),
    "poisson": (
        jnp.array(0.7), lambda k, lam, **o: random.poisson(k, lam, **o),
        lambda lam: (([k], lam**k * jnp.exp(-lam) / float(math.factorial(k))) for k in range(MOST + 1)),
    ),
}  # fmt: skip
"""Parameters, the draw, and all values with their probabilities."""
ENDLESS = ("geometric", "poisson")


def exact(name):
    params, _, support = DISCRETE[name]
    return params, lambda p: sum(q * cost(jnp.array(x)) for x, q in support(p))


def program(name, **options):
    if options.get("estimator") == "exact" and name in ENDLESS:
        options["max_value"] = MOST
    return lambda p, key: cost(DISCRETE[name][1](key, p, **options))


def gate(gradient, params, truth, count=4000, precision=0.06):
    runs = sf.testing.replicate(lambda key: gradient(params, key), random.key(7), count)
    return sf.testing.assert_unbiased(runs, truth, precision=precision)


@pytest.mark.parametrize("name", covering(sorted(DISCRETE), lambda name: "once each" in name))
@pytest.mark.usefixtures("unchecked_keys")
def test_a_score_is_that_of_the_draw(name):
    params, value = exact(name)
    gate(jax.grad(sf.expectation(program(name), num_samples=8)), params, jax.grad(value)(params))


@pytest.mark.parametrize(
    "name", covering(sorted(set(DISCRETE) - {"binomial, ns"}), lambda name: name in ("choice, once each", "poisson"))
)
@pytest.mark.usefixtures("unchecked_keys")
def test_a_sum_over_the_support_is_exact(name):
    params, value = exact(name)
    loss = sf.expectation(program(name, estimator="exact"))
    got = jax.jit(jax.value_and_grad(loss))(params, random.key(0))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), got, jax.value_and_grad(value)(params)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bernoulli", "categorical, shape", "choice, once each", "poisson"])
def test_hessians(name):
    params, value = exact(name)
    truth = jax.hessian(value)(params)
    got = jax.jit(jax.hessian(sf.expectation(program(name, estimator="exact"))))(params, random.key(0))
    np.testing.assert_allclose(got, truth, rtol=1e-3, atol=1e-3)
    gate(jax.hessian(sf.expectation(program(name), num_samples=64)), params, truth, 8000, precision=0.15)


def test_a_count_of_trials_that_is_an_array_is_not_summed_over():
    with pytest.raises(TypeError, match="finite support"):
        sf.expectation(program("binomial, ns", estimator="exact"))(P[:2], random.key(0))


@pytest.mark.parametrize("broken", [lambda p: p**2, lambda p: 0.9 * p])
def test_a_score_of_other_parameters_fails_the_gate(broken):
    """The same draws by the same way, scored as if they were another distribution's; and rightly, which passes."""

    def scored(seen):
        def draw(p, key):
            options = {"estimator": "score_function", "name": "twin", "max_value": None}
            call = Call(jax.random.bernoulli, {"key": key, "p": p, "shape": (3,)}, options)
            return cost(call.choose("(),()->()", lambda p: sf.Bernoulli(probs=p), seen(p)))

        return jax.grad(sf.expectation(draw, num_samples=8))

    params, value = exact("bernoulli")
    gate(scored(lambda p: p), params, jax.grad(value)(params))
    with pytest.raises(AssertionError, match="biased"):
        gate(scored(broken), params, jax.grad(value)(params))


SINGLE = {name: lambda p, draw=draw: draw(random.key(1), p) for name, (_, draw, _) in DISCRETE.items()}
SINGLE["wald"] = lambda p: random.wald(random.key(1), p)


@pytest.mark.parametrize(
    "name", covering(sorted(SINGLE), lambda name: "once each" in name, lambda name: name == "wald")
)
def test_outside_it_raises(name):
    params = DISCRETE[name][0] if name in DISCRETE else P
    loss = lambda p: jnp.sum(SINGLE[name](p).astype(float))
    with pytest.raises(TypeError, match=f"The choice {name.partition(',')[0]} was differentiated"):
        jax.eval_shape(jax.grad(loss), params)
    with pytest.raises(TypeError, match="stop_gradient"):
        jax.eval_shape(lambda p: jax.jvp(loss, (p,), (p,)), params)
    stopped = jax.grad(lambda p: loss(jax.lax.stop_gradient(p)) + jnp.sum(p))
    assert jax.eval_shape(stopped, params).shape == params.shape


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit, lambda f: lambda p: jax.vmap(f)(p[None])[0]])
@pytest.mark.leaks
def test_outside_it_raises_eagerly_and_in_transformations(transform):
    loss = lambda l: random.categorical(random.key(0), l).astype(float)
    with pytest.raises(TypeError, match="The choice categorical was differentiated"):
        jax.grad(transform(loss))(P)


CONTINUOUS = {
    "ball": ((1.5,), lambda k, p: jnp.sum(jnp.abs(random.ball(k, 3, p)) ** p), lambda p: 3 / (3 + p)),
    "beta": ((0.3, 0.8), lambda k, a, b, **o: random.beta(k, a, b, **o), lambda a, b: a / (a + b)),
    "chisquare": ((3.0,), lambda k, df, **o: random.chisquare(k, df, **o) ** 2, lambda df: df**2 + 2 * df),
    "dirichlet": (
        (0.3, 0.8), lambda k, a, b, **o: random.dirichlet(k, jnp.stack([a, b, a]), **o)[0] ** 2,
        lambda a, b: a * (a + 1) / ((2 * a + b) * (2 * a + b + 1)),
    ),
    "double_sided_maxwell": (
        (0.3, 1.2), lambda k, m, s, **o: random.double_sided_maxwell(k, m, s, **o) ** 2, lambda m, s: m**2 + 3 * s**2
    ),
    "f": ((3.0, 12.0), lambda k, m, n, **o: random.f(k, m, n, **o), lambda m, n: n / (n - 2) + 0 * m),
    "gamma": ((0.7,), lambda k, a, **o: random.gamma(k, a, **o) ** 2, lambda a: a + a**2),
    "gamma, small": ((0.05,), lambda k, a, **o: random.gamma(k, a, **o), lambda a: a),
    "generalized_normal": (
        (1.5,), lambda k, p, **o: random.generalized_normal(k, p, **o) ** 2,
        lambda p: jnp.exp(jax.scipy.special.gammaln(3 / p) - jax.scipy.special.gammaln(1 / p)),
    ),
    "loggamma": ((0.7,), lambda k, a, **o: random.loggamma(k, a, **o), jax.scipy.special.digamma),
    "lognormal": ((0.6,), lambda k, s, **o: random.lognormal(k, s, **o), lambda s: jnp.exp(s**2 / 2)),
    "multivariate_normal": (
        (0.3, 1.2), lambda k, m, s, **o: jnp.sum(random.multivariate_normal(k, m * jnp.ones(2), s * jnp.eye(2) + 0.3, **o)) ** 2,
        lambda m, s: 4 * m**2 + 2 * s + 1.2,
    ),
    "pareto": ((2.5,), lambda k, b, **o: jnp.log(random.pareto(k, b, **o)), lambda b: 1 / b),
    "rayleigh": ((1.3,), lambda k, s, **o: random.rayleigh(k, s, **o) ** 2, lambda s: 2 * s**2),
    "t": ((12.0,), lambda k, df, **o: random.t(k, df, **o) ** 2, lambda df: df / (df - 2)),
    "triangular": ((0.3,), lambda k, m: random.triangular(k, 0.0, m, 1.0) ** 2, lambda m: (m**2 + 1 + m) / 6),
    "truncated_normal": (
        (-0.5,), lambda k, a: random.truncated_normal(k, a, 1.0),
        lambda a: (jax.scipy.stats.norm.pdf(a) - jax.scipy.stats.norm.pdf(1.0)) / (jax.scipy.stats.norm.cdf(1.0) - jax.scipy.stats.norm.cdf(a)),
    ),
    "uniform": ((0.3, 1.2), lambda k, a, b: random.uniform(k, minval=a, maxval=b) ** 2, lambda a, b: (a * a + a * b + b * b) / 3),
    "wald": ((0.7,), lambda k, m, **o: random.wald(k, m, **o) ** 2, lambda m: m**2 + m**3),
    "weibull_min": (
        (1.2, 1.7), lambda k, s, c, **o: random.weibull_min(k, s, c, **o) ** 2,
        lambda s, c: s**2 * jnp.exp(jax.scipy.special.gammaln(1 + 2 / c)),
    ),
}  # fmt: skip
PATHS = [name for name in CONTINUOUS if name not in ("wald", "gamma, small")]
SCORES = [name for name in CONTINUOUS if name not in ("ball", "triangular", "truncated_normal", "uniform")]


def test_every_continuous_sampler_is_examined():
    kinds = {name: sampler.kind for name, sampler in random.SAMPLERS.items()}
    assert set(PATHS) == {name for name, kind in kinds.items() if kind == "pathwise"}
    discrete = {name.partition(",")[0] for name in DISCRETE}
    assert discrete | {"wald"} == {name for name, kind in kinds.items() if kind == "choice"}


@pytest.mark.parametrize("name", covering(PATHS[::-1], lambda name: name == "triangular"))
def test_a_derivative_along_the_path_is_right(name):
    """So it may be taken without a word. That of ``jax.random.wald`` is wrong, and fails the gate."""
    params, draw, value = CONTINUOUS[name]
    params = tuple(map(jnp.asarray, params))
    truth = jax.grad(lambda params: value(*params))(params)
    slope = lambda key: jax.grad(lambda params: draw(key, *params))(params)
    sf.testing.assert_unbiased(sf.testing.replicate(slope, random.key(7), 40_000), truth, precision=0.05)


def test_the_derivative_of_wald_along_the_path_is_wrong():
    slope = lambda key: jax.grad(lambda m: jax.random.wald(key, m) ** 2)(0.7)
    runs = sf.testing.replicate(slope, random.key(7), 40_000)
    with pytest.raises(AssertionError, match="biased"):
        sf.testing.assert_unbiased(runs, 2 * 0.7 + 3 * 0.7**2, precision=0.05)


@pytest.mark.parametrize("name", covering(SCORES[::-1], lambda name: name in ("wald", "gamma, small")))
def test_a_continuous_draw_may_be_scored(name):
    params, draw, value = CONTINUOUS[name]
    params = tuple(map(jnp.asarray, params))
    options = {} if name == "wald" else {"estimator": "score_function"}
    loss = sf.expectation(lambda params, key: draw(key, *params, **options), num_samples=16)
    gate(jax.grad(loss), params, jax.grad(lambda params: value(*params))(params), 10_000, precision=0.05)
