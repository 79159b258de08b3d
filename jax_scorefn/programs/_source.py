"""Where an operation stands in people's code: the frame that JAX recorded, without those of libraries.

What a jitted function was traced for is kept, with the frames of its first call. So only frames inside of the function count, down to
the one with its name; a function without one of people's own (``_where`` of ``jnp.where``) stands where it was called.
"""

from __future__ import annotations

import itertools
import pathlib
import sysconfig
from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import jaxlib

OURS = str(pathlib.Path(__file__).parents[1])
DRAWS = {
    ("sample", str(pathlib.Path(OURS, "programs", "_choice.py"))),
    ("draw", str(pathlib.Path(OURS, "random", "_call.py"))),
}
"""The functions in which a choice is drawn and its log-probability taken."""
JAX = tuple(str(pathlib.Path(module.__file__ or "").parent) for module in (jax, jaxlib))
LIBRARIES = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")})

OF_TREES = {"map", "tree_map", "<genexpr>", "<listcomp>"}

SAMPLERS = {
    "bernoulli": "Bernoulli(probs=p)", "binomial": "Binomial(total_count=n, probs=p)", "categorical": "Categorical(logits=logits)",
    "choice": "Categorical(probs=p)", "geometric": "Geometric(probs=p)", "multinomial": "Multinomial(total_count=n, probs=p)",
    "poisson": "Poisson(rate=rate)",
}  # fmt: skip
"""Samplers of jax.random without a derivative -> what scores them."""


class Source(NamedTuple):
    """Where an operation was written: what JAX recorded of it, the operation that it is in the body of, the jitted function around."""

    info: Any
    outer: Source | None
    function: str | None

    def body(self, function: str | None) -> Source:
        """To be completed by an operation in its body, of a jitted function or of the one around."""
        return Source(None, self, function or self.function)


class Place(NamedTuple):
    """A line of somebody's file.

    Attributes:
      file: its path.
      line: its number.
      function: the function that it is in.
      entry: the function of JAX that was called there; "" where it was another library's.
      library: the library that was called there, and its function: ``numpyro's sample``; "" where it was JAX.
      ours: whether this library called it.
    """

    file: str
    line: int
    function: str
    entry: str
    library: str
    ours: bool


NOWHERE = Place("<unknown>", 0, "", "", "", False)


def short(file: str, line: int) -> str:
    """A line in short, for a table: ``file.py:12``, or that of a cell of a notebook."""
    path = pathlib.Path(file)
    return f"line {line} of a cell" if "ipykernel" in path.parent.name else f"{path.name}:{line}"


def place(source: Source | None) -> Place:
    """The innermost line that is neither JAX's nor a library's; of libraries alone, the outermost of them."""
    found = NOWHERE
    while source is not None:
        frames = _frames(source)
        outside = [i for i, frame in enumerate(frames) if not frame.file_name.startswith(JAX)]
        people = [i for i in outside if not frames[i].file_name.startswith((*LIBRARIES, OURS, "<frozen"))]
        if outside:
            at = people[0] if people else outside[-1]
            frame, first = frames[at], frames[outside[0]]
            known = found is not NOWHERE  # a function of a library, which is called here
            entry = found.entry if known else _entry(frames[: outside[0]])
            ours = found.ours if known else first.file_name.startswith(OURS)
            called = at - 1 if people else at
            library = _library(frames[called]) if called in outside else found.library
            found = Place(frame.file_name, frame.line_num, frame.function_name, entry, library, ours)
        if people:
            break
        source = source.outer
    return found


def _entry(frames: list[Any]) -> str:
    """The function of JAX that was called, also where that was for each leaf of a tree."""
    names = [_short(frame.function_name) for frame in frames]
    while names and names[-1] in OF_TREES:
        names.pop()
    return names[-1] if names else ""


def _library(frame: Any) -> str:
    """A function of a library, with its name."""
    path = next((frame.file_name.removeprefix(root) for root in LIBRARIES if frame.file_name.startswith(root)), "")
    package = pathlib.PurePath(path.lstrip("/\\")).parts[:1]
    return f"{package[0]}'s {_short(frame.function_name)}" if package else ""


def is_inside(source: Source | None, functions: Collection[str]) -> bool:
    """Whether an operation is in one of these functions of JAX, and in nothing else that is called there."""
    while source is not None:
        frames = list(itertools.takewhile(lambda frame: frame.file_name.startswith(JAX), _frames(source)))
        if any(_short(frame.function_name) in functions for frame in frames):
            return True
        if len(frames) < len(_frames(source)):
            return False
        source = source.outer
    return False


def is_in_sample(source: Source | None) -> bool:
    """Whether an operation belongs to the draw or the log-probability of a choice."""
    while source is not None:
        frames = getattr(source.info.traceback, "frames", ())
        if any((_short(frame.function_name), frame.file_name) in DRAWS for frame in frames):
            return True
        source = source.outer
    return False


def _frames(source: Source) -> list[Any]:
    """The innermost first, down to the function that is the body of the call."""
    frames = list(getattr(source.info.traceback, "frames", ()))
    named = (i + 1 for i, frame in enumerate(frames) if _short(frame.function_name) == source.function)
    return frames[: next(named, None)]


def _short(name: str) -> str:
    return name.rpartition(".")[2]
