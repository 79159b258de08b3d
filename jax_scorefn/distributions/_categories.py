"""Probabilities of K categories along a last axis, given as ``logits`` or as ``probs`` of any sum."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn._trees import stop
from jax_scorefn.distributions._discrete import safe_log
from jax_scorefn.distributions._fields import float_fields, one_of
from jax_scorefn.typing import Array

NO_AXIS = "{dist} wants {field} with a last axis of K categories; it got a scalar."
NO_CATEGORY = "{dist} wants at least one category; its {field} have shape {shape}."


def logits_of(dist: Any) -> Array:
    """Log-probabilities, unnormalised."""
    name = one_of(dist, "logits", "probs")
    shape = jnp.shape(getattr(dist, name))
    if shape == ():
        raise ValueError(NO_AXIS.format(dist=dist.name, field=name))
    if shape[-1] == 0:
        raise ValueError(NO_CATEGORY.format(dist=dist.name, field=name, shape=shape))
    (field,) = float_fields(dist, name)
    return field if name == "logits" else safe_log(field)


def probs_and_logs(dist: Any, logits: Array | None = None) -> tuple[Array, Array]:
    """Normalised probabilities, and their logarithms; of its logits, where these are there already."""
    given = given_probs(dist)
    if given is not None:
        return given, safe_log(given)
    log_probs = jax.nn.log_softmax(logits_of(dist) if logits is None else logits, axis=-1)
    return jnp.exp(log_probs), log_probs


def given_probs(dist: Any) -> Array | None:
    """Probabilities as they were given, normalised: exp(log p) has no derivative at p = 0. None for logits."""
    if dist.probs is None:
        return None
    (given,) = float_fields(dist, "probs")
    # In units of the largest: large numbers have no sum, and the square of a sum may be out of range. 1 / unit is a float too.
    largest = 2.0 ** (jnp.finfo(given.dtype).maxexp - 4)
    given = given / stop(jnp.minimum(jnp.max(given, axis=-1, keepdims=True), largest))
    return given / jnp.sum(given, axis=-1, keepdims=True)
