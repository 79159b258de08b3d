"""Saved states of one run, and what tells it from another.

    identity  =  tag, key, names and types of all that is kept, digest of where it starts, names of the metrics

It is kept beside every state. A folder whose identity differs holds another run, and is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import signal
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from jax_scorefn._trees import is_key
from jax_scorefn.typing import Array, Key, PyTree

NOT_INSTALLED = "fit with {option} needs {package}: pip install {package} (the extra training brings it)."
OTHER_RUN = "{folder} holds the state of another run: {what}. Use another folder, or remove it."
NO_IDENTITY = "it was saved by an older version, which did not keep what tells it from others ({what})"
DAMAGED = (
    "The state after {step} updates in {folder} cannot be read ({error}). It is set aside as {aside}, and the one before it "
    "is taken."
)
NO_FOLDER = "save_to={folder} cannot be written ({error}). Name a folder that can be made, or leave save_to out."
NOT_SAVED = (
    "The state after {step} updates cannot be saved in {folder} ({error}). States that were saved before are there: make room, and "
    "the same call goes on from the newest."
)
NOTHING_WHOLE = "No saved state in {folder} can be read: {error}. Use another folder, or remove it."

Identity = dict[str, Any]


def identity(key: Key, tag: str | None, state: PyTree, metrics: list[str]) -> Identity:
    """What tells one run from another, as JSON: of its state before the first update."""
    leaves = _arrays(state)
    digest = hashlib.sha256()
    for path, x in leaves.items():
        digest.update(f"{path} {x.dtype}{list(x.shape)}".encode() + np.asarray(x).tobytes())
    kind = str(key.dtype)  # the generator, for typed keys
    data = np.asarray(jax.random.key_data(key) if is_key(key) else key).tolist()
    kept = [f"{path} {x.dtype}{list(x.shape)}" for path, x in leaves.items()]
    return {
        "tag": tag,
        "key": f"{kind} {data}",
        "state": kept,
        "start": digest.hexdigest()[:16],
        "metrics": sorted(metrics),
    }


class Saved:
    """The states of one run in a folder, by orbax: the two newest, so that one that was cut short does not matter."""

    def __init__(self, folder: Path, identity: Identity):
        if importlib.util.find_spec("orbax") is None:
            raise ImportError(NOT_INSTALLED.format(option="save_to=", package="orbax-checkpoint"))
        import orbax.checkpoint as ocp

        self.ocp, self.folder, self.identity = ocp, folder.resolve(), identity
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        try:  # before anything is computed that could not be kept
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()
        except OSError as error:
            raise type(error)(NO_FOLDER.format(folder=folder, error=_line(error))) from error
        self.manager = ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> Saved:
        return self

    def __exit__(self, *_: Any) -> None:
        self.manager.close()

    def save(self, done: int, state: PyTree, history: dict[str, np.ndarray]) -> None:
        """Keep the state after so many updates."""
        args = self.ocp.args
        arrays = args.StandardSave({"state": _numbered(state), "history": history})
        try:
            self.manager.save(done, args=args.Composite(arrays=arrays, run=args.JsonSave(self.identity)))
        except Exception as error:  # whatever orbax or the file system raises
            raise OSError(NOT_SAVED.format(step=done, folder=self.folder, error=_line(error))) from error

    def load(self, state: PyTree) -> tuple[int, PyTree, dict[str, np.ndarray]] | None:
        """Updates done, state and history of the newest whole one; None of an empty folder."""
        error: Exception | None = None
        for step in sorted(self.manager.all_steps(), reverse=True):
            args = self.ocp.args
            history = {name: np.zeros(step) for name in self.identity["metrics"]}
            like = {"state": jax.tree.map(_place, _numbered(state)), "history": history}
            try:
                found = self.manager.restore(step, args=args.Composite(run=args.JsonRestore()))["run"]
                self._check(found)
                tree = self.manager.restore(step, args=args.Composite(arrays=args.StandardRestore(like)))["arrays"]
            except _OtherRun as other:
                raise ValueError(OTHER_RUN.format(folder=self.folder, what=other)) from None
            except Exception as damage:  # whatever orbax, the file system or a parser of JSON raises
                error = damage
                self._set_aside(step, damage)
                continue
            return step, _filled(tree["state"], state), {name: np.asarray(x) for name, x in tree["history"].items()}
        if error is not None:
            raise ValueError(NOTHING_WHOLE.format(folder=self.folder, error=_line(error))) from error
        return None

    def _check(self, found: Identity) -> None:
        for what, wanted in self.identity.items():
            if what not in found:
                raise _OtherRun(NO_IDENTITY.format(what=what))
            if found[what] != wanted:
                raise _OtherRun(f"its {what} is {found[what]}, not {wanted}")

    def _set_aside(self, step: int, error: Exception) -> None:
        """Out of the way of the next state of that number, and not lost: it may have been the disk's fault."""
        path = self.folder / str(step)
        number = 1
        while (aside := self.folder / f"damaged-{step}-{number}").exists():
            number += 1
        path.rename(aside)
        self.manager.reload()
        message = DAMAGED.format(step=step, folder=self.folder, error=_line(error), aside=aside.name)
        warnings.warn(message, RuntimeWarning, stacklevel=4)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Until what is inside is done, an interrupt waits: a state that is cut short is none, and threads are writing it."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    waiting: list[Any] = []
    signal.signal(signal.SIGINT, lambda *told: waiting.append(told))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if waiting:
        before(*waiting[0])


class _OtherRun(Exception):
    """Why a folder is not this run's."""


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:200]


def _is_array(x: Any) -> bool:
    return hasattr(x, "dtype") or isinstance(x, bool | int | float | complex)


def _arrays(tree: PyTree) -> dict[str, Any]:
    """Path -> array, with keys as their numbers; leaves that are no arrays are left out."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    arrays = {jax.tree_util.keystr(path): x for path, x in leaves if _is_array(x)}
    return {path: jax.random.key_data(x) if is_key(x) else jnp.asarray(x) for path, x in arrays.items()}


def _numbered(tree: PyTree) -> dict[str, Any]:
    """The arrays under plain names: a path is not a name to everybody. The paths are compared in the identity."""
    return {str(i): x for i, x in enumerate(_arrays(tree).values())}


def _place(x: Array) -> Any:
    """Where orbax is to put an array: on its devices where they are several, else in numpy, so that it is bound to no device."""
    return np.empty(x.shape, x.dtype) if isinstance(x.sharding, SingleDeviceSharding) else x


def _filled(arrays: dict[str, Any], like: PyTree) -> PyTree:
    """The tree with the numbered arrays in it."""
    leaves, treedef = jax.tree.flatten(like)
    rest = iter([arrays[str(i)] for i in range(len(arrays))])

    def one(x: Any) -> Any:
        if not _is_array(x):
            return x
        return (
            jax.random.wrap_key_data(next(rest), impl=jax.random.key_impl(x)) if is_key(x) else jnp.asarray(next(rest))
        )

    return treedef.unflatten([one(x) for x in leaves])
