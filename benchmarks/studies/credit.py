"""Programs with several choices: what credit costs, and what it brings.

Each program is written twice: as a program for `sf.expectation`, and by hand as the surrogate with the same choices and the
same credit. Run time is the ratio of medians of interleaved calls, with a bootstrap interval; tracing is the median of fresh
traces of the gradient. The gradients are compared as well.

    layers    K = 10 layers of 16 Bernoulli latents, a cost in each layer, 512 runs, no baseline
    rollout   100 steps of a 2-16-1 tanh policy, 1,000 runs; rewards stacked, and rewards in the carry

Then the plate: n pairs of Bernoullis with a logit for each pair under a root, the cost averaged over the plate, and the summed
variance of the plate's gradient against the usual surrogate, which multiplies the whole cost by every score.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient

import jax_scorefn as sf
from benchmarks import timing
from benchmarks.peers.problems import network
from benchmarks.peers.serve import of_rows
from benchmarks.report import figures
from benchmarks.settings import Settings
from benchmarks.shown import Cell, Column, Figure, Finding, Part, Section, Table, num
from benchmarks.study import Record, Records, Study, Task
from benchmarks.words import times as in_words
from benchmarks.workloads import Workload, apply

RUN_LIMIT, TRACE_LIMIT, PLATE_LIMIT, PLATE_SIZES = 1.10, 4.0, 200.0, (16, 64, 256)


def layers(depth: int = 10, width: int = 16, runs: int = 512) -> Workload:
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

    return Workload(
        "layers", jax.grad(sf.expectation(program, num_samples=runs, baseline=None)), jax.grad(hand), params, 100
    )


def rollout(in_carry: bool, steps: int = 100, runs: int = 1000) -> Workload:
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
    return Workload(
        name, jax.grad(sf.expectation(program, num_samples=runs, baseline=None)), jax.grad(hand), params, 100
    )


def measure(pair: Workload, scale: float) -> Record:
    """Run time, tracing time, and how far the two gradients are apart."""
    key = jax.random.key(0)
    ours, by_hand = jax.jit(pair.ours), jax.jit(pair.by_hand)
    apart = max(
        float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b)))
        for a, b in zip(*map(jax.tree.leaves, (ours(pair.params, key), by_hand(pair.params, key))), strict=True)
    )
    laps = np.array(timing.interleaved([ours, by_hand], pair.params, key, max(10, int(pair.repeats * scale))))
    traces = np.median([[_trace(f, pair.params, key) for f in (pair.ours, pair.by_hand)] for _ in range(7)], axis=0)
    taken = timing.middle_half(laps[:, 0]) | {
        "trace_milliseconds": float(traces[0] * 1e3),
        "trace_ratio": float(traces[0] / traces[1]),
    }
    return {"found": {"difference": apart}, "times": taken | timing.ratio(laps)}


def _trace(function: Callable[..., Any], params: Any, key: Any) -> float:
    start = time.perf_counter()
    jax.jit(lambda p, k: function(p, k)).trace(params, key)
    return time.perf_counter() - start


def passed(row: dict[str, Any]) -> bool:
    """Whether a program is within its limits."""
    return row["ratio_low"] <= RUN_LIMIT and row["trace_ratio"] <= TRACE_LIMIT and row["difference"] < 1e-3


def plate(n: int, key: Any, replicates: int = 20_000) -> Record:
    """Summed variance of the plate's gradient, credited pair by pair and by the usual surrogate, and the time of both."""
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

    runs = timing.side_by_side(
        *[lambda f=f: sf.testing.replicate(f, key, replicates, batch=5000) for f in (fine, usual)]
    )
    moments = [of_rows(np.asarray(found, np.float64)) for found in runs]
    clocks = [jax.jit(jax.vmap(f)) for f in (fine, usual)]
    keys = jax.random.split(jax.random.key(2), 100)
    laps = np.array(timing.interleaved([lambda _, keys, f=f: f(keys) for f in clocks], None, keys, 20))
    found = {"size": n}
    for name, moment in zip(("fine", "usual"), moments, strict=True):
        found |= {f"{name}_variance": moment["variance"], f"{name}_error": moment["variance_error"]}
    return {"found": found, "times": timing.ratio(laps)}


def gain(row: dict[str, Any]) -> tuple[float, float, float]:
    """Of variance x time over the usual surrogate, with an interval: variances by two standard errors, times by theirs of 95 %."""
    variance = row["usual_variance"] / row["fine_variance"]
    error = variance * np.hypot(row["usual_error"] / row["usual_variance"], row["fine_error"] / row["fine_variance"])
    return (
        variance / row["ratio"],
        (variance - 2 * float(error)) / row["ratio_high"],
        (variance + 2 * float(error)) / row["ratio_low"],
    )


def tasks(settings: Settings) -> list[Task]:
    """Programs, then plates."""
    todo = [
        Task(name, lambda make=make: measure(make(), 1.0 if settings.full else 0.3), {"program": name})
        for name, make in PAIRS.items()
        if settings.full or name in QUICK
    ]
    for n in PLATE_SIZES if settings.full else PLATE_SIZES[::2]:
        do = lambda n=n: plate(n, settings.key("credit", f"plate {n}"))
        todo.append(Task(f"plate n={n}", do, {"program": "plate"}))
    return todo


def sections(records: Records, settings: Settings) -> list[Section]:
    """What it brings, and what it costs."""
    del settings
    plates = list(records.below("plate n=").values())
    costs = {name: records[name] for name in PAIRS if name in records}
    brings: list[Part] = [
        "A root and n pairs of Bernoulli choices, with a cost for each pair that is averaged: the variance of the gradient of one "
        "run in the n logits of the pairs, summed, against the usual surrogate, which multiplies every score by the whole cost. No "
        "baseline."
    ]
    if plates:
        brings += [
            _finding(plates),
            Figure("plate", "Variance of a plate's gradient against its size", lambda theme: _figure(plates, theme)),
        ]
        brings.append(_plates(plates))
    shown = [Section("brings", "What credit brings", brings)] if plates else []
    if costs:
        about = (
            "The gradient of the same estimator written by hand, with the same choices and the same credit, in the same process: "
            "medians of interleaved calls with a bootstrap interval of 95 %, and medians of fresh traces."
        )
        shown.append(Section("costs", "What it costs", [about, _costs(costs)]))
    return shown


def _finding(plates: list[dict[str, Any]]) -> Finding:
    last = plates[-1]
    worth, low, high = gain(last)
    text = (
        f"Variance × time of the usual surrogate loss over ours, without a baseline, on a plate of {last['size']} pairs of choices "
        f"({in_words(low)} to {in_words(high)}): each choice is charged with only what depends on it, which `sf.expectation` finds "
        f"in the code."
    )
    return Finding(f"{in_words(worth)}×", "more gradient for the same time", text, alarm=worth < PLATE_LIMIT, first=1)


def _plates(plates: list[dict[str, Any]]) -> Table:
    columns = (
        Column("pairs"), Column("charged with|what depends on it"), Column("charged with|everything"), Column("variance,|times less"),
        Column("time,|× the usual"), Column("variance × time,|times less", best=True),
    )  # fmt: skip
    rows = []
    for row in plates:
        worth, low, high = gain(row)
        rows.append((
            num(row["size"]), num(row["fine_variance"], error=row["fine_error"]), num(row["usual_variance"], error=row["usual_error"]),
            num(row["usual_variance"] / row["fine_variance"]), Cell(f"{row['ratio']:.2f}", row["ratio"]),
            Cell(in_words(worth), worth, below=f"{in_words(low)} – {in_words(high)}"),
        ))  # fmt: skip
    return Table("plate", "Plates of n pairs: summed variance of one run's gradient", columns, rows)


def _costs(costs: dict[str, dict[str, Any]]) -> Table:
    columns = (
        Column("program"), Column("µs per|gradient"), Column("run time|to by hand", best=True), Column("tracing|(ms)"),
        Column("tracing|to by hand"), Column("largest|difference", "Of the two gradients, relative to the largest entry."),
    )  # fmt: skip
    rows = []
    for name, row in costs.items():
        mark, below = "" if passed(row) else "missed", f"{row['ratio_low']:.2f} – {row['ratio_high']:.2f}"
        rows.append(
            (
                Cell(name),
                num(row["microseconds"]),
                Cell(f"{row['ratio']:.2f}", row["ratio"], mark, below),
                num(row["trace_milliseconds"]),
                Cell(f"{row['trace_ratio']:.2f}", row["trace_ratio"]),
                num(row["difference"], 2),
            )
        )
    return Table("credit", "Cost against the same estimator by hand", columns, rows)


def _figure(plates: list[dict[str, Any]], theme: figures.Theme) -> Any:
    from matplotlib import pyplot as plt, ticker

    sizes = [row["size"] for row in plates]
    figure, ax = plt.subplots(figsize=(9.5, 3.2))
    for place, (name, label) in enumerate(
        (("usual", "every choice charged with the whole cost"), ("fine", "charged with what depends on it"))
    ):
        values = [row[f"{name}_variance"] for row in plates]
        ax.plot(sizes, values, "os"[place] + "-", color=figures.shade(place), lw=2, ms=7)
        ax.annotate(
            label, (sizes[0], values[0]), xytext=(0, 16), textcoords="offset points", color=figures.shade(place)
        )
    ax.set_xscale("log", base=2)
    ax.margins(x=0.05, y=0.3)
    ax.grid(True, axis="both")
    figures.logarithmic(ax, plain=True)
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.tick_params(axis="y", colors=theme.soft)
    ax.set_xlabel("pairs in the plate")
    ax.set_ylabel("variance, summed")
    return figure


PAIRS: dict[str, Callable[[], Workload]] = {
    "layers": layers,
    "rollout, rewards stacked": lambda: rollout(False),
    "rollout, rewards in the carry": lambda: rollout(True),
}
QUICK = ("layers", "rollout, rewards stacked")
STUDY = Study(
    name="credit",
    title="Programs with several choices",
    about="What credit that is found in the traced code brings, and what it costs",
    tasks=tasks,
    sections=sections,
    axes={"program": dict.fromkeys([*PAIRS, "plate"], "")},
    mode="quick",
)
