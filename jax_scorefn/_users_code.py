"""What a user's function raises: the error of JAX or Python itself, with a note on how the function was called and what to do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

PLAIN = (
    "The function was called with values that JAX traces: {name} is compiled once, for all draws. If it is plain Python (float(x), "
    "if x > 0, numpy, scipy, a simulator), wrap it: sf.black_box({name}), for an estimator that does not differentiate it, such as "
    "score_function; of a program, the part that is not JAX, as a function of one pytree. If it is meant to be JAX, use jnp in place "
    "of numpy, and jnp.where or jax.lax.cond in place of if."
)
OF_A_DRAW = (
    "{name} is called with one draw at a time, here ({given}), which has no axis of draws: the library maps {name} over them. Write "
    "it for one draw. Where draws are given (samples=), the first axis alone is theirs: reshape chains (chains, draws, ...) to "
    "(chains * draws, ...)."
)
OF_PARAMS = (
    "A family calls dist_fn(params), with one argument, here ({given}). If the function takes them one by one, write "
    "sf.family(lambda params: dist_fn(*params))."
)
LOG_PROB = (
    "A family calls log_prob(params, x), with one draw x at a time, here ({given}). Where draws are given (samples=), the first axis "
    "alone is theirs: reshape chains (chains, draws, ...) to (chains * draws, ...)."
)
SAMPLER = "A family calls sampler(key, params), for one draw, here ({given})."
_OF_TRACERS = ("Tracer", "scalar index")
"""What Python and numpy say of a traced value in words of their own."""
_TRACED = (jax.errors.JAXTypeError, jax.errors.JAXIndexError)


def noted(f: Callable[..., Any], called: str | None = None) -> Callable[..., Any]:
    """The same function, whose errors over traced values, and over what it was ``called`` with, say what to do about them."""

    @functools.wraps(f, updated=())
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return f(*args, **kwargs)
        except (*_TRACED, TypeError, ValueError, IndexError, AttributeError) as error:
            plain = isinstance(error, _TRACED) or any(word in str(error) for word in _OF_TRACERS)
            note = PLAIN if plain else called
            if note is not None and not _is_noted(error):  # the innermost function is the one that raised
                given = ", ".join(_described(arg) for arg in args)
                name = getattr(f, "__name__", "f").replace("<lambda>", "f")
                error.add_note(_Note(note.format(name=name, given=given)))
            raise

    return call


class _Note(str):
    """A note of ours."""


def _is_noted(error: BaseException) -> bool:
    return any(isinstance(note, _Note) for note in getattr(error, "__notes__", ()))


def _described(x: Any) -> str:
    """The types of what a pytree holds."""
    types = [
        f"{leaf.dtype}{[*jax.numpy.shape(leaf)]}" if hasattr(leaf, "dtype") else type(leaf).__name__
        for leaf in jax.tree.leaves(x)
    ]
    return types[0] if len(types) == 1 else f"{type(x).__name__} of {', '.join(types[:4]) + ', ...' * (len(types) > 4)}"
