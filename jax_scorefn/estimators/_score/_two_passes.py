"""The score function for so many draws that not even their values are to be kept: their mean first, then what each draw adds.

    m  =  mean_i f_i,        value  =  mean_i [ (f_i - b(f_i, m)) magic_box(log p(x_i)) + b(f_i, m) ]

Both are sums over chunks of draws, which are made again for the second, and memory is that of a chunk. f is measured from its
value at the first draw, so that a constant in f never enters a sum.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn import _checks, engine
from jax_scorefn._surrogate import score_surrogate
from jax_scorefn._trees import stop
from jax_scorefn.baselines import Baseline
from jax_scorefn.estimators._call import Answer, Call
from jax_scorefn.estimators._score._source import Source, of_possible
from jax_scorefn.typing import Array, Info


def chunk_of(f: Any, call: Call, source: Source, subtract: Baseline) -> int | None:
    """The draws in memory at once, where two passes are possible and worth it, else None."""
    kept = call.reports or call.map_draws is not engine.map_draws
    if kept or source.group_size > 1 or not source.own or (subtract.of_mean is None and subtract.name != "none"):
        return None
    rows = lambda index: jax.vmap(lambda made: _value_and_log_prob(f, call, source, made))(source.draws(index))
    return engine.chunk_of_sums(rows, source.num_samples, call.chunk_size, call.sharding)


def in_two_passes(f: Any, call: Call, source: Source, subtract: Baseline, chunk_size: int) -> Answer:
    """The answer, of which nobody will ask more than the value. Where nothing is subtracted there is no first pass."""
    total = source.num_samples

    def mean(one: Any) -> Array:
        made = engine.sum_draws(one, source.draws, total, chunk_size=chunk_size, sharding=call.sharding)
        return made / total

    value_of = lambda made: _value_and_log_prob(f, call, source, made)[0]
    first: Any = 0.0
    baseline_of: Any = jnp.zeros_like
    if of_mean := subtract.of_mean:
        first = stop(call.map(lambda made, _: value_of(made), source.draws, 1)[0])
        centre = stop(mean(lambda made: value_of(made) - first))
        baseline_of = lambda value: of_mean(value, centre, total)

    def term(made: Any) -> Array:
        value, log_prob = _value_and_log_prob(f, call, source, made)
        value = value - first
        return score_surrogate(value[None], log_prob[None], baseline_of(value)[None])

    return Answer(first + mean(term), _nothing_kept, total)


def _value_and_log_prob(f: Any, call: Call, source: Source, made: Any) -> tuple[Array, Array]:
    x, log_prob, _ = source.score(made, call.dist)
    log_prob = _checks.log_prob(call.dist, log_prob)
    value = _checks.value(f(x))
    return of_possible(source, value[None], log_prob[None])[0], log_prob


def _nothing_kept() -> Info:
    raise AssertionError("Two passes keep nothing of the draws, and are taken only where nobody asks.")
