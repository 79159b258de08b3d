"""Stochastic programs: several random choices in ordinary JAX code, each credited with the costs that depend on it."""

from jax_scorefn.programs._choice import sample as sample
from jax_scorefn.programs._expectation import expectation as expectation, explain as explain
from jax_scorefn.programs._explain import Cost as Cost, Explanation as Explanation, SampleSite as SampleSite
from jax_scorefn.programs._forget import forget as forget
from jax_scorefn.programs._lifted import DRAW as DRAW, PROGRAM as PROGRAM, lifted as lifted
from jax_scorefn.programs._lost import (
    LostGradient as LostGradient,
    LostGradientWarning as LostGradientWarning,
    find_lost as find_lost,
)
from jax_scorefn.programs._noise import marked as marked
from jax_scorefn.programs._own_rules import register_rule as register_rule, with_rule as with_rule
from jax_scorefn.programs._source import short as short
from jax_scorefn.programs._while_loop import while_loop as while_loop
from jax_scorefn.programs.lanes._options import Coupled as Coupled
from jax_scorefn.programs.plans._make import plan as plan
from jax_scorefn.programs.plans._plan import Plan as Plan, Priced as Priced
from jax_scorefn.programs.rules import RULES as RULES, Operation as Operation, Rule as Rule

Choice = SampleSite
"""Its older name."""
_INTERNAL = {"DRAW", "PROGRAM", "find_lost", "lifted", "marked", "short"}
"""What other packages of the library take, and no page of the documentation has."""
