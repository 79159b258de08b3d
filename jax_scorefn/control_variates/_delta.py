"""The delta method: h is the Taylor polynomial of f at the mean m of the distribution     (MuProp, Gu et al. 2016, to first order).

h(x) = f(m) + f'(m)(x - m) + f''(m)[x - m, x - m] / 2
E h  = f(m) + f'(m)(E x - m) + ( f''(m)[E x - m, E x - m] + tr f''(m) Cov x ) / 2,      m held fixed
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jax_scorefn import _checks
from jax_scorefn._trees import stop
from jax_scorefn.control_variates._base import ControlVariate
from jax_scorefn.distributions import Distribution
from jax_scorefn.typing import Array, Capability, Objective, Params, PyTree

BAD_ORDER = "delta expands to order 1 or 2, not {given!r}."


def delta(*, order: int = 2, coefficient: Any = 1.0) -> ControlVariate:
    """The Taylor polynomial of f at the mean of the distribution: the delta method.

    h(x) = f(m) + f'(m)(x - m) + f''(m)[x - m, x - m] / 2 at m = E x, with E h from the distribution's mean and covariance. With
    ``order=1`` and Bernoulli draws this is MuProp. With a baseline it removes the variance of a quadratic f altogether: the score
    multiplies f - (h - E h), which is the constant E h there, and a baseline takes a constant away. With ``baseline=None``, and with
    a single draw, that constant stays on the score, and is noise.

    Args:
      order: 1 or 2.
      coefficient: as for :func:`known`.

    Needs: a distribution with a known mean and covariance, and an f that can be evaluated and differentiated at the mean (for whole
    numbers: between them). The expansion point is stopped, and so is whatever f closes over.

    Bias: none, at every order. Cost: one gradient of f, and a product for each draw; order 2: a second derivative of f along each
    draw, and one for each of the D coordinates.

    Raises:
      ValueError: for another order or coefficient.
      TypeError: when used, for a distribution that does not know its moments.

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

    def bind(f: Objective, dist: Distribution) -> Any:
        mean, unravel = ravel_pytree(stop(dist).mean())

        def as_vector(x: PyTree) -> Array:
            like = unravel(mean)
            return ravel_pytree(jax.tree.map(lambda part, m: part.astype(m.dtype), x, like))[0]

        def of_vector(x: Array) -> Array:
            return _checks.value(f(unravel(x)), complex_too=True)

        hoisted, closed_over = jax.closure_convert(of_vector, mean)  # what f closes over, so that it can be held fixed
        closed_over = stop(closed_over)

        def at(x: Array) -> Array:
            return hoisted(x, *closed_over)

        value, slope = jax.linearize(at, mean)

        def curvature(v: Array, u: Array) -> Array:
            return jax.jvp(lambda x: jax.jvp(at, (x,), (v,))[1], (mean,), (u,))[1]

        def polynomial(v: Array) -> Array:
            linear = value + slope(v)
            return linear if order == 1 else linear + curvature(v, v) / 2

        def expectation(params: Params, dist: Distribution) -> Array:
            del params
            expected = polynomial(as_vector(dist.mean()) - mean)
            if order == 1:
                return expected

            def along(unit: Array) -> Array:
                return curvature(unit, as_vector(dist.covariance_times(unravel(unit))))

            return expected + jnp.sum(jax.vmap(along)(jnp.eye(mean.size, dtype=mean.dtype)), axis=0) / 2

        return lambda x: polynomial(as_vector(x) - mean), expectation

    return ControlVariate(f"delta(order={order})", bind, coefficient, Capability.MOMENTS)
