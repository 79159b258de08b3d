"""How clear the gradients of a training run are: their mean over time, and the noise around it.

m_t = d m_{t-1} + (1 - d) g_t,    v_t = d v_{t-1} + (1 - d) g_t^2,    both divided by 1 - d^t when they are read
SNR  =  |m| / sqrt(sum (v - m^2))          over all coordinates
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jax_scorefn import _checks
from jax_scorefn._trees import is_inexact, real_parts
from jax_scorefn.typing import Array, PyTree

BAD_RANGE = "adapt_num_samples wants target > 0 and most >= least; it got {target}, {most} and {least}."


class SnrState(NamedTuple):
    """State of :func:`track_snr`.

    Attributes:
      count: gradients seen.
      raw_mean: m, before it is divided; of complex gradients the parts, on a last axis.
      raw_square: v, before it is divided.
      snr: the norm of the mean over the root of the summed variance, as of the last gradient; NaN before the second one.
    """

    count: Array
    raw_mean: PyTree
    raw_square: PyTree
    snr: Array


def track_snr(decay: Array | float = 0.99) -> optax.GradientTransformationExtraArgs:
    """An optax transformation that keeps the signal-to-noise ratio of the gradients in its state and changes no update.

    Put it first in a chain, where it sees the gradients themselves. The mean is over time, so it is the ratio of a gradient that stays
    about the same over 1 / (1 - decay) steps; a gradient that turns counts as noise.

    Args:
      decay: of the running mean and second moment, in [0, 1): a number, or an array that may be traced.

    Returns:
      A ``GradientTransformationExtraArgs`` whose state is a :class:`SnrState`.

    Raises:
      ValueError: for a decay outside [0, 1).

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from jax_scorefn import training
      >>> optimizer = optax.chain(training.track_snr(0.9), optax.sgd(0.1))
      >>> params = jnp.zeros(2)
      >>> state = optimizer.init(params)
      >>> for key in jax.random.split(jax.random.key(0), 200):
      ...     grads = jnp.array([3.0, 4.0]) + jax.random.normal(key, (2,))
      ...     updates, state = optimizer.update(grads, state, params)
      >>> print(f"{state[0].snr:.0f}")
      4
    """
    _checks.decay("track_snr", decay)

    def init(params: PyTree) -> SnrState:
        zeros = jax.tree.map(
            lambda leaf: jnp.zeros_like(real_parts(jnp.asarray(leaf))) if is_inexact(leaf) else leaf, params
        )
        return SnrState(jnp.zeros((), jnp.int32), zeros, zeros, jnp.full((), jnp.nan, jnp.float32))

    def update(updates: PyTree, state: SnrState, params: PyTree = None, **extra: Any) -> tuple[PyTree, SnrState]:
        del params, extra
        mixed = lambda old, new: jnp.asarray(decay, old.dtype) * old + jnp.asarray(1 - decay, old.dtype) * new
        both_inexact = lambda old, new: is_inexact(old) and is_inexact(new)
        parts = jax.tree.map(lambda g: real_parts(g) if is_inexact(g) else g, updates)
        mean = jax.tree.map(lambda m, g: mixed(m, g) if both_inexact(m, g) else m, state.raw_mean, parts)
        square = jax.tree.map(lambda v, g: mixed(v, g**2) if both_inexact(v, g) else v, state.raw_square, parts)
        count = state.count + 1
        weight = 1 - jnp.float32(decay) ** count.astype(jnp.float32)
        signal, noise = jnp.float32(0), jnp.float32(0)
        for m, v in zip(jax.tree.leaves(mean), jax.tree.leaves(square), strict=True):
            if is_inexact(m):
                m, v = m.astype(jnp.float32) / weight, v.astype(jnp.float32) / weight
                signal, noise = signal + jnp.sum(m**2), noise + jnp.sum(jnp.maximum(v - m**2, 0))
        snr = jnp.where(count > 1, jnp.sqrt(signal) / jnp.sqrt(noise), jnp.nan)
        return updates, SnrState(count, mean, square, snr)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]


def adapt_num_samples(num_samples: int, snr: Any, *, target: float, least: int = 2, most: int = 4096) -> int:
    """The number of draws for the next steps: doubled or halved, as often as it takes, to hold a signal-to-noise ratio.

    A rule for the host, between compiled stretches of training: the SNR of a mean of S draws grows as the root of S. What
    comes of a change is ``least`` times a power of two, so at most log2(most / least) + 1 programs are ever compiled. An SNR of half
    to twice the target changes nothing, so that what was just doubled is not halved again for noise in the measurement.

    Args:
      num_samples: draws in use.
      snr: what was measured with them, for instance ``state[0].snr`` of :func:`track_snr`; if it is NaN, nothing changes.
      target: the SNR that is wanted.
      least: fewest draws.
      most: most draws.

    Returns:
      A Python int.

    Raises:
      TypeError, ValueError: for numbers of draws that are not positive ints, a target that is not above 0, and a ``most`` below
        ``least``.

    Example:
      >>> from jax_scorefn import training
      >>> [training.adapt_num_samples(16, snr, target=1.0) for snr in (0.2, 0.9, 5.0)]
      [512, 16, 2]
    """
    num_samples, least = _checks.positive_int("num_samples", num_samples), _checks.positive_int("least", least)
    most = _checks.positive_int("most", most)
    if not (target > 0 and most >= least):
        raise ValueError(BAD_RANGE.format(target=target, most=most, least=least))
    ratio = float(snr) / target
    if math.isnan(ratio) or 1 / 2 <= ratio <= 2:
        return num_samples
    wanted = num_samples / max(ratio, 1e-6) ** 2
    steps = math.ceil(
        math.log2(max(wanted, least) / least) - 1e-9
    )  # to the next power of two, so that the target is met
    return least * 2 ** min(steps, int(math.log2(most / least)))
