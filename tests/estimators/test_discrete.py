"""Discrete estimators against enumeration, on problems where coordinates interact, with known variances and saturated logits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import critic
from covering import covering
from traced_once import with_jacobian

import jax_scorefn as sf
from jax_scorefn.typing import Capability

pytestmark = pytest.mark.statistical

RNG = np.random.default_rng(7)
COUPLING = jnp.asarray(RNG.normal(size=(8, 8)) / 3)
SCORES = jnp.asarray(RNG.normal(size=64))
P0 = jnp.array([0.6, 0.51, 0.48])
ONE = sf.family(lambda l: sf.Bernoulli(logits=l))
ROWS = sf.family(lambda l: sf.OneHotCategorical(logits=l))


def interacting(b):
    return jnp.tanh(b @ (COUPLING @ b)) + jnp.sum(b * COUPLING[0])


def two_choices(x):
    return 2.0 + jnp.sin(x[0] @ (3 * COUPLING[:4, :4] @ x[1])) + x[0, 1] * x[1, 2]


def of_a_network(weights):
    hidden = jnp.tanh(weights * 2)
    return sf.Joint(
        {
            "a": sf.Bernoulli(logits=hidden),
            "row": sf.OneHotCategorical(logits=jnp.stack([hidden[0], hidden[1], 0.3 * hidden[0]])),
        }
    )


PROBLEMS = {  # family, parameters, f
    "three that share a logit": (
        sf.family(lambda eta: sf.Bernoulli(logits=jnp.full(3, eta))), 0.4, lambda b: jnp.sum((b - P0) ** 2) + b[0] * b[1],
    ),
    "eight that interact": (ONE, jnp.linspace(-2.0, 2.0, 8), interacting),
    "two choices among four": (ROWS, jnp.asarray(RNG.normal(size=(2, 4)), jnp.float32), two_choices),
    "one among 64": (ROWS, jnp.asarray(RNG.normal(size=64)), lambda x: (x @ SCORES) ** 2 + x @ SCORES[::-1]),
    "coins and a choice, from a network": (
        sf.family(of_a_network), jnp.array([0.3, -0.8]),
        lambda x: 3.0 + x["a"][0] * x["row"][1] + 2.0 * x["a"][1] - jnp.sin(x["row"][2] + x["a"][0]),
    ),
    "f of the parameters": (ONE, jnp.array([0.5, -0.5]), None),
}  # fmt: skip
TUNED = {"critic": critic, "tuning": 0.3}
METHODS = {
    "arm": {},
    "disarm": {},
    "arms": {"group_size": 4},
    "arms of 8": {"group_size": 8},
    "arms of 2": {"group_size": 2},
    "rao_blackwell": {},
    "sum_and_sample": {"num_summed": 1},
    "unordered_set": {"set_size": 2},
    "unordered_set of 4": {"set_size": 4},
    "carms": {"group_size": 4},
    "carms of 2": {"group_size": 2},
    "disarm_categorical": {},
    "disarm_categorical, balanced": {"tree": "balanced"},
    "rebar": {},
    "rebar of one": {"num_samples": 1},
    "relax": TUNED,
    "rodeo": {},
}
NUM = 8


def name_of(method):
    return method.split(" ")[0].rstrip(",")


def needs(method):
    """By default one method for each kind of distribution that there is an estimator for."""
    return sf.ESTIMATORS[name_of(method)].needs


def meets(method, problem):
    family, params, _ = PROBLEMS[problem]
    return not sf.ESTIMATORS[name_of(method)].missing(family.at(params))


def loss_of(method, problem, **options):
    family, _, f = PROBLEMS[problem]
    function = sf.ESTIMATORS[name_of(method)].function

    def loss(params, key):
        objective = f or (lambda b: (b[0] + params[0]) ** 2 * (1 + b[1] * params[1]))
        return function(objective, family, params, key, **options)

    return loss


@functools.cache
def truth(problem):
    return jax.device_get(
        jax.jit(jax.value_and_grad(lambda p: loss_of("exact", problem)(p, None)))(PROBLEMS[problem][1])
    )


@pytest.mark.parametrize(
    ("method", "problem"),
    covering([(m, p) for m in METHODS for p in PROBLEMS if meets(m, p)], lambda m, p: needs(m), lambda m, p: p),
)
def test_value_and_gradient_are_unbiased(method, problem):
    loss = jax.value_and_grad(loss_of(method, problem, **{"num_samples": NUM, **METHODS[method]}))
    runs = sf.testing.replicate(lambda key: loss(PROBLEMS[problem][1], key), jax.random.key(3), 40_000, batch=10_000)
    sf.testing.assert_unbiased(runs, truth(problem), precision=0.04)
    with pytest.raises(AssertionError, match="is biased"):
        sf.testing.assert_unbiased(jax.tree.map(lambda x: 1.15 * x, runs), truth(problem), precision=0.05)


def test_every_unbiased_discrete_estimator_meets_four_problems():
    """Each registered estimator that needs choices, coins or a finite support has a row above, and meets what its needs allow."""
    discrete = Capability.BITS | Capability.CHOICES | Capability.FINITE | Capability.RELAXED
    names = {
        name for name, record in sf.ESTIMATORS.items()
        if record.bias is sf.Bias.NONE and any(need & discrete for need in record.needs)
    }  # fmt: skip
    assert names == {name_of(method) for method in METHODS}
    for method in METHODS:
        assert sum(meets(method, problem) for problem in PROBLEMS) >= (
            3 if name_of(method) in ("arm", "disarm", "arms") else 6
        )


TABLE = {  # t, p: gradient, variance of one pair by ARM and by DisARM
    (0.49, 0.5): (0.005, 8.333e-6, 0.0), (0.499, 0.5): (5e-4, 8.333e-8, 0.0), (0.499, 0.1): (1.8e-4, 1.3027e-7, 1.296e-7),
}  # fmt: skip


@pytest.mark.parametrize("estimator", covering(["arm", "disarm", "arms"], lambda name: name == "arm"))
@pytest.mark.parametrize(("t", "p"), TABLE)
def test_the_variance_of_one_pair(estimator, t, p):
    gradient, of_arm, of_disarm = TABLE[t, p]
    options = {"group_size": 2} if estimator == "arms" else {}
    grad = sf.ESTIMATORS[estimator].function
    run = jax.grad(lambda l, key: grad(lambda b: (b - t) ** 2, ONE, l, key, num_samples=2, **options))
    logit = jnp.log(p / (1 - p))
    runs = sf.testing.replicate(lambda key: run(logit, key), jax.random.key(1), 200_000, batch=200_000)
    variance = of_arm if estimator == "arm" else of_disarm
    sf.testing.assert_unbiased(runs, gradient, precision=0.01, rounding=1e-4)
    if variance:
        sf.testing.assert_variance(runs, variance, precision=0.02, rounding=1e-4 * variance)
    else:
        assert runs.var() < 1e-6 * of_arm  # rounding of f


SETS = {2: 0.0061125, 4: 0.0011308, 8: 0.0}
"""Three Bernoullis that share a logit, f = sum (x_i - p0_i)^2, eta = 0: size of a set of outcomes -> variance."""


@pytest.mark.parametrize("size", covering([8, 2, 4]))
def test_the_variance_of_a_set(size):
    family = PROBLEMS["three that share a logit"][0]
    run = lambda key: sf.unordered_set_grad(
        lambda b: jnp.sum((b - P0) ** 2), family, 0.0, key, num_samples=size, set_size=size
    )
    num = 200_000 if SETS[size] else 2_000
    runs = sf.testing.replicate(run, jax.random.key(5), num, batch=min(num, 100_000))
    sf.testing.assert_unbiased(runs, -0.045, precision=0.02, rounding=1e-6)
    if SETS[size]:
        sf.testing.assert_variance(runs, SETS[size], precision=0.02)
        with pytest.raises(AssertionError):
            sf.testing.assert_variance(1.05 * runs, SETS[size], precision=0.02)
    else:
        assert runs.var() < 1e-12


@pytest.mark.parametrize(
    ("method", "logit"),
    covering(
        [(m, l) for m in METHODS for l in (8.0, 40.0, np.inf) if m != "rebar of one"],
        lambda m, l: sf.ESTIMATORS[name_of(m)].differentiates_f,
        lambda m, l: l,
    ),
)
def test_saturated_coins(method, logit):
    """Finite everywhere; at +-8 right, at +-40 and infinity 0."""
    function = sf.ESTIMATORS[name_of(method)].function
    params = jnp.array([logit, -logit], jnp.float32)
    f = lambda b: b[0] + 2 * b[1] + b[0] * b[1]
    run = jax.value_and_grad(lambda l, key: function(f, ONE, l, key, **{"num_samples": 64, **METHODS[method]}))
    value, grads = sf.testing.replicate(lambda key: run(params, key), jax.random.key(0), 20_000, batch=5_000)
    assert np.all(np.isfinite(value)) and np.all(np.isfinite(grads))
    if logit == 8.0:
        high, low = 1 / (1 + np.exp([-8.0, 8.0]))
        expected = high * low * np.array([1 + low, 2 + high])
        sf.testing.assert_unbiased(grads, expected, precision=0.1)
    else:
        np.testing.assert_allclose(value, 1.0, atol=1e-6)
        np.testing.assert_allclose(grads, 0.0, atol=1e-6)


@pytest.mark.parametrize(
    "method",
    covering([m for m in METHODS if meets(m, "one among 64")], needs),
)
def test_saturated_and_forbidden_options(method):
    """Logits of +-8 and +-40, and options that are forbidden: right, and no derivative for what cannot be."""
    function = sf.ESTIMATORS[name_of(method)].function
    logits = jnp.array([[8.0, -8.0, 8.5, -np.inf, 0.0], [40.0, -40.0, -np.inf, -np.inf, 39.0]])
    f = lambda x: x[0] @ jnp.arange(5.0) + 2 * x[1, 0] * x[0, 2] + (x[1] @ jnp.arange(5.0)) ** 2 / 4
    exact = jax.jit(jax.value_and_grad(lambda l: sf.exact(f, ROWS, l)))(logits)
    run = jax.value_and_grad(lambda l, key: function(f, ROWS, l, key, **{"num_samples": NUM, **METHODS[method]}))
    runs = sf.testing.replicate(lambda key: run(logits, key), jax.random.key(2), 20_000, batch=5_000)
    sf.testing.assert_unbiased(runs, exact, precision=0.1)
    assert np.all(runs[1][:, 0, 3] == 0) and np.all(runs[1][:, 1, 2:4] == 0)
    alone = jnp.array([[0.0, -jnp.inf, -jnp.inf, -jnp.inf, -jnp.inf]] * 2)  # a single option has all the probability
    value, grads = jax.jit(lambda: run(alone, jax.random.key(1)))()
    if method != "relax":  # whose value has the noise of the critic
        np.testing.assert_allclose(value, jax.jit(f)(np.eye(5, dtype=np.float32)[[0, 0]]), atol=1e-5)
    np.testing.assert_allclose(grads, 0.0, atol=1e-6)


@pytest.mark.parametrize(
    "method",
    covering([m for m in METHODS if m != "rebar of one"], needs),
)
def test_an_offset_in_f_does_not_drown_the_gradient(method):
    """1e4 on f moves a gradient by less than a tenth of its standard error, in float32."""
    function = sf.ESTIMATORS[name_of(method)].function
    options = {"num_samples": NUM, **METHODS[method]}
    if name_of(method) == "relax":
        options["critic"] = lambda tuning, z: 1e4 * tuning + critic(tuning, z)
    grads = jax.jit(jax.vmap(lambda key, c: jax.grad(lambda l: function(lambda b: c + 2 * interacting(b), ONE, l, key, **options))(
        jnp.linspace(-2.0, 2.0, 8)), (0, None)))  # fmt: skip
    keys = jax.random.split(jax.random.key(0), 500)
    with jax.debug_key_reuse(False):
        plain, offset = grads(keys, 0.0), grads(keys, 1e4)
    assert np.all(np.abs(plain - offset).mean(axis=0) < 0.1 * plain.std(axis=0))


S = 24
EVALUATIONS = {
    "S": S, "3 S": 3 * S, "k + S": S + 1, "S, and 2 S of the critic": S, "S, and S gradients of f": S,
    "S times the number of categories of all choices": 6 * S,
}  # fmt: skip


def _count(method, dist, params):
    """Evaluations of f in one call and its gradient, seen by a host function that f calls on the side."""
    seen = []

    def f(b):
        look = lambda x: (seen.append(np.prod(x.shape[:-1], dtype=int)), np.zeros(x.shape[:-1], x.dtype))[1]
        like = jax.ShapeDtypeStruct((), b.dtype)
        return jnp.sum(b) + jax.pure_callback(look, like, jax.lax.stop_gradient(b), vmap_method="expand_dims")

    options = {"num_samples": S, **METHODS.get(method, {})}
    function = sf.ESTIMATORS[name_of(method)].function
    run = jax.jit(jax.value_and_grad(lambda l: function(f, dist, l, jax.random.key(0), **options)))
    jax.block_until_ready(run(params))
    return sum(seen)


RELAXED = ("gumbel_softmax", "straight_through", "gumbel_rao", "reinmax")


@pytest.mark.parametrize(
    "method",
    covering([m for m in (*METHODS, *RELAXED) if m != "rebar of one"], needs),
)
def test_evaluations_are_those_of_the_registry(method):
    assert _count(method, ONE, jnp.zeros(3)) == EVALUATIONS[sf.ESTIMATORS[name_of(method)].evaluations]


BOXED = [m for m in METHODS if not sf.ESTIMATORS[name_of(m)].differentiates_f]


@pytest.mark.parametrize("method", covering(BOXED, needs))
def test_f_may_be_a_black_box(method):
    """Whose derivative raises; those that differentiate f say so."""
    function, options = sf.ESTIMATORS[name_of(method)].function, {"num_samples": NUM, **METHODS[method]}
    box = sf.black_box(lambda b: np.float32(b.sum()))
    both = lambda f: jax.jit(jax.grad(lambda l: function(f, ONE, l, jax.random.key(0), **options)))(
        jnp.array([0.3, 0.0, -1.0])
    )
    np.testing.assert_allclose(both(box), both(jnp.sum), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["rebar", "rodeo", *RELAXED])
def test_a_black_box_is_refused_where_f_is_differentiated(method):
    assert sf.ESTIMATORS[method].differentiates_f
    estimate = sf.ESTIMATORS[method].function
    box = sf.black_box(lambda b: np.float32(b.sum()))
    with pytest.raises(TypeError, match="A black box was differentiated"):
        jax.eval_shape(jax.grad(lambda l: estimate(box, ONE, l, jax.random.key(0))), jnp.zeros(3))


@pytest.mark.sharded
@pytest.mark.parametrize(
    "method",
    covering(
        [m for m in (*METHODS, *RELAXED) if m != "rebar of one"], lambda m: sf.ESTIMATORS[name_of(m)].differentiates_f
    ),
)
def test_chunks_devices_and_shapes(method):
    function, params = sf.ESTIMATORS[name_of(method)].function, jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)
    f = lambda b: jnp.stack([jnp.sum(b[0] * b[1]), jnp.max(b)])  # values with a shape
    mesh = jax.make_mesh((4,), ("draws",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("draws"))
    options = {"num_samples": 24, **METHODS.get(method, {})}
    if name_of(method) == "relax":
        options["critic"] = lambda tuning, z: jnp.stack([critic(tuning, z), 0.3 * critic(tuning, z)])

    def run(**how):
        loss = lambda l: function(f, ONE, l, jax.random.key(2), **options, **how)
        return with_jacobian(loss)(params)

    with jax.debug_key_reuse(False):
        whole = jax.jit(run)()
        assert whole[1].shape == (2, 2, 3)
        for how in ({"chunk_size": 5}, {"sharding": sharding}):
            for a, b in zip(jax.jit(lambda how=how: run(**how))(), whole, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "method",
    covering([m for m in (*METHODS, *RELAXED) if m not in ("arms of 8", "arms of 2", "rebar of one")], needs),
)
def test_info_belongs_to_the_value(method):
    """Draws with their log-probabilities and values; the weighted mean of the values is the value, for those that have no more than
    that."""
    function, params = sf.ESTIMATORS[name_of(method)].function, jnp.array([0.3, -0.5, 1.0])
    f = lambda b: jnp.sum(b * jnp.arange(1.0, 4.0)) + b[0] * b[1]
    options = {"num_samples": NUM, **METHODS.get(method, {})}

    @jax.jit
    def run(key):
        value, info = function(f, ONE, params, key, has_aux=True, **options)
        again = jax.vmap(lambda x: (f(x), ONE.at(params).log_prob(x)))(info.samples)
        return value, info, again

    value, info, (values, log_probs) = jax.device_get(run(jax.random.key(1)))
    np.testing.assert_allclose(info.values, values, rtol=1e-5)
    if method != "gumbel_softmax":
        np.testing.assert_allclose(info.log_probs, log_probs, rtol=1e-5)
    if name_of(method) == "sum_and_sample":
        np.testing.assert_allclose(np.sum(info.weights), 1.0, rtol=1e-5)
        np.testing.assert_allclose(value, info.weights @ info.values, rtol=1e-5)
    elif name_of(method) not in ("rao_blackwell", "rebar", "relax"):
        np.testing.assert_allclose(value, np.mean(info.weights * info.values), rtol=1e-5)
    assert info.value_standard_error >= 0 and info.effective_sample_size > 0


VARIANTS = [m for m in METHODS if m not in sf.ESTIMATORS]


@pytest.mark.parametrize(
    "methods",
    covering(
        [[m for m in (*METHODS, *RELAXED) if m not in VARIANTS], VARIANTS]
    ),  # whose code is that of each, at other sizes
    ids=["each", "variants"],
)
def test_nan_logits_never_become_numbers(methods):
    @jax.jit
    def all_of_them():
        logits = jnp.array([0.3, jnp.nan])
        for method in methods:
            options = {"num_samples": NUM, **METHODS.get(method, {})}
            function = sf.ESTIMATORS[name_of(method)].function
            yield_of = jax.value_and_grad(lambda l, function=function, options=options: function(
                lambda b: jnp.sum(b**2), ONE, l, jax.random.key(0), **options))  # fmt: skip
            found.append(yield_of(logits))
        return found

    found = []
    for method, (value, grads) in zip(methods, all_of_them(), strict=True):
        assert np.isnan(value) and np.isnan(grads[1]), method


@pytest.mark.float32
def test_one_coordinate_at_a_time_leaves_no_noise_in_a_sum():
    rows = jnp.asarray(RNG.normal(size=(3, 4)), jnp.float32)
    f = lambda x: jnp.sum(x * COUPLING[:3, :4]) + 5.0
    exact, grads = jax.jit(lambda keys: (
        sf.exact_grad(f, ROWS, rows), jax.vmap(lambda key: sf.rao_blackwell_grad(f, ROWS, rows, key, num_samples=1))(keys)
    ))(jax.random.split(jax.random.key(0), 20))  # fmt: skip
    np.testing.assert_allclose(grads, jnp.broadcast_to(exact[None], grads.shape), atol=1e-6)


def test_probabilities_of_zero_and_one_are_summed_out_as_they_were_given():
    coin = sf.family(lambda p: sf.Bernoulli(probs=p))
    grad = jax.jit(lambda p, key: sf.rao_blackwell_grad(lambda b: 3 * b, coin, p, key, num_samples=2))
    for p in (0.0, 1.0):
        assert grad(p, jax.random.key(0)) == 3.0


def test_with_two_options_a_tree_is_disarm():
    def run(function, **options):
        loss = lambda l: function(interacting, ONE, l, jax.random.key(0), num_samples=16, **options)
        return jax.grad(loss)(jnp.linspace(-2.0, 2.0, 8))

    trees = ("stick", "balanced")
    expected, *got = jax.jit(lambda: [run(sf.disarm), *(run(sf.disarm_categorical, tree=tree) for tree in trees)])()
    for other in got:
        np.testing.assert_allclose(other, expected, rtol=1e-4, atol=1e-6)


def test_with_two_options_carms_is_arms():
    loss = lambda function: lambda l: function(interacting, ONE, l, jax.random.key(0), num_samples=16)
    at = jnp.linspace(-2.0, 1.9, 8)  # at 0 the two take the other side for the rarer one
    got, expected = jax.jit(lambda: [jax.value_and_grad(loss(function))(at) for function in (sf.carms, sf.arms)])()
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(got[1], expected[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("probs", [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [1e-30, 0.5, 0.5]])
def test_no_pair_of_choices_is_impossible(probs):
    """The ratios of a group are finite at ties, and where an option has no probability."""
    table = jnp.array([1.0, -2.0, 5.0])
    loss = lambda p, key: sf.carms(
        lambda x: table[x], sf.family(lambda p: sf.Categorical(probs=p)), p, key, num_samples=8, group_size=2
    )
    runs = sf.testing.replicate(lambda key: jax.grad(loss)(jnp.array(probs), key), jax.random.key(2), 4000, batch=4000)
    exact = jax.grad(lambda p: table @ p / jnp.sum(p))(jnp.array(probs))
    possible = np.asarray(probs) > 1e-6
    sf.testing.assert_unbiased(runs[:, possible], exact[possible], precision=0.05)
    assert np.isfinite(runs).all()


def test_a_set_of_everything_is_exact():
    logits = jnp.array([0.3, -1.0, 2.0, 0.0, -jnp.inf])
    f = lambda x: jnp.sin(3.0 * x.astype(float)) + 7.0
    family = sf.family(lambda l: sf.Categorical(logits=l))
    got = jax.jit(
        jax.value_and_grad(lambda l: sf.unordered_set(f, family, l, jax.random.key(0), num_samples=5, set_size=5))
    )(logits)
    expected = jax.jit(jax.value_and_grad(lambda l: sf.exact(f, family, l)))(logits)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def refused(error, match, estimator, f, family, params, **options):
    with pytest.raises(error, match=match):
        jax.eval_shape(lambda p, key: estimator(f, family, p, key, **options), params, jax.random.key(0))


def test_what_is_refused():
    bits, choice = np.zeros(2, np.float32), sf.family(lambda l: sf.Categorical(logits=l))
    in_pairs = "disarm makes draws in groups of 2: num_samples has to be a multiple of that, not 5"
    refused(ValueError, in_pairs, sf.disarm, jnp.sum, ONE, bits, num_samples=5)
    refused(ValueError, "arms wants groups of at least 2", sf.arms, jnp.sum, ONE, bits, group_size=1)
    coins = "arm needs a distribution that has independent bits; Categorical has"
    refused(TypeError, coins, sf.arm, lambda x: 0.0, choice, bits)
    second = "disarm estimates derivatives up to order 1"
    refused(TypeError, second, jax.hessian(sf.disarm, argnums=2), jnp.sum, ONE, bits)
    rows = r"rebar needs a distribution that has .*OneHotCategorical.*; Categorical has"
    refused(TypeError, rows, sf.rebar, lambda x: 0.0, choice, bits)
    endless = "sum_and_sample needs a distribution that has a finite support; Poisson has"
    poisson = sf.family(lambda rate: sf.Poisson(rate=rate))
    refused(TypeError, endless, sf.sum_and_sample, lambda x: 0.0, poisson, 1.0)
    all_of_them = "asked to sum 4 outcomes of Bernoulli, which has 4"
    refused(ValueError, all_of_them, sf.sum_and_sample, jnp.sum, ONE, bits, num_summed=4)
    for size in (1, 5, 13):
        many = {"num_samples": 13 * size, "set_size": size}
        refused(ValueError, f"Bernoulli has 4. It got set_size={size}", sf.unordered_set, jnp.sum, ONE, bits, **many)
    refused(ValueError, "above max_points=65536", sf.unordered_set, jnp.sum, ONE, np.zeros(20, np.float32))
    refused(ValueError, "knows the trees", sf.disarm_categorical, jnp.sum, ONE, bits, tree="oak")
    shape, whole = r"critic of relax returned shape \(2,\) where f returns \(\)", lambda tuning, z: z
    refused(ValueError, shape, sf.relax, jnp.sum, ONE, bits, critic=whole, tuning=None)
    refused(ValueError, "leave_one_out needs at least 2 draws", sf.rodeo, jnp.sum, ONE, bits, num_samples=1)


def test_the_baseline_of_sum_and_sample_is_what_is_said(x64):
    """One draw: f at the likeliest outcome. More: the mean of f at the other draws. The gradient, written out by hand."""
    logits, f = jnp.array([2.0, 0.3, -0.2, 0.5]), jnp.array([3.0, -1.0, 7.0, 2.0])
    die = sf.family(lambda logits: sf.Categorical(logits=logits))

    def by_hand(logits, draws):
        probs = jax.nn.softmax(logits)
        values, mass = f[draws], 1 - probs[0]
        log_given = jnp.log(probs[draws]) - jnp.log(mass)
        n = len(draws)
        b = f[:1] if n == 1 else (jnp.sum(values) - values) / (n - 1)
        held = jax.lax.stop_gradient(mass)
        return probs[0] * f[0] + mass * jnp.mean(values) + held * jnp.mean((values - b) * log_given)

    for num in (1, 3):

        @jax.jit
        def run(key, num=num):
            options = {"num_samples": num, "has_aux": True}
            grads, info = sf.sum_and_sample_grad(lambda x: f[x], die, logits, key, **options)
            return grads, jax.grad(by_hand)(logits, info.samples[1:])

        for seed in range(3):
            grads, wanted = run(jax.random.key(seed))
            np.testing.assert_allclose(grads, wanted, rtol=1e-10)
