"""Straight-through: the gradient passes a draw as if the draw were its mean               (Bengio, Leonard and Courville 2013)

value f(x),    gradient  f'(x) . grad p
"""

from __future__ import annotations

from jax_scorefn._surrogate import on_path
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.estimators._relaxed import path_estimate
from jax_scorefn.typing import Bias, Capability


@estimator(
    needs=(Capability.RELAXED,),
    bias=Bias.BIASED,
    orders=1,
    evaluations="S",
    differentiates_f=True,
    cite=("bengio2013",),
)
def straight_through(f, call):
    """E[f(x)] with the gradient of f at the draw, passed on to the mean of the draw. *Biased* in the gradient.

    The oldest and simplest of its kind. Unbiased where f is linear in each coordinate, given the others; :func:`reinmax` is of second
    order, for the same cost.

    Bias: It is one of the gradient; the value has none.
    Cost: One backward pass.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))
      >>> grads = jax.jit(jax.vmap(lambda key: sf.straight_through_grad(lambda b: jnp.sum(b**3), bits, jnp.zeros(1), key)))
      >>> g = grads(jax.random.split(jax.random.key(0), 1000))
      >>> print(f"{g.mean():.3f} +- {g.std() / 1000**0.5:.3f}  (exact 0.250)")
      0.373 +- 0.001  (exact 0.250)
    """

    def soften(log_probs, probs, hot, uniforms):
        del log_probs, uniforms
        return on_path(hot, probs)

    return path_estimate(soften, 1, f, call)


straight_through_grad = gradient(straight_through)
