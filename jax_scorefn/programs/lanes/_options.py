"""Which of the other values a run of a program is compared with, and how. ``expectation(program, coupled=Coupled(...))``.

    all                            sum_j d_j grad rate_j,                        d_j: the difference that value j makes
    k that are picked              (N / k) sum over the picked of d_j grad rate_j
    k, and the rest predicted      sum_j b_j grad rate_j + (N / k) sum over the picked of (d_j - b_j) grad rate_j

Each is unbiased, whatever the prediction b_j, as long as it does not depend on what was picked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn.noise import uniform
from jax_scorefn.programs._analysed import Analysed
from jax_scorefn.programs._ir import Op
from jax_scorefn.programs.lanes._places import Span
from jax_scorefn.typing import Array, Key

NO_SUCH_NUMBER = (
    "Coupled(alternatives=) is 'all' or the number that is picked of them, a Python int of at least 1; it got {given}."
)
NO_SUCH_PREDICTION = "Coupled(predict=) is None or 'taylor'; it got {given!r}."
ALL_PREDICTED = (
    "Coupled(predict='taylor') corrects its predictions with some of the differences: how many is alternatives=8, say. With all "
    "of them there is nothing to predict."
)
ONLINE_PICKS = (
    "Coupled(lanes=) carries that many other values along a scan, and alternatives= picks of all: give one of the two."
)


ELEMENTS = 2**24
"""Of the largest array in all lanes that are run side by side. In pieces the randomness of a run is made anew for each of them."""


@dataclasses.dataclass(frozen=True)
class Coupled:
    """How choices by their alternatives (``estimator="coupled"`` and ``"measure_valued"``) are compared in :func:`expectation`.

    Args:
      alternatives: "all", or the number k of them that each run is compared with, picked at random, evenly, and weighted by N / k. The
        time is then that of k + 1 runs of the program, and the variance larger.
      predict: None, or "taylor": all differences are predicted by one derivative of the cost in the draws, and the k that are picked
        correct the prediction. How much of it is believed is measured on the other runs, so it needs at least two; a cost
        that jumps, or one that grows too fast, is not predicted. Costs are real, and it helps where they are smooth in the draw.
      lanes: None, or the number of other values that are carried along each scan over choices, beside the run: each is replaced by a
        fresh one now and then, and dropped when it has come back to the run itself. For scans that are too long for all, in time
        of lanes + 1 runs and the memory of one. Costs are added up in the scan, or come of its last state.
      chunk_size: alternatives that are run side by side in each run; None is so many that no array of all runs together has more than
        16.8 million elements.

    Raises:
      ValueError: for numbers below 1, and options that exclude each other.

    Bias: none, for each of them.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> def cost(logits, key):
      ...     bits = sf.sample(key, sf.Bernoulli(logits=logits), estimator="coupled")
      ...     return jnp.sum(jnp.tanh(bits @ jnp.sin(jnp.arange(2500.0).reshape(50, 50)) / 7) ** 2)
      >>> def deviation(**options):
      ...     grad = jax.grad(sf.expectation(cost, num_samples=8, coupled=sf.programs.Coupled(**options)))
      ...     grads = jax.jit(jax.vmap(grad, (None, 0)))(jnp.zeros(50), jax.random.split(jax.random.key(0), 200))
      ...     return jnp.sqrt(jnp.sum(jnp.var(grads, axis=0)))
      >>> picked, predicted = (deviation(alternatives=5, predict=predict) for predict in (None, "taylor"))
      >>> print(f"all {deviation():.1f}, 5 picked {picked:.1f}, the others predicted {predicted:.1f}")
      all 1.1, 5 picked 3.4, the others predicted 1.3

    References: arya2022.
    """

    alternatives: int | str = "all"
    predict: str | None = None
    lanes: int | None = None
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        if self.alternatives != "all":
            if isinstance(self.alternatives, str):
                raise ValueError(NO_SUCH_NUMBER.format(given=repr(self.alternatives)))
            object.__setattr__(self, "alternatives", _checks.positive_int("alternatives", self.alternatives))
        if self.predict not in (None, "taylor"):
            raise ValueError(NO_SUCH_PREDICTION.format(given=self.predict))
        if self.predict is not None and self.alternatives == "all":
            raise ValueError(ALL_PREDICTED)
        if self.lanes is not None:
            _checks.positive_int("lanes", self.lanes)
            if self.alternatives != "all":
                raise ValueError(ONLINE_PICKS)
        if self.chunk_size is not None:
            _checks.positive_int("chunk_size", self.chunk_size)

    @property
    def number(self) -> int | None:
        """How many are picked; None where it is all."""
        return None if self.alternatives == "all" else int(self.alternatives)


class Comparison(NamedTuple):
    """How a run is compared with other values: the options, a key of its own, the arrays of the runs beside it (``believed``), and how
    many runs are made at once.
    """

    options: Coupled
    key: Key
    of_others: Callable[[Array], Array]
    num_runs: int = 1

    def side_by_side(self, width: int) -> int:
        """Lanes of this run that are run at once, of arrays with up to so many elements each."""
        return self.options.chunk_size or max(1, ELEMENTS // (self.num_runs * width))

    def picked(self, total: int, salt: int) -> Array | None:
        """Numbers of those of all alternatives that are looked at, spread evenly; None for all."""
        if self.options.number is None or self.options.number >= total:
            return None
        u = uniform(jax.random.fold_in(self.key, salt), jax.ShapeDtypeStruct((), jnp.float32))
        steps = (u + jnp.arange(self.options.number, dtype=jnp.float32)) * (total / self.options.number)
        return jnp.minimum(steps.astype(jnp.int32), total - 1)

    def together(self, program: Analysed) -> dict[Op, Span]:
        """The lanes of sites that share them: those of one site alone where others are predicted, for which each has its own."""
        own = {site: span for site, span in program.spans.items() if span.is_shared}
        found = program.together if self.options.predict is None else own
        return {site: span for site, span in found.items() if not self.is_online(program, site)}

    def is_online(self, program: Analysed, site: Op) -> bool:
        """Whether it is compared along the scan that it is in."""
        loops = program.of.loops[site]
        return self.options.lanes is not None and bool(loops) and loops[0] in program.block.ops
