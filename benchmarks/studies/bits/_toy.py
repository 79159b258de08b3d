"""The toy of Tucker et al. (2017), scaled up as by Titsias and Shi (2022): many bits, none of which matters much.

    maximise  E f(b),    f(b) = 1/D sum_i (b_i - 0.499)^2,    D = 200 bits, logits from 0

f hardly depends on a bit, and its slope at a draw is a thousand times what a bit changes: whoever uses it has to learn how little of
it to believe.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_scorefn as sf
from benchmarks.method import Method, Tuning
from benchmarks.settings import quick_jit
from benchmarks.studies.bits.methods import BITS, METHODS, floats
from benchmarks.study import Record

SIZE, TARGET, CALLS, RATE = 200, 0.499, 2, 0.01
BEST = (1 - TARGET) ** 2
SLOPE = (1 - TARGET) ** 2 - TARGET**2  # of D f, from a bit that is 0 to one that is 1


def objective(b: Any) -> Any:
    """The function f of one draw."""
    return jnp.mean((b - TARGET) ** 2)


def expected(logits: Any) -> Any:
    """E f, exactly."""
    p = jax.nn.sigmoid(logits)
    return jnp.mean(p * (1 - TARGET) ** 2 + (1 - p) * TARGET**2)


def slim(tuning: Any, z: Any) -> Any:
    """A critic of two numbers: a multiple of the mean of softened bits."""
    amount, log_scale = tuning
    return amount * jnp.mean(jax.nn.sigmoid(jnp.exp(log_scale) * z))


# What is tuned begins near nothing, as f changes by a thousandth of what its slope says; REBAR has no other baseline.
TUNED: dict[str, dict[str, Any]] = {
    "double-cv": {"tuning": Tuning("coefficient", floats(0.0005), 1e-4)},
    "rodeo": {"tuning": Tuning("tuning", floats(sf.RodeoTuning(0.0, 0.0)), 1e-4)},
    "relax": {
        "label": "RELAX, two numbers", "options": {"critic": slim}, "tuning": Tuning("tuning", floats((0.0, 0.0)), 1e-4),
    },
}  # fmt: skip
TOY = {name: dataclasses.replace(m, **TUNED.get(name, {})) for name, m in METHODS.items() if not m.biased}


def known(name: str, draws: int) -> float | None:
    """Variance of a coordinate at logits 0, averaged over the coordinates, where it can be worked out on paper."""
    mean, square = (BEST + TARGET**2) / 2, SLOPE**2 / (4 * SIZE)
    if name == "score":
        return ((mean**2 + square) / 4 - (SLOPE / (4 * SIZE)) ** 2) / draws
    if draws != 2:
        return None
    if name in ("loo", "relax"):  # this critic begins as 0
        return SLOPE**2 / (16 * SIZE)
    return SLOPE**2 * (SIZE - 1) / (16 * SIZE**2) if name == "disarm" else None


def grads(method: Method, logits: Any, key: Any, tuning: Any) -> Any:
    """One gradient."""
    return jax.grad(lambda at: method.bind(method.draws(CALLS), tuning)(objective, BITS, at, key))(logits)


def at_start(method: Method, key: Any, batches: int, size: int) -> tuple[float, float]:
    """Variance at the first step, and its standard error, of ``batches * size`` gradients."""
    tuning, _ = method.begin(SIZE)

    def batch(key: Any) -> Any:
        found = jax.vmap(lambda k: grads(method, jnp.zeros(SIZE), k, tuning))(jax.random.split(key, size))
        return jnp.mean(jnp.var(found, axis=0, ddof=1))

    found = np.asarray(quick_jit(lambda keys: jax.lax.map(batch, keys))(jax.random.split(key, batches)))
    return float(found.mean()), float(found.std(ddof=1) / np.sqrt(batches))


def path(method: Method, key: Any, steps: int, every: int, calls: int) -> tuple[Any, Any]:
    """Variance and objective along one run, every so many steps; the variance of ``calls`` gradients where the run is then."""
    optimizer = optax.rmsprop(RATE, eps=1e-12, eps_in_sqrt=False)

    def step(carry: Any, key: Any) -> Any:
        logits, state, tuned = carry
        found, tuned = method.tuned(lambda tuning: grads(method, logits, key, tuning), tuned)
        updates, state = optimizer.update(-found, state)
        return (optax.apply_updates(logits, updates), state, tuned), None

    def stretch(carry: Any, key: Any) -> Any:
        logits, _, (tuning, _) = carry
        key_look, key_go = jax.random.split(key)
        found = jax.vmap(lambda k: grads(method, logits, k, tuning))(jax.random.split(key_look, calls))
        told = jnp.mean(jnp.var(found, axis=0, ddof=1)), expected(logits)
        return jax.lax.scan(step, carry, jax.random.split(key_go, every))[0], told

    logits = jnp.zeros(SIZE)
    start = (logits, optimizer.init(logits), method.begin(SIZE))
    return jax.lax.scan(stretch, start, jax.random.split(key, steps // every))[1]


def toy(
    name: str, *, seeds: int = 10, steps: int = 2000, every: int = 20, calls: int = 100, batches: int = 20
) -> Record:
    """One method on the toy: variance and objective against steps for each seed, and the variance at the first step."""
    method = TOY[name]
    keys = jax.random.split(jax.random.key(0), seeds)
    run = quick_jit(jax.vmap(lambda key: path(method, key, steps, every, calls)))
    variance, objectives = map(np.asarray, run(keys))
    first, error = at_start(method, jax.random.key(1), batches, 1000)
    rounded = lambda rows: [[float(f"{x:.5g}") for x in row] for row in rows]
    found = {
        "label": method.label, "seeds": seeds, "calls": method.spent(CALLS),
        "draws": method.draws(CALLS), "gradients": calls, "first": first, "first_error": error, "size": SIZE,
        "first_known": known(name, method.draws(CALLS)), "best": BEST, "steps": list(range(0, steps, every)),
        "first_gradients": batches * 1000, "variance": rounded(variance), "objective": [[float(x) for x in row] for row in objectives],
    }  # fmt: skip
    return {"found": found, "times": {}}
