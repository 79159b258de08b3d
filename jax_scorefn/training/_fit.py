"""A training loop: updates in a compiled ``lax.scan``, a host loop around it for progress and saved state.

    value, grads = value_and_grad(loss)(params, fold_in(key, i));    params = params + optimizer(grads)        for i = 0, 1, ...

Update i depends on the state before it and on i alone. So a run that was killed and goes on from its last saved state ends with the
very numbers of one that was not, and the length of the inner loop changes nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax_scorefn import _checks
from jax_scorefn.typing import Array, Key, Params, PyTree

NOT_INSTALLED = "fit with {option} needs {package}: pip install 'jax_scorefn[training]'."
BAD_LOSS = "loss must return {wanted}; it returned {given}."
BAD_METRICS = "The metrics of a loss are a dictionary of scalars; {name} has shape {shape}."
UNKNOWN_METRIC = "show={show!r} is not one of the metrics: {known}."
OTHER_RUN = "{folder} holds the state of another run: {what}. Use another folder, or remove it."


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
    inner_steps: int = 100,
    progress: bool = False,
    show: str = "loss",
    save_to: str | Path | None = None,
    save_every: int = 1000,
) -> Fitted:
    """Minimise ``loss(params, key)`` by ``num_updates`` updates of an optax optimizer.

    Args:
      loss: ``loss(params, key)`` returns a scalar; with ``has_aux=True`` the pair of it and a dictionary of scalars to keep (metrics);
        with a ``carry``, ``loss(params, key, carry)`` returns ``(value, carry)``, or ``(value, (metrics, carry))``: environments
        that go on from one update to the next, say.
      params: where to start.
      optimizer: for instance ``optax.adam(1e-3)``; chain schedules and clipping into it.
      key: one key; update i gets ``fold_in(key, i)``.
      num_updates: how many, a Python int.
      has_aux: whether the loss returns metrics.
      carry: the first state of what the loss hands on; None is nothing.
      inner_steps: updates in one compiled scan, and how often progress is shown.
      progress: a progress bar, with the mean of ``show`` over the last inner loop and the standard error of that mean.
      show: the metric that the progress bar shows.
      save_to: folder for the state. If it holds a state of this run already, training goes on from there.
      save_every: updates between two saved states (rounded up to whole inner loops).

    Returns:
      :class:`Fitted`.

    Raises:
      TypeError: where the loss does not return what it should.
      ValueError: for bad numbers, an unknown metric, or a folder with the state of another run.
      ImportError: without the packages for a progress bar or saved states (the extra ``training``).

    The gradient is that of the loss as it is; of an estimate of this library it is an unbiased estimate. Cost: one compilation for
    each length of inner loop, and two copies of the state.

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
    params = jax.tree.map(jnp.asarray, params)
    value_and_grad = jax.value_and_grad(_uniform(loss, has_aux, carry is not None), has_aux=True)

    def update(state: tuple[Params, Any, PyTree], i: Array) -> Any:
        params, opt_state, carry = state
        (value, (metrics, carry)), grads = value_and_grad(params, jax.random.fold_in(key, i), carry)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, carry), {**metrics, "loss": value}

    inner = jax.jit(lambda state, index: jax.lax.scan(update, state, index))
    state = (params, optimizer.init(params), carry)
    index = jax.ShapeDtypeStruct((1,), jnp.uint32)
    names = list(jax.eval_shape(inner, state, index)[1])
    if show not in names:
        raise ValueError(UNKNOWN_METRIC.format(show=show, known=", ".join(sorted(names))))

    with contextlib.ExitStack() as stack:
        store = None if save_to is None else stack.enter_context(_Store(Path(save_to), key))
        report = stack.enter_context(_bar(show, num_updates)) if progress else None
        done, history = 0, {name: np.zeros(0) for name in names}
        if store is not None and store.latest() is not None:
            done, state, history = store.load(state, history)
            if done > num_updates:
                raise ValueError(OTHER_RUN.format(folder=save_to, what=f"{done} updates, and {num_updates} are wanted"))
        saved = done
        while done < num_updates:
            size = min(inner_steps, num_updates - done)
            state, rows = inner(state, jnp.arange(done, done + size, dtype=jnp.uint32))
            done += size
            history = {name: np.concatenate([history[name], np.asarray(rows[name])]) for name in names}
            if report is not None:
                report(done, history[show][-size:])
            if store is not None and (done - saved >= save_every or done == num_updates):
                store.save(done, state, history)
                saved = done
    params, opt_state, carry = state
    return Fitted(params, opt_state, carry, history)


def _uniform(loss: Callable[..., Any], has_aux: bool, has_carry: bool) -> Callable[..., Any]:
    """The loss as ``(params, key, carry) -> (value, (metrics, carry))``."""
    wanted = "(value, (metrics, carry))" if has_aux and has_carry else "(value, carry)" if has_carry else ""
    wanted = wanted or ("(value, metrics)" if has_aux else "a scalar")

    def call(params: Params, key: Key, carry: PyTree) -> Any:
        out = loss(params, key, carry) if has_carry else loss(params, key)
        pair = has_aux or has_carry
        if pair and not (isinstance(out, tuple) and len(out) == 2):
            raise TypeError(BAD_LOSS.format(wanted=wanted, given=type(out).__name__))
        value: Any
        rest: Any
        value, rest = out if pair else (out, None)
        if has_aux and has_carry and not (isinstance(rest, tuple) and len(rest) == 2):
            raise TypeError(BAD_LOSS.format(wanted=wanted, given=f"(value, {type(rest).__name__})"))
        metrics, carry = rest if has_aux and has_carry else (rest, None) if has_aux else ({}, rest)
        if not hasattr(value, "dtype") or jnp.shape(value) != ():
            given = f"an array of shape {list(jnp.shape(value))}" if hasattr(value, "dtype") else type(value).__name__
            raise TypeError(BAD_LOSS.format(wanted=wanted, given=given))
        if not isinstance(metrics, dict):
            raise TypeError(BAD_METRICS.format(name="what it returned", shape=type(metrics).__name__))
        for name, x in metrics.items():
            if jnp.shape(x) != ():
                raise TypeError(BAD_METRICS.format(name=name, shape=list(jnp.shape(x))))
        return value, (metrics, carry)

    return call


@contextlib.contextmanager
def _bar(show: str, total: int) -> Any:
    if importlib.util.find_spec("rich") is None:
        raise ImportError(NOT_INSTALLED.format(option="progress=True", package="rich"))
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), *columns) as bar:
        task = bar.add_task(show, total=total)

        def report(done: int, values: np.ndarray) -> None:
            error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
            bar.update(task, completed=done, description=f"{show} {values.mean():.4g} ± {error:.2g}")

        yield report


class _Store:
    """Saved states of one run, by orbax: the two newest, so that one that was cut short does not matter."""

    def __init__(self, folder: Path, key: Key):
        if importlib.util.find_spec("orbax") is None:
            raise ImportError(NOT_INSTALLED.format(option="save_to=", package="orbax-checkpoint"))
        import orbax.checkpoint as ocp

        self.ocp, self.folder = ocp, folder
        self.key = np.asarray(jax.random.key_data(key) if _is_key(key) else key).tolist()
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        self.manager = ocp.CheckpointManager(folder.resolve(), options=options)

    def __enter__(self) -> _Store:
        return self

    def __exit__(self, *_: Any) -> None:
        self.manager.close()

    def latest(self) -> int | None:
        return self.manager.latest_step()

    def save(self, done: int, state: PyTree, history: dict[str, np.ndarray]) -> None:
        tree = {"state": _plain(state), "history": history}
        args = self.ocp.args
        self.manager.save(done, args=args.Composite(arrays=args.StandardSave(tree), run=args.JsonSave(self.run(tree))))

    def run(self, tree: PyTree) -> dict[str, Any]:
        """What tells one run from another: its key, and the names and types of what it keeps."""
        state = {name: f"{x.dtype}{list(jnp.shape(x))}" for name, x in tree["state"].items()}
        return {"key": self.key, "state": state, "metrics": sorted(tree["history"])}

    def load(self, state: PyTree, history: dict[str, np.ndarray]) -> tuple[int, PyTree, dict[str, np.ndarray]]:
        done = self.latest()
        assert done is not None
        like = {"state": _plain(state), "history": {name: np.zeros(done) for name in history}}
        args = self.ocp.args
        found = self.manager.restore(done, args=args.Composite(run=args.JsonRestore()))["run"]
        for what, wanted in self.run(like).items():
            if found[what] != wanted:
                raise ValueError(
                    OTHER_RUN.format(folder=self.folder, what=f"its {what} is {found[what]}, not {wanted}")
                )
        tree = self.manager.restore(done, args=args.Composite(arrays=args.StandardRestore(like)))["arrays"]
        return done, _typed(tree["state"], state), {name: np.asarray(x) for name, x in tree["history"].items()}


def _is_key(x: Any) -> bool:
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _plain(tree: PyTree) -> PyTree:
    """The arrays of a state without keys and empty places, which are not arrays to everybody."""
    return {str(i): jax.random.key_data(x) if _is_key(x) else x for i, x in enumerate(jax.tree.leaves(tree))}


def _typed(arrays: dict[str, Any], like: PyTree) -> PyTree:
    leaves, treedef = jax.tree.flatten(like)
    restored = [
        jax.random.wrap_key_data(arrays[str(i)], impl=jax.random.key_impl(x))
        if _is_key(x)
        else jnp.asarray(arrays[str(i)])
        for i, x in enumerate(leaves)
    ]
    return treedef.unflatten(restored)
