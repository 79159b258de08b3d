"""The unordered set estimator: k outcomes without replacement, whatever their order           (Kool et al. 2020)

    value   sum_{s in S} p(s) R(S, s) f(s)
    grad    sum_{s in S} grad p(s) R(S, s) ( f(s) - b_s ),      b_s  =  sum_{s' in S} p(s') R^{D\\s}(S, s') f(s')

    R(S, s)         =  P(S without s | s was the first) / P(S)              leave-one-out ratio
    R^{D\\s}(S, s')  =  the same for the domain without s;  1 for s' = s

All of these are ratios of the probabilities C(T) that the outcomes of T, once they were drawn, are followed by the rest of S:

    C(S) = 1,    C(T) = sum_{t in S - T}  p(t) / p(D - T)  C(T + t)
    R(S, s) = C({s}) / C({}),  R^{D\\s}(S, s') = C({s, s'}) / C({s})
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks
from jax_scorefn._trees import stop, take_rows
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.estimators._relaxed import gumbels
from jax_scorefn.estimators._shared_uniforms._frame import Coupling, estimate
from jax_scorefn.typing import Bias, Capability

SET_SIZE = (
    "unordered_set draws sets of at least 2 and at most {most} outcomes (it sums over all subsets of a set), and no more than the "
    "distribution has: {dist} has {points}. It got set_size={given}."
)
MOST = 12


@estimator(
    rows="sets",
    needs=(Capability.LOG_PROB, Capability.FINITE),
    bias=Bias.NONE,
    orders=1,
    evaluations="S",
    cite=("kool2020",),
)
def unordered_set(f, call, *, set_size: int = 2, max_points: int = 2**16):
    """E[f(x)] over a finite support from sets of different outcomes, drawn without replacement.

    No evaluation is spent twice on one outcome, and every set brings its own baseline. A set of the whole support is exact. f is not
    differentiated in the draw.

    Args:
      num_samples: number S of evaluations of f, a Python int, a multiple of ``set_size``: sets are independent of each other.
      set_size: number k of outcomes in a set, from 2 to 12. One large set is better than two of half the size.
      has_aux: also return an :class:`Info`; the weights there are those of the draws in the value, with mean 1.

    Returns: The weighted mean of f, of the shape and dtype of f
    Raises: more than ``max_points`` outcomes, and a set that is too small or too large.
    Cost: A Gumbel for each outcome and set, and k 2^k additions for each set.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> die = sf.family(lambda logits: sf.Categorical(logits=logits))
      >>> f = lambda x: (x - 2) ** 2
      >>> def std(estimator, **options):
      ...     grads = jax.jit(jax.vmap(lambda key: estimator(f, die, jnp.zeros(6), key, num_samples=4, **options)))
      ...     return grads(jax.random.split(jax.random.key(0), 1000))[:, 0].std()
      >>> print(f"{std(sf.score_function_grad):.3f} -> {std(sf.unordered_set_grad, set_size=4):.3f}")
      0.418 -> 0.247
    """
    k = _checks.positive_int("set_size", set_size)
    grid = call.dist.grid(max_points=_checks.positive_int("max_points", max_points))
    num_points = grid.log_probs.shape[0]
    if not 2 <= k <= min(num_points, MOST):
        raise ValueError(SET_SIZE.format(most=MOST, dist=call.dist.name, points=num_points, given=k))
    stopped = stop(grid.log_probs)
    alone = 1 << np.arange(k)  # subsets of a set are numbers, a bit for each member
    pairs = alone[:, None] | alone[None]

    def draw(u):
        chosen = jax.lax.top_k(stopped + gumbels(u), k)[1]
        is_in = chosen[:, None] == jnp.arange(num_points, dtype=chosen.dtype)[None]
        log_p = take_rows(stopped, chosen)
        log_c = _followed(log_p, jax.nn.logsumexp(jnp.where(jnp.any(is_in, axis=0), -jnp.inf, stopped)))
        ratio = jnp.exp(log_p + log_c[alone] - log_c[0])  # p(s) R(S, s), sums to 1
        within = jnp.exp(log_p[None] + log_c[pairs] - log_c[alone][:, None])  # p(s') R^{D\\s}(S, s'), rows sum to 1
        return chosen, ratio, within  # a row of each for each member of the set

    def build(settings):
        return take_rows(grid.points, settings[0])

    def weigh(u, settings, values):
        del u
        chosen, ratio, within = settings
        deviations = jnp.einsum("st,st...->s...", within.astype(values.dtype), values[:, None] - values[None])
        each = jnp.moveaxis(deviations, 0, -1).astype(ratio.dtype) * ratio.reshape((1,) * (values.ndim - 1) + (k,))
        return jnp.einsum("...s,sn->...n", each, jax.nn.one_hot(chosen, num_points, dtype=ratio.dtype))

    coupling = Coupling(k, (num_points,), grid.log_probs, draw, build, weigh, share=lambda settings: settings[1])
    return estimate(coupling, f, call)


unordered_set_grad = gradient(unordered_set)


def _followed(log_p, log_rest):
    """Log C(T) for each subset T of the set, as a vector in the order of their numbers."""
    k = log_p.shape[0]
    subsets = np.arange(1 << k)
    outside = (subsets[:, None] >> np.arange(k)) & 1 == 0  # (2^k, k): which members are not in T
    left = jax.nn.logsumexp(jnp.where(outside, jnp.broadcast_to(log_p[None], outside.shape), -jnp.inf), axis=1)
    left = jnp.logaddexp(left, jnp.broadcast_to(log_rest, left.shape))  # log p(D - T)
    log_c = jnp.zeros(1 << k, log_p.dtype)
    for size in reversed(range(k)):
        these = subsets[outside.sum(axis=1) == k - size]
        following = np.stack([np.flatnonzero(row) for row in outside[these]])  # (number of subsets, k - size)
        rest, something = left[these][:, None], (left[these] > -jnp.inf)[:, None]
        # where nothing of positive probability is left, what is left comes in any order
        next_p = jnp.where(
            something, log_p[following] - jnp.where(something, rest, 0), -np.log(k - size).astype(rest.dtype)
        )
        log_c = log_c.at[these].set(jax.nn.logsumexp(next_p + log_c[these[:, None] | (1 << following)], axis=1))
    return log_c
