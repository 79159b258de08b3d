"""The workloads, each by the library and by hand.

    W1  diagonal Gaussian, D in {10, 1000}, S in {100, 10,000}, and D = 10, S = 100,000
    W2  Bernoulli, D in {1, 200}, S in {100, 10,000}
    W3  softmax policy from a 4-64-64-2 network on 1,024 observations, S = 16
    W4  20 categorical latents with K = 10 from a 64-256-200 network, batch 64, S in {8, 1024}

No workload may take longer than by hand (5 % for the noise), and those that draw much have limits of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

import jax_scorefn as sf
from benchmarks.peers import problems

RATIO_LIMIT = 1.05
FLAT_MATTERS_MORE = tuple(map(int, jax.__version__.split(".")[:2])) >= (0, 12)
"""Since JAX 0.12 the stock generator takes longer beside the flat one."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """One problem, by the library and by hand: functions of (params, key) that return the gradient."""

    name: str
    ours: Callable[[Any, Any], Any]
    by_hand: Callable[[Any, Any], Any]
    params: Any
    repeats: int
    limit: float = RATIO_LIMIT


def leave_one_out_loss(values, log_probs):
    """Mean over draws (leading axis) of (f - leave-one-out mean) log p."""
    baseline = (jnp.sum(values, axis=0) - values) / (values.shape[0] - 1)
    return jnp.mean(stop_gradient(values - baseline) * log_probs)


def gaussian(dim: int, num_samples: int) -> Workload:
    """W1: mean and log-scale of a diagonal Gaussian, f = sum of squares."""
    params = {"mean": jnp.linspace(-1.0, 1.0, dim), "log_scale": jnp.zeros(dim)}
    dist = sf.family(lambda p: sf.Normal(loc=p["mean"], scale=jnp.exp(p["log_scale"])))

    def f(x):
        return jnp.sum(x**2, axis=-1)

    def ours(p, key):
        return sf.score_function_grad(f, dist, p, key, num_samples=num_samples)

    def by_hand(p, key):
        def loss(p):
            scale = jnp.exp(p["log_scale"])
            x = stop_gradient(p["mean"] + scale * jax.random.normal(key, (num_samples, dim)))
            log_probs = jnp.sum(jax.scipy.stats.norm.logpdf(x, p["mean"], scale), axis=-1)
            return leave_one_out_loss(f(x), log_probs)

        return jax.grad(loss)(p)

    size, limit = dim * num_samples, RATIO_LIMIT
    if size >= 1e6:
        limit = 0.3 if FLAT_MATTERS_MORE else 0.4
    return Workload(f"W1 D={dim} S={num_samples}", ours, by_hand, params, 30 if size >= 1e6 else 300, limit)


def bernoulli(dim: int, num_samples: int) -> Workload:
    """W2: independent bits, f = mean squared distance from .499."""
    params = jnp.linspace(-0.5, 0.5, dim)
    dist = sf.family(lambda logits: sf.Bernoulli(logits=logits))

    def f(x):
        return jnp.mean((x - problems.TARGET) ** 2, axis=-1)

    def ours(logits, key):
        return sf.score_function_grad(f, dist, logits, key, num_samples=num_samples)

    def by_hand(logits, key):
        def loss(logits):
            p = stop_gradient(jax.nn.sigmoid(logits))
            x = jax.random.bernoulli(key, p, (num_samples, dim)).astype(logits.dtype)
            log_probs = jnp.sum(x * jax.nn.log_sigmoid(logits) + (1 - x) * jax.nn.log_sigmoid(-logits), axis=-1)
            return leave_one_out_loss(f(x), log_probs)

        return jax.grad(loss)(logits)

    limit = 0.8 if dim * num_samples > 1e6 else RATIO_LIMIT
    return Workload(
        f"W2 D={dim} S={num_samples}", ours, by_hand, params, 100 if dim * num_samples > 1e6 else 300, limit
    )


def apply(layers: list[dict[str, Any]], x):
    """The network at one input (or a batch)."""
    for layer in layers[:-1]:
        x = jnp.tanh(x @ layer["w"] + layer["b"])
    return x @ layers[-1]["w"] + layers[-1]["b"]


def policy(num_samples: int = problems.POLICY_DRAWS) -> Workload:
    """W3: a softmax policy on observations; each observation has its own draws and its own baseline."""
    params = jax.tree.map(jnp.asarray, problems.POLICY)
    observations, batch = jnp.asarray(problems.OBSERVATIONS), len(problems.OBSERVATIONS)

    def reward(action, observation):
        return jnp.where(action == (observation[..., 0] > 0), 1.0, -observation[..., 1])

    def ours(p, key):
        def one(p, observation, key):
            dist = sf.family(lambda p: sf.Categorical(logits=apply(p, observation)))
            return sf.score_function(lambda a: reward(a, observation), dist, p, key, num_samples=num_samples)

        def loss(p):
            return jnp.mean(jax.vmap(one, (None, 0, 0))(p, observations, jax.random.split(key, batch)))

        return jax.grad(loss)(p)

    def by_hand(p, key):
        def loss(p):
            logits = apply(p, observations)
            actions = jax.random.categorical(key, stop_gradient(logits), shape=(num_samples, batch))
            log_probs = jax.nn.log_softmax(logits)
            chosen = jnp.take_along_axis(
                jnp.broadcast_to(log_probs, (num_samples, *log_probs.shape)), actions[..., None], axis=-1
            )[..., 0]
            return leave_one_out_loss(reward(actions, observations[None]), chosen)

        return jax.grad(loss)(p)

    return Workload(f"W3 S={num_samples}", ours, by_hand, params, 300, 0.8)


def latents(num_samples: int = 8, chunk_size: int | str | None = "auto") -> Workload:
    """W4: discrete latents of an encoder network; each data point has its own draws and its own baseline."""
    params = jax.tree.map(jnp.asarray, problems.ENCODER)
    data, table, batch = jnp.asarray(problems.DATA), jnp.asarray(problems.TABLE), len(problems.DATA)

    def cost(codes, x):
        entries = jnp.take_along_axis(
            jnp.broadcast_to(table, (*codes.shape, 10)), codes[..., None], axis=-1
        )[..., 0]  # fmt: skip
        return (jnp.sum(entries, axis=-1) - x[..., 0]) ** 2

    def ours(p, key):
        def one(p, x, key):
            dist = sf.family(lambda p: sf.Categorical(logits=apply(p, x).reshape(20, 10)))
            how = {"num_samples": num_samples, "chunk_size": chunk_size}
            return sf.score_function(lambda codes: cost(codes, x), dist, p, key, **how)

        def loss(p):
            return jnp.mean(jax.vmap(one, (None, 0, 0))(p, data, jax.random.split(key, batch)))

        return jax.grad(loss)(p)

    def by_hand(p, key):
        def loss(p):
            logits = apply(p, data).reshape(batch, 20, 10)
            codes = jax.random.categorical(key, stop_gradient(logits), shape=(num_samples, batch, 20))
            log_probs = jax.nn.log_softmax(logits)
            chosen = jnp.take_along_axis(
                jnp.broadcast_to(log_probs, (num_samples, *log_probs.shape)), codes[..., None], axis=-1
            )[..., 0]
            return leave_one_out_loss(cost(codes, data[None]), jnp.sum(chosen, axis=-1))

        return jax.grad(loss)(p)

    few = num_samples < 100
    return Workload(f"W4 S={num_samples}", ours, by_hand, params, 200 if few else 10, 0.5 if few else 0.15)


def workloads() -> list[Workload]:
    """Every workload that has a limit."""
    return [
        *(gaussian(dim, s) for dim, s in problems.GAUSSIANS),
        *(bernoulli(dim, s) for dim, s in problems.BERNOULLIS),
        policy(),
        *(latents(s) for s in problems.LATENT_DRAWS),
    ]
