"""Policies that learn: CartPole, the short corridor, and how fast a rollout and its gradient are.

    cart pole   reward-to-go with a learned baseline on 8 environments at a time, 20 seeds in one program, to a mean return of 475 over
                100 evaluation episodes
    pendulum    continuous actions: the score function beside the derivative through the dynamics, variance x time and learning curves
    chess       on 5 x 5 squares against random moves: the share of games won, before and after
    corridor    REINFORCE on the short corridor, with and without a baseline, 100 runs: exact expected return after each episode
    speed       environment steps per second of rollout and gradient with 256 environments, against the same written out by hand

Environments are those of gymnax and pgx: `pip install 'jax_scorefn[rl]'`.
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


def cart_pole_value(params: Any, observation: Any) -> Any:
    return apply(params["critic"], observation)[0] * SCALE


def window_loss(policy: Any, value: Any, environment: Any, num_envs: int, num_steps: int, scale: float) -> Any:
    """Reward-to-go minus the value that a critic expects, and the critic's own loss; both on one window of steps."""

    def loss(params: Any, key: Any, places: Any) -> Any:
        held = jax.lax.stop_gradient(params)
        run = lambda k, place: pg.rollout(policy, environment.step, environment.reset, held, k, num_steps, start=place)
        steps = jax.vmap(run)(jax.random.split(key, num_envs), places)

        def one(s: Any) -> Any:
            log_probs = jax.vmap(lambda o, a: policy(params, o).log_prob(a))(s.observations, s.actions)
            values, after = (
                jax.vmap(functools.partial(value, params))(o) for o in (s.observations, s.next_observations)
            )
            ends = {"terminated": s.terminated, "truncated": s.truncated}
            returns = pg.discounted_returns(s.r_t, discount_t=DISCOUNT, v_t=jax.lax.stop_gradient(after), **ends)
            advantages = (returns - values) / scale
            return pg.actor_critic(log_probs, advantages), pg.critic_loss(values / scale, returns / scale)

        actor, critic = jax.vmap(one)(steps)
        return pg.mean_loss(actor) + pg.mean_loss(critic), steps

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
    loss = window_loss(cart_pole_policy, cart_pole_value, environment, ENVIRONMENTS, STEPS, SCALE)
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
            grads, steps = jax.grad(loss, has_aux=True)(params, jax.random.fold_in(key_train, i), now)
            step, opt_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, step), opt_state, steps.last), None

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


# Chess on 5 x 5 squares

PLANES, UNITS, GAMES = 14, 128, 256  # the position of now without its history; hidden units; games of an evaluation
LONGEST = 128  # moves of one side: the rules end a game after 256


def chess_features(board: Any) -> Any:
    return board.observation[..., :PLANES].reshape(-1)


def chess_policy(params: Any, board: Any) -> Any:
    return sf.Categorical(logits=pg.legal_logits(apply(params["policy"], chess_features(board)), board.legal))


def chess_value(params: Any, board: Any) -> Any:
    return jnp.tanh(apply(params["critic"], chess_features(board))[0])


def chess_start(key: Any) -> Any:
    first, second = jax.random.split(key)
    inputs = 25 * PLANES
    return {"policy": network((inputs, UNITS, 1225), first, 0.01), "critic": network((inputs, UNITS, 1), second, 0.1)}


def share(count: int, total: int) -> tuple[float, float, float]:
    """A share with Wilson's interval of 95 %."""
    z, p = 1.96, count / total
    middle, half = p + z * z / (2 * total), z * np.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    return p, float((middle - half) / (1 + z * z / total)), float((middle + half) / (1 + z * z / total))


def chess(
    seconds: float = 240.0,
    num_envs: int = 64,
    num_steps: int = 32,
    every: int = 10,
    games: int = GAMES,
    rate: float = 1e-3,
) -> dict[str, Any]:
    """REINFORCE with a learned baseline against an opponent that moves at random: games won, before, while and after it learns."""
    import pgx

    environment = pg.from_pgx(pgx.make("gardner_chess"))
    loss = window_loss(chess_policy, chess_value, environment, num_envs, num_steps, 1.0)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    @jax.jit
    def evaluate(params: Any, key: Any) -> Any:
        def game(key: Any) -> Any:
            steps = pg.rollout(chess_policy, environment.step, environment.reset, params, key, LONGEST)
            return steps.episode_returns[jnp.argmax(steps.terminated | steps.truncated)]

        return jax.vmap(game)(jax.random.split(key, games))

    @jax.jit
    def stretch(state: Any, key: Any) -> Any:
        def update(state: Any, key: Any) -> Any:
            params, opt_state, now = state
            grads, steps = jax.grad(loss, has_aux=True)(params, key, now)
            step, opt_state = optimizer.update(grads, opt_state, params)
            ended = steps.terminated | steps.truncated
            counts = jnp.stack([jnp.sum(ended & (steps.r_t > 0)), jnp.sum(ended & (steps.r_t < 0)), jnp.sum(ended)])
            return (optax.apply_updates(params, step), opt_state, steps.last), counts

        state, counts = jax.lax.scan(update, state, jax.random.split(key, every))
        return state, jnp.sum(counts, axis=0)

    key_params, key_places, key_train, key_test = jax.random.split(jax.random.key(0), 4)
    params = chess_start(key_params)
    state = (params, optimizer.init(params), jax.jit(lambda k: places(environment, k, num_envs))(key_places))
    before = np.asarray(evaluate(params, key_test))
    begin, counts = time.perf_counter(), []
    while time.perf_counter() - begin < seconds:
        state, row = stretch(state, jax.random.fold_in(key_train, len(counts)))
        counts.append(np.asarray(row).tolist())
    spent = time.perf_counter() - begin
    after = np.asarray(evaluate(state[0], jax.random.fold_in(key_test, 1)))
    found = {name: [share(int(np.sum(won(x))), games) for x in (before, after)] for name, won in
             (("won", lambda x: x > 0), ("lost", lambda x: x < 0))}  # fmt: skip
    return {
        "kind": "control", "problem": "chess", "method": "", "games": games, **found, "counts": counts,
        "moves": [(i + 1) * every * num_envs * num_steps for i in range(len(counts))], "seconds": spent,
        "passed": found["won"][1][1] > found["won"][0][2],
    }  # fmt: skip


# Pendulum

LENGTH, BATCH = 200, 32


def gaussian_torque(params: Any, observation: Any) -> Any:
    return sf.Normal(loc=2 * jnp.tanh(apply(params["mean"], observation)[0]), scale=jnp.exp(params["log_scale"]))


def squashed_torque(params: Any, observation: Any) -> Any:
    return sf.TanhNormal(loc=apply(params["mean"], observation)[0], scale=jnp.exp(params["log_scale"]))


TORQUES = {
    "Gaussian": (gaussian_torque, 1.0),
    "TanhNormal": (squashed_torque, 2.0),
}  # the torque itself goes from -2 to 2
ROUTES = ("score", "pathwise")


def swing(policy: str, estimator: str, num_steps: int = LENGTH, batch: int = BATCH) -> Any:
    """Expected return of an episode of Pendulum-v1. Its gradient is one word's choice."""
    import gymnax

    env, env_params = gymnax.make("Pendulum-v1")
    environment = pg.from_gymnax(env.with_transition_gradients(), env_params)
    law, size = TORQUES[policy]
    step = lambda key, state, action: environment.step(key, state, size * action)
    run = lambda params, key: pg.rollout(law, step, environment.reset, params, key, num_steps, estimator=estimator)
    return sf.expectation(lambda params, key: run(params, key).r_t.sum(), num_samples=batch)


def pendulum(
    updates: int = 600, seeds: int = 5, snapshots: int = 7, repeats: int = 128, num_steps: int = LENGTH
) -> dict[str, Any]:
    """Learning curves of both estimators with both policies, and their variance x time on the path of one run."""
    every, optimizer = updates // (snapshots - 1), optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2))
    begin = time.perf_counter()

    def train(objective: Any, seed: Any) -> Any:
        key_params, key_train = jax.random.split(jax.random.key(seed))
        params = {"mean": network((3, WIDTH, 1), key_params, 0.1), "log_scale": jnp.array(-0.5)}

        def update(state: Any, i: Any) -> Any:
            params, opt_state = state
            value, grads = jax.value_and_grad(objective)(params, jax.random.fold_in(key_train, i))
            step, opt_state = optimizer.update(jax.tree.map(jnp.negative, grads), opt_state, params)
            return (optax.apply_updates(params, step), opt_state), value

        def stretch(state: Any, i: Any) -> Any:
            after, values = jax.lax.scan(update, state, i * every + jnp.arange(every))
            return after, (values, state[0])

        last, (values, path) = jax.lax.scan(stretch, (params, optimizer.init(params)), jnp.arange(snapshots - 1))
        return values.reshape(-1), jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), path, last[0])

    curves: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for policy in TORQUES:
        curves[policy] = {}
        for route in ROUTES:
            learn = jax.jit(jax.vmap(functools.partial(train, swing(policy, route, num_steps))))
            values, path = learn(jnp.arange(seeds))
            smooth = np.asarray(values).reshape(seeds, -1, every // 10).mean(axis=2)
            curves[policy][route] = np.round(smooth, 2).tolist()
            if route == "score":
                paths[policy] = jax.tree.map(lambda x: x[0], path)
    found: dict[str, Any] = {}
    for policy, path in paths.items():
        grads = [jax.jit(jax.grad(swing(policy, route, num_steps))) for route in ROUTES]
        middle = jax.tree.map(lambda x: x[snapshots // 2], path)
        times = np.median(np.array(interleaved(grads, middle, jax.random.key(1), 20)), axis=0)
        found[policy] = {}
        for route, gradient, seconds in zip(ROUTES, grads, times, strict=True):
            variances = []
            for i in range(snapshots):
                at = jax.tree.map(lambda x, i=i: x[i], path)
                rows = [gradient(at, key) for key in jax.random.split(jax.random.key(2 + i), repeats)]
                rows = np.stack([np.concatenate([np.ravel(x) for x in jax.tree.leaves(row)]) for row in rows])
                variances.append(float(rows.var(axis=0, ddof=1).sum()))
            found[policy][route] = {"variance": variances, "microseconds": float(seconds * 1e6)}
    finite = all(np.isfinite(rows).all() for curve in curves.values() for rows in curve.values())
    return {
        "kind": "control", "problem": "pendulum", "method": "", "snapshots": [every * i for i in range(snapshots)], "path": found,
        "updates": (np.arange(1, updates // (every // 10) + 1) * (every // 10)).tolist(), "curves": curves, "seeds": seeds,
        "batch": BATCH, "num_steps": num_steps, "seconds": time.perf_counter() - begin, "passed": bool(finite),
        "last": {
            policy: {route: float(np.mean([row[-5:] for row in rows])) for route, rows in curve.items()}
            for policy, curve in curves.items()
        },
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
    ours_loss = window_loss(cart_pole_policy, cart_pole_value, environment, num_envs, num_steps, SCALE)

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


WORKLOADS = {"cart pole": cart_pole, "pendulum": pendulum, "chess": chess, "corridor": corridor, "speed": speed}


if __name__ == "__main__":
    for name, run in WORKLOADS.items():
        record = run()
        print(
            name,
            {
                k: v
                for k, v in record.items()
                if k not in ("curves", "steps", "episodes", "errors", "updates", "counts", "moves")
            },
            flush=True,
        )
