"""Control variates: functions h of a draw whose expectation is known.

    E[f(x)] = E[f(x) - c (h(x) - E h)]            value, for any c that does not depend on the draw
    grad    : the score multiplies f - c (h - E h), and c grad E h comes back as a term of its own

Where h follows f, little is left for the score to multiply. ``score_function(..., control_variate=)`` takes one or several. The
coefficient c is a number, or fitted by least squares on the other groups of draws, one for all parameters or one for each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jax_scorefn import _checks
from jax_scorefn._guards import guard
from jax_scorefn._trees import stop, to_float
from jax_scorefn.distributions import Distribution
from jax_scorefn.typing import Array, Capability, Objective, Params, PyTree

FITTED, FITTED_PER_PARAMETER = "fitted", "fitted_per_parameter"
NOT_A_CONTROL = (
    "control_variate is sf.control_variates.known(h, expectation), sf.control_variates.delta(), or a sequence of them; it "
    "got {given}."
)
BAD_COEFFICIENT = "The coefficient of a control variate is a number, 'fitted' or 'fitted_per_parameter', not {given}."
BAD_ORDER = "delta expands to order 1 or 2, not {given!r}."
NEEDS = (
    "The control variate {name} needs a law that has {wanted}; {law} has {given}. Use control_variates.known with an "
    "expectation of your own."
)
CONSTANT_H = (
    "A control variate with a coefficient for each parameter has an h that depends on the parameters, and its derivative in them "
    "cannot be scaled. Use coefficient='fitted', or hold the parameters inside h fixed with jax.lax.stop_gradient."
)
WRONG_SHAPE = (
    "The control variate {name} has shape {given} ({what}); f has shape {wanted}: return that shape, or a scalar."
)


@dataclasses.dataclass(frozen=True)
class ControlVariate:
    """A function with a known expectation, and how much of it is subtracted.

    Attributes:
      name: its name in messages.
      bind: ``(f, law) -> (h, expectation)``, with ``h(x)`` and ``expectation(params, law)``.
      coefficient: a number, "fitted" or "fitted_per_parameter".
      needs: what the law must be able to do.
    """

    name: str
    bind: Callable[[Objective, Distribution], tuple[Objective, Callable[[Params, Distribution], Any]]]
    coefficient: Any = 1.0
    needs: Capability | None = None

    def __post_init__(self) -> None:
        c: Any = self.coefficient
        if c not in (FITTED, FITTED_PER_PARAMETER) if isinstance(c, str) else jnp.shape(c) != ():
            raise ValueError(BAD_COEFFICIENT.format(given=_checks.describe(c)))


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
      >>> def spread(**options):
      ...     keys = jax.random.split(jax.random.key(0), 1000)
      ...     return jax.vmap(lambda key: sf.score_function_grad(f, normal, 1.0, key, **options))(keys).std()
      >>> print(f"{spread():.3f} -> {spread(control_variate=square):.3f}")
      0.509 -> 0.009

    References: mohamed2020 (section 7).
    """

    def bind(f: Objective, law: Distribution) -> Any:
        del f, law
        return h, lambda params, law: expectation(params) if callable(expectation) else expectation

    return ControlVariate(getattr(h, "__name__", "known"), bind, coefficient)


def delta(*, order: int = 2, coefficient: Any = 1.0) -> ControlVariate:
    """The Taylor polynomial of f at the mean of the law: the delta method.

    h(x) = f(m) + f'(m)(x - m) + f''(m)[x - m, x - m] / 2 at m = E x, with E h from the law's mean and covariance. With ``order=1``
    and Bernoulli draws this is MuProp. It removes the variance of a quadratic f altogether.

    Args:
      order: 1 or 2.
      coefficient: as for :func:`known`.

    Needs: a law with a known mean and covariance, and an f that can be evaluated and differentiated at the mean (for whole
    numbers: between them). The expansion point is held fixed, and so is whatever f closes over.

    Bias: none, at every order. Cost: one gradient of f, and a product for each draw; order 2: a second derivative of f along each
    draw, and one for each of the D coordinates.

    Raises:
      ValueError: for another order or coefficient.
      TypeError: when used, for a law that does not know its moments.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> normal = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))
      >>> g = sf.score_function_grad(
      ...     lambda x: (x + 3.0) ** 2, normal, 1.0, jax.random.key(0), control_variate=sf.control_variates.delta())
      >>> print(f"{g:.4f}")
      8.0000

    References: gu2016, mohamed2020 (section 7).
    """
    if order not in (1, 2):
        raise ValueError(BAD_ORDER.format(given=order))

    def bind(f: Objective, law: Distribution) -> Any:
        mean, unravel = ravel_pytree(stop(law).mean())

        def as_vector(x: PyTree) -> Array:
            like = unravel(mean)
            return ravel_pytree(jax.tree.map(lambda part, m: part.astype(m.dtype), x, like))[0]

        def of_vector(x: Array) -> Array:
            return _checks.value(f(unravel(x)))

        held, closed_over = jax.closure_convert(of_vector, mean)  # what f closes over, so that it can be held fixed
        closed_over = stop(closed_over)

        def at(x: Array) -> Array:
            return held(x, *closed_over)

        value, slope = jax.linearize(at, mean)

        def curvature(v: Array, u: Array) -> Array:
            return jax.jvp(lambda x: jax.jvp(at, (x,), (v,))[1], (mean,), (u,))[1]

        def polynomial(v: Array) -> Array:
            linear = value + slope(v)
            return linear if order == 1 else linear + curvature(v, v) / 2

        def expectation(params: Params, law: Distribution) -> Array:
            del params
            expected = polynomial(as_vector(law.mean()) - mean)
            if order == 1:
                return expected

            def along(unit: Array) -> Array:
                return curvature(unit, as_vector(law.covariance_times(unravel(unit))))

            return expected + jnp.sum(jax.vmap(along)(jnp.eye(mean.size, dtype=mean.dtype)), axis=0) / 2

        return lambda x: polynomial(as_vector(x) - mean), expectation

    return ControlVariate(f"delta(order={order})", bind, coefficient, Capability.MOMENTS)


@dataclasses.dataclass(frozen=True, eq=False)
class Bound:
    """A control variate of one call: ``h(x)``, ``expectation(params, law)`` and its coefficient."""

    control: ControlVariate
    h: Objective
    expectation: Callable[[Params, Distribution], Any]

    @property
    def is_fitted(self) -> bool:
        """Whether the coefficient comes from the draws."""
        return isinstance(self.control.coefficient, str)

    @property
    def per_parameter(self) -> bool:
        """Whether each parameter has a coefficient of its own."""
        return self.is_fitted and self.control.coefficient == FITTED_PER_PARAMETER

    @property
    def coefficient(self) -> Array:
        """The coefficient that was given."""
        return jnp.asarray(self.control.coefficient, float)

    def expected(self, params: Params, law: Distribution, like: Any) -> Array:
        """E h, in the shape and dtype of f."""
        return self._shaped(self.expectation(params, law), like, "its expectation")

    def at(self, x: PyTree, like: Any) -> Array:
        """h(x), in the shape and dtype of f."""
        value = self._shaped(self.h(x), like, "its value")
        return guard(value, order=0, message=CONSTANT_H) if self.per_parameter else value

    def _shaped(self, value: Any, like: Any, what: str) -> Array:
        value = to_float(value)
        if value.shape not in ((), like.shape):
            message = WRONG_SHAPE.format(name=self.control.name, given=value.shape, what=what, wanted=like.shape)
            raise ValueError(message)
        return jnp.broadcast_to(value.astype(like.dtype), like.shape)


def bind(controls: Any, f: Objective, law: Distribution) -> list[Bound]:
    """The control variates of a call; none for None."""
    if controls is None:
        return []
    controls = list(controls) if isinstance(controls, Sequence) else [controls]
    if not all(isinstance(control, ControlVariate) for control in controls):
        raise TypeError(NOT_A_CONTROL.format(given=_checks.describe(controls if len(controls) != 1 else controls[0])))
    for control in controls:
        if control.needs is not None and control.needs not in law.capabilities:
            wanted, given = _checks.name_of(control.needs), _checks.name_of(law.capabilities)
            raise TypeError(NEEDS.format(name=control.name, wanted=wanted, law=law.name, given=given))
    return [Bound(control, *control.bind(f, law)) for control in controls]
