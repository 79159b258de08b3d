"""Independent parts: the law of a pytree is the pytree of the laws."""

from __future__ import annotations

import functools
import operator
from typing import Any

import jax

from jax_scorefn.distributions._adapters import as_law
from jax_scorefn.distributions._base import Distribution, is_law
from jax_scorefn.distributions._grids import Grid, joint_grid
from jax_scorefn.distributions._views import (
    Bits,
    Choices,
    WeakDerivative,
    joint_bits,
    joint_choices,
    joint_weak_derivative,
)
from jax_scorefn.typing import Array, Capability, Key, PyTree


@jax.tree_util.register_pytree_node_class
class Joint(Distribution):
    """A pytree of independent laws; a draw is a pytree of that structure.

    Args:
      parts: any pytree whose leaves are laws (ours, or those of distrax, TFP-on-JAX and NumPyro).

    Part j is drawn with key j of ``jax.random.split(key, number of parts)``. The joint can do what all its parts can do;
    a grid may mix parts with a finite support and parts with a quadrature.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> law = sf.Joint({"go": sf.Bernoulli(logits=0.0), "how_far": sf.Exponential(rate=2.0)})
      >>> x = law.sample(jax.random.key(0))
      >>> sorted(x), law.log_prob(x).shape
      (['go', 'how_far'], ())
    """

    def __init__(self, parts: PyTree):
        self.parts = parts

    def tree_flatten(self):
        """The parts are the one child."""
        return (self.parts,), None

    @classmethod
    def tree_unflatten(cls, aux: None, children: tuple[PyTree]) -> Joint:
        """Rebuild from the one child."""
        del aux
        return cls(children[0])

    def _laws(self) -> tuple[list[Any], Any]:
        leaves, treedef = jax.tree.flatten(self.parts, is_leaf=is_law)
        if not leaves:
            raise ValueError("Joint wants at least one law in its pytree; it got none.")
        return [as_law(leaf) for leaf in leaves], treedef

    @property
    def capabilities(self) -> Capability:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What every part can do (a grid may mix enumeration and quadrature)."""
        laws, _ = self._laws()
        shared = functools.reduce(operator.and_, (part.capabilities for part in laws))
        grids = Capability.SUPPORT | Capability.QUADRATURE
        if grids not in shared and all(part.capabilities & grids for part in laws) and not shared & grids:
            shared |= Capability.QUADRATURE
        return shared

    @property
    def normalized(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether every part has its constant."""
        return all(part.normalized for part in self._laws()[0])

    def sample(self, key: Key) -> PyTree:
        laws, treedef = self._laws()
        keys = jax.random.split(key, len(laws))
        return treedef.unflatten([part.sample(keys[j]) for j, part in enumerate(laws)])

    def log_prob(self, x: PyTree) -> Array:
        laws, treedef = self._laws()
        terms = [part.log_prob(leaf) for part, leaf in zip(laws, treedef.flatten_up_to(x), strict=True)]
        return functools.reduce(operator.add, terms)

    def sample_and_log_prob(self, key: Key) -> tuple[PyTree, Array]:
        laws, treedef = self._laws()
        keys = jax.random.split(key, len(laws))
        pairs = [part.sample_and_log_prob(keys[j]) for j, part in enumerate(laws)]
        return treedef.unflatten([x for x, _ in pairs]), functools.reduce(operator.add, [lp for _, lp in pairs])

    def uniform_like(self) -> PyTree:
        """A pytree of the parts' uniforms."""
        laws, treedef = self._laws()
        return treedef.unflatten([part.uniform_like() for part in laws])

    def from_uniform(self, u: PyTree) -> PyTree:
        laws, treedef = self._laws()
        return treedef.unflatten(
            [part.from_uniform(leaf) for part, leaf in zip(laws, treedef.flatten_up_to(u), strict=True)]
        )

    def from_uniform_and_log_prob(self, u: PyTree) -> tuple[PyTree, Array]:
        laws, treedef = self._laws()
        leaves = zip(laws, treedef.flatten_up_to(u), strict=True)
        pairs = [part.from_uniform_and_log_prob(leaf) for part, leaf in leaves]
        return treedef.unflatten([x for x, _ in pairs]), functools.reduce(operator.add, [lp for _, lp in pairs])

    def mean(self) -> PyTree:
        laws, treedef = self._laws()
        return treedef.unflatten([part.mean() for part in laws])

    def covariance_times(self, v: PyTree) -> PyTree:
        laws, treedef = self._laws()
        leaves = zip(laws, treedef.flatten_up_to(v), strict=True)
        return treedef.unflatten([part.covariance_times(leaf) for part, leaf in leaves])

    def mode(self) -> PyTree:
        laws, treedef = self._laws()
        return treedef.unflatten([part.mode() for part in laws])

    def bits(self) -> Bits:
        laws, treedef = self._laws()
        return joint_bits([part.bits() for part in laws], treedef.unflatten)

    def choices(self) -> Choices:
        laws, treedef = self._laws()
        return joint_choices([part.choices() for part in laws], treedef.unflatten)

    def weak_derivative(self) -> WeakDerivative:
        return joint_weak_derivative([part.weak_derivative() for part in self._laws()[0]])

    def grid(self, *, num_nodes: int = 32, max_value: int | None = None, max_points: int = 2**16) -> Grid:
        """Product of the parts' grids."""
        laws, treedef = self._laws()
        how = {"num_nodes": num_nodes, "max_value": max_value, "max_points": max_points}
        grid = joint_grid(self.name, [part.grid(**how) for part in laws], max_points)
        return grid._replace(points=treedef.unflatten(grid.points))
