"""What an element may depend on, as intervals: for each choice, and each axis of its log-probabilities, which of its elements.

    None                all of the axis
    (axis, lo, hi)      the element with index t on this axis of the value depends on the elements t + lo .. t + hi
    ("T0", lo, hi)      the same for the iteration of the outermost scan around the value, "T1" for the next, ...
    ("#", lo, hi)       the elements lo .. hi, whatever the index

equal is [0, 0], "at or before" is [-inf, 0], "before" [-inf, -1]. Too much is always sound: a choice that a cost does not depend on
has a score of mean 0 given that cost. Too little is a wrong gradient, so whatever is not known is None.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from jax_scorefn.programs.rules import Map

Entry = tuple[Any, float, float] | None
Dependence = dict[Any, tuple[Entry, ...]]
INF = math.inf


def hull(a: Entry, b: Entry) -> Entry:
    """The smallest entry that holds both."""
    if a is None or b is None or a[0] != b[0]:
        return None
    return (a[0], min(a[1], b[1]), max(a[2], b[2]))


def join(*parts: Dependence) -> Dependence:
    """What depends on any of the parts."""
    out: Dependence = {}
    for part in parts:
        for site, entries in part.items():
            known = out.get(site)
            out[site] = entries if known is None else tuple(hull(a, b) for a, b in zip(known, entries, strict=True))
    return out


def move(part: Dependence, targets: Map) -> Dependence:
    """The dependence of a result, whose axes come from an operand's by the map of a rule; axes that are not in it are lost."""

    def one(entry: Entry) -> Entry:
        if entry is None or isinstance(entry[0], str):
            return entry
        axis, lo, hi = entry
        target = targets.get(axis)
        if target is None:
            return None
        if not isinstance(target, tuple):
            return (target, lo, hi)
        place, below, above = target
        return (place, lo + below, hi + above)

    return {site: tuple(map(one, entries)) for site, entries in part.items()}


def rename(part: Dependence, names: Mapping[Any, Any]) -> Dependence:
    """The same with axes renamed; an axis that maps to None is lost, and one that is not named stays."""

    def one(entry: Entry) -> Entry:
        if entry is None:
            return None
        axis = names.get(entry[0], entry[0])
        return None if axis is None else (axis, entry[1], entry[2])

    return {site: tuple(map(one, entries)) for site, entries in part.items()}


def shift(part: Dependence, axis: Any, by: int) -> Dependence:
    """The dependence seen from one iteration later (by = -1) or, in a reverse scan, earlier (+1)."""
    return {
        site: tuple((e[0], e[1] + by, e[2] + by) if e is not None and e[0] == axis else e for e in entries)
        for site, entries in part.items()
    }


def at(part: Dependence, axis: Any, index: int) -> Dependence:
    """The dependence of what an iteration leaves behind, seen from after the loop."""
    return {
        site: tuple(("#", e[1] + index, e[2] + index) if e is not None and e[0] == axis else e for e in entries)
        for site, entries in part.items()
    }


def widen(old: Dependence, new: Dependence) -> Dependence:
    """A bound that still moves goes to infinity."""

    def one(a: Entry, b: Entry) -> Entry:
        if a is None or b is None or a[0] != b[0]:
            return b  # the join has made it None already where they differ
        return (b[0], -INF if b[1] < a[1] else b[1], INF if b[2] > a[2] else b[2])

    return {
        site: tuple(one(a, b) for a, b in zip(old[site], entries, strict=True)) if site in old else entries
        for site, entries in new.items()
    }


def lost_alignment(before: Dependence, after: Dependence) -> bool:
    """Whether some axis of a choice followed an axis of the operand and follows none of the result."""
    return any(
        a is not None and not isinstance(a[0], str) and (b is None or b[0] == "#")
        for site, entries in before.items()
        for a, b in zip(entries, after[site], strict=True)
    )


def describe(entries: Iterable[Entry]) -> str:
    """Entries in words."""
    words = []
    for entry in entries:
        if entry is None:
            words.append("all")
            continue
        axis, lo, hi = entry
        span = {(0, 0): "equal", (-INF, 0): "at or before", (-INF, -1): "before", (0, INF): "at or after"}.get((lo, hi))
        span = span or f"[{lo:g}, {hi:g}]"
        where = "at" if axis == "#" else f"scan {axis[1:]}" if isinstance(axis, str) else f"axis {axis}"
        words.append(f"{where} {span}")
    return "; ".join(words) or "the one"
