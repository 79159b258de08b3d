"""Measure-valued derivatives                       (Rosca et al. 2019; Mohamed et al. 2020, section 6)

    d/dtheta_c E[f(x)]  =  c_c  E[ f(x with its coordinate <- x+_c) - f(x with its coordinate <- x-_c) ]

The derivative of a distribution in a scalar parameter is a constant times the difference of two distributions, and (x+, x-) is a
coupled draw of the two. The other coordinates are those of a draw x of the distribution itself. Each parameter has variants of its
own, so there are two evaluations of f for each.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks
from jax_scorefn._surrogate import gradient_path, nan_where, nan_with
from jax_scorefn._trees import stop, take_rows, widest
from jax_scorefn.distributions import Row, WeakDerivative
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.typing import Array, Bias, Capability, Key, PyTree

TOO_MANY_COORDINATES = (
    "coordinates={given} of the scalar parameters were asked for, and {dist} has {number}: give at most that many, or None for "
    "all of them."
)


@estimator(
    needs=(Capability.SAMPLE, Capability.WEAK_DERIVATIVE),
    bias=Bias.NONE,
    orders=1,
    evaluations="S (1 + 2P) for P scalar parameters of the distribution; S (1 + 2k) with coordinates=k",
    cite=("rosca2019", "mohamed2020"),
)
def measure_valued(f, call, *, coordinates: int | None = None):
    """E[f(x)] by sampling, with derivatives as differences of f between coupled draws of two distributions.

    f is never differentiated, so it may jump or be a black box, and the variance is often near that of ``pathwise`` where that
    one works: it is that of a difference of f, not of f times a score. The price is two evaluations of f for each scalar
    parameter of the distribution, so use it where these are few or f is cheap, or pick some of them with ``coordinates``.

    Args:
      coordinates: number k of scalar parameters that each draw looks at, picked at random and weighted by P / k; None is all
        P of them. The P parameters are those of the distribution, after broadcasting, whether they depend on ``params`` or not: 2 D
        for a Normal of D coordinates, K for a choice among K categories.
      chunk_size: draws in memory at once, each with all its variants; None is all of them, "auto" as many as suit the caches.
      has_aux: also return an :class:`Info`, about the draws of the distribution itself.

    Raises: more ``coordinates`` than there are parameters, and a derivative in a parameter that has no weak one: a
    concentration of Gamma or Weibull, the df of StudentT, the total_count of NegativeBinomial.
    Cost: A :func:`black_box` is called twice for each chunk; memory of the variants of ``chunk_size`` draws, and P numbers
    for each draw.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> normal = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))
      >>> step = lambda x: x > 0.0
      >>> grads = jax.jit(jax.vmap(lambda key: sf.measure_valued_grad(step, normal, 0.3, key)))
      >>> g = grads(jax.random.split(jax.random.key(0), 1000))
      >>> print(f"{g.mean():.4f} +- {g.std() / 1000**0.5:.4f}  (exact 0.3814)")
      0.3811 +- 0.0003  (exact 0.3814)
    """
    weak, stopped = call.dist.weak_derivative(), stop(call.dist)
    total = weak.parameter.size
    picked = _number_of(coordinates, total, call.dist)

    def evaluate(x):
        return _checks.value(f(x))

    def one_draw(made, _):
        noise, key = made
        x, log_prob = noise.sample_and_log_prob(stopped) if call.reports else (noise.sample(stopped), None)
        x = stop(x)
        pairs_key, picks_key = jax.random.split(key)
        pick = _picks(picks_key, picked, total)
        positive, negative = jax.tree.map(pick.of, weak.pairs(pairs_key))
        values = jax.vmap(evaluate)(_variants(weak, x, pick, positive, negative))
        difference = jnp.moveaxis(values[:picked] - values[picked:], 0, -1)
        return evaluate(x), _gradient(weak, pick, difference), (x, log_prob) if call.reports else None

    values, gradients, kept = call.map(one_draw, call.noise_and_key())
    values = nan_with(values, weak.parameter)
    paths = call.map_rows(lambda gradient: gradient_path(weak.parameter, gradient), gradients)
    return call.answer(jnp.mean(values + paths.astype(values.dtype), axis=0), values, kept)


measure_valued_grad = gradient(measure_valued)


def _number_of(coordinates: Any, total: int, dist: Any) -> int:
    """Of how many parameters a draw gives the derivative."""
    if coordinates is None:
        return total
    picked = _checks.positive_int("coordinates", coordinates)
    if picked > total:
        raise ValueError(TOO_MANY_COORDINATES.format(given=picked, dist=dist.name, number=total))
    return picked


class _Picks(NamedTuple):
    """Some of ``total`` parameters, by their numbers (k,). None is all of them."""

    which: Array | None
    total: int

    def of(self, table: Array | np.ndarray) -> Array:
        """The entries (k,) of what was picked."""
        table = jnp.asarray(table)
        return table if self.which is None else take_rows(table, self.which)

    def scatter(self, found: Array) -> Array:
        """From (..., k), where those that were not picked have 0, (..., P); weighted by how seldom one is picked."""
        if self.which is None:
            return found
        hot = jax.nn.one_hot(self.which, self.total, dtype=found.dtype)
        return jnp.einsum("...k,kp->...p", found, hot) * (self.total / self.which.size)


def _picks(key: Key, picked: int, total: int) -> _Picks:
    """Without replacement."""
    return _Picks(None if picked == total else jax.random.permutation(key, total)[:picked], total)


def _variants(weak: WeakDerivative, x: PyTree, pick: _Picks, positive: Row, negative: Row) -> PyTree:
    """Copies of a draw, each with the coordinate of one parameter replaced: (2k, ...), first all positive parts.

    Where the constant is 0 nothing is replaced: a part of probability 0 may be a draw that f does not know.
    """
    leaf, place = pick.of(weak.leaf), pick.of(jnp.where(weak.constant == 0, -1, weak.place))

    def replaced(j: int, old: Array) -> Array:
        here = (leaf == j)[:, None] & (place[:, None] == np.arange(old.size)[None])
        parts = [part.whole if jnp.issubdtype(old.dtype, jnp.integer) else part.floats for part in (positive, negative)]
        new = [jnp.where(here, part[:, None].astype(old.dtype), old.reshape(1, -1)) for part in parts]
        return jnp.concatenate(new).reshape(2 * leaf.shape[0], *old.shape)

    leaves, treedef = jax.tree.flatten(x)
    return treedef.unflatten([replaced(j, old) for j, old in enumerate(leaves)])


def _gradient(weak: WeakDerivative, pick: _Picks, difference: Array) -> Array:
    """What one draw says of each parameter, (..., P), from differences of f for those picked, (..., k)."""
    constant = pick.of(nan_where(jnp.isnan(weak.parameter), weak.constant))
    dtype = widest([constant, difference])
    return pick.scatter(difference.astype(dtype) * constant.astype(dtype).reshape((1,) * (difference.ndim - 1) + (-1,)))
