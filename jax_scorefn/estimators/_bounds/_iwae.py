"""The importance-weighted bound of K particles                 (Burda, Grosse and Salakhutdinov 2016)

    L = log 1/K sum_k w_k,    log w_k = f(x_k) - log q(x_k; theta),    wn_k = w_k / sum_j w_j

and four gradients of E[L], all without bias:

    score                     sum_k (L - b)    d log q(x_k)  +  sum_k wn_k d log w_k        b the mean L of the other bounds, if any
    vimco                     sum_k (L - L_-k) d log q(x_k)  +  sum_k wn_k d log w_k        (Mnih and Rezende 2016)
    pathwise                  sum_k wn_k d log w_k( x_k(theta); theta )                     (Burda et al. 2016)
    doubly_reparameterized    sum_k wn_k^2 d log w_k/dx_k dx_k  +  sum_k wn_k df(x_k)       (Tucker et al. 2019)

In the first two lines x_k is fixed; in the last, df is that of f in parameters that it depends on directly, a model's.
"""

from __future__ import annotations

import jax.numpy as jnp

from jax_scorefn import _checks, baselines
from jax_scorefn._surrogate import gradient_path
from jax_scorefn._trees import stop
from jax_scorefn.estimators._bounds._frame import (
    learning_signals,
    log_density,
    log_mean_exp,
    log_target,
    log_weight,
    shares,
    value_and_path,
)
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.typing import Bias, Capability

GRADIENTS = ("score", "vimco", "pathwise", "doubly_reparameterized")
ALONG_THE_PATH = ("pathwise", "doubly_reparameterized")
UNKNOWN_GRADIENT = 'gradient is one of {known}, or "auto"; not {given!r}.'
NO_PATH = (
    'gradient={gradient!r} needs a distribution whose draws are reparameterized; {dist} has {given}. Take gradient="vimco" or '
    '"score", which follow no path.'
)
ONE_PARTICLE = (
    'gradient="vimco" compares each particle with the others of its bound, and there is one: raise num_particles, or take '
    'gradient="score", which compares bounds.'
)


@estimator(
    needs=(Capability.LOG_PROB, Capability.SAMPLE),
    bias=Bias.NONE,
    orders=1,
    evaluations="S",
    cite=("burda2016", "mnih2016vimco", "tucker2019"),
    estimates="a bound",
)
def iwae(f, call, *, num_particles: int | None = None, gradient: str = "auto"):
    """The importance-weighted bound E[log 1/K sum_k exp(f(x_k) - log q(x_k))] on the log-evidence.

    f is the log of the target, log p(x, data), *without* log q, which is ``logp``: not the f of ``score_function`` and ``pathwise``,
    log p - log q, nor that of ``vargrad``, log q - log p. One particle gives the evidence lower bound;
    more of them bring the bound closer to log Z. The gradients share their mean, and not their noise. For reparameterized
    distributions and a smooth f take "doubly_reparameterized", which is quiet near the target, or "pathwise", which may be quieter
    far from it and drowns in its noise as particles become many. For all else, discrete draws or an f that jumps, take "vimco", or
    "score" where there is one particle. A path is never taken unasked: for an f that jumps it would be wrong without a word.

    Args:
      f: log of the target, up to a constant: a function of one draw that returns a scalar; -inf is a weight of 0. It may
        close over parameters (a model's), and the derivative in these is in the result. "score" and "vimco" never differentiate it in
        the draw.
      logp: a :func:`family` q.
      num_samples: number S of draws and evaluations of f, a Python int: S / K bounds, whose mean is the value.
      num_particles: K, draws to a bound, a Python int that divides S; None is S, one bound of all draws.
      gradient: "score", "vimco", "pathwise" or "doubly_reparameterized"; "auto" is "vimco", and "score" for one particle.
      chunk_size: draws in memory at once; None is all of them, "auto" as many as suit the caches. It may split a bound.
      has_aux: also return an :class:`Info`: ``values`` are the log-weights, ``weights`` the share of each particle in its bound,
        times K.

    Returns: The mean of the bounds, a scalar
    Raises: a path through a distribution that is not reparameterized, "vimco" with one particle, a distribution whose
    log-probability lacks its constant, and an f that returns a shape or asks ``logp`` at ``params`` for log q.
    Bias: The estimate is one of the bound (which lies below log Z, by less with more particles). Along the path f has to be
    locally Lipschitz, and a draw that has rounded to the edge of its support has lost its slope, as in
    :func:`sticking_the_landing`. A bound whose weights are all 0 is -inf, and so is the value; nothing good can be said of
    its gradient.
    Cost: One backward pass; memory of ``chunk_size`` draws and a few scalars for each, for "vimco" S K scalars.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))
      >>> target = lambda b: b[0] + b[1] - b[0] * b[1]
      >>> log_evidence = jnp.log(1.0 + 3.0 * jnp.e)
      >>> bound = lambda key, k: sf.iwae(target, bits, jnp.zeros(2), key, num_samples=16_000, num_particles=k, has_aux=True)
      >>> for k in (1, 4, 16):
      ...     value, info = jax.jit(bound, static_argnums=1)(jax.random.key(0), k)
      ...     print(f"{k:2d} particles: {value - log_evidence:.3f} +- {info.value_standard_error:.3f}")
       1 particles: -0.080 +- 0.003
       4 particles: -0.017 +- 0.003
      16 particles: -0.005 +- 0.003
    """
    dist = call.dist
    size = call.num_samples if num_particles is None else _checks.positive_int("num_particles", num_particles)
    call.groups(size)
    chosen = _gradient(gradient, size, dist)
    target, log_q = log_target(call, f), log_density(call, dist if chosen == "pathwise" else call.free)

    def one_draw(noise, _):
        if chosen not in ALONG_THE_PATH:
            x, log_prob = noise.sample_and_log_prob(dist)
            log_prob = _checks.log_prob(dist, log_prob)
            value, path = target(x), None
        elif chosen == "pathwise":
            x = noise.sample(dist)
            log_prob, value, path = log_q(x), target(x), None
        else:
            x = noise.sample(dist)
            (value, of_f), (log_prob, of_q) = value_and_path(target, x), value_and_path(log_q, x)
            log_prob, path = stop(log_prob), log_weight(of_f, of_q)
        return log_weight(value, log_prob), log_prob, path, x if call.reports else None

    log_w, log_probs, path, samples = call.map(one_draw, call.noise())
    log_w, log_probs = log_w.reshape(-1, size), log_probs.reshape(-1, size)
    if path is not None:  # it comes into the bound's derivative with the share wn_k, and so with its square in all
        log_w = log_w + shares(log_w) * path.reshape(-1, size)  # the path has the value 0
    bounds = log_mean_exp(log_w)
    value = jnp.mean(bounds)
    if chosen not in ALONG_THE_PATH:
        compared = bounds - baselines.resolve("auto", bounds.size)(bounds)
        signals = learning_signals(log_w) if chosen == "vimco" else jnp.broadcast_to(compared[:, None], log_w.shape)
        value = value + gradient_path(log_probs, signals / bounds.size)
    weights = lambda: size * shares(log_w).reshape(-1)
    return call.answer(value, log_w.reshape(-1), (samples, log_probs.reshape(-1)), weights=weights, of=bounds)


def _gradient(gradient, size, dist):
    """The name of the gradient to take, which the distribution and the number of particles allow."""
    if gradient == "auto":
        return "vimco" if size > 1 else "score"
    if gradient not in GRADIENTS:
        raise ValueError(UNKNOWN_GRADIENT.format(known=", ".join(GRADIENTS), given=gradient))
    if gradient == "vimco" and size == 1:
        raise ValueError(ONE_PARTICLE)
    if gradient in ALONG_THE_PATH and Capability.REPARAMETERIZED not in dist.capabilities:
        given = _checks.name_of(dist.capabilities)
        raise TypeError(NO_PATH.format(gradient=gradient, dist=dist.name, given=given))
    return gradient


iwae_grad = gradient(iwae)
