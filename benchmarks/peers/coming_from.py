"""The numbers of docs/coming-from.md: each program of the page in the environment it needs, beside the exact gradient.

    python -m benchmarks.peers.coming_from .venv-peers           measure what changed, write coming_from.json and the page's tables
    python -m benchmarks.peers.coming_from .venv-peers pyro      one library

An environment is that of a peer (`python -m benchmarks peers` makes them). What needs none runs in
this one. A test compares page, file and exact values.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.run_page import PACKAGES, PAGE, VARIANTS, digest, program

SECOND = ("genjax",)
"""Whose variant is a second derivative."""

RESULTS = Path(__file__).with_suffix(".json")
ENVIRONMENTS = {
    "optax": "optax", "rlax": "rlax", "trl": "pytorch", "pyro": "pyro", "storchastic": "storchastic", "genjax": "genjax",
}  # fmt: skip
BEGIN, END = "<!-- benchmarks/peers/coming_from.py: {name} -->\n", "<!-- end of {name} -->\n"


def sigmoid(logit: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-logit))


def over_bits(number: int, probability: Callable[[Any], Any], f: Callable[[Any], float]) -> float:
    """E[f(bits)], where each bit has a probability that may depend on those before it."""
    total = 0.0
    for bits in itertools.product([0, 1], repeat=number):
        ups = [probability(bits[:t]) for t in range(number)]
        total += math.prod(p if b else 1 - p for b, p in zip(bits, ups, strict=True)) * f(bits)
    return total


def table(p: Any) -> float:
    """A choice of three, and what each pays."""
    weights = np.exp(p - p.max())
    return float(weights @ [1.0, 0.0, 3.0] / weights.sum())


def tail(p: Any) -> float:
    """E max(x - 2, 0) of a Poisson x with logarithmic rate p."""
    masses = [math.exp(k * p[0] - math.exp(p[0]) - math.lgamma(k + 1)) for k in range(60)]
    return sum(mass * max(k - 2, 0) for k, mass in enumerate(masses))


def majority(p: Any) -> float:
    """The probability that two or more of three bits are up."""
    return over_bits(3, lambda before: sigmoid(p[len(before)]), lambda bits: float(sum(bits) >= 2))


def mixture(p: Any) -> float:
    """The negative ELBO of three rows, each of a component of its own: x ~ N(2 z - 1, 1), z a fair coin."""
    total = 0.0
    for logit, x in zip(p, (-1.0, 0.2, 0.7), strict=True):
        for z, q in ((0, 1 - sigmoid(logit)), (1, sigmoid(logit))):
            log_joint = math.log(0.5) - (x - 2 * z + 1) ** 2 / 2 - math.log(2 * math.pi) / 2
            total += q * (math.log(q) - log_joint)
    return total


def chain(p: Any) -> float:
    """Three bits, each with the one before in its logit, and a cost for each."""
    up = lambda before: sigmoid(p[len(before)] + (before[-1] if before else 0.0))
    return over_bits(3, up, lambda bits: sum((t + 1) * (z - 0.3) ** 2 for t, z in enumerate(bits)))


def switching(p: Any) -> float:
    """Minus the discounted return of four actions of a policy that sees the one before; a change pays 1, staying up .2."""
    pays = lambda s, a: 1.0 if a != s else 0.2 * a
    steps = lambda bits: enumerate(zip((0, *bits[:-1]), bits, strict=True))
    return -over_bits(
        4, lambda b: sigmoid(p[b[-1] if b else 0]), lambda bits: sum(0.9**t * pays(s, a) for t, (s, a) in steps(bits))
    )


def answers(p: Any) -> float:
    """Minus the expected reward of an answer of three tokens, each drawn given the one before: the share of changes."""
    changes = lambda bits: sum(a != b for a, b in itertools.pairwise((0, *bits))) / 3
    return -over_bits(3, lambda b: sigmoid(p[b[-1] if b else 0]), changes)


PROBLEMS: dict[str, tuple[Callable[[Any], float], tuple[float, ...]]] = {
    "optax": (lambda p: (1 + math.erf(p[0] * math.exp(-p[1]) / math.sqrt(2))) / 2, (0.3, 0.2)),
    "surrogate": (table, (0.0, 1.0, 0.5)),
    "tfp": (tail, (0.5,)),
    "distrax": (majority, (-0.5, 0.2, 1.0)),
    "numpyro": (mixture, (-0.5, 0.3, 1.0)),
    "pyro": (mixture, (-0.5, 0.3, 1.0)),
    "storchastic": (chain, (-0.5, 0.2, 1.0)),
    "rlax": (switching, (0.4, -0.3)),
    "trl": (answers, (0.4, -0.3)),
    "genjax": (chain, (-0.5, 0.2, 1.0)),
}
"""The objective of each library's program, with every outcome summed, and the parameters on the page."""


def exact(name: str) -> np.ndarray:
    """The gradient, by central differences in float64."""
    objective, at = PROBLEMS[name]
    steps = 1e-5 * np.eye(len(at))
    return np.array([(objective(np.array(at) + h) - objective(np.array(at) - h)) / 2e-5 for h in steps])


def exact_second(name: str) -> np.ndarray:
    """The second derivative in each parameter, likewise."""
    objective, at = PROBLEMS[name]
    steps, middle = 1e-3 * np.eye(len(at)), objective(np.array(at))
    return np.array([(objective(np.array(at) + h) - 2 * middle + objective(np.array(at) - h)) / 1e-6 for h in steps])


def measure(environments: Path, name: str, kept: dict[str, Any]) -> dict[str, Any]:
    """The record of one library: its numbers, ours, and the exact gradient. What was measured of the same code stays."""
    there = environments / ENVIRONMENTS[name] / "bin" / "python" if name in ENVIRONMENTS else Path(sys.executable)
    script = str(Path(__file__).with_name("run_page.py"))
    record: dict[str, Any] = {"exact": exact(name).tolist()}
    for side in ("theirs", "ours", *(("variant",) if name in VARIANTS else ())):
        if side in kept and kept[side]["code"] == digest(program(PAGE.read_text(), side, name)):
            record[side] = kept[side]
            continue
        python = Path(sys.executable) if side == "ours" else there
        done = subprocess.run(
            [str(python), "-W", "ignore", script, side, name], check=True, capture_output=True, text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        record[side] = json.loads(done.stdout.splitlines()[-1])
    return record


def lines(name: str, record: dict[str, Any]) -> str:
    """The table of one library on the page."""
    numbers = lambda values: ", ".join(f"{x:+.4f}" for x in values)
    rows = ["| | gradients | mean | error | variance |", "|---|---|---|---|---|"]

    def row(label: str, found: dict[str, Any]) -> None:
        digits = max(0, 1 - math.floor(math.log10(found["variance_error"])))  # two of the error
        rows.append(
            f"| {label} | {found['count']:,} | {numbers(found['mean'])} | {max(found['standard_error']):.4f} "
            f"| {found['variance']:.{digits}f} ± {found['variance_error']:.{digits}f} |"
        )

    rows.append(f"| exact | | {numbers(record['exact'])} | | |")
    for side in ("theirs", "ours"):
        row(record[side]["method"], record[side])
    if name in SECOND:
        rows.append(f"| exact second derivatives | | {numbers(exact_second(name))} | | |")
    if name in VARIANTS:
        row("theirs: " + VARIANTS[name][0], record["variant"])
    return "\n".join(rows) + "\n"


def part(text: str, name: str) -> tuple[str, str, str]:
    """What stands between the marks of a table, with what is before and behind."""
    before, rest = text.split(BEGIN.format(name=name))
    found, behind = rest.split(END.format(name=name))
    return before + BEGIN.format(name=name), found, END.format(name=name) + behind


def main(environments: str, *names: str) -> None:
    """Measure, and write file and page anew."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in names or PACKAGES:
        kept[name] = measure(Path(environments), name, kept.get(name, {}))
        RESULTS.write_text(json.dumps({name: kept[name] for name in PACKAGES if name in kept}, indent=1) + "\n")
        before, _, behind = part(PAGE.read_text(), name)
        PAGE.write_text(f"{before}\n{lines(name, kept[name])}\n{behind}")
        print(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
