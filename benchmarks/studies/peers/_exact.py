"""Exact gradients of the shared problems: sums over all that can be drawn, differentiated once."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import problems as p
from benchmarks.peers.peer_ours import in_order
from benchmarks.peers.serve import flat, seen
from benchmarks.workloads import apply


def gaussian(params: dict[str, Any]) -> Any:
    """W1: the mean of x^2 is m^2 + s^2."""
    return jnp.sum(params["mean"] ** 2 + jnp.exp(2 * params["log_scale"]))


def bernoulli(logits: Any) -> Any:
    """W2."""
    up = jax.nn.sigmoid(logits)
    return jnp.mean(up * (1 - p.TARGET) ** 2 + (1 - up) * p.TARGET**2)


def policy(layers: Any) -> Any:
    """W3: both actions."""
    probs = jax.nn.softmax(apply(layers, p.OBSERVATIONS))
    wins = (p.OBSERVATIONS[:, 0] > 0).astype(int)
    rewards = np.where(np.arange(2)[None] == wins[:, None], 1.0, -p.OBSERVATIONS[:, 1:2])
    return jnp.mean(jnp.sum(probs * rewards, axis=1))


def latents(layers: Any) -> Any:
    """W4: the square of a sum of independent entries, by its mean and variance."""
    probs = jax.nn.softmax(apply(layers, p.DATA).reshape(-1, p.LATENTS, p.CATEGORIES))
    mean = jnp.sum(probs * p.TABLE, axis=2)
    variance = jnp.sum(probs * p.TABLE**2, axis=2) - mean**2
    return jnp.mean((jnp.sum(mean, axis=1) - p.DATA[:, 0]) ** 2 + jnp.sum(variance, axis=1))


def layered(weights: Any) -> Any:
    """layers: all states of a layer, one layer after the other."""
    states = jnp.asarray(np.array(list(np.ndindex(*(2,) * p.WIDTH)), np.float32))
    costs = jnp.sum(p.LAYER_COSTS * (states - 0.499) ** 2, axis=1)

    def to_next(z: Any, w: Any) -> Any:
        logits = jnp.tanh(z @ w)
        return jnp.exp(
            jnp.sum(states * jax.nn.log_sigmoid(logits) + (1 - states) * jax.nn.log_sigmoid(-logits), axis=1)
        )

    masses, total = to_next(jnp.ones(p.WIDTH), weights[0]), jnp.zeros(())
    for k in range(p.DEPTH):
        total = total + masses @ costs
        if k + 1 < p.DEPTH:
            masses = masses @ jax.vmap(lambda z, w=weights[k + 1]: to_next(z, w))(states)
    return total


def plate(logits: Any) -> Any:
    """plate: four outcomes of each pair; the root does not depend on the parameters."""
    total = 0.0
    for a in (0.0, 1.0):
        for b in (0.0, 1.0):
            mass = jax.nn.sigmoid((2 * a - 1) * logits) * jax.nn.sigmoid((2 * b - 1) * (logits + a - 0.5))
            total = total + jnp.mean(mass * (p.PLATE_WEIGHTS * a + b - 0.499) ** 2)
    return jnp.asarray(total)


def rollout(policy: Any) -> Any:
    """rollout: all sequences of actions."""
    x, v, mass, total = *(jnp.full(1, s) for s in p.START), jnp.ones(1), jnp.zeros(())
    for _ in range(p.STEPS):
        up = jax.nn.sigmoid(policy[0] * x + policy[1] * v + policy[2])
        mass = jnp.concatenate([mass * (1 - up), mass * up])
        action = jnp.concatenate([jnp.zeros_like(x), jnp.ones_like(x)])
        x, v, reward = p.environment(jnp.concatenate([x, x]), jnp.concatenate([v, v]), action, jnp.sin)
        total = total + jnp.sum(mass * reward)
    return total


def births(rates: Any) -> Any:
    """births: the mean of births and deaths goes to its limit as an exponential."""
    birth, death = rates
    return birth / death * -jnp.expm1(-death * p.TIME)


def exact(name: str) -> np.ndarray:
    """The gradient on a problem, as peers say theirs (``seen``)."""
    kind, _, rest = name.partition(" ")
    sizes = dict(part.split("=") for part in rest.split())
    if kind == "W1":
        dim = int(sizes["D"])
        objective, params = gaussian, {"mean": jnp.linspace(-1.0, 1.0, dim), "log_scale": jnp.zeros(dim)}
    elif kind == "W2":
        objective, params = bernoulli, jnp.linspace(-0.5, 0.5, int(sizes["D"]))
    else:
        objective, params = {
            "W3": (policy, p.POLICY), "W4": (latents, p.ENCODER), "layers": (layered, p.LAYERS), "plate": (plate, p.PLATE_LOGITS),
            "rollout": (rollout, p.POLICY_WEIGHTS), "births": (births, p.RATES),
        }[kind]  # fmt: skip
    gradient = jax.jit(jax.grad(objective))(jax.tree.map(jnp.asarray, params))
    return seen(flat(in_order(gradient)))
