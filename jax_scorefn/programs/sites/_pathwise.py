"""A choice whose draw is differentiated: x = g(noise; parameters), and the cost along with it."""

from __future__ import annotations

from jax_scorefn import _checks
from jax_scorefn.distributions import Distribution
from jax_scorefn.programs.sites._base import SiteEstimator, site
from jax_scorefn.typing import Capability, Key, PyTree

NOT_PATHWISE = "estimator='pathwise' needs reparameterized draws; {dist} has {given}. Use estimator='score_function'."


@site
class Pathwise(SiteEstimator):
    """Through the draw, for reparameterized distributions and costs without jumps. In the program it is ordinary JAX."""

    name = "pathwise"

    def sample(self, key: Key, dist: Distribution, name: str, max_value: int | None) -> PyTree:
        if Capability.REPARAMETERIZED not in dist.capabilities:
            raise TypeError(NOT_PATHWISE.format(dist=dist.name, given=_checks.name_of(dist.capabilities)))
        return dist.sample(key)
