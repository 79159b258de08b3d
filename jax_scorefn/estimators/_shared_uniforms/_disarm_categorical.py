"""DisARM for choices, as bits at the nodes of a binary tree                                          (Dong et al. 2021)

A choice is made by bits b_j with logits a_j = log p(right of j) - log p(left of j), from the root down. Two choices z, z~ are
made of antithetic bits. A bit that a choice does not reach is summed out, given what was reached:

    g_j  =  1/2 ( f(z) - f(z~) ) *   (-1)^{b~_j} 1[b_j != b~_j] sigma(|a_j|)      both reach node j
                                     b_j - sigma(a_j)                             z alone
                                     -( b~_j - sigma(a_j) )                       z~ alone
                                     0                                            neither
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._trees import stop, take_rows
from jax_scorefn.estimators._choices import in_a_row, in_blocks
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.estimators._shared_uniforms._frame import Coupling, antithetic_pair, estimate, outer
from jax_scorefn.typing import Bias, Capability

BAD_TREE = 'disarm_categorical knows the trees "balanced" and "stick"; it got tree={given!r}.'


@estimator(rows="pairs", needs=(Capability.CHOICES,), bias=Bias.NONE, orders=1, evaluations="S", cite=("dong2021",))
def disarm_categorical(f, call, *, tree: str = "stick"):
    """E[f(x)] for independent choices, with the gradient of antithetic pairs of choices, made by bits along a binary tree.

    With two categories it is :func:`disarm`. With more, leave-one-out (``score_function``) is a strong rival: measure both. f is not
    differentiated in the draw.

    Args:
      tree: "stick" breaks off one category after the other, so the likely ones should come first; "balanced" halves the categories at
        each node, in their order.

    Raises: another tree.
    Cost: K - 1 bits and K (K - 1) flags for each choice among K.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> die = sf.family(lambda logits: sf.Categorical(logits=logits))
      >>> f, logits = lambda x: jnp.mean((x - 1) ** 2), jnp.tile(jnp.array([2.0, 1.0, 0.0, 0.0]), (10, 1))
      >>> def std(estimator):
      ...     grads = jax.jit(jax.vmap(lambda key: estimator(f, die, logits, key, num_samples=2)))
      ...     return grads(jax.random.split(jax.random.key(0), 1000)).std(axis=0).mean()
      >>> print(f"{std(sf.score_function_grad):.3f} -> {std(sf.disarm_categorical_grad):.3f}")
      0.110 -> 0.098
    """
    if tree not in ("balanced", "stick"):
        raise ValueError(BAD_TREE.format(given=tree))
    choices = call.dist.choices()
    stopped = stop(choices.log_probs)
    nodes = [_Nodes(block, tree) for block in stopped]
    size, split = in_blocks([(block.shape[0], block.shape[1] - 1) for block in stopped])

    def draw(u):
        bits = [antithetic_pair(part, node.logits) for part, node in zip(split(u), nodes, strict=True)]
        return [(b, node.option(b)) for b, node in zip(bits, nodes, strict=True)]

    def build(settings):
        return choices.build([option for _, option in settings])

    def weigh(u, settings, values):
        del u
        directions = [node.direction(*setting) for node, setting in zip(nodes, settings, strict=True)]
        return outer(values[0] - values[1], in_a_row(directions))

    log_probs = in_a_row(choices.log_probs)
    return estimate(Coupling(2, (size,), log_probs, draw, build, weigh), f, call)


disarm_categorical_grad = gradient(disarm_categorical)


class _Nodes:
    """The K - 1 nodes of the trees of a block of n choices among K.

    ``right`` and ``left`` say which options lie on either side of a node; ``logits`` (n, K - 1) are those of the bits.
    """

    def __init__(self, log_probs, tree):
        size = log_probs.shape[1]
        self.right, self.left = _balanced(0, size, size) if tree == "balanced" else _stick(size)
        sides = [
            jax.nn.logsumexp(jnp.where(side[None], log_probs[:, None], -jnp.inf), axis=-1)
            for side in (self.right, self.left)
        ]
        reachable = jnp.maximum(*sides) > -jnp.inf
        self.logits = jnp.where(reachable, jnp.where(reachable, sides[0], 0) - jnp.where(reachable, sides[1], 0), 0)
        # share of each option in its side of the node: the derivative of the node's logit in log p
        shares = [
            jnp.where(side[None], jnp.exp(log_probs[:, None] - jnp.where(total > -jnp.inf, total, 0)[..., None]), 0)
            for side, total in zip((self.right, self.left), sides, strict=True)
        ]
        self.slopes = shares[0] - shares[1]

    def option(self, bits):
        """Where bits ``(2, n, K - 1)`` lead, from the root down."""
        up = (bits == 1)[..., None]
        agrees = jnp.where(self.right[None, None], up, jnp.where(self.left[None, None], ~up, True))
        return jnp.argmax(jnp.all(agrees, axis=-2), axis=-1).astype(jnp.int32)

    def direction(self, bits, options):
        """The bracket of g_j, as a gradient in log p, shape ``(n, K)``."""
        reached = take_rows(jnp.asarray((self.right | self.left).T), options)  # (2, n, K - 1)
        (b, b_), (z, z_) = bits, reached
        both = jnp.where(b == b_, 0, 1 - 2 * b_) * jax.nn.sigmoid(jnp.abs(self.logits))
        centred = jnp.where(bits == 1, jax.nn.sigmoid(-self.logits)[None], -jax.nn.sigmoid(self.logits)[None])
        alone = jnp.where(z, centred[0], 0) - jnp.where(z_, centred[1], 0)
        return jnp.einsum("nj,njk->nk", jnp.where(z & z_, both, alone) / 2, self.slopes)


def _balanced(start, end, size):
    """Sides of the nodes of a tree that halves the options start .. end - 1 of ``size``."""
    if end - start < 2:
        return np.zeros((0, size), bool), np.zeros((0, size), bool)
    middle, place = (start + end) // 2, np.arange(size)
    right, left = (place >= middle) & (place < end), (place >= start) & (place < middle)
    below = [_balanced(start, middle, size), _balanced(middle, end, size)]
    return tuple(np.concatenate([own[None], *(part[j] for part in below)]) for j, own in enumerate((right, left)))


def _stick(size):
    """Sides of the nodes that break off option 0, 1, ... (left) from what is left of the stick (right)."""
    place, node = np.arange(size)[None], np.arange(size - 1)[:, None]
    return place > node, place == node
