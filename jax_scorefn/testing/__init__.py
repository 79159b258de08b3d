"""The exam that the library's own estimators sit: exact oracles and k-sigma gates, for users' estimators too."""

from jax_scorefn.testing._answers import AnswerModel as AnswerModel, Answers as Answers
from jax_scorefn.testing._gates import (
    assert_unbiased as assert_unbiased,
    assert_variance as assert_variance,
    replicate as replicate,
)
from jax_scorefn.testing._mdp import (
    PrisonersDilemma as PrisonersDilemma,
    TabularMDP as TabularMDP,
    Trajectory as Trajectory,
    short_corridor as short_corridor,
)
from jax_scorefn.testing._oracles import (
    enumerate_draws as enumerate_draws,
    enumerate_expectation as enumerate_expectation,
    quadrature_expectation as quadrature_expectation,
)
from jax_scorefn.testing._rules import check_rule as check_rule
