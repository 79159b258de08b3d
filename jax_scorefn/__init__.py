"""Gradients of expectations for JAX: grad_theta E_{x ~ p(x; theta)}[f(x)], as pure functions.

    import jax_scorefn as sf

    policy = sf.family(lambda params: sf.Categorical(logits=params))
    grads = sf.score_function_grad(f, policy, params, key)

An estimator is a function whose value estimates E[f(x)] and whose derivatives estimate the derivatives of it, so it composes with
``jax.grad``, ``vmap``, ``jit``, ``scan`` and sharding. Each has a twin ``..._grad``, its gradient in ``params``.

What there is, by topic:

    one choice                    score_function, pathwise, exact, black_box, tuned_grad, magic_box
    for bits and categories       disarm, arms, arm, rebar, relax, rodeo, carms, disarm_categorical, rao_blackwell, unordered_set,
                                  sum_and_sample, gumbel_softmax, gumbel_rao, straight_through, reinmax
    for others                    measure_valued, coupled, double_control_variate, vargrad
    bounds on a log-evidence      elbo, sticking_the_landing, iwae
    what is random                family, Family, Distribution, Normal, Bernoulli, ... (sf.distributions), kl
    programs of several choices   sample, expectation, explain, plan, programs
    programs with jax.random      random, lift, lost_gradients, LostGradientWarning
    less noise                    baselines, control_variates, schemes, RebarTuning, RodeoTuning
    which estimator               audit, ESTIMATORS, Record, Bias, Capability, Info
    policies                      policy_gradient
    loops and tests               training, testing, diagnostics
"""

import importlib as _importlib
import typing as _typing

from jax_scorefn import (
    baselines as baselines,
    control_variates as control_variates,
    distributions as distributions,
    schemes as schemes,
)
from jax_scorefn._guesses import guessed as _guessed
from jax_scorefn._jaxlib import warn_if_it_errs as _warn_if_it_errs
from jax_scorefn._surrogate import magic_box as magic_box
from jax_scorefn.distributions import (
    Autoregressive as Autoregressive,
    Bernoulli as Bernoulli,
    Beta as Beta,
    BetaBinomial as BetaBinomial,
    Binomial as Binomial,
    Categorical as Categorical,
    Cauchy as Cauchy,
    Dirichlet as Dirichlet,
    Distribution as Distribution,
    Exponential as Exponential,
    Family as Family,
    Gamma as Gamma,
    Geometric as Geometric,
    Gumbel as Gumbel,
    HalfNormal as HalfNormal,
    Joint as Joint,
    Laplace as Laplace,
    Logistic as Logistic,
    LogNormal as LogNormal,
    Mixture as Mixture,
    Multinomial as Multinomial,
    MultivariateNormal as MultivariateNormal,
    NegativeBinomial as NegativeBinomial,
    Normal as Normal,
    OneHotCategorical as OneHotCategorical,
    Poisson as Poisson,
    StudentT as StudentT,
    TanhNormal as TanhNormal,
    TruncatedNormal as TruncatedNormal,
    Uniform as Uniform,
    VonMises as VonMises,
    Weibull as Weibull,
    family as family,
    kl as kl,
)
from jax_scorefn.estimators import (
    ESTIMATORS as ESTIMATORS,
    RebarTuning as RebarTuning,
    Record as Record,
    RodeoTuning as RodeoTuning,
    arm as arm,
    arm_grad as arm_grad,
    arms as arms,
    arms_grad as arms_grad,
    black_box as black_box,
    carms as carms,
    carms_grad as carms_grad,
    coupled as coupled,
    coupled_grad as coupled_grad,
    disarm as disarm,
    disarm_categorical as disarm_categorical,
    disarm_categorical_grad as disarm_categorical_grad,
    disarm_grad as disarm_grad,
    double_control_variate as double_control_variate,
    double_control_variate_grad as double_control_variate_grad,
    elbo as elbo,
    elbo_grad as elbo_grad,
    exact as exact,
    exact_grad as exact_grad,
    gumbel_rao as gumbel_rao,
    gumbel_rao_grad as gumbel_rao_grad,
    gumbel_softmax as gumbel_softmax,
    gumbel_softmax_grad as gumbel_softmax_grad,
    iwae as iwae,
    iwae_grad as iwae_grad,
    measure_valued as measure_valued,
    measure_valued_grad as measure_valued_grad,
    pathwise as pathwise,
    pathwise_grad as pathwise_grad,
    rao_blackwell as rao_blackwell,
    rao_blackwell_grad as rao_blackwell_grad,
    rebar as rebar,
    rebar_grad as rebar_grad,
    reinmax as reinmax,
    reinmax_grad as reinmax_grad,
    relax as relax,
    relax_grad as relax_grad,
    rodeo as rodeo,
    rodeo_grad as rodeo_grad,
    score_function as score_function,
    score_function_grad as score_function_grad,
    sticking_the_landing as sticking_the_landing,
    sticking_the_landing_grad as sticking_the_landing_grad,
    straight_through as straight_through,
    straight_through_grad as straight_through_grad,
    sum_and_sample as sum_and_sample,
    sum_and_sample_grad as sum_and_sample_grad,
    tuned_grad as tuned_grad,
    unordered_set as unordered_set,
    unordered_set_grad as unordered_set_grad,
    vargrad as vargrad,
    vargrad_grad as vargrad_grad,
)
from jax_scorefn.typing import Bias as Bias, Capability as Capability, Info as Info

if _typing.TYPE_CHECKING:
    from jax_scorefn import (
        diagnostics as diagnostics,
        policy_gradient as policy_gradient,
        programs as programs,
        random as random,
        testing as testing,
        training as training,
    )
    from jax_scorefn.diagnostics import audit as audit, lost_gradients as lost_gradients
    from jax_scorefn.programs import (
        LostGradientWarning as LostGradientWarning,
        expectation as expectation,
        explain as explain,
        plan as plan,
        sample as sample,
    )
    from jax_scorefn.random import lift as lift

_warn_if_it_errs()

__version__ = "0.3.0"
_LATER = {
    "diagnostics": ("audit", "lost_gradients"),
    "policy_gradient": (),
    "programs": ("LostGradientWarning", "expectation", "explain", "plan", "sample"),
    "random": ("lift",),
    "testing": (),
    "training": (),
}
"""Package -> its names here. Imported when somebody asks: a third of what the import would take."""
_HOMES = {name: package for package, names in _LATER.items() for name in (package, *names)}
_PARTS = {"engine", "noise"}
"""Packages that users have no business with."""
__all__ = sorted({*(name for name in globals() if not name.startswith("_")), *_HOMES} - _PARTS)  # pyright: ignore


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]


if not _typing.TYPE_CHECKING:  # or a checker would believe every name

    def __getattr__(name: str):
        if name not in _HOMES:
            raise _guessed(name, __all__)
        package = _importlib.import_module(f"{__name__}.{_HOMES[name]}")
        return package if name == _HOMES[name] else getattr(package, name)
