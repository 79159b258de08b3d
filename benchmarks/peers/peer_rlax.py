# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["rlax==0.1.9"]
# ///
"""rlax: `policy_gradient_loss` of sampled actions, with the advantages that one computes beside it.

On W3 the reward against that of the other draws; in the rollout what comes after an action, by `rlax.discounted_returns`.
"""

from __future__ import annotations

import importlib.metadata

import jax
import jax.numpy as jnp
import problems as p
import rlax
from in_jax import apply, calls_of, in_order
from jax.lax import stop_gradient
from serve import serve

SYSTEM = f"rlax {importlib.metadata.version('rlax')} policy_gradient_loss, jax {jax.__version__}"


def policy():
    """W3."""

    def loss(layers, key):
        logits = apply(layers, p.OBSERVATIONS)
        actions = jax.random.categorical(key, stop_gradient(logits), shape=(p.POLICY_DRAWS, len(p.OBSERVATIONS)))
        rewards = jnp.where(actions == (p.OBSERVATIONS[:, 0] > 0), 1.0, -p.OBSERVATIONS[:, 1])
        advantages = rewards - (jnp.sum(rewards, axis=0) - rewards) / (p.POLICY_DRAWS - 1)
        one = lambda a, adv: rlax.policy_gradient_loss(logits, a, adv, jnp.ones(len(a)))
        return jnp.mean(jax.vmap(one)(actions, advantages))

    return calls_of(loss, p.POLICY, lambda layers: [-leaf for leaf in in_order(layers)])  # it is a loss of rewards


def rollout():
    """The sum over steps is rlax's mean times their number."""

    def one(policy, key):
        def step(state, key):
            x, v = state
            logits = jnp.stack([jnp.zeros(()), policy[0] * x + policy[1] * v + policy[2]])
            action = jax.random.categorical(key, stop_gradient(logits))
            x, v, reward = p.environment(x, v, action.astype(float), jnp.sin)
            return (x, v), (logits, action, reward)

        start = tuple(map(jnp.float32, p.START))
        _, (logits, actions, rewards) = jax.lax.scan(step, start, jax.random.split(key, p.STEPS))
        returns = rlax.discounted_returns(rewards, jnp.ones(p.STEPS), jnp.zeros(p.STEPS))
        return p.STEPS * rlax.policy_gradient_loss(logits, actions, returns, jnp.ones(p.STEPS))

    loss = lambda policy, key: jnp.mean(jax.vmap(one, (None, 0))(policy, jax.random.split(key, p.RUNS)))
    return calls_of(loss, p.POLICY_WEIGHTS, lambda gradient: [-gradient])


if __name__ == "__main__":
    serve(SYSTEM, {f"W3 S={p.POLICY_DRAWS}": policy, "rollout": rollout})
