"""ReinMax: a straight-through gradient of second order                                              (Liu et al. 2023)

    value f(x),    gradient  f'(x) . ( 2 grad_a softmax(log pi_1) - 1/2 grad p ),     pi_1 = (x + softmax(log p / tau)) / 2

Heun's rule for the difference of f between two draws, where straight-through is Euler's. grad_a softmax(log pi_1) is the
derivative of a softmax at pi_1, as the logits move.
"""

from __future__ import annotations

import jax.numpy as jnp

from jax_scorefn._surrogate import departure, on_path
from jax_scorefn._trees import stop
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.estimators._relaxed import path_estimate, softened
from jax_scorefn.typing import Array, Bias, Capability


@estimator(
    needs=(Capability.RELAXED,),
    bias=Bias.BIASED,
    orders=1,
    evaluations="S",
    differentiates_f=True,
    cite=("liu2023",),
)
def reinmax(f, call, *, temperature: Array | float = 1.0):
    """E[f(x)] with a straight-through gradient that is right to second order. *Biased* in the gradient.

    Unbiased at temperature 1 for a single choice where f is quadratic along each line between two draws, and as cheap as
    :func:`straight_through`.

    Args:
      temperature: tau > 0, a number or a traced scalar, in the soft half of pi_1; 1 is the second-order rule.

    Bias: It is one of the gradient, from third derivatives of f on; the value has none.
    Cost: One backward pass.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))
      >>> grads = jax.jit(jax.vmap(lambda key: sf.reinmax_grad(lambda b: jnp.sum((b - 0.45) ** 2), bits, jnp.ones(1), key)))
      >>> g = grads(jax.random.split(jax.random.key(0), 1000))
      >>> print(f"{g.mean():.4f} +- {g.std() / 1000**0.5:.4f}  (exact 0.0197)")
      0.0190 +- 0.0009  (exact 0.0197)
    """

    def soften(log_probs, probs, hot, uniforms):
        del uniforms
        middle = (hot + softened(stop(log_probs), temperature)) / 2
        step = departure(log_probs)  # how the logits move
        tilt = middle * (step - jnp.sum(middle * step, axis=-1, keepdims=True))  # a softmax at ``middle``, as they do
        return on_path(hot, 2 * tilt - probs / 2)

    return path_estimate(soften, 1, f, call)


reinmax_grad = gradient(reinmax)
