"""What other values would change, predicted by one derivative of the cost in the draws.

    b_j  =  d cost / d e_j   at e = 0,     where choice j has the draw   x_j + (e_j + departure(rate_j)) (other_j - x_j)

So a draw carries on the derivative of what it is made of, and the whole of the program after it is one backward pass. A prediction may
be anything: what it lacks is corrected. Of an int that is made a float the float is moved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn._trees import stop
from jax_scorefn._wide import wide
from jax_scorefn.programs._analysed import Analysed
from jax_scorefn.programs._evaluate import Run, from_outside
from jax_scorefn.programs._ir import Op
from jax_scorefn.programs.lanes._lane import Straight
from jax_scorefn.typing import Array

FAR = 3.0
"""How many times the largest difference that other runs have seen a prediction may say."""


def predicted(program: Analysed, sites: list[Op], before: dict[Any, Any], start: int, dtype: Any) -> list[Array]:
    """For each cost ``(n, *shape)``: what the other values of the sites would change, in the order of their lanes."""
    shapes = {site: program.spans[site].shape for site in sites}
    still = {site: jnp.zeros(shape, dtype) for site, shape in shapes.items()}

    def costs(moves: dict[int, Array]) -> list[Array]:
        run = Run(None, Straight({site: moves[site.serial] for site in sites}))
        run.env = {v: from_outside(x) for v, x in before.items()}
        return program.costs_from(run, start)

    slopes = jax.jacrev(costs)({site.serial: x for site, x in still.items()})
    flat = lambda slope, site: slope.reshape(*slope.shape[: slope.ndim - len(shapes[site])], -1)
    rows = [jnp.concatenate([flat(slope[site.serial], site) for site in sites], axis=-1) for slope in slopes]
    return [stop(wide(jnp.moveaxis(row, -1, 0))) for row in rows]


def believed(prediction: Array, differences: Array, picked: Array, of_others: Callable[[Array], Array]) -> Array:
    """As much of a prediction as the other runs bear out: times the slope of differences on it there, and not far beyond the largest.

    ``of_others``: an array of this run -> those of all runs on a first axis, with 0 in its own place. What this run has picked
    must not move its own prediction.
    """
    prediction = jnp.where(jnp.isfinite(prediction), prediction, 0)
    guess = prediction[picked]
    products, squares = (jnp.sum(of_others(jnp.sum(guess * x, axis=0)), axis=0) for x in (differences, guess))
    slope = jnp.where(squares > 0, products / jnp.where(squares > 0, squares, 1), 0)
    most = FAR * jnp.max(of_others(jnp.max(jnp.abs(differences), axis=0)), axis=0)[None]
    return jnp.clip(jnp.clip(slope, 0, 1)[None] * prediction, -most, most)
