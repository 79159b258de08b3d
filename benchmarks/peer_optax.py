"""What optax had until 0.2.6, timed beside hand-written JAX on W1 (D = 1000, S = 100): run by an interpreter of its own.

    python -m venv peer && peer/bin/pip install "optax==0.2.6" distrax "jax<0.8"
    peer/bin/python benchmarks/peer_optax.py

optax 0.2.6 does not run on the jax that this library needs, so what can be compared is each one's ratio to the same hand-written
gradient, measured in its own process. This file imports nothing of the library or of the other benchmarks.
"""

from __future__ import annotations

import json
import time
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient

DIM, NUM_SAMPLES, REPEATS = 1000, 100, 20


def f(x):
    """The objective of W1."""
    return jnp.sum(x**2, axis=-1)


def by_hand(params: tuple[Any, Any], key: Any) -> Any:
    """One batched draw, leave-one-out, one backward pass."""

    def loss(params):
        mean, log_scale = params
        x = stop_gradient(mean + jnp.exp(log_scale) * jax.random.normal(key, (NUM_SAMPLES, DIM)))
        log_probs = jnp.sum(jax.scipy.stats.norm.logpdf(x, mean, jnp.exp(log_scale)), axis=-1)
        values = f(x)
        baseline = (jnp.sum(values, axis=0) - values) / (NUM_SAMPLES - 1)
        return jnp.mean(stop_gradient(values - baseline) * log_probs)

    return jax.grad(loss)(params)


def by_optax(params: tuple[Any, Any], key: Any) -> Any:
    """The mean of optax's Jacobians, one for each draw."""
    import optax  # only here: a peer, in its own environment

    def build(mean, log_scale):
        return optax.multi_normal(mean, log_scale)

    jacobians = optax.monte_carlo.score_function_jacobians(  # pyright: ignore[reportAttributeAccessIssue]
        f, params, build, key, NUM_SAMPLES
    )
    return [jnp.mean(jacobian, axis=0) for jacobian in jacobians]


def seconds(function, params, key) -> float:
    """One call."""
    start = time.perf_counter()
    jax.block_until_ready(function(params, key))
    return time.perf_counter() - start


def main() -> None:
    """Print one line for people and one JSON line."""
    warnings.simplefilter("ignore", DeprecationWarning)
    params, key = (jnp.linspace(-1.0, 1.0, DIM), jnp.zeros(DIM)), jax.random.key(0)
    functions = [jax.jit(by_optax), jax.jit(by_hand)]
    for function in functions:
        jax.block_until_ready(function(params, key))
    times = np.array([[seconds(function, params, key) for function in functions] for _ in range(REPEATS)])
    optax_, hand = np.median(times, axis=0)
    print(
        f"optax score_function_jacobians, W1 D={DIM} S={NUM_SAMPLES}: {optax_ * 1e6:.0f} us, by hand {hand * 1e6:.0f} us, "
        f"ratio {optax_ / hand:.0f} (jax {jax.__version__})"
    )
    print(json.dumps({"workload": f"optax W1 D={DIM} S={NUM_SAMPLES}", "ratio": float(optax_ / hand)}))


if __name__ == "__main__":
    main()
