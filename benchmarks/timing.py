"""Times and memory: calls in turns in one process, ratios of medians with an interval, and the peak of a child process."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np


def seconds(function: Callable[..., Any], *args: Any) -> float:
    """Of one call, until its result is ready."""
    start = time.perf_counter()
    jax.block_until_ready(function(*args))
    return time.perf_counter() - start


def side_by_side(*calls: Callable[[], Any]) -> list[Any]:
    """What each returns; they run at once, so what is not timed compiles on all cores. A context of JAX that is open is not theirs."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [pending.result() for pending in [pool.submit(call) for call in calls]]


def interleaved(functions: Sequence[Callable[..., Any]], params: Any, key: Any, repeats: int) -> list[list[float]]:
    """Seconds of each function, row by row, as in a loop that calls it again and again.

    A result is ready before the memory of its call is given back, which takes 12 ms of what 40 MB of draws leave behind, and falls
    on whatever is called next. So each function is called twice, and the second call is timed: it pays for the first one, not for
    what another function has left.
    """
    for function in functions:
        jax.block_until_ready(function(params, key))
    return [[_second_call(function, params, key) for function in functions] for _ in range(repeats)]


def _second_call(function: Callable[..., Any], params: Any, key: Any) -> float:
    jax.block_until_ready(function(params, key))
    return seconds(function, params, key)


def ratio(times: Any) -> dict[str, float]:
    """Of the medians of two columns of times, the first over the second, with a bootstrap interval of 95 %."""
    times = np.asarray(times)
    low, high = bootstrap(times)
    return {"ratio": float(np.divide(*np.median(times, axis=0))), "ratio_low": low, "ratio_high": high}


def bootstrap(times: np.ndarray, resamples: int = 2000) -> tuple[float, float]:
    """95 % interval of the ratio of medians, resampling pairs."""
    rng = np.random.default_rng(0)
    pick = rng.integers(0, len(times), (resamples, len(times)))
    medians = np.median(times[pick], axis=1)
    low, high = np.quantile(medians[:, 0] / medians[:, 1], [0.025, 0.975])
    return float(low), float(high)


def clock(call: Callable[[Any], Any], keys: Sequence[Any], budget: float) -> dict[str, float]:
    """The median time of a call that is compiled already, in microseconds, with the middle half."""
    laps: list[float] = []
    for key in keys:
        laps.append(seconds(call, key))
        if len(laps) >= 10 and sum(laps) > budget:
            break
    return middle_half(laps)


def middle_half(laps: Any) -> dict[str, float]:
    """The median of times in seconds, in microseconds, with the quarters on both sides of it."""
    low, middle, high = (float(lap) * 1e6 for lap in np.percentile(laps, [25, 50, 75]))
    return {"microseconds": middle, "microseconds_low": low, "microseconds_high": high}


def child(code: str) -> Any:
    """What a process of its own prints as its last line, as JSON."""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def high_water_mark() -> float:
    """Peak resident memory of this process in KiB."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return float(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
