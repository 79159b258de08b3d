"""Stochastic programs: several random choices in ordinary JAX code, each credited with the costs that depend on it."""

from jax_scorefn.programs._choice import sample as sample
from jax_scorefn.programs._expectation import expectation as expectation
from jax_scorefn.programs._expectation import explain as explain
from jax_scorefn.programs._explain import Choice as Choice
from jax_scorefn.programs._explain import Cost as Cost
from jax_scorefn.programs._explain import Explanation as Explanation
from jax_scorefn.programs._forget import forget as forget
