"""VarGrad: half the gradient of the sample variance of f = log p - log target, at fixed draws      (Richter et al. 2020)

    d/dtheta  Var_S[ f(x_i; theta) ] / 2  =  Cov_S( f, grad log p )  =  1/(S - 1) sum_i (f_i - fbar) grad log p(x_i)
                                         =  1/S sum_i (f_i - b_i) grad log p(x_i),      b_i the mean of the others

for f whose derivative in theta at a fixed x is that of log p. It is the score function with leave-one-out less the mean of grad f_i,
which has expectation 0 there, and noise.
"""

from __future__ import annotations

from jax_scorefn import baselines
from jax_scorefn._trees import stop
from jax_scorefn.estimators._objective import Objective
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.estimators._score._score_function import estimate
from jax_scorefn.schemes import Scheme
from jax_scorefn.typing import Bias, Capability


@estimator(
    needs=(Capability.LOG_PROB, Capability.SAMPLE | Capability.GIVEN_DRAWS),
    bias=Bias.NONE,
    orders=1,
    evaluations="S",
    stops_f=True,
    cite=("richter2020", "kool2019"),
    num_samples=None,
)
def vargrad(f, call, *, scheme: Scheme | None = None):
    """E[f(x)] by the score function with leave-one-out, with f stopped: VarGrad where f = log p - log target.

    For a variational objective, f(x) = log p(x; params) - log target(x), the derivative of f itself has mean 0, and leaving it out
    takes its noise away. The result is half the gradient of the sample variance of f over the draws.

    Args:
      f: function of one draw. *Its own dependence on the parameters is dropped*, which is right where that is log p's alone (or
        where there is none), and wrong where a model's parameters are among those differentiated: use ``score_function`` there.
      key: one JAX key; None is allowed where the family holds given draws.
      num_samples: number S of draws, a Python int of at least 2; None is 64, or all the draws that the family holds.

    Raises: fewer than 2 draws.
    Bias: It is so for an f whose derivative in the parameters has mean 0.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))
      >>> target, logits = sf.Bernoulli(logits=jnp.ones(3)), jnp.zeros(3)
      >>> kl = lambda x, logits=logits: bits(logits, x) - target.log_prob(x)
      >>> g, info = sf.vargrad_grad(kl, bits, logits, jax.random.key(0), num_samples=8, has_aux=True)
      >>> half_variance = lambda logits: jnp.var(jax.vmap(lambda x: kl(x, logits))(info.samples), ddof=1) / 2
      >>> print(jnp.allclose(g, jax.grad(half_variance)(logits), atol=1e-6))
      True
    """
    stopped = Objective(lambda x: stop(f(x)))
    return estimate(stopped, call, baselines.leave_one_out, scheme=scheme)


vargrad_grad = gradient(vargrad)
