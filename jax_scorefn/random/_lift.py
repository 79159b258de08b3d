"""Programs as they are: while one is traced, the samplers of ``jax.random`` make choices.

    lift(program)(..., key)    is the program, in which jax.random.categorical is that of ``jax_scorefn.random``, and so on

While a lift is at work anywhere the attributes of ``jax.random`` are dispatchers. Each reads a context of its own thread, which the
caches of ``jit`` see, and calls what it stands for where that is not set. So no other thread, and no function that was traced before
or is traced after, sees anything, and a dispatcher that somebody keeps is for ever the function that it stands for.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any, Literal, ParamSpec, TypeVar, overload

import jax
import numpy as np

from jax_scorefn import _checks
from jax_scorefn.programs import DRAW, PROGRAM, lifted as _context, marked
from jax_scorefn.random._sampler import SAMPLERS

NOT_A_PROGRAM = "lift needs a function that draws with jax.random and has an argument for the key; it got {given}."
NO_SUCH_KEY = (
    "lift was told that the key of {name} is its argument {key!r}, and its arguments are {given}: pass the name or the position "
    "of one."
)
TWO_KEYS = (
    "The key of {name} is {key!r}, and it has another argument named key, which would be taken for it: rename that one."
)

P = ParamSpec("P")
R = TypeVar("R")
_lock = threading.Lock()
_at_work = 0


@overload
def lift(program: Callable[P, R], *, key: Literal["key"] = "key") -> Callable[P, R]: ...
@overload
def lift(program: Callable[..., R], *, key: str | int) -> Callable[..., R]: ...
def lift(program: Callable[..., Any], *, key: str | int = "key") -> Callable[..., Any]:
    """A program whose draws by ``jax.random`` are choices, for :func:`expectation`. Nothing in the program is edited.

    In it the discrete samplers of ``jax.random``, called through the module, are those of :mod:`jax_scorefn.random`, here and in all
    that it calls: distributions of distrax, NumPyro and TFP, a step of an environment, jitted functions. Draws that are written out
    are choices too: a uniform that is compared with thresholds (``u < p``, ``searchsorted(cumsum(p), u)``) and ``argmax(logits + g)``,
    where uniforms and Gumbels are used for nothing else. Continuous draws stay what they are, with their paths. A draw whose
    parameters depend on no argument stays a plain draw.

    What escapes: a sampler that was imported by its own name (``from jax.random import categorical``), and draws that are written out
    in other ways. Their gradient is still 0, as under ``jax.grad``, and ``expectation`` warns of them with their lines. A program
    that already holds a surrogate (a log-probability times a stopped cost) has another expectation than its cost: a ``stop_gradient``
    of what depends on a lifted draw is warned of too.

    Args:
      program: function with an argument that is the key.
      key: the name or the position of that argument.

    Returns:
      The program, whose argument for the key is named ``key``. Under :func:`expectation` it is differentiated; on its own it is the
      program, and raises where a choice is differentiated.

    Raises:
      TypeError: for what is no function, or has no such argument.

    Cost: it is traced anew in this context, the jitted functions in it too, once. Draws and values are those of the program.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> def program(logits, rng):
      ...     return jnp.array([1.0, 2.0, 5.0])[jax.random.categorical(rng, logits)]
      >>> gradient = jax.grad(sf.expectation(sf.lift(program, key="rng"), num_samples=64))
      >>> g = jax.vmap(gradient, (None, 0))(jnp.zeros(3), jax.random.split(jax.random.key(0), 1000))
      >>> print([f"{m:.2f} +- {s:.2f}" for m, s in zip(g.mean(0), g.std(0) / 1000**0.5)], "(exact -0.56, -0.22, 0.78)")
      ['-0.56 +- 0.00', '-0.22 +- 0.00', '0.78 +- 0.00'] (exact -0.56, -0.22, 0.78)

    References: schulman2015.
    """
    if not callable(program):
        raise TypeError(NOT_A_PROGRAM.format(given=_checks.describe(program)))
    own = inspect.signature(program)
    name, signature = _with_key(own, key, getattr(program, "__name__", type(program).__name__))

    @functools.wraps(program)
    def lifted(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        call = inspect.BoundArguments(own, {name if k == "key" else k: v for k, v in given.items()})  # pyright: ignore[reportArgumentType]
        with _dispatching(), _context(PROGRAM):
            return program(*call.args, **call.kwargs)

    lifted.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]
    return lifted


def _with_key(own: inspect.Signature, key: str | int, program: str) -> tuple[str, inspect.Signature]:
    """The name of the argument that is the key, and the signature with it named ``key``."""
    names = list(own.parameters)
    if isinstance(key, int) and not isinstance(key, bool) and -len(names) <= key < len(names):
        key = names[key]
    if key not in names:
        raise TypeError(NO_SUCH_KEY.format(name=program, key=key, given=", ".join(names) or "none"))
    if key != "key" and "key" in names:
        raise TypeError(TWO_KEYS.format(name=program, key=key))
    return key, own.replace(parameters=[p.replace(name="key") if p.name == key else p for p in own.parameters.values()])


def _dispatcher(original: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def sampler(*args: Any, **kwargs: Any) -> Any:
        if _context.value != PROGRAM:
            return original(*args, **kwargs)
        with _context(DRAW):
            return ours(*args, **kwargs)

    return sampler


def _uniform(*args: Any, **kwargs: Any) -> Any:
    given = inspect.signature(ORIGINALS["uniform"]).bind(*args, **kwargs).arguments
    x, ends = ORIGINALS["uniform"](*args, **kwargs), (given.get("minval", 0.0), given.get("maxval", 1.0))
    return marked(x, "uniform", *ends) if all(np.size(end) == 1 for end in ends) else x


def _gumbel(*args: Any, **kwargs: Any) -> Any:
    return marked(ORIGINALS["gumbel"](*args, **kwargs), "gumbel")


OURS = {name: sampler.function for name, sampler in SAMPLERS.items() if sampler.kind == "choice" and sampler.function}
OURS |= {"uniform": _uniform, "gumbel": _gumbel}
ORIGINALS = {name: getattr(jax.random, name) for name in OURS}
DISPATCHERS = {name: _dispatcher(ORIGINALS[name], ours) for name, ours in OURS.items()}


@contextlib.contextmanager
def _dispatching() -> Iterator[None]:
    """The dispatchers in their places; the last to leave takes them away."""
    global _at_work
    with _lock:
        _at_work += 1
        if _at_work == 1:
            _put(DISPATCHERS)
    try:
        yield
    finally:
        with _lock:
            _at_work -= 1
            if _at_work == 0:
                _put(ORIGINALS)


def _put(functions: dict[str, Callable[..., Any]]) -> None:
    for name, function in functions.items():
        setattr(jax.random, name, function)
