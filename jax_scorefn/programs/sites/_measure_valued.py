"""A choice by its weak derivative: grad E[cost] = sum over parameters of c E[cost with x+ - cost with x-] grad parameter.

Each parameter has two values that the draw is compared with, at the rates c and -c; the cost of the draw itself cancels.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks
from jax_scorefn._surrogate import departure, nan_where
from jax_scorefn._trees import stop
from jax_scorefn.distributions import Distribution, WeakDerivative
from jax_scorefn.programs.sites._base import parts_of, site
from jax_scorefn.programs.sites._compared import Compared
from jax_scorefn.typing import Array, Capability, Key, PyTree

NO_WEAK_DERIVATIVE = (
    "estimator='measure_valued' compares draws of the two parts of a weak derivative; {dist} has {given}. Use "
    "estimator='score_function', or 'coupled' for a discrete distribution."
)


@site
class MeasureValued(Compared):
    """With two other values for each parameter, coupled draws of their own."""

    name = "measure_valued"

    def sample(self, key: Key, dist: Distribution, name: str, max_value: int | None) -> PyTree:
        if (parts := parts_of(self, key, dist, name)) is not None:
            return parts
        if Capability.WEAK_DERIVATIVE not in dist.capabilities:
            raise TypeError(NO_WEAK_DERIVATIVE.format(dist=dist.name, given=_checks.name_of(dist.capabilities)))
        key_draw, key_pairs = jax.random.split(key)
        weak, draw = dist.weak_derivative(), stop(dist).sample(key_draw)
        positive, negative = weak.pairs(key_pairs)
        (x,), treedef = jax.tree.flatten(draw)
        rate = nan_where(jnp.isnan(weak.parameter), weak.constant * departure(weak.parameter))
        rate = _by_element(weak, rate, x)
        kept = jnp.repeat(x[..., None], rate.shape[-1], axis=-1)
        whole = jnp.issubdtype(x.dtype, jnp.integer)

        def values(side: PyTree) -> Array:
            """What the draw is compared with. Where the constant is 0 that is a draw of probability 0, which the cost may not know."""
            row = _by_element(weak, side.whole if whole else side.floats, x).astype(x.dtype)
            return jnp.where(_by_element(weak, weak.constant, x) == 0, kept, row)

        others = treedef.unflatten([jnp.concatenate([values(positive), values(negative)], axis=-1)])
        return self.beside(draw, others, jnp.concatenate([rate, -rate], axis=-1), x, name=name, dist=dist.name)


def _by_element(weak: WeakDerivative, row: Array, x: Array) -> Array:
    """The numbers (P,) of parameters as those of each element of the draw, (*shape, P / size)."""
    order = np.argsort(weak.place, kind="stable")
    return row[order].reshape(*x.shape, -1)
