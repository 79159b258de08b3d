"""Edges of the discrete estimators: outcomes that cannot be, distributions that are no pytrees, empty distributions, dtypes, meshes,
memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import REQUIRED
from covering import covering

import jax_scorefn as sf

ONE = sf.family(lambda l: sf.Bernoulli(logits=l))
NUMBERS = sf.family(lambda l: sf.Categorical(logits=l))
COUPLED = ("arm", "disarm", "arms", "carms", "disarm_categorical", "unordered_set")
CHOOSING = ("carms", "disarm_categorical", "unordered_set", "sum_and_sample", "rao_blackwell", "relax")


def call(name, f, family, params, **options):
    options = {"num_samples": 12, **REQUIRED.get(name, {}), **options}
    return sf.ESTIMATORS[name].function(f, family, params, jax.random.key(0), **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sum_and_sample", {"num_summed": 2}), ("sum_and_sample", {"num_summed": 3}), ("unordered_set", {"set_size": 4}),
        ("rao_blackwell", {}), ("exact", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("bad", covering([np.nan, np.inf]))
def test_f_may_be_anything_at_an_outcome_that_cannot_be(name, options, bad):
    """Forbidden by a logit of -inf; whatever f is there is no part of the value nor of the gradient."""
    table, logits = jnp.array([1.0, 2.0, bad, bad]), jnp.array([0.0, 0.5, -jnp.inf, -jnp.inf])
    function = sf.ESTIMATORS[name].function
    options = {} if options is None else {"num_samples": 8, **options}
    got = jax.jit(jax.value_and_grad(lambda l: function(lambda x: table[x], NUMBERS, l, jax.random.key(0), **options)))(
        logits
    )
    p = jax.nn.sigmoid(0.5)
    np.testing.assert_allclose(got[0], 1 + p, rtol=1e-5)
    np.testing.assert_allclose(got[1], [-p * (1 - p), p * (1 - p), 0, 0], rtol=1e-4, atol=1e-7)


@pytest.mark.statistical
@pytest.mark.parametrize("name", covering([n for n in CHOOSING if n != "sum_and_sample"]))
@pytest.mark.float32
def test_a_distribution_that_is_no_pytree_does_not_escape_the_order_guard(name):
    """A finite set whose density closes over what is differentiated: the second derivative raises, the first is unbiased."""
    support = jnp.arange(4.0)

    def loss(p, key):
        family = sf.family(log_prob=lambda w, x: p * x + 0 * w, support=support)
        options = {"num_samples": 12, **REQUIRED.get(name, {})}
        return sf.ESTIMATORS[name].function(lambda x: x**2, family, jnp.zeros(()), key, **options)

    weights = lambda p: jax.nn.softmax(p * support)
    runs = sf.testing.replicate(lambda key: jax.grad(loss)(jnp.float32(0.4), key), jax.random.key(1), 4000, batch=4000)
    exact = jax.jit(jax.grad(lambda p: weights(p) @ support**2))(jnp.float32(0.4))
    sf.testing.assert_unbiased(runs, exact, precision=0.03)
    with pytest.raises(AssertionError, match="is biased"):
        sf.testing.assert_unbiased(1.2 * runs, exact, precision=0.04)
    with pytest.raises(TypeError, match=f"{name} estimates derivatives up to order 1"):
        jax.eval_shape(jax.hessian(loss), jnp.float32(0.4), jax.random.key(0))


@pytest.mark.sharded
@pytest.mark.parametrize("name", covering(CHOOSING))
def test_explicit_meshes(name):
    mesh = jax.make_mesh((4,), ("draws",), axis_types=(jax.sharding.AxisType.Explicit,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("draws"))
    given = sf.family(log_prob=lambda w, x: w * x, support=jnp.arange(4.0))
    for family, params, f in ((ONE, jnp.array([0.3, -0.4]), jnp.sum), (given, jnp.float32(0.3), lambda x: x**2)):
        grad = lambda p, how, f=f, family=family: jax.grad(lambda p: call(name, f, family, p, **how))(p)
        with jax.debug_key_reuse(False):
            expected = jax.jit(lambda p, grad=grad: grad(p, {}))(params)
            with jax.set_mesh(mesh):
                got = jax.jit(lambda p, grad=grad: grad(p, {"sharding": sharding}))(params)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", covering(["unordered_set", "disarm"]))
def test_chunks_bound_the_memory_of_a_gradient(name):
    """Sixteen times the draws, one chunk at a time: no (groups, outcomes) array is ever there."""
    family, params, f = (
        (NUMBERS, jnp.zeros(4096), lambda x: jnp.sin(x.astype(float)))
        if name == "unordered_set"
        else (ONE, jnp.zeros(2000), jnp.mean)
    )

    def temporary(num):
        grad = jax.jit(jax.grad(lambda p: call(name, f, family, p, num_samples=num, chunk_size=4)))
        return grad.lower(params).compile().memory_analysis().temp_size_in_bytes

    small, large = temporary(64), temporary(1024)
    assert large < 1.3 * small + 100_000


@pytest.mark.parametrize("name", [*COUPLED, "rodeo", "measure_valued"])
def test_values_keep_the_dtype_of_f(name):
    """Half precision in f with float32 logits, under strict promotion."""
    f = lambda b: (jnp.sum(b) + b[0] * b[1]).astype(jnp.bfloat16)
    value, grads = jax.eval_shape(jax.value_and_grad(lambda l: call(name, f, ONE, l)), jnp.zeros(3))
    assert value.dtype == jnp.bfloat16 and grads.dtype == jnp.result_type(float)


def test_empty_distributions():
    nothing = jnp.zeros(0)
    for name in ("rao_blackwell", "rodeo"):
        with pytest.raises(ValueError, match="a draw of this Bernoulli is empty: use exact"):
            call(name, lambda b: jnp.sum(b) + 1.0, ONE, nothing)
    others = ("disarm", "disarm_categorical", "rebar")
    with jax.debug_key_reuse(False):
        values = jax.jit(lambda l: [call(name, lambda b: jnp.sum(b) + 1.0, ONE, l) for name in others])(nothing)
    assert values == [1.0] * len(others)
    beside = sf.family(lambda l: sf.Joint({"a": sf.Bernoulli(logits=nothing), "b": sf.Bernoulli(logits=l)}))
    grads = jax.jit(jax.grad(lambda l: call("rao_blackwell", lambda x: jnp.sum(x["b"]), beside, l)))(jnp.zeros(2))
    np.testing.assert_allclose(grads, 0.25, rtol=1e-6)


def test_distributions_of_other_kinds_hand_on_their_choices():
    class Mine:
        """A distribution by its methods alone."""

        capabilities = sf.Categorical.capabilities

        def __init__(self, logits):
            self.dist = sf.Categorical(logits=logits)

        def __getattr__(self, name):
            return getattr(self.dist, name)

        def sample(self, key):
            return self.dist.sample(key)

        def log_prob(self, x):
            return self.dist.log_prob(x)

    logits, f = jnp.array([0.3, -0.2, 0.5]), lambda x: jnp.cos(x.astype(float))
    both = lambda name, l: [call(name, f, sf.family(dist), l) for dist in (Mine, lambda l: sf.Categorical(logits=l))]
    with jax.debug_key_reuse(False):  # all of them with one key
        values = jax.jit(lambda l: {name: both(name, l) for name in CHOOSING})(logits)
    for got, expected in values.values():
        np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("name", covering(CHOOSING))
def test_no_nan_is_made_on_the_way(name):
    logits = jnp.array([0.0, 0.5, -jnp.inf, -jnp.inf])
    options = {"set_size": 4} if name == "unordered_set" else {}
    with jax.debug_nans(True):
        grads = jax.jit(jax.grad(lambda l: call(name, lambda x: x.astype(float), NUMBERS, l, **options)))(logits)
    assert np.all(np.isfinite(grads))


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_straight_through_at_certain_coins(p):
    coin = sf.family(lambda p: sf.Bernoulli(probs=p))
    assert jax.jit(jax.grad(lambda p: call("straight_through", lambda b: 3 * b, coin, p)))(p) == 3.0


@pytest.mark.statistical
def test_a_pair_of_arms_draws_rare_coins_as_often_as_it_says():
    """At a logit of 14, 8.3e-7: within what a uniform of 23 bits can say, where a difference of exponentials made 1.15 times as
    many."""
    family, num = sf.family(lambda l: sf.Bernoulli(logits=l)), 2_000_000
    draws = jax.jit(
        lambda key: sf.arms(
            lambda b: jnp.mean(1 - b),
            family,
            jnp.full(100, 14.0),
            key,
            num_samples=num // 10,
            group_size=2,
            chunk_size=5000,
        )
    )
    rare = float(draws(jax.random.key(3))) * (num // 10) * 100
    expected = float(jax.nn.sigmoid(-14.0)) * (num // 10) * 100
    assert abs(rare - expected) < 5 * np.sqrt(expected) + 0.06 * expected


def test_tuning_without_a_float_is_refused():
    with pytest.raises(TypeError, match="tuned_grad differentiates in the tuning, which has no float in it"):
        sf.tuned_grad(lambda t: jnp.zeros(2), 1)
