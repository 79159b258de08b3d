"""Baselines that the draws of one call give by themselves.

    leave_one_out      b_i = mean of f over the other groups of draws                              (Kool et al. 2019)
    batch_mean         b   = mean of f over all draws
    optimal_constant   b_k = Cov(f s_k, s_k) / Var(s_k) for parameter k, over the other groups      (Greensmith et al. 2004)
    self_critical      b   = f(mode of p)                                                          (Rennie et al. 2017)

The first is the default.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from jax_scorefn._groups import group_means, others_mean, to_draws
from jax_scorefn.baselines._base import Baseline, Values
from jax_scorefn.typing import Array, Bias


def _leave_one_out(draws: Values) -> Array:
    # Everything is measured from the first value: a large constant in f never enters a sum.
    first = draws.values[:1]
    return first + to_draws(others_mean(group_means(draws.values - first, draws.group_size)), draws.group_size)


def _batch_mean(draws: Values) -> Array:
    first = draws.values[:1]
    return first + jnp.mean(draws.values - first, axis=0, keepdims=True)


def _self_critical(draws: Values) -> Any:
    return draws.at_mode[None]  # pyright: ignore[reportOptionalSubscript]


leave_one_out = Baseline(
    "leave_one_out",
    _leave_one_out,
    Bias.NONE,
    2,
    "b_i is the mean of the other draws' values (kool2019).",
    linear=True,
    of_mean=lambda value, mean, total: mean + (mean - value) / (total - 1),
)
batch_mean = Baseline(
    "batch_mean",
    _batch_mean,
    Bias.VANISHING,
    2,
    "b is the mean of all values, the draw's own among them: the score part comes out 1 - 1/S of what it should be.",
    linear=True,
    of_mean=lambda value, mean, total: mean,
)
optimal_constant = Baseline(
    "optimal_constant",
    _leave_one_out,
    Bias.NONE,
    4,
    "for each parameter the constant of least variance, estimated from the other draws (greensmith2004).",
    linear=True,
    per_parameter=True,
)
self_critical = Baseline(
    "self_critical",
    _self_critical,
    Bias.NONE,
    1,
    "b is f at the mode of the distribution: what the greedy choice would have cost (rennie2017).",
    uses_mode=True,
)
