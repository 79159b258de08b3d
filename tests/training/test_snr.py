"""The transformation that watches and changes nothing, and the rule that follows it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_scorefn as sf
from jax_scorefn import training

PARAMS = {"a": jnp.zeros(3), "b": jnp.zeros(())}


def grads_at(key):
    a, b = jax.random.split(key)
    return {"a": jnp.array([1.0, 2.0, -2.0]) + 0.5 * jax.random.normal(a, (3,)), "b": 0.5 * jax.random.normal(b)}


def run(optimizer, num, params=PARAMS):
    def step(carry, key):
        params, state = carry
        updates, state = optimizer.update(grads_at(key), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.jit(
        lambda: jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(jax.random.key(0), num))[0]
    )()


@pytest.fixture(autouse=True)
def optax_mixes_dtypes():
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_it_measures_and_changes_nothing():
    """Mean (1, 2, -2, 0) and variance 1/4 in each of 4 coordinates: SNR 3 / 1."""
    watched, state = run(optax.chain(training.track_snr(0.99), optax.adam(0.1)), 1000)
    plain, _ = run(optax.adam(0.1), 1000)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5), watched, plain
    )  # another compilation rounds otherwise
    assert abs(state[0].snr - 3.0) < 0.3 and state[0].count == 1000
    halved = state[0]._replace(raw_square=jax.tree.map(lambda v: v / 2, state[0].raw_square))
    _, wrong = jax.jit(lambda key, state: training.track_snr(0.99).update(grads_at(key), state))(
        jax.random.key(1), halved
    )
    assert not abs(wrong.snr - 3.0) < 0.3


@pytest.mark.nans
def test_the_first_steps_are_debiased():
    tracker = training.track_snr(0.9)
    state = tracker.init(jnp.zeros(()))
    assert np.isnan(state.snr)
    seen = [2.0, 4.0, 3.0]
    for g in seen:
        _, state = tracker.update(jnp.float32(g), state)
    weights = np.array([0.9**2, 0.9, 1.0]) / np.sum([0.9**2, 0.9, 1.0])
    mean = weights @ seen
    np.testing.assert_allclose(state.snr, mean / np.sqrt(weights @ np.square(seen) - mean**2), rtol=1e-5)


def test_it_composes():
    """In multi_transform, inject_hyperparams, with integer leaves, and beside transformations with arguments of their own."""
    split = optax.multi_transform({"w": training.track_snr(), "rest": optax.sgd(0.1)}, {"a": "w", "b": "rest"})
    _, state = run(split, 10)
    assert np.isfinite(state.inner_states["w"].inner_state.snr)
    injected = optax.chain(training.track_snr(), optax.inject_hyperparams(optax.sgd)(learning_rate=0.1))
    _, state = run(injected, 10)
    assert np.isfinite(state[0].snr)
    tracker = training.track_snr()
    mixed = {"x": jnp.ones(2), "n": jnp.array(3)}
    updates, state = tracker.update(mixed, tracker.init(mixed), mixed, value=1.0)
    assert updates is mixed and state.raw_mean["n"] == 3


def test_the_number_of_draws_follows():
    adapt = training.adapt_num_samples
    assert adapt(16, 1.0, target=1.0) == 16 and adapt(16, 0.6, target=1.0) == 16 and adapt(16, np.nan, target=1.0) == 16
    assert [adapt(n, 1.0, target=1.0) for n in (6, 20, 5000)] == [6, 20, 5000]  # in range, whoever chose them
    assert adapt(16, 0.25, target=1.0) == 256 and adapt(16, 4.0, target=1.0) == 2
    assert adapt(16, 0.0, target=1.0) == 4096 and adapt(16, np.inf, target=1.0) == 2
    assert {adapt(n, s, target=1.0, least=4, most=64) for n in (4, 8, 64) for s in np.logspace(-3, 3, 50)} <= {
        4,
        8,
        16,
        32,
        64,
    }
    for wrong in ({"target": 0.0}, {"target": 1.0, "least": 64, "most": 4}):
        with pytest.raises(ValueError, match="adapt_num_samples wants"):
            adapt(8, 1.0, **wrong)
    with pytest.raises(ValueError, match="track_snr wants"):
        training.track_snr(1.0)


def test_a_training_loop_holds_its_ratio():
    """The draws double until the gradient is as clear as was asked."""
    normal = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))
    tracker, num, used = training.track_snr(0.98), 2, []

    for stretch in range(6):

        @jax.jit
        def train(state, keys, num=num):
            grad = lambda key: sf.score_function_grad(lambda x: x**2, normal, 1.0, key, num_samples=num)
            return jax.lax.scan(lambda s, k: (tracker.update(grad(k), s)[1], None), state, keys)[0]

        state = train(tracker.init(0.0), jax.random.split(jax.random.key(stretch), 400))
        used.append(num)
        num = training.adapt_num_samples(num, state.snr, target=8.0, most=512)
    assert used[-1] == num and 16 <= num <= 512 and 4.0 < state.snr < 16.0
