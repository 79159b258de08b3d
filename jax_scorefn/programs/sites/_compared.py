"""A choice whose draw is compared with other values: grad E[cost] = sum_a E[(cost with value a - cost) grad rate_a].

In front of the draw are the rates ``(*shape, A)``, and behind it the values, each leaf with its A of them behind the axes of the site.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import jax

from jax_scorefn import _checks
from jax_scorefn._guards import guard
from jax_scorefn._trees import stop
from jax_scorefn.distributions import Distribution
from jax_scorefn.programs._dependence import Dependence, join
from jax_scorefn.programs.sites._base import SiteEstimator, parts_of
from jax_scorefn.typing import Array, Capability, Key, PyTree

SECOND_DERIVATIVE = (
    "The choice {name} is estimated by its alternatives (estimator='{estimator}'), which gives first derivatives, and it was "
    "differentiated twice, which would give a wrong number without a word. Use estimator='score_function' for it."
)


class Comparable(NamedTuple):
    """A draw, the values that it is compared with, the rates ``(*shape, A)``, and a number that all of them are made of."""

    draw: PyTree
    others: PyTree
    rates: Array
    made_of: Array


class Compared(SiteEstimator):
    """By the program run again with other values, all other randomness kept."""

    replaced = True
    needs: ClassVar[Capability]
    lacking: ClassVar[str]
    """What is said of a distribution without it."""

    def compare(self, key: Key, key_others: Key, dist: Distribution) -> Comparable:
        """The draw of a key, beside others."""
        raise NotImplementedError

    def sample(self, key: Key, dist: Distribution, name: str, max_value: int | None) -> PyTree:
        if (parts := parts_of(self, key, dist, name)) is not None:
            return parts
        if self.needs not in dist.capabilities:
            raise TypeError(self.lacking.format(dist=dist.name, given=_checks.name_of(dist.capabilities)))
        key_draw, key_others = jax.random.split(key)
        made_of_rates = dist.rates_tell_all
        about: dict[str, Any] = {"name": name, "dist": dist.name, "made_of_rates": made_of_rates}
        return self.beside(*self.compare(key_draw, key_others, dist), **about)

    def beside(self, draw: PyTree, others: PyTree, rates: Array, made_of: Array, **params: Any) -> PyTree:
        """The draw, as a choice in the program around."""
        message = SECOND_DERIVATIVE.format(name=params["name"], estimator=self.name)
        rates = guard(rates, order=1, message=message)
        return self.choose(draw, [rates], [*jax.tree.leaves(stop(others)), made_of], **params)

    def shape(self, site: Any) -> tuple[int, ...]:
        """All axes of the rates but the last."""
        return tuple(site.ins[0].shape[:-1])

    def alternatives(self, site: Any) -> int:
        """A, the number of values that each part is compared with."""
        return site.ins[0].shape[-1]

    def others(self, operands: Sequence[Any], size: int) -> list[Any]:
        """The operands that are the other values."""
        return list(operands[self.front + size : self.front + 2 * size])

    def kept(self, site: Any, operands: Sequence[Any]) -> list[tuple[Any, Any]]:
        """The other values: a lane takes those of the run that it leaves."""
        pairs = zip(self.others(site.ins, site.params["size"]), self.others(operands, site.params["size"]), strict=True)
        return [(v, x) for v, x in pairs if hasattr(v, "serial")]

    def other(self, site: Any, found: Callable[[Any], Any], which: Array) -> list[Array]:
        """Those with one number, of the values that are ``found`` for the operands."""
        axis, number = len(self.shape(site)), self.alternatives(site)
        values = [found(v) if hasattr(v, "serial") else v.value for v in self.others(site.ins, site.params["size"])]
        if number == 1:
            return [jax.lax.squeeze(jax.numpy.asarray(x), [axis]) for x in values]
        return [jax.lax.dynamic_index_in_dim(x, which, axis, keepdims=False) for x in values]

    def dependence(self, site: Any, parts: list[Dependence], depth: int) -> list[Dependence]:
        """On the choice, and on what it is made of: rates and uniforms where these are all, or else what each value depends on too."""
        size = site.params["size"]
        of_values = [{}] * size if site.params["made_of_rates"] else [join(*parts[1:])] * size
        return super().dependence(site, [join(parts[0], parts[-1]), *of_values], depth)
