"""Schemes: how the uniforms that draws are made of are made themselves.

    iid                 u_i                                    every draw alone
    antithetic          u, 1 - u                               pairs
    stratified(n)       (pi_d(i) + u_i) / n                    n draws, each coordinate in each of n strata once
    sobol(replicates)   net_i XOR shift                        a digital net, shifted as a whole at random

Each draw by itself has the distribution that was asked for, so any mean over draws is unbiased. The draws of one *group* (a pair, a
pass over the strata, a net) depend on each other, and groups are independent. A baseline is therefore made of the *other groups*,
and a standard error of the spread between groups.
"""

from jax_scorefn.schemes._base import Scheme as Scheme, group_size as group_size
from jax_scorefn.schemes._pairs import antithetic as antithetic, iid as iid
from jax_scorefn.schemes._sobol import sobol as sobol
from jax_scorefn.schemes._strata import stratified as stratified

_INTERNAL = {"group_size"}
"""What other packages of the library take, and no page of the documentation has."""
