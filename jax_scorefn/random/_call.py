"""A call of a sampler: the draw of jax.random as choices, each part of it scored by a distribution at the same parameters.

x = jax.random.bernoulli(key, stop(p), shape)       the draw, of all its parts
sample(key, Drawn(Bernoulli(probs=p), x))           for each part and its p: a choice whose draw is there
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_scorefn._trees import is_inexact, to_float, widest
from jax_scorefn.distributions import Distribution, Grid
from jax_scorefn.programs import sample
from jax_scorefn.programs.sites import SITES
from jax_scorefn.typing import Array, Capability, Key


class Drawn(Distribution):
    """A distribution with its draw: of ``jax.random``'s making, at parameters that are stopped."""

    def __init__(self, dist: Distribution, x: Array, scored: Array):
        self.dist, self.x, self._scored = dist, x, scored

    @property
    def name(self) -> str:
        return self.dist.name

    @property
    def capabilities(self) -> Capability:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the distribution can do without another draw."""
        kept = Capability.LOG_PROB | Capability.SUPPORT | Capability.FINITE
        return Capability.SAMPLE | (self.dist.capabilities & kept)

    def sample(self, key: Key) -> Array:
        del key
        return self.x

    def log_prob(self, x: Array) -> Array:
        del x
        return self.dist.log_prob(self._scored)

    def grid(self, *, num_nodes: int = 32, max_value: int | None = None, max_points: int = 2**16) -> Grid:
        return self.dist.grid(num_nodes=num_nodes, max_value=max_value, max_points=max_points)


class Density(Distribution):
    """A log-density, with a name."""

    def __init__(self, name: str, log_prob: Callable[[Array], Array]):
        self._name, self._log_prob = name, log_prob

    @property
    def name(self) -> str:
        return self._name

    def log_prob(self, x: Array) -> Array:
        return self._log_prob(x)


class Call(NamedTuple):
    """A call of a sampler: its arguments, and how its choices are estimated."""

    original: Callable[..., Array]
    arguments: dict[str, Any]
    options: dict[str, Any]

    @property
    def key(self) -> Key:
        return self.arguments["key"]

    @property
    def same_key(self) -> Key:
        """The key, for the numbers that the draw is made of already."""
        return jax.random.clone(self.key)

    @property
    def scored(self) -> bool:
        """Whether choices are scored, and not summed over."""
        estimator = self.options["estimator"]
        return isinstance(estimator, str) and estimator in SITES and SITES[estimator].scored

    def draw(self, **instead: Any) -> Array:
        """The draw of ``jax.random`` at these arguments, or others, which are stopped."""
        arguments = {name: _stopped(x) for name, x in (self.arguments | instead).items()}
        return self.original(**arguments)

    def choose(
        self, signature: str, one: Callable[..., Distribution], *params: Any, x: Array | None = None, scored: Any = None
    ) -> Array:
        """The draw, each part of it as a choice.

        ``one(*params)`` is the distribution of a part, or of the part of ``scored``, the same number with more digits. ``signature``
        is that of ``jnp.vectorize``: the axes of a part of the draw, of its parameters and of what is scored.
        """
        x = self.draw() if x is None else x
        arrays = [to_float(param) for param in params]
        shown = _wide(x) if scored is None else scored
        floats = [*arrays, shown] if jnp.issubdtype(shown.dtype, jnp.floating) else arrays
        dtype = max(widest(floats), jnp.dtype(jnp.float32), key=lambda dtype: dtype.itemsize)
        if jnp.issubdtype(shown.dtype, jnp.floating):
            shown = shown.astype(dtype)

        def part(x: Array, *rest: Array) -> Array:
            *params, shown = rest
            return sample(self.key, Drawn(one(*params), x, shown), **self.options)

        inputs, output = signature.split("->")
        inputs += "" if scored is not None else f",{output}"
        core = [len(axes.split(",")) if axes else 0 for axes in re.findall(r"\(([^)]*)\)", inputs)]
        rank = x.ndim - core[0]
        arrays = [x, *(array.astype(dtype) for array in arrays), shown]
        arrays = [a.reshape((1,) * (rank + n - a.ndim) + a.shape) for a, n in zip(arrays, core, strict=True)]
        return jnp.vectorize(part, signature=f"{inputs}->{output}")(*arrays)


def _wide(x: Array) -> Array:
    """A draw as it is scored: bits and short ints as int32."""
    is_short = x.dtype == jnp.bool_ or (jnp.issubdtype(x.dtype, jnp.integer) and x.dtype.itemsize < 4)
    return x.astype(jnp.int32) if is_short else x


def _stopped(x: Any) -> Any:
    return jax.lax.stop_gradient(x) if isinstance(x, jax.Array) and is_inexact(x) else x
