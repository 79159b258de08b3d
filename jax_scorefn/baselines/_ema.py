"""Moving average: b = sum of (1 - decay) decay^(n-1-t) f_t over earlier calls t < n, divided by what those weights sum to."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn import _checks
from jax_scorefn.baselines._base import Baseline, Values
from jax_scorefn.typing import Array, Bias, Info

UNBOUND = (
    "ema has a state: make it once, ema_ = sf.baselines.ema(decay), begin with state = ema_.init(), and pass "
    "baseline=ema_.attach(state)."
)

REAL_STATE = "The values of f are complex, and the state of ema is real: begin with ema_.init(shape, dtype=complex)."


class EMAState(NamedTuple):
    """Raw running average and number of updates; the correction for the start is made on reading."""

    average: Array
    count: Array


@dataclasses.dataclass(frozen=True)
class EMA:
    """Exponential moving average of past values, as a baseline with a state. Made by :func:`ema`."""

    decay: Array | float

    def init(self, shape: tuple[int, ...] = (), dtype: Any = float) -> EMAState:
        """The state before any value was seen (which reads as a baseline of 0); shape and dtype are those of f."""
        return EMAState(jnp.zeros(shape, dtype), jnp.zeros((), jnp.int32))

    def value(self, state: EMAState) -> Array:
        """The average, corrected for having started at 0."""
        seen = 1 - jnp.asarray(self.decay, state.average.dtype) ** state.count.astype(state.average.dtype)
        return jnp.where(state.count > 0, state.average / jnp.where(state.count > 0, seen, 1), 0)

    def attach(self, state: EMAState) -> Baseline:
        """The baseline that this state holds, for one call of an estimator."""

        def apply(draws: Values) -> Array:
            return jnp.broadcast_to(self.value(state).astype(draws.values.dtype), draws.values.shape)

        return Baseline("ema", apply, Bias.NONE, 1, "b is the mean of earlier calls' values.")

    bind = attach
    """Its older name."""

    def update(self, state: EMAState, info: Info) -> EMAState:
        """The state after a call: update with a call's values only once that call has used the old state."""
        if jnp.iscomplexobj(info.values) and not jnp.iscomplexobj(state.average):
            raise TypeError(REAL_STATE)
        mean = jnp.mean(stop_gradient(info.values), axis=0).astype(state.average.dtype)
        decay = jnp.asarray(self.decay, state.average.dtype)
        return EMAState(decay * state.average + (1 - decay) * mean, state.count + 1)


def ema(decay: Array | float) -> EMA:
    """Moving-average baseline: b = the exponential average of the mean value of earlier calls.

    It needs no second draw, and it does not depend on the draws that it is used on, so it adds no bias at any order.
    The order of things is value, gradient, update, as in the example.

    Args:
      decay: weight of the past, in [0, 1): a number, or an array that may be traced.

    Returns:
      An object with ``init(shape, dtype)``, ``attach(state)``, ``update(state, info)`` and ``value(state)``.

    Raises:
      ValueError: for a decay outside [0, 1).

    Example:
      >>> import jax, jax_scorefn as sf
      >>> coin = sf.family(lambda logit: sf.Bernoulli(logits=logit))
      >>> baseline = sf.baselines.ema(0.9)
      >>> state = baseline.init()
      >>> for key in jax.random.split(jax.random.key(0), 3):
      ...     grads, info = sf.score_function_grad(
      ...         lambda x: 5.0 + x, coin, 0.0, key, num_samples=8, baseline=baseline.attach(state), has_aux=True)
      ...     state = baseline.update(state, info)
      >>> print(f"{baseline.value(state):.2f}")
      5.57
    """
    _checks.decay("ema", decay)
    return EMA(decay)
