"""A learned baseline: b = a function of a context, trained by least squares on the values of f     (Mnih and Gregor 2014)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.lax import stop_gradient

from jax_scorefn import _checks
from jax_scorefn._trees import is_inexact, partition, real_parts, uphill
from jax_scorefn.baselines._base import Baseline, Values
from jax_scorefn.typing import Array, Bias, Info, PyTree

NOT_A_FUNCTION = "learned wants a function apply(params, context); it got {given}."

UNBOUND = (
    "learned has a state: make it once, net = sf.baselines.learned(apply), begin with state = net.init(params), and pass "
    "baseline=net.attach(state, context)."
)
WRONG_SHAPE = (
    "The function of a learned baseline returns one number for each element of f, shape {wanted}; it returned {given}."
)


class LearnedState(NamedTuple):
    """Parameters of the user's function, and the state of their optimizer."""

    params: PyTree
    opt_state: PyTree


@dataclasses.dataclass(frozen=True)
class Learned:
    """A user's function as a baseline with a state. Made by :func:`learned`."""

    apply: Callable[[PyTree, Any], Array]
    optimizer: optax.GradientTransformation

    def init(self, params: PyTree) -> LearnedState:
        """The state that begins with these parameters."""
        return LearnedState(params, self.optimizer.init(partition(params, is_inexact)[0]))

    def value(self, state: LearnedState, context: Any) -> Array:
        """What the function says of a context, stopped."""
        return stop_gradient(jnp.asarray(self.apply(state.params, context)))

    def attach(self, state: LearnedState, context: Any) -> Baseline:
        """The baseline of one call, made in a context that does not depend on the draws."""

        def apply(draws: Values) -> Array:
            b = self.value(state, context)
            if b.shape != draws.values.shape[1:]:
                raise ValueError(WRONG_SHAPE.format(wanted=draws.values.shape[1:], given=b.shape))
            return jnp.broadcast_to(b.astype(draws.values.dtype), draws.values.shape)

        return Baseline("learned", apply, Bias.NONE, 1, "b is what a trained function says of a context.")

    def loss(self, params: PyTree, info: Info, context: Any) -> Array:
        """Half the mean squared distance between what the function says and the values of a call, which are stopped."""
        values = stop_gradient(info.values)
        b = jnp.asarray(self.apply(params, context))
        if b.shape != values.shape[1:]:
            raise ValueError(WRONG_SHAPE.format(wanted=values.shape[1:], given=b.shape))
        return jnp.sum(real_parts(b[None].astype(values.dtype) - values) ** 2) / (2 * values.size)

    bind = attach
    """Its older name."""

    def update(self, state: LearnedState, info: Info, context: Any) -> LearnedState:
        """One step of the optimizer on the loss: after the call that used the old state."""
        moving, whole = partition(state.params, is_inexact)  # a model may hold functions, and ints
        grads = jax.grad(lambda moving: self.loss(whole(moving), info, context))(moving)
        updates, opt_state = self.optimizer.update(uphill(grads), state.opt_state, moving)
        return LearnedState(whole(optax.apply_updates(moving, updates)), opt_state)


def learned(apply: Callable[[PyTree, Any], Array], optimizer: optax.GradientTransformation | None = None) -> Learned:
    """Baseline by a trained function of a context: b = apply(params, context).

    The context is whatever is known before the draw (an observation, a data point). The function is never differentiated
    through the score term: what trains it is ``loss``, apart, by ``update`` or in an optimizer of your own (for a batch of
    contexts, the mean of ``jax.vmap(net.loss, (None, 0, 0))``).

    Args:
      apply: ``(params, context) -> b``, of the shape of f.
      optimizer: an optax optimizer for ``update``; None is ``optax.adam(1e-2)``.

    Returns:
      An object with ``init(params)``, ``attach(state, context)``, ``update(state, info, context)``,
      ``loss(params, info, context)`` and ``value(state, context)``.

    Raises:
      TypeError: for an ``apply`` that cannot be called.

    Bias: none, at every order, since b does not depend on the draws of the call.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> coin = sf.family(lambda logit: sf.Bernoulli(logits=logit))
      >>> net = sf.baselines.learned(lambda w, context: w * context)
      >>> state = net.init(jnp.zeros(()))
      >>> def step(state, key):
      ...     context = jax.random.uniform(jax.random.fold_in(key, 1))
      ...     grads, info = sf.score_function_grad(
      ...         lambda x: context * (5.0 + x), coin, 0.0, jax.random.fold_in(key, 2), num_samples=8,
      ...         baseline=net.attach(state, context), has_aux=True)
      ...     return net.update(state, info, context), grads
      >>> state, _ = jax.lax.scan(step, state, jax.random.split(jax.random.key(0), 2000))
      >>> print(f"{state.params:.1f}")
      5.5

    References: mnih2014.
    """
    if not callable(apply):
        raise TypeError(NOT_A_FUNCTION.format(given=_checks.describe(apply)))
    return Learned(apply, optax.adam(1e-2) if optimizer is None else optimizer)
