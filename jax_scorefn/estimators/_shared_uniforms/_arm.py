"""ARM: augment, REINFORCE, merge                                                          (Yin and Zhou 2019)

grad_phi E_{b ~ Bernoulli(sigma(phi))}[f(b)]  =  E_{u ~ U(0, 1)^D}[ ( f(1[u > sigma(-phi)]) - f(1[u < sigma(phi)]) ) (u - 1/2) ]
"""

from __future__ import annotations

from jax_scorefn._trees import stop
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.estimators._shared_uniforms._frame import Coupling, antithetic_pair, estimate, outer
from jax_scorefn.typing import Bias, Capability


@estimator(rows="pairs", needs=(Capability.BITS,), bias=Bias.NONE, orders=1, evaluations="S", cite=("yin2019",))
def arm(f, call):
    """E[f(b)] for independent bits b, with the gradient of augment-REINFORCE-merge.

    Two draws of the bits are made of the same uniforms, u and 1 - u; the gradient is their difference in f times u - 1/2. In
    :func:`disarm` the uniforms are averaged out, so that it never has more variance: prefer that one.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))
      >>> f = lambda b: jnp.mean((b - 0.499) ** 2)
      >>> grads = jax.jit(jax.vmap(lambda key: sf.arm_grad(f, bits, jnp.zeros(2), key, num_samples=2)))
      >>> g = 1e4 * grads(jax.random.split(jax.random.key(0), 10_000))[:, 0]
      >>> print(f"{g.mean():.2f} +- {g.std() / 100:.2f}  (exact 2.50)")
      2.48 +- 0.03  (exact 2.50)
    """
    logits, build = call.dist.bits()

    def draw(u):
        return antithetic_pair(u, stop(logits))

    def weigh(u, bits, values):
        del bits
        return outer(values[0] - values[1], u - 0.5)

    return estimate(Coupling(2, logits.shape, logits, draw, build, weigh), f, call)


arm_grad = gradient(arm)
