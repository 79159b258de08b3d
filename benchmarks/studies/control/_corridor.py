"""The short corridor: REINFORCE with and without a baseline, exact expected return after each episode."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg
from benchmarks.study import Record


def corridor(episodes: int = 1000, runs: int = 100, length: int = 400) -> Record:
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
    found = {
        "best": best, "episodes": (at + 1).tolist(), "runs": runs,
        "curves": {name: np.round(rows[:, at].mean(axis=0), 4).tolist() for name, rows in curves.items()},
        "errors": {name: np.round(rows[:, at].std(axis=0) / runs**0.5, 4).tolist() for name, rows in curves.items()},
        "last": {name: float(rows[:, -50:].mean()) for name, rows in curves.items()},
        "passed": bool(abs(max(rows[:, -50:].mean() for rows in curves.values()) / best - 1) < 0.01),
    }  # fmt: skip
    return {"found": found, "times": {}}
