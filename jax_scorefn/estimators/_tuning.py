"""What changes the variance of a gradient and not its mean is trained by the gradient of the gradient's square.

grad_t Var[g]  =  grad_t E[g^2]  =  E[ 2 g dg/dt ],      since E[g] does not depend on t                 (Ruiz et al. 2016)

For a complex g it is |g|^2, and its conjugate that stands before dg/dt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn._checks import flags
from jax_scorefn._trees import is_inexact, is_number, partition
from jax_scorefn.typing import PyTree

NOTHING_TO_TUNE = "tuned_grad differentiates in the tuning, which has no float in it: {given!r}. Pass floats."


def tuned_grad(grads: Callable[[PyTree], Any], tuning: PyTree, *, has_aux: bool = False) -> tuple[PyTree, ...]:
    """A gradient, and the gradient of its variance in what the estimator is tuned by.

    Args:
      grads: ``tuning -> gradient``, with all else bound, the key too: of one estimator, of a batch of them, through a network. Its
        mean must not depend on the tuning, as for the tuning of :func:`rebar`, :func:`relax` and :func:`rodeo`, and the coefficient of
        :func:`double_control_variate`.
      tuning: where it is taken, a pytree with floats.
      has_aux: whether ``grads`` returns a pair, of which the second is handed on.

    Returns:
      ``(gradient, tuning_grads)``, or with ``has_aux=True`` ``(gradient, tuning_grads, aux)``. ``tuning_grads`` is like ``tuning``
      (with None in place of leaves that are no numbers), an unbiased estimate of the derivative of the summed variance of the
      gradient: hand it to an optax optimizer.

    Raises:
      TypeError: for a tuning without a float.

    Cost: about twice that of the gradient.

    Example:
      >>> import jax, jax.numpy as jnp, optax, jax_scorefn as sf
      >>> bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))
      >>> f, logits = lambda b: jnp.sum((b - 0.45) ** 2), jnp.zeros(3)
      >>> rebar = lambda tuning, key: sf.rebar_grad(f, bits, logits, key, tuning=tuning, num_samples=2)
      >>> adam, tuning = optax.adam(0.02), jax.tree.map(jnp.float32, sf.RebarTuning())
      >>> def step(carry, key):
      ...     tuning, state = carry
      ...     grads, slopes = sf.tuned_grad(lambda t: rebar(t, key), tuning)   # grads would train the logits, in the same step
      ...     updates, state = adam.update(slopes, state)
      ...     return (optax.apply_updates(tuning, updates), state), None
      >>> trained = jax.lax.scan(step, (tuning, adam.init(tuning)), jax.random.split(jax.random.key(0), 500))[0][0]
      >>> def std(tuning):
      ...     return sf.testing.replicate(lambda key: rebar(tuning, key), jax.random.key(1), 1000)[:, 0].std()
      >>> print(f"{std(tuning):.3f} -> {std(trained):.3f}")
      0.107 -> 0.042

    References: ruiz2016, tucker2017, grathwohl2018.
    """
    flags(has_aux=has_aux)
    if not any(is_inexact(leaf) for leaf in jax.tree.leaves(tuning)):
        raise TypeError(NOTHING_TO_TUNE.format(given=tuning))
    numbers, whole = partition(tuning, is_number)
    gradient, pull_back, *aux = jax.vjp(lambda numbers: grads(whole(numbers)), numbers, has_aux=has_aux)
    (tuning_grads,) = pull_back(jax.tree.map(lambda g: 2 * jnp.conj(g) if is_inexact(g) else g, gradient))
    return gradient, tuning_grads, *aux
