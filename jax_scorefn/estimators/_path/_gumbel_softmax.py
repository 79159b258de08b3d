"""Gumbel-softmax, also called Concrete: f of a soft draw                (Jang, Gu and Poole 2017; Maddison, Mnih and Teh 2017)

x~  =  softmax((log p + g) / lambda),   g Gumbel            value f(x~), gradient along x~
straight through:   value f(x), x the one-hot row at the largest entry of x~; gradient as if x were x~
"""

from __future__ import annotations

from jax_scorefn._checks import flags
from jax_scorefn._surrogate import on_path
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.estimators._relaxed import path_estimate, perturbed, softened
from jax_scorefn.typing import Array, Bias, Capability


@estimator(
    needs=(Capability.RELAXED,),
    bias=Bias.BIASED,
    orders=1,
    evaluations="S",
    differentiates_f=True,
    cite=("jang2017", "maddison2017"),
)
def gumbel_softmax(f, call, *, temperature: Array | float = 0.5, straight_through: bool = False):
    """E[f(x)] with soft draws in place of discrete ones. *Biased*, the value as well as the gradient.

    Little noise for one evaluation of a differentiable f, at the price of another objective: the mean of f over the soft
    distribution. How far that is from the wanted one depends on f between the draws, where it may be anything. Measure it, or use an
    unbiased estimator.

    Args:
      temperature: lambda > 0, a number or a traced scalar: small is less biased, and noisier.
      straight_through: ask f at the hard draw, and differentiate it as if the draw were the soft one. The value is then unbiased,
        and f is never asked for anything but draws.

    Returns: The mean of f at the soft draws, of the shape and dtype of f
    Bias: It is one of value and gradient; of the gradient alone with ``straight_through=True``.
    Cost: One backward pass.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))
      >>> grads = jax.jit(jax.vmap(lambda key: sf.gumbel_softmax_grad(lambda b: jnp.sum((b - 0.45) ** 2), bits, jnp.zeros(1), key)))
      >>> g = grads(jax.random.split(jax.random.key(0), 1000))
      >>> print(f"{g.mean():.4f} +- {g.std() / 1000**0.5:.4f}  (exact 0.0250)")
      0.0211 +- 0.0005  (exact 0.0250)
    """
    flags(straight_through=straight_through)

    def soften(log_probs, probs, hot, uniforms):
        del probs
        soft = softened(perturbed(log_probs, uniforms[0]), temperature)
        return on_path(hot, soft) if straight_through else soft

    return path_estimate(soften, 1, f, call)


gumbel_softmax_grad = gradient(gumbel_softmax)
