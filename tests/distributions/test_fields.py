"""What the fields of a distribution may hold: the ends of every range, numbers that no distribution has, shapes, traced counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, REQUIRED, frame
from covering import covering
from traced_once import with_hessian

import jax_scorefn as sf
from jax_scorefn._surrogate import nan_where
from jax_scorefn.distributions._base import Elementwise
from jax_scorefn.typing import Capability

TOP = {"max_value": 12}
# name -> (distribution at a parameter, bad parameters, the field's name)
NONE_HAS = {
    "Normal": (lambda p: sf.Normal(loc=0.3, scale=p), [-1.0, 0.0, jnp.inf], "scale"),
    "Normal loc": (lambda p: sf.Normal(loc=p, scale=1.0), [jnp.inf], "loc"),
    "TanhNormal": (lambda p: sf.TanhNormal(loc=0.3, scale=p), [-1.0, 0.0], "scale"),
    "LogNormal": (lambda p: sf.LogNormal(loc=0.3, scale=p), [-1.0, 0.0], "scale"),
    "Laplace": (lambda p: sf.Laplace(loc=0.3, scale=p), [-1.0, 0.0], "scale"),
    "Logistic": (lambda p: sf.Logistic(loc=0.3, scale=p), [-1.0, 0.0], "scale"),
    "Gumbel": (lambda p: sf.Gumbel(loc=0.3, scale=p), [-1.0, 0.0], "scale"),
    "Cauchy": (lambda p: sf.Cauchy(loc=0.3, scale=p), [-1.0, 0.0], "scale"),
    "Exponential": (lambda p: sf.Exponential(rate=p), [-1.0, 0.0], "rate"),
    "Weibull": (lambda p: sf.Weibull(concentration=jax.lax.stop_gradient(p) + 2.0, scale=p), [-1.0, 0.0], "scale"),
    "Gamma": (lambda p: sf.Gamma(concentration=1.0, rate=p), [-0.5, 0.0], "rate"),
    "Gamma concentration": (lambda p: sf.Gamma(concentration=jax.lax.stop_gradient(p), rate=1.0 + 0.0 * p), [-0.5, 0.0], "concentration"),
    "Beta": (lambda p: sf.Beta(a=p, b=1.0), [-0.5, 0.0], "a"),
    "Dirichlet": (lambda p: sf.Dirichlet(concentration=p), [jnp.array([-0.5, 1.0]), jnp.zeros(2)], "concentration"),
    "Uniform": (lambda p: sf.Uniform(low=0.0, high=jax.lax.stop_gradient(p)), [-0.5, 0.0], "high"),
    "Bernoulli": (lambda p: sf.Bernoulli(probs=p), [1.5, -0.1], "probs"),
    "Binomial": (lambda p: sf.Binomial(total_count=3, probs=p), [1.5, -0.1], "probs"),
    "BetaBinomial": (lambda p: sf.BetaBinomial(total_count=3, a=p, b=1.0), [-0.5, 0.0], "a"),
    "Multinomial": (lambda p: sf.Multinomial(total_count=2, probs=p), [jnp.array([-0.5, 1.5]), jnp.zeros(2)], "probs"),
    "Multinomial logits": (
        lambda p: sf.Multinomial(total_count=2, logits=p), [jnp.full(2, -jnp.inf), jnp.array([jnp.inf, 0.0])], "logits",
    ),
    "Geometric": (lambda p: sf.Geometric(probs=p), [1.5, 0.0], "probs"),
    "Geometric logits": (lambda p: sf.Geometric(logits=p), [-jnp.inf], "logits"),
    "Poisson": (lambda p: sf.Poisson(rate=p), [-1.0, jnp.inf], "rate"),
    "NegativeBinomial": (lambda p: sf.NegativeBinomial(total_count=2.0, probs=p), [1.0, -0.1], "probs"),
    "NegativeBinomial logits": (lambda p: sf.NegativeBinomial(total_count=2.0, logits=p), [jnp.inf], "logits"),
    "NegativeBinomial total_count": (
        lambda p: sf.NegativeBinomial(total_count=jax.lax.stop_gradient(p), logits=0.0 * p), [-0.5, 0.0], "total_count",
    ),
    "Categorical": (lambda p: sf.Categorical(probs=p), [jnp.array([-0.5, 1.5]), jnp.zeros(2)], "probs"),
    "Categorical logits": (lambda p: sf.Categorical(logits=p), [jnp.full(2, -jnp.inf), jnp.array([jnp.inf, 0.0])], "logits"),
    "OneHotCategorical": (lambda p: sf.OneHotCategorical(probs=p), [jnp.array([-0.5, 1.5]), jnp.zeros(2)], "probs"),
    "Mixture": (
        lambda p: sf.Mixture(probs=p, components=sf.Normal(loc=jnp.array([0.0, 1.0]), scale=1.0)),
        [jnp.array([-0.5, 1.5]), jnp.zeros(2)], "probs",
    ),
    "Mixture component": (
        lambda p: sf.Mixture(logits=jnp.zeros(2), components=sf.Normal(loc=jnp.zeros(2), scale=p)),
        [jnp.array([-1.0, 1.0]), jnp.zeros(2)], "scale",
    ),
    "MultivariateNormal tril": (
        lambda p: sf.MultivariateNormal(loc=jnp.zeros(2), scale_tril=p),
        [jnp.array([[1.0, 0.5], [0.0, 1.0]]), jnp.array([[1.0, 0.0], [0.5, -1.0]])], "scale_tril",
    ),
    "MultivariateNormal covariance": (
        lambda p: sf.MultivariateNormal(loc=jnp.zeros(2), covariance=p), [jnp.array([[1.0, 0.5], [-0.5, 1.0]])], "covariance",
    ),
}  # fmt: skip


def _with(case, field, value):
    """The distribution of a case with another number in a field; one that an estimator may not differentiate is stopped, with another
    in its place."""
    params = jax.tree.map(jnp.asarray, case.params, is_leaf=lambda x: isinstance(x, list)) | {field: value}
    if field in case.shape:
        params = {n: jax.lax.stop_gradient(v) if n == field else v + 0.0 * value for n, v in params.items()}
    return case.family.at(params)


NONE_HAS |= {
    f"{name} {field}": (functools.partial(_with, case, field), bad, field) for name, case in CASES.items() for field, bad in case.bad
}  # fmt: skip
NOT_OF_VALUES = ("sticking_the_landing", "iwae")  # their f is a log-density, tested by the bounds' own tests


def f(x):
    return jnp.sum(jnp.cos(jnp.asarray(x).astype(float)))


def fitting(build, params):
    """The estimators that take a family, and their options."""
    dist = build(params)
    for name, record in sf.ESTIMATORS.items():
        if name not in NOT_OF_VALUES and all(need & dist.capabilities for need in record.needs):
            counts = name == "exact" and isinstance(dist, sf.Poisson | sf.Geometric | sf.NegativeBinomial)
            options = TOP if counts else {} if name == "exact" else {"num_samples": 8}
            yield name, {**options, **REQUIRED.get(name, {})}


def valid(name):
    """A parameter that is in order, of the same shape."""
    bad = jnp.asarray(NONE_HAS[name][1][0])
    return jnp.eye(2) if bad.ndim == 2 else jnp.full(bad.shape, 2.5 if name.endswith(" df") else 0.5)  # with a mean


CALLS = [(name, *row) for name in NONE_HAS for row in fitting(NONE_HAS[name][0], valid(name))]


def kind(name):
    """What a program sees of a draw: whether it is a number with an outcome in a list, and whether its elements are independent."""
    dist = NONE_HAS[name][0](valid(name))
    return Capability.SUPPORT in dist.capabilities, isinstance(dist, Elementwise)


@pytest.mark.parametrize(
    ("name", "estimator", "options"), covering(CALLS, lambda name, *_: NONE_HAS[name][2], lambda _, estimator, options: frame(estimator)),
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_what_no_distribution_has_is_nan_under_jit_and_an_error_without(name, estimator, options):
    build, bads, field = NONE_HAS[name]
    family, record = sf.family(build), sf.ESTIMATORS[estimator]

    def loss(p):
        return record.function(f, family, p, jax.random.key(0), **options)

    run = jax.jit(jax.value_and_grad(loss))
    good = run(valid(name))
    assert np.isfinite(good[0]) and np.all(np.isfinite(good[1]))
    for bad in map(jnp.asarray, bads):
        value, grads = run(bad)
        assert np.isnan(value), (bad, value)
        if build is not NONE_HAS["Uniform"][0]:  # its ends are held
            assert np.isnan(grads).any(), (bad, grads)
    with pytest.raises(ValueError, match=rf"got {field}=.*; {field} must be"):
        loss(jnp.asarray(bads[0]))
    with pytest.raises(ValueError, match=rf"got {field}=.*; {field} must be"):
        getattr(sf, f"{estimator}_grad")(f, family, jnp.asarray(bads[0]), jax.random.key(0), **options)


@pytest.mark.parametrize("name", covering(NONE_HAS, kind))
def test_a_program_says_nan_as_well(name):
    build, bads, _ = NONE_HAS[name]
    run = jax.jit(jax.value_and_grad(sf.expectation(lambda p, key: f(sf.sample(key, build(p))), num_samples=4)))
    assert np.isfinite(run(valid(name), jax.random.key(0))[0])
    value, grads = run(jnp.asarray(bads[0]), jax.random.key(0))
    assert np.isnan(value) and (name == "Uniform" or np.isnan(grads).any())


def test_known_numbers_are_told_under_every_transformation():
    """Under grad, jvp, hessian and in a closure of jit or vmap a number is known, and one bad coordinate spoils no other under jit."""
    score = lambda s: sf.Normal(loc=0.0, scale=s).log_prob(0.5)
    calls = [
        lambda: jax.grad(score)(-1.0), lambda: jax.hessian(score)(-1.0), lambda: jax.jvp(score, (-1.0,), (1.0,)),
        lambda: jax.jit(lambda t: t + score(-1.0))(0.0), lambda: jax.vmap(lambda t: t + score(-1.0))(jnp.zeros(2)),
        lambda: sf.Normal(loc=0.0, scale=np.float32(-1)).log_prob(0.5), lambda: score(1e-50),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match=r"Normal got scale=-?[\d.]+; scale must be above 0 and finite.*jnp.exp"):
            call()
    with pytest.raises(ValueError, match=r"Bernoulli got probs=an array \[3\] with 1.5; .* Or give logits="):
        sf.Bernoulli(probs=jnp.array([0.5, 1.5, 0.1])).sample(jax.random.key(0))
    run = jax.jit(
        jax.grad(lambda s: sf.score_function(lambda x: x[0], sf.family(lambda s: sf.Normal(loc=0.0, scale=s)), s, None))
    )
    with pytest.raises(TypeError, match="needs a key"):
        run(jnp.ones(2))
    each = jax.jit(jax.grad(lambda s: jnp.sum(jax.vmap(score)(s))))(jnp.array([1.0, -1.0, 2.0]))
    np.testing.assert_array_equal(np.isnan(each), [False, True, False])
    assert np.isnan(sf.Normal(loc=0.0, scale=jnp.nan).log_prob(0.0))  # NaN is nobody's choice: it stays NaN
    assert np.isnan(sf.Categorical(probs=jnp.array([[0.5, jnp.nan], [0.5, 0.5]])).log_prob(jnp.array([0, 0])))
    for bad in (
        lambda: score(jnp.array([jnp.nan, -1.0])),
        lambda: sf.Categorical(probs=jnp.array([[0.5, jnp.nan], [0.0, 0.0]])).mode(),
    ):
        with pytest.raises(ValueError, match=r"an array \[2.* with (-1.0|0.0); \w+ must be"):  # beside NaN, too
            bad()


def test_nan_is_made_of_numbers_that_the_compiler_does_not_know():
    """XLA's exp on a CPU makes garbage of a constant NaN behind a selection, which is how a plain jnp.where would write it."""
    x = jnp.array([-1.0, -2.0, -3.0])
    for function in (jnp.exp, jax.nn.softmax, jax.nn.log_softmax, jax.nn.sigmoid, lambda x: jnp.exp(-x), jnp.tanh):
        spoil = lambda x, function=function: function(nan_where(jnp.broadcast_to(x.max() < 0, x.shape), x))
        assert np.isnan(jax.jit(spoil)(x)).all() and np.isnan(jax.jit(jax.grad(lambda x: spoil(x).sum()))(x)).all()
        np.testing.assert_allclose(jax.jit(spoil)(-x), function(-x), rtol=1e-6)
    bit = lambda t: nan_where(jnp.broadcast_to(t < 0, (3,)), (jnp.arange(3.0) > -t).astype(float))
    assert np.isnan(jax.jit(bit)(-1.0)).all()


ENDS = {
    "Poisson 0": (lambda p: sf.Poisson(rate=p), 0.0, 1.0, TOP),
    "Bernoulli 0": (lambda p: sf.Bernoulli(probs=p), 0.0, 1.0, {}),
    "Bernoulli 1": (lambda p: sf.Bernoulli(probs=p), 1.0, -1.0, {}),
    "Binomial 0": (lambda p: sf.Binomial(total_count=3, probs=p), 0.0, 1.0, {}),
    "Binomial 1": (lambda p: sf.Binomial(total_count=3, probs=p), 1.0, -1.0, {}),
    "Binomial of none": (lambda p: sf.Binomial(total_count=0, probs=p), 0.3, 1.0, {}),
    "NegativeBinomial 0": (lambda p: sf.NegativeBinomial(total_count=1.5, probs=p), 0.0, 1.0, TOP),
    "NegativeBinomial -inf": (lambda l: sf.NegativeBinomial(total_count=1.5, logits=l), -jnp.inf, None, TOP),
    "Geometric 1": (lambda p: sf.Geometric(probs=p), 1.0, -1.0, TOP),
    "Categorical 0": (lambda p: sf.Categorical(probs=jnp.stack([p, 1 - p])), 0.0, 1.0, {}),
    "Multinomial 0": (lambda p: sf.Multinomial(total_count=2, probs=jnp.stack([p, 1 - p])), 0.0, 1.0, {}),
    "Multinomial -inf": (lambda l: sf.Multinomial(total_count=2, logits=jnp.stack([l, 0.0 * jnp.exp(l), 1.0])), -jnp.inf, None, {}),
    "OneHotCategorical 0": (lambda p: sf.OneHotCategorical(probs=jnp.stack([p, 1 - p])), 0.0, 1.0, {}),
    "Bernoulli -inf": (lambda l: sf.Bernoulli(logits=l), -jnp.inf, None, {}),
    "Bernoulli inf": (lambda l: sf.Bernoulli(logits=l), jnp.inf, None, {}),
    "Binomial inf": (lambda l: sf.Binomial(total_count=3, logits=l), jnp.inf, None, {}),
    "Categorical -inf": (lambda l: sf.Categorical(logits=jnp.stack([l, 0.0 * jnp.exp(l), 1.0])), -jnp.inf, None, {}),
    "Geometric inf": (lambda l: sf.Geometric(logits=l), jnp.inf, None, TOP),
}  # fmt: skip
SUMMED = ("exact", "rao_blackwell", "measure_valued")
"""Estimators that do not rest on drawing what has probability 0."""


@pytest.mark.parametrize(
    "name",
    covering(ENDS, lambda name: np.isinf(ENDS[name][1]), lambda name: bool(ENDS[name][3])),
)
def test_values_and_gradients_at_the_ends_of_a_range_are_their_limits(name, x64, unchecked_keys):
    """By the sum, all derivatives; by drawing, the value, and a gradient that is finite beside good coordinates."""
    build, end, inward, top = ENDS[name]
    g = lambda x: jnp.sum(
        jnp.sin(1 + jnp.asarray(x).astype(float)) * jnp.arange(1.0, 1.0 + jnp.size(x)).reshape(jnp.shape(x))
    )
    family, end = sf.family(build), jnp.float64(end)
    key = jax.random.key(0)

    def loss(estimator, p):
        options = top if estimator == "exact" else {"num_samples": 4}
        return sf.ESTIMATORS[estimator].function(g, family, p, key, **options)

    def at(p):
        *of_exact, hessian = with_hessian(lambda p: loss("exact", p))(p)
        others = [e for e in able if e in SUMMED and e != "exact"]
        made = {e: jax.value_and_grad(lambda p, e=e: loss(e, p))(p) for e in others}
        return (
            {"exact": tuple(of_exact), **made},
            hessian,
            loss("score_function", p),
            build(p).log_prob(build(p).mode()),
        )

    able = [
        e for e in (*SUMMED, "score_function") if all(need & build(end).capabilities for need in sf.ESTIMATORS[e].needs)
    ]
    found, hessian, drawn, log_prob = jax.jit(at)(end)
    step = 1e-6
    near, near_hessian, *_ = jax.jit(at)(end + step * inward if inward else jnp.sign(end) * 30.0)
    np.testing.assert_allclose(hessian, near_hessian, atol=2e-4)
    for estimator, (value, grads) in found.items():
        np.testing.assert_allclose(grads, near["exact"][1], atol=1e-4, err_msg=estimator)
        np.testing.assert_allclose(
            value, found["exact"][0], atol=1e-12 if estimator != "measure_valued" else 4, err_msg=estimator
        )
    assert np.isfinite(drawn) and np.isfinite(log_prob)
    np.testing.assert_allclose(near["exact"][0], found["exact"][0], atol=1e-4)
    together = lambda ps: jnp.sum(jax.vmap(lambda p: loss("score_function", p))(ps))
    beside = jax.jit(jax.grad(together))(jnp.stack([end, end, end]))
    assert np.all(np.isfinite(beside))


@pytest.mark.slow  # by default rates of 0 are among the ends
def test_an_epidemic_that_dies_out_has_a_gradient(unchecked_keys):
    """exp(-200) is 0 in float32: its coordinate has the derivative 0, and the one beside it its own."""
    family = sf.family(lambda t: sf.Poisson(rate=jnp.exp(t)))
    t = jnp.array([-200.0, 0.0])
    assert jax.jit(jax.value_and_grad(lambda rate: sf.Poisson(rate=rate).log_prob(0)))(0.0) == (0, -1)

    def infected(t, key):
        first, second = jax.random.split(key)
        x = sf.sample(first, sf.Poisson(rate=jnp.exp(t[1]))).astype(float)
        y = sf.sample(second, sf.Poisson(rate=jnp.exp(t[0]) * x))
        return x + y.astype(float)

    summed, weak, drawn, program = jax.jit(lambda t, key: (
        sf.exact_grad(jnp.sum, family, t, max_value=12), sf.measure_valued_grad(jnp.sum, family, t, key),
        sf.score_function_grad(jnp.sum, family, t, key, num_samples=2000),
        jax.grad(sf.expectation(infected, num_samples=2000))(t, key),
    ))(t, jax.random.key(0))  # fmt: skip
    np.testing.assert_allclose([summed, weak], [[0, 1], [0, 1]], atol=1e-4)
    np.testing.assert_allclose([drawn, program], [[0, 1], [0, 1]], atol=0.3)


def test_fields_get_one_shape_when_a_distribution_is_made():
    """So a distribution that is made under vmap is the same one when it comes out."""
    x = jnp.arange(4.0)[:, None]
    made = jax.vmap(lambda m: sf.Normal(loc=m, scale=1.0))(x)
    assert made.sample(jax.random.key(0)).shape == (4, 1)
    np.testing.assert_allclose(made.log_prob(x), 4 * sf.Normal(loc=0.0, scale=1.0).log_prob(0.0), rtol=1e-6)
    loc, scale = jnp.zeros((4, 4)), jnp.arange(1.0, 5.0)
    made = jax.vmap(lambda m, s: sf.Normal(loc=m, scale=s))(loc, scale)
    np.testing.assert_array_equal(made.scale, jnp.broadcast_to(scale[:, None], (4, 4)))
    one_by_one = sum(sf.Normal(loc=m, scale=s).log_prob(m + 1) for m, s in zip(loc, scale, strict=True))
    np.testing.assert_allclose(made.log_prob(loc + 1), one_by_one, rtol=1e-6)
    for dist in (
        jax.vmap(lambda m: sf.Gamma(concentration=m, rate=2))(x + 1), jax.vmap(lambda m: sf.Uniform(low=m, high=9.0))(x),
        jax.vmap(lambda n: sf.Binomial(total_count=n, probs=0.5))(jnp.array([[3], [4]])),
    ):  # fmt: skip
        assert len({leaf.shape for leaf in jax.tree.leaves(dist)}) == 1


def test_fields_of_one_shape_go_round(unchecked_keys):
    """Through tree functions, vmap, scan and an optimizer's state, with whatever leaves; weak types are kept."""
    dist = sf.Normal(loc=jnp.zeros(3), scale=2)
    assert dist.scale.weak_type and dist.scale.dtype == dist.loc.dtype
    assert sf.Normal(loc=jnp.zeros(3, jnp.bfloat16), scale=2.0).scale.dtype != jnp.bfloat16  # a weak float32
    treedef = jax.tree.structure(dist)
    for odd in (["a", "b"], [None, None], [object(), 1.0], [jax.ShapeDtypeStruct((3,), float), jnp.zeros(2)]):
        again = jax.tree.unflatten(treedef, odd)
        assert again.loc is odd[0] and again.scale is odd[1]
    assert jax.tree.map(jnp.shape, dist).scale == (3,) and sf.Normal(loc=0, scale=None).scale is None
    assert isinstance(sf.Normal(loc=0.0, scale=1.0).scale, float)
    mapped = jax.vmap(lambda dist, x: dist.log_prob(x))(dist, jnp.zeros(3))
    np.testing.assert_allclose(mapped.sum(), dist.log_prob(jnp.zeros(3)), rtol=1e-6)
    with pytest.raises(ValueError, match=r"Normal have shapes loc \(\), scale \(3,\).*in_axes=0 for the whole"):
        jax.vmap(lambda dist, x: dist.log_prob(x), in_axes=(sf.Normal(loc=0, scale=None), 0))(dist, jnp.zeros(3))
    with pytest.raises(ValueError, match=r"shapes loc \(3,\), scale \(2,\)"):
        sf.Normal(loc=jnp.zeros(3), scale=jnp.ones(2)).log_prob(jnp.zeros(3))
    carried, _ = jax.lax.scan(lambda dist, _: (jax.tree.map(lambda leaf: leaf + 0.5, dist), None), dist, length=2)
    np.testing.assert_array_equal(carried.scale, [3.0, 3.0, 3.0])
    optimizer = optax.sgd(0.02, momentum=0.5)
    family = sf.family(lambda dist: dist)

    def step(state, key):
        dist, moments = state
        grads = sf.pathwise_grad(lambda x: jnp.sum((x - 1) ** 2), family, dist, key, num_samples=16)
        updates, moments = optimizer.update(grads, moments)
        return (optax.apply_updates(dist, updates), moments), None

    dist = sf.Normal(loc=jnp.zeros(3), scale=jnp.full(3, 2.0))
    (dist, _), _ = jax.jit(lambda s: jax.lax.scan(step, s, jax.random.split(jax.random.key(0), 5)))(
        (dist, optimizer.init(dist))
    )
    assert np.all(np.asarray(dist.scale) < 1.8) and np.all(np.asarray(dist.loc) > 0.05)


def test_a_traced_number_of_trials(unchecked_keys):
    """Sampled, scored, with moments and a weak derivative; never enumerated nor differentiated."""
    build = lambda q: sf.Binomial(total_count=q["n"], probs=q["p"])
    family, key = sf.family(build), jax.random.key(0)
    q = {"n": jnp.array([3, 0, 5]), "p": 0.4}
    for function, tolerance in ((sf.measure_valued_grad, 1e-5), (sf.score_function_grad, 0.7)):
        grads = jax.jit(lambda q, g=function: g(lambda x: jnp.sum(x.astype(float)), family, q, key, num_samples=4000))(
            q
        )
        np.testing.assert_allclose(grads["p"], 8.0, atol=tolerance)
    same = sf.Binomial(total_count=5, probs=0.4)
    x, known = jnp.array([0, 2, 5, 6, -1]), ("mean", "_variance", "mode")
    facts = lambda dist: ([dist.log_prob(at) for at in x], [getattr(dist, method)() for method in known])
    traced, told = jax.jit(lambda n: (facts(build({"n": n, "p": 0.4})), facts(same)))(5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), traced, told)
    assert jax.jit(lambda n: build({"n": n, "p": 0.4}).sample(key))(5).dtype == jnp.int32
    with pytest.raises(TypeError, match="exact needs a distribution that has a support that can be listed"):
        sf.exact(f, family, {"n": jnp.array(3), "p": 0.4})
    with pytest.raises(TypeError, match="its total_count is a Python int"):
        build({"n": jnp.array(3), "p": 0.4}).grid()
    with pytest.raises(TypeError, match="total_count of a Binomial was differentiated"):
        jax.grad(lambda n: build({"n": n, "p": 0.4}).log_prob(1))(3.0)
    with pytest.raises(TypeError, match=r"total_count of dtype bool"):
        build({"n": jnp.array(True), "p": 0.4}).log_prob(1)
    for bad in (-1, 2.5):
        with pytest.raises(ValueError, match="total_count must be a whole number of at least 0"):
            build({"n": jnp.array(bad), "p": 0.4}).log_prob(1)
        assert np.isnan(jax.jit(lambda n: build({"n": n, "p": 0.4}).log_prob(1))(bad))
    assert jax.tree.leaves(sf.Binomial(total_count=3, probs=0.5)) == [0.5]


@pytest.mark.statistical
@pytest.mark.parametrize("estimator", covering(["score", "enumerate"]))
def test_two_counts_in_a_row(estimator):
    """Who is left of 3 after two days: 3 p^2, whose derivative at .4 is 2.4. With the second count's trials held it would be 1.2."""

    def left(p, key):
        first, second = jax.random.split(key)
        x = sf.sample(first, sf.Binomial(total_count=3, probs=p), estimator=estimator)
        return sf.sample(second, sf.Binomial(total_count=x, probs=p)).astype(float)

    loss = sf.expectation(left, num_samples=64)
    runs = sf.testing.replicate(lambda key: jax.value_and_grad(loss)(0.4, key), jax.random.key(0), 400)
    sf.testing.assert_unbiased(runs, (0.48, 2.4), precision=0.03)
    with pytest.raises(AssertionError, match="is biased"):
        sf.testing.assert_unbiased(runs, (0.48, 1.2), precision=0.06)
