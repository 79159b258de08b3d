"""Inputs at the edge that once gave a wrong number without a word, each held against what it should be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn as sf

BITS = sf.family(lambda p: sf.Bernoulli(probs=p))
NORMAL = sf.family(lambda m: sf.Normal(loc=m, scale=1.0))
GAMMA = sf.family(lambda a: sf.Gamma(concentration=a, rate=1.0))


def key(seed=0):
    return jax.random.key(seed)


@jax.jit
def derivatives_in_probabilities(p, q):
    """Of a bit, of two bits (second order), of three categories and of a count, in one compilation for all p."""
    rewards = jnp.array([5.0, 6.0, 10.0])
    return (
        sf.exact_grad(lambda x: x + 5.0, BITS, p),
        jax.hessian(lambda q: sf.exact(lambda x: x[0] * x[1], BITS, q))(jnp.stack([0.5, p])),
        sf.exact_grad(lambda x: rewards[x], sf.family(lambda q: sf.Categorical(probs=q)), q),
        sf.exact_grad(lambda x: x, sf.family(lambda q: sf.Binomial(total_count=3, probs=q)), p),
    )


@pytest.mark.parametrize("p", [0.0, 1.0, 0.3])
def test_exact_derivatives_in_probabilities_of_zero_and_one(p):
    bit, both, categories, counts = derivatives_in_probabilities(p, np.float32([0.5, 0.5, 0.0]))
    np.testing.assert_allclose(bit, 1.0, rtol=1e-5)
    np.testing.assert_allclose(both, [[0, 1], [1, 0]], atol=1e-6)
    np.testing.assert_allclose(categories, [-0.5, 0.5, 4.5], rtol=1e-5)
    np.testing.assert_allclose(counts, 3.0, rtol=1e-5)


@pytest.mark.default
@pytest.mark.nans
def test_nan_parameters_and_nan_draws_never_become_numbers():
    families = [
        (BITS, jnp.nan), (sf.family(lambda l: sf.Bernoulli(logits=l)), jnp.nan), (sf.family(lambda r: sf.Poisson(rate=r)), jnp.nan),
        (sf.family(lambda q: sf.Categorical(probs=q)), jnp.array([0.5, np.nan])),
        (sf.family(lambda q: sf.Categorical(logits=q)), jnp.array([0.5, np.nan])),
        (sf.family(lambda q: sf.Categorical(probs=q)), jnp.array([-1.0, 2.0])),
        (sf.family(lambda q: sf.Geometric(probs=q)), jnp.nan), (NORMAL, jnp.nan), (GAMMA, jnp.nan),
    ]  # fmt: skip
    f = lambda x: x.astype(float) + 5

    @jax.jit
    def run(params, x):
        sampled = [
            jax.value_and_grad(sf.score_function, argnums=2)(f, fam, p, key())
            for (fam, _), p in zip(families, params, strict=True)
        ]
        return sampled, [sf.exact(f, families[i][0], params[i]) for i in (0, 3)], [dist.log_prob(x) for dist in dists]

    dists = (
        sf.Uniform(low=0.0, high=1.0), sf.Bernoulli(logits=0.0), sf.Poisson(rate=1.0), sf.Binomial(total_count=2, probs=0.5),
        sf.Geometric(probs=0.5), sf.Normal(loc=0.0, scale=1.0), sf.Categorical(logits=jnp.zeros(3)),
    )  # fmt: skip
    sampled, exact, log_probs = run([params for _, params in families], jnp.full((), np.nan))
    for value, grads in sampled:
        assert np.isnan(value) and np.any(np.isnan(grads))
    assert np.all(np.isnan(exact)) and len(exact) == 2
    for dist, log_prob in zip(dists, log_probs, strict=True):
        assert np.isnan(log_prob), type(dist).__name__


@pytest.mark.float32
def test_many_categories_with_forbidden_ones_never_draw_one_of_them():
    """A rounded cumulative sum is not monotone: it moved by an ulp at forbidden entries, and they were drawn."""

    @jax.jit
    def run():
        logits = 2 * jax.random.normal(key(), (50_000,))
        logits = jnp.where(jax.random.bernoulli(key(100), 0.5, (50_000,)), logits, -jnp.inf)
        dist = sf.Categorical(logits=logits)
        uniforms = jnp.concatenate([jnp.float32([0.5263334512710571]), jax.random.uniform(key(), (2000,))])
        return logits, jax.lax.map(dist.from_uniform, uniforms)

    logits, drawn = jax.device_get(run())
    assert np.all(np.isfinite(logits[drawn]))


def test_half_precision_parameters_make_the_distribution_that_is_scored():
    zeros = jnp.zeros(1000, jnp.bfloat16)
    drawn = jax.jit(lambda: jax.vmap(sf.Categorical(logits=zeros).sample)(jax.random.split(key(), 20_000)))()
    assert len(np.unique(drawn)) == 1000
    rare = jax.jit(lambda p: sf.score_function(lambda x: x, BITS, p, key(), num_samples=200_000))(np.float16(0.001))
    np.testing.assert_allclose(rare, 0.001, rtol=0.3)
    grads = jax.eval_shape(lambda m: sf.score_function_grad(lambda x: x, NORMAL, m, key()), jnp.bfloat16(0.5))
    assert grads.dtype == jnp.bfloat16
    full = jnp.eye(2, dtype=jnp.bfloat16)
    draw = jax.eval_shape(lambda k: sf.MultivariateNormal(loc=jnp.zeros(2), covariance=full).sample(k), key())
    assert draw.dtype == jnp.float32


def test_a_small_success_probability_keeps_its_digits():
    log_prob = jax.jit(lambda p, n: sf.Geometric(probs=p).log_prob(n))
    np.testing.assert_allclose(log_prob(1e-6, 10**6), -14.81551, atol=1e-4)


def test_an_offset_in_f_does_not_drown_the_exact_gradient():
    categories = sf.family(lambda l: sf.Categorical(logits=l))

    @jax.jit
    def run(logits, m):
        plain = sf.exact_grad(lambda x: x, categories, logits)
        shifted = sf.exact_grad(lambda x: 1e6 + x.astype(float), categories, logits)
        return plain, shifted, jax.hessian(lambda m: sf.exact(lambda x: 1e6 + 0 * x, NORMAL, m))(m)

    plain, shifted, hessian = run(np.float32([0.1, 1.3, -0.7, 0.4]), 0.3)
    np.testing.assert_allclose(shifted, plain, atol=1e-5)
    assert abs(hessian) < 1e-6


def test_a_quadrature_says_what_it_does_not_reach():
    value = jax.jit(lambda a: sf.exact(lambda x: x, GAMMA, a, num_nodes=64))(50.0)
    np.testing.assert_allclose(value, 50.0, rtol=1e-4)
    run = jax.jit(lambda a: sf.exact(lambda x: x, GAMMA, a, has_aux=True))
    for concentration, missed in ((200.0, 1.0), (0.1, 0.6), (3.0, 0.0)):
        _, info = run(concentration)
        assert abs(info.omitted_mass - missed) < 0.1
    for fam in (NORMAL, GAMMA):
        with pytest.raises(ValueError, match="num_nodes=500 is more than this quadrature can be computed for"):
            sf.exact(lambda x: x, fam, 1.0, num_nodes=500)


def test_outside_the_support():
    dist = sf.TanhNormal(loc=0.0, scale=1.0)
    beyond, at_the_end, whole = jax.jit(lambda *xs: [dist.log_prob(x) for x in xs])(1.5, 1.0, 0)
    assert beyond == -np.inf and np.isfinite(at_the_end) and np.isfinite(whole)
    slopes = jax.jit(jax.grad(lambda a, b, x: sf.Beta(a=a, b=b).log_prob(x), argnums=(0, 1)))
    for x in (1.5, -0.5):
        assert slopes(1.2, 1.5, x) == (0.0, 0.0)
    with pytest.raises(ValueError, match=r"has shape \(2,\); log_prob got shape \(2, 2\)"):
        sf.MultivariateNormal(loc=jnp.zeros(2), scale_tril=jnp.eye(2)).log_prob(jnp.eye(2))
    assert jax.jit(sf.Categorical(logits=np.zeros(3, np.float32)).log_prob)(0.5) == -np.inf


def test_the_standard_error_of_weighted_draws_is_that_of_the_value():
    def run(k, baseline):
        log_p = lambda m, x: jax.scipy.stats.norm.logpdf(x, m, 1.0)
        xs = jax.random.normal(k, (400,))
        fam = sf.family(log_prob=log_p, samples=xs, log_proposal=log_p(0.0, xs), independent=True)
        value, info = sf.score_function(lambda x: 100.0 + x, fam, 0.5, None, has_aux=True, baseline=baseline)
        return value, info.value_standard_error

    for baseline, rtol in ((None, 0.15), ("auto", 0.25)):
        values, errors = jax.jit(jax.vmap(lambda k, b=baseline: run(k, b)))(jax.random.split(key(), 2000))
        np.testing.assert_allclose(errors.mean(), values.std(), rtol=rtol)


def test_the_order_is_limited_too_where_the_family_closes_over_the_parameter():
    def value(t):
        fam = sf.family(lambda p: sf.Normal(loc=p + t, scale=1.0))
        return sf.pathwise(lambda x: jnp.maximum(x, 0.0) ** 2, fam, 0.0, key())

    assert np.isfinite(jax.jit(jax.grad(jax.grad(value)))(0.3))
    with pytest.raises(TypeError, match="pathwise estimates derivatives up to order 2"):
        jax.eval_shape(jax.grad(jax.grad(jax.grad(value))), 0.3)


def test_a_baseline_does_not_widen_the_values():
    options = {"num_samples": 4, "baseline": lambda v: jnp.zeros((4, 1))}
    with pytest.raises(ValueError, match=r"returned shape \(4, 1\) for values of shape \(4,\)"):
        jax.eval_shape(lambda m: sf.score_function(jnp.square, NORMAL, m, key(), **options), 0.1)


@pytest.mark.parametrize(("result", "named"), [(None, "NoneType"), (1j, "complex"), ("3", "str")])
def test_a_black_box_that_returns_no_real_number_is_told_so(result, named):
    with pytest.raises(jax.errors.JaxRuntimeError, match=f"returned {named} of dtype"):
        jax.block_until_ready(sf.score_function(sf.black_box(lambda x: result), NORMAL, 0.0, key()))


def test_pathwise_with_aux_works_where_the_ends_of_a_uniform_distribution_move():
    moving = sf.family(lambda h: sf.Uniform(low=0.0, high=h))
    grads, info = jax.jit(lambda h: sf.pathwise_grad(lambda x: x, moving, h, key(), has_aux=True))(2.0)
    plain = jax.jit(lambda h: sf.pathwise_grad(lambda x: x, moving, h, key()))(2.0)
    np.testing.assert_allclose(grads, plain, rtol=1e-6)
    np.testing.assert_allclose(info.log_probs, np.log(0.5), rtol=1e-6)


def test_empty_and_smallest_inputs():
    constant = sf.black_box(lambda x: 1.0)
    assert jax.jit(lambda k: sf.score_function(constant, NORMAL, jnp.zeros(0), k))(key()) == 1.0
    assert abs(jax.jit(sf.Binomial(total_count=0, probs=0.3).log_prob)(0)) < 1e-6
    with pytest.raises(ValueError, match="at least one category"):
        sf.Categorical(logits=jnp.zeros(0)).log_prob(jnp.asarray(0))
    with pytest.raises(ValueError, match="of at least 1"):
        fam = sf.family(log_prob=lambda m, x: -((x - m) ** 2), samples=jnp.zeros(0))
        sf.score_function(jnp.square, fam, 0.0, None)
    with jax.enable_x64(True):
        assert sf.Normal(loc=0, scale=jnp.float32(1)).sample(key()).dtype == jnp.float32


@pytest.mark.statistical
def test_half_precision_logits_of_a_sequence_make_the_distribution_that_is_scored():
    logits = jnp.log(jnp.array([0.899, 0.1, 0.001])).astype(jnp.bfloat16)
    dist = sf.family(lambda p: sf.Autoregressive(step=lambda p, c, t: (c, p), params=p, carry=(), length=1))
    rare = jax.jit(lambda p: sf.score_function(lambda x: x[0] == 2, dist, p, jax.random.key(1), num_samples=200_000))(
        logits
    )
    assert abs(rare - 0.001) < 5 * np.sqrt(0.001 / 200_000)


@pytest.mark.parametrize("name", ["score_function", "exact", "rao_blackwell", "measure_valued", "sum_and_sample"])
def test_small_values_of_half_precision_keep_their_gradient(name):
    """F itself is in the range of float16; the share of one draw in the mean of its derivative is not."""
    how = {} if name == "exact" else {"num_samples": 1000}

    def run(dtype):
        f = lambda x: (x * jnp.asarray(1e-5, x.dtype)).astype(jnp.float16).astype(dtype)
        estimate = lambda p: getattr(sf, name)(f, BITS, p, key() if how else None, **how)
        return jax.jit(jax.value_and_grad(estimate))(jnp.full((), 0.3))

    (value, grads), (wide_value, wide_grads) = run(jnp.float16), run(jnp.float32)
    assert value.dtype == jnp.float16 and grads.dtype == jnp.result_type(float) and wide_grads > 5e-6
    np.testing.assert_allclose(grads, wide_grads, rtol=1e-5)
    np.testing.assert_allclose(
        value.astype(jnp.float32), wide_value, rtol=0.02
    )  # below 2^-14 numbers of float16 are far apart


def test_more_draws_than_half_precision_counts():
    f = lambda x: x.astype(jnp.float16)
    run = jax.jit(lambda k: sf.score_function(f, BITS, 0.3, k, num_samples=70_000, has_aux=True)[1])
    np.testing.assert_allclose(run(key()).value_standard_error, np.sqrt(0.3 * 0.7 / 70_000), rtol=0.02)


@pytest.mark.parametrize("make", [sf.Categorical, sf.OneHotCategorical])
@pytest.mark.float32
@pytest.mark.nans
def test_probabilities_that_are_all_zero_are_none(make):
    """NaN in value and gradient, of their row alone."""
    dist = sf.family(lambda p: make(probs=p))
    f = lambda x: jnp.sum(x.astype(float))
    for probs in (jnp.zeros(3), jnp.full(3, 1e-42)):
        value, grads = jax.jit(jax.value_and_grad(lambda p: sf.score_function(f, dist, p, key())))(probs)
        assert np.isnan(value) and np.all(np.isnan(grads))
        with pytest.raises(ValueError, match="with one above 0 along the last axis"):
            sf.score_function(f, dist, probs, key())
    log_prob = jax.jit(jax.grad(lambda p: make(probs=p).log_prob(make(probs=p).mode())))
    np.testing.assert_array_equal(np.isnan(log_prob(jnp.array([[0.5, 0.5, 0], [0, 0, 0]]))), [[False] * 3, [True] * 3])


def test_probabilities_whose_sum_is_too_large_for_a_float():
    dist = sf.family(lambda p: sf.Categorical(probs=p))
    f = lambda x: jnp.array([1.0, 2.0, 4.0])[x]
    large = np.float32([2e38, 2e38, 0.0])
    value, mean = jax.jit(lambda p: (sf.exact(f, dist, p), sf.OneHotCategorical(probs=p).mean()))(large)
    np.testing.assert_allclose(value, 1.5, rtol=1e-6)
    np.testing.assert_allclose(mean, [0.5, 0.5, 0.0], rtol=1e-6)
    small, grad = np.float32([0.2, 0.2, 0.0]), jax.jit(lambda p: sf.exact_grad(f, dist, p))
    np.testing.assert_allclose(grad(small), [-1.25, 1.25, 6.25], rtol=1e-5)
    np.testing.assert_allclose(grad(small * np.float32(1e37)) * np.float32(1e37), [-1.25, 1.25, 6.25], rtol=1e-5)


class Coin(sf.Distribution):
    """A distribution of one's own, made from uniforms of half precision."""

    def __init__(self, dtype):
        self.dtype = dtype

    def uniform_like(self):
        return jax.ShapeDtypeStruct((), self.dtype)

    def from_uniform(self, u):
        return u

    def from_uniform_and_log_prob(self, u):
        return u, jnp.zeros(())

    def log_prob(self, x):
        return jnp.zeros(())


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_uniforms_of_half_precision_are_below_1(dtype):
    dist = sf.family(lambda p: Coin(dtype))

    @jax.jit
    def run(one, other):
        _, info = sf.score_function(lambda x: x, dist, 0.5, one, num_samples=50_000, has_aux=True)
        sampled = jax.vmap(Coin(dtype).sample)(jax.random.split(other, 50_000))
        assert info.samples.dtype == dtype
        return info.samples.astype(jnp.float32), sampled.astype(jnp.float32)

    draws, sampled = jax.device_get(run(key(), key()))
    assert draws.min() >= 0 and draws.max() < 1
    step = float(jnp.finfo(dtype).eps)
    assert abs(draws.mean() - (0.5 - step / 2)) < 5 * np.sqrt(1 / 12 / 50_000)  # of a grid of that step, from 0
    assert sampled.min() >= 0 and sampled.max() < 1 and abs(sampled.mean() - draws.mean()) < 0.01


class Parts(sf.Distribution):
    """A distribution of one's own that says how uniforms make a draw, and nothing else of sampling."""

    def uniform_like(self):
        return {"a": jax.ShapeDtypeStruct((2, 3), jnp.float32), "b": jax.ShapeDtypeStruct((), jnp.float32)}

    def from_uniform(self, u):
        return u

    def log_prob(self, x):
        return jnp.sum(x["a"]) + x["b"]


@pytest.mark.float32
@pytest.mark.nans
def test_a_distribution_that_is_made_from_uniforms_needs_no_sampler():
    """Its leaves have the numbers of one jax.random.uniform, in the order of the leaves, in ``sample`` and in an estimator."""
    one = np.asarray(jax.random.uniform(key(), (7,)))
    draw = jax.device_get(jax.jit(lambda k: Parts().sample(k))(key()))
    np.testing.assert_array_equal(draw["a"], one[:6].reshape(2, 3))
    np.testing.assert_array_equal(draw["b"], one[6])
    family = sf.family(lambda p: Parts())
    one_draw = {"num_samples": 1, "baseline": None, "has_aux": True}
    _, info = jax.jit(lambda k: sf.score_function(lambda x: x["b"], family, 0.5, k, **one_draw))(key())
    np.testing.assert_array_equal(info.samples["a"][0], draw["a"])
    other = Parts().sample(
        jax.random.key(0, impl="rbg")
    )  # numbers without a counter: of the same shapes and distribution
    assert other["a"].shape == (2, 3) and other["b"].shape == () and 0 <= float(other["b"]) < 1
    assert float(other["b"]) not in np.asarray(other["a"])
    with pytest.raises(NotImplementedError):
        sf.Distribution().sample(key())
