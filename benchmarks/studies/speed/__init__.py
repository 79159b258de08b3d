"""Time and memory of a score-function gradient beside hand-written JAX.

Hand-written means jitted, with one batched draw, `stop_gradient`, a leave-one-out baseline and one backward pass: what a
person who knows the estimator writes for one problem. Both sides run in one process and in turn, each called twice, of which the
second call is timed; what is reported is the ratio of the medians with a bootstrap interval, since absolute times on a shared machine
mean little. Memory is the peak of a child process (VmHWM), idle subtracted.
"""

from __future__ import annotations

import json
from typing import Any

import jax
import numpy as np

from benchmarks import timing
from benchmarks.peers import problems
from benchmarks.report import figures
from benchmarks.settings import Settings
from benchmarks.shown import Cell, Column, Figure, Finding, Part, Section, Table, num
from benchmarks.studies.speed import _growth as growth, _vocabulary as vocabulary
from benchmarks.study import Record, Records, Study, Task
from benchmarks.words import number, times as in_words
from benchmarks.workloads import Workload, latents, workloads

FIRST_CALL_LIMIT, MEMORY_LIMIT_MIB = 1.5, 100.0
QUICK = ("W2 D=200 S=100", "W4 S=8")
DRAWS = (64, 256, 1024, 4096)


def measure(work: Workload, scale: float = 1.0, fresh: int = 5) -> Record:
    """Ratio of medians, its 95 % bootstrap interval, and the ratio of first calls."""
    first = np.array([_first_calls(work) for _ in range(fresh)])
    ours, by_hand = jax.jit(work.ours), jax.jit(work.by_hand)
    repeats = max(10, int(work.repeats * scale))
    laps = np.array(timing.interleaved([ours, by_hand], work.params, jax.random.key(0), repeats))
    taken = timing.middle_half(laps[:, 0]) | {
        "by_hand_microseconds": float(np.median(laps[:, 1]) * 1e6),
        "first_call_ratio": float(np.divide(*np.median(first, axis=0))),
    }
    return {"found": {"limit": work.limit}, "times": taken | timing.ratio(laps)}


def _first_calls(work: Workload) -> list[float]:
    """Seconds of a first call of each, with nothing in JAX's caches that the other has left there."""
    found = []
    for function in (work.ours, work.by_hand):
        jax.clear_caches()
        found.append(timing.seconds(jax.jit(lambda p, k, f=function: f(p, k)), work.params, jax.random.key(0)))
    return found


def passed(row: dict[str, Any]) -> bool:
    """Whether a workload is within its limits: only where the lower end of a ratio is above one, it is not."""
    return row["ratio_low"] <= row["limit"] and row["first_call_ratio"] <= FIRST_CALL_LIMIT


def memory(num_samples: int, chunk_size: int | str | None) -> Record:
    """Peak resident memory over idle of W4 in a child process, in MiB, and the median of three calls in milliseconds."""
    name = "benchmarks.studies.speed"
    return {
        "found": {},
        "times": timing.child(f"import {name} as speed; speed.of_child({num_samples}, {chunk_size!r})"),
    }


def of_child(num_samples: int, chunk_size: int | str | None) -> None:
    """What runs in the child: idle is after JAX has compiled and run something small."""
    small = latents(8)
    jax.block_until_ready(jax.jit(small.ours)(small.params, jax.random.key(0)))
    idle = timing.high_water_mark()
    work = latents(num_samples, chunk_size=chunk_size)
    run = jax.jit(work.ours)
    jax.block_until_ready(run(work.params, jax.random.key(0)))
    laps = np.array(timing.interleaved([run], work.params, jax.random.key(0), 3))
    print(json.dumps({"mib": (timing.high_water_mark() - idle) / 1024, "milliseconds": float(np.median(laps) * 1e3)}))


def tasks(settings: Settings) -> list[Task]:
    """Workloads, then memory: in chunks with more and more draws, and in one piece."""
    todo = [
        Task(
            work.name,
            lambda work=work: measure(work) if settings.full else measure(work, 0.15, 2),
            {"workload": work.name},
        )
        for work in workloads()
        if settings.full or work.name in QUICK
    ]
    for draws in DRAWS if settings.full else DRAWS[::3]:
        todo.append(Task(f"memory: S={draws} in chunks of 64", lambda s=draws: memory(s, 64)))
    if settings.full:
        todo += [Task(f"memory: S={draws} in one", lambda s=draws: memory(s, None)) for draws in DRAWS]
        todo += [Task(f"vocabulary: {way}", lambda way=way: vocabulary.memory(way)) for way in vocabulary.WAYS]
        todo += growth.tasks()
    return todo


def sections(records: Records, settings: Settings) -> list[Section]:
    """Times, and memory."""
    del settings
    rows = {
        name: row for name, row in records.below("").items() if not name.startswith(("memory", "vocabulary", "growth"))
    }
    chunks, whole = ({} for _ in range(2))
    for name, row in records.below("memory: S=").items():
        draws, _, how = name.partition(" in ")
        (whole if how == "one" else chunks)[int(draws)] = row
    parts: list[Part] = [str(__doc__).partition("\n\n")[2].replace("\n", " ")]
    if rows:
        parts += [
            _finding(rows),
            _table(rows),
            Figure("speed", "Time relative to hand-written JAX", lambda theme: _figure(rows, theme)),
        ]
    of_memory: list[Part] = []
    if len(chunks) > 1:
        of_memory += [_memory_finding(chunks), _memory_table(chunks, whole)]
    if of_words := records.below("vocabulary: "):
        of_memory.append(vocabulary.table(of_words))
    if of_sizes := records.below("growth: "):
        of_memory += growth.parts(of_sizes)
    shown = [Section("time", "Time", parts)] if rows else []
    return shown + ([Section("memory", "Memory", of_memory)] if of_memory else [])


def _finding(rows: dict[str, dict[str, Any]]) -> Finding:
    best = min(rows, key=lambda name: rows[name]["ratio"])
    worst = max(rows, key=lambda name: rows[name]["ratio"])
    told = lambda name: f"{rows[name]['ratio']:.2f} ({rows[name]['ratio_low']:.2f} to {rows[name]['ratio_high']:.2f})"
    middle = rows[worst]
    text = (
        f"The time of a gradient in units of the same written by hand in JAX, by workload: from {told(best)} on {best} to "
        f"{told(worst)} on {worst}, 95 % in brackets."
    )
    figure = f"{rows[best]['ratio']:.2f} – {middle['ratio']:.2f}×" if len(rows) > 1 else f"{middle['ratio']:.2f}×"
    return Finding(figure, "the time of hand-written JAX", text, alarm=not all(map(passed, rows.values())), first=2)


def _table(rows: dict[str, dict[str, Any]]) -> Table:
    columns = (
        Column("workload"), Column("µs per|gradient", "Median of a compiled call."), Column("by hand"),
        Column("ratio|95 %", "Of the medians, with a bootstrap interval.", best=True),
        Column("limit"), Column("first call", "Tracing, compiling and running, in units of by hand."),
    )  # fmt: skip
    cells = []
    for name, row in rows.items():
        mark = "" if passed(row) else "missed"
        ratio = Cell(f"{row['ratio']:.3f}", row["ratio"], mark, f"{row['ratio_low']:.3f} – {row['ratio_high']:.3f}")
        cells.append((
            Cell(name), num(row["microseconds"]), num(row["by_hand_microseconds"]), ratio, Cell(f"{row['limit']:.2f}", row["limit"]),
            Cell(f"{row['first_call_ratio']:.2f}", row["first_call_ratio"]),
        ))  # fmt: skip
    note = (
        "W1: mean and log-scale of D Gaussians, f = Σ x². W2: D bits, f = mean (x − 0.499)². W3: a softmax policy from a 4-64-64-2 "
        "network on 1,024 observations. W4: 20 choices of 10 from a 64-256-200 network, for 64 data points. S draws for each."
    )
    return Table("speed", "Time beside hand-written JAX", columns, cells, note=note)


def _figure(rows: dict[str, dict[str, Any]], theme: figures.Theme) -> Any:
    from matplotlib import pyplot as plt

    figure, ax = plt.subplots(figsize=(9.5, 1.1 + 0.32 * len(rows)))
    ax.axvline(1.0, color=theme.soft, lw=1.4)
    for y, row in enumerate(rows.values()):
        ax.plot([row["ratio_low"], row["ratio_high"]], [y, y], color=figures.shade(1), lw=1.6)
        ax.plot(row["ratio"], y, "o", color=figures.shade(1), ms=7)
        ax.plot([row["limit"]] * 2, [y - 0.3, y + 0.3], color=theme.ink, lw=1.2)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(0, max(1.15, *(row["ratio_high"] * 1.05 for row in rows.values())))
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_xlabel("time relative to hand-written JAX   (bar: limit; further left is faster)")
    return figure


def _memory_finding(chunks: dict[int, dict[str, Any]]) -> Finding:
    few, many = min(chunks), max(chunks)
    grown = chunks[many]["mib"] - chunks[few]["mib"]
    text = (
        f"Peak memory over idle of W4's gradient in chunks of 64 draws: {chunks[few]['mib']:.0f} MiB with {few} draws, "
        f"{chunks[many]['mib']:.0f} MiB with {number(many)}, which is {in_words(many / few)} times as many."
    )
    figure = f"{grown:+.0f} MiB".replace("-", "−")
    return Finding(
        figure, f"for {in_words(many / few)}× the draws", text, alarm=chunks[many]["mib"] > MEMORY_LIMIT_MIB, first=3
    )


def _memory_table(chunks: dict[int, dict[str, Any]], whole: dict[int, dict[str, Any]]) -> Table:
    columns = (
        Column("draws"), Column("MiB in|chunks of 64", best=True), Column("MiB in one"), Column("ms in chunks"), Column("ms in one"),
    )  # fmt: skip
    pick = lambda side, draws, what: num(side[draws][what]) if draws in side else Cell("")
    rows = [
        (num(draws), *(pick(side, draws, what) for what in ("mib", "milliseconds") for side in (chunks, whole)))
        for draws in sorted(chunks)
    ]
    note = "Peak resident memory of a child process, less what it had when JAX had compiled and run something small."
    return Table("memory", "Memory of W4", columns, rows, note=note)


STUDY = Study(
    name="speed",
    title="Time and memory",
    about="The time and memory of a gradient beside hand-written JAX (all workloads with --full)",
    tasks=tasks,
    sections=sections,
    axes={"workload": dict.fromkeys(problems.NAMES, "")},
    mode="quick",
)
