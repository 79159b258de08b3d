"""In which lane a choice is replaced.

    choice i of a site, by the axes of the scans around it and its own       in the lane of i mod colours, axis by axis
    two sites that no cost depends on together                               in the same lanes

An axis has as many colours as it is long, unless each cost sees a window of it: then as many as the widest window (1, where costs and
choices stand beside each other). The elements of one colour are so far apart that an element of a cost sees one of them at most.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from jax_scorefn._trees import in_explicit_mesh
from jax_scorefn.programs._analyze import Analysis
from jax_scorefn.programs._dependence import Entry
from jax_scorefn.programs._ir import Loop, Op, Var
from jax_scorefn.typing import Array

KEPT = 2**16
"""What all lanes of a site may keep of a cost, in elements, when they are to be those of others too: a lane of its own adds it up."""


class Span(NamedTuple):
    """The lanes of a site: their first number, and the axes of its choices, the scans around first, with colours of each axis.

    The last axis counts the values that a choice is compared with, and has as many colours.
    """

    first: int
    shape: tuple[int, ...]
    colours: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.colours)

    @property
    def end(self) -> int:
        """The number after the last."""
        return self.first + self.size

    @property
    def is_shared(self) -> bool:
        """Whether a lane replaces more than one choice of the site."""
        return self.colours != self.shape

    def holds(self, number: Array) -> Array:
        """Whether a lane is one of the site."""
        return (number >= self.first) & (number < self.end)

    def meets(self, other: Span) -> bool:
        """Whether a lane is one of both."""
        return self.first < other.end and other.first < self.end


def spans(choices: Sequence[Op], leaves: Sequence[tuple[Var, int]], of: Analysis) -> dict[Op, Span]:
    """Lanes of its own for each site that is compared and that a cost depends on."""
    shared = _may_share(choices)
    found, first = {}, 0
    for site in choices:
        seen = [of(v)[site] for v, _ in leaves if site in of(v)]
        if site.estimator.replaced and seen:
            shape = (*(Loop.of(loop).length for loop in of.loops[site]), *site.estimator.shape(site))
            values = site.estimator.alternatives(site)
            found[site] = Span(first, (*shape, values), (*(colours(shape, seen) if shared else shape), values))
            first += found[site].size
    return found


def together(lanes: dict[Op, Span], choices: Sequence[Op], elements: dict[Var, int], of: Analysis) -> dict[Op, Span]:
    """Of the sites that share lanes, with their own choices or with other sites: the lanes, which begin where they first can.

    ``elements``: of each leaf.
    """
    if not _may_share(choices):
        return {}
    placed: dict[Op, Span] = {}
    for site, span in lanes.items():
        seen = [v for v in elements if site in of(v)]
        if not span.is_shared and span.size * max(elements[v] for v in seen) > KEPT:
            continue
        met = [other for rival, other in placed.items() if any(rival in of(v) for v in seen)]
        starts = sorted({0, *(other.end for other in met)})
        options = (span._replace(first=start) for start in starts)
        placed[site] = next(option for option in options if not any(option.meets(other) for other in met))
    alone = [
        site
        for site, span in placed.items()
        if not span.is_shared and not any(span.meets(other) for rival, other in placed.items() if rival is not site)
    ]
    return {site: span for site, span in placed.items() if site not in alone}


def pieces(lanes: dict[Op, Span]) -> list[tuple[int, int, list[Op]]]:
    """Lanes from one number up to another, in which the same sites are replaced."""
    ends = sorted({end for span in lanes.values() for end in (span.first, span.end)})
    of = lambda low: [site for site, span in lanes.items() if span.first <= low < span.end]
    return [(low, high, of(low)) for low, high in itertools.pairwise(ends) if of(low)]


def _may_share(choices: Sequence[Op]) -> bool:
    """Not under branches, each of which goes on by itself."""
    return not any(site.estimator.nested for site in choices) and not in_explicit_mesh()


def colours(shape: tuple[int, ...], seen: Sequence[tuple[Entry, ...]]) -> tuple[int, ...]:
    """Of the axes of a site, for what costs see of them."""

    def of_axis(number: int, entries: Sequence[Entry]) -> int:
        windows = [_window(entry) for entry in entries]
        return int(min(number, max(windows, default=1)))

    return tuple(of_axis(number, [entries[k] for entries in seen]) for k, number in enumerate(shape))


def _window(entry: Entry) -> float:
    """How many elements of an axis one element of a cost sees."""
    return math.inf if entry is None or entry[0] == "#" else entry[2] - entry[1] + 1
