"""The evidence lower bound by any estimator, from the log of a joint density alone.

    L(theta)  =  E_q[ log p(x, data) - log q(x; theta) ]  <=  log p(data)

Where draws are held fixed, the term of log q is  -(log q + expm1(stop(log q) - log q)):  the same value without the derivative of
log q itself, a score, which is noise alone. What is left out is 1 - stop(q) / q, of mean 0 in every order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn._guards import guard
from jax_scorefn._trees import stop
from jax_scorefn.distributions import Distribution, Family
from jax_scorefn.estimators._bounds._frame import NO_CONSTANT, NOT_A_LOG_TARGET, log_weight
from jax_scorefn.estimators._registry import ESTIMATORS, Record, gradient, of_target
from jax_scorefn.typing import Array, Capability, Key, Params

STOPS_F = (
    "elbo does not take 'vargrad', which stops f, and with it the parameters of a model in log_joint. Take 'score_function', "
    "which leaves the score of log q out too."
)
NO_SUCH_ESTIMATOR = "elbo(estimator=) is 'auto' or the name of an estimator: {known}; it was given {given!r}."


def elbo(
    log_joint: Callable[..., Any],
    q: Family,
    params: Params,
    key: Key | None = None,
    *,
    estimator: str = "auto",
    **options: Any,
) -> Any:
    """The evidence lower bound E_q[log p(x, data) - log q(x)] of a variational family, to be raised.

    log q is subtracted here, in one convention for all estimators: ``log_joint`` never has it.

    Args:
      log_joint: ``x -> log p(x, data)``, a scalar, up to a constant. It may close over parameters of a model, and the derivative in
        these is in the result. Behind :func:`black_box` it may be plain Python, with an estimator that does not differentiate it.
      q: a :func:`family` of one draw, with the constant of its log-probability.
      params: parameters of q, a pytree with at least one float leaf.
      key: one JAX key; "exact" needs none.
      estimator: a name in ``sf.ESTIMATORS``, or "auto": "sticking_the_landing" where the draws of q are reparameterized, else
        "score_function", with leave-one-out. For bits and categories see :func:`audit`, or take "disarm" or "disarm_categorical". With
        "iwae" it is the tighter bound of ``num_particles`` draws.
      **options: of the estimator: ``num_samples``, ``baseline``, ``chunk_size``, ``sharding``, ``has_aux``, ...

    Returns:
      What the estimator returns: the bound, in nats, a float scalar; with ``has_aux=True`` the pair of it and :class:`Info`, whose
      ``values`` are log p - log q.

    Raises:
      TypeError: for a ``log_joint`` that asks q for its density, and for what the estimator refuses.
      ValueError: for an estimator that there is not, "vargrad" (which stops f), a ``log_joint`` that returns a shape, or a q
        that lacks its constant.

    Bias and orders: those of the estimator. Cost: that of the estimator, and log q of each draw. For estimators that ask between the
    draws ("rebar") log q is linear there.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> weights = jnp.array([0.2, 0.5, 0.3])  # of a mixture; x is the component that 1.3 came from
      >>> log_joint = lambda x: jnp.log(weights[x]) + sf.Normal(jnp.array([-1.0, 0.0, 2.0])[x], 1.0).log_prob(1.3)
      >>> q = sf.family(lambda logits: sf.Categorical(logits=logits))
      >>> posterior = jax.vmap(log_joint)(jnp.arange(3))  # as logits
      >>> bound, evidence = sf.elbo(log_joint, q, posterior, jax.random.key(0)), jax.nn.logsumexp(posterior)
      >>> print(f"{bound:.4f} {evidence:.4f}")
      -1.6873 -1.6873

    References: kingma2014, ranganath2014.
    """
    if not isinstance(q, Family):
        raise TypeError(_checks.NOT_A_FAMILY.format(name="elbo", given=_checks.describe(q)))
    if not callable(log_joint):
        raise TypeError(_checks.NOT_CALLABLE.format(name="elbo", given=_checks.describe(log_joint)))
    record = _record(estimator, q, params)
    log_joint = of_target("elbo", log_joint, q, params)
    if record.estimates != "E[f]":
        return record.function(log_joint, q, params, key, **options)
    params = guard(params, order=record.orders, message=record.too_often)
    dist = q.at(params)
    if not dist.normalized:
        raise ValueError(NO_CONSTANT.format(name="elbo", dist=dist.name))
    log_density = _between(dist) if Capability.RELAXED in record.needs else dist.log_prob

    def value(x: Any) -> Array:
        target = _checks.value(log_joint(x))
        if target.shape != ():
            raise ValueError(NOT_A_LOG_TARGET.format(name="elbo", shape=target.shape))
        log_q = _checks.log_prob(dist, log_density(x))
        own = jnp.zeros_like(log_q) if record.differentiates_f else jnp.expm1(stop(log_q) - log_q)
        return log_weight(target, log_q + jnp.where(jnp.isfinite(own), own, 0))

    return record.function(value, q, params, key, **options)


def _record(estimator: str, q: Family, params: Params) -> Record:
    if estimator == "auto":
        has_path = Capability.REPARAMETERIZED in q.at(params).capabilities
        estimator = "sticking_the_landing" if has_path else "score_function"
    if estimator not in ESTIMATORS:
        raise ValueError(NO_SUCH_ESTIMATOR.format(known=", ".join(ESTIMATORS), given=estimator))
    if ESTIMATORS[estimator].stops_f:
        raise ValueError(STOPS_F)
    return ESTIMATORS[estimator]


def _between(dist: Distribution) -> Callable[[Any], Array]:
    """Log q of a draw of independent choices, linear in what lies between the draws: for bits, x log p + (1 - x) log(1 - p)."""
    view = dist.choices()
    numbers = view.logits(view.log_probs)
    first = [jnp.zeros_like(rows).at[:, 0].set(1) for rows in view.log_probs]

    def against(x: Any) -> Array:
        terms = jax.tree.map(lambda number, part: jnp.sum(jnp.where(part == 0, 0, number * part)), numbers, x)
        return jnp.asarray(sum(jax.tree.leaves(terms)))

    at_first = sum(jnp.sum(rows[:, 0]) for rows in view.log_probs) - against(view.relax(first))  # pyright: ignore
    return lambda x: at_first + against(x)


elbo_grad = gradient(elbo)
