"""A family: everything there is to know about p(x; params), in the one argument that estimators call ``logp``.

family(params, x)      log-probability of x, so a family *is* a logp
family.at(params)      the distribution of one draw at these parameters
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable
from typing import Any, overload

import jax
import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn._trees import num_leading, stop, take_rows
from jax_scorefn._users_code import LOG_PROB, OF_PARAMS, SAMPLER, noted
from jax_scorefn.distributions._adapters import as_distribution
from jax_scorefn.distributions._alternatives import Alternative
from jax_scorefn.distributions._base import Distribution
from jax_scorefn.distributions._categorical import Categorical
from jax_scorefn.distributions._grids import Grid, refuse_above
from jax_scorefn.distributions._views import CategoricalView, numbered
from jax_scorefn.noise import samplers
from jax_scorefn.typing import Array, Bias, Capability, Key, Params, PyTree

LOG_PROPOSAL_SHAPE = "log_proposal holds one number for each given draw, shape ({number},); it has shape {shape}."

LogProb = Callable[[Params, Any], Any]
_REFUSED: contextvars.ContextVar[tuple[tuple[Family, list[Any], str], ...]] = contextvars.ContextVar(
    "refused", default=()
)
"""Families that may not be asked just now, at which parameters, and what is said then."""


class Family:
    """p(x; params) for each params: ``family(params, x)`` is the log-probability of one draw, ``family.at(params)`` the distribution.

    Made by :func:`family`; hashable by identity, so it can be a static argument of jit.

    Attributes:
      bias: what the way the draws were made adds to an estimator's own bias.
      form: how it was given, for its repr.
    """

    form = "..."

    def __init__(self, build: Callable[[Params], Distribution], log_prob: LogProb, bias: Bias = Bias.NONE):
        self._build, self._log_prob = build, log_prob
        self.bias = bias

    def __repr__(self) -> str:
        return f"sf.family({self.form})"

    def at(self, params: Params) -> Distribution:
        """The distribution of one draw at these parameters."""
        self._may_be_asked(params)
        return self._build(params)

    def __call__(self, params: Params, x: PyTree) -> Array:
        """Log-probability of one draw (up to a constant where the family was declared unnormalised)."""
        self._may_be_asked(params)
        return self._log_prob(params, x)

    def outside_of(self, f: Callable[..., Any], params: Params, message: str) -> Callable[..., Any]:
        """The same f, which raises if it asks this family at these very parameters: these arrays, not others that are equal."""
        leaves = jax.tree.leaves(params)

        @functools.wraps(f)
        def call(*args: Any) -> Any:
            token = _REFUSED.set((*_REFUSED.get(), (self, leaves, message)))
            try:
                return f(*args)
            finally:
                _REFUSED.reset(token)

        return call

    def _may_be_asked(self, params: Params) -> None:
        for family, leaves, message in reversed(_REFUSED.get()):  # the innermost is what the user called
            if family is self:
                given = jax.tree.leaves(params)
                if len(given) == len(leaves) and all(a is b for a, b in zip(given, leaves, strict=True)):
                    raise TypeError(message)


@overload
def family(dist_fn: Callable[[Any], Any], /) -> Family: ...
@overload
def family(
    dist_fn: None = None,
    /,
    *,
    log_prob: LogProb,
    sampler: Callable[[Key, Any], Any] | None = None,
    reparameterized: bool = False,
    samples: PyTree = None,
    log_proposal: Any = None,
    normalized: bool = True,
    independent: bool = False,
    support: PyTree = None,
) -> Family: ...


def family(
    dist_fn: Callable[[Any], Any] | None = None,
    /,
    *,
    log_prob: LogProb | None = None,
    sampler: Callable[[Key, Any], Any] | None = None,
    reparameterized: bool = False,
    samples: PyTree = None,
    log_proposal: Any = None,
    normalized: bool = True,
    independent: bool = False,
    support: PyTree = None,
) -> Family:
    """The distribution p(x; params) of one draw, for every params, in one of five forms.

    ========================  ==========================================================================
    how p is given            call
    ========================  ==========================================================================
    a distribution            ``family(dist_fn)``, also as a decorator
    two functions             ``family(log_prob=..., sampler=...)``
    draws made elsewhere      ``family(log_prob=..., samples=xs)``
    a finite set              ``family(log_prob=..., support=xs)``
    a density alone           ``family(log_prob=...)``, for estimators that draw from ``proposal=``
    ========================  ==========================================================================

    Args:
      dist_fn: ``params -> distribution`` of one draw: ours, or one of distrax, TFP-on-JAX, NumPyro, or any object with
        ``sample(key)`` and ``log_prob(x)``.
      log_prob: ``(params, x) -> scalar`` log-density of one draw. With ``support=`` it may be unnormalised.
      sampler: ``(key, params) -> x``, one draw.
      reparameterized: whether the sampler's derivative in params is that of the draw's path.
      samples: draws made elsewhere, a pytree with the draws on the leading axis: an MCMC chain, a replay buffer.
      log_proposal: log-density of each given draw under the distribution that made it, shape ``(S,)``; None if that distribution is
        p(.; params) itself. Never differentiated.
      normalized: False where ``log_prob`` (or ``log_proposal``) lacks its constant. Estimators then self-normalise.
      independent: whether the given draws are independent of each other. A chain's are not, and its leave-one-out
        baseline is then slightly biased: ``Family.bias`` says ``vanishing`` unless this is True.
      support: the values, a pytree with the values on the leading axis.

    Returns:
      A ``Family``: callable as ``family(params, x)``, and the ``logp`` of every estimator.

    Raises:
      TypeError: for any other combination of arguments.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> @sf.family
      ... def coin(params):
      ...     return sf.Bernoulli(logits=params["logit"])
      >>> print(f"{coin({'logit': 0.0}, 1.0):.4f}")
      -0.6931
      >>> die = sf.family(log_prob=lambda w, face: w * face, support=jnp.arange(1.0, 7.0))
      >>> print(f"{sf.exact(lambda face: face, die, 0.0):.2f}")
      3.50
    """
    named = {"dist_fn": dist_fn, "log_prob": log_prob, "sampler": sampler, "samples": samples, "support": support}
    named["log_proposal"] = log_proposal
    given = [name for name, argument in named.items() if argument is not None]
    made = _family(named, given, normalized, reparameterized, independent)
    made.form = ", ".join(_shown(name, named[name]) for name in given)
    return made


def _family(
    named: dict[str, Any], given: list[str], normalized: bool, reparameterized: bool, independent: bool
) -> Family:
    _checks.flags(normalized=normalized, reparameterized=reparameterized, independent=independent)
    dist_fn, log_prob, sampler, samples, support, log_proposal = named.values()
    refusal = _checks.NOT_A_FORM.format(given=", ".join(given) or "nothing")
    if dist_fn is not None:
        if not callable(dist_fn) or given != ["dist_fn"]:
            raise TypeError(refusal)

        def build_distribution(params: Params) -> Distribution:
            return as_distribution(noted(dist_fn, OF_PARAMS)(params))

        made = Family(build_distribution, lambda params, x: build_distribution(params).log_prob(x))
        return functools.update_wrapper(made, dist_fn, updated=())  # pyright: ignore[reportReturnType]

    sources = [name for name in ("sampler", "samples", "support") if name in given]
    if not callable(log_prob) or len(sources) > 1 or (log_proposal is not None and samples is None):
        raise TypeError(refusal)
    log_prob, bias = noted(log_prob, LOG_PROB), Bias.NONE if normalized else Bias.VANISHING
    if not sources:
        return Family(lambda params: Density(log_prob, params, normalized), log_prob, bias)
    if sampler is not None:
        sampler = noted(sampler, SAMPLER)
        build = lambda params: FunctionDistribution(log_prob, params, normalized, sampler, reparameterized)
        return Family(build, log_prob, bias)
    if samples is not None:
        bias = bias if independent else Bias.VANISHING
        return Family(lambda params: GivenDraws(log_prob, params, normalized, samples, log_proposal), log_prob, bias)
    return Family(lambda params: GivenSupport(log_prob, params, support), log_prob)


def _shown(name: str, given: Any) -> str:
    """An argument of ``family``, in short."""
    short = getattr(given, "__name__", type(given).__name__) if callable(given) else "..."
    return short if name == "dist_fn" else f"{name}={short}"


class Density(Distribution):
    """A log-density and nothing else: draws come from a proposal."""

    def __init__(self, log_prob: LogProb, params: Params, normalized: bool):
        self._log_prob, self._params, self.normalized = log_prob, params, normalized

    def log_prob(self, x: PyTree) -> Array:
        return _checks.log_prob(self, self._log_prob(self._params, x))


class FunctionDistribution(Density):
    """The distribution of two plain functions."""

    def __init__(
        self, log_prob: LogProb, params: Params, normalized: bool, sampler: Callable[..., Any], reparameterized: bool
    ):
        super().__init__(log_prob, params, normalized)
        self._sampler = sampler
        if reparameterized:
            self.capabilities |= Capability.REPARAMETERIZED

    def sample(self, key: Key) -> PyTree:
        return self._sampler(key, self._params)

    def sample_and_log_prob(self, key: Key) -> tuple[PyTree, Array]:
        x = stop(self._sampler(key, stop(self._params)))
        return x, self.log_prob(x)


class GivenDraws(Density):
    """The empirical distribution of draws made elsewhere: what ``family(log_prob=..., samples=xs)`` has at some parameters."""

    also = Capability.GIVEN_DRAWS

    def __init__(self, log_prob: LogProb, params: Params, normalized: bool, draws: PyTree, log_proposal: Any):
        super().__init__(log_prob, params, normalized)
        self.draws = stop(jax.tree.map(jnp.asarray, draws))
        self.num_samples = num_leading(self.draws)
        self.log_proposal = None if log_proposal is None else stop(jnp.asarray(log_proposal))
        if self.log_proposal is not None and self.log_proposal.shape != (self.num_samples,):
            raise ValueError(LOG_PROPOSAL_SHAPE.format(number=self.num_samples, shape=self.log_proposal.shape))


class GivenSupport(Density):
    """A distribution on a finite set, normalised by summing over it."""

    also = Capability.SUPPORT | Capability.FINITE
    _unnormalized = Density.log_prob

    def __init__(self, log_prob: LogProb, params: Params, support: PyTree):
        super().__init__(log_prob, params, True)
        self.support = stop(jax.tree.map(jnp.asarray, support))
        num_leading(self.support)

    def _of_values(self) -> Array:
        """Log-probabilities of all values."""
        return jax.nn.log_softmax(jax.vmap(self._unnormalized)(self.support))

    def log_prob(self, x: PyTree) -> Array:
        return self._unnormalized(x) - jax.nn.logsumexp(jax.vmap(self._unnormalized)(self.support))

    def mode(self) -> PyTree:
        likeliest = jnp.argmax(stop(self._of_values()))
        return jax.tree.map(lambda xs: xs[likeliest], self.support)

    def choices(self) -> CategoricalView:
        """One choice among the values."""
        return numbered(self._of_values(), None, lambda option: take_rows(self.support, option[0]))

    def uniform_like(self) -> jax.ShapeDtypeStruct:
        """One uniform."""
        return jax.ShapeDtypeStruct((), self._of_values().dtype)

    def alternative(self, u: Array, v: Array) -> Alternative:
        x, y, rate = Categorical(logits=self._of_values()).alternative(u, v)
        return Alternative(take_rows(self.support, x), take_rows(self.support, y), rate)

    def sample(self, key: Key) -> PyTree:
        return self.sample_and_log_prob(key)[0]

    def sample_and_log_prob(self, key: Key) -> tuple[PyTree, Array]:
        log_probs = self._of_values()
        index = samplers.categorical(key, stop(log_probs))
        return take_rows(self.support, index), take_rows(log_probs, index)

    def grid(self, *, num_nodes: int = 32, max_value: int | None = None, max_points: int = 2**16) -> Grid:
        del num_nodes, max_value
        log_probs = self._of_values()
        refuse_above(max_points, self.name, log_probs.shape[0], "the given support")
        return Grid(self.support, log_probs, jnp.exp(log_probs))
