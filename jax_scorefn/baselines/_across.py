"""Leave one out, over the draws of all devices of a mapped axis: two numbers of each go to the others."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn._groups import group_means, to_draws
from jax_scorefn.baselines._base import Baseline, Values
from jax_scorefn.typing import Array, Bias

ONE_DRAW = "across({axis!r}) subtracts the mean of the other draws, and one draw of one device is all there is: raise num_samples."


def across(axis_name: Hashable | Sequence[Hashable]) -> Baseline:
    """``leave_one_out`` over the draws of all devices: b_i is the mean of the values of every other draw on every device.

    For estimators that are called inside of ``jax.shard_map`` (or of a ``vmap`` with an axis name), where ``leave_one_out`` sees the
    draws of one device. Each device has to have a key of its own, and the same number of draws.

    Args:
      axis_name: of the mapped axis, or several of them.

    Returns:
      A baseline, which needs one draw for each device, and two in all.

    Raises:
      ValueError: for one draw in all.

    Bias: none, at every order. Cost: two sums over the devices, each of one number for each element of f.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> from jax.sharding import PartitionSpec
      >>> mesh = jax.make_mesh((jax.device_count(),), ("devices",))
      >>> coin = sf.family(lambda logit: sf.Bernoulli(logits=logit))
      >>> def loss(logit, key):
      ...     own = jax.random.fold_in(key, jax.lax.axis_index("devices"))
      ...     value = sf.score_function(
      ...         lambda x: 5.0 + x, coin, logit, own, num_samples=8, baseline=sf.baselines.across("devices"))
      ...     return jax.lax.pmean(value, "devices")
      >>> mapped = jax.shard_map(loss, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec())
      >>> g = jax.jit(jax.vmap(jax.grad(mapped), (None, 0)))(0.0, jax.random.split(jax.random.key(0), 1000))
      >>> print(bool(abs(g.mean() - 0.25) < 0.02))
      True

    References: kool2019.
    """

    def apply(draws: Values) -> Array:
        # measured from a number near the values, the same on every device, so that a constant in f never enters a sum
        first = jax.lax.pmean(stop_gradient(draws.values[:1]), axis_name)
        own = group_means(draws.values - first, draws.group_size)
        total = own.shape[0] * jax.lax.psum(1, axis_name)
        if total < 2:
            raise ValueError(ONE_DRAW.format(axis=axis_name))
        others = (jax.lax.psum(jnp.sum(own, axis=0, keepdims=True), axis_name) - own) / (total - 1)
        return first + to_draws(others, draws.group_size)

    return Baseline(
        "across", apply, Bias.NONE, 1, "b_i is the mean of the other draws' values on all devices.", linear=True
    )
