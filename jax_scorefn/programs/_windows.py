"""Sums of log-probabilities over windows: for each element of a leaf, over the choices that it depends on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn.programs._dependence import INF, Entry
from jax_scorefn.typing import Array

TAPS = 16
"""A band of up to this many offsets is summed term by term; a wider one is opened downwards, which is sound."""


def window_sum(log_probs: Array, entries: tuple[Entry, ...], shape: tuple[int, ...]) -> Array:
    """For each element of a leaf of this shape, the sum of the log-probabilities of the choices that its entries cover.

    Axes along which it is the same have length 1.
    """
    places: list[int] = []
    axis = 0
    for entry in entries:
        size = log_probs.shape[axis]
        if (
            entry is None or entry[0] in places
        ):  # two axes of a choice on one of the leaf are a box: take all of the second
            log_probs = jnp.sum(log_probs, axis=axis)
        elif entry[0] == "#":
            lo, hi = (int(min(max(bound, 0), size)) for bound in (entry[1], entry[2] + 1))
            log_probs = jnp.sum(jax.lax.slice_in_dim(log_probs, lo, max(lo, hi), axis=axis), axis=axis)
        else:
            place, lo, hi = entry
            log_probs = _band(log_probs, axis, lo, hi, shape[place])
            places.append(place)
            axis += 1
    order = sorted(range(len(places)), key=places.__getitem__)
    widths = tuple(shape[i] if i in places else 1 for i in range(len(shape)))
    if order != list(range(len(order))):
        log_probs = jnp.transpose(log_probs, order)
    if widths != log_probs.shape:
        log_probs = log_probs.reshape(widths)
    return log_probs


def _band(x: Array, axis: int, lo: float, hi: float, size: int) -> Array:
    """out[t] = sum of x[t + lo .. t + hi] along an axis, for t below ``size``."""
    length = x.shape[axis]
    if lo <= -(size - 1) and hi >= length - 1:
        return jnp.broadcast_to(jnp.sum(x, axis=axis, keepdims=True), (*x.shape[:axis], size, *x.shape[axis + 1 :]))
    if lo == -INF or hi == INF or hi - lo >= TAPS:
        padding = [(0, 0)] * x.ndim
        if hi != INF:  # everything up to t + hi
            padding[axis] = (1, 0)
            index = np.clip(np.arange(size) + hi + 1, 0, length)
            sums = jnp.pad(jnp.cumsum(x, axis=axis), padding)
        else:
            padding[axis] = (0, 1)
            index = np.clip(np.arange(size) + lo, 0, length)
            sums = jnp.pad(jax.lax.cumsum(x, axis=axis, reverse=True), padding)
        return (
            sums
            if index.shape[0] == sums.shape[axis] and np.all(index == np.arange(size))
            else jnp.take(
                sums, index.astype(np.int32), axis=axis, indices_are_sorted=True, unique_indices=False, mode="clip"
            )
        )
    zero = jnp.zeros((), x.dtype)
    total = None
    for offset in range(int(lo), int(hi) + 1):
        config = [(0, 0, 0)] * x.ndim
        config[axis] = (-offset, size - length + offset, 0)
        tap = x if offset == 0 and size == length else jax.lax.pad(x, zero, config)
        total = tap if total is None else total + tap
    assert total is not None
    return total


def sums_since(log_probs: Array, done: Array, axis: int) -> Array:
    """r[j] = sum of log_probs[u] over u < j with no ``done`` in u .. j - 1, along an axis; one more entry than iterations."""
    moved = jnp.moveaxis(log_probs, axis, 0)
    alive = jnp.moveaxis(1 - done.astype(log_probs.dtype), axis, 0)

    def step(r: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        log_prob, alive = row
        r = (r + log_prob) * alive.reshape(alive.shape + (1,) * (r.ndim - alive.ndim))
        return r, r

    first = jnp.zeros_like(moved[0])
    rest = jax.lax.scan(step, first, (moved, alive))[1]
    return jnp.moveaxis(jnp.concatenate([first[None], rest]), 0, axis)


def at_iterations(
    sums: Array, entries: tuple[Entry, ...], axis: int, shape: tuple[int, ...]
) -> tuple[Array, tuple[Entry, ...]]:
    """Running sums as log-probabilities of one choice for each iteration that is asked for."""
    entry, last = entries[axis], sums.shape[axis] - 1
    assert entry is not None  # one that is lost has no last iteration; it is not kept as one since a mark
    place, _, hi = entry
    if place == "#":
        index, same = np.array([hi + 1]), ("#", 0, 0)
    else:
        index, same = np.arange(shape[place]) + hi + 1, (place, 0, 0)
    taken = jnp.take(sums, np.clip(index, 0, last).astype(np.int32), axis=axis, mode="clip")
    return taken, (*entries[:axis], same, *entries[axis + 1 :])
