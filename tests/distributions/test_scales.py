"""Distributions whose parameters are as small or as large as floats are: in units of its scale, each is the distribution of scale 1.

    log p(c x; c s)  =  log p(x; s) - log c          c d/ds (at c s)  =  d/ds (at s)

The factors are powers of two, so that nothing on the right is rounded.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES
from covering import covering

import jax_scorefn as sf

POWERS = {"float32": [-100, -66, -33, 33, 66, 100], "float64": [-900, -550, -270, 270, 550, 900]}


class Squares(sf.Normal):
    """The broken twin: a normal whose density squares the scale."""

    def _log_prob(self, x):
        return jax.scipy.stats.norm.logpdf(x, *self._fields())


DISTRIBUTIONS = {  # distribution, parameters in units of c, parameters in units of 1 / c, a draw
    "Normal": (sf.Normal, {"loc": 0.4, "scale": 0.7}, {}, 1.9),
    "MultivariateNormal": (
        sf.MultivariateNormal,
        {"loc": [0.4, -0.1], "scale_tril": [[0.7, 0.0], [0.3, 0.6]]},
        {},
        [1.9, 0.3],
    ),
    "Laplace": (sf.Laplace, {"loc": 0.4, "scale": 0.7}, {}, 1.9),
    "Logistic": (sf.Logistic, {"loc": 0.4, "scale": 0.7}, {}, 1.9),
    "Gumbel": (sf.Gumbel, {"loc": 0.4, "scale": 0.7}, {}, 1.9),
    "Cauchy": (sf.Cauchy, {"loc": 0.4, "scale": 0.7}, {}, 1.9),
    "Exponential": (sf.Exponential, {}, {"rate": 1.4}, 0.9),
    "Weibull": (lambda **p: sf.Weibull(concentration=1.7, **p), {"scale": 0.7}, {}, 1.3),
    "Gamma": (lambda **p: sf.Gamma(concentration=2.5, **p), {}, {"rate": 1.4}, 1.3),
    "TruncatedNormal": (
        lambda low, high, **p: sf.TruncatedNormal(
            low=jax.lax.stop_gradient(low), high=jax.lax.stop_gradient(high), **p
        ),
        {"loc": -0.6, "scale": 0.7, "low": -0.4, "high": 1.1},
        {},
        0.3,
    ),
    "Uniform": (lambda **p: sf.Uniform(**jax.lax.stop_gradient(p)), {"low": -0.4, "high": 0.7}, {}, 0.3),
}


def _rest_of(case, params):
    """The distribution of a case, with some of its parameters given and the others as they are."""
    return case.family.at(
        {n: jnp.asarray(v, jax.tree.leaves(params)[0].dtype) for n, v in case.params.items()} | params
    )


DISTRIBUTIONS |= {
    name: (functools.partial(lambda case, **p: _rest_of(case, p), case), {n: case.params[n] for n in case.units}, {}, case.reference({k: np.asarray(v) for k, v in case.params.items()}).ppf(0.8))
    for name, case in CASES.items() if case.units
}  # fmt: skip


def problem(name, dtype):
    """``c -> (dist, parameters, draw)`` where all have the unit c, and what takes the unit out of a gradient."""
    make, scales, rates, x = (Squares, *DISTRIBUTIONS["Normal"][1:]) if name == "twin" else DISTRIBUTIONS[name]
    number = lambda value: np.asarray(value, dtype)

    def at(c):
        params = {n: c * number(v) for n, v in scales.items()} | {n: number(v) / c for n, v in rates.items()}
        return params, c * number(x)

    def bare(grads, c):
        return {n: c * g if n in scales else g / c for n, g in grads.items()}

    return lambda p: make(**p), at, bare


def densities(name, dtype):
    """``c ->`` the log-density and its derivatives without units: by both modes, and second ones in the logarithm of the unit."""
    build, at, bare = problem(name, dtype)

    def run(c):
        params, x = at(c)
        log_prob = lambda p, x: build(p).log_prob(x)
        value, (slopes, in_x) = jax.value_and_grad(log_prob, argnums=(0, 1))(params, x)
        forward = {
            n: jax.jvp(lambda v, n=n: log_prob(params | {n: v}, x), (p,), (jnp.ones_like(p),))[1]
            for n, p in params.items()
        }
        twice = [n for n in params if (name, n) != ("Laplace", "loc")]  # its density has a corner there
        moved = lambda t: params | {n: params[n] * jnp.exp(t) for n in twice}
        zero = jnp.zeros((), dtype)
        second = jax.hessian(lambda t: log_prob(moved(t), x))(zero)
        return value + x.size * jnp.log(c), bare(slopes, c), c * in_x, bare(forward, c), second

    return jax.jit(run)


def moments(name, dtype):
    """``c ->`` mean and covariance without units, and the mean's derivative."""
    build, at, bare = problem(name, dtype)

    def run(c):
        params, _ = at(c)
        mean, slope = jax.vjp(lambda p: build(p).mean(), params)
        per = jnp.full_like(mean, 1 / c)
        return mean / c, build(params).covariance_times(per) / c, bare(slope(per)[0], c)

    return jax.jit(run)


GRADIENTS = {
    "score_function": (sf.score_function_grad, {"num_samples": 8}),
    "pathwise": (sf.pathwise_grad, {"num_samples": 8}),
    "measure_valued": (sf.measure_valued_grad, {"num_samples": 4}),
    "exact": (sf.exact_grad, {"num_nodes": 8}),
}


def gradients(name, dtype):
    """``c ->`` gradients without units of the mean of a function of x / c, of the same uniforms."""
    build, at, bare = problem(name, dtype)

    def run(c):
        params, _ = at(c)
        f = lambda x: jnp.sum(jnp.cos(x / c) if name == "Cauchy" else (x / c) ** 2)
        family = sf.family(build)
        able = [n for n in GRADIENTS if not sf.ESTIMATORS[n].missing(build(params))]
        out = {}
        for estimator in able:
            grad, options = GRADIENTS[estimator]
            key = () if estimator == "exact" else (jax.random.key(0),)
            out[estimator] = bare(grad(f, family, params, *key, **options), c)
        return out

    return jax.jit(run)


def same_in_units(run, dtype, powers, rtol):
    two = np.asarray(2, dtype)
    expected = run(two**0)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(expected))
    for power in powers:
        check = lambda got, want, power=power: np.testing.assert_allclose(
            got, want, rtol=rtol, atol=rtol, err_msg=f"2^{power}"
        )
        jax.tree.map(check, run(two**power), expected)


AXES = (DISTRIBUTIONS, (densities, moments), POWERS)
EACH = [row for row in itertools.product(*AXES) if row[:2] != ("Cauchy", moments)]


@pytest.mark.parametrize(("name", "what", "dtype"), covering(EACH))
def test_densities_and_moments_have_no_unit(name, dtype, what):
    with jax.enable_x64(dtype == "float64"):
        same_in_units(what(name, dtype), dtype, POWERS[dtype], {"float32": 3e-5, "float64": 1e-12}[dtype])


def test_a_density_that_squares_its_scale_is_found_out():
    for power in (-66, 66):
        with pytest.raises(AssertionError, match=f"2\\^{power}"):
            same_in_units(densities("twin", "float32"), "float32", [power], 3e-5)


@pytest.mark.parametrize(
    ("name", "dtype"), covering([(n, d) for d in POWERS for n in DISTRIBUTIONS], lambda name, dtype: dtype)
)
def test_gradients_of_estimators_have_no_unit(name, dtype, unchecked_keys):
    with jax.enable_x64(dtype == "float64"):
        same_in_units(gradients(name, dtype), dtype, POWERS[dtype], {"float32": 1e-4, "float64": 1e-11}[dtype])


@pytest.mark.parametrize("power", [-100, -33, 33, 100])
def test_the_score_in_the_scale_behind_a_tanh(power):
    """Of a draw loc + scale z it is (z^2 - 1) / scale."""
    scale, key = jnp.asarray(2.0**power), jax.random.key(0)
    score = jax.jit(jax.grad(lambda s: sf.TanhNormal(loc=jnp.zeros(5), scale=s).sample_and_log_prob(key)[1]))
    z = jax.random.normal(jax.random.clone(key), (5,))
    np.testing.assert_allclose(scale * score(scale), jnp.sum(z**2 - 1), rtol=1e-4)


def test_probabilities_without_a_norm_may_be_of_any_size():
    probs, t = np.float32([0.2, 0.5, 0.3]), np.float32([1.0, 3.0, -2.0])
    slope = jax.jit(jax.grad(lambda q: t @ sf.OneHotCategorical(probs=q).mean()))
    for power in (-100, -33, 33, 64, 100):
        c = np.float32(2.0) ** power
        np.testing.assert_allclose(c * slope(c * probs), t - t @ probs, rtol=1e-5)
