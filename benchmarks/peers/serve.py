"""The protocol of a peer: a process that answers questions, one JSON line in and one JSON line out. NumPy only.

    (nothing)            {"system": name and versions, "problems": [...], "notes": {problem: what is to be known, "": of all}}, once
    ["open", problem]    "ready": it is compiled, and called once
    ["block"]            seconds of each of some calls in a row
    ["moments", s, n]    of the gradients of n calls, or as many as s seconds allow (see ``moments``)
    ["memory"]           MiB at the peak of a call, over what the process had before the problem was opened

So that a system and this library can take turns, block by block, on a machine whose speed changes from minute to minute.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

BLOCK_SECONDS, MOST_CALLS, SETTLE_SECONDS = 0.1, 200, 0.03
FEW, DIRECTIONS = 64, 8

Gradient = Callable[[], Any]
"""A call that returns the leaves of one gradient, ready; each call another one."""


def block(call: Gradient) -> list[float]:
    """Seconds of each of some calls in a row, when other systems have gone to sleep; the first finds their data in the caches."""
    time.sleep(SETTLE_SECONDS)
    call()
    times: list[float] = []
    while not times or (sum(times) < BLOCK_SECONDS and len(times) < MOST_CALLS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def flat(leaves: Any) -> np.ndarray:
    """One vector of float64."""
    return np.concatenate([np.asarray(leaf, np.float64).reshape(-1) for leaf in leaves])


def seen(gradient: np.ndarray) -> np.ndarray:
    """What is compared of a gradient: its entries where they are few, else what it is along some fixed directions."""
    if gradient.size <= FEW:
        return gradient
    return np.cos(np.outer(np.arange(1, DIRECTIONS + 1), np.arange(gradient.size))) @ gradient / gradient.size**0.5


def moments(call: Gradient, seconds: float, most: int) -> dict[str, Any]:
    """Mean and its standard error of what is ``seen``; variance of one call, summed over all entries, with its standard error."""
    end = time.monotonic() + seconds
    first = [flat(call()) for _ in range(10)]
    middle = np.mean(first, axis=0)  # near the mean, so that squares off it are small
    total, squares, rows = np.zeros_like(middle), [], []

    def keep(gradient: np.ndarray) -> None:
        nonlocal total
        off = gradient - middle
        total = total + off
        squares.append(float(off @ off))
        rows.append(seen(gradient))

    for gradient in first:
        keep(gradient)
    while len(rows) < most and time.monotonic() < end:
        keep(flat(call()))
    count, values = len(rows), np.stack(rows)
    return {
        "mean": values.mean(axis=0).tolist(),
        "standard_error": (values.std(axis=0, ddof=1) / count**0.5).tolist(),
        "variance": (sum(squares) - float(total @ total) / count) / (count - 1),
        "variance_error": float(np.std(squares, ddof=1) / count**0.5),
        "count": count,
    }


def memory(call: Gradient, before: float) -> float:
    """MiB at the peak of a call over so many KiB; what an allocator keeps for the next call counts, since nobody else can have it."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
    call()
    return (_kib("VmHWM") - before) / 1024


def _kib(what: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return float(next(line for line in status.splitlines() if line.startswith(what)).split()[1])


def serve(system: str, problems: Mapping[str, Callable[[], Gradient]], notes: Mapping[str, str] | None = None) -> None:
    """Answer until there are no more questions; ``notes`` are clauses for the table, by problem, or "" for every one."""

    def say(answer: Any) -> None:
        print(json.dumps(answer), flush=True)

    say({"system": system, "problems": list(problems), "notes": dict(notes or {})})
    call: Gradient = lambda: ()
    before = _kib("VmRSS")
    for line in sys.stdin:
        question, *given = json.loads(line)
        try:
            if question == "open":
                before = _kib("VmRSS")
                call = problems[given[0]]()
                call()
                say("ready")
            else:
                answers = {"block": block, "moments": moments, "memory": lambda call: memory(call, before)}
                say(answers[question](call, *given))
        except Exception as error:  # the peer goes on: another problem may work
            traceback.print_exc()
            say({"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"})


def of_rows(gradients: np.ndarray) -> dict[str, Any]:
    """``moments`` of gradients that are there, an array (calls, parameters)."""
    count = len(gradients)
    squares = (gradients - gradients.mean(axis=0)) ** 2
    variance = squares.sum(axis=0) / (count - 1)
    return {
        "mean": gradients.mean(axis=0).tolist(),
        "standard_error": np.sqrt(variance / count).tolist(),
        "variance": float(variance.sum()),
        "variance_error": float(squares.sum(axis=1).std(ddof=1) / np.sqrt(count)),
        "count": count,
    }
