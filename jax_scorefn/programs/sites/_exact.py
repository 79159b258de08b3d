"""A choice that is summed: E[cost] = sum_v p(v) cost(v), the rest of the program run once for each value v of a finite support."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks
from jax_scorefn._wide import wide
from jax_scorefn.distributions import Distribution
from jax_scorefn.programs._dependence import Dependence, join, move
from jax_scorefn.programs.sites._base import Branches, SiteEstimator, site
from jax_scorefn.typing import Capability, Key, PyTree

MAX_BRANCHES = 4096
"""The most combinations of enumerated values that one program may have."""

NOT_ENUMERABLE = "estimator='exact' needs a finite support; {dist} has {given}. Use estimator='score_function'."
ENDLESS = (
    "estimator='exact' runs the program once for each value of {dist}, and there is no end to them: pass max_value=, the largest "
    "that counts (what is above is left out, which is a bias of that probability), or use estimator='score_function'."
)
NOT_LISTED = (
    "estimator='exact' lists the values of {dist}, and these cannot be listed; {limit} is the most, which no option of sample "
    "raises. Use estimator='score_function'. The reason: {reason}"
)
NESTED = (
    "The choice {name} is enumerated inside of a scan, cond or checkpoint. Its values are summed over the rest of the whole "
    "program, so it has to stand at the top of it: draw it before and pass it in, or use estimator='score_function'."
)
TOO_MANY_BRANCHES = (
    "Enumerating the choice {name} makes {count:.4g} combinations ({values} values in each of {elements} elements, with what is "
    "enumerated already), above {limit}. Use estimator='score_function', or enumerate fewer elements."
)
IN_AUX = (
    "The auxiliary output depends on the enumerated choice {name}, so it has one value for each value of the choice. Leave "
    "it out of has_aux, or use estimator='score_function' for this choice."
)


@site
class Exact(SiteEstimator):
    """Over all values. Behind the draw of a site stand its values, each leaf with those of one element on a last axis of the batch."""

    name, aliases = "exact", ("enumerate",)
    takes_max_value, front = True, 2
    nested, in_aux = NESTED, IN_AUX

    def sample(self, key: Key, dist: Distribution, name: str, max_value: int | None) -> PyTree:
        if Capability.SUPPORT not in dist.capabilities:
            raise TypeError(NOT_ENUMERABLE.format(dist=dist.name, given=_checks.name_of(dist.capabilities)))
        if max_value is not None:
            max_value = _checks.positive_int("max_value", max_value)
        elif Capability.FINITE not in dist.capabilities:
            raise ValueError(ENDLESS.format(dist=dist.name))
        try:
            grid = dist.grid(max_points=MAX_BRANCHES, max_value=max_value)
        except ValueError as error:
            raise ValueError(NOT_LISTED.format(dist=dist.name, limit=MAX_BRANCHES, reason=error)) from error
        x, log_prob = dist.sample_and_log_prob(key)
        both = zip(jax.tree.leaves(grid.points), jax.tree.leaves(x), strict=True)
        points = [jnp.asarray(point, leaf.dtype) for point, leaf in both]
        return self.choose(x, [log_prob, grid.weights], points, name=name, dist=dist.name)

    def dependence(self, site: Any, parts: list[Dependence], depth: int) -> list[Dependence]:
        """All elements together, whose combinations are summed over; everything after it has a branch for each."""
        everything = join(*(move(part, {}) for part in parts))
        return [join(everything, {site: ()})] * len(site.outs)

    def branches(self, site: Any, values: list[Any], so_far: int) -> Branches:
        """All combinations of the values of the elements, with the product of their probabilities."""
        log_prob, probs, *rest = values
        drawn, points = rest[: site.params["size"]], rest[site.params["size"] :]
        elements, number = math.prod(log_prob.shape), probs.shape[-1]
        if (total := number**elements * so_far) > MAX_BRANCHES:
            details = {"count": float(total), "values": number, "elements": elements, "limit": MAX_BRANCHES}
            raise ValueError(TOO_MANY_BRANCHES.format(name=site.params["name"], **details))
        pick = np.indices((number,) * elements, dtype=np.int32).reshape(elements, -1).T
        which = np.broadcast_to(np.arange(elements, dtype=np.int32), pick.shape)
        batch = len(log_prob.shape)
        draws = [
            point.reshape(elements, number, *x.shape[batch:])[which, pick].reshape(-1, *x.shape)
            for point, x in zip(points, drawn, strict=True)
        ]
        return Branches(draws, jnp.prod(wide(probs).reshape(elements, number)[which, pick], axis=1))
