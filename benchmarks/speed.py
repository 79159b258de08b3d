"""Speed and memory of `score_function` beside hand-written JAX: `python -m benchmarks.speed`.

Hand-written means jitted, with one batched draw, `stop_gradient`, a leave-one-out baseline and one backward pass: what a
person who knows the estimator writes for one problem. Both sides run in one process and in turn, each called twice, of which the
second call is timed (see ``interleaved``), and what is reported is the ratio of the medians with a bootstrap interval, since
absolute times on a shared machine mean little.

    W1  diagonal Gaussian, D in {10, 1000}, S in {100, 10,000}, and D = 10, S = 100,000
    W2  Bernoulli, D in {1, 200}, S in {100, 10,000}
    W3  softmax policy from a 4-64-64-2 network on 1,024 observations, S = 16
    W4  20 categorical latents with K = 10 from a 64-256-200 network, batch 64, S in {8, 1024}

No workload may take longer than by hand (5 % for the noise), and those that draw much have limits of their own. A check fails only
where the lower 95 % bound of a ratio is above its limit. Memory is the peak of a child process (VmHWM), idle subtracted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient

import jax_scorefn as sf
from benchmarks.peers import workloads as problems

RATIO_LIMIT, FIRST_CALL_LIMIT, MEMORY_LIMIT_MIB = 1.05, 1.5, 100.0
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
        limit = 0.45 if FLAT_MATTERS_MORE else 0.75
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
    return Workload(f"W4 S={num_samples}", ours, by_hand, params, 200 if few else 10, 0.6 if few else 0.45)


def workloads() -> list[Workload]:
    """Every workload that has a limit."""
    return [
        *(gaussian(dim, s) for dim, s in problems.GAUSSIANS),
        *(bernoulli(dim, s) for dim, s in problems.BERNOULLIS),
        policy(),
        *(latents(s) for s in problems.LATENT_DRAWS),
    ]


def measure(work: Workload, *, scale: float = 1.0) -> dict[str, Any]:
    """Ratio of medians, its 95 % bootstrap interval, and the ratio of first calls."""
    first = [_first_calls(work) for _ in range(5)]
    ours, by_hand = jax.jit(work.ours), jax.jit(work.by_hand)
    key = jax.random.key(0)
    repeats = max(10, int(work.repeats * scale))
    times = np.array(interleaved([ours, by_hand], work.params, key, repeats))
    ratio = np.median(times[:, 0]) / np.median(times[:, 1])
    low, high = bootstrap(times)
    first_ratio = float(np.median([a for a, _ in first]) / np.median([b for _, b in first]))
    return {
        "workload": work.name,
        "microseconds": float(np.median(times[:, 0]) * 1e6),
        "by_hand_microseconds": float(np.median(times[:, 1]) * 1e6),
        "ratio": float(ratio),
        "ratio_low": low,
        "ratio_high": high,
        "limit": work.limit,
        "first_call_ratio": first_ratio,
        "passed": low <= work.limit and first_ratio <= FIRST_CALL_LIMIT,
    }


def bootstrap(times: np.ndarray, resamples: int = 2000) -> tuple[float, float]:
    """95 % interval of the ratio of medians, resampling pairs."""
    rng = np.random.default_rng(0)
    pick = rng.integers(0, len(times), (resamples, len(times)))
    medians = np.median(times[pick], axis=1)
    low, high = np.quantile(medians[:, 0] / medians[:, 1], [0.025, 0.975])
    return float(low), float(high)


def peak_memory(num_samples: int, chunk_size: int | str | None) -> dict[str, float]:
    """W4 in a child process: peak resident memory over idle, in MiB, and the median of three calls in milliseconds."""
    code = f"from benchmarks import speed; speed.child({num_samples}, {chunk_size!r})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def child(num_samples: int, chunk_size: int | str | None) -> None:
    """What runs in the child: idle is after JAX has compiled and run something small."""
    small = latents(8)
    jax.block_until_ready(jax.jit(small.ours)(small.params, jax.random.key(0)))
    idle = _high_water_mark()
    work = latents(num_samples, chunk_size=chunk_size)
    run = jax.jit(work.ours)
    jax.block_until_ready(run(work.params, jax.random.key(0)))
    times = np.array(interleaved([run], work.params, jax.random.key(0), 3))
    print(json.dumps({"mib": (_high_water_mark() - idle) / 1024, "milliseconds": float(np.median(times) * 1e3)}))


def main(argv: list[str] | None = None) -> int:
    """Print the table and say what failed; exit status 1 if anything did."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", default="", help="workloads whose name contains this, e.g. W1")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the number of timed calls")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory measurement out")
    parser.add_argument("--peer-python", help="interpreter of an environment with optax 0.2.6, to time what it had")
    parser.add_argument("--json", help="also append the results to this JSON-lines file")
    options = parser.parse_args(argv)
    rows = []
    for work in workloads():
        if options.only in work.name:
            row = measure(work, scale=options.scale)
            rows.append(row)
            verdict = "ok" if row["passed"] else "OVER"
            print(
                f"{row['workload']:18s} {row['microseconds']:10.0f} us  by hand {row['by_hand_microseconds']:10.0f} us  "
                f"ratio {row['ratio']:.3f} [{row['ratio_low']:.3f}, {row['ratio_high']:.3f}] limit {row['limit']:.2f}  "
                f"first call {row['first_call_ratio']:.2f}  {verdict}",
                flush=True,
            )
    if not options.no_memory:
        rows += _memory_rows()
    if options.peer_python:
        script = pathlib.Path(__file__).with_name("peer_optax.py")
        subprocess.run([options.peer_python, str(script)], check=True)
    if options.json:
        with open(options.json, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return int(not all(row["passed"] for row in rows))


def _memory_rows() -> list[dict[str, Any]]:
    """Peak over idle with the options as they are, and in chunks, where it hardly grows; a chunk is quicker, too."""
    rows = []
    for num_samples, chunk_size in ((1024, "auto"), (4096, 64)):
        taken, whole = (peak_memory(num_samples, how) for how in (chunk_size, None))
        slower = taken["milliseconds"] / whole["milliseconds"]
        passed = taken["mib"] <= MEMORY_LIMIT_MIB and (chunk_size == "auto" or slower <= 1.0)
        how = "as it is" if chunk_size == "auto" else f"in chunks of {chunk_size}"
        print(
            f"W4 S={num_samples} peak over idle: {taken['mib']:.0f} MiB {how} (limit {MEMORY_LIMIT_MIB:.0f}), "
            f"{whole['mib']:.0f} MiB in one; time {slower:.2f} of that in one  {'ok' if passed else 'OVER'}"
        )
        rows.append({"workload": f"W4 S={num_samples} memory", "taken": taken, "whole": whole, "passed": passed})
    return rows


def _first_calls(work: Workload) -> list[float]:
    """Seconds of a first call of each, with nothing in JAX's caches that the other has left there."""
    times = []
    for function in (work.ours, work.by_hand):
        jax.clear_caches()
        times.append(_seconds(jax.jit(lambda p, k, f=function: f(p, k)), work.params, jax.random.key(0)))
    return times


def interleaved(functions, params, key, repeats: int) -> list[list[float]]:
    """Seconds of each function, row by row, as in a loop that calls it again and again.

    A result is ready before the memory of its call is given back, which takes 12 ms of what 40 MB of draws leave behind, and falls
    on whatever is called next. So each function is called twice, and the second call is timed: it pays for the first one, not for
    what another function has left.
    """
    for function in functions:
        jax.block_until_ready(function(params, key))
    return [[_second_call(function, params, key) for function in functions] for _ in range(repeats)]


def _second_call(function, params, key) -> float:
    jax.block_until_ready(function(params, key))
    return _seconds(function, params, key)


def _seconds(function, *args) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function(*args))
    return time.perf_counter() - start


def _high_water_mark() -> float:
    """Peak resident memory of this process in KiB."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return float(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


if __name__ == "__main__":
    sys.exit(main())
