"""The exam that the library's own estimators sit: exact oracles and k-sigma gates, for users' estimators too."""

from jax_scorefn.testing._gates import assert_unbiased as assert_unbiased
from jax_scorefn.testing._gates import assert_variance as assert_variance
from jax_scorefn.testing._gates import replicate as replicate
from jax_scorefn.testing._mdp import PrisonersDilemma as PrisonersDilemma
from jax_scorefn.testing._mdp import TabularMDP as TabularMDP
from jax_scorefn.testing._mdp import Trajectory as Trajectory
from jax_scorefn.testing._mdp import short_corridor as short_corridor
from jax_scorefn.testing._oracles import enumerate_draws as enumerate_draws
from jax_scorefn.testing._oracles import enumerate_expectation as enumerate_expectation
from jax_scorefn.testing._oracles import quadrature_expectation as quadrature_expectation
from jax_scorefn.testing._rules import check_rule as check_rule
