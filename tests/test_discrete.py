"""Discrete estimators against enumeration, on problems where coordinates interact, with known variances and saturated logits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn as sf

pytestmark = pytest.mark.statistical

RNG = np.random.default_rng(7)
COUPLING = jnp.asarray(RNG.normal(size=(8, 8)) / 3, jnp.float32)
P0 = jnp.array([0.6, 0.51, 0.48])


def interacting(b):
    return jnp.tanh(b @ (COUPLING @ b)) + jnp.sum(b * COUPLING[0])


PROBLEMS = {  # family, parameters, f
    "three that share a logit": (
        sf.family(lambda eta: sf.Bernoulli(logits=jnp.full(3, eta))), 0.4, lambda b: jnp.sum((b - P0) ** 2) + b[0] * b[1],
    ),
    "eight that interact": (
        sf.family(lambda l: sf.Bernoulli(logits=l)), jnp.linspace(-2.0, 2.0, 8), interacting,
    ),
    "a joint, from a network": (
        sf.family(lambda w: sf.Joint({"a": sf.Bernoulli(logits=jnp.tanh(w) * 2), "b": sf.Bernoulli(probs=jax.nn.sigmoid(w[0]))})),
        jnp.array([0.3, -0.8]), lambda x: 3.0 + x["a"][0] * x["b"] + 2.0 * x["a"][1] - jnp.sin(x["b"] + x["a"][0]),
    ),
    "f of the parameters": (
        sf.family(lambda l: sf.Bernoulli(logits=l)), jnp.array([0.5, -0.5]), None,
    ),
}  # fmt: skip
COINS = {
    "arm": {},
    "disarm": {},
    "arms": {"group_size": 4},
    "arms of 8": {"group_size": 8},
    "arms of 2": {"group_size": 2},
}
NUM = 8


def loss_of(estimator, problem, **options):
    family, _, f = PROBLEMS[problem]
    function = sf.ESTIMATORS[estimator.split(" ")[0]].function

    def loss(params, key):
        objective = f or (lambda b: (b[0] + params[0]) ** 2 * (1 + b[1] * params[1]))
        return function(objective, family, params, key, **options)

    return loss


@functools.cache
def truth(problem):
    return jax.device_get(jax.value_and_grad(loss_of("exact", problem))(PROBLEMS[problem][1], None))


FIRST = ("disarm", "arms")
"""Estimators that meet every problem in the default run; the long run has all."""


@pytest.mark.parametrize(
    ("estimator", "problem"),
    [
        pytest.param(
            e,
            p,
            marks=[]
            if e == "disarm" or (p == "eight that interact" and e in FIRST) or (e, p) == ("arm", "f of the parameters")
            else [pytest.mark.slow],
        )
        for e in COINS
        for p in PROBLEMS
    ],
)
def test_value_and_gradient_are_unbiased(estimator, problem):
    loss = jax.value_and_grad(loss_of(estimator, problem, num_samples=NUM, **COINS[estimator]))
    runs = sf.testing.replicate(lambda key: loss(PROBLEMS[problem][1], key), jax.random.key(3), 40_000, batch=20_000)
    sf.testing.assert_unbiased(runs, truth(problem), precision=0.02)
    with pytest.raises(AssertionError, match="is biased"):
        sf.testing.assert_unbiased(jax.tree.map(lambda x: 1.1 * x, runs), truth(problem), precision=0.025)


TABLE = {  # t, p: gradient, variance of one pair by ARM and by DisARM
    (0.49, 0.5): (0.005, 8.333e-6, 0.0), (0.499, 0.5): (5e-4, 8.333e-8, 0.0), (0.499, 0.1): (1.8e-4, 1.3027e-7, 1.296e-7),
}  # fmt: skip
ONE = sf.family(lambda l: sf.Bernoulli(logits=l))


@pytest.mark.parametrize("estimator", ["arm", "disarm", pytest.param("arms", marks=pytest.mark.slow)])
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


@pytest.mark.parametrize("estimator", ["arm", "disarm", "arms"])
@pytest.mark.parametrize("logit", [8.0, 40.0, np.inf])
def test_saturated_logits(estimator, logit):
    """Finite everywhere; at +-8 right, at +-40 and infinity 0."""
    function = sf.ESTIMATORS[estimator].function
    params = jnp.array([logit, -logit], jnp.float32)
    f = lambda b: b[0] + 2 * b[1] + b[0] * b[1]
    run = jax.value_and_grad(lambda l, key: function(f, ONE, l, key, num_samples=64))
    value, grads = sf.testing.replicate(lambda key: run(params, key), jax.random.key(0), 20_000, batch=20_000)
    assert np.all(np.isfinite(value)) and np.all(np.isfinite(grads))
    if logit == 8.0:
        exact = jax.nn.sigmoid(8.0) * jax.nn.sigmoid(-8.0)
        expected = exact * np.array([1 + jax.nn.sigmoid(-8.0), 2 + jax.nn.sigmoid(8.0)])
        sf.testing.assert_unbiased(grads, expected, precision=0.06)
    else:
        assert np.all(value == 1.0) and np.all(grads == 0.0)


def _count(estimator, **options):
    """Evaluations of f in one call, seen by a host function."""
    seen = []
    box = sf.black_box(lambda b: (seen.append(len(b)), np.float32(b.sum(axis=-1)))[1], vectorized=True)
    jax.block_until_ready(sf.ESTIMATORS[estimator].function(box, ONE, jnp.zeros(3), jax.random.key(0), **options))
    return sum(seen)


@pytest.mark.parametrize(
    "estimator", ["disarm", *(pytest.param(name, marks=pytest.mark.slow) for name in ("arm", "arms"))]
)
def test_evaluations_are_those_of_the_registry_and_f_may_be_a_black_box(estimator):
    assert sf.ESTIMATORS[estimator].evaluations == "S" and _count(estimator, num_samples=12) == 12
    grads = sf.ESTIMATORS[estimator].function
    box = sf.black_box(lambda b: np.float32(b.sum()))  # its derivative raises
    got = jax.grad(lambda l: grads(box, ONE, l, jax.random.key(0), num_samples=8))(jnp.zeros(3))
    expected = jax.grad(lambda l: grads(jnp.sum, ONE, l, jax.random.key(0), num_samples=8))(jnp.zeros(3))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.sharded
@pytest.mark.parametrize(
    "estimator", [pytest.param("arm", marks=pytest.mark.slow), "disarm", pytest.param("arms", marks=pytest.mark.slow)]
)
def test_chunks_devices_and_shapes(estimator):
    function, params = sf.ESTIMATORS[estimator].function, jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)
    f = lambda b: jnp.stack([jnp.sum(b[0] * b[1]), jnp.max(b)])  # values with a shape
    mesh = jax.make_mesh((4,), ("draws",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("draws"))

    def run(**how):
        loss = lambda l: function(f, ONE, l, jax.random.key(2), num_samples=24, **how)
        return loss(params), jax.jacobian(loss)(params)

    whole = jax.jit(run)()
    assert whole[1].shape == (2, 2, 3)
    for how in ({"chunk_size": 1}, {"chunk_size": 5}, {"sharding": sharding}):
        for a, b in zip(jax.jit(lambda how=how: run(**how))(), whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_what_is_refused():
    with pytest.raises(
        ValueError, match="disarm makes draws in groups of 2: num_samples has to be a multiple of that, not 5"
    ):
        sf.disarm(jnp.sum, ONE, jnp.zeros(2), jax.random.key(0), num_samples=5)
    with pytest.raises(ValueError, match="arms wants groups of at least 2"):
        sf.arms(jnp.sum, ONE, jnp.zeros(2), jax.random.key(0), group_size=1)
    with pytest.raises(TypeError, match="arm needs a law that has independent coins; Categorical has"):
        sf.arm(lambda x: 0.0, sf.family(lambda l: sf.Categorical(logits=l)), jnp.zeros(2), jax.random.key(0))
    with pytest.raises(TypeError, match="disarm estimates derivatives up to order 1"):
        jax.hessian(sf.disarm, argnums=2)(jnp.sum, ONE, jnp.zeros(2), jax.random.key(0))
