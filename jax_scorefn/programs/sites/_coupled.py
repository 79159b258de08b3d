"""A choice beside another value of it: grad E[cost] = E[(cost with the other value - cost) grad rate], all other randomness kept."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jax_scorefn.distributions import Distribution
from jax_scorefn.noise import uniform
from jax_scorefn.programs.sites._base import site
from jax_scorefn.programs.sites._compared import Comparable, Compared
from jax_scorefn.typing import Capability, Key

NO_ALTERNATIVE = (
    "estimator='coupled' compares a draw with another value of it, which is known for discrete distributions of jax_scorefn: "
    "Bernoulli, Categorical, OneHotCategorical, Poisson, Binomial, Geometric, NegativeBinomial, a given support; {dist} has {given}. "
    "Use estimator='score_function', or 'pathwise' where draws have a path."
)


@site
class Coupled(Compared):
    """With one other value, of draws that are made of one uniform each."""

    name = "coupled"
    needs, lacking = Capability.ALTERNATIVE, NO_ALTERNATIVE

    def compare(self, key: Key, key_others: Key, dist: Distribution) -> Comparable:
        like = dist.uniform_like()
        u, v = uniform(key, like), uniform(key_others, jax.ShapeDtypeStruct(like.shape, like.dtype))
        draw, other, rate = dist.alternative(u, v)
        return Comparable(draw, jax.tree.map(lambda x: jnp.expand_dims(x, rate.ndim), other), rate[..., None], u)
