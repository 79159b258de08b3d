"""What a loss returns, or what collects a batch, in one form whatever its options; and what is said where it is something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jax_scorefn.typing import Key, Params, PyTree

BAD_LOSS = "{name} must return {wanted}; it returned {given}."
BAD_METRICS = "The metrics of a {name} are a dictionary of scalars; {given}."
METRIC_CALLED_LOSS = (
    "A metric called 'loss' would take the place of the loss itself in the history: give it another name."
)


def _kind(x: Any) -> str:
    return f"an array of shape {list(jnp.shape(x))}" if hasattr(x, "dtype") else type(x).__name__


def uniform(name: str, function: Callable[..., Any], has_aux: bool, has_carry: bool) -> Callable[..., Any]:
    """A loss, or what collects a batch, as ``(params, key, carry) -> (value, (metrics, carry))``."""
    what = "value" if name == "loss" else "batch"
    wanted = f"({what}, (metrics, carry))" if has_aux and has_carry else f"({what}, carry)" if has_carry else ""
    wanted = wanted or (f"({what}, metrics)" if has_aux else "a scalar")

    def call(params: Params, key: Key, carry: PyTree) -> Any:
        out = function(params, key, carry) if has_carry else function(params, key)
        pair = has_aux or has_carry
        if pair and not (isinstance(out, tuple) and len(out) == 2):
            raise TypeError(BAD_LOSS.format(name=name, wanted=wanted, given=_kind(out)))
        value: Any
        rest: Any
        value, rest = out if pair else (out, None)
        if has_aux and has_carry and not (isinstance(rest, tuple) and len(rest) == 2):
            raise TypeError(BAD_LOSS.format(name=name, wanted=wanted, given=f"({what}, {_kind(rest)})"))
        metrics, carry = rest if has_aux and has_carry else (rest, None) if has_aux else ({}, rest)
        if name == "loss":
            scalar(name, value, wanted)
        if not isinstance(metrics, dict):
            raise TypeError(BAD_METRICS.format(name=name, given=f"it returned {_kind(metrics)}"))
        if "loss" in metrics:
            raise ValueError(METRIC_CALLED_LOSS)
        for metric, x in metrics.items():
            if jnp.shape(x) != ():
                raise TypeError(BAD_METRICS.format(name=name, given=f"{metric} has shape {list(jnp.shape(x))}"))
        return value, (metrics, carry)

    return call


def scalar(name: str, value: Any, wanted: str) -> Any:
    if not hasattr(value, "dtype") or jnp.shape(value) != ():
        raise TypeError(BAD_LOSS.format(name=name, wanted=wanted, given=_kind(value)))
    return value
