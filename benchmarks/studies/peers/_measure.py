"""One peer beside ours: blocks of calls in turns, then the moments of many gradients and the memory of one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import environments
from benchmarks.peers.environments import Peer, Unavailable
from benchmarks.settings import Settings
from benchmarks.study import Record

ROUNDS, SECONDS, CALLS = {False: 5, True: 9}, {False: 4.0, True: 20.0}, {False: 200, True: 1000}


def measure(peer: str, settings: Settings) -> Record:
    """One peer on all problems that it has, beside ours."""
    try:
        python = Path(sys.executable) if peer in environments.HOME else environments.make(settings.peers, peer)
        theirs = Peer(python, peer)
    except Unavailable as error:
        return {"found": {"failed": str(error)}, "times": {}}
    ours, same = _ours(python)
    try:
        rows = {name: _turns(name, theirs, ours, settings) for name in theirs.problems}
    finally:
        theirs.close()
        ours.close()
    found = {"system": theirs.system, "notes": theirs.notes, "ours": ours.system, "same": same}
    return {"found": found, "times": {"problems": rows}}


def _ours(python: Path) -> tuple[Peer, bool]:
    """This library in an environment of another, if it runs there; or in this one."""
    if python != Path(sys.executable):
        try:
            return Peer(python, "ours"), True
        except Unavailable:
            pass
    return Peer(Path(sys.executable), "ours"), python == Path(sys.executable)


def _turns(name: str, theirs: Peer, ours: Peer, settings: Settings) -> dict[str, Any]:
    """Both on one problem; or why not."""
    sides = {"theirs": theirs, "ours": ours}
    try:
        for side in sides.values():
            side.ask("open", name)
        blocks = [
            {which: float(np.median(side.ask("block"))) for which, side in sides.items()}
            for _ in range(ROUNDS[settings.full])
        ]
        told = {
            which: side.ask("moments", SECONDS[settings.full], CALLS[settings.full]) | {"mib": side.ask("memory")}
            for which, side in sides.items()
        }
    except Unavailable as error:
        return {"failed": str(error)}
    for which, row in told.items():
        row["microseconds"] = float(np.median([block[which] for block in blocks])) * 1e6
    ratios = [block["theirs"] / block["ours"] for block in blocks]
    return told | {"ratio": float(np.median(ratios)), "ratio_low": min(ratios), "ratio_high": max(ratios)}
