"""Policies that learn: CartPole, the short corridor, and how fast a rollout and its gradient are.

    cart pole   reward-to-go with a learned baseline on 8 environments at a time, 20 seeds in one program, to a mean return of 475 over
                100 evaluation episodes
    corridor    REINFORCE on the short corridor, with and without a baseline, 100 runs: exact expected return after each episode
    speed       environment steps per second of rollout and gradient with 256 environments, against the same written out by hand

Environments are gymnax's: `pip install 'jax_scorefn[rl]'`.
"""

from __future__ import annotations

import functools
import itertools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg
from benchmarks.speed import bootstrap, interleaved

GOAL, SEEDS, EPISODES = 475.0, 20, 100
SPEED_LIMIT = 0.9


def network(sizes: tuple[int, ...], key: Any, last: float) -> list[tuple[Any, Any]]:
    """Weights and biases of a tanh network; the last layer begins small."""
    keys = jax.random.split(key, len(sizes) - 1)
    scales = [1.0] * (len(sizes) - 2) + [last]
    shapes = itertools.pairwise(sizes)
    return [
        (jax.random.normal(k, shape) * scale / np.sqrt(shape[0]), jnp.zeros(shape[1]))
        for k, shape, scale in zip(keys, shapes, scales, strict=True)
    ]


def apply(params: list[tuple[Any, Any]], x: Any) -> Any:
    """The network."""
    for w, b in params[:-1]:
        x = jnp.tanh(x @ w + b)
    return x @ params[-1][0] + params[-1][1]


# CartPole

WIDTH, ENVIRONMENTS, STEPS, DISCOUNT, SCALE = 32, 8, 64, 0.99, 50.0


def cart_pole_policy(params: Any, observation: Any) -> Any:
    return sf.Categorical(logits=apply(params["policy"], observation))


def cart_pole_loss(environment: Any, num_envs: int, num_steps: int) -> Any:
    """Reward-to-go minus the value that a critic expects, and the critic's own loss; both on one window of steps."""

    def loss(params: Any, key: Any, places: Any) -> Any:
        held = jax.lax.stop_gradient(params)
        run = lambda k, place: pg.rollout(
            cart_pole_policy, environment.step, environment.reset, held, k, num_steps, start=place
        )
        steps = jax.vmap(run)(jax.random.split(key, num_envs), places)

        def one(s: Any) -> Any:
            log_probs = jax.nn.log_softmax(apply(params["policy"], s.observations))
            log_probs = jnp.take_along_axis(log_probs, s.actions[:, None], axis=1)[:, 0]
            values, after = (apply(params["critic"], o)[:, 0] * SCALE for o in (s.observations, s.next_observations))
            ends = {"terminated": s.terminated, "truncated": s.truncated}
            returns = pg.discounted_returns(s.r_t, discount_t=DISCOUNT, v_t=jax.lax.stop_gradient(after), **ends)
            return pg.actor_critic(log_probs, (returns - values) / SCALE), pg.critic_loss(
                values / SCALE, returns / SCALE
            )

        actor, critic = jax.vmap(one)(steps)
        return pg.mean_loss(actor) + pg.mean_loss(critic), steps.last

    return loss


def places(environment: Any, key: Any, count: int) -> Any:
    """Where ``count`` environments begin."""

    def one(key: Any) -> pg.Place:
        observation, state = environment.reset(key)
        return pg.Place(observation, state, jnp.zeros(()), jnp.zeros((), jnp.int32))

    return jax.vmap(one)(jax.random.split(key, count))


def start(key: Any) -> Any:
    first, second = jax.random.split(key)
    return {"policy": network((4, WIDTH, 2), first, 0.01), "critic": network((4, WIDTH, 1), second, 0.1)}


def cart_pole(updates: int = 400, every: int = 10, episodes: int = EPISODES) -> dict[str, Any]:
    """Twenty seeds in one compiled program: returns over ``episodes`` evaluation episodes at every tenth update."""
    import gymnax

    environment = pg.from_gymnax(*gymnax.make("CartPole-v1"))
    loss = cart_pole_loss(environment, ENVIRONMENTS, STEPS)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(5e-3))

    def evaluate(params: Any, key: Any) -> Any:
        def episode(key: Any) -> Any:
            steps = pg.rollout(cart_pole_policy, environment.step, environment.reset, params, key, 500)
            return steps.episode_returns[jnp.argmax(steps.terminated | steps.truncated)]

        return jnp.mean(jax.vmap(episode)(jax.random.split(key, episodes)))

    def train(seed: Any) -> Any:
        key_params, key_places, key_train, key_test = jax.random.split(jax.random.key(seed), 4)
        params = start(key_params)

        def update(state: Any, i: Any) -> Any:
            params, opt_state, now = state
            grads, now = jax.grad(loss, has_aux=True)(params, jax.random.fold_in(key_train, i), now)
            step, opt_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, step), opt_state, now), None

        def stretch(state: Any, i: Any) -> Any:
            state, _ = jax.lax.scan(update, state, i * every + jnp.arange(every))
            return state, evaluate(state[0], jax.random.fold_in(key_test, i))

        first = (params, optimizer.init(params), places(environment, key_places, ENVIRONMENTS))
        return jax.lax.scan(stretch, first, jnp.arange(updates // every))[1]

    begin = time.perf_counter()
    curves = np.asarray(jax.jit(jax.vmap(train))(jnp.arange(SEEDS)))
    seconds = time.perf_counter() - begin
    steps = (1 + np.arange(curves.shape[1])) * every * ENVIRONMENTS * STEPS
    reached = [int(steps[np.argmax(row >= GOAL)]) for row in curves if np.any(row >= GOAL)]
    return {
        "kind": "control", "problem": "cart pole", "method": "", "steps": steps.tolist(), "curves": np.round(curves, 2).tolist(),
        "reached": len(reached), "seeds": SEEDS, "median_steps": float(np.median(reached)) if reached else None,
        "seconds": seconds, "median_seconds": float(np.median(reached)) / steps[-1] * seconds if reached else None,
        "episodes": episodes, "passed": len(reached) >= 0.9 * SEEDS,
    }  # fmt: skip


# The short corridor


def corridor(episodes: int = 1000, runs: int = 100, length: int = 400) -> dict[str, Any]:
    """REINFORCE as in the textbook, which makes an update at each step of an episode: exact expected return after each one."""
    process = sf.testing.short_corridor()
    table = lambda theta: jnp.broadcast_to(theta, (4, 2))  # all states look alike: two preferences, left and right

    def train(rates: tuple[float, float, float], key: Any) -> Any:
        def episode(state: Any, row: Any) -> Any:
            key, slower = row[0], 1 / (1 + rates[2] * row[1])
            steps = process.sample(table(state[0]), key, length)
            returns = pg.discounted_returns(steps.r_t, terminated=steps.terminated, mask=steps.mask)

            def update(state: Any, row: Any) -> Any:
                theta, value = state
                action, advantage, there = row[0], jnp.where(row[2], row[1] - value, 0.0), row[2][None]
                loss = lambda t: pg.actor_critic(jax.nn.log_softmax(t)[action][None], advantage[None], mask=there).sum
                return (theta - slower * rates[0] * jax.grad(loss)(theta), value + rates[1] * advantage), None

            state, _ = jax.lax.scan(update, state, (steps.actions, returns, steps.mask))
            return state, process.expected_return(table(state[0]))

        first = (jnp.log(jnp.array([0.95, 0.05])), jnp.zeros(()))  # it begins with 5 % of right
        return jax.lax.scan(episode, first, (jax.random.split(key, episodes), jnp.arange(episodes)))[1]

    keys = jax.random.split(jax.random.key(0), runs)
    curves = {
        name: np.asarray(jax.jit(jax.vmap(functools.partial(train, rates)))(keys))
        for name, rates in {
            "REINFORCE": (2.0**-13, 0.0, 0.0),
            "with a baseline": (2.0**-9, 2.0**-6, 0.0),
            "with a baseline, slower and slower": (2.0**-9, 2.0**-6, 0.02),
        }.items()
    }
    best = -2 * (1 + 2**0.5) ** 2  # 2 (p - 2) / (p (1 - p)) at p = 2 - sqrt(2)
    at = np.unique(np.geomspace(1, episodes, 60).astype(int)) - 1
    return {
        "kind": "control", "problem": "corridor", "method": "", "best": best, "episodes": (at + 1).tolist(), "runs": runs,
        "curves": {name: np.round(rows[:, at].mean(axis=0), 4).tolist() for name, rows in curves.items()},
        "errors": {name: np.round(rows[:, at].std(axis=0) / runs**0.5, 4).tolist() for name, rows in curves.items()},
        "last": {name: float(rows[:, -50:].mean()) for name, rows in curves.items()},
        "passed": bool(abs(max(rows[:, -50:].mean() for rows in curves.values()) / best - 1) < 0.01),
    }  # fmt: skip


# Speed


def pair(num_envs: int, num_steps: int) -> tuple[Any, Any]:
    """The gradient of one window in so many environments, rollout included: by the library, and written out."""
    import gymnax

    env, env_params = gymnax.make("CartPole-v1")
    environment = pg.from_gymnax(env, env_params)
    ours_loss = cart_pole_loss(environment, num_envs, num_steps)

    def ours(params: Any, key: Any) -> Any:
        first, key = jax.random.split(key)
        return jax.grad(lambda p: ours_loss(p, key, places(environment, first, num_envs))[0])(params)

    def by_hand(params: Any, key: Any) -> Any:
        first, key = jax.random.split(key)
        observations, states = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(first, num_envs), env_params)

        def step(carry: Any, key: Any) -> Any:
            observations, states = carry
            key_action, key_step = jax.random.split(key)
            logits = apply(params["policy"], observations)
            actions = jax.random.categorical(key_action, logits)
            after, states, reward, terminated, truncated, info = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
                jax.random.split(key_step, num_envs), states, actions, env_params
            )
            return (after, states), (observations, actions, reward, terminated, truncated, info["final_observation"])

        _, rows = jax.lax.scan(step, (observations, states), jax.random.split(key, num_steps))
        seen, actions, rewards, terminated, truncated, final = jax.lax.stop_gradient(rows)

        def loss(params: Any) -> Any:
            values, after = (apply(params["critic"], o)[..., 0] * SCALE for o in (seen, final))
            after = jax.lax.stop_gradient(after)

            def back(carry: Any, row: Any) -> Any:
                reward, terminated, truncated, value = row
                carry = reward + DISCOUNT * jnp.where(terminated, 0.0, jnp.where(truncated, value, carry))
                return carry, carry

            returns = jax.lax.scan(back, after[-1], (rewards, terminated, truncated, after), reverse=True)[1]
            log_probs = jax.nn.log_softmax(apply(params["policy"], seen))
            log_probs = jnp.take_along_axis(log_probs, actions[..., None], axis=-1)[..., 0]
            advantages = jax.lax.stop_gradient((returns - values) / SCALE)
            return -jnp.mean(advantages * log_probs) + 0.5 * jnp.mean(((values - returns) / SCALE) ** 2)

        return jax.grad(loss)(params)

    return ours, by_hand


def speed(num_envs: int = 256, num_steps: int = 64, repeats: int = 40) -> dict[str, Any]:
    """Environment steps per second of one gradient, rollout included, by the library and by hand."""
    params, key = start(jax.random.key(1)), jax.random.key(0)
    functions = [jax.jit(f) for f in pair(num_envs, num_steps)]
    times = np.array(interleaved(functions, params, key, repeats))
    low, high = bootstrap(times)
    medians = np.median(times, axis=0)
    steps = num_envs * num_steps
    return {
        "kind": "control", "problem": "speed", "method": "", "ratio": float(medians[1] / medians[0]), "ratio_low": 1 / high,
        "ratio_high": 1 / low, "steps_per_second": float(steps / medians[0]), "by_hand": float(steps / medians[1]),
        "environments": num_envs, "num_steps": num_steps, "passed": bool(1 / low >= SPEED_LIMIT),
    }  # fmt: skip


WORKLOADS = {"cart pole": cart_pole, "corridor": corridor, "speed": speed}


if __name__ == "__main__":
    for name, run in WORKLOADS.items():
        record = run()
        print(name, {k: v for k, v in record.items() if k not in ("curves", "steps", "episodes", "errors")}, flush=True)
