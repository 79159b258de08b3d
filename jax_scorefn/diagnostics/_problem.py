"""What is audited: E[f] under a family at some parameters, how long it may take, and what f was seen to take."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks
from jax_scorefn._trees import is_inexact
from jax_scorefn.diagnostics._moments import Moments
from jax_scorefn.distributions import Distribution, Family
from jax_scorefn.engine import NOT_DIFFERENTIABLE
from jax_scorefn.typing import Key, PyTree

PROBED = 8
"""Draws on which f is timed."""
A_STEP = 0.05
"""The share of the time that one compiled call may take."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """The gradient of E[f] in the floats of the parameters.

    Attributes:
      of_params: ``whole parameters -> f``.
      logp: the family.
      dist: the family's distribution at the parameters.
      params: their floats and complex numbers, None in place of other leaves.
      whole: the way from such a tree to whole parameters.
    """

    of_params: Callable[[PyTree], Any]
    logp: Family
    dist: Distribution
    params: PyTree
    whole: Callable[[PyTree], PyTree]

    @property
    def f(self) -> Callable[[PyTree], Any]:
        """F at the parameters."""
        return self.of_params(self.whole(self.params))

    def value(self, function: Any, params: PyTree, key: Any, around: Any = lambda f: f, **options: Any) -> Any:
        """An estimate at parameters of this form, with something put around f."""
        whole = self.whole(params)
        return function(around(self.of_params(whole)), self.logp, whole, key, **options)

    def grad(self, function: Any, params: PyTree, key: Any, **options: Any) -> PyTree:
        """Its gradient."""
        return jax.grad(lambda p: self.value(function, p, key, **options))(params)

    def is_black_box(self) -> bool:
        """Whether f says that it cannot be differentiated in a draw."""
        x = jax.eval_shape(self.dist.sample, jax.random.key(0))
        x = jax.tree.map(
            lambda leaf: leaf if is_inexact(leaf) else jax.ShapeDtypeStruct(leaf.shape, jnp.result_type(float)), x
        )
        try:
            jax.eval_shape(lambda x: jax.jvp(self.f, (x,), (x,)), x)
        except Exception as error:  # whatever f says of draws that are no whole numbers
            return NOT_DIFFERENTIABLE in str(error)
        return False

    def varies(self, key: Key, clock: Clock) -> bool:
        """Whether f takes more than one value on a thousand draws, or on as many as there is time for. Sets the clock by f."""
        run = jax.jit(jax.vmap(lambda k: _checks.value(self.f(self.dist.sample(k)))))
        keys = jax.random.split(key, 1000)
        if clock.max_seconds is not None:
            few = jax.random.clone(keys)[:PROBED]
            jax.block_until_ready(run(jax.random.clone(few)))
            begun = time.perf_counter()
            jax.block_until_ready(run(few))
            clock.seconds_of_f = (time.perf_counter() - begun) / PROBED
            keys = keys[: max(PROBED, clock.affordable(1, 1000))]
        values = run(keys)
        return bool(jnp.any(values != values[:1]))


@dataclasses.dataclass
class Clock:
    """The time of an audit, and one evaluation's. Without a limit everything is affordable, and nothing depends on the clock."""

    max_seconds: float | None
    began: float = dataclasses.field(default_factory=time.perf_counter)
    seconds_of_f: float = 0.0
    overhead: float = 0.0
    """What the last estimator took beside its replicates, mostly to be compiled."""

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.began

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return math.inf if self.max_seconds is None else self.max_seconds - self.seconds

    def affords(self, evaluations: float, share: float = 1.0) -> bool:
        """Whether there is time for these evaluations of f in a share of all the time."""
        return self.max_seconds is None or evaluations * self.seconds_of_f <= share * min(self.left, self.max_seconds)

    def affordable(self, evaluations: float, most: int) -> int:
        """How many calls of so many evaluations make a step, at most ``most``."""
        if self.max_seconds is None:
            return most
        return int(np.clip(A_STEP * self.max_seconds / max(evaluations * self.seconds_of_f, 1e-12), 1, most))


def replicate(
    run: Callable[[Key], Moments], key: Key, num: int, chunk: int, until: Callable[[], bool] = lambda: False
) -> Moments:
    """Moments of ``num`` replicates (whole chunks), made a chunk at a time, of two at least and then until it is time to stop."""
    keys, total = jax.random.split(key, num // chunk * chunk), None
    for start in range(0, len(keys), chunk):
        part = jax.device_get(run(keys[start : start + chunk]))
        total = part if total is None else jax.device_get(total.merge(part))
        if until() and start:
            break
    assert total is not None
    return total
