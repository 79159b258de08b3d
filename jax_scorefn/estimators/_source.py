"""Where the draws of a score-function estimate come from, and what each of them weighs.

    the law itself      x_i ~ p                 w_i = 1
    a proposal          x_i ~ q                 w_i = p(x_i) / q(x_i)
    given draws         x_i from elsewhere      w_i = p(x_i) / q(x_i), or 1 where they are p's own

Weights are made in log space. Where a density lacks its constant they are divided by their mean, and the estimate is then one of
ratios.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn import _checks, engine, schemes
from jax_scorefn._trees import stop
from jax_scorefn.distributions import Distribution, GivenDraws, as_law
from jax_scorefn.typing import Array, Key, PyTree

NO_WEIGHTS = "max_weight cuts the weights of draws from another law: it goes with proposal=, or with given draws and log_proposal=."
BAD_MAX_WEIGHT = "max_weight is a positive number (a typical weight is 1), not {given!r}."
ALREADY_DRAWN = "The family holds given draws, so {option}= has nothing to draw: leave it out."


@dataclasses.dataclass(frozen=True)
class Source:
    """The draws of one call.

    Attributes:
      num_draws: how many.
      group_size: how many in a row depend on each other.
      draws: ``index -> what draws are made of``, for the engine.
      score: ``(what one draw is made of, law) -> (x, log p(x), log q(x))``; the last is None where p = q.
      possible: whether each draw has p > 0, so that a log-probability of -inf means that something is wrong.
    """

    num_draws: int
    group_size: int
    draws: Callable[[Array], Any]
    score: Callable[[Any, Distribution], tuple[PyTree, Array, Array | None]]
    possible: bool


def source_of(
    name: str, law: Distribution, key: Key, num_samples: int | None, scheme: Any, proposal: Any,
    sharding: jax.sharding.Sharding | None,
) -> Source:  # fmt: skip
    """The draws that the options of a call ask for."""
    if isinstance(law, GivenDraws):
        for option, given in (("proposal", proposal), ("scheme", scheme)):
            if given is not None:
                raise ValueError(ALREADY_DRAWN.format(option=option))
        return _given(law, num_samples, sharding)
    num_draws = 64 if num_samples is None else _checks.positive_int("num_samples", num_samples)
    group_size = schemes.group_size(scheme, num_draws)
    _checks.key(name, key)
    if proposal is None:
        noise = engine.noise_of(law, key, num_draws, scheme, sharding)

        def own(noise: engine.Noise, law: Distribution) -> Any:
            return *noise.sample_and_log_prob(law), None

        return Source(num_draws, group_size, noise, own, possible=True)

    other = as_law(proposal)
    noise = engine.noise_of(other, key, num_draws, scheme, sharding)

    def proposed(noise: engine.Noise, law: Distribution) -> Any:
        x, log_proposal = noise.sample_and_log_prob(other)
        return x, law.log_prob(x), stop(_checks.log_prob(other, log_proposal))

    return Source(num_draws, group_size, noise, proposed, possible=False)


def again(made: Any) -> Any:
    """The same draw once more: keys are cloned, so that JAX's checker knows that it is meant."""

    def one(leaf: Any) -> Any:
        return jax.random.clone(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf

    return jax.tree.map(one, made)


def _given(law: GivenDraws, num_samples: int | None, sharding: jax.sharding.Sharding | None) -> Source:
    if num_samples is not None and num_samples != law.num_draws:
        raise ValueError(_checks.WRONG_NUM_SAMPLES.format(held=law.num_draws, given=num_samples))

    def score(row: Any, law: Distribution) -> Any:
        x, log_proposal = row
        return x, law.log_prob(x), log_proposal

    table = engine.points((law.draws, law.log_proposal), sharding)
    return Source(law.num_draws, 1, table, score, possible=False)


def importance_weights(
    log_probs: Array, log_proposals: Array | None, normalized: bool, max_weight: float | None
) -> Array | None:
    """P / q of each draw, without a derivative; None where every weight is 1."""
    if max_weight is not None:
        if log_proposals is None:
            raise ValueError(NO_WEIGHTS)
        if not isinstance(max_weight, int | float) or not max_weight > 0:
            raise ValueError(BAD_MAX_WEIGHT.format(given=max_weight))
    if log_proposals is None:
        return None
    log_weights = stop(log_probs - log_proposals.astype(log_probs.dtype))
    if not normalized:  # only their ratios count, so their mean is made 1
        log_weights = log_weights - (jax.nn.logsumexp(log_weights) - math.log(log_weights.shape[0]))
    if max_weight is not None:
        log_weights = jnp.minimum(log_weights, math.log(max_weight))
    return jnp.exp(log_weights)
