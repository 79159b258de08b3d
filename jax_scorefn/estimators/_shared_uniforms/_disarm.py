"""DisARM, also known as U2G                                       (Dong, Mnih and Tucker 2020; Yin et al. 2020)

    g_d  =  1/2 ( f(b) - f(b') ) (-1)^{b'_d} 1[b_d != b'_d] sigma(|phi_d|),        b = 1[u > sigma(-phi)],  b' = 1[u < sigma(phi)]

It is ARM with the uniforms averaged out, given the two settings of the bits.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jax_scorefn._trees import stop
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.estimators._shared_uniforms._frame import Coupling, antithetic_pair, estimate, outer
from jax_scorefn.typing import Bias, Capability


@estimator(
    rows="pairs", needs=(Capability.BITS,), bias=Bias.NONE, orders=1, evaluations="S", cite=("dong2020", "yin2020")
)
def disarm(f, call):
    """E[f(b)] for independent bits b, with the gradient of antithetic pairs (DisARM).

    The two draws of a pair are as different as their distribution allows, and a bit that falls the same way in both gets no
    gradient from it. With one bit at probability 1/2 nothing is random any more. f is not differentiated.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))
      >>> f = lambda b: jnp.mean((b - 0.499) ** 2)
      >>> grads = jax.jit(jax.vmap(lambda key: sf.disarm_grad(f, bits, jnp.zeros(2), key, num_samples=2)))
      >>> g = 1e4 * grads(jax.random.split(jax.random.key(0), 10_000))[:, 0]
      >>> print(f"{g.mean():.2f} +- {g.std() / 100:.2f}  (exact 2.50)")
      2.49 +- 0.02  (exact 2.50)
    """
    logits, build = call.dist.bits()
    stopped = stop(logits)

    def draw(u):
        return antithetic_pair(u, stopped)

    def weigh(u, bits, values):
        del u
        b, b_ = bits
        signs = jnp.where(b == b_, 0, 1 - 2 * b_)
        return outer(values[0] - values[1], signs * jax.nn.sigmoid(jnp.abs(stopped)) / 2)

    return estimate(Coupling(2, logits.shape, logits, draw, build, weigh), f, call)


disarm_grad = gradient(disarm)
