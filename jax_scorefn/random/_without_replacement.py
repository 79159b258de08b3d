"""Draws without replacement: each by the weights of those that are left (Plackett-Luce).

    P(x_1, .., x_k)  =  prod_i  w[x_i] / (W - w[x_1] - .. - w[x_(i-1)])

It is what the k largest of ``log w + Gumbel`` are, from the largest on.
"""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn.distributions import Distribution, Grid
from jax_scorefn.typing import Array, Capability

TOO_MANY = "{count:.4g} ways to draw {number} of {size} in order are more than {limit}"


class PlackettLuce(Distribution):
    """The numbers of k of K categories, in the order in which they are drawn; of weights, or of their logarithms."""

    also = Capability.SUPPORT | Capability.FINITE

    def __init__(self, number: int, *, logits: Array | None = None, weights: Array | None = None):
        self._number, self._weights = number, weights
        if weights is not None:  # a weight of 0 is never drawn
            logits = jnp.where(weights == 0, -jnp.inf, jnp.log(jnp.where(weights == 0, 1, weights)))
        assert logits is not None
        self._logits = logits

    def log_prob(self, x: Array) -> Array:
        drawn, gone = self._at(x)
        logits = jnp.broadcast_to(self._logits, drawn.shape)
        chosen = jnp.sum(jnp.where(drawn, logits, 0), axis=-1)
        never = chosen == -jnp.inf
        left = jnp.where(never[:, None], 0, jnp.where(gone, -jnp.inf, logits))
        return jnp.sum(jnp.where(never, chosen, chosen - jax.nn.logsumexp(left, axis=-1)))

    def grid(self, *, num_nodes: int = 32, max_value: int | None = None, max_points: int = 2**16) -> Grid:
        """Every ordered draw."""
        del num_nodes, max_value
        (size,) = self._logits.shape
        if (count := math.perm(size, self._number)) > max_points:
            raise ValueError(TOO_MANY.format(count=float(count), number=self._number, size=size, limit=max_points))
        rows = list(itertools.permutations(range(size), self._number))
        points = jnp.asarray(np.array(rows, np.int32).reshape(count, self._number))
        log_probs = jax.vmap(self.log_prob)(points)
        return Grid(points, log_probs, jnp.exp(log_probs) if self._weights is None else jax.vmap(self._prob)(points))

    def _prob(self, x: Array) -> Array:
        """The probability, with a derivative that is right at weights of 0 too."""
        assert self._weights is not None
        drawn, gone = self._at(x)
        weights = jnp.broadcast_to(self._weights, drawn.shape)
        left = jnp.sum(jnp.where(gone, 0, weights), axis=-1)
        return jnp.prod(jnp.sum(jnp.where(drawn, weights, 0), axis=-1) / jnp.where(left == 0, 1, left))

    def _at(self, x: Array) -> tuple[Array, Array]:
        """Of each draw and category, whether it is the one, and whether it was drawn before."""
        categories = jnp.arange(self._logits.shape[0], dtype=jnp.int32)
        drawn = x[:, None].astype(jnp.int32) == categories[None, :]
        times = drawn.astype(jnp.int32)
        return drawn, jnp.cumsum(times, axis=0, dtype=jnp.int32) > times
