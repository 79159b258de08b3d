"""A random choice in a program, the site of a draw: what is known of it, and one object for each way to estimate its derivative.

    choice(in front, draw, behind; estimator) = draw          a primitive; on its own it is the identity on the draw

It keeps the draw and its log-probabilities together in the traced program, where ``expectation`` finds them. There is one number
for each independent part of the draw, and their axes are the first axes of the draw: under ``vmap``, and for a distribution of
independent coordinates, each element is a choice of its own. Differentiated on its own it would give 0 without a word, so it raises.

An estimator says of its sites: which operands they have (``sample``), which of these are the draw, what the draw depends on, and
what it contributes: a score (``scored``), or branches of the program, one for each value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jax_scorefn.distributions import Distribution, Joint, as_distribution
from jax_scorefn.programs._dependence import Dependence, join
from jax_scorefn.programs._lifted import lifted
from jax_scorefn.typing import Array, Key, PyTree

DIFFERENTIATED = (
    "The choice {name} was differentiated in the parameters of its distribution outside of sf.expectation; along the draw that is 0 "
    "without a word. Wrap the program: jax.grad(sf.expectation(program))(params, key). Or, if this derivative is not wanted, stop the "
    "parameters that go into the distribution with jax.lax.stop_gradient."
)


class Branches(NamedTuple):
    """The rest of the program is run once for each row: draws, each leaf of them with the rows in front, and their probabilities."""

    draws: list[Array]
    probs: Array


class SiteEstimator:
    """How the derivative of a random choice is estimated."""

    name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    takes_max_value: ClassVar[bool] = False
    front: ClassVar[int] = 1
    """Operands in front of the draw: what carries the derivative. The first is the log-probabilities."""
    scored: ClassVar[bool] = False
    """Whether a cost that depends on a choice is charged with its score."""
    replaced: ClassVar[bool] = False
    """Whether the program is run again with other values in place of the draw (``Compared``)."""
    nested: ClassVar[str | None] = None
    """What is said of one inside of a scan, cond or checkpoint; None where it may be there."""
    in_aux: ClassVar[str | None] = None
    """What is said of one that the auxiliary output depends on; None where that may be."""

    def sample(self, key: Key, dist: Distribution, name: str, max_value: int | None) -> PyTree:
        """The draw, as a choice in the program around."""
        raise NotImplementedError

    def choose(self, x: PyTree, front: Sequence[Any], behind: Sequence[Any] = (), **params: Any) -> PyTree:
        """Bind the primitive."""
        leaves, treedef = jax.tree.flatten(jax.lax.stop_gradient(x))
        params |= {"estimator": self, "size": len(leaves), "lifted": lifted.value is not None}
        return treedef.unflatten(sample_p.bind(*front, *leaves, *behind, **params))

    def shape(self, site: Any) -> tuple[int, ...]:
        """The axes of independent parts, the first of a draw."""
        return tuple(site.ins[0].shape)

    def draw(self, operands: Sequence[Any], size: int) -> list[Any]:
        """The operands that are the draw."""
        return list(operands[self.front : self.front + size])

    def kept(self, site: Any, operands: Sequence[Any]) -> list[tuple[Any, Any]]:
        """Operands, with their values, that are wanted after the run."""
        del site, operands
        return []

    def dependence(self, site: Any, parts: list[Dependence], depth: int) -> list[Dependence]:
        """What each leaf of the draw depends on: the choice itself, element by element, and what its log-probability depends on."""
        loops = tuple((f"T{k}", 0, 0) for k in range(depth))
        own = tuple((axis, 0, 0) for axis in range(len(self.shape(site))))
        return [join(parts[0], part, {site: (*loops, *own)}) for part in parts[1:]]

    def branches(self, site: Any, values: list[Any], so_far: int) -> Branches | None:
        """The values that the program is run for, in ``so_far`` branches already; None where it goes on with the draw."""
        del site, values, so_far
        return None

    def __repr__(self) -> str:
        return self.name


def parts_of(estimator: SiteEstimator, key: Key, dist: Distribution, name: str) -> PyTree | None:
    """The draw of a joint distribution, each part a choice of its own; None for any other."""
    if not isinstance(dist, Joint):
        return None
    parts, treedef = dist._dists()
    keys = jax.random.split(key, len(parts))
    made = [as_distribution(part, batches=True) for part in parts]
    return treedef.unflatten([estimator.sample(keys[j], part, f"{name}[{j}]", None) for j, part in enumerate(made)])


SITES: dict[str, SiteEstimator] = {}
"""Each estimator by its name and by its other names."""


def site(cls: type[SiteEstimator]) -> type[SiteEstimator]:
    """Register an estimator of sites."""
    SITES.update(dict.fromkeys((cls.name, *cls.aliases), cls()))
    return cls


sample_p = Primitive("scorefn_choice")
sample_p.multiple_results = True


def _identity(*operands: Any, estimator: SiteEstimator, size: int, **_: Any) -> list[Any]:
    return estimator.draw(operands, size)


def _jvp(primals: Any, tangents: Any, *, name: str, estimator: SiteEstimator, **params: Any) -> Any:
    if any(type(tangent) is not ad.Zero for tangent in tangents[: estimator.front]):
        raise TypeError(DIFFERENTIATED.format(name=name))
    out = sample_p.bind(*primals, name=name, estimator=estimator, **params)
    return out, [ad.Zero(jax.typeof(x).to_tangent_aval()) for x in out]


def batched(primitive: Primitive) -> Callable[..., Any]:
    """The rule under ``vmap`` of a primitive whose results are operands: all with the new axis in front."""

    def rule(operands: Any, dims: Any, **params: Any) -> Any:
        size = next(x.shape[d] for x, d in zip(operands, dims, strict=True) if d is not None)
        out = primitive.bind(
            *(batching.bdim_at_front(x, d, size) for x, d in zip(operands, dims, strict=True)), **params
        )
        return out, [0] * len(out)

    return rule


sample_p.def_impl(_identity)
sample_p.def_abstract_eval(_identity)
mlir.register_lowering(sample_p, mlir.lower_fun(_identity, multiple_results=True))
ad.primitive_jvps[sample_p] = _jvp
batching.primitive_batchers[sample_p] = batched(sample_p)
