"""The time of a gradient beside other systems: blocks of calls in turn, so that all of them meet the same machine.

A round is one block of calls of each system, one after the other; its ratio is that of the blocks' medians. What is reported is the
median of the rounds' ratios, with the lowest and the highest. Hand-written JAX runs in this process, another system in its own,
which waits while others are timed. All estimate the same gradient: their means along one direction are compared as well. A system
that ends, sooner or later, is left out, and named with its last word.
"""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import jax
import numpy as np

from benchmarks.peers import workloads
from benchmarks.speed import Workload

ENVIRONMENTS = {"pytorch": "torch", "storchastic": "torch"}
"""Which environment a system runs in; its script is ``time_<system>.py``."""

BY_HAND = "JAX by hand"
ROUNDS = 9


class Ended(Exception):
    """A peer's process is no more; the message is its last word."""


def compare(work: Workload, environments: Path, rounds: int = ROUNDS) -> dict[str, Any]:
    """The record of one workload: our time, every other system's in units of it, and how far its gradient is apart."""
    failed: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        ask = {"ours": _here(work.ours, work), BY_HAND: _here(work.by_hand, work)}
        for name, folder in ENVIRONMENTS.items():
            python = environments / folder / "bin" / "python"
            if python.exists():
                try:
                    label, answer = stack.enter_context(_process(python, name))
                    answer(work.name)
                    ask[label] = answer
                except Ended as error:
                    failed[name] = str(error)

        def answers(question: str) -> dict[str, Any]:
            found = {}
            for label in list(ask):
                try:
                    found[label] = ask[label](question)
                except Ended as error:
                    failed[label] = str(error)
                    del ask[label]
            return found

        blocks = [{label: float(np.median(times)) for label, times in answers("block").items()} for _ in range(rounds)]
        along = {label: np.asarray(values) for label, values in answers("projections").items()}
    ours = along["ours"]
    systems = {}
    for label in list(ask)[1:]:
        ratios = [block[label] / block["ours"] for block in blocks]
        error = math.hypot(*(values.std(ddof=1) / math.sqrt(len(values)) for values in (ours, along[label])))
        systems[label] = {
            "ratio": float(np.median(ratios)), "low": min(ratios), "high": max(ratios),
            "apart": float(abs(along[label].mean() - ours.mean()) / error),
        }  # fmt: skip
    return {
        "kind": "speed", "problem": work.name, "method": "", "systems": systems, "failed": failed,
        "microseconds": float(np.median([block["ours"] for block in blocks])) * 1e6,
    }  # fmt: skip


def _here(gradient: Callable[[Any, Any], Any], work: Workload) -> Callable[[str], Any]:
    """A gradient in this process that answers questions as a peer does."""
    run, keys = jax.jit(gradient), iter(range(2**31))
    key = jax.random.key(0)
    split = jax.jit(lambda i: jax.random.fold_in(key, i))
    for _ in range(3):
        jax.block_until_ready(run(work.params, key))

    def again() -> Any:
        return _in_order(run(work.params, split(next(keys))))

    def answer(question: str) -> Any:
        if question == "block":
            return workloads.block(lambda: jax.block_until_ready(run(work.params, key)))
        return workloads.projections(again)

    return answer


def _in_order(gradient: Any) -> list[Any]:
    """Leaves as ``workloads.serve`` wants them: the mean before the scale, layers in order, weights before biases."""
    if isinstance(gradient, dict):
        return [gradient["mean"], gradient["log_scale"]]
    return [layer[name] for layer in gradient for name in "wb"] if isinstance(gradient, list) else [gradient]


@contextlib.contextmanager
def _process(python: Path, name: str) -> Iterator[tuple[str, Callable[[str], Any]]]:
    """A peer's process: what it calls itself, and a function that asks it."""
    script = Path(__file__).with_name(f"time_{name}.py")
    child = subprocess.Popen(
        [str(python), "-W", "ignore", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    said: Any = child.stdout

    def heard() -> Any:
        if not (line := said.readline()):
            complaint = child.stderr.read() if child.stderr else ""
            raise Ended((complaint.strip().splitlines() or ["it ended without a word"])[-1])
        return json.loads(line)

    def ask(question: str) -> Any:
        with contextlib.suppress(BrokenPipeError):  # it is no more, and has said why
            print(question, file=child.stdin, flush=True)
        return heard()

    with child:
        try:
            yield heard()["system"], ask
        finally:
            with contextlib.suppress(BrokenPipeError):  # what it did not live to read
                cast(IO[str], child.stdin).close()
