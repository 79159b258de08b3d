"""Gradients of expectations for JAX: grad_theta E_{x ~ p(x; theta)}[f(x)], as pure functions.

    import jax_scorefn as sf

    policy = sf.family(lambda params: sf.Categorical(logits=params))
    grads = sf.score_function_grad(f, policy, params, key)

An estimator is a function whose value estimates E[f(x)] and whose derivatives estimate the derivatives of it, so it composes with
``jax.grad``, ``vmap``, ``jit``, ``scan`` and sharding.
"""

from jax_scorefn import baselines as baselines
from jax_scorefn import control_variates as control_variates
from jax_scorefn import diagnostics as diagnostics
from jax_scorefn import distributions as distributions
from jax_scorefn import policy_gradient as policy_gradient
from jax_scorefn import programs as programs
from jax_scorefn import schemes as schemes
from jax_scorefn import testing as testing
from jax_scorefn import training as training
from jax_scorefn._surrogate import magic_box as magic_box
from jax_scorefn.diagnostics import audit as audit
from jax_scorefn.distributions import Autoregressive as Autoregressive
from jax_scorefn.distributions import Bernoulli as Bernoulli
from jax_scorefn.distributions import Beta as Beta
from jax_scorefn.distributions import BetaBinomial as BetaBinomial
from jax_scorefn.distributions import Binomial as Binomial
from jax_scorefn.distributions import Categorical as Categorical
from jax_scorefn.distributions import Cauchy as Cauchy
from jax_scorefn.distributions import Dirichlet as Dirichlet
from jax_scorefn.distributions import Distribution as Distribution
from jax_scorefn.distributions import Exponential as Exponential
from jax_scorefn.distributions import Family as Family
from jax_scorefn.distributions import Gamma as Gamma
from jax_scorefn.distributions import Geometric as Geometric
from jax_scorefn.distributions import Gumbel as Gumbel
from jax_scorefn.distributions import HalfNormal as HalfNormal
from jax_scorefn.distributions import Joint as Joint
from jax_scorefn.distributions import Laplace as Laplace
from jax_scorefn.distributions import Logistic as Logistic
from jax_scorefn.distributions import LogNormal as LogNormal
from jax_scorefn.distributions import Mixture as Mixture
from jax_scorefn.distributions import Multinomial as Multinomial
from jax_scorefn.distributions import MultivariateNormal as MultivariateNormal
from jax_scorefn.distributions import NegativeBinomial as NegativeBinomial
from jax_scorefn.distributions import Normal as Normal
from jax_scorefn.distributions import OneHotCategorical as OneHotCategorical
from jax_scorefn.distributions import Poisson as Poisson
from jax_scorefn.distributions import StudentT as StudentT
from jax_scorefn.distributions import TanhNormal as TanhNormal
from jax_scorefn.distributions import TruncatedNormal as TruncatedNormal
from jax_scorefn.distributions import Uniform as Uniform
from jax_scorefn.distributions import VonMises as VonMises
from jax_scorefn.distributions import Weibull as Weibull
from jax_scorefn.distributions import family as family
from jax_scorefn.distributions import kl as kl
from jax_scorefn.estimators import ESTIMATORS as ESTIMATORS
from jax_scorefn.estimators import RebarTuning as RebarTuning
from jax_scorefn.estimators import Record as Record
from jax_scorefn.estimators import RodeoTuning as RodeoTuning
from jax_scorefn.estimators import arm as arm
from jax_scorefn.estimators import arm_grad as arm_grad
from jax_scorefn.estimators import arms as arms
from jax_scorefn.estimators import arms_grad as arms_grad
from jax_scorefn.estimators import black_box as black_box
from jax_scorefn.estimators import disarm as disarm
from jax_scorefn.estimators import disarm_categorical as disarm_categorical
from jax_scorefn.estimators import disarm_categorical_grad as disarm_categorical_grad
from jax_scorefn.estimators import disarm_grad as disarm_grad
from jax_scorefn.estimators import double_control_variate as double_control_variate
from jax_scorefn.estimators import double_control_variate_grad as double_control_variate_grad
from jax_scorefn.estimators import exact as exact
from jax_scorefn.estimators import exact_grad as exact_grad
from jax_scorefn.estimators import gumbel_rao as gumbel_rao
from jax_scorefn.estimators import gumbel_rao_grad as gumbel_rao_grad
from jax_scorefn.estimators import gumbel_softmax as gumbel_softmax
from jax_scorefn.estimators import gumbel_softmax_grad as gumbel_softmax_grad
from jax_scorefn.estimators import iwae as iwae
from jax_scorefn.estimators import iwae_grad as iwae_grad
from jax_scorefn.estimators import measure_valued as measure_valued
from jax_scorefn.estimators import measure_valued_grad as measure_valued_grad
from jax_scorefn.estimators import pathwise as pathwise
from jax_scorefn.estimators import pathwise_grad as pathwise_grad
from jax_scorefn.estimators import rao_blackwell as rao_blackwell
from jax_scorefn.estimators import rao_blackwell_grad as rao_blackwell_grad
from jax_scorefn.estimators import rebar as rebar
from jax_scorefn.estimators import rebar_grad as rebar_grad
from jax_scorefn.estimators import reinmax as reinmax
from jax_scorefn.estimators import reinmax_grad as reinmax_grad
from jax_scorefn.estimators import relax as relax
from jax_scorefn.estimators import relax_grad as relax_grad
from jax_scorefn.estimators import rodeo as rodeo
from jax_scorefn.estimators import rodeo_grad as rodeo_grad
from jax_scorefn.estimators import score_function as score_function
from jax_scorefn.estimators import score_function_grad as score_function_grad
from jax_scorefn.estimators import sticking_the_landing as sticking_the_landing
from jax_scorefn.estimators import sticking_the_landing_grad as sticking_the_landing_grad
from jax_scorefn.estimators import straight_through as straight_through
from jax_scorefn.estimators import straight_through_grad as straight_through_grad
from jax_scorefn.estimators import sum_and_sample as sum_and_sample
from jax_scorefn.estimators import sum_and_sample_grad as sum_and_sample_grad
from jax_scorefn.estimators import tuned_grad as tuned_grad
from jax_scorefn.estimators import unordered_set as unordered_set
from jax_scorefn.estimators import unordered_set_grad as unordered_set_grad
from jax_scorefn.estimators import vargrad as vargrad
from jax_scorefn.estimators import vargrad_grad as vargrad_grad
from jax_scorefn.programs import expectation as expectation
from jax_scorefn.programs import explain as explain
from jax_scorefn.programs import sample as sample
from jax_scorefn.typing import Bias as Bias
from jax_scorefn.typing import Capability as Capability
from jax_scorefn.typing import Info as Info

__version__ = "0.1.0"
