"""Baselines: what is subtracted from f before it multiplies the score.

    E[(f(x_i) - b_i) grad log p(x_i)] = E[f(x_i) grad log p(x_i)]      whenever b_i does not depend on draw i,

since the score has mean 0. A good b_i takes out most of the variance.
"""

from jax_scorefn.baselines._across import across as across
from jax_scorefn.baselines._base import Baseline as Baseline, Values as Values
from jax_scorefn.baselines._ema import EMA as EMA, EMAState as EMAState, ema as ema
from jax_scorefn.baselines._learned import Learned as Learned, LearnedState as LearnedState, learned as learned
from jax_scorefn.baselines._of_draws import (
    batch_mean as batch_mean,
    leave_one_out as leave_one_out,
    optimal_constant as optimal_constant,
    self_critical as self_critical,
)
from jax_scorefn.baselines._resolve import resolve as resolve

Draws = Values
"""Its older name."""

_INTERNAL = {"resolve"}
"""What other packages of the library take, and no page of the documentation has."""
