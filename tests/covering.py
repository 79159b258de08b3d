"""Which cases of a table run by default: a few that differ most; ``make test-all`` runs all of them."""

import pytest


def by_default(cases, chosen):
    """The cases, those that are not chosen marked slow. A case is a value, or a tuple of values for several parameters."""
    chosen = list(chosen)
    rows = [case if isinstance(case, tuple) else (case,) for case in cases]
    wanted = [case if isinstance(case, tuple) else (case,) for case in chosen]
    missing = [case for case in wanted if case not in rows]
    assert not missing, missing
    return [pytest.param(*row) if row in wanted else pytest.param(*row, marks=pytest.mark.slow) for row in rows]
