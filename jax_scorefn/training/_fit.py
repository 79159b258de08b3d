"""A training loop: updates in a compiled ``lax.scan``, a host loop around it for progress and saved state.

    value, grads = value_and_grad(loss)(params, fold_in(key, i));    params = params + optimizer(grads)        for i = 0, 1, ...

With ``collect`` an update is several of these, on parts of what was collected before them (``_minibatches``).
Update i depends on the state before it and on i alone. So a run that was killed and goes on from its last saved state ends with the
very numbers of one that was not, and the length of the inner loop changes nothing.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax_scorefn import _checks
from jax_scorefn._progress import bar
from jax_scorefn._trees import all_finite, is_inexact, partition, uphill
from jax_scorefn.training._minibatches import updates
from jax_scorefn.training._returned import scalar, uniform
from jax_scorefn.training._saved import NOT_INSTALLED, OTHER_RUN, Saved, identity, uninterrupted
from jax_scorefn.typing import Array, Key, Params, PyTree

NOT_A_LOSS = "fit wants a function loss(params, key), and an optax optimizer; as {name} it got {given}."
NO_COLLECT = (
    "epochs={epochs} and minibatches={minibatches} are of what collect= returns; without it an update has one gradient."
)
UNKNOWN_METRIC = "show={show!r} is not one of the metrics: {known}."
BAD_TAG = "tag is a string that names the run, or None; not {given}."
STOPPED = (
    "fit stopped at update {update} (the first is 0): its loss is {loss}, or parameters after it are not finite. What is returned, "
    "and saved, is the state before it."
)
INTERRUPTED = (
    "fit was interrupted after {done} of {wanted} updates. What is returned, and saved, is the state after them: the same call with "
    "save_to= goes on from there."
)
FINE = "whether the state is finite"
OTHER_LOSSES = "its first updates had the losses {found}, and the same updates of this run have {wanted}"


class Fitted(NamedTuple):
    """What training leaves.

    Attributes:
      params: the parameters after the last update.
      opt_state: the optimizer's state.
      carry: what the loss hands on from update to update; None without.
      history: for each metric, and for "loss", a numpy array with one number for each update.
    """

    params: Params
    opt_state: optax.OptState
    carry: PyTree
    history: dict[str, np.ndarray]


def fit(
    loss: Callable[..., Any],
    params: Params,
    optimizer: optax.GradientTransformation,
    key: Key,
    num_updates: int,
    *,
    has_aux: bool = False,
    carry: PyTree = None,
    collect: Callable[..., Any] | None = None,
    epochs: int = 1,
    minibatches: int = 1,
    inner_steps: int = 100,
    progress: bool = False,
    show: str = "loss",
    save_to: str | Path | None = None,
    save_every: int = 1000,
    tag: str | None = None,
    stop_on_nonfinite: bool = False,
) -> Fitted:
    """Minimise ``loss(params, key)`` by ``num_updates`` updates of an optax optimizer.

    Args:
      loss: ``loss(params, key)`` returns a scalar; with ``has_aux=True`` the pair of it and a dictionary of scalars to keep (metrics);
        with a ``carry``, ``loss(params, key, carry)`` returns ``(value, carry)``, or ``(value, (metrics, carry))``: environments
        that go on from one update to the next, say.
      params: where to start: a pytree, or a model (of equinox, say) whose leaves may be functions too. Its floats and complex numbers
        are trained, and seen by the optimizer, which gets None in place of every other leaf.
      optimizer: for instance ``optax.adam(1e-3)``; chain schedules and clipping into it.
      key: one key; update i gets ``fold_in(key, i)``.
      num_updates: how many, a Python int.
      has_aux: whether the loss returns metrics.
      carry: the first state of what the loss hands on; None is nothing.
      collect: ``collect(params, key)`` returns a batch, a pytree of arrays whose leading axis counts rows: trajectories, answers. It
        is called first in each update, with the parameters of then; metrics and carry are its own, in the places where a loss has
        them. The loss is then ``loss(params, key, batch)``, a scalar, of a part of the batch; nothing in it is differentiated.
      epochs: with ``collect``, how often an update goes through the batch, each time in another random order.
      minibatches: with ``collect``, how many parts of the batch one after the other have a step of the optimizer each.
      inner_steps: updates in one compiled scan, and how often progress is shown.
      progress: a progress bar, with the mean of ``show`` over the last inner loop and the standard error of that mean.
      show: the metric that the progress bar shows.
      save_to: folder for the state. If it holds a state of this run already, training goes on from there. A state is of this run if
        these agree: tag, key, names and types of all leaves, the first parameters, optimizer's state and carry, names of the metrics;
        and the losses of the first two updates, which are made once more to see that loss, optimizer and data are those of before
        (up to one part in 10,000). A newest state that cannot be read is set aside with a warning, and the one before it taken.
      save_every: updates between two saved states (rounded up to whole inner loops).
      tag: a name of the run, which the folder must agree with. What shows in none of the numbers above cannot be compared, such as
        data that come in later or a slightly different learning rate: put that here.
      stop_on_nonfinite: whether to end with the last update whose loss and parameters were finite, and to warn which one was not. It
        costs a copy of the state in each update.

    Returns:
      :class:`Fitted`; of a run that was stopped, the history of the updates before. An interrupt (Ctrl-C) ends the run after the last
      whole inner loop, with a warning; before there is one, it is raised.

    Raises:
      TypeError: where the loss does not return what it should; for a loss or an optimizer that is none, a bad key, or a tag that is no
        string.
      ValueError: for bad numbers, an unknown metric, one called "loss", or a folder with the state of another run, or with none that
        can be read.
      OSError: where a state cannot be saved: a full disk, a folder that cannot be written. Those that are saved stay as they are.
      ImportError: without the packages for a progress bar or saved states (the extra ``training``).

    The gradient is that of the loss as it is; of an estimate of this library it is an unbiased estimate. Cost: one compilation for
    each length of inner loop (and one for the two updates that are compared), and two copies of the state.

    Example:
      >>> import jax, jax.numpy as jnp, optax, jax_scorefn as sf
      >>> coin = sf.family(lambda logit: sf.Bernoulli(logits=logit))
      >>> loss = lambda logit, key: sf.score_function(lambda x: (x - 1.0) ** 2, coin, logit, key, num_samples=16)
      >>> fitted = sf.training.fit(loss, jnp.zeros(()), optax.adam(0.1), jax.random.key(0), 200)
      >>> print(fitted.history["loss"].shape, bool(fitted.params > 2))
      (200,) True
    """
    num_updates = _checks.positive_int("num_updates", num_updates)
    inner_steps = _checks.positive_int("inner_steps", inner_steps)
    save_every = _checks.positive_int("save_every", save_every)
    _checks.flags(has_aux=has_aux, progress=progress, stop_on_nonfinite=stop_on_nonfinite)
    _checks.key("fit", key)
    if not callable(loss):
        raise TypeError(NOT_A_LOSS.format(name="loss", given=_checks.describe(loss)))
    if not callable(getattr(optimizer, "update", None)):
        raise TypeError(NOT_A_LOSS.format(name="optimizer", given=_checks.describe(optimizer)))
    if not isinstance(tag, str | None):
        raise TypeError(BAD_TAG.format(given=_checks.describe(tag)))
    trained, whole = partition(params, is_inexact)
    trained = jax.tree.map(jnp.asarray, trained)
    epochs, minibatches = (_checks.positive_int(*x) for x in (("epochs", epochs), ("minibatches", minibatches)))
    if collect is None:
        if epochs * minibatches > 1:
            raise ValueError(NO_COLLECT.format(epochs=epochs, minibatches=minibatches))
        one = _gradient(uniform("loss", loss, has_aux, carry is not None), whole, optimizer)
    else:
        of_batch = jax.value_and_grad(lambda p, key, batch: scalar("loss", loss(whole(p), key, batch), "a scalar"))
        fill = uniform("collect", collect, has_aux, carry is not None)
        one = updates(lambda p, key, carry: fill(whole(p), key, carry), of_batch, optimizer, epochs, minibatches)

    def update(state: tuple[Params, Any, PyTree], i: Array) -> Any:
        return one(*state, jax.random.fold_in(key, i))

    def watched(before: tuple[Any, Array], i: Array) -> Any:
        """Once something is not finite, the state stays as it was."""
        state, fine = before
        after, rows = update(state, i)
        fine = fine & jnp.isfinite(rows["loss"]) & all_finite(after[0])
        return (jax.tree.map(lambda new, old: jnp.where(fine, new, old), after, state), fine), rows | {FINE: fine}

    def run(state: Any, index: Array) -> Any:
        if not stop_on_nonfinite:
            return jax.lax.scan(update, state, index)
        (state, _), rows = jax.lax.scan(watched, (state, jnp.array(True)), index)
        return state, rows

    inner = jax.jit(run)
    state = (trained, optimizer.init(trained), carry)
    index = jax.ShapeDtypeStruct((1,), jnp.uint32)
    names = [name for name in jax.eval_shape(inner, state, index)[1] if name != FINE]
    if show not in names:
        raise ValueError(UNKNOWN_METRIC.format(show=show, known=", ".join(sorted(names))))

    with contextlib.ExitStack() as stack:
        missing = NOT_INSTALLED.format(option="progress=True", package="rich")
        report = stack.enter_context(bar(show, num_updates, wanted=progress, missing=missing))
        done, history, store = 0, {name: np.zeros(0) for name in names}, None
        if save_to is not None:
            store = stack.enter_context(Saved(Path(save_to), identity(key, tag, (params, *state[1:]), names)))
            if (found := store.load(state)) is not None:
                _same_losses(inner, state, found[2]["loss"], save_to)
                done, state, history = found
            if done > num_updates:
                raise ValueError(OTHER_RUN.format(folder=save_to, what=f"{done} updates, and {num_updates} are wanted"))
        saved = done
        reached = done, state, history  # one name, so that an interrupt finds all of it or what was before
        stopped = ""
        try:
            while done < num_updates and not stopped:
                size = min(inner_steps, num_updates - done)
                state, rows = inner(state, jnp.arange(done, done + size, dtype=jnp.uint32))
                fine = np.asarray(rows.pop(FINE, np.ones(size, bool)))
                done += int(fine.sum())
                history = {name: np.concatenate([history[name], np.asarray(rows[name])[fine]]) for name in names}
                reached = done, state, history
                if progress and done:
                    report(done, _mean(show, history[show][-size:]))
                if not fine.all():
                    stopped = STOPPED.format(update=done, loss=np.asarray(rows["loss"])[fine.sum()])
                if store is not None and done - saved >= save_every:
                    with uninterrupted():
                        store.save(*reached)
                        saved = done
        except KeyboardInterrupt:
            if not reached[0]:
                raise
            stopped = INTERRUPTED.format(done=reached[0], wanted=num_updates)
        if store is not None and reached[0] > saved:
            with uninterrupted():
                store.save(*reached)
    if stopped:
        warnings.warn(stopped, RuntimeWarning, stacklevel=2)
    done, (params, opt_state, carry), history = reached
    return Fitted(whole(params), opt_state, carry, history)


def _same_losses(inner: Callable[..., Any], first: Any, kept: np.ndarray, folder: str | Path) -> None:
    """The first two updates made once more: what the state before them cannot show (loss, optimizer, data) is in their losses."""
    kept = kept[:2]
    again = np.asarray(inner(first, jnp.arange(len(kept), dtype=jnp.uint32))[1]["loss"])
    if not np.allclose(again, kept, rtol=1e-4, atol=1e-6, equal_nan=True):  # other machines round otherwise
        what = OTHER_LOSSES.format(found=kept.tolist(), wanted=again.tolist())
        raise ValueError(OTHER_RUN.format(folder=folder, what=what))


def _gradient(loss: Callable[..., Any], whole: Callable[..., Any], optimizer: Any) -> Callable[..., Any]:
    """An update of one gradient: ``(params, opt_state, carry, key)`` -> the next ones, and the metrics."""
    value_and_grad = jax.value_and_grad(lambda p, key, carry: loss(whole(p), key, carry), has_aux=True)

    def run(params: Params, opt_state: Any, carry: PyTree, key: Key) -> Any:
        (value, (metrics, carry)), grads = value_and_grad(params, key, carry)
        moved, opt_state = optimizer.update(uphill(grads), opt_state, params)
        return (optax.apply_updates(params, moved), opt_state, carry), {**metrics, "loss": value}

    return run


def _mean(name: str, values: np.ndarray) -> str:
    """The mean of a metric, with its standard error."""
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{name} {values.mean():.4g} ± {error:.2g}"
