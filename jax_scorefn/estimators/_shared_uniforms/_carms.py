"""CARMS: n choices that avoid each other                                                   (Dimitriev and Zhou 2021, CARMS)

A choice breaks a stick: the options in order, the rarest first, and option k is taken where u_k < pi_k = p_k / (p_k + p_k+1 + ..).
The n choices of a group do so with uniforms of a Dirichlet copula.

    g  =  1/(n (n-1)) sum_{i != j, z_i != z_j} ( f(x_i) - f(x_j) ) grad log p(z_i)  p(z_i) p(z_j) / P(z_i, z_j)

A pair parts at the first stick m that one of them breaks, so the ratio is one number for each m:

    (1 - pi_m) pi_m / P(one of two below pi_m)  *  prod_{k < m}  (1 - pi_k)^2 / P(neither below pi_k)

As the likeliest option is the last, pi_k is at most 1/3 in the product, and no pair of different options is impossible.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jax_scorefn._trees import stop
from jax_scorefn.estimators._choices import in_a_row, in_blocks, one_hot
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.estimators._shared_uniforms._dirichlet import below, neither_below, parted, size_of
from jax_scorefn.estimators._shared_uniforms._frame import Coupling, estimate
from jax_scorefn.typing import Bias, Capability


@estimator(
    rows="groups",
    needs=(Capability.CHOICES,),
    bias=Bias.NONE,
    orders=1,
    evaluations="S",
    cite=("dimitriev2021carms",),
)
def carms(f, call, *, group_size: int = 4):
    """E[f(x)] for independent choices, with groups of n draws whose choices avoid each other (CARMS).

    It is leave-one-out over a group of draws that repeat each other seldom, corrected for it. With two categories it is :func:`arms`.
    One pair that is rare together weighs much, so with many unlikely categories leave-one-out may have less variance: measure both.

    Args:
      num_samples: number S of evaluations of f, a Python int, a multiple of ``group_size``.
      group_size: number n of draws that are made together, a Python int of at least 2.

    Cost: K - 1 uniforms and K numbers for each choice among K, and n^2 ratios for each choice of a group.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> die = sf.family(lambda logits: sf.Categorical(logits=logits))
      >>> f, logits = lambda x: jnp.mean((x - 1) ** 2), jnp.zeros((10, 4))
      >>> def std(estimator):
      ...     grads = jax.jit(jax.vmap(lambda key: estimator(f, die, logits, key, num_samples=4)))
      ...     return grads(jax.random.split(jax.random.key(0), 1000)).std(axis=0).mean()
      >>> print(f"{std(sf.score_function_grad):.3f} -> {std(sf.carms_grad):.3f}")
      0.116 -> 0.112
    """
    n = size_of("carms", group_size)
    choices = call.dist.choices()
    sticks = [_Sticks(stop(block), n) for block in choices.log_probs]
    size, split = in_blocks([stick.log_pi.shape for stick in sticks])
    log_pi = in_a_row([stick.log_pi for stick in sticks])

    def draw(u):
        broken = jax.vmap(split)(below(u, log_pi))
        return [stick.choice(b) for stick, b in zip(sticks, broken, strict=True)]

    def build(settings):
        return choices.build([option for _, option in settings])

    def weigh(u, settings, values):
        del u
        differences = values[:, None] - values[None]
        directions = [stick.direction(differences, *pair) for stick, pair in zip(sticks, settings, strict=True)]
        return jnp.concatenate([g.reshape(*g.shape[:-2], -1) for g in directions], axis=-1)

    return estimate(Coupling(n, (n, size), in_a_row(choices.log_probs), draw, build, weigh), f, call)


carms_grad = gradient(carms)


class _Sticks:
    """A block of choices ``(N, K)`` as sticks: which option is at each place, log pi of each but the last, and the ratio by place."""

    def __init__(self, log_probs, n):
        self.like, self.order = log_probs, jnp.argsort(log_probs, axis=-1).astype(jnp.int32)
        ordered = jnp.sort(log_probs, axis=-1)
        self.log_pi = (ordered - jax.lax.cumlogsumexp(ordered, axis=1, reverse=True))[:, :-1]
        before = jnp.cumprod(neither_below(self.log_pi[:, :-1], n), axis=-1)  # the last stick is behind no parting
        self.ratio = parted(self.log_pi, n) * jnp.concatenate([jnp.ones_like(self.log_pi[:, :1]), before], axis=-1)

    def choice(self, broken):
        """The places (n, N) of the first sticks that are broken, of (n, N, K - 1), and the options there."""
        place = jnp.argmax(jnp.concatenate([broken, jnp.ones_like(broken[..., :1])], axis=-1), axis=-1)
        return place, jnp.einsum("idk,dk->id", one_hot(place, self.order), self.order)

    def direction(self, differences, place, options):
        """The gradient (..., N, K) in log p."""
        first = jnp.minimum(place[:, None], place[None])  # (n, n, N)
        ratio = jnp.einsum("ijdk,dk->ijd", one_hot(first, self.ratio), self.ratio)
        ratio = jnp.where(place[:, None] == place[None], 0, ratio) / (place.shape[0] * (place.shape[0] - 1))
        weights = jnp.einsum("ijd,ij...->...di", ratio, differences.astype(ratio.dtype))
        return jnp.einsum("...di,idk->...dk", weights, one_hot(options, self.like))
