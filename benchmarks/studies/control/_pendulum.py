"""Pendulum: the score function beside the derivative through the dynamics, variance x time on one path and learning curves."""

from __future__ import annotations

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg
from benchmarks.studies.control._learning import apply, network
from benchmarks.study import Record
from benchmarks.timing import interleaved

WIDTH, LENGTH, BATCH = 32, 200, 32


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
    dist, size = TORQUES[policy]
    step = lambda key, state, action: environment.step(key, state, size * action)
    run = lambda params, key: pg.rollout(dist, step, environment.reset, params, key, num_steps, estimator=estimator)
    return sf.expectation(lambda params, key: run(params, key).r_t.sum(), num_samples=batch)


def pendulum(
    updates: int = 600, seeds: int = 5, snapshots: int = 7, repeats: int = 128, num_steps: int = LENGTH
) -> Record:
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
    found, times_of = {}, {}
    for policy, path in paths.items():
        grads = [jax.jit(jax.grad(swing(policy, route, num_steps))) for route in ROUTES]
        middle = jax.tree.map(lambda x: x[snapshots // 2], path)
        times = np.median(np.array(interleaved(grads, middle, jax.random.key(1), 20)), axis=0)
        found[policy], times_of[policy] = {}, {}
        for route, gradient, seconds in zip(ROUTES, grads, times, strict=True):
            variances = []
            for i in range(snapshots):
                at = jax.tree.map(lambda x, i=i: x[i], path)
                rows = [gradient(at, key) for key in jax.random.split(jax.random.key(2 + i), repeats)]
                rows = np.stack([np.concatenate([np.ravel(x) for x in jax.tree.leaves(row)]) for row in rows])
                variances.append(float(rows.var(axis=0, ddof=1).sum()))
            found[policy][route] = {"variance": variances}
            times_of[policy][route] = float(seconds * 1e6)
    finite = all(np.isfinite(rows).all() for curve in curves.values() for rows in curve.values())
    learned = {
        "snapshots": [every * i for i in range(snapshots)], "path": found,
        "updates": (np.arange(1, updates // (every // 10) + 1) * (every // 10)).tolist(), "curves": curves, "seeds": seeds,
        "batch": BATCH, "num_steps": num_steps, "passed": bool(finite),
        "last": {
            policy: {route: float(np.mean([row[-5:] for row in rows])) for route, rows in curve.items()}
            for policy, curve in curves.items()
        },
    }  # fmt: skip
    return {"found": learned, "times": {"microseconds": times_of, "seconds": time.perf_counter() - begin}}
