"""Names for the things that pass between the parts: arrays, keys, trees, capabilities, bias classes."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

Array: TypeAlias = jax.Array
Key: TypeAlias = jax.Array
PyTree: TypeAlias = Any
Params: TypeAlias = PyTree
Objective: TypeAlias = Callable[[PyTree], Any]
ChunkSize: TypeAlias = int | Literal["auto"] | None


class Capability(enum.Flag):
    """What a distribution can do. Distributions state what they have, estimators what they need; nothing else decides."""

    LOG_PROB = enum.auto()
    """``log_prob(x)`` is the log density (or log mass) of one whole draw, a scalar."""
    SAMPLE = enum.auto()
    """``sample(key)`` makes one draw."""
    GIVEN_DRAWS = enum.auto()
    """``draws`` holds draws that were made elsewhere."""
    REPARAMETERIZED = enum.auto()
    """The derivative of ``sample(key)`` in the parameters is the derivative of the draw's path."""
    FROM_UNIFORM = enum.auto()
    """``from_uniform(u)`` makes the draw out of a fixed number of uniforms in [0, 1)."""
    SUPPORT = enum.auto()
    """``grid(...)`` lists every value with its probability."""
    QUADRATURE = enum.auto()
    """``grid(...)`` gives nodes and weights that integrate smooth functions."""
    MOMENTS = enum.auto()
    """``mean()`` and ``covariance_times(v)`` are known in closed form."""
    MODE = enum.auto()
    """``mode()`` is the likeliest draw."""
    BITS = enum.auto()
    """``bits()`` shows the distribution as independent bits."""
    FINITE = enum.auto()
    """The support is finite: ``grid()`` lists the whole of it, and asks for no ``max_value``."""
    CHOICES = enum.auto()
    """``choices()`` shows the distribution as independent choices among finitely many categories."""
    RELAXED = enum.auto()
    """``choices().relax`` makes what lies between the draws: f can be asked there, and differentiated."""
    ALTERNATIVE = enum.auto()
    """``alternative(u, v)`` is a draw and another value of it, whose difference in f is the derivative."""
    WEAK_DERIVATIVE = enum.auto()
    """``weak_derivative()`` gives, for each scalar parameter, two distributions whose difference is the derivative in it."""


class Bias(enum.StrEnum):
    """How far the mean of an estimate may lie from what it estimates."""

    NONE = "none"
    VANISHING = "vanishing"
    """Goes to 0 as the number of draws (or nodes) grows."""
    BIASED = "biased"


EVERY_ORDER: float = float("inf")
"""Derivatives of every order are estimated with the declared bias."""


class Info(NamedTuple):
    """What ``has_aux=True`` returns beside the value. Nothing in it carries a derivative: reverse mode raises, forward mode has 0.

    Attributes:
      samples: the draws, a pytree whose leaves have the draws on their leading axis.
      values: f at each draw, shape ``(draws, *f_shape)``.
      log_probs: log-probability of each draw under the parameters, shape ``(draws,)``.
      weights: weight of each draw in the value, shape ``(draws,)``: 1 for plain draws, p / q for draws of
        another distribution, the probability (or quadrature weight) for ``exact``.
      value_standard_error: standard error of the value, the shape of f; NaN for one draw, 0 where
        nothing is random. Of a complex value: that of its distance, the root of the mean square of the two parts together.
      omitted_mass: by how much the weights of ``exact`` miss 1, to rounding: the probability of what a cut support leaves
        out, or what a quadrature does not reach. 0 for estimators that sample.
      gradient_standard_error: with ``per_draw=True`` the standard error of the mean of the gradients, a pytree like the parameters,
        to first order in the number of draws (with a baseline of the others and few draws the truth is larger), and NaN below 4
        that are independent; else None.
    """

    samples: PyTree
    values: Array
    log_probs: Array
    weights: Array
    value_standard_error: Array
    omitted_mass: Array | float = 0.0
    gradient_standard_error: PyTree = None

    @property
    def effective_sample_size(self) -> Array:
        """(sum w)^2 / sum w^2: how many plain draws the weighted ones are worth; all of them where the weights are equal."""
        share = self.weights / jnp.max(self.weights)
        return jnp.sum(share) ** 2 / jnp.sum(share**2)
