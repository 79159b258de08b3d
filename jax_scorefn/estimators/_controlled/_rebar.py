"""REBAR: f of the soft draw as a control variate for f of the hard one                              (Tucker et al. 2017)

    c(z)  =  eta f( softmax(z / lambda) )

in the frame of ``_frame``. The temperature lambda and the coefficient eta change the variance alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn.estimators._controlled._frame import controlled_estimate
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.estimators._relaxed import softened
from jax_scorefn.typing import Array, Bias, Capability


class RebarTuning(NamedTuple):
    """What ``rebar`` is tuned by, a pytree.

    Attributes:
      log_temperature: logarithm of lambda.
      coefficient: eta.
    """

    log_temperature: Array | float = math.log(0.5)
    coefficient: Array | float = 1.0


@estimator(
    needs=(Capability.RELAXED,),
    bias=Bias.NONE,
    orders=1,
    evaluations="3 S",
    differentiates_f=True,
    cite=("tucker2017",),
)
def rebar(f, call, *, tuning=None):
    """E[f(x)] for discrete draws, with f of relaxed draws as a control variate.

    f is asked at the draw, and at two points between draws that belong to it: the soft draw of the same noise, and of noise that makes
    the same draw. What they have in common cancels, and what is put back is differentiated along its path.

    Args:
      f: function of one draw that returns a real or complex array of fixed shape; it is asked, and differentiated, between the
        draws too.
      num_samples: number S of draws, a Python int. With two or more, a leave-one-out mean is subtracted as well.
      tuning: a :class:`RebarTuning`, or any object with its two attributes; None is temperature 1/2 and coefficient 1. Train it with
        :func:`tuned_grad`.

    Returns: The mean of f(x) - c(z~) + c(z), of the shape and dtype of f
    Bias: It is so for every tuning. Where f closes over parameters of its own, their gradient has the noise of c(z) - c(z~)
    as well: for a decoder, ask f once more at ``Info.samples``, stopped.
    Cost: One backward pass.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))
      >>> f = lambda b: jnp.sum((b - 0.45) ** 2)
      >>> def std(estimator):
      ...     grads = jax.jit(jax.vmap(lambda key: estimator(f, bits, jnp.zeros(3), key, num_samples=1)))
      ...     return grads(jax.random.split(jax.random.key(0), 1000))[:, 0].std()
      >>> print(f"{std(sf.score_function_grad):.3f} -> {std(sf.rebar_grad):.3f}")
      0.382 -> 0.255
    """
    tuning = RebarTuning() if tuning is None else tuning

    def critic(choices, z):
        soft = [softened(block, jnp.exp(jnp.asarray(tuning.log_temperature, block.dtype))) for block in z]
        value = _checks.value(f(choices.relax(soft)))
        return jnp.asarray(tuning.coefficient, value.dtype) * value

    return controlled_estimate(critic, f, call)


rebar_grad = gradient(rebar)
