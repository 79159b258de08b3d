"""f as plain Python: numpy, a simulator, anything that JAX cannot trace. One call of the host for each chunk of draws."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.core import Tracer

from jax_scorefn import _checks
from jax_scorefn._guards import guard
from jax_scorefn.engine._map import HOST_RESULT
from jax_scorefn.engine._workers import Batch, each, workers_of
from jax_scorefn.typing import Array, PyTree

NOT_A_FUNCTION = "black_box wants a function of one draw; it got {given}."
CLOSES_OVER_TRACER = (
    "The black-box function {name} closes over {what}, which is being traced by jit, grad or vmap, and the host cannot see its "
    "value. Pass what the function needs as part of the draw, or split f: keep the part that uses the parameters in JAX "
    "and add the black box to it."
)
NOT_DIFFERENTIABLE = (
    "A black box was differentiated in its input. Its code is not JAX's, so the derivative would be 0 without a word. Use "
    "score_function, which never differentiates f in the draw, in place of pathwise."
)
NOT_NUMBERS = (
    "The black-box function {name} returned {given}; real numbers or booleans are wanted (is a return missing?)."
)
WRONG_RESULT = "The black-box function {name} returned shape {given} where result_shape={wanted} was declared{hint}."


def black_box(
    f: Callable[[PyTree], Any],
    *,
    result_shape: tuple[int, ...] = (),
    vectorized: bool = False,
    executor: Executor | None = None,
    batch_size: int | None = None,
    timeout: float | None = None,
) -> Callable[[PyTree], Array]:
    """Make a plain Python function usable as an estimator's f: under jit, vmap, chunks and inside gradients.

    Args:
      f: function of one draw, given as numpy arrays (a pytree like the draw); with ``vectorized=True``, of a whole chunk,
        with the draws on the leading axis of each array. It must return the same for the same draw.
      result_shape: shape of the result for one draw.
      vectorized: see ``f``.
      executor: any ``concurrent.futures.Executor``, whose workers call ``f``: threads, processes, a cluster. It is yours and stays
        open. What goes to another process is pickled: the function and the draws.
      batch_size: how many draws a worker gets at a time; None is one, or the whole chunk where ``f`` is vectorized.
      timeout: seconds in which at least one batch must come back; None is for ever.

    Returns:
      A function of one draw that returns a float array of ``result_shape``. The host is called once for each chunk of
      draws, forwards and backwards together.

    Raises:
      TypeError: when differentiated in its input (as ``pathwise`` would), when ``f`` closes over a traced value, and for an ``f``,
        an executor, a flag or a batch size of the wrong type.
      ValueError: for a batch size below 1, a time-out that is none, and either without an executor.
      jax.errors.JaxRuntimeError: at run time, with the user's exception and its message, when ``f`` raises or its result has
        the wrong shape. With an executor it names the draws: those that raised, those that are lost with a worker that died, those
        that did not come back in time.

    Bias: none of its own; it has no derivative in the draw, and leaves every order in the parameters to the estimator.

    Cost: one host call for each chunk, whose draws come back in their order whoever made them. Not for TPUs without host callbacks.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> coin = sf.family(lambda logit: sf.Bernoulli(logits=logit))
      >>> reward = sf.black_box(lambda bit: {0: 1.0, 1: 3.0}[int(bit)])
      >>> g = jax.vmap(lambda key: sf.score_function_grad(reward, coin, 1.0, key))(jax.random.split(jax.random.key(0), 1000))
      >>> print(f"{g.mean():.3f} +- {g.std() / 1000**0.5:.3f}  (exact 0.393)")
      0.392 +- 0.002  (exact 0.393)
    """
    if not callable(f):
        raise TypeError(NOT_A_FUNCTION.format(given=type(f).__name__))
    _checks.flags(vectorized=vectorized)
    name = getattr(f, "__name__", type(f).__name__)
    result_shape, workers = tuple(result_shape), workers_of(executor, batch_size, timeout)

    def call(x: PyTree) -> Array:
        _refuse_tracers(f, name)
        x = guard(jax.tree.map(jnp.asarray, x), order=0, message=NOT_DIFFERENTIABLE)
        shapes = [leaf.shape for leaf in jax.tree.leaves(x)]
        result = jax.ShapeDtypeStruct(result_shape, jnp.result_type(float))
        on_host = functools.partial(_run, f, name, vectorized, workers, result, shapes)
        value = jax.pure_callback(on_host, result, x, vmap_method="broadcast_all")
        return checkpoint_name(value, HOST_RESULT)

    return functools.wraps(f, updated=())(call)


def _run(f, name, vectorized, workers, result, shapes, x):
    """On the host: x has the batch axes of every vmap in front of one draw's shape."""
    leaves, treedef = jax.tree.flatten(x)
    leaves = [np.asarray(leaf) for leaf in leaves]
    leading = leaves[0].shape[: leaves[0].ndim - len(shapes[0])] if leaves else ()
    count = math.prod(leading)
    rows = [leaf.reshape(count, *shape) for leaf, shape in zip(leaves, shapes, strict=True)]
    draw = lambda index: treedef.unflatten([row[index] for row in rows])
    size = (workers and workers.batch_size) or (max(count, 1) if vectorized else 1)
    batches = [Batch(i, min(i + size, count)) for i in range(0, count, size)]
    if vectorized:
        call, args = f, lambda batch: (draw(slice(batch.first, batch.stop)),)
    elif size == 1:
        call, args = f, lambda batch: (draw(batch.first),)
    else:
        call, args = functools.partial(each, f), lambda batch: ([draw(i) for i in range(batch.first, batch.stop)],)
    done = workers.results(call, args, batches, name) if workers else (call(*args(batch)) for batch in batches)
    out = np.empty((count, *result.shape), result.dtype)
    for batch, given in zip(batches, done, strict=True):
        if vectorized:
            length = batch.stop - batch.first
            hint = f", so ({length}, ...) for {length} draws"
            out[batch.first : batch.stop] = _shaped(given, name, result.shape, (length, *result.shape), hint)
        else:
            for i, one in zip(range(batch.first, batch.stop), [given] if size == 1 else given, strict=True):
                out[i] = _shaped(one, name, result.shape, result.shape)
    return out.reshape(*leading, *result.shape)


def _shaped(given: Any, name: str, declared: tuple[int, ...], wanted: tuple[int, ...], hint: str = "") -> np.ndarray:
    array = _numbers(given, name)
    if array.shape != wanted:
        raise ValueError(WRONG_RESULT.format(name=name, given=array.shape, wanted=declared, hint=hint))
    return array


def _numbers(result: Any, name: str) -> np.ndarray:
    array = np.asarray(result)
    if array.dtype.kind not in "fiub" and array.dtype != jnp.bfloat16:
        raise TypeError(NOT_NUMBERS.format(name=name, given=f"{type(result).__name__} of dtype {array.dtype}"))
    return array


def _refuse_tracers(f: Callable[..., Any], name: str) -> None:
    """Look where a function keeps what it closes over: cells, defaults, and the arguments of a partial."""
    captured: dict[str, Any] = {}
    if isinstance(f, functools.partial):
        captured["partial arguments"] = (f.args, f.keywords)
        f = f.func
    for variable, cell in zip(
        getattr(getattr(f, "__code__", None), "co_freevars", ()), getattr(f, "__closure__", None) or (), strict=False
    ):
        try:
            captured[variable] = cell.cell_contents
        except ValueError:  # an empty cell: the variable is not assigned yet
            continue
    captured["defaults"] = (getattr(f, "__defaults__", None), getattr(f, "__kwdefaults__", None))
    for variable, content in captured.items():
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(content)):
            raise TypeError(CLOSES_OVER_TRACER.format(name=name, what=variable))
