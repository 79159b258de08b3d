"""How a number moves with the parameters of its distribution: so that as much of the distribution stays below it.

    dx  =  -(dF / dtheta) dtheta / p           the velocity of a draw at x
    dF  =  p (dx - velocity)                   so nobody differentiates F in a parameter

``on_path`` puts a draw that stands still on its path. A distribution whose draws can move in a mixture too knows velocity and F as
``_velocity(x, *tangents of its fields)`` and ``_cdf(x)``, the probabilities below and above x, each with digits of its own. Both are
of single coordinates. Velocity and density are functions of x and of the parameters, and are differentiated as such: what is made
of them is right in every order in which they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn.typing import Array


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def on_path(velocity: Callable[[Array, Any, Any], Array], x: Array, fields: Any) -> Array:
    """X, a draw that was made of stopped fields, which moves with them: by ``velocity(x, fields, tangents of the fields)``."""
    del velocity, fields
    return x


@on_path.defjvp
def _on_path_jvp(velocity, primals, tangents):
    (x, fields), (_, moved) = primals, tangents
    x = on_path(velocity, x, fields)  # where it is moves on as it is differentiated again
    return x, velocity(x, fields, moved)


def has_path(dist: Any) -> bool:
    """Whether its coordinates have velocities, and probabilities below and above."""
    return hasattr(dist, "_velocity") and hasattr(dist, "_cdf")


def names_with_path(kind: type) -> set[str]:
    """Of the distributions of this package below a class."""
    below = kind.__subclasses__()
    ours = {one.__name__ for one in below if has_path(one) and one.__module__.startswith(__name__.rpartition(".")[0])}
    return ours.union(*map(names_with_path, below))


def velocity(x: Array, dist: Any, moved: Any) -> Array:
    """How draws at x move, for the tangent of the distribution."""
    tangents = jax.jvp(lambda dist: dist._fields(), (dist,), (moved,))[1]
    return dist._velocity(x, *tangents)


@jax.custom_jvp
def tails(x: Array, dist: Any) -> tuple[Array, Array]:
    """Probabilities below and above x."""
    return dist._cdf(x)


@tails.defjvp
def _tails_jvp(primals, tangents):
    (x, dist), (dx, moved) = primals, tangents
    flux = jnp.exp(dist._log_prob(x)) * (dx - velocity(x, dist, moved))
    return tails(x, dist), (flux, -flux)
