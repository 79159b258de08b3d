"""Several steps on what was collected before the first of them, as PPO has it: epochs, and minibatches in another order for each.

batch = collect(params, key);    for each epoch, for each part of a random order:  params += optimizer(grads of the part)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.lax import stop_gradient

from jax_scorefn._trees import uphill
from jax_scorefn.typing import Array, Key, Params, PyTree

BAD_SPLIT = "collect returned {size} rows (the leading axis of all of its arrays), which {minibatches} minibatches do not divide."
NO_ROWS = "collect returns a pytree of arrays whose leading axis counts rows, all as many and one at least; it returned {given}."


def updates(
    collect: Callable[..., Any],
    value_and_grad: Callable[..., Any],
    optimizer: Any,
    epochs: int,
    minibatches: int,
) -> Callable[..., Any]:
    """``(params, opt_state, carry, key) -> (params, opt_state, carry), metrics and the mean loss``."""

    def run(params: Params, opt_state: Any, carry: PyTree, key: Key) -> Any:
        key_collect, key_order, key_loss = jax.random.split(key, 3)
        batch, (metrics, carry) = collect(stop_gradient(params), key_collect, carry)
        batch = stop_gradient(batch)
        size = _rows(batch)
        if size % minibatches:
            raise ValueError(BAD_SPLIT.format(size=size, minibatches=minibatches))

        def step(state: Any, row: tuple[Array, Key]) -> Any:
            (params, opt_state), (index, key) = state, row
            value, grads = value_and_grad(params, key, jax.tree.map(lambda x: x[index], batch))
            moved, opt_state = optimizer.update(uphill(grads), opt_state, params)
            return (optax.apply_updates(params, moved), opt_state), value

        def epoch(state: Any, keys: tuple[Key, Key]) -> Any:
            key_order, key_loss = keys
            # here, one at a time: XLA sorts several rows at once more slowly
            order = jax.random.permutation(key_order, size).reshape(minibatches, -1)
            return jax.lax.scan(step, state, (order, jax.random.split(key_loss, minibatches)))

        keys = jax.random.split(key_order, epochs), jax.random.split(key_loss, epochs)
        (params, opt_state), losses = jax.lax.scan(epoch, (params, opt_state), keys)
        return (params, opt_state, carry), {**metrics, "loss": jnp.mean(losses)}

    return run


def _rows(batch: PyTree) -> int:
    shapes = [jnp.shape(x) for x in jax.tree.leaves(batch)]
    if not shapes or any(shape[:1] != shapes[0][:1] or not shape for shape in shapes) or not shapes[0][0]:
        raise ValueError(NO_ROWS.format(given=f"shapes {[list(shape) for shape in shapes]}"))
    return shapes[0][0]
