"""Programs as people write them with distrax, NumPyro, flax, gymnax and pgx: none knows of this library.

After public questions: numpyro #896 (a loss for discrete draws), distrax #323 (samples without their path), gymnax #26 (the step of an
environment stops its gradient).
"""

import warnings

import jax
import jax.numpy as jnp
from jax import lax

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import distrax
    import flax.linen as nn
    import gymnax
    import numpyro
    import numpyro.distributions as dist
    import pgx
    from numpyro import handlers
    from numpyro.contrib.control_flow import scan
    from numpyro.infer.util import log_density

PAYS = jnp.array([1.0, 4.0, 9.0])

# ------------------------------------------------------------------------------------------------- distrax


def bandit(logits, key):
    policy = distrax.Categorical(logits=logits)
    return PAYS[policy.sample(seed=key)] + 0.5 * policy.entropy()


def bits(logits, key):
    code = distrax.Independent(distrax.Bernoulli(logits=logits), reinterpreted_batch_ndims=1)
    b = code.sample(seed=key).astype(float)
    return (b @ jnp.array([1.0, -2.0, 3.0])) ** 2


def mixture_of_normals(params, key):
    model = distrax.MixtureSameFamily(
        mixture_distribution=distrax.Categorical(logits=params["logits"]),
        components_distribution=distrax.Normal(params["means"], jnp.ones(3)),
    )
    return model.sample(seed=key) ** 2


def one_hot_layer(logits, key):
    z = distrax.OneHotCategorical(logits=logits).sample(seed=key).astype(float)
    return jnp.tanh(z @ jnp.array([[0.5, -1.0], [2.0, 0.3], [-0.7, 1.0]])).sum()


def reinforce_already(logits, key):
    """After distrax #323: a surrogate, with the action stopped by hand."""
    policy = distrax.Categorical(logits=logits)
    action, log_prob = policy.sample_and_log_prob(seed=key)
    return lax.stop_gradient(PAYS[action]) * log_prob  # told


# ------------------------------------------------------------------------------------------------- NumPyro


def nested_plates(logit, key):
    """Three schools of two classes; a class passes if its school is good, or by chance."""

    def model():
        with numpyro.plate("schools", 3, dim=-2):
            good = numpyro.sample("good", dist.Bernoulli(logits=logit))
            with numpyro.plate("classes", 2, dim=-1):
                return numpyro.sample("passes", dist.Bernoulli(0.2 + 0.6 * good))

    return jnp.sum(handlers.seed(model, key)()) ** 2.0


def mixture_model(params, key):
    def model():
        kind = numpyro.sample("kind", dist.Categorical(logits=params["logits"]))
        return numpyro.sample("x", dist.Normal(params["means"][kind], 1.0))

    return handlers.seed(model, key)() ** 2


def hidden_markov(stay, key):
    def model():
        def step(state, _):
            state = numpyro.sample("state", dist.Bernoulli(jnp.where(state == 1, stay, 0.3)))
            return state, state

        return scan(step, jnp.array(1), None, length=3)[1]

    return jnp.sum(handlers.seed(model, key)()) ** 2.0


def elbo_by_hand(logits, key):
    """After numpyro #896: the loss of a discrete guide, as one would write it."""

    def model():
        z = numpyro.sample("z", dist.Categorical(jnp.array([0.2, 0.5, 0.3])))
        numpyro.sample("x", dist.Normal(PAYS[z], 2.0), obs=3.0)

    def guide():
        numpyro.sample("z", dist.Categorical(logits=logits))

    trace = handlers.trace(handlers.seed(guide, key)).get_trace()
    draws = {"z": trace["z"]["value"]}
    log_q, _ = log_density(guide, (), {}, draws)
    log_p, _ = log_density(model, (), {}, draws)
    return log_p - log_q


def zero_inflated(params, key):
    counts = dist.ZeroInflatedPoisson(params["gate"], params["rate"]).sample(key, (2,))
    return jnp.sum(jnp.sqrt(counts + 1.0))


def successes(p, key):
    return dist.Binomial(5, p).sample(key) ** 2.0  # told


# ------------------------------------------------------------------------------------------------- flax


class Switch(nn.Module):
    """A layer that picks one of three experts with the module's own random numbers."""

    @nn.compact
    def __call__(self, x):
        logits = nn.Dense(3)(x)
        expert = jax.random.categorical(self.make_rng("route"), logits)
        outs = jnp.stack([nn.Dense(1)(x)[0] for _ in range(3)])
        return outs[expert] ** 2


def experts(params, key):
    return Switch().apply(params, jnp.array([0.5, -1.0]), rngs={"route": key})


# ------------------------------------------------------------------------------------------------- environments

CART = gymnax.make("CartPole-v1")
PENDULUM = gymnax.make("Pendulum-v1")
CATCH = gymnax.make("Catch-bsuite")
TIC_TAC_TOE = pgx.make("tic_tac_toe")
GAME_2048 = pgx.make("2048")


def cart_pole(w, key):
    """Three pushes from a start of their own; how far the pole leans in the end."""
    env, env_params = CART
    obs, state = env.reset(jax.random.PRNGKey(3), env_params)
    for k in jax.random.split(key, 3):
        act, move = jax.random.split(k)
        action = jax.random.bernoulli(act, jax.nn.sigmoid(w @ obs)).astype(int)
        obs, state, *_ = env.step(move, state, action, env_params)
    return 1e4 * obs[2] ** 2


def catch(logits, key):
    """A policy for each column of the paddle, in two games at once: an environment that resets itself."""
    env, env_params = CATCH

    def play(k, start):
        obs, state = env.reset(start, env_params)

        def step(carry, k):
            state, obs = carry
            act, move = jax.random.split(k)
            action = distrax.Categorical(logits=logits[state.paddle_x]).sample(seed=act)
            obs, state, reward, *_ = env.step(move, state, action, env_params)
            return (state, obs), reward + 0.1 * state.paddle_x

        return lax.scan(step, (state, obs), jax.random.split(k, 2))[1].sum()

    return jax.vmap(play)(jax.random.split(key), jax.random.split(jax.random.PRNGKey(5))).mean()


def pendulum(mean, key):
    """After gymnax #26: a torque with a path, and a step that stops it."""
    env, env_params = PENDULUM
    _, state = env.reset(jax.random.PRNGKey(3), env_params)
    torque = mean + 0.1 * jax.random.normal(key)
    _, state, *_ = env.step(jax.random.PRNGKey(4), state, torque, env_params)  # told
    return state.theta_dot**2


def tic_tac_toe(logits, key):
    """Two plies of one policy, legal moves only; what the first player has of the middle row."""
    state = TIC_TAC_TOE.init(jax.random.PRNGKey(0))
    for k in jax.random.split(key):
        masked = jnp.where(state.legal_action_mask, logits, -1e9)
        state = TIC_TAC_TOE.step(state, jax.random.categorical(k, masked))
    return jnp.sum(state.observation[1, :, 0] * jnp.array([1.0, 2.0, 1.0]))


def slide(logits, key):
    """2048: one move of the player, after which the game draws a tile with random numbers of its own."""
    act, spawn = jax.random.split(key)
    state = GAME_2048.init(jax.random.PRNGKey(31))
    masked = jnp.where(state.legal_action_mask, logits, -1e9)
    state = GAME_2048.step(state, jax.random.categorical(act, masked), spawn)
    return state.rewards[0]
