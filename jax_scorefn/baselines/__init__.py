"""Baselines: what is subtracted from f before it multiplies the score.

    E[(f(x_i) - b_i) grad log p(x_i)] = E[f(x_i) grad log p(x_i)]      whenever b_i does not depend on draw i,

since the score has mean 0. A good b_i takes out most of the variance.
"""

from jax_scorefn.baselines._base import Baseline as Baseline
from jax_scorefn.baselines._base import Values as Values
from jax_scorefn.baselines._ema import EMA as EMA
from jax_scorefn.baselines._ema import EMAState as EMAState
from jax_scorefn.baselines._ema import ema as ema
from jax_scorefn.baselines._learned import Learned as Learned
from jax_scorefn.baselines._learned import LearnedState as LearnedState
from jax_scorefn.baselines._learned import learned as learned
from jax_scorefn.baselines._of_draws import batch_mean as batch_mean
from jax_scorefn.baselines._of_draws import leave_one_out as leave_one_out
from jax_scorefn.baselines._of_draws import optimal_constant as optimal_constant
from jax_scorefn.baselines._of_draws import self_critical as self_critical
from jax_scorefn.baselines._resolve import resolve as resolve

Draws = Values
"""Its older name."""
