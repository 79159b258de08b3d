"""Other systems on the same programs, each in an environment of its own: their gradient's variance, and its time.

``run_*.py`` is a peer: a process that imports nothing of this library and prints a JSON line for each program. ``make bench-peers``
makes the environments and measures them all; a peer whose environment is not there is left out, and the report says so.
``run_page.py`` is one for the programs of docs/coming-from.md (see ``coming_from``).
``time_*.py`` is a peer of the workloads of ``benchmarks.speed``, which answers questions so that it can take turns (see ``turns``).
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

PEERS = {"storchastic": "torch", "pyro": "torch", "genjax": "genjax"}
"""Which environment a peer runs in."""

MOST_SECONDS = 1200


def interpreter(folder: Path, peer: str) -> Path | None:
    """The interpreter of a peer's environment, if it has been made."""
    path = folder / PEERS[peer] / "bin" / "python"
    return path if path.exists() else None


def measure(python: Path, peer: str) -> list[dict[str, Any]]:
    """The records of one peer, or one that says why there are none."""
    script = Path(__file__).with_name(f"run_{peer}.py")
    try:
        done = subprocess.run(
            [str(python), "-W", "ignore", str(script)], capture_output=True, text=True, timeout=MOST_SECONDS
        )
        if done.returncode == 0:
            return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
    except subprocess.TimeoutExpired:
        reason = f"not finished after {MOST_SECONDS} s"
    return [{"kind": "peer-failed", "problem": "", "method": peer, "reason": reason}]
