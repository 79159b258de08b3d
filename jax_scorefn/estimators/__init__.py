"""Estimators: one file each, all of one skeleton, registered in ``ESTIMATORS``."""

from jax_scorefn.estimators._arm import arm as arm
from jax_scorefn.estimators._arm import arm_grad as arm_grad
from jax_scorefn.estimators._arms import arms as arms
from jax_scorefn.estimators._arms import arms_grad as arms_grad
from jax_scorefn.estimators._black_box import black_box as black_box
from jax_scorefn.estimators._disarm import disarm as disarm
from jax_scorefn.estimators._disarm import disarm_grad as disarm_grad
from jax_scorefn.estimators._double_control_variate import double_control_variate as double_control_variate
from jax_scorefn.estimators._double_control_variate import double_control_variate_grad as double_control_variate_grad
from jax_scorefn.estimators._exact import exact as exact
from jax_scorefn.estimators._exact import exact_grad as exact_grad
from jax_scorefn.estimators._pathwise import pathwise as pathwise
from jax_scorefn.estimators._pathwise import pathwise_grad as pathwise_grad
from jax_scorefn.estimators._registry import ESTIMATORS as ESTIMATORS
from jax_scorefn.estimators._registry import Record as Record
from jax_scorefn.estimators._score_function import score_function as score_function
from jax_scorefn.estimators._score_function import score_function_grad as score_function_grad
from jax_scorefn.estimators._vargrad import vargrad as vargrad
from jax_scorefn.estimators._vargrad import vargrad_grad as vargrad_grad
