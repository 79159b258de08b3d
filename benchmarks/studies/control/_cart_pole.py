"""CartPole: reward-to-go with a learned baseline, 20 seeds in one program, to a mean return of 475 over 100 evaluation episodes."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg
from benchmarks.studies.control._learning import apply, network, places, window_loss
from benchmarks.study import Record

GOAL, SEEDS, EPISODES = 475.0, 20, 100
WIDTH, ENVIRONMENTS, STEPS, SCALE = 32, 8, 64, 50.0


def cart_pole_policy(params: Any, observation: Any) -> Any:
    return sf.Categorical(logits=apply(params["policy"], observation))


def cart_pole_value(params: Any, observation: Any) -> Any:
    return apply(params["critic"], observation)[0] * SCALE


def start(key: Any) -> Any:
    first, second = jax.random.split(key)
    return {"policy": network((4, WIDTH, 2), first, 0.01), "critic": network((4, WIDTH, 1), second, 0.1)}


def cart_pole(updates: int = 400, every: int = 10, episodes: int = EPISODES) -> Record:
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
    found = {
        "steps": steps.tolist(), "curves": np.round(curves, 2).tolist(), "reached": len(reached), "seeds": SEEDS,
        "median_steps": float(np.median(reached)) if reached else None, "episodes": episodes, "passed": len(reached) >= 0.9 * SEEDS,
    }  # fmt: skip
    times = {"seconds": seconds, "median_seconds": float(np.median(reached)) / steps[-1] * seconds if reached else None}
    return {"found": found, "times": times}
