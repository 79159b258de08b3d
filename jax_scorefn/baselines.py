"""Baselines: what is subtracted from f before it multiplies the score.

    E[(f(x_i) - b_i) grad log p(x_i)] = E[f(x_i) grad log p(x_i)]      whenever b_i does not depend on draw i,

since the score has mean 0. A good b_i takes out most of the variance. Here a baseline is a function of the values f(x_1..S),
shape ``(S, ...)``, that returns b in a shape that broadcasts with them; its facts stand beside it as data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn import _checks
from jax_scorefn._trees import to_float
from jax_scorefn.typing import Array, Bias, Info


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A baseline and what is true of it.

    Attributes:
      name: its name in messages and tables.
      apply: ``values -> b``.
      bias: what it adds to an estimator that is unbiased without it.
      min_draws: fewest draws for which it is defined.
      doc: what it computes, in one line.
    """

    name: str
    apply: Callable[[Array], Array]
    bias: Bias
    min_draws: int
    doc: str

    def __call__(self, values: Array) -> Array:
        """What is subtracted for each draw, in a shape that broadcasts with ``values`` and does not widen them."""
        b = jnp.asarray(self.apply(values))
        if jnp.broadcast_shapes(b.shape, values.shape) != values.shape:
            raise ValueError(_checks.BASELINE_SHAPE.format(baseline=self.name, given=b.shape, wanted=values.shape))
        return b.astype(values.dtype)


def _leave_one_out(values: Array) -> Array:
    # Everything is measured from the first value: a large constant in f never enters a sum.
    first = values[:1]
    deviation = values - first
    return first + (jnp.sum(deviation, axis=0, keepdims=True) - deviation) / (values.shape[0] - 1)


def _batch_mean(values: Array) -> Array:
    first = values[:1]
    return first + jnp.mean(values - first, axis=0, keepdims=True)


leave_one_out = Baseline(
    "leave_one_out", _leave_one_out, Bias.NONE, 2, "b_i is the mean of the other draws' values (kool2019)."
)
batch_mean = Baseline(
    "batch_mean",
    _batch_mean,
    Bias.VANISHING,
    2,
    "b is the mean of all values, the draw's own among them: the score part comes out 1 - 1/S of what it should be.",
)


class EMAState(NamedTuple):
    """Raw running average and number of updates; the correction for the start is made on reading."""

    average: Array
    count: Array


@dataclasses.dataclass(frozen=True)
class EMA:
    """Exponential moving average of past values, as a baseline with a state. Made by :func:`ema`."""

    decay: float
    name: str = "ema"

    def init(self, shape: tuple[int, ...] = ()) -> EMAState:
        """The state before any value was seen (which reads as a baseline of 0); ``shape`` is that of f."""
        return EMAState(jnp.zeros(shape), jnp.zeros((), jnp.int32))

    def value(self, state: EMAState) -> Array:
        """The average, corrected for having started at 0."""
        seen = 1 - jnp.asarray(self.decay, state.average.dtype) ** state.count.astype(state.average.dtype)
        return jnp.where(state.count > 0, state.average / jnp.where(state.count > 0, seen, 1), 0)

    def bind(self, state: EMAState) -> Baseline:
        """The baseline that this state holds, for one call of an estimator."""

        def apply(values: Array) -> Array:
            return jnp.broadcast_to(self.value(state).astype(values.dtype), values.shape)

        return Baseline(self.name, apply, Bias.NONE, 1, "b is the mean of earlier calls' values.")

    def update(self, state: EMAState, info: Info) -> EMAState:
        """The state after a call: update with a call's values only once that call has used the old state."""
        mean = jnp.mean(stop_gradient(info.values), axis=0).astype(state.average.dtype)
        decay = jnp.asarray(self.decay, state.average.dtype)
        return EMAState(decay * state.average + (1 - decay) * mean, state.count + 1)


def ema(decay: float) -> EMA:
    """Moving-average baseline: b = the exponential average of the mean value of earlier calls.

    It needs no second draw, and it does not depend on the draws that it is used on, so it adds no bias at any order.
    The order of things is value, gradient, update:

    Args:
      decay: weight of the past, in [0, 1).

    Returns:
      An object with ``init(shape)``, ``bind(state)``, ``update(state, info)`` and ``value(state)``.

    Raises:
      ValueError: for a decay outside [0, 1).

    Example:
      >>> import jax, jax_scorefn as sf
      >>> coin = sf.family(lambda logit: sf.Bernoulli(logits=logit))
      >>> baseline = sf.baselines.ema(0.9)
      >>> state = baseline.init()
      >>> for key in jax.random.split(jax.random.key(0), 3):
      ...     grads, info = sf.score_function_grad(
      ...         lambda x: 5.0 + x, coin, 0.0, key, num_samples=8, baseline=baseline.bind(state), has_aux=True)
      ...     state = baseline.update(state, info)
      >>> print(f"{baseline.value(state):.2f}")
      5.57
    """
    if not 0 <= decay < 1:
        raise ValueError(f"ema wants a decay in [0, 1); it got {decay!r}.")
    return EMA(decay)


def resolve(baseline: object, num_draws: int) -> Baseline:
    """The baseline of a call: "auto" is leave-one-out where there are two draws, and none for one."""
    if baseline is None or (isinstance(baseline, str) and baseline == "auto" and num_draws == 1):
        return _NONE
    if isinstance(baseline, str) and baseline == "auto":
        return leave_one_out
    if isinstance(baseline, EMA) or baseline is ema:
        raise TypeError(_checks.UNBOUND_BASELINE)
    if isinstance(baseline, Baseline):
        if num_draws < baseline.min_draws:
            raise ValueError(
                _checks.TOO_FEW_FOR_BASELINE.format(baseline=baseline.name, wanted=baseline.min_draws, given=num_draws)
            )
        return baseline
    if callable(baseline):
        name = getattr(baseline, "__name__", "baseline")
        function = baseline
        return Baseline(name, lambda values: to_float(function(values)), Bias.NONE, 1, "A user's function.")
    raise TypeError(_checks.BAD_BASELINE.format(given=_checks.describe(baseline)))


_NONE = Baseline("none", lambda values: jnp.zeros_like(values), Bias.NONE, 1, "No baseline.")
