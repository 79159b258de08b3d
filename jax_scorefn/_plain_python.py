"""A user's function that turns out to be plain Python: JAX's own error, with a note on what to do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

NOTE = (
    "The function was called with values that JAX traces: {name} is compiled once, for all draws. If it is plain Python (float(x), "
    "if x > 0, numpy, scipy, a simulator), wrap it: sf.black_box({name}), for an estimator that does not differentiate it, such as "
    "score_function; of a program, the part that is not JAX, as a function of one pytree. If it is meant to be JAX, use jnp in place "
    "of numpy, and jnp.where or jax.lax.cond in place of if."
)
_OF_TRACERS = ("Tracer", "scalar index")
"""What Python and numpy say of a traced value in words of their own."""


def noted(f: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose errors over traced values say what to do about them."""

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return f(*args, **kwargs)
        except (jax.errors.JAXTypeError, jax.errors.JAXIndexError, TypeError) as error:
            jax_s_own = isinstance(error, jax.errors.JAXTypeError | jax.errors.JAXIndexError)
            note = NOTE.format(name=getattr(f, "__name__", "f").replace("<lambda>", "f"))
            if (jax_s_own or any(word in str(error) for word in _OF_TRACERS)) and note not in getattr(
                error, "__notes__", ()
            ):
                error.add_note(note)
            raise

    return call
