"""ARM: augment, REINFORCE, merge                                                          (Yin and Zhou 2019)

grad_phi E_{b ~ Bernoulli(sigma(phi))}[f(b)]  =  E_{u ~ U(0, 1)^D}[ ( f(1[u > sigma(-phi)]) - f(1[u < sigma(phi)]) ) (u - 1/2) ]
"""

from __future__ import annotations

from jax_scorefn._trees import stop
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.estimators._shared_uniforms._frame import Coupling, antithetic_pair, estimate, outer
from jax_scorefn.typing import Bias, Capability


@estimator(needs=(Capability.BITS,), bias=Bias.NONE, orders=1, evaluations="S", cite=("yin2019",))
def arm(f, call):
    """E[f(b)] for independent coins b, with the gradient of augment-REINFORCE-merge.

    Two settings of the coins are made of the same uniforms, u and 1 - u; the gradient is their difference in f times u - 1/2. In
    :func:`disarm` the uniforms are averaged out, so that it never has more variance: prefer that one.

    Args:
      f: function of one draw that returns a real or complex array of fixed shape; it is not differentiated in the draw.
      logp: a :func:`family` whose distributions are independent coins: Bernoulli, or a Joint of such.
      params: pytree with at least one float leaf.
      key: one JAX key.
      num_samples: number S of evaluations of f, an even Python int: S / 2 pairs.
      chunk_size: pairs in memory at once; None is all of them, "auto" as many as suit the caches.
      sharding: a ``jax.sharding.Sharding`` for the axis of pairs.
      has_aux: also return an :class:`Info`.

    Returns:
      The mean of f over all draws, of the shape and dtype of f; with ``has_aux=True`` the pair ``(value, Info)``.

    Raises:
      TypeError, ValueError: when traced, for a distribution that is not made of coins, a ``num_samples`` that is not whole pairs, and
        for what ``score_function`` refuses.

    Bias: none to first order; a second derivative raises. Cost: S evaluations of f.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))
      >>> f = lambda b: jnp.mean((b - 0.499) ** 2)
      >>> grads = jax.jit(jax.vmap(lambda key: sf.arm_grad(f, bits, jnp.zeros(2), key, num_samples=2)))
      >>> g = 1e4 * grads(jax.random.split(jax.random.key(0), 10_000))[:, 0]
      >>> print(f"{g.mean():.2f} +- {g.std() / 100:.2f}  (exact 2.50)")
      2.48 +- 0.03  (exact 2.50)

    References: yin2019.
    """
    logits, build = call.dist.bits()

    def draw(u):
        return antithetic_pair(u, stop(logits))

    def weigh(u, bits, values):
        del bits
        return outer(values[0] - values[1], u - 0.5)

    return estimate(Coupling(2, logits.shape, logits, draw, build, weigh), f, call)


arm_grad = gradient(arm)
