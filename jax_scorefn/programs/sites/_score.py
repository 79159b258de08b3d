"""A choice by its score: a cost L that depends on it gets the correction (L - b) (magic_box(log p(draw)) - 1)."""

from __future__ import annotations

from jax_scorefn.distributions import Distribution
from jax_scorefn.programs.sites._base import SiteEstimator, parts_of, site
from jax_scorefn.typing import Key, PyTree


@site
class ScoreFunction(SiteEstimator):
    """The log-derivative trick, for any distribution; the parts of a joint are choices of their own."""

    name, aliases = "score_function", ("score",)
    scored = True

    def sample(self, key: Key, dist: Distribution, name: str, max_value: int | None) -> PyTree:
        if (parts := parts_of(self, key, dist, name)) is not None:
            return parts
        x, log_probs = dist.sample_and_log_probs(key)
        return self.choose(x, [log_probs], name=name, dist=dist.name)
