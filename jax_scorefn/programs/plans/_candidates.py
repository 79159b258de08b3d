"""The estimators that a choice may have, by rules that need no measurement; and a choice that has several of them at once.

    score_function     always
    pathwise           where draws have a path, and no derivative is lost between the draw and a cost
    coupled            where a draw has an alternative
    measure_valued     where there is a weak derivative, and no alternative
    exact              where the choice stands at the top, and has few values

All of them are estimates of one derivative, so weights that add up to 1 make an estimate of it too.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from jax_scorefn._surrogate import on_path, scale_tangent
from jax_scorefn._trees import reusable, stop
from jax_scorefn.distributions import Distribution, Joint, as_distribution
from jax_scorefn.programs._ir import is_inexact
from jax_scorefn.programs._lost import lost_in
from jax_scorefn.programs._program import Program
from jax_scorefn.programs.plans._context import planned
from jax_scorefn.programs.sites import SITES, Compared, SiteEstimator, parts_of
from jax_scorefn.typing import Array, Capability, Key, PyTree

FEW_VALUES = 16
"""The most combinations of values for which a choice may be summed."""
SWITCHED = ("score_function", "coupled", "measure_valued")
"""Estimators whose terms add up."""
CAPABILITIES = {
    "pathwise": Capability.REPARAMETERIZED,
    "coupled": Capability.ALTERNATIVE,
    "measure_valued": Capability.WEAK_DERIVATIVE,
    "exact": Capability.SUPPORT | Capability.FINITE,
}

Trace = Callable[[], Program]
"""The program, analysed, under the planner around."""


class Met(NamedTuple):
    """What is known of a choice where it is traced: the estimators that its distribution allows, the names and the number of its
    independent parts, and of its values if these are few.
    """

    able: list[str]
    names: list[str]
    parts: int
    values: int | None

    @classmethod
    def of(cls, name: str, dist: Distribution) -> Met:
        joint = isinstance(dist, Joint)
        each = [as_distribution(part, batches=True) for part in dist._dists()[0]] if joint else [dist]
        able = [k for k, needed in CAPABILITIES.items() if all(needed in part.capabilities for part in each)]
        names = [f"{name}[{j}]" for j in range(len(each))] if joint else [name]
        log_probs = [jax.eval_shape(part.sample_and_log_probs, jax.random.key(0))[1] for part in each]
        return cls(
            able, names, sum(math.prod(x.shape) for x in log_probs), _few_values(dist) if "exact" in able else None
        )


def _few_values(dist: Distribution) -> int | None:
    try:
        return dist.grid(max_points=FEW_VALUES).weights.shape[-1]
    except ValueError:
        return None


class Same:
    """The estimators of some choices, and the score function for all others. What it meets is noted."""

    def __init__(self, estimators: Mapping[str, str]):
        self.estimators = dict(estimators)
        self.met: dict[str, list[Met]] = {}

    def estimator(self, name: str, dist: Distribution) -> SiteEstimator:
        self.met.setdefault(name, []).append(Met.of(name, dist))
        return SITES[self.estimators.get(name, "score_function")]


def candidates(trace: Trace) -> dict[str, list[str]]:
    """For each choice that is left to a plan, the estimators that it may have."""
    with planned(same := Same({})):
        program = trace()
    lost = _lost(program)
    found = {}
    for name, met in same.met.items():
        able = [k for k in CAPABILITIES if all(k in one.able for one in met)]
        if "coupled" in able and "measure_valued" in able:
            able.remove("measure_valued")
        if "pathwise" in able:
            with planned(Same({name: "pathwise"})):
                if not _lost(trace()) <= lost:
                    able.remove("pathwise")
        if "exact" in able and not all(_may_be_summed(program, one) for one in met):
            able.remove("exact")
        found[name] = ["score_function", *able]
    return found


def _lost(program: Program) -> set[tuple[Any, ...]]:
    """Places where a derivative is lost along a draw."""
    given = zip(program.names, program.block.ins, strict=False)
    inputs = [name if is_inexact(v) else None for name, v in given]
    inputs += [None] * (len(program.block.ins) - len(inputs))
    records = lost_in(program.block, inputs, program.num_costs)
    return {(r.file, r.line, r.operation) for r in records if r.random and not r.stopped}


def _may_be_summed(program: Program, met: Met) -> bool:
    """Whether all combinations are few, over all that ``vmap`` has made of the choice, and it stands where they can be summed."""
    sites = [site for site in program.choices if site.params["name"] in met.names]
    elements = sum(math.prod(site.estimator.shape(site)) for site in sites) // max(met.parts, 1)
    return (
        met.values is not None
        and all(site in program.block.ops for site in sites)
        and met.values**elements <= FEW_VALUES
    )


class Weighed(SiteEstimator):
    """All of several estimators, each with a weight on its derivative: the score of a draw that is compared, and has a path."""

    name = "auto"

    def __init__(self, weights: Mapping[str, Array]):
        self.weights = weights

    def sample(self, key: Key, dist: Distribution, name: str, max_value: int | None) -> PyTree:
        if (parts := parts_of(self, key, dist, name)) is not None:
            return parts
        about: dict[str, Any] = {"name": name, "dist": dist.name}
        weights, (key_draw, key_others) = self.weights, jax.random.split(key)
        x = path = None
        if "pathwise" in weights:
            path = dist.sample(reusable(key_draw))
            x = stop(path)
        for estimator in ("coupled", "measure_valued"):
            site = SITES[estimator]
            if estimator in weights and isinstance(site, Compared):
                draw, others, rates, made_of = site.compare(key_draw, key_others, dist)
                weighed, whole = weights[estimator].astype(rates.dtype) * rates, dist.rates_tell_all
                x = site.beside(draw, others, weighed, made_of, made_of_rates=whole, **about)
        if x is None:
            x, log_probs = dist.sample_and_log_probs(key_draw)
        else:
            log_probs = dist._log_probs(x)
        scored = weights["score_function"].astype(log_probs.dtype) * log_probs
        x = SITES["score_function"].choose(x, [scored], **about)
        if path is None:
            return x
        return jax.tree.map(lambda a, b: on_path(a, scale_tangent(b, weights["pathwise"].astype(b.dtype))), x, path)


class _All:
    """All candidates of each choice, with their weights; those that are summed have the values of ``exact``."""

    def __init__(self, weights: Mapping[str, Mapping[str, Array]], summed: frozenset[str]):
        self.weights, self.summed = dict(weights), summed

    def estimator(self, name: str, dist: Distribution) -> SiteEstimator:
        del dist
        return SITES["exact"] if name in self.summed else Weighed(self.weights[name])


@contextlib.contextmanager
def all_candidates(weights: Mapping[str, Mapping[str, Array]], summed: frozenset[str]) -> Iterator[None]:
    """Programs that are traced in here have all candidates. JAX keeps the planner in the keys of its caches, without the weights."""
    planner = _All(weights, summed)
    try:
        with planned(planner):
            yield
    finally:
        planner.weights.clear()
