"""A user's h with the expectation that the user knows."""

from __future__ import annotations

from typing import Any

from jax_scorefn._users_code import OF_A_DRAW, noted
from jax_scorefn.control_variates._base import ControlVariate
from jax_scorefn.distributions import Distribution
from jax_scorefn.typing import Objective


def known(h: Objective, expectation: Any, *, coefficient: Any = 1.0) -> ControlVariate:
    """A function h whose expectation you know.

    Args:
      h: function of one draw that returns a scalar, or the shape of f.
      expectation: E h as a function of the parameters, differentiable as often as the estimate will be (its derivative puts back what
        subtracting h takes out of the gradient); or a number, where E h does not depend on the parameters.
      coefficient: a number; "fitted" (least squares of f on h over the other draws); or "fitted_per_parameter" (for each parameter the
        coefficient of least variance, for which the score of each draw is computed: S x P numbers in memory).

    Returns:
      A control variate for ``score_function``.

    Raises:
      ValueError: for another coefficient.

    Bias: none, at every order, provided that ``expectation`` is right. Check it with ``sf.testing``.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> normal = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))
      >>> square = sf.control_variates.known(lambda x: x**2, lambda mean: mean**2 + 1.0)
      >>> f = lambda x: x**2 + 0.1 * jax.numpy.sin(x)
      >>> def std(**options):
      ...     keys = jax.random.split(jax.random.key(0), 1000)
      ...     return jax.vmap(lambda key: sf.score_function_grad(f, normal, 1.0, key, **options))(keys).std()
      >>> print(f"{std():.3f} -> {std(control_variate=square):.3f}")
      0.509 -> 0.009

    References: mohamed2020 (section 7).
    """

    def bind(f: Objective, dist: Distribution) -> Any:
        del f, dist
        return noted(h, OF_A_DRAW), lambda params, dist: expectation(params) if callable(expectation) else expectation

    return ControlVariate(getattr(h, "__name__", "known"), bind, coefficient)
