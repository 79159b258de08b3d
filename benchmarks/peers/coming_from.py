"""The numbers of docs/coming-from.md: each program of the page in the environment it needs, beside the exact gradient.

    python -m benchmarks.peers.coming_from .venv-peers           measure, keep in coming_from.json, write the page's tables
    python -m benchmarks.peers.coming_from .venv-peers pyro      one library
    python -m benchmarks.peers.coming_from .venv-peers tables    the tables alone

An environment is a folder with the name of a file of requirements here (``python -m venv .venv-peers/optax`` and
``pip install -r benchmarks/peers/optax.txt``). What needs none runs in this one. A test compares page, file and exact values.
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

from benchmarks.peers.run_page import PACKAGES, PAGE

RESULTS = Path(__file__).with_suffix(".json")
ENVIRONMENTS: dict[str, str] = {}
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


PROBLEMS: dict[str, tuple[Callable[[Any], float], tuple[float, ...]]] = {
    "surrogate": (table, (0.0, 1.0, 0.5)),
    "tfp": (tail, (0.5,)),
    "distrax": (majority, (-0.5, 0.2, 1.0)),
    "numpyro": (mixture, (-0.5, 0.3, 1.0)),
}
"""The objective of each library's program, with every outcome summed, and the parameters on the page."""


def exact(name: str) -> np.ndarray:
    """The gradient, by central differences in float64."""
    objective, at = PROBLEMS[name]
    steps = 1e-5 * np.eye(len(at))
    return np.array([(objective(np.array(at) + h) - objective(np.array(at) - h)) / 2e-5 for h in steps])


def measure(environments: Path, name: str) -> dict[str, Any]:
    """The record of one library: its numbers, ours, and the exact gradient."""
    there = environments / ENVIRONMENTS[name] / "bin" / "python" if name in ENVIRONMENTS else Path(sys.executable)
    script = str(Path(__file__).with_name("run_page.py"))
    record: dict[str, Any] = {"exact": exact(name).tolist()}
    for side, python in (("theirs", there), ("ours", Path(sys.executable))):
        done = subprocess.run(
            [str(python), "-W", "ignore", script, side, name], check=True, capture_output=True, text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )  # fmt: skip
        record[side] = json.loads(done.stdout.splitlines()[-1])
    return record


def lines(name: str, record: dict[str, Any]) -> str:
    """The table of one library on the page."""
    numbers = lambda values: ", ".join(f"{x:+.4f}" for x in values)
    rows = [
        f"| | gradients | mean | error | variance |\n|---|---|---|---|---|\n| exact | | {numbers(record['exact'])} | | |"
    ]
    for side in ("theirs", "ours"):
        found = record[side]
        digits = max(0, 1 - math.floor(math.log10(found["variance_error"])))  # two of the error
        rows.append(
            f"| {found['method']} | {found['count']:,} | {numbers(found['mean'])} | {max(found['standard_error']):.4f} "
            f"| {found['variance']:.{digits}f} ± {found['variance_error']:.{digits}f} |"
        )
    return "\n".join(rows) + "\n"


def part(text: str, name: str) -> tuple[str, str, str]:
    """What stands between the marks of a table, with what is before and behind."""
    before, rest = text.split(BEGIN.format(name=name))
    found, behind = rest.split(END.format(name=name))
    return before + BEGIN.format(name=name), found, END.format(name=name) + behind


def main(environments: str, *names: str) -> None:
    """Measure (nothing, for the name "tables"), and write file and page anew."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in PACKAGES if names in ((), ("tables",)) else names:
        if names != ("tables",):
            kept[name] = measure(Path(environments), name)
        RESULTS.write_text(json.dumps({name: kept[name] for name in PACKAGES if name in kept}, indent=1) + "\n")
        before, _, behind = part(PAGE.read_text(), name)
        PAGE.write_text(f"{before}\n{lines(name, kept[name])}\n{behind}")
        print(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
