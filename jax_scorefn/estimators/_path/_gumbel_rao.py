"""Gumbel-Rao: straight-through Gumbel-softmax, averaged over the noise that makes the same draw         (Paulus et al. 2021)

    value f(x),    gradient  f'(x) . 1/M sum_m grad softmax(z_m / lambda),      z_m ~ p(z | x)

As f' is taken at the draw alone, averaging the path costs no evaluation of f.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn._surrogate import on_path
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.estimators._relaxed import path_estimate, perturbed_given, softened
from jax_scorefn.typing import Array, Bias, Capability


@estimator(
    needs=(Capability.RELAXED,),
    bias=Bias.BIASED,
    orders=1,
    evaluations="S",
    differentiates_f=True,
    cite=("paulus2021",),
)
def gumbel_rao(f, call, *, temperature: Array | float = 0.5, num_paths: int = 10):
    """E[f(x)] with the straight-through Gumbel-softmax gradient, its noise averaged out given the draw. *Biased* in the gradient.

    It has the bias of ``gumbel_softmax(straight_through=True)`` at the same temperature, and never more variance, so a lower
    temperature can be afforded.

    Args:
      temperature: lambda > 0, a number or a traced scalar: small is less biased, and noisier.
      num_paths: number M of paths that are averaged for each draw, a Python int.

    Bias: It is one of the gradient, and more paths do not take it away either; the value has none.
    Cost: One backward pass, and S M K numbers for each choice among K.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))
      >>> grads = jax.jit(jax.vmap(lambda key: sf.gumbel_rao_grad(lambda b: jnp.sum(b**3), bits, jnp.zeros(1), key)))
      >>> g = grads(jax.random.split(jax.random.key(0), 1000))
      >>> print(f"{g.mean():.3f} +- {g.std() / 1000**0.5:.3f}  (exact 0.250)")
      0.323 +- 0.001  (exact 0.250)
    """
    num_paths = _checks.positive_int("num_paths", num_paths)

    def soften(log_probs, probs, hot, uniforms):
        del probs

        def path(v):  # z = log p + g moves with log p, whatever g was picked
            return softened(on_path(perturbed_given(log_probs, hot, v), log_probs), temperature)

        return on_path(hot, jnp.mean(jax.vmap(path)(uniforms[1:]), axis=0))

    return path_estimate(soften, 1 + num_paths, f, call)


gumbel_rao_grad = gradient(gumbel_rao)
