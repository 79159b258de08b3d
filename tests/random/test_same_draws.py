"""``sf.random`` against ``jax.random``: every name, the same draws bit for bit, for each kind of key, in both precisions."""

import inspect

import covering
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn as sf
from jax_scorefn import random
from jax_scorefn.programs import _source

PUBLIC = {name for name in dir(jax.random) if not name.startswith("_")} - {"prng"}
CONSIDERED = {
    "axis", "key", "shape", "dtype", "mode", "out_sharding", "unroll", "replace", "method",  # options
    "a", "alpha", "b", "cov", "concentration", "df", "dfden", "dfnum", "lam", "loc", "logits", "mean", "n", "p", "scale", "sigma",
    "minval", "maxval",
}  # fmt: skip
"""The arguments of ``jax.random``'s functions that a sampler of ours was written for."""


def unconsidered(names):
    return names - set(random.SAMPLERS)


def test_every_name_of_jax_random_was_considered():
    assert not unconsidered(PUBLIC), "a new name: a choice, pathwise or passed through? (random/__init__.py)"
    assert unconsidered(PUBLIC | {"zipf"}) == {"zipf"}
    assert {sampler.kind for sampler in random.SAMPLERS.values()} == {"choice", "pathwise", "passed through"}


def test_a_lost_derivative_has_a_remedy_for_each_discrete_sampler():
    choices = {name for name, sampler in random.SAMPLERS.items() if sampler.kind == "choice"}
    assert choices - {"wald"} == set(_source.SAMPLERS)  # which is continuous, and moves


@pytest.mark.parametrize("name", sorted(name for name in PUBLIC if random.SAMPLERS[name].function is not None))
def test_a_signature_is_that_of_jax_random(name):
    """And no argument of it is new: one that changes a distribution has to be known where it is scored."""
    ours, theirs = (dict(inspect.signature(getattr(module, name)).parameters) for module in (random, jax.random))
    assert set(theirs) <= CONSIDERED, set(theirs) - CONSIDERED
    options = {} if name == "randint" else {"estimator", "name", *(["max_value"] if "max_value" in ours else [])}
    for option in options:
        assert ours.pop(option).kind is inspect.Parameter.KEYWORD_ONLY
    assert ours == theirs


def test_everything_else_is_handed_through():
    for name in PUBLIC:
        sampler = random.SAMPLERS[name]
        assert getattr(random, name) is (sampler.function or getattr(jax.random, name))
    assert set(dir(random)) >= PUBLIC and sf.random is random
    with pytest.raises(AttributeError, match="zipf"):
        _ = random.zipf
    with pytest.raises(AttributeError, match="_src"):
        _ = random._src


CALLS = {
    "bits": lambda r, k, p: r.bits(k, (2,)),
    "bernoulli": lambda r, k, p: r.bernoulli(k, p),
    "bernoulli, shape": lambda r, k, p: r.bernoulli(k, p[:, None], (2, 3, 4)),
    "bernoulli, mode": lambda r, k, p: r.bernoulli(k, p, mode="high"),
    "bernoulli, half": lambda r, k, p: r.bernoulli(k, p.astype(jnp.bfloat16), (9, 3)),
    "bernoulli, number": lambda r, k, p: r.bernoulli(k, 0.3, (5,)),
    "bernoulli, none": lambda r, k, p: r.bernoulli(k, p, (0, 3)),
    "beta": lambda r, k, p: r.beta(k, p, 2.0 * p),
    "beta, dtype": lambda r, k, p: r.beta(k, p.astype(jnp.float16), 1.0, (4, 3), jnp.float16),
    "ball": lambda r, k, p: r.ball(k, 3, p[0]),
    "binomial": lambda r, k, p: r.binomial(k, 7, p),
    "binomial, shape": lambda r, k, p: r.binomial(k, jnp.array([[3.0], [40.5]], p.dtype), p, (5, 2, 3), jnp.float16),
    "binomial, none": lambda r, k, p: r.binomial(k, jnp.full(3, -1.0, p.dtype), p),
    "categorical": lambda r, k, p: r.categorical(k, jnp.log(p)),
    "categorical, axis": lambda r, k, p: r.categorical(k, jnp.tile(p[:, None, None], (1, 2, 4)), axis=0, shape=(5, 2, 4)),
    "categorical, broadcast": lambda r, k, p: r.categorical(k, jnp.log(p)[None], shape=(6,)),
    "categorical, mode": lambda r, k, p: r.categorical(k, jnp.log(p), mode="high"),
    "categorical, once each": lambda r, k, p: r.categorical(k, jnp.tile(p, (4, 1)), shape=(2, 4), replace=False),
    "categorical, once each, axis": lambda r, k, p: r.categorical(k, jnp.tile(p, (4, 1)), axis=0, shape=(2, 1, 3), replace=False),
    "cauchy": lambda r, k, p: r.cauchy(k),
    "chisquare": lambda r, k, p: r.chisquare(k, p),
    "choice": lambda r, k, p: r.choice(k, 3, (4,), p=p),
    "choice, entries": lambda r, k, p: r.choice(k, jnp.arange(6).reshape(2, 3), (2, 2), p=p, axis=1),
    "choice, once each": lambda r, k, p: r.choice(k, jnp.arange(6.0).reshape(3, 2), (3, 1), False, p, mode="high"),
    "choice, none": lambda r, k, p: r.choice(k, 3, (0,), p=p),
    "choice, alike": lambda r, k, p: r.choice(k, p, (2,)),
    "choice, alike, once each": lambda r, k, p: r.choice(k, p, (2,), replace=False),
    "dirichlet": lambda r, k, p: r.dirichlet(k, p),
    "dirichlet, shape": lambda r, k, p: r.dirichlet(k, p, (2,)),
    "double_sided_maxwell": lambda r, k, p: r.double_sided_maxwell(k, p, 1.0, (2,)),
    "exponential": lambda r, k, p: r.exponential(k),
    "f": lambda r, k, p: r.f(k, 3.0 + p, 5.0 + p),
    "gamma": lambda r, k, p: r.gamma(k, p),
    "generalized_normal": lambda r, k, p: r.generalized_normal(k, 1.0 + p, (2, 3)),
    "geometric": lambda r, k, p: r.geometric(k, p),
    "geometric, dtype": lambda r, k, p: r.geometric(k, p, (2, 3), jnp.int16),
    "gumbel": lambda r, k, p: r.gumbel(k),
    "laplace": lambda r, k, p: r.laplace(k),
    "loggamma": lambda r, k, p: r.loggamma(k, p),
    "logistic": lambda r, k, p: r.logistic(k),
    "lognormal": lambda r, k, p: r.lognormal(k, p),
    "maxwell": lambda r, k, p: r.maxwell(k),
    "multinomial": lambda r, k, p: r.multinomial(k, 5, p),
    "multinomial, rows": lambda r, k, p: r.multinomial(k, jnp.array([5.0, 3.0], p.dtype), jnp.stack([p, p[::-1]])),
    "multivariate_normal": lambda r, k, p: r.multivariate_normal(k, p, jnp.diag(p), (2,), method="eigh"),
    "normal": lambda r, k, p: r.normal(k, (2,), jnp.bfloat16),
    "orthogonal": lambda r, k, p: r.orthogonal(k, 2),
    "pareto": lambda r, k, p: r.pareto(k, p),
    "permutation": lambda r, k, p: r.permutation(k, p),
    "poisson": lambda r, k, p: r.poisson(k, 5.0 * p),
    "poisson, shape": lambda r, k, p: r.poisson(k, p, (2, 3), jnp.uint8),
    "rademacher": lambda r, k, p: r.rademacher(k),
    "randint": lambda r, k, p: r.randint(k, (4,), 0, 9),
    "randint, floats": lambda r, k, p: r.randint(k, (4,), -p[0], 9.5 * p[1]),
    "rayleigh": lambda r, k, p: r.rayleigh(k, p),
    "t": lambda r, k, p: r.t(k, 2.0 + p, p.shape),
    "triangular": lambda r, k, p: r.triangular(k, 0.0 * p, p, 1.0),
    "truncated_normal": lambda r, k, p: r.truncated_normal(k, -p, p),
    "uniform": lambda r, k, p: r.uniform(k, (3,), minval=-p, maxval=p),
    "wald": lambda r, k, p: r.wald(k, p),
    "weibull_min": lambda r, k, p: r.weibull_min(k, p, 2.0, (2, 3)),
}  # fmt: skip
DRAWS = PUBLIC - {
    "Key", "PRNGKey", "clone", "fold_in", "key", "key_data", "key_dtype", "key_impl", "random_gamma_p", "split", "wrap_key_data"
}  # fmt: skip
BY_THREEFRY = {"poisson"}


def test_every_sampler_is_called():
    assert {name.partition(",")[0] for name in CALLS} == DRAWS


def key_of(impl):
    return jax.random.PRNGKey(3) if impl == "legacy" else jax.random.key(3, impl=impl)


FEW = {
    "bernoulli, shape", "bernoulli, half", "categorical, axis", "categorical, once each, axis", "choice, entries", "choice, once each",
    "geometric, dtype", "pareto", "wald",
}  # fmt: skip
"""What compiles in no time."""
KEYS = [(impl, wide) for impl in ("threefry2x32", "rbg", "unsafe_rbg", "legacy") for wide in (False, True)]


def draws(module, impl, wide, names, run):
    """Of each call, mapped over keys and parameters."""
    calls = {n: CALLS[n] for n in names if impl in ("legacy", "threefry2x32") or n.partition(",")[0] not in BY_THREEFRY}

    def every(words, p):
        key = words if impl == "legacy" else jax.random.wrap_key_data(words, impl=impl)
        return {n: call(module, jax.random.fold_in(key, i), p) for i, (n, call) in enumerate(calls.items())}

    key = key_of(impl)
    words = jax.vmap(lambda i: _data(jax.random.fold_in(key, i)))(jnp.arange(2, dtype=jnp.uint32))
    p = jnp.array([[0.2, 0.3, 0.5], [0.01, 0.9, 0.09]], jnp.float64 if wide else jnp.float32)
    # jax.random promotes ranks itself, and its multinomial scans over keys, which the checker takes for reuse
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"), jax.debug_key_reuse(False):
        return run(jax.vmap(every), words, p)


def _data(key):
    return jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key


@pytest.mark.parametrize(
    ("names", "impl", "wide"),
    [
        *covering.covering(
            [(tuple(sorted(FEW)), *key) for key in KEYS], lambda _, impl, wide: wide, lambda _, impl, wide: impl == "rbg"
        ),
        *(pytest.param(tuple(CALLS), *key, marks=pytest.mark.slow) for key in KEYS),
    ],
    ids=lambda x: f"{len(x)} calls" if isinstance(x, tuple) else str(x),
)  # fmt: skip
@pytest.mark.default
def test_draws_are_those_of_jax_random(names, impl, wide):
    run = lambda f, *args: jax.jit(f)(*args)
    with jax.enable_x64(wide):
        ours, theirs = (draws(module, impl, wide, names, run) for module in (random, jax.random))
    assert list(ours) == list(theirs)
    for name, x in theirs.items():
        np.testing.assert_array_equal(np.asarray(ours[name]), np.asarray(x), err_msg=name)


@pytest.mark.parametrize(
    ("impl", "wide"), [("threefry2x32", False), pytest.param("legacy", True, marks=pytest.mark.slow)]
)
def test_shapes_and_dtypes_are_those_of_jax_random(impl, wide):
    with jax.enable_x64(wide):
        ours, theirs = (draws(module, impl, wide, CALLS, jax.eval_shape) for module in (random, jax.random))
    for name, x in theirs.items():
        assert (ours[name].shape, ours[name].dtype, ours[name].weak_type) == (x.shape, x.dtype, x.weak_type), name
