"""A whole PPO training of CartPole, steps a second: ``fit`` and ``rollout`` beside one loop written out by hand.

By hand is what people write in pure JAX: a scan over updates; in it one over the steps of all environments, which begin again by
themselves, one backwards for the advantages, and one over shuffled parts, in epochs. Both keep terminated and truncated apart, and
compile as a part of the run.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg
from benchmarks.studies.control._cart_pole import cart_pole_policy, cart_pole_value, start
from benchmarks.studies.control._learning import DISCOUNT, apply, places
from benchmarks.study import Record
from benchmarks.timing import ratio

LAMBDA, CLIP, EPOCHS, PARTS, SCALE = 0.95, 0.2, 4, 4, 50.0
LIMIT = 0.95


def optimizer() -> optax.GradientTransformation:
    """Of both."""
    return optax.chain(optax.clip_by_global_norm(0.5), optax.adam(2.5e-3))


def ours(updates: int, num_envs: int, num_steps: int) -> Callable[[Any], Any]:
    """Mean return of the episodes that ended in each update, of a training with a key."""
    import gymnax

    environment = pg.from_gymnax(*gymnax.make("CartPole-v1"))

    def collect(params: Any, key: Any, now: Any) -> Any:
        run = lambda key, place: pg.rollout(cart_pole_policy, *environment, params, key, num_steps, start=place)
        steps = jax.vmap(run)(jax.random.split(key, num_envs), now)

        def one(s: Any) -> Any:
            before, after = (
                jax.vmap(functools.partial(cart_pole_value, params))(o) for o in (s.observations, s.next_observations)
            )
            ends = {"terminated": s.terminated, "truncated": s.truncated}
            advantages = pg.gae(s.r_t, before, after, discount_t=DISCOUNT, lambda_=LAMBDA, **ends)
            old = jax.vmap(lambda o, a: cart_pole_policy(params, o).log_prob(a))(s.observations, s.actions)
            return {
                "o": s.observations,
                "a": s.actions,
                "old": old,
                "advantage": advantages,
                "target": advantages + before,
            }

        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.vmap(one)(steps))
        ended = jnp.sum(steps.terminated | steps.truncated)
        return rows, ({"return": jnp.sum(steps.episode_returns) / jnp.maximum(ended, 1)}, steps.last)

    def loss(params: Any, key: Any, rows: Any) -> Any:
        dist = jax.vmap(functools.partial(cart_pole_policy, params))(rows["o"])
        new = jax.vmap(lambda d, a: d.log_prob(a))(dist, rows["a"])
        actor = pg.ppo_clip(new, rows["old"], pg.whiten(rows["advantage"]), clip=CLIP)
        values = jax.vmap(functools.partial(cart_pole_value, params))(rows["o"])
        critic = pg.critic_loss(values / SCALE, rows["target"] / SCALE)
        return pg.mean_loss(actor) + pg.mean_loss(critic) - 0.01 * jnp.mean(pg.entropy(dist.logits))

    def train(key: Any) -> Any:
        key_params, key_places, key = jax.random.split(key, 3)
        fitted = sf.training.fit(
            loss, start(key_params), optimizer(), key, updates, collect=collect, carry=places(environment, key_places, num_envs),
            has_aux=True, epochs=EPOCHS, minibatches=PARTS,
        )  # fmt: skip
        return fitted.history["return"]

    return train


def by_hand(updates: int, num_envs: int, num_steps: int) -> Callable[[Any], Any]:
    """The same, written out."""
    import gymnax

    env, env_params = gymnax.make("CartPole-v1")
    rule = optimizer()
    value = lambda params, o: apply(params["critic"], o)[..., 0] * SCALE

    def env_step(carry: Any, key: Any) -> Any:
        params, observations, states, totals = carry
        key_action, key_step = jax.random.split(key)
        logits = apply(params["policy"], observations)
        actions = jax.random.categorical(key_action, logits)
        log_probs = jnp.take_along_axis(jax.nn.log_softmax(logits), actions[:, None], axis=1)[:, 0]
        after, states, rewards, terminated, truncated, info = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
            jax.random.split(key_step, num_envs), states, actions, env_params
        )
        ended, totals = terminated | truncated, totals + rewards
        final = value(params, info["final_observation"])
        row = (
            observations,
            actions,
            log_probs,
            rewards,
            value(params, observations),
            final,
            terminated,
            ended,
            totals * ended,
        )
        return (params, after, states, jnp.where(ended, 0.0, totals)), row

    def back(carry: Any, row: Any) -> Any:
        rewards, before, after, terminated, ended = row
        delta = rewards + DISCOUNT * after * ~terminated - before
        carry = delta + DISCOUNT * LAMBDA * carry * ~ended
        return carry, carry

    def loss(params: Any, rows: Any) -> Any:
        observations, actions, old, advantages, targets = rows
        logs = jax.nn.log_softmax(apply(params["policy"], observations))
        new = jnp.take_along_axis(logs, actions[:, None], axis=1)[:, 0]
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        ratio = jnp.exp(new - old)
        actor = -jnp.mean(jnp.minimum(ratio * advantages, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantages))
        critic = 0.5 * jnp.mean(((value(params, observations) - targets) / SCALE) ** 2)
        return actor + critic + 0.01 * jnp.mean(jnp.sum(jnp.exp(logs) * logs, axis=1))

    def part(state: Any, rows: Any) -> Any:
        params, opt_state = state
        moved, opt_state = rule.update(jax.grad(loss)(params, rows), opt_state, params)
        return (optax.apply_updates(params, moved), opt_state), None

    def update(state: Any, key: Any) -> Any:
        params, opt_state, observations, states, totals = state
        key_steps, key_order = jax.random.split(key)
        (_, observations, states, totals), rows = jax.lax.scan(
            env_step, (params, observations, states, totals), jax.random.split(key_steps, num_steps)
        )
        seen, actions, old, rewards, before, after, terminated, ended, finished = rows
        backwards = rewards, before, after, terminated, ended
        advantages = jax.lax.scan(back, jnp.zeros(num_envs), backwards, reverse=True)[1]
        batch = jax.tree.map(
            lambda x: x.reshape(-1, *x.shape[2:]), (seen, actions, old, advantages, advantages + before)
        )

        def epoch(state: Any, key: Any) -> Any:
            order = jax.random.permutation(key, num_envs * num_steps)
            parts = jax.tree.map(lambda x: x[order].reshape(PARTS, -1, *x.shape[1:]), batch)
            return jax.lax.scan(part, state, parts)

        (params, opt_state), _ = jax.lax.scan(epoch, (params, opt_state), jax.random.split(key_order, EPOCHS))
        return (params, opt_state, observations, states, totals), jnp.sum(finished) / jnp.maximum(jnp.sum(ended), 1)

    def train(key: Any) -> Any:
        key_params, key_places, key = jax.random.split(key, 3)
        params = start(key_params)
        observations, states = jax.vmap(env.reset, in_axes=(0, None))(
            jax.random.split(key_places, num_envs), env_params
        )
        state = params, rule.init(params), observations, states, jnp.zeros(num_envs)
        return jax.lax.scan(update, state, jax.random.split(key, updates))[1]

    return lambda key: jax.jit(lambda key: train(key))(key)  # compiled anew, as fit is


def ppo(updates: int = 1000, num_envs: int = 16, num_steps: int = 64, repeats: int = 7) -> Record:
    """Both in turns, each run with a compilation of its own."""
    trains, laps, returns = [of(updates, num_envs, num_steps) for of in (ours, by_hand)], [], []
    for i in range(repeats + 1):  # the first warms up what both share
        row = []
        for train in trains:
            begin = time.perf_counter()
            curve = np.asarray(train(jax.random.key(i)))
            row.append(time.perf_counter() - begin)
            returns.append(float(np.mean(curve[-updates // 10 :])))
        laps.append(row)
    times = np.array(laps[1:])
    medians, steps = np.median(times, axis=0), updates * num_envs * num_steps
    found = {
        "updates": updates, "environments": num_envs, "num_steps": num_steps,
        "returns": float(np.mean(returns[0::2])), "returns_by_hand": float(np.mean(returns[1::2])),
    }  # fmt: skip
    speeds = ratio(times[:, ::-1])  # of speeds: the times the other way round
    taken = {"steps_per_second": float(steps / medians[0]), "by_hand": float(steps / medians[1])}
    return {"found": found, "times": speeds | taken | {"passed": speeds["ratio_high"] >= LIMIT}}
