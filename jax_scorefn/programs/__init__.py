"""Stochastic programs: several random choices in ordinary JAX code, each credited with the costs that depend on it."""

from jax_scorefn.programs._choice import sample as sample
from jax_scorefn.programs._expectation import expectation as expectation
from jax_scorefn.programs._expectation import explain as explain
from jax_scorefn.programs._explain import Cost as Cost
from jax_scorefn.programs._explain import Explanation as Explanation
from jax_scorefn.programs._explain import SampleSite as SampleSite
from jax_scorefn.programs._forget import forget as forget
from jax_scorefn.programs._own_rules import register_rule as register_rule
from jax_scorefn.programs._own_rules import with_rule as with_rule
from jax_scorefn.programs.rules import RULES as RULES
from jax_scorefn.programs.rules import Operation as Operation
from jax_scorefn.programs.rules import Rule as Rule

Choice = SampleSite
"""Its older name."""
