"""RELAX: a critic of one's own as a control variate                                          (Grathwohl et al. 2018)

    c(z)  =  critic(tuning, z)

in the frame of ``_frame``: any function of the noisy logits z, trained to make the gradient less noisy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jax_scorefn.estimators._controlled._frame import controlled_estimate
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.typing import Bias, Capability

FORBIDDEN = -100.0
"""What a critic sees for a category of probability 0, in place of -inf."""


@estimator(
    needs=(Capability.CHOICES,),
    bias=Bias.NONE,
    orders=1,
    evaluations="S, and 2 S of the critic",
    cite=("grathwohl2018",),
)
def relax(f, call, *, critic: Callable[..., Any], tuning):
    """E[f(x)] for discrete draws, with a differentiable critic of the noise behind them as a control variate.

    f is asked at the draws alone, and may be anything: a black box, a simulator. The critic is asked instead, at the noisy
    logits z that made the draw and at others that make the same one.

    Args:
      critic: ``(tuning, z) -> number``, a differentiable guess of f, of f's shape. z has the structure of a draw: a noisy logit
        for each bit (a bit is 1 where it is positive), a last axis of K noisy logits for each choice among K (the draw is the
        largest; a category of probability 0 has -100).
      tuning: pytree that the critic is made of: weights of a network, a temperature. Train it with :func:`tuned_grad`.
      num_samples: number S of draws, a Python int. With two or more, a leave-one-out mean is subtracted as well.

    Returns: The mean of f(x) - c(z~) + c(z), of the shape and dtype of f
    Raises: a critic whose result has not the shape of f's.
    Bias: It is so for every critic and tuning.
    Cost: One backward pass.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))
      >>> f = lambda b: jnp.sum(jnp.where(b > 0.5, 0.3, 0.2))
      >>> critic = lambda slope, z: slope * jnp.sum(jax.nn.sigmoid(2 * z))
      >>> def std(slope):
      ...     estimate = lambda key: sf.relax_grad(f, bits, jnp.zeros(3), key, critic=critic, tuning=slope, num_samples=1)
      ...     return jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(0), 1000))[:, 0].std()
      >>> print(f"{std(0.0):.3f} -> {std(0.1):.3f}")
      0.376 -> 0.302
    """

    def c(choices, z):
        return f.inward(critic(tuning, choices.logits([jnp.where(block > -jnp.inf, block, FORBIDDEN) for block in z])))

    return controlled_estimate(c, f, call)


relax_grad = gradient(relax)
