"""ARMS: n mutually antithetic settings of the bits                          (Dimitriev and Zhou 2021)

    m_i = 1[u_i < r],   r = sigma(-|phi|)                    u from a Dirichlet copula; m: the rarer side of each bit
    g_d  =  1/(n-1) sum_i ( f(b_i) - mean f ) (b_id - p_d) / (1 - rho_d),          rho the correlation of m_i and m_j

Given b_i, the mean of b_j is p + rho (b_i - p), so a sample covariance of the n settings is 1 - rho times the covariance of f and
b, which is the gradient in the logits. n = 2 is DisARM's pair.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jax_scorefn._trees import stop
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.estimators._shared_uniforms._dirichlet import below, parted, size_of
from jax_scorefn.estimators._shared_uniforms._frame import Coupling, estimate
from jax_scorefn.typing import Bias, Capability


@estimator(rows="groups", needs=(Capability.BITS,), bias=Bias.NONE, orders=1, evaluations="S", cite=("dimitriev2021",))
def arms(f, call, *, group_size: int = 4):
    """E[f(b)] for independent bits b, with groups of n draws that avoid each other (ARMS).

    Each draw has the distribution that was asked for and any two are negatively correlated, bit by bit, by a Dirichlet copula. It is
    leave-one-out over a group, corrected for the correlation. f is not differentiated.

    Args:
      num_samples: number S of evaluations of f, a Python int, a multiple of ``group_size``.
      group_size: draws that are made together, a Python int of at least 2.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))
      >>> f = lambda b: jnp.mean((b - 0.499) ** 2)
      >>> grads = jax.jit(jax.vmap(lambda key: sf.arms_grad(f, bits, jnp.zeros(2), key, num_samples=4)))
      >>> g = 1e4 * grads(jax.random.split(jax.random.key(0), 10_000))[:, 0]
      >>> print(f"{g.mean():.2f} +- {g.std() / 100:.2f}  (exact 2.50)")
      2.48 +- 0.02  (exact 2.50)
    """
    n = size_of("arms", group_size)
    logits, build = call.dist.bits()
    stopped = stop(logits)
    log_r = jax.nn.log_sigmoid(-jnp.abs(stopped))

    def draw(u):
        rarer = below(u, log_r)
        return jnp.where((stopped > 0)[None], ~rarer, rarer).astype(u.dtype)

    def weigh(u, bits, values):
        del u
        deviations = values - jnp.mean(values, axis=0, keepdims=True)  # (n, ...)
        centred = (bits - jax.nn.sigmoid(stopped)[None]) * parted(log_r, n)[None]
        return jnp.tensordot(deviations.astype(bits.dtype), centred, axes=(0, 0)) / (n - 1)

    return estimate(Coupling(n, (n, *logits.shape), logits, draw, build, weigh), f, call)


arms_grad = gradient(arms)
