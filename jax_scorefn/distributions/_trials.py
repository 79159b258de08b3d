"""A number of trials: known and fixing a support, or an array, traced or not, that may be drawn itself and is never differentiated."""

from __future__ import annotations

import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn._guards import guard
from jax_scorefn._trees import is_float
from jax_scorefn.distributions import _counts
from jax_scorefn.distributions._base import NO_KL, Distribution, declared
from jax_scorefn.distributions._discrete import Counts
from jax_scorefn.distributions._fields import Count, confine, is_array
from jax_scorefn.distributions._views import CategoricalView, numbered
from jax_scorefn.typing import Array, Capability

COUNT_DERIVATIVE = (
    "The total_count of a {dist} was differentiated. A number of trials is whole, so there is no such derivative: stop it with "
    "jax.lax.stop_gradient, or draw it as an int32 (a draw of sf.sample is one)."
)
COUNT_DTYPE = (
    "{dist} got total_count of dtype {dtype}; it is a Python int or an array of whole numbers, ints or floats."
)
COUNT_SUPPORT = (
    "The support of a {dist} is enumerated where its total_count is a Python int; it is {given}, whose number fixes a shape and is "
    "not known when the function is traced. Use an estimator that samples, as score_function."
)
NOT_A_COUNT = (
    "{dist} got total_count={given}; it is a whole number of at least 0: a Python int, or an array, traced or not."
)
TOO_MANY_TRIALS = "{dist} got total_count={given}; its draws are int32, so it is at most {most}."


class Trials(Distribution):
    """Counts of what came of ``total_count`` trials, whose support is there where that is a Python int."""

    total_count: Count
    also = Capability.SUPPORT | Capability.FINITE

    @property
    def capabilities(self) -> Capability:  # pyright: ignore[reportIncompatibleVariableOverride]
        """A support, too, where the number of trials is a Python int."""
        everything = declared(type(self))
        listed = Capability.SUPPORT | Capability.FINITE | Capability.CHOICES
        return everything & ~listed if is_array(self.total_count) else everything

    def _trials(self) -> int | Array:
        """The number of trials, which raises when it is differentiated; of an array as floats of the dtype of the other parameters."""
        if not is_array(self.total_count):
            try:
                trials = _checks.positive_int("total_count", self.total_count, least=0)
            except (TypeError, ValueError) as error:
                raise type(error)(NOT_A_COUNT.format(dist=self.name, given=self.total_count)) from None
            if trials > _counts.MOST_TRIALS:
                raise ValueError(TOO_MANY_TRIALS.format(dist=self.name, given=trials, most=_counts.MOST_TRIALS))
            return trials
        count = jnp.asarray(self.total_count)
        if not jnp.issubdtype(count.dtype, jnp.integer) and not is_float(count):
            raise TypeError(COUNT_DTYPE.format(dist=self.name, dtype=count.dtype))
        count = guard(count, order=0, message=COUNT_DERIVATIVE.format(dist=self.name)).astype(self._fields()[0].dtype)
        return confine(self, "total_count", count, self.domains["total_count"], given=self.total_count)

    def _known_trials(self) -> int:
        """The number of trials as a support needs it, known."""
        if is_array(self.total_count):
            raise TypeError(COUNT_SUPPORT.format(dist=self.name, given=_checks.describe(self.total_count)))
        trials = self._trials()
        assert isinstance(trials, int)
        return trials

    def _of_trials(self, other: Trials, kl: Array) -> Array:
        """Relative entropies of all trials, from that of each: an error where the numbers are known to differ, or else NaN."""
        n, of_other = self._trials(), other._trials()
        if isinstance(n, int) and isinstance(of_other, int) and n != of_other:
            mine, others = (f"{self.name}(total_count={number})" for number in (n, of_other))
            raise NotImplementedError(NO_KL.format(p=mine, q=others))
        return jnp.where(jnp.asarray(n == of_other), n * kl, jnp.nan)


class Successes(Trials, Counts):
    """Of which coordinates are counts of their own."""

    def _end(self):
        return self._trials()

    def _last(self, max_value):
        del max_value
        return self._known_trials()

    def choices(self) -> CategoricalView:
        """Each count as one choice among its values."""
        nodes, known = self._nodes(None)
        shape = nodes.shape[1:]
        probs = jnp.moveaxis(known["probs"], 0, -1) if known else None
        return numbered(jnp.moveaxis(self._log_prob(nodes), 0, -1), probs, lambda option: option.reshape(shape))
