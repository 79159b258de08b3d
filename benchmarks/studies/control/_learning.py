"""What the tasks share: a small network, where environments begin, and the loss of a window of steps."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn.policy_gradient as pg

DISCOUNT = 0.99


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
    return jax.vmap(lambda key: pg.begin(environment.reset, key))(jax.random.split(key, count))
