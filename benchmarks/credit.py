"""What credit assignment by the compiler costs and brings: `python -m benchmarks.credit`.

Each program is written twice: as a program for `sf.expectation`, and by hand as the surrogate with the same choices and the
same credit. Run time is the ratio of medians of interleaved calls, with a bootstrap interval; tracing is the median of fresh
traces of the gradient. The gradients are compared as well.

    layers    K = 10 layers of 16 Bernoulli latents, a cost in each layer, 512 runs, no baseline
    rollout   100 steps of a 2-16-1 tanh policy, 1,000 runs; rewards stacked, and rewards in the carry

Then the plate: n pairs of Bernoullis with a logit for each pair under a root, the cost averaged over the plate, and the summed
variance of the plate's gradient against the usual surrogate, which multiplies the whole cost by every score.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient

import jax_scorefn as sf
from benchmarks.peers.workloads import network
from benchmarks.speed import apply, bootstrap, interleaved

RUN_LIMIT, TRACE_LIMIT, PLATE_LIMIT, PLATE_SIZES = 1.10, 4.0, 200.0, (16, 64, 256)


@dataclasses.dataclass(frozen=True)
class Pair:
    """One program, by the library and by hand: functions of (params, key) that return the gradient."""

    name: str
    ours: Callable[[Any, Any], Any]
    by_hand: Callable[[Any, Any], Any]
    params: Any
    repeats: int


def layers(depth: int = 10, width: int = 16, runs: int = 512) -> Pair:
    """Costs at different depths: layer k is charged with layers 0 .. k."""
    keys = jax.random.split(jax.random.key(1), depth)
    params = [jax.random.normal(k, (width, width)) / np.sqrt(width) for k in keys]

    def cost(z: Any) -> Any:
        return jnp.sum((z - 0.499) ** 2 * jnp.linspace(0.5, 1.5, width))

    def program(params: Any, key: Any) -> Any:
        z, total = jnp.ones(width), jnp.zeros(())
        for w, k in zip(params, jax.random.split(key, depth), strict=True):
            z = sf.sample(k, sf.Bernoulli(logits=jnp.tanh(z @ w)))
            total = total + cost(z)
        return total

    def hand(params: Any, key: Any) -> Any:
        def one(i: Any) -> Any:
            z, scored, total = jnp.ones(width), jnp.zeros(()), jnp.zeros(())
            for w, k in zip(params, jax.random.split(jax.random.fold_in(key, i), depth), strict=True):
                dist = sf.Bernoulli(logits=jnp.tanh(z @ w))
                z, own = dist.sample_and_log_probs(k)
                # a layer's own bits are charged each with its own part of the cost, earlier layers with all of it
                parts = (z - 0.499) ** 2 * jnp.linspace(0.5, 1.5, width)
                total = total + jnp.sum(parts * sf.magic_box(own + scored))
                scored = scored + jnp.sum(own)
            return total

        return jnp.mean(jax.vmap(one)(jnp.arange(runs)))

    return Pair(
        "layers", jax.grad(sf.expectation(program, num_samples=runs, baseline=None)), jax.grad(hand), params, 100
    )


def rollout(in_carry: bool, steps: int = 100, runs: int = 1000) -> Pair:
    """Each action is charged with its reward-to-go."""
    params = jax.tree.map(jnp.asarray, network((2, 16, 1)))

    def environment(state: Any, action: Any) -> Any:
        state = jnp.stack([
            state[0] + 0.1 * state[1], 0.95 * state[1] + 0.2 * (2 * action - 1) - 0.05 * jnp.sin(state[0]),
        ])  # fmt: skip
        return state, 0.1 * action - jnp.sum(state**2)

    def program(params: Any, key: Any) -> Any:
        def step(carry: Any, k: Any) -> Any:
            state, total = carry
            action = sf.sample(k, sf.Bernoulli(logits=apply(params, state)[0]))
            state, reward = environment(state, action)
            return (state, total + reward if in_carry else total), None if in_carry else reward

        start = (jnp.array([0.5, 0.0]), jnp.zeros(()))
        (_, total), rewards = jax.lax.scan(step, start, jax.random.split(key, steps))
        return total if in_carry else jnp.sum(rewards)

    def hand(params: Any, key: Any) -> Any:
        def one(i: Any) -> Any:
            def step(state: Any, k: Any) -> Any:
                dist = sf.Bernoulli(logits=apply(params, state)[0])
                action, log_prob = dist.sample_and_log_prob(k)
                state, reward = environment(state, action)
                return state, (reward, log_prob)

            keys = jax.random.split(jax.random.fold_in(key, i), steps)
            _, (rewards, log_probs) = jax.lax.scan(step, jnp.array([0.5, 0.0]), keys)
            return jnp.sum(rewards * sf.magic_box(jnp.cumsum(log_probs)))

        return jnp.mean(jax.vmap(one)(jnp.arange(runs)))

    name = f"rollout, rewards {'in the carry' if in_carry else 'stacked'}"
    return Pair(name, jax.grad(sf.expectation(program, num_samples=runs, baseline=None)), jax.grad(hand), params, 100)


def measure(pair: Pair, scale: float) -> dict[str, Any]:
    """Run time, tracing time, and how far the two gradients are apart."""
    key = jax.random.key(0)
    ours, by_hand = jax.jit(pair.ours), jax.jit(pair.by_hand)
    apart = max(
        float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b)))
        for a, b in zip(*map(jax.tree.leaves, (ours(pair.params, key), by_hand(pair.params, key))), strict=True)
    )
    times = np.array(interleaved([ours, by_hand], pair.params, key, max(10, int(pair.repeats * scale))))
    low, high = bootstrap(times)
    traces = np.median([[_trace(f, pair.params, key) for f in (pair.ours, pair.by_hand)] for _ in range(7)], axis=0)
    medians = np.median(times, axis=0)
    return {
        "kind": "credit", "problem": pair.name, "method": "", "ratio": float(medians[0] / medians[1]),
        "ratio_low": low, "ratio_high": high, "microseconds": float(medians[0] * 1e6),
        "trace_milliseconds": float(traces[0] * 1e3), "trace_ratio": float(traces[0] / traces[1]), "difference": apart,
        "passed": bool(low <= RUN_LIMIT and traces[0] / traces[1] <= TRACE_LIMIT and apart < 1e-3),
    }  # fmt: skip


def plate(n: int, replicates: int = 20_000) -> dict[str, Any]:
    """Summed variance of the plate's gradient, credited pair by pair and by the usual surrogate."""
    weights = jnp.linspace(0.5, 1.5, n)
    params = {"root": jnp.zeros(()), "plate": jnp.zeros(n)}

    def program(p: Any, key: Any) -> Any:
        k0, k1 = jax.random.split(key)
        root = sf.sample(k0, sf.Bernoulli(logits=p["root"]))

        def pair(k: Any, logit: Any, weight: Any) -> Any:
            ka, kb = jax.random.split(k)
            a = sf.sample(ka, sf.Bernoulli(logits=logit))
            b = sf.sample(kb, sf.Bernoulli(logits=logit + a - 0.5))
            return (weight * a + b - 0.499) ** 2, a, b

        costs, a, b = jax.vmap(pair)(jax.random.split(k1, n), p["plate"], weights)
        return (root + 0.499) ** 2 + jnp.mean(costs), (root, a, b)

    loss = sf.expectation(program, has_aux=True)

    def fine(key: Any) -> Any:
        return jax.grad(lambda p: loss(p, key)[0])(params)["plate"]

    def usual(key: Any) -> Any:
        cost, (_, a, b) = stop_gradient(loss(params, key))

        def scored(logits: Any) -> Any:
            return cost * (
                sf.Bernoulli(logits=logits).log_prob(a[0]) + sf.Bernoulli(logits=logits + a[0] - 0.5).log_prob(b[0])
            )

        return jax.grad(scored)(params["plate"])

    ours, theirs = (
        sf.testing.replicate(f, jax.random.key(1), replicates, batch=5000).var(axis=0, ddof=1).sum()
        for f in (fine, usual)
    )
    ratio = float(theirs / ours)
    return {
        "kind": "credit", "problem": f"plate n={n}", "method": "", "size": n, "variance": float(ours), "usual": float(theirs),
        "ratio": ratio, "passed": ratio >= PLATE_LIMIT,
    }  # fmt: skip


def workloads(scale: float) -> list[tuple[str, Callable[[], dict[str, Any]]]]:
    """What there is to measure, by name."""
    todo: list[tuple[str, Callable[[], dict[str, Any]]]] = []
    for pair in (layers(), rollout(False), rollout(True)):
        todo.append((pair.name, lambda pair=pair: measure(pair, scale)))
    for n in PLATE_SIZES:
        todo.append((f"plate n={n}", lambda n=n: plate(n)))
    return todo


def main(argv: list[str] | None = None) -> int:
    """Print the tables and say what failed; exit status 1 if anything did."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.credit", description=str(__doc__).splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the number of timed calls")
    parser.add_argument("--json", help="also append the results to this JSON-lines file")
    options = parser.parse_args(argv)
    rows = []
    for name, do in workloads(options.scale):
        row = do()
        rows.append(row)
        if "usual" in row:
            print(
                f"{name:30s} variance {row['variance']:.4g}, usual surrogate {row['usual']:.4g}: {row['ratio']:.0f} times "
                f"less  {'ok' if row['passed'] else 'UNDER'}",
                flush=True,
            )
            continue
        print(
            f"{name:30s} {row['microseconds']:8.0f} us  ratio {row['ratio']:.3f} "
            f"[{row['ratio_low']:.3f}, {row['ratio_high']:.3f}] limit {RUN_LIMIT:.2f}  trace {row['trace_milliseconds']:.0f} ms, "
            f"ratio {row['trace_ratio']:.2f} limit {TRACE_LIMIT:.0f}  apart {row['difference']:.0e}  "
            f"{'ok' if row['passed'] else 'OVER'}",
            flush=True,
        )
    if options.json:
        with open(options.json, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return int(not all(row["passed"] for row in rows))


def _trace(function: Callable[..., Any], params: Any, key: Any) -> float:
    start = time.perf_counter()
    jax.jit(lambda p, k: function(p, k)).trace(params, key)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
