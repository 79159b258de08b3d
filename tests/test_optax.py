"""Training with plain optax loops, jitted and scanned, to known optima."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_scorefn as sf


def train(loss, params, optimizer, key, steps):
    """A plain loop: value and gradient, update, apply; jitted as one scan."""

    def step(carry, key):
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params, key)
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), value

    run = jax.jit(lambda params, keys: jax.lax.scan(step, (params, optimizer.init(params)), keys))
    (params, _), values = run(params, jax.random.split(key, steps))
    return params, values


def test_bernoulli_policy_on_a_reward_that_is_plain_python():
    """Reward 1 for the one right pattern of bits, and a little for each right bit: known optimum, no derivative of f."""
    target = np.array([1, 0, 1, 1, 0])
    reward = sf.black_box(lambda bits: float((bits == target).all()) + 0.2 * float((bits == target).sum()))
    policy = sf.family(lambda logits: sf.Bernoulli(logits=logits))
    loss = lambda logits, key: -sf.score_function(reward, policy, logits, key, num_samples=16)
    with jax.numpy_dtype_promotion("standard"):  # optax's adam mixes float32 and a weak int
        logits, values = train(loss, jnp.zeros(5), optax.adam(0.1), jax.random.key(0), 200)
    np.testing.assert_array_equal(jax.nn.sigmoid(logits) > 0.5, target == 1)
    assert np.all(np.abs(np.asarray(jax.nn.sigmoid(logits)) - target) < 0.1)
    assert values[-20:].mean() < -1.8  # the optimum is -2


def test_neural_softmax_policy_learns_the_right_action_for_each_observation():
    """16-unit network, reward 1 when the action is the quadrant of the observation: best return 1, chance .25."""
    observations = jax.random.normal(jax.random.key(1), (128, 2))
    right = (observations > 0).astype(jnp.int32) @ jnp.array([2, 1])

    def logits(params, observation):
        return jnp.tanh(observation @ params["w1"] + params["b1"]) @ params["w2"]

    def loss(params, key):
        def one(params, observation, best, key):
            policy = sf.family(lambda p: sf.Categorical(logits=logits(p, observation)))
            return sf.score_function(lambda action: action == best, policy, params, key, num_samples=4)

        keys = jax.random.split(key, len(observations))
        return -jnp.mean(jax.vmap(one, (None, 0, 0, 0))(params, observations, right, keys))

    k1, k2 = jax.random.split(jax.random.key(2))
    params = {"w1": jax.random.normal(k1, (2, 16)), "b1": jnp.zeros(16), "w2": 0.1 * jax.random.normal(k2, (16, 4))}
    with jax.numpy_dtype_promotion("standard"):
        params, values = train(loss, params, optax.adam(0.03), jax.random.key(3), 300)
    assert abs(values[0] + 0.25) < 0.1 and values[-10:].mean() < -0.9
    greedy = jax.jit(lambda p: jnp.argmax(jax.vmap(logits, (None, 0))(p, observations), axis=-1))(params)
    assert np.mean(greedy == right) > 0.95


def test_the_scan_is_the_loop_written_out():
    policy = sf.family(lambda logits: sf.Bernoulli(logits=logits))
    loss = lambda logits, key: sf.score_function(lambda x: jnp.sum((x - 0.3) ** 2), policy, logits, key, num_samples=4)
    optimizer = optax.sgd(0.5)
    scanned, _ = train(loss, jnp.zeros(3), optimizer, jax.random.key(0), 5)
    params, state = jnp.zeros(3), optimizer.init(jnp.zeros(3))
    for key in jax.random.split(jax.random.key(0), 5):
        updates, state = optimizer.update(jax.jit(jax.grad(loss))(params, key), state)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(scanned, params, rtol=1e-5)
