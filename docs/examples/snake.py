# %% [markdown]
# # A pole and a snake, by PPO
#
# One agent, an equinox module with a critic, learns to balance the pole of gymnax and to feed the snake of jumanji. The algorithm is
# PPO: play some steps, then go through them four times in random parts. `sf.policy_gradient.rollout` plays, `sf.training.fit` has the
# epochs and the parts.
#
# When an episode ends, `rollout` begins another one by itself. What the last step led to is kept, in `next_observations`: a critic
# is asked about that, and not about the first state of the next episode. (A wrapper that begins episodes itself, such as jumanji's
# `AutoResetWrapper`, loses it, and `from_jumanji` refuses one.) A pole that fell (terminated) has no future; one that is
# taken away after 500 steps (truncated) would have gone on, and its value stands for the rest.
#
# As a script: `pip install "jax_scorefn[training]" equinox gymnax six jumanji matplotlib`, then `python snake.py`. That is a glance, as
# on this page; `python snake.py --full` trains in earnest and draws the figure below.

# %%
import sys

import equinox as eqx
import gymnax
import jax
import jax.numpy as jnp
import jumanji
import matplotlib.pyplot as plt
import numpy as np
import optax

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg

FULL = "--full" in sys.argv
SEEDS, PLACES, STEPS = 10 if FULL else 2, 16, 64
DISCOUNT, EPOCHS, PARTS = 0.99, 4, 4


class Agent(eqx.Module):
    actor: eqx.nn.MLP
    critic: eqx.nn.MLP

    def __init__(self, sizes, key):
        (num_in, num_actions), keys = sizes, jax.random.split(key)
        self.actor = eqx.nn.MLP(num_in, num_actions, 64, 2, jnp.tanh, key=keys[0])
        self.critic = eqx.nn.MLP(num_in, "scalar", 64, 2, jnp.tanh, key=keys[1])


def pole():
    """Four numbers, two actions, and discounted returns of a hundred."""
    return pg.from_gymnax(*gymnax.make("CartPole-v1")), (4, 2), 100.0, lambda o: (o, jnp.ones(2, bool))


def snake():
    """A board of 6 x 6, and a few fruits ahead; what would be a step into itself or a wall is not legal."""
    board = jumanji.environments.Snake(num_rows=6, num_cols=6, time_limit=500)
    return pg.from_jumanji(board), (6 * 6 * 5, 4), 3.0, lambda o: (jnp.ravel(o.grid), o.action_mask)


# %% [markdown]
# Ten agents of different seeds learn side by side: their parameters have an axis of seeds in front, and the optimizer is mapped
# over it. A row of a batch is a step, of all seeds.


# %%
def learn(make, num_updates):
    environment, sizes, worth, see = make()

    def policy(agent, observation):
        seen, legal = see(observation)
        return sf.Categorical(logits=pg.legal_logits(agent.actor(seen), legal))

    def value(agent, observation):
        return worth * agent.critic(see(observation)[0])

    def play(agent, key, places):
        run = lambda key, place: pg.rollout(policy, *environment, agent, key, STEPS, start=place)
        steps = jax.vmap(run)(jax.random.split(key, PLACES), places)

        def one(s):
            before, after = (jax.vmap(lambda o: value(agent, o))(o) for o in (s.observations, s.next_observations))
            ends = {"terminated": s.terminated, "truncated": s.truncated}
            advantage = pg.gae(s.r_t, before, after, discount_t=DISCOUNT, lambda_=0.95, **ends)
            old = jax.vmap(lambda o, a: policy(agent, o).log_prob(a))(s.observations, s.actions)
            return {
                "o": s.observations,
                "a": s.actions,
                "old": old,
                "advantage": advantage,
                "target": advantage + before,
            }

        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.vmap(one)(steps))
        ended = steps.terminated | steps.truncated
        return rows, jnp.sum(steps.episode_returns) / jnp.sum(ended), steps.last  # NaN where no episode ended

    def collect(agents, key, places):
        axes = (eqx.if_array(0), 0, 0)
        rows, returns, places = eqx.filter_vmap(play, in_axes=axes, out_axes=(1, 0, 0))(
            agents, jax.random.split(key, SEEDS), places
        )
        return rows, ({f"seed {i}": returns[i] for i in range(SEEDS)}, places)

    def loss(agents, key, rows):
        def one(agent, row):
            dist = jax.vmap(lambda o: policy(agent, o))(row["o"])
            new = jax.vmap(lambda d, a: d.log_prob(a))(dist, row["a"])
            actor = pg.ppo_clip(new, row["old"], pg.whiten(row["advantage"]))
            critic = pg.critic_loss(jax.vmap(lambda o: value(agent, o))(row["o"]) / worth, row["target"] / worth)
            entropy = pg.entropy(dist.logits)
            return pg.mean_loss(actor) + 0.5 * pg.mean_loss(critic) - 0.01 * entropy.mean()

        return jnp.sum(eqx.filter_vmap(one, in_axes=(eqx.if_array(0), 1))(agents, rows))

    steps_of_adam = num_updates * EPOCHS * PARTS
    one = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(optax.linear_schedule(1e-3, 0.0, steps_of_adam)))
    optimizer = optax.GradientTransformation(jax.vmap(one.init), jax.vmap(one.update))
    key_agents, key_places, key = jax.random.split(jax.random.key(0), 3)
    agents = eqx.filter_vmap(lambda key: Agent(sizes, key))(jax.random.split(key_agents, SEEDS))
    begin = jax.vmap(jax.vmap(lambda key: pg.begin(environment.reset, key)))
    places = begin(jax.random.split(key_places, (SEEDS, PLACES)))
    fitted = sf.training.fit(
        loss, agents, optimizer, key, num_updates, collect=collect, carry=places, has_aux=True, epochs=EPOCHS,
        minibatches=PARTS, inner_steps=max(1, num_updates // 20), progress=sys.stderr.isatty())  # fmt: skip
    return np.stack([fitted.history[f"seed {i}"] for i in range(SEEDS)])


curves = {"pole": learn(pole, 400 if FULL else 20), "snake": learn(snake, 1000 if FULL else 10)}


# %%
def parts(returns, size):
    """Means of so many updates each, over the episodes that ended in them."""
    return np.nanmean(returns.reshape(len(returns), -1, size), axis=2)


figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for ax, (name, returns) in zip(axes, curves.items(), strict=True):
    means = parts(returns, max(5, returns.shape[1] // 50))
    updates = np.linspace(0, returns.shape[1], means.shape[1] + 1)[1:]
    ax.plot(updates, means.T, color="C0", alpha=0.4, lw=1)
    ax.plot(updates, np.median(means, axis=0), color="C0", lw=2)
    ax.set(xlabel="updates of 1,024 steps", ylabel="return of an episode", title=name)
    print(f"{name}: returns at last", np.round(np.sort(means[:, -1]), 1))
if FULL:
    figure.savefig("snake.svg")
plt.show()

# %% [markdown]
# Here the agents have played for some seconds. In earnest, with ten seeds and their median: after 110 updates each of them holds the
# pole until it is taken away, and at the end the snake eats 30 to 32 of the 35 fruits for which the board has room.
#
# ![Returns of ten seeds while they learn to balance a pole and to feed a snake](../pictures/snake.svg)
