"""A choice by its weak derivative: grad E[cost] = sum over parameters of c E[cost with x+ - cost with x-] grad parameter.

Each parameter has two values that the draw is compared with, at the rates c and -c; the cost of the draw itself cancels.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._surrogate import departure, nan_where
from jax_scorefn._trees import stop
from jax_scorefn.distributions import Distribution, Row, WeakDerivative
from jax_scorefn.programs.sites._base import site
from jax_scorefn.programs.sites._compared import Comparable, Compared
from jax_scorefn.typing import Array, Capability, Key

NO_WEAK_DERIVATIVE = (
    "estimator='measure_valued' compares draws of the two parts of a weak derivative; {dist} has {given}. Use "
    "estimator='score_function', 'pathwise' where draws have a path, or 'coupled' for a discrete distribution."
)


@site
class MeasureValued(Compared):
    """With two other values for each parameter, coupled draws of their own."""

    name = "measure_valued"
    needs, lacking = Capability.WEAK_DERIVATIVE, NO_WEAK_DERIVATIVE

    def compare(self, key: Key, key_others: Key, dist: Distribution) -> Comparable:
        weak, draw = dist.weak_derivative(), stop(stop(dist).sample(key))
        positive, negative = weak.pairs(key_others)
        (x,), treedef = jax.tree.flatten(draw)
        rate = nan_where(jnp.isnan(weak.parameter), weak.constant * departure(weak.parameter))
        rate, constant = _by_element(weak, rate, x), _by_element(weak, weak.constant, x)
        kept = jnp.broadcast_to(x[..., None], rate.shape)
        whole = jnp.issubdtype(x.dtype, jnp.integer)

        def values(side: Row) -> Array:
            """What the draw is compared with. Where the constant is 0 that is a draw of probability 0, which the cost may not know."""
            row = _by_element(weak, side.whole if whole else side.floats, x).astype(x.dtype)
            return jnp.where(constant == 0, kept, row)

        others = jnp.concatenate([values(positive), values(negative)], axis=-1)
        return Comparable(draw, treedef.unflatten([others]), jnp.concatenate([rate, -rate], axis=-1), x)


def _by_element(weak: WeakDerivative, row: Array, x: Array) -> Array:
    """The numbers (P,) of parameters as those of each element of the draw, (*shape, P / size)."""
    order = np.argsort(weak.place, kind="stable")
    return row[order].reshape(*x.shape, -1)
