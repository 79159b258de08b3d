"""Local expectation gradients: one coordinate at a time is summed out             (Titsias and Lazaro-Gredilla 2015)

    grad E[f(x)]  =  sum_d  E_{x_{-d}}[ sum_k  grad p_d(k)  f(x_{-d}, k) ]

The value is averaged over the coordinates in the same way, mean_d sum_k p_d(k) f(x_{-d}, k).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks
from jax_scorefn._surrogate import scale_tangent, where_possible
from jax_scorefn._trees import along_draws, stop
from jax_scorefn.estimators._choices import NO_CHOICES, in_a_row, in_blocks, pick
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.typing import Bias, Capability


@estimator(
    needs=(Capability.CHOICES,),
    bias=Bias.NONE,
    orders=1,
    evaluations="S times the number of categories of all choices",
    cite=("titsias2015",),
    num_samples=8,
)
def rao_blackwell(f, call):
    """E[f(x)] for independent choices, with one choice after the other summed out and the rest drawn.

    For each draw f is asked at every value that one coordinate can take while the others stay. What is left is the noise of the
    others: none at all where f is a sum over coordinates. The price is as many evaluations as there are categories, so it is for few
    coordinates or a cheap f. f is not differentiated in the draw.

    Args:
      chunk_size: draws in memory at once, each with all its evaluations; None is all of them, "auto" as many as suit the caches.
      has_aux: also return an :class:`Info`, with f at the draws themselves.

    Returns: The mean of f with each coordinate summed out in turn, of the shape and dtype of f
    Cost: S (K_1 + .. + K_D) for D choices among K_d categories, and their backward passes where f depends on the parameters;
    with ``chunk_size`` they are asked again for the gradient.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))
      >>> f = lambda b: b[0] * b[1] + b[2]
      >>> grads = jax.jit(jax.vmap(lambda key: sf.rao_blackwell_grad(f, bits, jnp.zeros(3), key, num_samples=1)))
      >>> g = grads(jax.random.split(jax.random.key(0), 10_000))
      >>> [f"{m:.3f} +- {s:.3f}" for m, s in zip(g.mean(0), g.std(0) / 100)]  # exact 0.125, 0.125, 0.25
      ['0.125 +- 0.001', '0.125 +- 0.001', '0.250 +- 0.000']
    """
    choices = call.dist.choices()
    stopped = stop(choices.log_probs)
    num_choices = sum(block.shape[0] for block in stopped)
    if num_choices == 0:
        raise ValueError(NO_CHOICES.format(name="rao_blackwell", dist=call.dist.name))
    num_uniforms, split = in_blocks([block.shape[:1] for block in stopped])
    which, option = _variants([block.shape for block in stopped])
    probs = in_a_row(choices.probs)
    probs = scale_tangent(probs, jnp.full_like(probs, num_choices))

    def variants(own):
        """The draw's options with one choice after the other set to each of its options."""
        starts = np.cumsum([0, *(block.shape[0] for block in stopped)])
        for block, start, end in zip(own, starts[:-1], starts[1:], strict=True):
            here = which[:, None] == np.arange(start, end)[None]
            yield jnp.where(here, jnp.broadcast_to(option[:, None], here.shape), jnp.broadcast_to(block, here.shape))

    def one(u, _):
        own = [pick(block, part) for block, part in zip(stopped, split(u), strict=True)]
        values = jax.vmap(lambda options: _checks.value(f(choices.build(options))))(list(variants(own)))
        values = where_possible(values, probs)
        own_value = values[next(block for block in own if block.size)[0]]  # the first choice's options come first
        rest = values - own_value[None]  # measured from f at the draw, so a constant in f cancels
        local = own_value + jnp.sum(along_draws(probs.astype(values.dtype), values) * rest, axis=0) / num_choices
        return local, own_value, call.kept(choices.build(own))

    local, values, kept = call.map(one, call.uniforms((num_uniforms,), stopped[0].dtype))
    return call.answer(jnp.mean(local, axis=0), values, kept, of=local)


rao_blackwell_grad = gradient(rao_blackwell)


def _variants(shapes):
    """For each evaluation, the choice that is set and the option that it is set to."""
    sizes = [size for number, size in shapes for _ in range(number)]
    which = np.repeat(np.arange(len(sizes)), sizes)
    return which, np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
