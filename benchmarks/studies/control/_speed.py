"""Environment steps per second of rollout and gradient with 256 environments, against the same written out by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn.policy_gradient as pg
from benchmarks.studies.control._cart_pole import SCALE, cart_pole_policy, cart_pole_value, start
from benchmarks.studies.control._learning import DISCOUNT, apply, places, window_loss
from benchmarks.study import Record
from benchmarks.timing import interleaved, ratio

SPEED_LIMIT = 0.9


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


def speed(num_envs: int = 256, num_steps: int = 64, repeats: int = 40) -> Record:
    """Environment steps per second of one gradient, rollout included, by the library and by hand."""
    params, key = start(jax.random.key(1)), jax.random.key(0)
    functions = [jax.jit(f) for f in pair(num_envs, num_steps)]
    times = np.array(interleaved(functions, params, key, repeats))
    medians = np.median(times, axis=0)
    steps = num_envs * num_steps
    speeds = ratio(times[:, ::-1])  # of speeds: the times the other way round
    taken = {"steps_per_second": float(steps / medians[0]), "by_hand": float(steps / medians[1])}
    taken |= speeds | {"passed": speeds["ratio_high"] >= SPEED_LIMIT}
    return {"found": {"environments": num_envs, "num_steps": num_steps}, "times": taken}
