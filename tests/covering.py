"""Which cases of a table run by default: few that together show every value of every factor; ``make test-all`` runs all of them.

A factor is what a test sees of a case: one of its parts, or a function of them. A case that shows something new comes into the
default run by itself.
"""

import collections
import itertools

import pytest


def covering(cases, *factors, strength=1):
    """The cases, those outside of the covering few marked slow.

    A case is a value, or a tuple of values for several parameters. Factors are functions of these values; without any they are the
    parts of the tuples, and of cases that are one value the first alone runs. What is None for a case need not be shown by it.
    With ``strength=2`` every two values that meet in a case meet in a chosen one.
    """
    rows = [case if isinstance(case, tuple) else (case,) for case in cases]
    if factors:
        table = [tuple(factor(*row) for factor in factors) for row in rows]
    else:
        table = [row if len(row) > 1 else () for row in rows]
    chosen = set(cover(table, strength))
    return [pytest.param(*row, marks=() if i in chosen else pytest.mark.slow) for i, row in enumerate(rows)]


def few(cases, *default):
    """Cases of which those named run by default."""
    return [pytest.param(case, marks=() if case in default else pytest.mark.slow) for case in cases]


def cover(table, strength=1):
    """Places of few rows that show all that the table shows: greedily the one that shows most; of equals, what was shown least often."""
    shown = [_shown(row, strength) for row in table]
    missing, times, chosen = set().union(*shown), collections.Counter(), []
    while missing:
        best = max(range(len(table)), key=lambda i: (len(shown[i] & missing), -sum(times[s] for s in shown[i]), -i))
        chosen.append(best)
        missing -= shown[best]
        times.update(shown[best])
    return sorted(chosen)


def _shown(row, strength):
    """Each few columns with their values."""
    seen = [(column, _hashable(value)) for column, value in enumerate(row) if value is not None]
    few = min(strength, len(row))
    return set(itertools.combinations(seen, few))


def _hashable(value):
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value
