"""Samplers of ``jax.random`` as they were when the library was imported: a lifted program has others in their places for a while."""

from jax.random import (
    binomial as binomial,
    categorical as categorical,
    geometric as geometric,
    gumbel as gumbel,
    poisson as poisson,
    uniform as uniform,
)
