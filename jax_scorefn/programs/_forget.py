"""A mark in a loop: from here on, what was chosen before is not charged any more. It changes the objective.

    x = forget(x, when=done)        the value is x; the credit of an iteration reaches back to the last one that was done

A window of fixed length with automatic resets has one expected cost, and its gradient charges an action with all that comes after it,
resets or not, for it is the actions that decide when the next reset comes. Another gradient is often wanted: that of the *return of
the episode in progress*, as if the times of the resets were given. It is not the derivative of the window's expected cost, so it is
never found out by itself.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jax_scorefn.programs.sites import batched
from jax_scorefn.typing import Array, PyTree

NOT_A_FLAG = "forget wants one boolean for when=; it was given {dtype}{shape}."

forget_p = Primitive("scorefn_forget")
forget_p.multiple_results = True


def forget(x: PyTree, *, when: Array | bool) -> PyTree:
    """The value ``x``; in a ``lax.scan``, choices before an iteration with ``when`` are not charged for what follows from it.

    Put it on the state that one iteration hands on to the next, after the reset. Choices that were made before the loop are charged as
    ever, and so is what goes around the mark. On its own, and for the value of :func:`expectation`, it does nothing.

    Args:
      x: any pytree of arrays.
      when: one boolean: whether an episode ends here.

    Returns:
      ``x``.

    Raises:
      TypeError: where ``when`` is not one boolean; by ``expectation``, where the mark is not in the body of a ``lax.scan`` that runs
        forwards, or is under a ``vmap`` inside of the program (map ``expectation(program)`` instead), or where two marks meet.

    Bias: for the expected cost of the program, yes: this is the gradient of another objective, in which the times of the resets are
    taken as given. Orders of derivative: every one, of that objective. Cost: one more pass along the loop.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> def window(logit, key):
      ...     def step(s, k):
      ...         s = s + sf.sample(k, sf.Bernoulli(logits=logit - s))
      ...         done = s >= 2.0
      ...         return sf.programs.forget(jnp.where(done, 0.0, s), when=done), s**2
      ...     return jnp.sum(jax.lax.scan(step, 0.0, jax.random.split(key, 8))[1])
      >>> print(jax.grad(sf.expectation(window))(0.5, jax.random.key(0)).shape)
      ()
    """
    flag = jnp.asarray(when)
    if flag.dtype != jnp.bool_ or flag.shape != ():
        raise TypeError(NOT_A_FLAG.format(dtype=flag.dtype, shape=list(flag.shape)))
    leaves, treedef = jax.tree.flatten(x)
    return treedef.unflatten(forget_p.bind(flag, *leaves)) if leaves else x


def _identity(when: Any, *leaves: Any) -> list[Any]:
    return list(leaves)


def _jvp(primals: Any, tangents: Any) -> Any:
    return forget_p.bind(*primals), list(tangents[1:])


forget_p.def_impl(_identity)
forget_p.def_abstract_eval(_identity)
mlir.register_lowering(forget_p, mlir.lower_fun(_identity, multiple_results=True))
ad.primitive_jvps[forget_p] = _jvp
batching.primitive_batchers[forget_p] = batched(forget_p)
