"""Estimators: one file each, all of one skeleton, registered in ``ESTIMATORS``."""

from jax_scorefn.engine import black_box as black_box
from jax_scorefn.estimators._bounds._elbo import elbo as elbo, elbo_grad as elbo_grad
from jax_scorefn.estimators._bounds._iwae import iwae as iwae, iwae_grad as iwae_grad
from jax_scorefn.estimators._bounds._sticking_the_landing import (
    sticking_the_landing as sticking_the_landing,
    sticking_the_landing_grad as sticking_the_landing_grad,
)
from jax_scorefn.estimators._controlled._rebar import (
    RebarTuning as RebarTuning,
    rebar as rebar,
    rebar_grad as rebar_grad,
)
from jax_scorefn.estimators._controlled._relax import relax as relax, relax_grad as relax_grad
from jax_scorefn.estimators._coupled import coupled as coupled, coupled_grad as coupled_grad
from jax_scorefn.estimators._measure_valued import (
    measure_valued as measure_valued,
    measure_valued_grad as measure_valued_grad,
)
from jax_scorefn.estimators._path._gumbel_rao import gumbel_rao as gumbel_rao, gumbel_rao_grad as gumbel_rao_grad
from jax_scorefn.estimators._path._gumbel_softmax import (
    gumbel_softmax as gumbel_softmax,
    gumbel_softmax_grad as gumbel_softmax_grad,
)
from jax_scorefn.estimators._path._pathwise import pathwise as pathwise, pathwise_grad as pathwise_grad
from jax_scorefn.estimators._path._reinmax import reinmax as reinmax, reinmax_grad as reinmax_grad
from jax_scorefn.estimators._path._straight_through import (
    straight_through as straight_through,
    straight_through_grad as straight_through_grad,
)
from jax_scorefn.estimators._registry import ESTIMATORS as ESTIMATORS, Record as Record
from jax_scorefn.estimators._score._double_control_variate import (
    double_control_variate as double_control_variate,
    double_control_variate_grad as double_control_variate_grad,
)
from jax_scorefn.estimators._score._rodeo import RodeoTuning as RodeoTuning, rodeo as rodeo, rodeo_grad as rodeo_grad
from jax_scorefn.estimators._score._score_function import (
    score_function as score_function,
    score_function_grad as score_function_grad,
)
from jax_scorefn.estimators._score._vargrad import vargrad as vargrad, vargrad_grad as vargrad_grad
from jax_scorefn.estimators._shared_uniforms._arm import arm as arm, arm_grad as arm_grad
from jax_scorefn.estimators._shared_uniforms._arms import arms as arms, arms_grad as arms_grad
from jax_scorefn.estimators._shared_uniforms._carms import carms as carms, carms_grad as carms_grad
from jax_scorefn.estimators._shared_uniforms._disarm import disarm as disarm, disarm_grad as disarm_grad
from jax_scorefn.estimators._shared_uniforms._disarm_categorical import (
    disarm_categorical as disarm_categorical,
    disarm_categorical_grad as disarm_categorical_grad,
)
from jax_scorefn.estimators._shared_uniforms._unordered_set import (
    unordered_set as unordered_set,
    unordered_set_grad as unordered_set_grad,
)
from jax_scorefn.estimators._summed._exact import exact as exact, exact_grad as exact_grad
from jax_scorefn.estimators._summed._rao_blackwell import (
    rao_blackwell as rao_blackwell,
    rao_blackwell_grad as rao_blackwell_grad,
)
from jax_scorefn.estimators._summed._sum_and_sample import (
    sum_and_sample as sum_and_sample,
    sum_and_sample_grad as sum_and_sample_grad,
)
from jax_scorefn.estimators._tuning import tuned_grad as tuned_grad
