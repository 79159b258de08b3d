"""Where the draws of a score-function estimate come from, and what each of them weighs.

    the distribution itself      x_i ~ p                 w_i = 1
    a proposal          x_i ~ q                 w_i = p(x_i) / q(x_i)
    given draws         x_i from elsewhere      w_i = p(x_i) / q(x_i), or 1 where they are p's own

Weights are made in log space. Where a density lacks its constant they are divided by their mean, and the estimate is then one of
ratios.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp

from jax_scorefn import _checks, engine, schemes
from jax_scorefn._surrogate import nan_where
from jax_scorefn._trees import along_draws, reusable, stop
from jax_scorefn.distributions import Distribution, as_distribution, is_distribution
from jax_scorefn.estimators._call import Call
from jax_scorefn.typing import Array, Capability, PyTree

NO_WEIGHTS = (
    "max_weight cuts the weights of draws from another distribution: it goes with proposal=, or with given draws and "
    "log_proposal=."
)
BAD_MAX_WEIGHT = "max_weight is a positive number or an array that holds one (a typical weight is 1), not {given!r}."
NOT_A_PROPOSAL = (
    "proposal is a distribution to draw from: one of sf.distributions, or an object with sample(key) and log_prob(x); it got "
    "{given}. Of a family, pass the distribution at some parameters: family.at(params)."
)
NO_SAMPLER = "proposal= needs a distribution that can be drawn from; {dist} has {given}."
OTHER_DRAWS = (
    "A draw of the proposal {proposal} has shape {given}, and one of {dist} has {wanted}: give the proposal parameters of "
    "that shape."
)
ALREADY_DRAWN = "The family holds given draws, so {option}= has nothing to draw: leave it out."


@dataclasses.dataclass(frozen=True)
class Source:
    """The draws of one call.

    Attributes:
      num_samples: how many.
      group_size: how many in a row depend on each other.
      draws: ``index -> what draws are made of``, for the engine.
      score: ``(what one draw is made of, dist) -> (x, log p(x), log q(x))``; the last is None where p = q.
      log_prob: ``(what one draw is made of, x, dist) -> log p(x)`` of a draw that was made before, for any distribution of the family.
      normalized: whether the weights are known, and not just their ratios.
      own: whether the distribution itself is drawn from: no draw has a weight, and none a log-probability of -inf.
    """

    num_samples: int
    group_size: int
    draws: Callable[[Array], Any]
    score: Callable[[Any, Distribution], tuple[PyTree, Array, Array | None]]
    log_prob: Callable[[Any, PyTree, Distribution], Array]
    normalized: bool
    own: bool = False


def source_of(call: Call, scheme: Any = None, proposal: Any = None) -> Source:
    """The draws that the options of a call ask for."""
    dist = call.dist
    if Capability.GIVEN_DRAWS in dist.capabilities:
        for option, given in (("proposal", proposal), ("scheme", scheme)):
            if given is not None:
                raise ValueError(ALREADY_DRAWN.format(option=option))
        return _given(call)
    if call.given_num_samples is None:
        call = dataclasses.replace(call, given_num_samples=64)
    num_samples = call.num_samples
    group_size = schemes.group_size(scheme, num_samples)
    if proposal is None:
        noise = call.noise(scheme)

        def own(noise: engine.Noise, dist: Distribution) -> Any:
            return *noise.sample_and_log_prob(dist), None

        def again(noise: engine.Noise, x: PyTree, dist: Distribution) -> Array:
            # A distribution may score what x was rounded from. So the draw is made once more, where it comes out the same.
            return reusable(noise).sample_and_log_prob(dist)[1] if noise.repeatable else dist.log_prob(x)

        return Source(num_samples, group_size, noise, own, again, normalized=dist.normalized, own=True)

    other = _proposal(proposal, dist)
    noise = engine.noise_of(other, call.key, num_samples, scheme, call.sharding)

    def proposed(noise: engine.Noise, dist: Distribution) -> Any:
        x = stop(noise.sample(stop(other)))  # both distributions score x as it is, rounding and all
        return x, dist.log_prob(x), stop(_checks.log_prob(other, other.log_prob(x)))

    normalized = dist.normalized and other.normalized
    return Source(num_samples, group_size, noise, proposed, _of_x, normalized=normalized)


def _of_x(made: Any, x: PyTree, dist: Distribution) -> Array:
    del made
    return dist.log_prob(x)


def _proposal(proposal: Any, dist: Distribution) -> Distribution:
    """The distribution to draw from: it can be drawn from, and its draws look like those of the distribution in question."""
    if not is_distribution(proposal):
        raise TypeError(NOT_A_PROPOSAL.format(given=_checks.describe(proposal)))
    other = as_distribution(proposal)
    if Capability.SAMPLE not in other.capabilities:
        raise TypeError(NO_SAMPLER.format(dist=other.name, given=_checks.name_of(other.capabilities)))
    if Capability.SAMPLE in dist.capabilities:
        drawn, wanted = (
            jax.tree.map(lambda x: x.shape, jax.eval_shape(one.sample, jax.random.key(0))) for one in (other, dist)
        )
        if drawn != wanted:
            message = OTHER_DRAWS.format(proposal=other.name, given=drawn, dist=dist.name, wanted=wanted)
            raise ValueError(message)
    return other


def _given(call: Call) -> Source:
    dist, num_samples = cast(Any, call.dist), call.given_num_samples
    if num_samples is not None and num_samples != dist.num_samples:
        raise ValueError(_checks.WRONG_NUM_SAMPLES.format(number=dist.num_samples, given=num_samples))

    def score(row: Any, dist: Distribution) -> Any:
        x, log_proposal = row
        return x, dist.log_prob(x), log_proposal

    table = call.points((dist.draws, dist.log_proposal))
    return Source(dist.num_samples, 1, table, score, _of_x, normalized=dist.normalized)


def of_possible(source: Source, values: Array, log_probs: Array) -> Array:
    """The values, NaN at draws of nothing: a distribution with NaN among its parameters may still draw numbers."""
    impossible = jnp.isnan(log_probs) | (jnp.isneginf(log_probs) if source.own else False)
    return nan_where(jnp.broadcast_to(along_draws(impossible, values), values.shape), values)


def importance_weights(
    log_probs: Array, log_proposals: Array | None, normalized: bool, max_weight: Array | float | None
) -> Array | None:
    """P / q of each draw, without a derivative; None where every weight is 1."""
    if max_weight is not None:
        if log_proposals is None:
            raise ValueError(NO_WEIGHTS)
        if not _checks.is_real_scalar(max_weight) or _checks.denies(lambda x: x > 0, max_weight):
            raise ValueError(BAD_MAX_WEIGHT.format(given=max_weight))
    if log_proposals is None:
        return None
    log_weights = stop(log_probs - log_proposals.astype(log_probs.dtype))
    if not normalized:  # only their ratios count, so their mean is made 1
        log_weights = log_weights - (jax.nn.logsumexp(log_weights) - math.log(log_weights.shape[0]))
    if max_weight is not None:
        log_weights = jnp.minimum(log_weights, stop(jnp.log(jnp.asarray(max_weight, log_weights.dtype))))
    return jnp.exp(log_weights)
