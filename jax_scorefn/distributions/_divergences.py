"""Relative entropy: KL(p || q) = E_p[log p(x) - log q(x)]."""

from __future__ import annotations

from typing import Any

import jax

from jax_scorefn.distributions._adapters import as_distribution
from jax_scorefn.distributions._base import NO_KL
from jax_scorefn.typing import Array

KL_SHAPES = (
    "kl of two {dist} distributions wants draws of one shape; those of the first have {mine}, of the second {others}."
)


def kl(p: Any, q: Any) -> Array:
    """Relative entropy KL(p || q) = E_p[log p(x) - log q(x)] in closed form.

    Args:
      p: a distribution.
      q: another one of the same class, with draws of the same shape; for a :class:`Joint`, of the same structure; for a
        Binomial or Multinomial, with the same ``total_count`` (NaN, or an error, where they differ).

    Returns:
      A float scalar of at least 0, in nats; infinite where q lacks a part of the support of p.

    Raises:
      NotImplementedError: where no closed form is known; the message says how to estimate it.
      ValueError: for draws of other shapes.

    Bias: none. Orders of derivative: every one, in the parameters of both. Cost: no draws. Of normal, gamma, beta and discrete
    distributions it keeps its digits where the two are nearly the same, as a sum of terms of its own size; of the others it is right
    to a rounding of 1.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> prior = sf.Normal(loc=0.0, scale=1.0)
      >>> value, slope = jax.value_and_grad(lambda m: sf.kl(sf.Normal(loc=m, scale=1.0), prior))(3.0)
      >>> print(value, slope)
      4.5 3.0

    References: kullback1951.
    """
    p, q = as_distribution(p), as_distribution(q)
    if type(p) is not type(q):
        raise NotImplementedError(NO_KL.format(p=p.name, q=q.name))
    mine, others = ([field.shape for field in jax.eval_shape(dist._fields)] for dist in (p, q))
    if mine[:1] != others[:1]:
        raise ValueError(KL_SHAPES.format(dist=p.name, mine=mine[0], others=others[0]))
    return p._kl_to(q)
