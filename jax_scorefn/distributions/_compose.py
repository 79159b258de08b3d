"""Independent parts: the distribution of a pytree is the pytree of the distributions."""

from __future__ import annotations

import functools
import operator
from typing import Any

import jax

from jax_scorefn.distributions._adapters import as_distribution
from jax_scorefn.distributions._base import Distribution, is_distribution
from jax_scorefn.distributions._divergences import kl
from jax_scorefn.distributions._grids import Grid, joint_grid
from jax_scorefn.distributions._views import (
    CategoricalView,
    WeakDerivative,
    joint_choices,
    joint_weak_derivative,
)
from jax_scorefn.typing import Array, Capability, Key, PyTree

NO_PART = "Joint wants at least one distribution in its pytree; it got none."

KL_STRUCTURES = "kl of two Joint distributions wants the same structure; the first has {mine}, the second {others}."


@jax.tree_util.register_pytree_node_class
class Joint(Distribution):
    """A pytree of independent distributions; a draw is a pytree of that structure.

    Args:
      parts: any pytree whose leaves are distributions (ours, or those of distrax, TFP-on-JAX and NumPyro).

    Part j is drawn with key j of ``jax.random.split(key, number of parts)``. The joint can do what all its parts can do;
    a grid may mix parts with a finite support and parts with a quadrature.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> dist = sf.Joint({"go": sf.Bernoulli(logits=0.0), "how_far": sf.Exponential(rate=2.0)})
      >>> x = dist.sample(jax.random.key(0))
      >>> sorted(x), dist.log_prob(x).shape
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

    def _dists(self) -> tuple[list[Any], Any]:
        leaves, treedef = jax.tree.flatten(self.parts, is_leaf=is_distribution)
        if not leaves:
            raise ValueError(NO_PART)
        return [as_distribution(leaf) for leaf in leaves], treedef

    @property
    def capabilities(self) -> Capability:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What every part can do (a grid may mix enumeration and quadrature)."""
        dists, _ = self._dists()
        shared = functools.reduce(operator.and_, (part.capabilities for part in dists))
        grids = Capability.SUPPORT | Capability.QUADRATURE
        if grids not in shared and all(part.capabilities & grids for part in dists) and not shared & grids:
            shared |= Capability.QUADRATURE
        return shared

    @property
    def normalized(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether every part has its constant."""
        return all(part.normalized for part in self._dists()[0])

    def _each(self, method: str, *trees: PyTree) -> list[Any]:
        """What a method of each part returns, of that part of the arguments."""
        dists, treedef = self._dists()
        arguments = [treedef.flatten_up_to(tree) for tree in trees]
        return [getattr(part, method)(*its) for part, *its in zip(dists, *arguments, strict=True)]

    def _tree(self, method: str, *trees: PyTree) -> PyTree:
        return self._dists()[1].unflatten(self._each(method, *trees))

    def _pair(self, method: str, *trees: PyTree) -> tuple[PyTree, Array]:
        """Draws of the parts, and the sum of their log-probabilities."""
        pairs = self._each(method, *trees)
        return self._dists()[1].unflatten([x for x, _ in pairs]), _sum([log_prob for _, log_prob in pairs])

    def _keys(self, key: Key) -> PyTree:
        dists, treedef = self._dists()
        keys = jax.random.split(key, len(dists))
        return treedef.unflatten([keys[j] for j in range(len(dists))])

    def sample(self, key: Key) -> PyTree:
        return self._tree("sample", self._keys(key))

    def log_prob(self, x: PyTree) -> Array:
        return _sum(self._each("log_prob", x))

    def sample_and_log_prob(self, key: Key) -> tuple[PyTree, Array]:
        return self._pair("sample_and_log_prob", self._keys(key))

    def uniform_like(self) -> PyTree:
        """A pytree of the parts' uniforms."""
        return self._tree("uniform_like")

    def from_uniform(self, u: PyTree) -> PyTree:
        return self._tree("from_uniform", u)

    def from_uniform_and_log_prob(self, u: PyTree) -> tuple[PyTree, Array]:
        return self._pair("from_uniform_and_log_prob", u)

    def mean(self) -> PyTree:
        return self._tree("mean")

    def covariance_times(self, v: PyTree) -> PyTree:
        return self._tree("covariance_times", v)

    def mode(self) -> PyTree:
        return self._tree("mode")

    def entropy(self) -> Array:
        return _sum(self._each("entropy"))

    def _kl_to(self, other: Joint) -> Array:
        (dists, treedef), (others, structure) = self._dists(), other._dists()
        if treedef != structure:
            raise ValueError(KL_STRUCTURES.format(mine=treedef, others=structure))
        return _sum([kl(p, q) for p, q in zip(dists, others, strict=True)])

    def choices(self) -> CategoricalView:
        return joint_choices(self._each("choices"), self._dists()[1].unflatten)

    def weak_derivative(self) -> WeakDerivative:
        return joint_weak_derivative(self._each("weak_derivative"))

    def grid(self, *, num_nodes: int = 32, max_value: int | None = None, max_points: int = 2**16) -> Grid:
        """Product of the parts' grids."""
        dists, treedef = self._dists()
        options = {"num_nodes": num_nodes, "max_value": max_value, "max_points": max_points}
        grid = joint_grid(self.name, [part.grid(**options) for part in dists], max_points)
        return grid._replace(points=treedef.unflatten(grid.points))


def _sum(terms: list[Array]) -> Array:
    return functools.reduce(operator.add, terms)
