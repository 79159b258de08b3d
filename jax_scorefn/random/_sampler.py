"""A function of jax.random as a sampler of ours: the same signature, the same draws, and a derivative that is estimated.

``choice`` and ``pathwise`` make it of a body ``(call, *, arguments) -> draw``, which says what distribution a part of the draw has.
The signature is that of the version of JAX that is installed, with ``estimator=`` and ``name=``. Where nothing is to be scored (no
parameter is traced, or the derivative is that of the path) it is the function of ``jax.random`` and nothing else.
"""

from __future__ import annotations

import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.core import Tracer

from jax_scorefn._guards import guard
from jax_scorefn._trees import is_inexact
from jax_scorefn.programs.sites import SITES
from jax_scorefn.random._call import Call
from jax_scorefn.typing import Array

UNSCORED = (
    "sf.random.{name} was differentiated in {parameters}, and the log-probability of its draws with {given} is not known, so the "
    "derivative would be 0 or wrong without a word. Leave that out, or stop {parameters} with jax.lax.stop_gradient."
)
NO_LOG_PROB = (
    "sf.random.{name} was given {given}, with which the log-probability of its draws is not known; estimator={estimator!r} needs it. "
    "Leave that out, or use estimator='pathwise'."
)
OWN_DRAWS = (
    "sf.random.{name} makes the draws of jax.random, and estimator={given!r} needs draws by inversion of a uniform: use "
    "sf.sample with a distribution of the library, sf.sample(key, dist, estimator={given!r})."
)
HARMLESS = {"key", "shape", "dtype", "mode", "out_sharding", "unroll"}
"""Options of ``jax.random`` that change no distribution, but for the digits of a draw."""


class Sampler(NamedTuple):
    """What is known of a name of ``jax.random``.

    Attributes:
      kind: "choice" (by score, unless said otherwise: its draws have no derivative along the path, or a wrong one), "pathwise" (the
        derivative is that of the draw) or "passed through" (random in no parameter that can be differentiated).
      parameters: the arguments that its distribution is differentiated in.
      function: ours, None for a name that is handed through.
      estimators: what its ``estimator=`` may be, the default first.
    """

    kind: str
    parameters: tuple[str, ...] = ()
    function: Callable[..., Any] | None = None
    estimators: tuple[str, ...] = ()


SAMPLERS: dict[str, Sampler] = {}
"""Each public name of ``jax.random``, of every version that the library works with, and the :class:`Sampler` that it is."""
Body = Callable[..., Array]


def choice(
    *parameters: str, support: str = "finite", harmless: tuple[str, ...] = ()
) -> Callable[[Body], Callable[..., Any]]:
    """Make a sampler of a body, which scores its draws unless another estimator is asked for.

    ``parameters`` are the arguments of ``jax.random``'s function that its distribution is differentiated in, ``harmless`` those that
    change no distribution. With an option that is none of these, nor one that the body takes, the derivative raises. A ``support``
    that is "counted" has no end and takes ``max_value=``; a "continuous" one cannot be summed over.
    """
    return functools.partial(_public, "choice", support, parameters, harmless)


def pathwise(*parameters: str, harmless: tuple[str, ...] = ()) -> Callable[[Body], Callable[..., Any]]:
    """Make a sampler of a body, which is ``jax.random``'s function unless another estimator is asked for."""
    return functools.partial(_public, "pathwise", "continuous", parameters, harmless)


def _public(
    kind: str, support: str, parameters: tuple[str, ...], harmless: tuple[str, ...], body: Body
) -> Callable[..., Any]:
    name = body.__name__  # pyright: ignore[reportFunctionMemberAccess]
    original = getattr(jax.random, name)
    signature, wanted = inspect.signature(original), list(inspect.signature(body).parameters)[1:]
    estimators = _estimators(kind, support)
    own = {"estimator": estimators[0], "name": None}
    own |= {"max_value": None} if support == "counted" else {}

    @functools.wraps(body)
    def public(*args: Any, **kwargs: Any) -> Array:
        options = {option: kwargs.pop(option, default) for option, default in own.items()}
        if kind == "pathwise" and options["estimator"] == "pathwise":
            return original(*args, **kwargs)
        given = options["estimator"]
        if isinstance(given, str) and given in SITES and SITES[given].replaced:
            raise TypeError(OWN_DRAWS.format(name=name, given=given))
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        call = Call(original, dict(bound.arguments), options | {"name": options["name"] or name})
        differentiable = [x for x in map(call.arguments.get, parameters) if isinstance(x, Tracer) and is_inexact(x)]
        if call.scored and not differentiable and options.get("max_value") is None:
            return original(*args, **kwargs)
        if given := _unknown(signature, call.arguments, {*wanted, *parameters, *harmless, *HARMLESS}):
            if kind == "pathwise" or not call.scored:
                raise TypeError(NO_LOG_PROB.format(name=name, given=given, estimator=options["estimator"]))
            message = UNSCORED.format(name=name, parameters=" and ".join(parameters), given=given)
            return original(**{k: _guarded(x, message) if k in parameters else x for k, x in call.arguments.items()})
        return body(call, **{argument: call.arguments[argument] for argument in wanted})

    keyword = inspect.Parameter.KEYWORD_ONLY
    more = [inspect.Parameter(option, keyword, default=default) for option, default in own.items()]
    public.__signature__ = signature.replace(  # pyright: ignore[reportAttributeAccessIssue]
        parameters=[*signature.parameters.values(), *more]
    )
    public.__doc__ = _docstring(body, name, kind, support, parameters)
    SAMPLERS[name] = Sampler(kind, parameters, public, estimators)
    return public


def _estimators(kind: str, support: str) -> tuple[str, ...]:
    if kind == "pathwise":
        return "pathwise", "score_function"
    return ("score_function",) if support == "continuous" else ("score_function", "exact")


def _unknown(signature: inspect.Signature, arguments: dict[str, Any], known: set[str]) -> str:
    """The options that were given and change the distribution in a way that is not known here, for a message."""
    defaults = {name: parameter.default for name, parameter in signature.parameters.items()}
    other = {name: x for name, x in arguments.items() if name not in known and x is not defaults[name]}
    return ", ".join(f"{name}={x!r}" for name, x in other.items() if not isinstance(x, str) or x != defaults[name])


def _guarded(x: Any, message: str) -> Any:
    return guard(x, order=0, message=message) if isinstance(x, jax.Array) else x


DOCSTRING = """{prose}

The draw is that of ``jax.random.{name}`` for the same key and arguments, bit for bit; those that are not named here are its own.

Args:
  estimator: how the derivative in {parameters} is estimated: {estimators}.
  name: what :func:`explain` and errors call it; None is "{name}".{max_value}

Raises:
  TypeError: {raises}.{example}
"""
OF_CHOICE = {
    "estimators": '"score_function", or "exact", which sums over the support; as for :func:`sample`',
    "raises": "when it is differentiated in {parameters} outside of :func:`expectation`, where the derivative would be 0, or wrong",
}
OF_PATH = {
    "estimators": '"pathwise", as by ``jax.random``, or "score_function", as by :func:`sample`',
    "raises": "for another estimator than these; and, by score, when it is differentiated outside of :func:`expectation`",
}


BY_SCORE_ALONE = '"score_function", as by :func:`sample`: there is no other for it'
MAX_VALUE = '\n  max_value: for "exact", the largest value that counts; as for :func:`sample`.'


def _docstring(body: Body, name: str, kind: str, support: str, parameters: tuple[str, ...]) -> str:
    """What the body says, and what is common to all; an example comes last."""
    prose, head, example = (inspect.getdoc(body) or "").partition("\n\nExample:")
    names = " and ".join(f"``{parameter}``" for parameter in parameters)
    common = {k: text.format(parameters=names) for k, text in (OF_CHOICE if kind == "choice" else OF_PATH).items()}
    common["max_value"] = MAX_VALUE if support == "counted" else ""
    if kind == "choice" and support == "continuous":
        common["estimators"] = BY_SCORE_ALONE
    text = DOCSTRING.format(prose=prose, name=name, parameters=names, example=head + example, **common)
    return textwrap.indent(text, "    ").lstrip()
