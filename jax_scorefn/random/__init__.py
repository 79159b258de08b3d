"""``jax.random``, with samplers that an expectation can be differentiated through: ``from jax_scorefn import random``.

Each function has the name, the arguments and the draws of ``jax.random``'s own. Inside of :func:`jax_scorefn.expectation` a discrete
draw is a choice, scored with the costs that depend on it; outside it raises when a parameter is differentiated, where ``jax.random``
has a derivative of 0. Continuous draws are differentiated along their path, as in ``jax.random``, or scored where ``estimator=`` says
so. Whatever else ``jax.random`` has (keys, ``normal``, ``permutation``) is handed through.
"""

from __future__ import annotations

from typing import Any

import jax

from jax_scorefn.random._continuous import (
    beta as beta,
    chisquare as chisquare,
    dirichlet as dirichlet,
    double_sided_maxwell as double_sided_maxwell,
    f as f,
    gamma as gamma,
    generalized_normal as generalized_normal,
    loggamma as loggamma,
    lognormal as lognormal,
    multivariate_normal as multivariate_normal,
    pareto as pareto,
    rayleigh as rayleigh,
    t as t,
    weibull_min as weibull_min,
)
from jax_scorefn.random._discrete import (
    bernoulli as bernoulli,
    binomial as binomial,
    categorical as categorical,
    choice as choice,
    geometric as geometric,
    multinomial as multinomial,
    poisson as poisson,
    randint as randint,
    wald as wald,
)
from jax_scorefn.random._lift import lift as lift
from jax_scorefn.random._sampler import SAMPLERS as SAMPLERS, Sampler as Sampler

SAMPLERS.update(
    {name: Sampler("pathwise", parameters) for name, parameters in {
        "ball": ("p",),
        "triangular": ("left", "mode", "right"),
        "truncated_normal": ("lower", "upper"),
        "uniform": ("minval", "maxval"),
    }.items()}
    | dict.fromkeys(
        (
            *("cauchy", "exponential", "gumbel", "laplace", "logistic", "maxwell", "normal", "orthogonal", "rademacher"),
            *("bits", "permutation", "Key", "PRNGKey", "clone", "fold_in", "key", "key_data", "key_dtype", "key_impl"),
            *("random_gamma_p", "split", "wrap_key_data"),
        ),
        Sampler("passed through"),
    )
)  # fmt: skip


def __getattr__(name: str) -> Any:
    """Whatever ``jax.random`` has beside."""
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(jax.random, name)


def __dir__() -> list[str]:
    """All names, ours and those of ``jax.random``."""
    return sorted({*globals(), *(name for name in dir(jax.random) if not name.startswith("_"))})
