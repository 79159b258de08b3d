"""Coupled derivatives: one part of a draw after the other is replaced by another value             (Arya et al. 2022)

    grad E[f(x)]  =  sum_d  E[ (f(x with y_d in place of x_d) - f(x)) grad rate_d ]

y_d is another value that part d might have had, and rate_d what the parameters move from the one to the other (``_alternatives``).
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks
from jax_scorefn._surrogate import moved
from jax_scorefn._trees import stop, widest
from jax_scorefn.distributions import Joint, swapped
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.typing import Bias, Capability


@estimator(
    needs=(Capability.ALTERNATIVE,),
    bias=Bias.NONE,
    orders=1,
    evaluations="S (1 + D) for D independent parts of a draw",
    cite=("arya2022",),
    num_samples=8,
)
def coupled(f, call):
    """E[f(x)] by sampling, with derivatives as differences of f: each part of a draw beside another value of it.

    For each draw f is asked again with one of its parts replaced, as often as there are parts: a count by the next one, a category by
    another that is drawn. What is left is the noise of the others, and of which value that is. For bits it is ``rao_blackwell``; of K
    categories f is asked at one, and counts without an end have it too. f is not differentiated in the draw, so it may jump or be a
    black box. In a program with several choices: ``sample(..., estimator="coupled")``.

    Args:
      chunk_size: draws in memory at once, each with all its evaluations; None is all of them, "auto" as many as suit the caches.
      has_aux: also return an :class:`Info`, with f at the draws themselves.

    Raises: a derivative in the ``total_count`` of a NegativeBinomial.
    Cost: With ``chunk_size`` they are asked again for the gradient.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> counts = sf.family(lambda rate: sf.Poisson(rate=rate))
      >>> f = lambda k: jnp.maximum(k - 3, 0).astype(float)  # what is not in stock
      >>> grads = jax.jit(jax.vmap(lambda key: sf.coupled_grad(f, counts, 2.0, key)))
      >>> g = grads(jax.random.split(jax.random.key(0), 1000))
      >>> print(f"{g.mean():.3f} +- {g.std() / 1000**0.5:.3f}  (exact 0.323)")  # the probability of 3 or more
      0.321 +- 0.005  (exact 0.323)
    """
    dists, structure = call.dist._dists() if isinstance(call.dist, Joint) else ([call.dist], jax.tree.structure(0))
    likes = [dist.uniform_like() for dist in dists]
    sizes = [int(np.prod(like.shape)) for like in likes]
    starts = [0, *itertools.accumulate(sizes)]
    total, dtype = starts[-1], widest([jnp.zeros((), like.dtype) for like in likes])

    def one(u, _):
        spans = list(zip(likes, itertools.pairwise(starts), strict=True))
        cut = lambda row: [row[a:b].reshape(like.shape).astype(like.dtype) for like, (a, b) in spans]
        pairs = [dist.alternative(*both) for dist, *both in zip(dists, cut(u[:total]), cut(u[total:]), strict=True)]
        value = lambda draws: _checks.value(f(structure.unflatten(stop(draws))))

        def with_other(number):
            here = [(np.arange(a, b) == number).reshape(like.shape) for like, (a, b) in spans]
            return value([swapped(pair.draw, pair.other, mark) for pair, mark in zip(pairs, here, strict=True)])

        draws = [pair.draw for pair in pairs]
        own, others = value(draws), jax.vmap(with_other)(jnp.arange(total))
        rates = jnp.concatenate([pair.rate.reshape(-1).astype(dtype) for pair in pairs])
        return own + moved(rates, others - own[None]), own, call.kept(structure.unflatten(draws))

    estimates, values, kept = call.map(one, call.uniforms((2 * total,), dtype))
    return call.answer(jnp.mean(estimates, axis=0), values, kept)


coupled_grad = gradient(coupled)
