"""Which estimator a choice has: the one that it asks for, or, where it leaves that to a plan, the one that the plan says.

A plan is put around the tracing of a program, in a context that the caches of ``jit`` see: a function that was traced without it, or
with another, is traced again.
"""

from __future__ import annotations

from typing import Protocol

import jax

from jax_scorefn.distributions import Distribution
from jax_scorefn.programs._while_loop import in_program
from jax_scorefn.programs.sites import SITES, SiteEstimator

AUTO, DEFAULT = "auto", "score_function"
UNKNOWN_ESTIMATOR = "sample has no estimator {given!r}; its estimators: {known}."
UNNAMED = "A choice with estimator='auto' is found in a plan by its name: pass name= to sample."
NO_PLAN = (
    "The choice {name} leaves its estimator to a plan (estimator='auto'), and there is none. Make one by measurement, plan = "
    "sf.plan(program)(params, key), and pass it: sf.expectation(program, plan=plan)."
)


class Planner(Protocol):
    """What says which estimator a choice has."""

    def estimator(self, name: str, dist: Distribution) -> SiteEstimator:
        """For a choice of this name and distribution."""
        ...


planned = jax.make_user_context(None)
"""The planner around, or None."""


def estimator_of(given: str | None, name: str | None, dist: Distribution) -> SiteEstimator:
    """For a choice that asks for ``given``; None and "auto" leave it to a plan."""
    planner: Planner | None = planned.value
    if given == AUTO and name is None:
        raise ValueError(UNNAMED)
    if given in (None, AUTO) and name is not None and planner is not None:
        return planner.estimator(name, dist)
    if given == AUTO and in_program.value:
        raise ValueError(NO_PLAN.format(name=name))
    wanted = DEFAULT if given in (None, AUTO) else given
    site = SITES.get(wanted) if isinstance(wanted, str) else None
    if site is None:
        known = ", ".join([*dict.fromkeys(map(str, SITES.values())), AUTO])
        raise ValueError(UNKNOWN_ESTIMATOR.format(given=given, known=known))
    return site
