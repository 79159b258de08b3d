"""The registry that the exam is made from: one case for each distribution, with an oracle that shares no code with the estimators."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats

import jax_scorefn as sf
from jax_scorefn.distributions._family import FunctionDistribution, GivenSupport


@dataclasses.dataclass(frozen=True)
class Case:
    """A distribution with parameters, an objective that depends on the draw and on the parameters, and how to sum or integrate it."""

    dist: type
    family: sf.Family
    params: Any
    support: Any = None
    intervals: Any = None
    panels: int = 60
    exact_options: tuple[tuple[str, int], ...] = ()
    exact_rtol: float = 2e-5
    objective: Callable[[Any, Any], Any] | None = None
    shape: tuple[str, ...] = ()
    """Parameters in which the distribution has no weak derivative."""
    lift: Callable[[Any], tuple[Any, Any]] | None = None
    """For draws of fewer dimensions than numbers: ``point of the intervals -> (draw, log of its volume)``."""
    draws: Callable[[Any], Any] | None = None
    """``key -> draws`` that the family is given, of the distribution of the case itself."""
    reference: Callable[[Any], Any] | None = None
    """``params -> `` the same distribution of scipy."""
    textbook: tuple[Any, Any, Any] | None = None
    """Of one without a reference: such a distribution, a draw, and its log-probability as a book has it."""
    lacks: tuple[str, ...] = ()
    """The closed forms that are not known: of its entropy, of its relative entropy (kl)."""
    heavy: bool = False
    """Whether its tails reach beyond the intervals."""
    random: Callable[[Any, Any], Any] | None = None
    """``params, key -> `` the same draw by ``jax.random``."""
    bad: tuple[tuple[str, tuple[float, ...]], ...] = ()
    """Fields of the distribution that are parameters of the case, each with numbers that no distribution has there."""
    units: tuple[str, ...] = ()
    """The parameters that have the unit of a draw."""

    def f(self, x, params):
        """Smooth in x, different in each coordinate, and dependent on the parameters."""
        if self.objective is not None:
            return self.objective(x, params)
        return objective(x, params)

    def family_for(self, estimator):
        """The family, whose shapes are not differentiated if the estimator cannot."""
        if estimator not in HOLD_SHAPE or not self.shape:
            return self.family
        hold = lambda p: {name: jax.lax.stop_gradient(leaf) if name in self.shape else leaf for name, leaf in p.items()}
        return sf.family(lambda p: self.family.at(hold(p)))

    def drawn(self, estimator, key):
        """The family of one call: the same, unless it holds draws that were made before."""
        return self.family_for(estimator) if self.draws is None else given_draws(*self.draws(key))

    def oracle(self, estimator=None):
        """``params -> E[f]`` in float64, with the derivatives that an estimator can see."""
        f, family = (
            lambda x, p: self.f(x, jax.lax.stop_gradient(p) if estimator in HOLD_F else p),
            self.family_for(estimator),
        )
        return self.expectation(f, family)

    def expectation(self, f, family, finer=1):
        """``params -> E[f(x, params)]`` of a family with the draws of this case."""
        if self.support is not None:
            return sf.testing.enumerate_expectation(f, family, self.support)
        lift = self.lift or (lambda t: (t, 0.0))
        density = lambda p, t: family(p, lift(t)[0]) + lift(t)[1]
        return sf.testing.quadrature_expectation(
            lambda t, p: f(lift(t)[0], p), density, self.intervals, panels=finer * self.panels, nodes=8
        )


def objective(x, params):
    first = jax.tree.leaves(params)[0]
    x = jnp.asarray(x).astype(first.dtype)
    weights = jnp.arange(1, x.size + 1).astype(x.dtype).reshape(x.shape)
    return jnp.sum(jnp.sin(weights * x) + x**2 / 4) + jnp.mean(first) * jnp.sum(x)


def joint_objective(x, params):
    return jnp.sin(x["a"]) * (1 + x["b"][0]) + x["b"][1] * params["m"] + x["a"] ** 2 / 2


def given_draws(draws, log_proposal):
    return sf.family(
        log_prob=lambda p, x: sf.Bernoulli(logits=p["l"]).log_prob(x.astype(p["l"].dtype)), samples=draws, log_proposal=log_proposal, independent=True
    )  # fmt: skip


def coins(key):
    """Eight draws of fair coins, with what the fair coins say of them."""
    return jax.random.bernoulli(key, 0.5, (8, 2)).astype(jnp.float32), jnp.full(8, 2 * jnp.log(0.5))


def on_simplex(t):
    """A point of three parts: one part, how much of the rest is the second one, and the logarithm of the area that this takes."""
    rest = 1 - t[0]
    return jnp.stack([t[0], rest * t[1], rest * (1 - t[1])]), jnp.log(rest)


def counts(n, *, start=0, dims=1):
    values = np.array(list(itertools.product(range(start, n), repeat=dims)), np.int32)
    return values[:, 0] if dims == 1 else values


def sums_to(n, size):
    values = np.array(list(itertools.product(range(n + 1), repeat=size)), np.int32)
    return values[values.sum(axis=1) == n]


def bits(dims):
    return np.array(list(itertools.product([0.0, 1.0], repeat=dims)))


CHAIN = np.array([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]])
"""Of tokens: each is the row of the next one's probabilities."""


def _family(build):
    return sf.family(build)


class _Circular:
    """The von Mises distribution of scipy, whose draws are not kept in [-pi, pi)."""

    def __init__(self, k, loc):
        self.k, self.loc = k, loc
        self.logpdf = scipy.stats.vonmises(k, loc).logpdf
        self.entropy = scipy.stats.vonmises(k, loc).entropy

    def ppf(self, part):
        return scipy.stats.vonmises(self.k, 0.0).ppf(part) / 2 + self.loc / 2

    def cdf(self, x):
        below = scipy.stats.vonmises(self.k, self.loc).cdf
        return below(x) - below(-np.pi)


CASES: dict[str, Case] = {
    "GivenDraws": Case(
        sf.distributions.GivenDraws, given_draws(*coins(jax.random.key(1))), {"l": [0.4, -0.6]}, support=bits(2), draws=coins,
        lacks=("entropy", "kl"),
    ),
    "GivenSupport": Case(
        GivenSupport,
        sf.family(
            log_prob=lambda p, x: jax.nn.log_softmax(p["w"] * jnp.sin(jnp.arange(3).astype(p["w"].dtype)))[x.astype(int)],
            support=jnp.arange(3.0),
        ),
        {"w": 0.7},
        support=np.arange(3.0),
        lacks=("entropy", "kl"),
    ),
    "FunctionDistribution": Case(
        FunctionDistribution,
        sf.family(
            log_prob=lambda p, x: jax.scipy.stats.norm.logpdf(x, p["m"]),
            sampler=lambda key, p: p["m"] + jax.random.normal(key, (), p["m"].dtype),
            reparameterized=True,
        ),
        {"m": 0.3},
        intervals=(-9.0, 9.0),
        panels=60,
        lacks=("entropy", "kl"),
    ),
    "Normal": Case(
        sf.Normal,
        _family(lambda p: sf.Normal(loc=p["loc"], scale=jnp.exp(p["log_scale"]))),
        {"loc": [0.3, -0.5], "log_scale": [-0.5, -0.2]},
        intervals=[(-7.0, 7.0), (-7.0, 7.0)],
        panels=24,
        reference=lambda p: scipy.stats.norm(p["loc"], np.exp(p["log_scale"])),
    ),
    "MultivariateNormal": Case(
        sf.MultivariateNormal,
        _family(lambda p: sf.MultivariateNormal(loc=p["loc"], scale_tril=p["tril"])),
        {"loc": [0.3, -0.5], "tril": [[0.7, 0.0], [0.3, 0.6]]},
        intervals=[(-6.0, 6.0), (-6.0, 6.0)],
        panels=24,
        textbook=(
            sf.MultivariateNormal(loc=jnp.array([0.1, 0.2]), covariance=jnp.array([[1.0, 0.3], [0.3, 0.5]])), np.float32([0.5, -0.2]),
            scipy.stats.multivariate_normal([0.1, 0.2], [[1.0, 0.3], [0.3, 0.5]]).logpdf(np.float32([0.5, -0.2])),
        ),
    ),
    "TanhNormal": Case(
        sf.TanhNormal,
        _family(lambda p: sf.TanhNormal(loc=p["loc"], scale=p["scale"])),
        {"loc": 0.4, "scale": 0.9},
        intervals=(-1.0, 1.0),
        panels=2000,
        textbook=(sf.TanhNormal(loc=0.2, scale=0.5), 0.3, scipy.stats.norm(0.2, 0.5).logpdf(np.arctanh(0.3)) - np.log(1 - 0.3**2)),
        lacks=("entropy",),
    ),
    "Laplace": Case(
        sf.Laplace,
        _family(lambda p: sf.Laplace(loc=p["loc"], scale=p["scale"])),
        {"loc": 0.0, "scale": 0.6},
        intervals=(-24.0, 24.0),
        panels=400,
        exact_options=(("num_nodes", 64),),
        reference=lambda p: scipy.stats.laplace(p["loc"], p["scale"]),
    ),
    "Logistic": Case(
        sf.Logistic,
        _family(lambda p: sf.Logistic(loc=p["loc"], scale=p["scale"])),
        {"loc": 0.3, "scale": 0.6},
        intervals=(-30.0, 30.0),
        panels=300,
        exact_options=(("num_nodes", 64),),
        reference=lambda p: scipy.stats.logistic(p["loc"], p["scale"]),
        lacks=("kl",),
    ),
    "Gumbel": Case(
        sf.Gumbel,
        _family(lambda p: sf.Gumbel(loc=p["loc"], scale=p["scale"])),
        {"loc": 0.3, "scale": 0.6},
        intervals=(-5.0, 30.0),
        panels=300,
        exact_options=(("num_nodes", 64),),
        reference=lambda p: scipy.stats.gumbel_r(p["loc"], p["scale"]),
    ),
    "Cauchy": Case(
        sf.Cauchy,
        _family(lambda p: sf.Cauchy(loc=p["loc"], scale=p["scale"])),
        {"loc": 0.3, "scale": 0.6},
        intervals=(-200.0, 200.0),
        panels=3000,
        objective=lambda x, p: (1 + x) / (1 + x * x) ** 2 + p["loc"] * jnp.exp(-x * x),  # it has no moments,
        reference=lambda p: scipy.stats.cauchy(p["loc"], p["scale"]),
        exact_options=(("num_nodes", 128),),
        heavy=True,
    ),
    "HalfNormal": Case(
        sf.HalfNormal,
        _family(lambda p: sf.HalfNormal(scale=p["scale"])),
        {"scale": 0.8},
        intervals=(0.0, 9.0),
        panels=60,
        exact_options=(("num_nodes", 48),),
        reference=lambda p: scipy.stats.halfnorm(0.0, p["scale"]),
        random=lambda p, k: p["scale"] * jnp.sqrt(jnp.asarray(2.0, p["scale"].dtype)) * jax.scipy.special.erfinv(jax.random.uniform(k, (), p["scale"].dtype)),
        bad=(("scale", (-1.0, 0.0)),),
        units=("scale",),
    ),
    "LogNormal": Case(
        sf.LogNormal,
        _family(lambda p: sf.LogNormal(loc=p["loc"], scale=jnp.exp(p["log_scale"]))),
        {"loc": 0.3, "log_scale": -0.9},
        intervals=(0.0, 30.0),
        panels=1200,
        exact_options=(("num_nodes", 96),),
        reference=lambda p: scipy.stats.lognorm(np.exp(p["log_scale"]), scale=np.exp(p["loc"])),
        random=lambda p, k: jnp.exp(p["loc"] + jnp.exp(p["log_scale"]) * jax.random.normal(k, (), p["loc"].dtype)),
    ),
    "StudentT": Case(
        sf.StudentT,
        _family(lambda p: sf.StudentT(df=p["df"], loc=p["loc"], scale=p["scale"])),
        {"df": 4.5, "loc": 0.3, "scale": 0.6},
        intervals=(-200.0, 200.0),
        panels=4000,
        objective=lambda x, p: jnp.sin(x) + x / (1 + x * x / 4) + p["df"] * jnp.exp(-x * x),
        exact_options=(("num_nodes", 96),),
        shape=("df",),
        reference=lambda p: scipy.stats.t(p["df"], p["loc"], p["scale"]),
        random=lambda p, k: p["loc"] + p["scale"] * jax.random.t(k, p["df"]),
        bad=(("df", (-1.0, 0.0)), ("scale", (-1.0, 0.0))),
        units=("loc", "scale"),
        heavy=True,
        lacks=("kl",),
    ),
    "TruncatedNormal": Case(
        sf.TruncatedNormal,
        _family(lambda p: sf.TruncatedNormal(loc=p["loc"], scale=p["scale"], low=-0.5, high=2.0)),
        {"loc": [0.3, -1.5], "scale": [0.8, 0.9]},
        intervals=[(-0.5, 2.0), (-0.5, 2.0)],
        panels=16,
        reference=lambda p: scipy.stats.truncnorm((-0.5 - p["loc"]) / p["scale"], (2.0 - p["loc"]) / p["scale"], p["loc"], p["scale"]),
        bad=(("scale", (-1.0, 0.0)),),
    ),
    "VonMises": Case(
        sf.VonMises,
        _family(lambda p: sf.VonMises(loc=p["loc"], concentration=p["k"])),
        {"loc": 2.0, "k": 1.3},
        intervals=(-np.pi, np.pi),
        panels=60,
        objective=lambda x, p: jnp.sin(x) + jnp.cos(2 * x + 0.5) / 2 + p["k"] * jnp.cos(x - 1),
        reference=lambda p: _Circular(p["k"], p["loc"]),
    ),
    "Exponential": Case(
        sf.Exponential, _family(lambda p: sf.Exponential(rate=p["rate"])), {"rate": 1.5}, intervals=(0.0, 30.0), panels=200,
        reference=lambda p: scipy.stats.expon(scale=1 / p["rate"]),
    ),
    "Weibull": Case(
        sf.Weibull,
        _family(lambda p: sf.Weibull(concentration=p["a"], scale=p["scale"])),
        {"a": 1.2, "scale": 1.2},
        intervals=(0.0, 20.0),
        panels=800,
        exact_options=(("num_nodes", 128),),
        exact_rtol=1e-4,
        shape=("a",),
        reference=lambda p: scipy.stats.weibull_min(p["a"], scale=p["scale"]),
    ),
    "Gamma": Case(
        sf.Gamma,
        _family(lambda p: sf.Gamma(concentration=p["a"], rate=p["rate"])),
        {"a": 3.5, "rate": 2.0},
        intervals=(0.0, 30.0),
        panels=400,
        exact_options=(("num_nodes", 64),),
        exact_rtol=1e-4,
        shape=("a",),
        reference=lambda p: scipy.stats.gamma(p["a"], scale=1 / p["rate"]),
    ),
    "Uniform": Case(
        sf.Uniform,
        _family(lambda p: sf.Uniform(low=-1.0, high=jnp.full_like(p["w"], 2.0))),
        {"w": 0.7},
        intervals=(-1.0, 2.0),
        panels=20,
        reference=lambda p: scipy.stats.uniform(-1, 3),
    ),
    "Beta": Case(
        sf.Beta,
        _family(lambda p: sf.Beta(a=p["a"], b=p["b"])),
        {"a": 2.5, "b": 3.5},
        intervals=(0.0, 1.0),
        panels=400,
        exact_options=(("num_nodes", 128),),
        exact_rtol=1e-4,
        reference=lambda p: scipy.stats.beta(p["a"], p["b"]),
    ),
    "Dirichlet": Case(
        sf.Dirichlet,
        _family(lambda p: sf.Dirichlet(concentration=p["a"])),
        {"a": [3.0, 2.0, 4.5]},
        intervals=[(0.0, 1.0), (0.0, 1.0)],
        panels=24,
        lift=on_simplex,
        exact_options=(("num_nodes", 64),),
        exact_rtol=1e-4,
        textbook=(
            sf.Dirichlet(concentration=jnp.array([0.7, 2.5, 1.5])), np.float32([0.5, 0.3, 0.2]),
            scipy.stats.dirichlet([0.7, 2.5, 1.5]).logpdf([0.5, 0.3, 0.2]),
        ),
    ),
    "Bernoulli": Case(
        sf.Bernoulli, _family(lambda p: sf.Bernoulli(logits=p["l"])), {"l": [0.4, -1.0, 2.0]}, support=bits(3),
        reference=lambda p: scipy.stats.bernoulli(scipy.special.expit(p["l"])),
    ),
    "Categorical": Case(
        sf.Categorical,
        _family(lambda p: sf.Categorical(logits=p["l"])),
        {"l": [[0.4, -1.0, 0.3], [0.0, 1.0, -0.5]]},
        support=counts(3, dims=2),
        textbook=(sf.Categorical(logits=jnp.array([0.1, 0.2, -1.0])), 2, np.log(np.exp(-1.0) / np.exp([0.1, 0.2, -1.0]).sum())),
    ),
    "OneHotCategorical": Case(
        sf.OneHotCategorical,
        _family(lambda p: sf.OneHotCategorical(logits=p["l"])),
        {"l": [[0.4, -1.0, 0.3], [0.0, 1.0, -0.5]]},
        support=np.eye(3)[counts(3, dims=2)],
        textbook=(
            sf.OneHotCategorical(logits=jnp.array([0.1, 0.2, -1.0])), np.float32([0, 0, 1]),
            np.log(np.exp(-1.0) / np.exp([0.1, 0.2, -1.0]).sum()),
        ),
    ),
    "Autoregressive": Case(
        sf.Autoregressive,
        _family(
            lambda p: sf.Autoregressive(step=lambda table, carry, token: (carry, table[token]), params=p["l"], carry=(), length=3)
        ),
        {"l": [[0.4, -1.0, 0.3], [0.0, 1.0, -0.5], [-0.2, 0.6, 0.1]]},
        support=counts(3, dims=3),
        textbook=(
            sf.Autoregressive(
                step=lambda table, carry, token: (carry, jnp.log(table[token])), params=jnp.array(CHAIN, jnp.float32), carry=(), length=3,
            ),
            jnp.array([2, 1, 1]), np.log(CHAIN[0, 2] * CHAIN[2, 1] * CHAIN[1, 1]),
        ),
        lacks=("entropy", "kl"),
    ),
    "Binomial": Case(
        sf.Binomial,
        _family(lambda p: sf.Binomial(total_count=5, logits=p["l"])),
        {"l": [0.4, -0.6]},
        support=counts(6, dims=2),
        reference=lambda p: scipy.stats.binom(5, scipy.special.expit(p["l"])),
        lacks=("entropy",),
    ),
    "BetaBinomial": Case(
        sf.BetaBinomial,
        _family(lambda p: sf.BetaBinomial(total_count=5, a=p["a"], b=p["b"])),
        {"a": [1.4, 0.6], "b": [2.0, 1.1]},
        support=counts(6, dims=2),
        textbook=(sf.BetaBinomial(total_count=7, a=2.5, b=0.7), 2, scipy.stats.betabinom(7, 2.5, 0.7).logpmf(2)),
        lacks=("entropy", "kl"),
    ),
    "Multinomial": Case(
        sf.Multinomial,
        _family(lambda p: sf.Multinomial(total_count=4, logits=p["l"])),
        {"l": [0.4, -0.6, 0.1]},
        support=sums_to(4, 3),
        textbook=(
            sf.Multinomial(total_count=7, probs=jnp.array([0.4, 1.2, 0.4])), np.array([2, 4, 1]),
            scipy.stats.multinomial(7, [0.2, 0.6, 0.2]).logpmf([2, 4, 1]),
        ),
        lacks=("entropy",),
    ),
    "Geometric": Case(
        sf.Geometric,
        _family(lambda p: sf.Geometric(probs=p["p"])),
        {"p": 0.4},
        support=counts(60, start=1),
        exact_options=(("max_value", 59),),
        reference=lambda p: scipy.stats.geom(p["p"]),
    ),
    "Poisson": Case(
        sf.Poisson,
        _family(lambda p: sf.Poisson(rate=p["rate"])),
        {"rate": 2.5},
        support=counts(40),
        exact_options=(("max_value", 39),),
        reference=lambda p: scipy.stats.poisson(p["rate"]),
        lacks=("entropy",),
    ),
    "NegativeBinomial": Case(
        sf.NegativeBinomial,
        _family(lambda p: sf.NegativeBinomial(total_count=p["r"], logits=p["l"])),
        {"l": -0.5, "r": 2.5},
        support=counts(60),
        exact_options=(("max_value", 59),),
        shape=("r",),
        textbook=(
            sf.NegativeBinomial(total_count=2.5, probs=0.6), 4, scipy.stats.nbinom(2.5, 1 - float(np.float32(0.6))).logpmf(4),
        ),
        lacks=("entropy", "kl"),
    ),
    "Mixture": Case(
        sf.Mixture,
        _family(lambda p: sf.Mixture(logits=p["w"], components=sf.Normal(loc=p["loc"], scale=p["scale"]))),
        {"w": [0.3, -0.5], "loc": [-1.0, 1.2], "scale": [0.6, 0.9]},
        intervals=(-9.0, 10.0),
        panels=60,
        textbook=(
            sf.Mixture(probs=jnp.array([0.3, 0.7]), components=sf.Normal(loc=jnp.array([-1.0, 1.0]), scale=0.5)), 0.2,
            np.log(scipy.stats.norm([-1.0, 1.0], 0.5).pdf(0.2) @ [0.3, 0.7]),
        ),
        lacks=("entropy", "kl"),
    ),
    "Joint": Case(
        sf.Joint,
        _family(
            lambda p: sf.Joint({"a": sf.Poisson(rate=p["rate"]), "b": sf.Bernoulli(logits=p["l"])})
        ),
        {"rate": 0.8, "m": 0.5, "l": [0.3, -0.4]},
        support={
            "a": np.repeat(np.arange(20, dtype=np.int32), 4),
            "b": np.tile(bits(2), (20, 1)),
        },
        exact_options=(("max_value", 19),),
        objective=lambda x, p: joint_objective({"a": x["a"].astype(p["m"].dtype), "b": x["b"].astype(p["m"].dtype)}, p),
        textbook=(
            sf.Joint([sf.Normal(loc=0.0, scale=1.0), sf.Poisson(rate=2.0)]), [0.5, 3],
            scipy.stats.norm.logpdf(0.5) + scipy.stats.poisson(2.0).logpmf(3),
        ),
        lacks=("entropy",),
    ),
}  # fmt: skip

OF_A_FAMILY = {name for name, case in CASES.items() if case.dist.__module__ == FunctionDistribution.__module__}
"""Those that are made by ``sf.family`` alone."""


def maker(name: str, method: str) -> type:
    """The class whose method a distribution has: what is inherited needs to be met with one heir alone by default."""
    return next(kind for kind in type(dist_of(name)).__mro__ if method in vars(kind))


def made_of(name: str) -> tuple[type, bool] | None:
    """The class below a distribution, and whether its oracle is an integral; None over a simplex, where that takes long."""
    case = CASES[name]
    return None if case.lift else (case.dist.__mro__[1], case.support is None)


@functools.cache
def dist_of(name: str) -> sf.Distribution:
    """The distribution of a case at its parameters."""
    return CASES[name].family.at(params_of(name, jnp.float32))


def frame(estimator: str) -> tuple[Any, ...]:
    """What an estimator has in common with others: what is estimated, and whether f is differentiated."""
    record = sf.ESTIMATORS[estimator]
    return record.estimates, record.differentiates_f


def params_of(name: str, dtype: Any) -> Any:
    """The parameters of a case as arrays of a dtype."""
    tree = CASES[name].params
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree, is_leaf=lambda leaf: isinstance(leaf, list))


HOLD_F = tuple(name for name, record in sf.ESTIMATORS.items() if record.stops_f)
"""Estimators that drop f's own dependence on the parameters."""
LOG_TARGET = ("sticking_the_landing", "iwae")
"""Estimators of E[f - log q]: in the exam their f is that of the case plus log q at held parameters, so E[f] is the truth for them
too."""
HOLD_SHAPE = ("measure_valued", "coupled")
"""Estimators that raise where a distribution's shape is differentiated."""


def truth(name: str, estimator: str | None = None, hessian: bool = False) -> tuple[Any, ...]:
    """Exact value and gradient (and Hessian) of a case, of which an estimator may see less than all."""
    sees_less = estimator in HOLD_F or (estimator in HOLD_SHAPE and CASES[name].shape)
    return _truth(name, estimator if sees_less else None, hessian)


@functools.cache
def _truth(name: str, estimator: str | None, hessian: bool) -> tuple[Any, ...]:
    """In float64, as numpy."""
    with jax.enable_x64(True):
        params, oracle = params_of(name, jnp.float64), CASES[name].oracle(estimator)
        found = jax.jit(jax.value_and_grad(oracle))(params)
        return jax.device_get((*found, jax.jit(jax.hessian(oracle))(params)) if hessian else found)


def critic(scale, z):
    """Of the noise behind a draw, for RELAX."""
    return scale * sum(jnp.sum(jnp.tanh(leaf * leaf / 8)) for leaf in jax.tree.leaves(z))


REQUIRED = {"relax": {"critic": critic, "tuning": 0.3}}
"""Options without a default."""


def loss_of(name: str, estimator: str, **options):
    """``(params, key) -> value`` of an estimator on a case, with f closing over the parameters."""
    case, record = CASES[name], sf.ESTIMATORS[estimator]
    options = {**(dict(case.exact_options) if estimator == "exact" else {}), **REQUIRED.get(estimator, {}), **options}

    def loss(params, key):
        held = jax.lax.stop_gradient(params)
        own = held if estimator in HOLD_F else params
        log_q = lambda x: case.family(held, x) if estimator in LOG_TARGET else 0.0
        family = case.drawn(estimator, key)
        return record.function(lambda x: case.f(x, own) + log_q(x), family, params, key, **options)

    return loss


SAMPLING = {
    name: {"num_samples": 8}
    for name in (
        "score_function", "pathwise", "double_control_variate", "vargrad", "arm", "disarm", "arms", "rao_blackwell", "sum_and_sample",
        "unordered_set", "disarm_categorical", "carms", "rebar", "relax", "rodeo", "gumbel_softmax", "straight_through", "gumbel_rao", "reinmax",
        "sticking_the_landing", "measure_valued", "coupled",
    )
} | {"iwae": {"num_samples": 8, "num_particles": 1}}  # fmt: skip
BIASED = {name for name, record in sf.ESTIMATORS.items() if record.bias is sf.Bias.BIASED}
OPTIONS = {**SAMPLING, "exact": {}}


def _works(name, estimator):
    return not sf.ESTIMATORS[estimator].missing(dist_of(name))


PAIRS = [(name, estimator) for name in CASES for estimator in OPTIONS if _works(name, estimator)]
REFUSED = [(name, estimator) for name in CASES for estimator in OPTIONS if not _works(name, estimator)]
