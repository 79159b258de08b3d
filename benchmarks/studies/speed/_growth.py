"""How time and memory of a gradient grow, as ``auto`` lays it out: with the draws, the parameters and the dimension of a draw.

    draws of W4         S = 10^4, 10^5, 10^6      20 choices of 10, for each of 64 data points
    draws of W1         S = 10^4 .. 10^8          10 Gaussians
    parameters          P = 10^3 .. 10^8          the weights between P / 10 inputs and 10 logits;  64 draws
    dimension           D = 10 .. 10^6            Gaussians;  64 draws

Each is measured in a process of its own. Memory is its peak over what it had when JAX had computed the same for a size of 100, and
the parameters were there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn as sf
from benchmarks import timing
from benchmarks.report import figures
from benchmarks.shown import Cell, Column, Figure, Finding, Part, Table, num
from benchmarks.study import Record, Task
from benchmarks.words import number
from benchmarks.workloads import gaussian, latents

FEW = 64
SIZES: dict[str, tuple[int, ...]] = {
    "draws of W4": (10**4, 10**5, 10**6),
    "draws of W1": (10**4, 10**5, 10**6, 10**7, 10**8),
    "parameters": (10**3, 10**4, 10**5, 10**6, 10**7, 10**8),
    "dimension": (10, 10**2, 10**3, 10**4, 10**5, 10**6),
}
SLOPE_LIMIT, LINEAR_FROM, LINEAR_TO = 1.05, 10**4, 10**6
"""The most that the time may grow by, as the slope of its logarithm in that of the draws."""


def tasks() -> Iterator[Task]:
    """One for each size."""
    for what, sizes in SIZES.items():
        for size in sizes:
            yield Task(f"growth: {what} {size}", lambda what=what, size=size: measure(what, size))


def measure(what: str, size: int) -> Record:
    """Mebibytes and milliseconds of a gradient."""
    name = "benchmarks.studies.speed._growth"
    return {"found": {}, "times": timing.child(f"import {name} as growth; growth.of_child({what!r}, {size})")}


def of_child(what: str, size: int) -> None:
    """What runs in the child."""
    small, few = gradient(what, 100)
    run, params = gradient(what, size)
    jax.block_until_ready((params, jax.jit(small)(few, jax.random.key(0))))
    idle = timing.high_water_mark()
    call = jax.jit(run)
    jax.block_until_ready(call(params, jax.random.key(0)))
    times = [timing.seconds(call, params, jax.random.key(1))]
    while len(times) < 20 and sum(times) < 2:
        times.append(timing.seconds(call, params, jax.random.key(1)))
    print(json.dumps({"mib": (timing.high_water_mark() - idle) / 1024, "milliseconds": float(np.median(times) * 1e3)}))


def gradient(what: str, size: int) -> tuple[Any, Any]:
    """The function of (params, key), and params."""
    if what == "draws of W4":
        work = latents(size)
    elif what == "parameters":
        return _of_weights, jnp.zeros((size // 10, 10))
    else:
        work = gaussian(10, size) if what == "draws of W1" else gaussian(size, FEW)
    return work.ours, work.params


def _of_weights(weights: Any, key: Any) -> Any:
    inputs = jnp.sin(jnp.arange(weights.shape[0], dtype=weights.dtype))
    dist = sf.family(lambda weights: sf.Categorical(logits=inputs @ weights))
    return sf.score_function_grad(lambda x: jnp.sin(x.astype(float)), dist, weights, key, num_samples=FEW)


def slope(rows: dict[int, dict[str, Any]]) -> float:
    """Of log time in log size, by least squares, where the draws are many enough for it to be linear."""
    sizes = [size for size in rows if LINEAR_FROM <= size <= LINEAR_TO]
    return float(np.polyfit(np.log(sizes), [np.log(rows[size]["milliseconds"]) for size in sizes], 1)[0])


def parts(rows: dict[str, dict[str, Any]]) -> list[Part]:
    """What is shown of the records, by name without "growth: "."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for name, row in rows.items():
        what, _, size = name.rpartition(" ")
        found.setdefault(what, {})[int(size)] = row
    shown: list[Part] = [
        finding for what in found if what.startswith("draws") for finding in _finding(what, found[what])
    ]
    columns = (Column("grows", words=True), Column("to"), Column("MiB", best=True), Column("ms"))
    cells = [
        (Cell(what), num(size), num(row["mib"]), num(row["milliseconds"]))
        for what in found
        for size, row in sorted(found[what].items())
    ]
    note = " ".join(str(__doc__).partition("\n\n")[2].split())
    shown.append(Table("growth", "How time and memory grow", columns, cells, note=note))
    shown.append(
        Figure(
            "growth",
            "Time and memory of a gradient by number of draws, parameters and dimension",
            lambda theme: _figure(found, theme),
        )
    )
    return shown


def _finding(what: str, rows: dict[int, dict[str, Any]]) -> Iterator[Finding]:
    if len([size for size in rows if LINEAR_FROM <= size <= LINEAR_TO]) < 2:
        return
    found, most = slope(rows), max(rows)
    text = (
        f"The slope of the logarithm of the time in that of the number of {what}, from 10,000 to 1,000,000, is {found:.3f}; with "
        f"{number(most)} draws the gradient takes {rows[most]['mib']:.0f} MiB."
    )
    yield Finding(f"{found:.2f}", f"slope of time in {what}", text, alarm=found > SLOPE_LIMIT)


def _figure(found: dict[str, dict[int, dict[str, Any]]], theme: figures.Theme) -> Any:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6))
    for ax, key, label in zip(axes, ("milliseconds", "mib"), ("milliseconds", "MiB over idle"), strict=True):
        for place, (what, rows) in enumerate(found.items()):
            sizes = sorted(rows)
            values = [max(rows[size][key], 0.1) for size in sizes]
            ax.plot(sizes, values, marker=figures.marker(place), color=figures.shade(place), label=what, ms=5)
        ax.set_xscale("log")
        figures.curves(ax, theme, "draws, parameters or dimension")
        figures.logarithmic(ax)
        figures.log_ticks(ax)
        ax.set_title(label)
    axes[0].legend()
    return figure
