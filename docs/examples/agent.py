# %% [markdown]
# # A bandit and a walk along a cliff
#
# An agent looks at something, acts, and is paid; it never learns what another act would have paid. An act has no derivative in the
# weights behind it, so `jax.grad` of the reward has nothing to say. `sf.sample` makes each act a choice, and `sf.expectation` of the
# reward has the gradient, with each act charged with the rewards that come after it.
#
# The policy is an equinox module: as it is, it goes into `sf.expectation`, `sf.policy_gradient.rollout` and `sf.training.fit`. Both
# problems are small enough for the best possible reward to be known.
#
# As a script: `pip install "jax_scorefn[training]" equinox matplotlib`, then `python agent.py`.

# %%
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import jax_scorefn as sf


class Policy(eqx.Module):
    net: eqx.nn.MLP

    def __call__(self, observation):
        return sf.Categorical(logits=self.net(observation))


start = Policy(eqx.nn.MLP(in_size=2, out_size=4, width_size=32, depth=2, key=jax.random.key(0)))


def learn(reward, num_updates):
    """Adam, with 32 runs of the agent for each update, each beside the mean of the others."""
    expected = sf.expectation(reward, num_samples=32)
    loss = lambda policy, key: -expected(policy, key)
    return sf.training.fit(loss, start, optax.adam(0.01), jax.random.key(1), num_updates, progress=sys.stderr.isatty())


def measure(reward, policy):
    rewards = jax.jit(jax.vmap(lambda key: reward(policy, key)))(jax.random.split(jax.random.key(2), 4000))
    return f"{rewards.mean():7.3f} +- {rewards.std() / 4000**0.5:.3f}"


# %% [markdown]
# Four arms point north, east, south and west. The agent sees a direction, pulls an arm, and is paid the cosine of the angle between
# them, and noise. Who always pulls the nearest arm gets sin(π/4) / (π/4) on average.


# %%
def pull(policy, key):
    key_angle, key_arm, key_noise = jax.random.split(key, 3)
    angle = jax.random.uniform(key_angle, maxval=2 * jnp.pi)
    arm = sf.sample(key_arm, policy(jnp.stack([jnp.cos(angle), jnp.sin(angle)])), name="arm")
    return jnp.cos(angle - arm * jnp.pi / 2) + 0.5 * jax.random.normal(key_noise)


bandit, best_pull = learn(pull, 300), jnp.sin(jnp.pi / 4) / (jnp.pi / 4)
print(f"start {measure(pull, start)}, learned {measure(pull, bandit.params)}, best {best_pull:.3f}")

# %% [markdown]
# On a board of 5 x 5 the agent walks from one end of the lowest row to the other, which pays 10. Between them is a cliff: to fall
# costs 10 and ends the walk. Every step costs 0.2, and one in ten goes down whatever was wanted.

# %%
MOVES = jnp.array([[-1, 0], [0, 1], [1, 0], [0, -1]])
GUST, DOWN = 0.1, 2


def see(cell):
    return cell / 2.0 - 1.0


def move(cell, action):
    """Where it leads, what it pays, and whether the walk is over."""
    cell = jnp.clip(cell + MOVES[action], 0, 4)
    there = (cell == 4).all()
    fell = (cell[0] == 4) & (cell[1] > 0) & ~there
    return cell, 10.0 * there - 10.0 * fell - 0.2, there | fell


def env_reset(key):
    return see(jnp.array([4, 0])), jnp.array([4, 0])


def env_step(key, cell, action):
    cell, reward, over = move(cell, jnp.where(jax.random.uniform(key) < GUST, DOWN, action))
    return see(cell), cell, reward, over, jnp.array(False)


def walk(policy, key):
    steps = sf.policy_gradient.rollout(Policy.__call__, env_step, env_reset, policy, key, num_steps=30)
    first = (
        jnp.cumsum(steps.terminated) - steps.terminated == 0
    )  # a rollout begins anew after each end; the first walk counts
    return jnp.sum(steps.r_t * first)


walker = learn(walk, 400)

# %% [markdown]
# The best expected reward, by value iteration. The same equations with the policy's own probabilities say what the policy gets.

# %%
cells = jnp.stack(jnp.divmod(jnp.arange(25), 5), axis=1)
to, pay, over = jax.vmap(jax.vmap(move, (None, 0)), (0, None))(cells, jnp.arange(4))


def value(choose):
    def sweep(_, v):
        q = pay + jnp.where(over, 0.0, v[to[..., 0], to[..., 1]])
        return choose((1 - GUST) * q + GUST * q[:, DOWN, None]).reshape(5, 5)

    return jax.lax.fori_loop(0, 300, sweep, jnp.zeros((5, 5)))[4, 0]


best_walk = value(lambda q: q.max(axis=1))
for name, policy in [("start", start), ("learned", walker.params)]:
    probs = jax.nn.softmax(jax.vmap(policy)(see(cells)).logits)
    exact = value(lambda q, probs=probs: (probs * q).sum(axis=1))
    print(f"{name:8s} {measure(walk, policy)} in 30 steps, exact without that limit {exact:.3f}, best {best_walk:.3f}")

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
for axes, found, best, title in [(left, bandit, best_pull, "bandit"), (middle, walker, best_walk, "walk")]:
    rewards = -found.history["loss"].reshape(-1, 10).mean(axis=1)
    axes.axhline(best, color="0.6", label="best")
    axes.plot(10 * jnp.arange(len(rewards)) + 5, rewards)
    axes.set(xlabel="update", ylabel="reward", title=title)
    axes.legend()
step = (probs @ MOVES)[:21]
right.quiver(cells[:21, 1], cells[:21, 0], step[:, 1], step[:, 0], angles="xy", color="C0")
right.plot([1, 2, 3], [4, 4, 4], "C3x", markersize=10)
right.plot(4, 4, "C2o", markersize=10)
right.set(xlim=(-0.7, 4.7), ylim=(4.7, -0.7), title="learned: mean step from each cell", aspect="equal")
right.axis("off")
plt.show()
