"""Ties: parameters at which another library's log-probability is right and its derivative is not.

    max(x, 0) + log1p(exp(-|x|)) - x y  =  softplus(x) - x y         at x = 0:  a derivative of {0, 1} - y,  not of 1/2 - y

Both sides of the clip meet there, and training starts there. A logit of 0 is scored as the smallest positive number, where the same
formula has every derivative right; the log-probability is that of 0 to the last bit.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jax_scorefn.distributions._ends import parts_of
from jax_scorefn.typing import Array

CLIPPED = ("BernoulliLogits", "BinomialLogits")
"""Classes of NumPyro that are scored by this formula, in their field ``logits``."""


def off_ties(dist: Any) -> Any:
    """A distribution as it is to be scored, with its logits beside the tie."""
    clipped = [part for part in parts_of(dist) if any(base.__name__ in CLIPPED for base in type(part).__mro__)]
    logits = [part.logits for part in clipped if isinstance(part.logits, Tracer)]
    if not logits:
        return dist
    return jax.tree.map(lambda leaf: _beside(leaf) if any(leaf is x for x in logits) else leaf, dist)


def _beside(x: Array) -> Array:
    return jnp.where(x == 0, x + jnp.finfo(x.dtype).tiny, x)
