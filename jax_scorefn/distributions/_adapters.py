"""Distributions of other libraries, recognised by what they can do and never imported.

| library | draws with | says that a draw is reparameterized by |
|---|---|---|
| NumPyro | ``sample(key)`` | ``has_rsample`` |
| TFP on JAX | ``sample(seed=key)`` | ``reparameterization_type`` |
| distrax | ``sample(seed=key)`` | nothing, so the classes known to be so are listed here |
| anything else | ``sample(key)`` | ``capabilities``, if it has that |

A distribution with a ``batch_shape`` is a batch of problems to an estimator, which refuses it, and independent choices to a program.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn._guards import guard
from jax_scorefn._trees import stop
from jax_scorefn.distributions._base import CORNER, SHOWN, Distribution, is_distribution
from jax_scorefn.distributions._ends import has_corner, hold_ends, name_of
from jax_scorefn.distributions._grids import Grid, product_grid, refuse_above
from jax_scorefn.distributions._ties import off_ties
from jax_scorefn.typing import Array, Capability, Key, PyTree

NOT_A_DISTRIBUTION = (
    "A distribution of one draw is one of sf.distributions, or an object with sample(key) (or sample(seed=key)) and log_prob(x), as "
    "those of distrax, TFP-on-JAX and NumPyro; it is not {given}. (The function of a family or a policy returns a distribution.)"
)
NOT_ITS_BATCH = (
    "The log-probabilities of a batch have its shape, and so have the first axes of a draw: {dist} has batch_shape={batch}, "
    "log-probabilities of shape {shape} and draws of shape {draw}. Give each element one log-probability, or leave batch_shape out "
    "and add them up."
)

_DISTRAX_REPARAMETERIZED = frozenset(
    [
        "Normal",
        "MultivariateNormalDiag",
        "MultivariateNormalDiagPlusLowRank",
        "MultivariateNormalFullCovariance",
        "MultivariateNormalTri",
        "Laplace",
        "Logistic",
        "LogStddevNormal",
        "Uniform",
        "Gumbel",
        "Gamma",
        "Beta",
        "Dirichlet",
    ]
)


def as_distribution(x: Any, *, batches: bool = False) -> Distribution:
    """One of our distributions as it is, or another library's wrapped as one.

    Estimators, ``sample`` and ``Joint`` do this themselves.

    Args:
      x: a distribution: ours, one of distrax, TFP-on-JAX or NumPyro, or any object with ``sample(key)`` and ``log_prob(x)``.
      batches: whether one with a ``batch_shape`` is taken as so many independent elements, each with a log-probability of its own.

    Returns:
      A :class:`Distribution`.

    Raises:
      TypeError: for what cannot be drawn from and scored.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> class Exponential:
      ...     def sample(self, key):
      ...         return jax.random.exponential(key)
      ...     def log_prob(self, x):
      ...         return -x
      >>> x, log_prob = sf.distributions.as_distribution(Exponential()).sample_and_log_prob(jax.random.key(0))
      >>> print(x == -log_prob)
      True
    """
    if isinstance(x, Distribution):
        return as_distribution(x.dist, batches=batches) if batches and type(x) is ForeignDistribution else x
    if not is_distribution(x):
        raise TypeError(NOT_A_DISTRIBUTION.format(given=_checks.describe(x)))
    return ForeignBatch(x) if batches and batch_shape(x) else ForeignDistribution(x)


def batch_shape(dist: Any) -> tuple[int, ...]:
    """What a library says of the independent elements of a draw; () where it says nothing, or has no one shape for all parts."""
    shape = getattr(dist, "batch_shape", ())
    return tuple(shape) if all(isinstance(n, int) for n in shape) else ()


@jax.tree_util.register_pytree_node_class
class ForeignDistribution(Distribution):
    """A distribution of another library, with our names."""

    def __init__(self, dist: Any):
        self.dist = dist

    def tree_flatten(self):
        """The wrapped distribution is the one child: a pytree if its library made it one, else a leaf."""
        return (self.dist,), None

    @classmethod
    def tree_unflatten(cls, aux: None, children: tuple[Any]) -> ForeignDistribution:
        """Rebuild from the wrapped distribution."""
        del aux
        return cls(children[0])

    @property
    def name(self) -> str:
        return name_of(self.dist)

    @property
    def capabilities(self) -> Capability:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the wrapped object says or is known to do."""
        declared = getattr(self.dist, "capabilities", None)
        if isinstance(declared, Capability):
            return declared
        found = Capability.LOG_PROB | Capability.SAMPLE
        if _is_reparameterized(self.dist):
            found |= Capability.REPARAMETERIZED
        if getattr(self.dist, "has_enumerate_support", False) and self.dist.event_shape == ():
            found |= Capability.SUPPORT | Capability.FINITE
        return found

    @property
    def normalized(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the wrapped distribution says."""
        return getattr(self.dist, "normalized", True)

    def mode(self) -> PyTree:
        return stop(self.dist.mode())

    def sample(self, key: Key) -> PyTree:
        if "seed" in inspect.signature(self.dist.sample).parameters:
            return self.dist.sample(seed=key)
        return self.dist.sample(key)

    def log_prob(self, x: PyTree) -> Array:
        return hold_ends(self.dist, _checks.log_prob(self, self._scored().log_prob(x)))

    def _scored(self) -> Any:
        """The wrapped distribution, as it is to be scored."""
        dist = off_ties(self.dist)
        return guard(dist, order=1, message=CORNER.format(dist=self.name)) if has_corner(dist) else dist

    def grid(self, *, num_nodes: int = 32, max_value: int | None = None, max_points: int = 2**16) -> Grid:
        if hasattr(self.dist, "grid"):
            return self.dist.grid(num_nodes=num_nodes, max_value=max_value, max_points=max_points)
        return self._listed(max_points)

    def _listed(self, max_points: int) -> Grid:
        points = self.dist.enumerate_support(expand=False)
        refuse_above(max_points, self.name, points.shape[0], "the support that it enumerates")
        log_probs = jax.vmap(self.log_prob)(points)
        return Grid(points, log_probs, jnp.exp(log_probs))


def _forward(name: str) -> Callable[..., Any]:
    def method(self: ForeignDistribution, *args: Any) -> Any:
        return getattr(self.dist, name)(*args)

    return method


for _name in itertools.chain(*SHOWN.values()):
    if _name not in vars(ForeignDistribution):  # what speaks of these capabilities has their methods
        setattr(ForeignDistribution, _name, _forward(_name))


@jax.tree_util.register_pytree_node_class
class ForeignBatch(ForeignDistribution):
    """A batch of another library as one distribution of independent elements, as ours of several parameters are."""

    def log_prob(self, x: PyTree) -> Array:
        return jnp.sum(self._log_probs(x))

    def sample_and_log_probs(self, key: Key) -> tuple[PyTree, Array]:
        """One draw, stopped, and the log-probability of each element of the batch."""
        x = stop(stop(self).sample(key))
        return x, self._log_probs(x)

    def _log_probs(self, x: PyTree) -> Array:
        batch, log_probs = batch_shape(self.dist), jnp.asarray(self._scored().log_prob(x))
        for leaf in jax.tree.leaves(x):
            if log_probs.shape != batch or jnp.shape(leaf)[: len(batch)] != batch:
                details = {"batch": batch, "shape": log_probs.shape, "draw": jnp.shape(leaf)}
                raise ValueError(NOT_ITS_BATCH.format(dist=self.name, **details))
        return hold_ends(self.dist, _checks.real_log_prob(self, log_probs))

    def _listed(self, max_points: int) -> Grid:
        points = self.dist.enumerate_support(expand=True)
        return product_grid(self.name, points, jax.vmap(self._log_probs)(points), max_points)


def _is_reparameterized(dist: Any) -> bool:
    if hasattr(dist, "has_rsample"):
        return bool(dist.has_rsample)
    if hasattr(dist, "reparameterization_type"):
        return "FULLY" in repr(dist.reparameterization_type)
    if type(dist).__module__.split(".")[0] == "distrax":
        inner = getattr(dist, "distribution", dist) if type(dist).__name__ == "Independent" else dist
        return type(inner).__name__ in _DISTRAX_REPARAMETERIZED
    return False


as_law = as_distribution
"""Its older name."""
