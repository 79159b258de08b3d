"""The correction of each leaf: what it adds to the derivative, with the value 0.

delta_L = (L - b) (magic_box(s_L) - 1),    s_L: the sum of the log-probabilities of just the choices that an element depends on
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn._surrogate import magic_box
from jax_scorefn._wide import wide
from jax_scorefn.programs._analyze import Analysis, Since
from jax_scorefn.programs._dependence import INF, Dependence, Entry, join
from jax_scorefn.programs._evaluate import Emitted
from jax_scorefn.programs._ir import Op, Var
from jax_scorefn.programs._windows import at_iterations, sums_since, window_sum
from jax_scorefn.typing import Array


def _without_overlap(part: Dependence) -> Dependence:
    """Choices by score, each one once: what is charged as ever is not charged since a mark as well."""
    out: Dependence = {s: e for s, e in part.items() if not isinstance(s, Since) and s.estimator.scored}
    for site, entries in part.items():
        if not isinstance(site, Since):
            continue
        mine = entries[site.axis]
        ever = out[site.choice][site.axis] if site.choice in out else mine and (mine[0], INF, INF)
        if mine is None or ever is None or ever[0] != mine[0] or mine[2] > ever[2]:
            out = join(out, {site.choice: entries})
        else:
            below = (mine[0], mine[1], min(mine[2], ever[1] - 1))
            out[site] = (*entries[: site.axis], below, *entries[site.axis + 1 :])
    return out


class Credits:
    """The deltas of the leaves of one run. What two leaves have in common is added up once."""

    def __init__(self, of: Analysis, emitted: Emitted):
        self.of, self.emitted = of, emitted
        self.sums: dict[Any, Array] = {}

    def correction(self, value: Array, baseline: Array | float, leaf: Var, depth: int) -> Array:
        """Delta of a leaf, whose value has the axes of the scans around it in front."""
        total: Array | None = None
        key: tuple[Any, ...] = (value.shape,)
        for site, entries in _without_overlap(self.of(leaf)).items():
            named = tuple(in_front(entry, depth) for entry in entries)
            part = self._cached((site, named, value.shape), lambda s=site, n=named: self._charged(s, n, value.shape))
            key = (*key, site, named)
            total = part if total is None else self._cached(key, lambda a=total, b=part: a + b.astype(a.dtype))
        if total is None:
            return jnp.zeros_like(value)
        box = self._cached(("box", key), lambda: jnp.broadcast_to(magic_box(total) - 1, value.shape))
        return (value - jax.lax.stop_gradient(baseline)) * box.astype(value.dtype)

    def _charged(self, site: Op | Since, entries: tuple[Entry, ...], shape: tuple[int, ...]) -> Array:
        if isinstance(site, Since):
            axis = site.axis
            log_probs = wide(self.emitted[site.choice.serial])
            sums = sums_since(log_probs, self.emitted[site.mark.serial], axis)
            log_probs, entries = at_iterations(sums, entries, axis, shape)
        else:
            log_probs = wide(self.emitted[site.serial])
        return window_sum(log_probs, entries, shape)

    def _cached(self, key: Any, make: Callable[[], Array]) -> Array:
        if key not in self.sums:
            self.sums[key] = make()
        return self.sums[key]


def in_front(entry: Entry, depth: int) -> Entry:
    """An entry with the axes of the scans around a leaf counted as its first axes."""
    if entry is None or entry[0] == "#":
        return entry
    axis = int(entry[0][1:]) if isinstance(entry[0], str) else entry[0] + depth
    return (axis, entry[1], entry[2])
