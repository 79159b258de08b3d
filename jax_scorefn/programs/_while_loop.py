"""A loop that ends by itself, of at most so many steps, in which choices may be made: a scan whose steps after the end change nothing.

    alive_t  =  cond(s_t)
    s_{t+1}  =  where(alive_t, body(where(alive_t, s_t, l_t)), s_t)          l_t: the last state that was alive

A finished run's body is computed on a state that it could bear, and its result is left out: masked before and after, for 0 times
infinity is no derivative. ``expectation`` finds the scan with a mark on ``alive``, credits it as any scan, and runs it in blocks of
steps, each under a ``cond`` that asks whether any run is alive (``any_run``). Outside of a program the blocks are made here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jax_scorefn import _checks
from jax_scorefn._surrogate import departure, scale_tangent
from jax_scorefn._trees import is_inexact, reusable
from jax_scorefn.programs._mesh import onto_mesh
from jax_scorefn.typing import Array, PyTree

BLOCK = 16
"""Steps that are run together, once any run is alive; and blocks of them that are looked at together."""
NOT_ONE_BOOL = "while_loop wants one boolean from cond; it returned {given}."
OTHER_STATE = (
    "The body of while_loop returns the next state, of the structure, shapes and dtypes of the state that it is given; it was given "
    "{state} and returned {given}."
)

in_program = jax.make_user_context(False)
"""Whether a program is being traced, which runs the loop in blocks itself. The caches of ``jit`` see it."""


def while_loop(
    cond: Callable[[Any], Any], body: Callable[[Any], Any], init: PyTree, *, max_steps: int, truncate: bool = False
) -> PyTree:
    """``jax.lax.while_loop`` of at most ``max_steps`` steps, with choices in it and derivatives of every order.

    The number of steps may depend on choices, and on values along a path. In :func:`expectation` a choice is credited with the costs
    after it, as in a ``lax.scan``: a cost that is added up in the state counts from the step in which it is added.

    Args:
      cond: ``state -> bool``, whether to go on.
      body: ``state -> state``, one step. It draws with :func:`sample`, for instance from a key that is in the state.
      init: the first state, a pytree of arrays.
      max_steps: most steps, a Python int.
      truncate: whether a run may be cut off after ``max_steps``; its state is then what it is. Without it, the floats of its state
        are NaN.

    Returns:
      The last state. With ``truncate=False`` its floats are NaN if it would go on.

    Raises:
      TypeError: for a ``cond`` that does not return one boolean, and a ``body`` that returns another kind of state.
      ValueError: for a bad ``max_steps``.

    Bias: none. Orders of derivative: every one, of what is smooth in the parameters; that the number of steps changes along a path is
    a jump. Cost: the steps until the last of all runs ends, in blocks of 16, and the memory of ``max_steps`` for derivatives.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> def ruin(logit, key):
      ...     def play(state):
      ...         money, rounds, key = state
      ...         key, now = jax.random.split(key)
      ...         return money + 2.0 * sf.sample(now, sf.Bernoulli(logits=logit)) - 1.0, rounds + 1.0, key
      ...     goes_on = lambda state: (state[0] > 0.0) & (state[0] < 4.0)
      ...     return sf.programs.while_loop(goes_on, play, (2.0, 0.0, key), max_steps=200)[0] / 4.0  # whether it was won
      >>> grad = jax.jit(jax.grad(sf.expectation(ruin, num_samples=4000)))
      >>> print(f"{grad(0.0, jax.random.key(0)):.1f}")  # the probability is p^2 / (p^2 + (1 - p)^2): exact 0.5
      0.5
    """
    max_steps = _checks.positive_int("max_steps", max_steps)
    _checks.flags(truncate=truncate)
    init = jax.tree.map(jnp.asarray, init)

    def going(state: PyTree) -> Array:
        alive = jnp.asarray(cond(state))
        if alive.shape != () or alive.dtype != jnp.bool_:
            raise TypeError(NOT_ONE_BOOL.format(given=_checks.describe(alive)))
        return alive

    def step(carry: Any, _: None) -> Any:
        state, live = carry
        alive = alive_p.bind(going(state))
        start = _where(alive, reusable(state), reusable(live))
        after = body(reusable(start))
        if (given := _kind(after)) != (wanted := _kind(state)):
            raise TypeError(OTHER_STATE.format(state=wanted, given=given))
        return (_where(alive, after, reusable(state)), start), None

    first = (init, reusable(init))
    if in_program.value:
        (state, _), _ = jax.lax.scan(step, first, None, length=max_steps)
    else:
        (state, _), _ = in_blocks(step, lambda carry, _: going(carry[0]), first, max_steps)
    if truncate:
        return state
    goes_on = going(state)

    def nan_if_it_does(x: Array) -> Array:
        nan = jnp.broadcast_to(jnp.where(goes_on, jnp.nan, 0.0).astype(x.dtype), x.shape)
        # added, so that costs in x are told apart; of derivatives too
        return x + (nan + scale_tangent(departure(x), nan))

    return jax.tree.map(lambda x: nan_if_it_does(x) if is_inexact(x) else x, state)


def _where(chosen: Array, x: PyTree, y: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jax.lax.select(jnp.broadcast_to(chosen, jnp.shape(a)), jnp.asarray(a), b), x, y)


def _kind(state: PyTree) -> Any:
    return jax.tree.map(lambda x: jax.typeof(jnp.asarray(x)).str_short(), state)


def in_blocks(step: Callable[..., Any], alive: Callable[..., Array], carry: PyTree, length: int) -> Any:
    """``jax.lax.scan``, where a block of steps is left out if no run is ``alive(carry, rows)`` after the one before.

    What is left out changes nothing and emits 0. So is a group of blocks, so that a run that ends early asks a few times.
    """

    def steps(size: int) -> Callable[..., Any]:
        def run(state: Any) -> Any:
            carry, rows = jax.lax.scan(step, state[0], None, length=size)
            return (carry, alive(carry, rows)), rows

        return run

    def unless_over(body: Callable[..., Any], wanted: Any, *given: Any) -> Any:
        def leave_out(state: Any, *_: Any) -> Any:
            rows = jax.eval_shape(body, *given)[1]
            return state, jax.tree.map(lambda x: onto_mesh(jnp.zeros(x.shape, x.dtype)), rows)

        return jax.lax.cond(any_run(given[0][1]) & wanted, body, leave_out, *given)

    def block(state: Any, wanted: Any) -> Any:
        return unless_over(steps(BLOCK), wanted, state)

    def group(state: Any, wanted: Any) -> Any:
        return unless_over(lambda *given: jax.lax.scan(block, *given), True, state, wanted)

    state, blocks, parts = onto_mesh((carry, jnp.bool_(True))), length // BLOCK, []
    if blocks:
        # the last group may not be full
        wanted = np.arange(math.ceil(blocks / BLOCK) * BLOCK).reshape(-1, BLOCK) < blocks
        state, rows = jax.lax.scan(group, state, wanted)
        parts.append(jax.tree.map(lambda x: x.reshape(-1, *x.shape[3:])[: blocks * BLOCK], rows))
    if length % BLOCK:
        state, rows = unless_over(steps(length % BLOCK), True, state)
        parts.append(rows)
    return state[0], jax.tree.map(lambda *rows: jnp.concatenate(rows), *parts)


def any_run(alive: Array) -> Array:
    """The same boolean; under ``vmap`` whether it is true of any: one for all, so that a ``cond`` on it stays a ``cond``."""
    return any_p.bind(alive)


alive_p = Primitive("scorefn_alive")
any_p = Primitive("scorefn_any_run")

for _primitive in (alive_p, any_p):
    _primitive.def_impl(lambda x: x)
    _primitive.def_abstract_eval(lambda x: x)
    mlir.register_lowering(_primitive, mlir.lower_fun(lambda x: x, multiple_results=False))


def _any_of_batch(operands: Any, dims: Any) -> Any:
    return any_run(jnp.any(operands[0], axis=dims[0])), None


def _no_tangent(primitive: Primitive) -> Callable[..., Any]:
    return lambda primals, tangents: (primitive.bind(*primals), ad.Zero(jax.typeof(primals[0]).to_tangent_aval()))


batching.primitive_batchers[alive_p] = lambda operands, dims: (alive_p.bind(*operands), dims[0])
batching.primitive_batchers[any_p] = _any_of_batch
ad.primitive_jvps[alive_p] = _no_tangent(alive_p)
ad.primitive_jvps[any_p] = _no_tangent(any_p)
