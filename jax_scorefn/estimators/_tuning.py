"""What changes the variance of a gradient and not its mean is trained by the gradient of the gradient's square.

grad_t Var[g]  =  grad_t E[g^2]  =  E[ 2 g dg/dt ],      since E[g] does not depend on t                 (Ruiz et al. 2016)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from jax_scorefn._trees import is_float
from jax_scorefn.typing import Key, Objective, Params, PyTree

NOTHING_TO_TUNE = "tuned_grad differentiates in {option}, which has no float in it: {given!r}. Pass floats."


def tuned_grad(
    estimator_grad: Callable[..., PyTree],
    f: Objective,
    logp: Any,
    params: Params,
    key: Key,
    *,
    tuning: PyTree,
    option: str = "tuning",
    has_aux: bool = False,
    **options: Any,
) -> tuple[PyTree, ...]:
    """A gradient, and the gradient of its variance in what the estimator is tuned by.

    Args:
      estimator_grad: the ``_grad`` form of an estimator whose mean does not depend on the option: :func:`rebar_grad`,
        :func:`relax_grad`, :func:`rodeo_grad`, or :func:`double_control_variate_grad` with ``option="coefficient"``.
      f: function of one draw that returns a scalar.
      logp: a :func:`family`.
      params: pytree with at least one float leaf.
      key: one JAX key.
      tuning: value of the option, a pytree of floats.
      option: name of the option.
      has_aux: also return the :class:`Info` of the estimate.
      **options: other options of the estimator.

    Returns:
      ``(grads, tuning_grads)``, or with ``has_aux=True`` ``(grads, tuning_grads, info)``. ``grads`` is that of
      ``estimator_grad``; ``tuning_grads`` is like ``tuning``, an unbiased estimate of the derivative of the summed variance of
      ``grads``.

    Cost: about twice that of the gradient.

    Example:
      >>> import jax, jax.numpy as jnp, optax, jax_scorefn as sf
      >>> bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))
      >>> f, logits = lambda b: jnp.sum((b - 0.45) ** 2), jnp.zeros(3)
      >>> adam, tuning = optax.adam(0.02), jax.tree.map(jnp.float32, sf.RebarTuning())
      >>> def step(carry, key):
      ...     tuning, state = carry
      ...     _, grads = sf.tuned_grad(sf.rebar_grad, f, bits, logits, key, tuning=tuning, num_samples=2)
      ...     updates, state = adam.update(grads, state)
      ...     return (optax.apply_updates(tuning, updates), state), None
      >>> trained = jax.lax.scan(step, (tuning, adam.init(tuning)), jax.random.split(jax.random.key(0), 500))[0][0]
      >>> def spread(tuning):
      ...     grads = jax.jit(jax.vmap(lambda key: sf.rebar_grad(f, bits, logits, key, tuning=tuning, num_samples=2)))
      ...     return grads(jax.random.split(jax.random.key(1), 1000))[:, 0].std()
      >>> print(f"{spread(tuning):.3f} -> {spread(trained):.3f}")
      0.107 -> 0.042

    References: ruiz2016, tucker2017, grathwohl2018.
    """
    if not any(is_float(leaf) for leaf in jax.tree.leaves(tuning)):
        raise TypeError(NOTHING_TO_TUNE.format(option=option, given=tuning))

    def grads_of(tuning: PyTree) -> Any:
        return estimator_grad(f, logp, params, key, has_aux=has_aux, **{option: tuning}, **options)

    grads, pull_back, *aux = jax.vjp(grads_of, tuning, has_aux=has_aux)
    (tuning_grads,) = pull_back(jax.tree.map(lambda g: 2 * g if is_float(g) else g, grads))
    return grads, tuning_grads, *aux
