"""Pathwise (reparameterisation): grad E[f(x)] = E[grad f(g(eps; params))], x = g(eps; params)     (Kingma and Welling 2014)."""

from __future__ import annotations

import jax.numpy as jnp

from jax_scorefn import _checks, schemes
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.schemes import Scheme
from jax_scorefn.typing import Bias, Capability


@estimator(
    needs=(Capability.REPARAMETERIZED,),
    bias=Bias.NONE,
    orders=2,
    evaluations="S, and S gradients of f",
    differentiates_f=True,
    cite=("kingma2014", "figurnov2018", "mohamed2020"),
)
def pathwise(f, call, *, scheme: Scheme | None = None):
    """E[f(x)] by sampling, with derivatives along the path of each draw (reparameterisation).

    Each draw is a function of noise and parameters, x = g(eps; params), so grad E[f(x)] = E[grad f(g(eps; params))]. The
    path is explicit for location-scale distributions, and implicit for Gamma, Beta and Dirichlet through ``jax.random``'s own rules.
    Usually the estimator of least variance where f is smooth. Wrong without a word where f jumps: a step function has
    derivative 0 almost everywhere, and then ``score_function`` or ``measure_valued`` sees the jump.

    Args:
      f: function of one draw, differentiable in it, that returns a real or complex array of fixed shape.

    Bias: To first order f has to be locally Lipschitz, to second order grad f too (the Hessian of a ReLU misses the kink),
    implicit paths included.
    Cost: One backward pass; memory of ``chunk_size`` draws.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> normal = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))
      >>> grads = jax.jit(jax.vmap(lambda key: sf.pathwise_grad(lambda x: (x + 3.0) ** 2, normal, 1.0, key)))
      >>> g = grads(jax.random.split(jax.random.key(0), 1000))
      >>> print(f"{g.mean():.3f} +- {g.std() / 1000**0.5:.3f}  (exact 8)")
      7.996 +- 0.008  (exact 8)
    """
    group_size = schemes.group_size(scheme, call.num_samples)

    def one(noise, _):
        x = noise.sample(call.dist)
        return _checks.value(f(x)), call.kept(x)

    values, kept = call.map(one, call.noise(scheme))
    return call.answer(jnp.mean(values, axis=0), values, kept, group_size=group_size)


pathwise_grad = gradient(pathwise)
