"""Draws over the workers of an executor: handed out in batches, gathered in their order, with a word on those that do not come back.

Nothing is asked of an executor but ``submit``, so it may be threads, processes, or a cluster.
"""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any, NamedTuple

from jax_scorefn import _checks

NOT_AN_EXECUTOR = "black_box wants as executor= any concurrent.futures.Executor, which has submit; it got {given}."
NO_EXECUTOR = (
    "black_box: {option}={given} is about the workers of an executor: give executor= too, or leave it out. Without one the function "
    "gets one draw at a time, or with vectorized=True as many as the estimator's chunk_size= says."
)
BAD_TIMEOUT = (
    "black_box: timeout={given} must be a number of seconds above 0 that a clock can wait for, or None (for ever)."
)
RAISED = "The black-box function {name} raised this for {draws} of {count}:\n{why}"
LOST = "{draws} of {count} of the black-box function {name} are lost: a worker died.\n{why}"
TOO_LONG = (
    "The black-box function {name}: nothing came back for {timeout} seconds, and {draws} of {count} are with the workers. Look at "
    "these draws, or give timeout= more. What hangs goes on in its worker: executor.shutdown(wait=False, cancel_futures=True) "
    "does not wait for it."
)


class Batch(NamedTuple):
    """Draws ``first`` to ``stop``, the latter not among them."""

    first: int
    stop: int

    def __str__(self) -> str:
        return f"{self.first}" if self.stop == self.first + 1 else f"{self.first} to {self.stop - 1}"


class Workers(NamedTuple):
    """An executor, and how it is used."""

    executor: Executor
    batch_size: int | None
    timeout: float | None

    def results(
        self, call: Callable[..., Any], args: Callable[[Batch], tuple[Any, ...]], batches: Sequence[Batch], name: str
    ) -> list[Any]:
        """``call(*args(batch))`` of each batch by whatever worker is free, in their order."""
        came: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        futures = {self.executor.submit(call, *args(batch)): batch for batch in batches}
        told = {"name": name, "count": batches[-1].stop if batches else 0, "timeout": self.timeout}

        def named(of: Callable[[Future[Any]], bool]) -> str:
            found = [str(batch) for future, batch in futures.items() if of(future)]
            more = f" and {len(found) - 8} batches more" if len(found) > 8 else ""
            return f"draws {', '.join(found[:8])}{more}"

        try:
            for future in futures:
                future.add_done_callback(came.put)
            for _ in futures:
                future = came.get(timeout=self.timeout)
                if (error := future.exception()) is not None:
                    why = "".join(traceback.format_exception(error))  # JAX shows the message alone
                    if isinstance(error, BrokenExecutor):
                        lost = named(lambda other: not other.done() or other.exception() is not None)
                        raise RuntimeError(LOST.format(**told, draws=lost, why=why)) from error
                    raise RuntimeError(
                        RAISED.format(**told, draws=named(lambda x, own=future: x is own), why=why)
                    ) from error
        except queue.Empty:
            running = any(future.running() for future in futures)  # a cluster does not tell
            late = named(lambda future: future.running() if running else not future.done())
            raise TimeoutError(TOO_LONG.format(**told, draws=late)) from None
        finally:
            for future in futures:
                future.cancel()
        return [future.result() for future in futures]


def each(f: Callable[[Any], Any], draws: Sequence[Any]) -> list[Any]:
    """Of a function of one draw, what a worker does with several."""
    return [f(draw) for draw in draws]


def workers_of(executor: Any, batch_size: Any, timeout: Any) -> Workers | None:
    """The options of ``black_box``, checked; None is the thread that asks."""
    if executor is None:
        for option, given in (("batch_size", batch_size), ("timeout", timeout)):
            if given is not None:
                raise ValueError(NO_EXECUTOR.format(option=option, given=given))
        return None
    if not callable(getattr(executor, "submit", None)):
        raise TypeError(NOT_AN_EXECUTOR.format(given=_checks.describe(executor)))
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (number and 0 < timeout <= threading.TIMEOUT_MAX):
        raise ValueError(BAD_TIMEOUT.format(given=timeout))
    return Workers(executor, None if batch_size is None else _checks.positive_int("batch_size", batch_size), timeout)
