"""Sticking the landing: the evidence lower bound, differentiated along the path alone      (Roeder, Wu and Duvenaud 2017)

    L(theta)  =  E[ f(x) - log q(x; theta) ],   x = g(eps; theta),   f the log of the target
    dL        =  E[ d/dx( f(x) - log q(x; theta) ) dx/dtheta  +  df/dtheta ]

The derivative of log q(x; theta) in theta at a fixed x, the score, has mean 0 and is left out. What is left is 0 for every draw where
q is the target, for there f - log q is a constant.
"""

from __future__ import annotations

import jax.numpy as jnp

from jax_scorefn import schemes
from jax_scorefn._trees import stop
from jax_scorefn.estimators._bounds._frame import log_density, log_target, log_weight, value_and_path
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.schemes import Scheme
from jax_scorefn.typing import Bias, Capability


@estimator(
    needs=(Capability.REPARAMETERIZED, Capability.LOG_PROB, Capability.SAMPLE),
    bias=Bias.NONE,
    orders=1,
    evaluations="S, and S gradients of f",
    differentiates_f=True,
    cite=("roeder2017",),
    estimates="a bound",
)
def sticking_the_landing(f, call, *, scheme: Scheme | None = None):
    """The evidence lower bound E[f(x) - log q(x)], with derivatives along the path of each draw alone.

    f is the log of the target, log p(x, data), *without* log q, which is ``logp`` and is subtracted here. So it is not the f of
    ``vargrad``, log q - log p, nor that of ``pathwise``, log p - log q, which has the same mean, and the noise of the score beside
    it: noise that stays when q has reached the target, where the gradient of this one is 0 for every draw. Far from the target the
    difference may go either way. For a bound that is closer to the evidence, of several draws, see :func:`iwae`.

    Args:
      f: log of the target, up to a constant: a function of one draw that returns a scalar and is differentiable in it. It may
        close over parameters (a model's), and the derivative in these is in the result.
      logp: a :func:`family` q whose distributions are reparameterized.
      has_aux: also return an :class:`Info`, whose ``values`` are f - log q.

    Returns: The mean of f - log q over the draws, a scalar
    Raises: a distribution whose log-probability lacks its constant, the moving ends of a uniform distribution (whose score
    has another mean), and an f that returns a shape or asks ``logp`` at ``params`` for log q.
    Bias: f and log q have to be locally Lipschitz; without the score a second derivative would be wrong. log q is taken at
    the draw itself: a draw that has rounded to the edge of its support (the tanh of 9, in float32) has lost its place there,
    and with it the slope of log q; where many do, use float64, or :func:`iwae` without a path.
    Cost: One backward pass; memory of ``chunk_size`` draws.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> q = sf.family(lambda p: sf.Normal(loc=p[0], scale=jnp.exp(p[1])))
      >>> target = sf.Normal(loc=1.0, scale=0.5).log_prob
      >>> grads = jax.jit(jax.vmap(lambda p, key: sf.sticking_the_landing_grad(target, q, p, key), (None, 0)))
      >>> g = grads(jnp.array([0.9, -0.6]), jax.random.split(jax.random.key(0), 1000))[:, 0]
      >>> print(f"{g.mean():.3f} +- {g.std() / 1000**0.5:.3f}  (exact 0.400)")
      0.401 +- 0.001  (exact 0.400)
      >>> at_the_target = grads(jnp.array([1.0, jnp.log(0.5)]), jax.random.split(jax.random.key(0), 1000))
      >>> print(f"{jnp.max(jnp.abs(at_the_target)):.3f}")
      0.000
    """
    group_size = schemes.group_size(scheme, call.num_samples)
    target, log_q = log_target(call, f), log_density(call, call.free)

    def one_draw(noise, _):
        x = noise.sample(call.dist)
        stopped, path = value_and_path(log_q, x)
        stopped = stop(stopped)  # the score, which has mean 0
        return log_weight(target(x), stopped + path), (x, stopped) if call.reports else None

    values, kept = call.map(one_draw, call.noise(scheme))
    return call.answer(jnp.mean(values), values, kept, group_size=group_size)


sticking_the_landing_grad = gradient(sticking_the_landing)
