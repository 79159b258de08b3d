"""A choice beside another value of it: grad E[cost] = E[(cost with the other value - cost) grad rate], all other randomness kept."""

from __future__ import annotations

import jax

from jax_scorefn import _checks
from jax_scorefn.distributions import Distribution
from jax_scorefn.noise import uniform
from jax_scorefn.programs.sites._base import parts_of, site
from jax_scorefn.programs.sites._compared import Compared
from jax_scorefn.typing import Capability, Key, PyTree

NO_ALTERNATIVE = (
    "estimator='coupled' compares a draw with another value of it, which is known for discrete distributions: Bernoulli, Categorical, "
    "OneHotCategorical, Poisson, Binomial, Geometric, NegativeBinomial, a given support; {dist} has {given}. Use "
    "estimator='score_function', or 'pathwise' where draws have a path."
)


@site
class Coupled(Compared):
    """With one other value, of draws that are made of one uniform each."""

    name = "coupled"

    def sample(self, key: Key, dist: Distribution, name: str, max_value: int | None) -> PyTree:
        if (parts := parts_of(self, key, dist, name)) is not None:
            return parts
        if Capability.ALTERNATIVE not in dist.capabilities:
            raise TypeError(NO_ALTERNATIVE.format(dist=dist.name, given=_checks.name_of(dist.capabilities)))
        key_draw, key_other = jax.random.split(key)
        like = dist.uniform_like()
        u, v = uniform(key_draw, like), uniform(key_other, jax.ShapeDtypeStruct(like.shape, like.dtype))
        draw, other, rate = dist.alternative(u, v)
        others = jax.tree.map(lambda x: jax.numpy.expand_dims(x, rate.ndim), other)
        return self.beside(draw, others, rate[..., None], u, name=name, dist=dist.name)
