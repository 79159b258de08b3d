"""Estimators on independent coins have one frame: settings of the coins from uniforms, f at each, and a gradient in the logits.

    b = 1[u > sigma(-phi)],   b' = 1[u < sigma(phi)]          an antithetic pair: made of 1 - u and of u

The gradient in the logits is made by hand and put into the value's derivative, so the chain rule takes it on to whatever
computes the logits. It is of first order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn import _checks, engine
from jax_scorefn._surrogate import gradient_path
from jax_scorefn._trees import stop
from jax_scorefn.estimators._statistics import mean_error
from jax_scorefn.schemes._base import whole_groups
from jax_scorefn.typing import Array, Info


def coupled_coins(
    name: str, size: int, draw: Callable[[Array, Array], Array], weigh: Callable[[Array, Array, Array, Array], Array],
    noise: Callable[[int], tuple[int, ...]], f: Any, law: Any, key: Any, num_samples: int, keep: bool, how: dict[str, Any],
) -> Any:  # fmt: skip
    """Value, with the gradient of coupled draws, and Info.

    Args:
      name: of the estimator.
      size: draws in a group.
      draw: ``(uniforms, logits) -> bits (size, D)``.
      weigh: ``(uniforms, logits, bits, values (size, ...)) -> gradient (..., D)`` of one group.
      noise: ``D -> shape`` of the uniforms of a group.
      f: the objective.
      law: what can be seen as coins.
      key: of the call.
      num_samples: evaluations of f.
      keep: whether the draws are wanted.
      how: options of the engine.
    """
    num_samples = _checks.positive_int("num_samples", num_samples)
    whole_groups(name, size)(num_samples)
    _checks.key(name, key)
    logits, build = law.bits()
    held = stop(logits)
    rows = engine.uniforms(noise(held.size), held.dtype, key, num_samples // size, how["sharding"])

    def one_group(u: Array, _: None) -> Any:
        bits = draw(u, held)
        draws = jax.vmap(build)(bits)
        values = jax.vmap(lambda x: _checks.value(f(x)))(draws)
        return (
            values,
            weigh(u, held, bits, stop(values)),
            (draws, jax.vmap(stop(law).log_prob)(draws)) if keep else None,
        )

    values, gradients, kept = engine.map_draws(one_group, rows, num_samples // size, **how)
    values = values.reshape(num_samples, *values.shape[2:])
    value = jnp.mean(values, axis=0) + gradient_path(logits, jnp.mean(gradients, axis=0))

    def info() -> Info:
        samples, log_probs = jax.tree.map(lambda leaf: leaf.reshape(num_samples, *leaf.shape[2:]), kept)
        return Info(samples, values, log_probs, jnp.ones_like(log_probs), mean_error(values, size))

    return value, info


def antithetic_pair(u: Array, logits: Array) -> Array:
    """Bits made of 1 - u and of u, (2, D). Each comparison is with the small tail, so a saturated logit keeps its digits."""
    u = u + jnp.finfo(u.dtype).eps / 2  # the middle of each cell of the uniform's grid: as far from 1 as from 0
    return jnp.stack([u > jax.nn.sigmoid(-logits), u < jax.nn.sigmoid(logits)]).astype(u.dtype)
