"""A choice beside another value of it: grad E[cost] = E[(cost with the other value - cost) grad rate], all other randomness kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from jax_scorefn import _checks
from jax_scorefn._guards import guard
from jax_scorefn.distributions import Distribution
from jax_scorefn.noise import uniform
from jax_scorefn.programs._dependence import Dependence, join
from jax_scorefn.programs.sites._base import SiteEstimator, parts_of, site
from jax_scorefn.typing import Array, Capability, Key, PyTree

NO_ALTERNATIVE = (
    "estimator='coupled' compares a draw with another value of it, which is known for discrete distributions: Bernoulli, Categorical, "
    "OneHotCategorical, Poisson, Binomial, Geometric, NegativeBinomial, a given support; {dist} has {given}. Use "
    "estimator='score_function', or 'pathwise' where draws have a path."
)
SECOND_DERIVATIVE = (
    "The choice {name} is estimated by its alternatives (estimator='coupled'), which gives first derivatives, and it was "
    "differentiated twice, which would give a wrong number without a word. Use estimator='score_function' for it."
)


@site
class Coupled(SiteEstimator):
    """By the program run again with another value. In front of the draw is the rate, behind it the other value and the uniforms."""

    name = "coupled"
    replaced = True

    def sample(self, key: Key, dist: Distribution, name: str, max_value: int | None) -> PyTree:
        if (parts := parts_of(self, key, dist, name)) is not None:
            return parts
        if Capability.ALTERNATIVE not in dist.capabilities:
            raise TypeError(NO_ALTERNATIVE.format(dist=dist.name, given=_checks.name_of(dist.capabilities)))
        key_draw, key_other = jax.random.split(key)
        like = dist.uniform_like()
        u, v = uniform(key_draw, like), uniform(key_other, jax.ShapeDtypeStruct(like.shape, like.dtype))
        draw, other, rate = dist.alternative(u, v)
        rate = guard(rate, order=1, message=SECOND_DERIVATIVE.format(name=name))
        behind = [*jax.tree.leaves(jax.lax.stop_gradient(other)), u]
        return self.choose(draw, [rate], behind, name=name, dist=dist.name)

    def dependence(self, site: Any, parts: list[Dependence], depth: int) -> list[Dependence]:
        """On the choice, and on what the rate and the uniform depend on, which are all that draw and alternative are made of."""
        size = site.params["size"]
        return super().dependence(site, [join(parts[0], parts[-1]), *[{}] * size], depth)

    def others(self, operands: Sequence[Any], size: int) -> list[Array]:
        """The operands that are the alternative."""
        return list(operands[self.front + size : self.front + 2 * size])
