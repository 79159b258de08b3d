"""The distributions: densities against scipy, draws against jax.random, edges, and what is refused."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from cases import CASES, OF_A_FAMILY, maker, params_of
from covering import covering
from hypothesis import given, settings, strategies as st

import jax_scorefn as sf
from jax_scorefn.typing import Capability


def uniforms(dist, key):
    return jax.tree.map(lambda like, k: jax.random.uniform(k, like.shape, like.dtype), dist.uniform_like(), key)


def test_every_distribution_that_is_no_family_s_own_has_a_density_to_be_held_against():
    known = {name for name, case in CASES.items() if case.reference is not None or case.textbook is not None}
    assert known == set(CASES) - OF_A_FAMILY


@pytest.mark.parametrize("name", sorted(name for name, case in CASES.items() if case.textbook is not None))
@pytest.mark.float32
def test_log_prob_is_the_textbook_one(name):
    dist, x, expected = CASES[name].textbook
    got = jax.jit(dist.log_prob)(x)
    assert type(dist) is CASES[name].dist and got.shape == () and got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, rtol=2e-5)


def in_both(names, method):
    """By default whoever has the method of its own, in one precision; all of them in both in the long run."""
    cases = [(name, dtype) for name in names for dtype in ("float32", "float64")]
    return covering(cases, lambda name, dtype: maker(name, method), lambda name, dtype: dtype)


JAX_RANDOM = {
    "Normal": lambda p, k: p["loc"] + jnp.exp(p["log_scale"]) * jax.random.normal(k, (2,), p["loc"].dtype),
    "MultivariateNormal": lambda p, k: p["loc"] + p["tril"] @ jax.random.normal(k, (2,), p["loc"].dtype),
    "TanhNormal": lambda p, k: jnp.tanh(p["loc"] + p["scale"] * jax.random.normal(k, (), p["loc"].dtype)),
    "Laplace": lambda p, k: p["loc"] + p["scale"] * jax.random.laplace(k, (), p["loc"].dtype),
    "Logistic": lambda p, k: p["loc"] + p["scale"] * jax.random.logistic(k, (), p["loc"].dtype),
    "Gumbel": lambda p, k: p["loc"] + p["scale"] * jax.random.gumbel(k, (), p["loc"].dtype),
    "Cauchy": lambda p, k: p["loc"] + p["scale"] * jax.random.cauchy(k, (), p["loc"].dtype),
    "Exponential": lambda p, k: jax.random.exponential(k, (), p["rate"].dtype) / p["rate"],
    "Weibull": lambda p, k: jax.random.weibull_min(k, p["scale"], p["a"], (), p["a"].dtype),
    "Uniform": lambda p, k: jax.random.uniform(k, (), p["w"].dtype, minval=-1.0, maxval=2.0),
    "Bernoulli": lambda p, k: jax.random.bernoulli(k, jax.nn.sigmoid(p["l"])).astype(p["l"].dtype),
    "Binomial": lambda p, k: jax.random.binomial(
        k, jnp.asarray(5, p["l"].dtype), jax.nn.sigmoid(p["l"]), dtype=p["l"].dtype).astype(jnp.int32),
    "Multinomial": lambda p, k: jax.random.multinomial(
        k, jnp.asarray(4, p["l"].dtype), jax.nn.softmax(p["l"]), dtype=p["l"].dtype).astype(jnp.int32),
    "Geometric": lambda p, k: jax.random.geometric(k, p["p"], dtype=jnp.int32),
    "Poisson": lambda p, k: jax.random.poisson(k, p["rate"], dtype=jnp.int32),
    "Dirichlet": lambda p, k: jax.random.dirichlet(k, p["a"], dtype=p["a"].dtype),
    "Gamma": lambda p, k: jnp.exp(jax.random.loggamma(k, p["a"], dtype=p["a"].dtype) - jnp.log(p["rate"])),
}  # fmt: skip


def one_of_two(p, key):
    choice, draw = jax.random.uniform(key, (2,), p["w"].dtype)
    k = (jax.nn.softmax(p["w"])[0] <= choice).astype(int)
    low = np.nextafter(np.asarray(-1, p["w"].dtype), np.asarray(0, p["w"].dtype))
    normal = np.sqrt(2).astype(p["w"].dtype) * jax.lax.erf_inv(jnp.maximum(low, draw * (1 - low) + low))
    return p["loc"][k] + p["scale"][k] * normal


JAX_RANDOM["Mixture"] = one_of_two


def gamma_poisson(p, key):
    key_gamma, key_count = jax.random.split(key)
    log_gamma = jax.random.loggamma(key_gamma, p["r"], dtype=p["r"].dtype)
    return jax.random.poisson(key_count, jnp.exp(log_gamma + p["l"]), dtype=jnp.int32)


JAX_RANDOM["NegativeBinomial"] = gamma_poisson


@pytest.mark.parametrize(
    ("name", "dtype"), in_both(sorted(name for name, case in CASES.items() if case.random is not None), "sample")
)
def test_a_draw_is_that_of_jax_random_but_for_rounding(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        case, params = CASES[name], params_of(name, dtype)
        keys = jax.random.split(jax.random.key(5), 20)
        ours, theirs = case.family.at(params).sample, lambda key: case.random(params, jax.random.clone(key))
        got, expected = jax.jit(jax.vmap(lambda key: (ours(key), theirs(key))))(keys)
        assert got.dtype == expected.dtype == dtype
        np.testing.assert_allclose(got, expected, rtol=64 * np.finfo(dtype).eps, atol=16 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("name", "dtype"), in_both(sorted(JAX_RANDOM), "sample"))
def test_a_draw_is_that_of_jax_random(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        params = params_of(name, dtype)
        ours, theirs = lambda p, k: CASES[name].family.at(p).sample(k), JAX_RANDOM[name]
        got, expected = jax.jit(lambda p, k: (ours(p, k), theirs(p, jax.random.clone(k))))(params, jax.random.key(5))
        assert got.dtype == expected.dtype and got.shape == expected.shape
        if name == "Mixture":  # XLA may round loc + scale z in between, or not
            np.testing.assert_allclose(got, expected, rtol=8 * np.finfo(dtype).eps)
        else:
            np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(ours(params, jax.random.key(5)), theirs(params, jax.random.key(5)))


FROM_UNIFORM = [
    name
    for name in CASES
    if Capability.FROM_UNIFORM in CASES[name].family.at(params_of(name, jnp.float32)).capabilities
]


@pytest.mark.parametrize(("name", "dtype"), in_both(FROM_UNIFORM, "from_uniform"))
def test_from_uniform_makes_the_draw_of_sample(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        dist = CASES[name].family.at(params_of(name, dtype))
        leaves, treedef = jax.tree.flatten(dist.uniform_like())
        sizes = [math.prod(leaf.shape) for leaf in leaves]

        def given(k):
            """All of them in a row, cut into leaves."""
            row = jnp.split(jax.random.uniform(k, (sum(sizes),), leaves[0].dtype), np.cumsum(sizes)[:-1])
            return treedef.unflatten([part.reshape(leaf.shape) for part, leaf in zip(row, leaves, strict=True)])

        draw = jax.jit(lambda k: dist.sample(k))
        make = jax.jit(lambda k: dist.from_uniform(given(k)))
        for seed in range(20):
            x, y = draw(jax.random.key(seed)), make(jax.random.key(seed))
            assert x.dtype == y.dtype
            if x.dtype.kind != "f":
                np.testing.assert_array_equal(x, y)
            elif name in ("Normal", "TanhNormal", "Mixture"):
                # loc + scale z may nearly cancel, and XLA may round in between or not
                eps = np.finfo(x.dtype).eps
                np.testing.assert_allclose(x, y, rtol=4 * eps, atol=2 * eps)
            else:
                np.testing.assert_array_max_ulp(x, y, maxulp=2)


def drawn_by_uniforms(kind):
    """Whether it has no sampler of its own."""
    return kind.sample is sf.Distribution.sample and sf.Capability.SAMPLE in kind.capabilities


@pytest.mark.float32
def test_distributions_with_uniforms_are_the_ones_that_say_so():
    """All that have no other sampler; and those that are made of others, where these have."""
    made_of_others = {"Mixture", "Joint"}
    alone = {name: case.dist for name, case in CASES.items() if name not in made_of_others}
    assert set(FROM_UNIFORM) - made_of_others == {name for name, kind in alone.items() if drawn_by_uniforms(kind)}
    assert "Mixture" in FROM_UNIFORM and "Normal" in FROM_UNIFORM and "Gamma" not in FROM_UNIFORM
    pair = sf.Joint({"a": sf.Normal(loc=0.0, scale=1.0), "b": sf.Bernoulli(logits=jnp.zeros(3))})
    assert Capability.FROM_UNIFORM in pair.capabilities
    u = {"a": jnp.float32(0.5), "b": jnp.array([0.1, 0.6, 0.4])}
    assert jax.tree.map(lambda like: like.shape, pair.uniform_like()) == {"a": (), "b": (3,)}
    drawn = pair.from_uniform(u)
    np.testing.assert_allclose(drawn["a"], 0.0, atol=1e-6)
    np.testing.assert_array_equal(drawn["b"], [1, 0, 1])


@pytest.mark.statistical
@pytest.mark.parametrize(
    "logits", [[0.0, 1.0, -2.0, 0.5], [-40.0, 40.0, 39.0, 0.0], [-np.inf, 0.3, -np.inf, 0.0], [0.0] * 4]
)
@pytest.mark.parametrize("between", [0, 20])
@pytest.mark.float32
def test_categories_have_their_probabilities(logits, between):
    """Chi-square at a million draws; a twin whose probabilities are off by 1 % must fail. Few categories, and many forbidden ones
    between."""
    logits = jnp.array([*logits[:2], *[-np.inf] * between, *logits[2:]], jnp.float32)
    u = jax.random.uniform(jax.random.key(0), (1_000_000,))
    x = jax.jit(jax.vmap(sf.Categorical(logits=logits).from_uniform))(u)
    counts = np.bincount(np.asarray(x), minlength=len(logits))
    probs = np.asarray(jax.nn.softmax(logits), np.float64)
    kept = probs > 1e-7
    assert counts[~kept].sum() <= 1 and counts.sum() == 1_000_000

    def p_value(expected):
        expected = expected / expected.sum()
        return scipy.stats.chisquare(counts[kept], 1_000_000 * expected[kept]).pvalue

    assert p_value(probs) > 1e-4
    if kept.sum() > 1:
        tilted = probs * np.where(np.arange(len(logits)) == np.argmax(probs), 1.01, 1.0)
        assert p_value(tilted) < 1e-4


@pytest.mark.parametrize("forbidden", [1, 20])
@pytest.mark.float32
def test_the_last_uniform_never_picks_a_forbidden_category(forbidden):
    dist = sf.Categorical(logits=jnp.array([0.3, 0.1, *[-jnp.inf] * forbidden]))
    edge = np.array([0.0, np.nextafter(np.float32(1), np.float32(0))], np.float32)
    np.testing.assert_array_equal(jax.jit(jax.vmap(dist.from_uniform))(edge), [0, 1])
    assert jax.jit(sf.Categorical(logits=jnp.zeros(1)).from_uniform)(np.float32(0.9999999)) == 0


@jax.jit
def log_probs_and_slopes(logit):
    """Of a bit (0 and 1) and of a count (0 and 2)."""
    bit, count = (lambda l: sf.Bernoulli(logits=l)), (lambda l: sf.Binomial(total_count=2, logits=l))
    cases = ((bit, 0.0), (bit, 1.0), (count, 0), (count, 2))
    return [jax.value_and_grad(lambda l, x=x, dist=dist: dist(l).log_prob(x))(logit) for dist, x in cases]


@pytest.mark.parametrize("logit", [40.0, -40.0, 25.0, -25.0, np.inf, -np.inf])
def test_log_space_keeps_values_and_derivatives_at_extreme_logits(logit):
    for x, (value, slope) in zip((0, 1, 0, 2), log_probs_and_slopes(np.float32(logit)), strict=True):
        likely = (x > 0) == (logit > 0)
        assert not np.isnan(value) and np.isfinite(slope)
        assert np.isfinite(value) or (not likely and np.isinf(logit))
        assert abs(float(slope)) > 0.9 or likely


def test_impossible_values_have_log_probability_minus_infinity():
    cases = (
        (sf.Bernoulli(logits=0.0), 0.5), (sf.Categorical(logits=jnp.zeros(3)), 3), (sf.Categorical(logits=jnp.zeros(3)), -1),
        (sf.Binomial(total_count=3, probs=0.5), 4), (sf.BetaBinomial(total_count=3, a=0.5, b=1.0), 4), (sf.Geometric(probs=0.5), 0), (sf.Poisson(rate=1.0), -1), (sf.NegativeBinomial(total_count=2.0, probs=0.5), -1),
        (sf.Exponential(rate=1.0), -0.5), (sf.Weibull(concentration=1.5, scale=1.0), -0.5), (sf.Uniform(low=0.0, high=1.0), 2.0), (sf.Poisson(rate=1.0), 1.5),
    )  # fmt: skip
    log_probs = jax.jit(lambda xs: [dist.log_prob(x) for (dist, _), x in zip(cases, xs, strict=True)])(
        [jnp.asarray(x) for _, x in cases]
    )
    for (dist, _), log_prob in zip(cases, log_probs, strict=True):
        assert log_prob == -np.inf, type(dist).__name__


def test_probabilities_of_zero_and_one_have_finite_derivatives():
    for dist in (lambda p: sf.Bernoulli(probs=p), lambda p: sf.Binomial(total_count=1, probs=p)):
        run = jax.jit(jax.value_and_grad(lambda q, x, dist=dist: dist(q).log_prob(x)))
        for p, x in ((0.0, 0), (1.0, 1)):
            value, slope = run(p, np.int32(x))
            assert abs(value) < 1e-6 and np.isfinite(slope)
    grads = jax.jit(jax.grad(lambda p: sf.Categorical(probs=p).log_prob(jnp.asarray(1))))(np.float32([0.0, 0.4, 0.6]))
    assert np.all(np.isfinite(grads))


def test_infinite_and_missing_categories_are_scored_and_never_nan():
    dist = lambda l: sf.Categorical(logits=jnp.stack([l, jnp.float32(-jnp.inf), jnp.float32(0.0)]))
    value, slope = jax.jit(jax.value_and_grad(lambda l: dist(l).log_prob(jnp.asarray(0))))(np.float32(0.0))
    np.testing.assert_allclose([value, slope], [np.log(0.5), 0.5], rtol=1e-6)


def test_draws_that_round_to_an_end_keep_a_finite_right_score():
    """Gamma and Weibull of concentration .01 underflow, Beta(.05, .05) rounds to 1, tanh saturates: scores stay finite, mean 0."""
    for build, p in (
        (lambda a: sf.Gamma(concentration=a, rate=1.0), 0.01), (lambda a: sf.Beta(a=a, b=0.05), 0.05),
        (lambda m: sf.TanhNormal(loc=m, scale=1.0), 12.0), (lambda a: sf.Weibull(concentration=a, scale=1.0), 0.01),
    ):  # fmt: skip
        score = lambda key, build=build, p=p: jax.grad(lambda q: build(q).sample_and_log_prob(key)[1])(p)
        runs = sf.testing.replicate(score, jax.random.key(0), 20_000, batch=20_000)
        assert np.all(np.isfinite(runs))
        z = runs.mean() / (runs.std() / np.sqrt(len(runs)))
        assert abs(z) < 5 and runs.std() > 0.5
    edge = jax.vmap(jax.grad(lambda x, m: sf.TanhNormal(loc=m, scale=1.0).log_prob(x), argnums=1), (0, None))
    assert np.all(np.isfinite(jax.jit(edge)(np.float32([-1.0, 1.0]), 0.0)))


@settings(max_examples=8, deadline=None, derandomize=True)
@given(shape=st.lists(st.integers(1, 3), max_size=3).map(tuple), extra=st.booleans())
def test_parameters_broadcast_to_one_event(shape, extra):
    loc = jnp.zeros(shape)
    dist = sf.Normal(loc=loc, scale=jnp.ones(shape[-1:]) if extra else 1.0)
    x, log_prob = jax.jit(lambda k: (lambda x: (x, dist.log_prob(x)))(dist.sample(k)))(jax.random.key(0))
    assert x.shape == shape and log_prob.shape == ()
    np.testing.assert_allclose(log_prob, scipy.stats.norm.logpdf(np.asarray(x)).sum(), rtol=1e-4)


def test_distributions_are_pytrees_that_vmap_and_carry_no_validation():
    dists = jax.vmap(lambda m: sf.Normal(loc=m, scale=1.0))(jnp.arange(3.0))
    assert dists.loc.shape == (3,)
    draws = jax.vmap(lambda dist, key: dist.sample(key), in_axes=(sf.Normal(loc=0, scale=0), 0))(
        dists, jax.random.split(jax.random.key(0), 3)
    )
    assert draws.shape == (3,)
    odd = jax.tree.map(lambda _: None, sf.Bernoulli(logits=1.0))
    assert isinstance(odd, sf.Bernoulli)
    assert jax.tree.structure(sf.Binomial(total_count=3, probs=0.5)) != jax.tree.structure(
        sf.Binomial(total_count=4, probs=0.5)
    )


def test_constructors_take_one_of_logits_and_probs_by_name():
    with pytest.raises(TypeError, match="by name"):
        sf.Bernoulli(0.0)
    for dist in (sf.Bernoulli(), sf.Bernoulli(logits=0.0, probs=0.5), sf.Categorical(), sf.Geometric()):
        with pytest.raises(ValueError, match="takes logits or probs, one of the two and not both"):
            dist.log_prob(jnp.asarray(1))
    with pytest.raises(ValueError, match="scale_tril or covariance"):
        sf.MultivariateNormal(loc=jnp.zeros(2)).log_prob(jnp.zeros(2))
    with pytest.raises(ValueError, match=r"loc of shape \(D,\)"):
        sf.MultivariateNormal(loc=jnp.zeros(2), scale_tril=jnp.eye(3)).log_prob(jnp.zeros(2))
    with pytest.raises(TypeError, match=r"Normal got loc of dtype int(32|64)"):
        sf.Normal(loc=jnp.arange(3), scale=1.0).log_prob(jnp.zeros(3))
    with pytest.raises(ValueError, match="last axis of K categories"):
        sf.Categorical(logits=0.0).log_prob(jnp.asarray(0))


def test_grids_refuse_what_is_too_large_or_endless():
    many = sf.family(lambda l: sf.Bernoulli(logits=l))
    with pytest.raises(ValueError, match=r"The grid of Bernoulli has 1.607e\+60 points \(2 values in each of 200"):
        sf.exact(jnp.sum, many, jnp.zeros(200))
    with pytest.raises(ValueError, match="Poisson has an infinite support: pass max_value="):
        sf.exact(jnp.sum, sf.family(lambda r: sf.Poisson(rate=r)), 1.0)
    poisson = sf.family(lambda r: sf.Poisson(rate=r))
    _, info = jax.jit(lambda r: sf.exact(lambda x: x, poisson, r, max_value=4, has_aux=True))(2.0)
    np.testing.assert_allclose(info.omitted_mass, scipy.stats.poisson(2.0).sf(4), rtol=1e-4)


def test_a_joint_may_mix_enumeration_and_quadrature(x64):
    fam = sf.family(lambda p: sf.Joint((sf.Bernoulli(logits=p), sf.Normal(loc=p, scale=1.0))))
    f = lambda x: x[0] * x[1] ** 2
    value, second_of = lambda p: sf.exact(f, fam, p), jax.grad(lambda p: sf.exact_grad(f, fam, p))
    truth_of = jax.grad(jax.grad(lambda p: (1 + p**2) * jax.nn.sigmoid(p)))
    got, second, truth = jax.jit(lambda p: (value(p), second_of(p), truth_of(p)))(0.3)
    np.testing.assert_allclose(got, (1 + 0.3**2) / (1 + np.exp(-0.3)), rtol=1e-10)
    np.testing.assert_allclose(second, truth, rtol=1e-9)


def test_rows_are_scored_as_rows_and_nothing_else_is():
    dist = sf.OneHotCategorical(logits=np.float32([[0.3, 0.1, -np.inf], [0.0, 1.0, 2.0]]))
    same, log_prob = sf.Categorical(logits=dist.logits), jax.jit(dist.log_prob)
    x, wanted = jax.device_get(
        jax.jit(lambda *keys: (dist.sample(keys[0]), same.sample(keys[1])))(*map(jax.random.key, (0, 0)))
    )
    np.testing.assert_array_equal(np.argmax(x, axis=-1), wanted)
    np.testing.assert_allclose(log_prob(x), jax.jit(same.log_prob)(wanted))
    forbidden = np.stack([np.float32([0.0, 0.0, 1.0]), x[1]])
    for other in (0.5 * x, np.zeros_like(x), np.ones_like(x), forbidden):
        assert log_prob(other) == -np.inf
    assert np.isnan(log_prob(np.full_like(x, np.nan)))
    probs = sf.OneHotCategorical(probs=np.float32([2.0, 1.0, 1.0]))
    mean, column = jax.jit(lambda v: (probs.mean(), probs.covariance_times(v)))(np.float32([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(mean, [0.5, 0.25, 0.25])
    np.testing.assert_allclose(column, [0.25, -0.125, -0.125])


@pytest.mark.parametrize("name", [name for name in CASES if Capability.CHOICES in CASES[name].family.at(
    params_of(name, jnp.float32)).capabilities])  # fmt: skip
def test_a_distribution_of_choices_is_the_product_of_its_choices(name):
    """Every combination of options is a draw, with the log-probability of the distribution; rows with a 1 make the same draw."""
    dist = CASES[name].family.at(params_of(name, jnp.float32))
    shapes = [block.shape for block in jax.eval_shape(lambda: dist.choices().log_probs)]
    sizes = [size for number, size in shapes for _ in range(number)]
    options = np.stack([i.reshape(-1) for i in np.indices(sizes)], axis=1).astype(np.int32)
    ends = np.cumsum([0, *(number for number, _ in shapes)])

    def one(row):
        view = dist.choices()
        blocks = [row[a:b] for a, b in itertools.pairwise(ends)]
        scores = [
            jnp.sum(jnp.take_along_axis(p, o[:, None], axis=1)) for p, o in zip(view.log_probs, blocks, strict=True)
        ]
        x = view.build(blocks)
        hot = [jax.nn.one_hot(o, p.shape[1], dtype=p.dtype) for p, o in zip(view.log_probs, blocks, strict=True)]
        return dist.log_prob(x), sum(scores), x, x if view.relax is None else view.relax(hot)

    every = jax.jit(lambda rows: (jax.vmap(one)(rows), dist.choices().log_probs, dist.choices().probs))
    (whole, parts, built, relaxed), log_probs, probs = jax.device_get(every(options))
    np.testing.assert_allclose(whole, parts, rtol=1e-5)
    np.testing.assert_allclose(np.sum(np.exp(whole)), 1.0, rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, built, relaxed)
    for log_p, p in zip(log_probs, probs, strict=True):
        np.testing.assert_allclose(np.exp(log_p), p, rtol=1e-5)


def test_what_a_class_can_do_is_read_off_its_methods():
    """A class that says all of it itself is taken at its word, and so are its subclasses."""
    methods = {"log_prob": lambda self, x: x, "sample": lambda self, key: 0.0, "mean": lambda self: 0.0}
    can = lambda name, bases, **fields: type(name, bases, fields).capabilities
    plain = sf.Capability.LOG_PROB | sf.Capability.SAMPLE
    assert can("Plain", (sf.Distribution,), **methods) == plain  # a mean without a covariance is no moments
    whole = methods | {"covariance_times": lambda self, v: v, "mode": lambda self: 0.0}
    also = sf.Capability.REPARAMETERIZED
    assert (
        can("Whole", (sf.Distribution,), **whole, also=also)
        == plain | sf.Capability.MOMENTS | sf.Capability.MODE | also
    )
    uniform = {"from_uniform": lambda self, u: u, "uniform_like": lambda self: 0.0}
    assert can("Inverted", (sf.Distribution,), **uniform) == sf.Capability.SAMPLE | sf.Capability.FROM_UNIFORM
    modest = type("Modest", (sf.Distribution,), whole | {"capabilities": plain})
    assert modest.capabilities == can("Heir", (modest,), mode=lambda self: 1.0) == plain
    assert can("Squeezed", (sf.Normal,)) == sf.Normal.capabilities
