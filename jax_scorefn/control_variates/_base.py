"""What a control variate is, and what it is in one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn._guards import guard
from jax_scorefn._trees import to_float
from jax_scorefn.distributions import Distribution
from jax_scorefn.typing import Array, Capability, Objective, Params, PyTree

FITTED, FITTED_PER_PARAMETER = "fitted", "fitted_per_parameter"
NOT_A_CONTROL = (
    "control_variate is sf.control_variates.known(h, expectation), sf.control_variates.delta(), or a sequence of them; it "
    "got {given}."
)
BAD_COEFFICIENT = "The coefficient of a control variate is a number, 'fitted' or 'fitted_per_parameter', not {given}."
NEEDS = (
    "The control variate {name} needs a distribution that has {wanted}; {dist} has {given}. Use sf.control_variates.known with an "
    "expectation of your own."
)
CONSTANT_H = (
    "A control variate with a coefficient for each parameter has an h that depends on the parameters, and its derivative in them "
    "cannot be scaled. Use coefficient='fitted', or stop the parameters inside h with jax.lax.stop_gradient."
)
WRONG_SHAPE = (
    "The control variate {name} has shape {given} ({what}); f has shape {wanted}: return that shape, or a scalar."
)


@dataclasses.dataclass(frozen=True)
class ControlVariate:
    """A function with a known expectation, and how much of it is subtracted.

    Attributes:
      name: its name in messages.
      bind: ``(f, dist) -> (h, expectation)``, with ``h(x)`` and ``expectation(params, dist)``.
      coefficient: a number, "fitted" or "fitted_per_parameter".
      needs: what the distribution must be able to do.
    """

    name: str
    bind: Callable[[Objective, Distribution], tuple[Objective, Callable[[Params, Distribution], Any]]]
    coefficient: Any = 1.0
    needs: Capability | None = None

    def __post_init__(self) -> None:
        c: Any = self.coefficient
        if isinstance(c, str):
            good = c in (FITTED, FITTED_PER_PARAMETER)
        else:
            good = _checks.is_real_scalar(c)
        if not good:
            raise ValueError(BAD_COEFFICIENT.format(given=_checks.describe(c)))


@dataclasses.dataclass(frozen=True, eq=False)
class ControlTerm:
    """A control variate of one call: ``h(x)``, ``expectation(params, dist)`` and its coefficient, of the shape and dtype of ``f``."""

    control: ControlVariate
    h: Objective
    expectation: Callable[[Params, Distribution], Any]
    f: Any

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

    def expected(self, params: Params, dist: Distribution, like: Any) -> Array:
        """E h, in the shape and dtype of what stands for f."""
        return self._shaped(self.expectation(params, dist), like, "its expectation")

    def at(self, x: PyTree, like: Any) -> Array:
        """h(x), in the shape and dtype of what stands for f."""
        value = self._shaped(self.h(x), like, "its value")
        return guard(value, order=0, message=CONSTANT_H) if self.per_parameter else value

    def _shaped(self, value: Any, like: Any, what: str) -> Array:
        value, inside, like = to_float(value), like, jax.eval_shape(self.f.outward, like)
        if value.shape not in ((), like.shape):
            message = WRONG_SHAPE.format(name=self.control.name, given=value.shape, what=what, wanted=like.shape)
            raise ValueError(message)
        return self.f.inward(jnp.broadcast_to(value.astype(like.dtype), like.shape)).astype(inside.dtype)


def is_per_parameter(controls: Any) -> bool:
    """Whether any of a call's control variates has a coefficient for each parameter."""
    several = controls if isinstance(controls, Sequence) else [controls]
    coefficients = [c.coefficient for c in several if isinstance(c, ControlVariate)]
    return any(isinstance(c, str) and c == FITTED_PER_PARAMETER for c in coefficients)


def attach(controls: Any, f: Any, dist: Distribution) -> list[ControlTerm]:
    """The control variates of a call, for an f that stands for ``f.native``; none for None."""
    if controls is None:
        return []
    controls = list(controls) if isinstance(controls, Sequence) else [controls]
    if not all(isinstance(control, ControlVariate) for control in controls):
        raise TypeError(NOT_A_CONTROL.format(given=_checks.describe(controls if len(controls) != 1 else controls[0])))
    for control in controls:
        if control.needs is not None and control.needs not in dist.capabilities:
            wanted, given = _checks.name_of(control.needs), _checks.name_of(dist.capabilities)
            raise TypeError(NEEDS.format(name=control.name, wanted=wanted, dist=dist.name, given=given))
    return [ControlTerm(control, *control.bind(f.native, dist), f=f) for control in controls]
