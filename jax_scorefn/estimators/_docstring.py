"""The docstring of an estimator: what its record tells is written here, and what differs stands beside the body.

    a line, and when to take it                      the body's
    Args, Returns, Raises, Bias, Cost                the record's, and what the body says of its own
    Example                                          the body's
    References                                       the record's

A section of the body's own is optional. In ``Args`` it has its own options, each of them, and a common argument where there is more to
say of it; ``Returns`` says what the value is; ``Raises`` goes on with what else is refused, ``Bias`` and ``Cost`` with sentences.
"""

from __future__ import annotations

import functools
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jax_scorefn import _checks, distributions
from jax_scorefn.distributions import Distribution, declared
from jax_scorefn.typing import EVERY_ORDER, Bias, Capability

if TYPE_CHECKING:
    from jax_scorefn.estimators._registry import Record

HEADS = re.compile(r"^(Args|Returns|Raises|Bias|Cost|Example):[ \n]", re.MULTILINE)
ENTRY = re.compile(r"^  (\w+): ", re.MULTILINE)
WIDTH = 128
UNDESCRIBED = "The docstring of {name} describes {found}, and its own options are {wanted}."
TAKEN_FOR_GRANTED = (Capability.LOG_PROB, Capability.SAMPLE, Capability.SAMPLE | Capability.GIVEN_DRAWS)
NUM_SAMPLES = {
    "draws": "number S of draws, a Python int.",
    "pairs": "number S of evaluations of f, an even Python int: S / 2 pairs.",
}
ONE_DRAW = {
    name: cls
    for name, cls in vars(distributions).items()
    if isinstance(cls, type) and issubclass(cls, Distribution) and name not in ("Distribution", "Joint", "Mixture")
}
"""The distributions that are not made of others."""
MORE: dict[float, str] = {1: "a second derivative raises", 2: "a third derivative raises"}
FREE_OF_BIAS: dict[float, str] = {
    EVERY_ORDER: "none, at every order",
    1: "none to first order",
    2: "none up to second order",
}


def composed(record: Record, body: Callable[..., Any], signature: inspect.Signature, rows: str) -> str:
    """The whole docstring. ``rows`` is what is made, mapped and laid over devices: draws, pairs, groups, sets or points."""
    prose, own = _sections(body)
    arguments = _arguments(record, signature, rows, own.get("Args", ""))
    refused = _refused(record, "num_samples" in arguments, own.get("Raises"))
    value = own.get("Returns", "The mean of f over the draws, of the shape and dtype of f").rstrip(".")
    sections = [
        prose,
        "Args:\n" + "\n".join(_wrapped(f"{name}: {text}", "  ") for name, text in arguments.items()),
        "Returns:\n" + _wrapped(f"{value}; with ``has_aux=True`` the pair ``(value, Info)``.", "  "),
        "Raises:\n" + _wrapped(f"TypeError, ValueError: when traced, for {refused}.", "  "),
        _wrapped(f"Bias: {_bias(record)}. {own.get('Bias', '')}"),
        _wrapped(f"Cost in evaluations of f: {record.evaluations}. {own.get('Cost', '')}"),
        "Example:\n" + own["Example"],
        f"References: {', '.join(record.cite)}.",
    ]
    return textwrap.indent("\n\n".join(sections), "    ").lstrip() + "\n    "


def _sections(body: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    prose, *rest = HEADS.split(inspect.cleandoc(body.__doc__ or ""))
    return prose.strip(), {head: text.strip("\n") for head, text in zip(rest[::2], rest[1::2], strict=True)}


def _arguments(record: Record, signature: inspect.Signature, rows: str, own: str) -> dict[str, str]:
    """What is said of each argument, in their order."""
    shared = {
        "f": "function of one draw that returns a real or complex array of fixed shape; "
        + (f"it is {_asked(record)}." if record.differentiates_f else "it is not differentiated in the draw."),
        "logp": _family(record),
        "params": "pytree with at least one float leaf.",
        "key": "one JAX key.",
        "num_samples": NUM_SAMPLES.get(rows, ""),
        "scheme": "how draws are made: a member of ``sf.schemes``; None is independent draws.",
        "max_points": "most outcomes that may be listed.",
        "chunk_size": f'{rows} in memory at once; None is all of them, "auto" as many as suit the caches.',
        "sharding": f"a ``jax.sharding.Sharding`` for the axis of {rows}.",
        "has_aux": "also return an :class:`Info`.",
    }
    _, *rest = ENTRY.split("\n" + own)
    found = dict(zip(rest[::2], (" ".join(text.split()) for text in rest[1::2]), strict=True))
    described = {name: text for name, text in (shared | found).items() if text}
    wanted = list(signature.parameters)
    if not set(found) <= set(wanted) <= set(described):
        raise TypeError(UNDESCRIBED.format(name=record.name, found=sorted(found), wanted=wanted))
    return {name: described[name] for name in wanted}


def _words(need: Capability) -> str:
    return " or ".join(_checks.CAPABILITY_WORDS[flag].partition(" (")[0] for flag in Capability if flag in need)


def _asked(record: Record) -> str:
    return (
        "asked, and differentiated, between the draws" if Capability.RELAXED in record.needs else "differentiated in it"
    )


_can_do = functools.cache(declared)  # asked for each estimator, while the library is imported


def _family(record: Record) -> str:
    """What a family has to have, and the distributions that have it."""
    wanted = [need for need in record.needs if need not in TAKEN_FOR_GRANTED]
    if not wanted:
        return "a :func:`family`."
    words = " and ".join(_words(need) for need in wanted)
    able = sorted(name for name, cls in ONE_DRAW.items() if all(need & _can_do(cls) for need in record.needs))
    return f"a :func:`family` whose distributions have {words}: {', '.join(able)}, or a Joint of such."


def _refused(record: Record, draws: bool, own: str | None) -> str:
    lacking = [f"a distribution without {_words(need)}" for need in record.needs if need != Capability.LOG_PROB]
    opaque = ["an f that is a black box"] if record.differentiates_f else []
    found = ["a bare function in place of a family", *lacking, "parameters without a float leaf", *(["a bad key"] if draws else []),
             "an f or a log-probability of the wrong shape", *opaque]  # fmt: skip
    return ", ".join(found) + ("" if own is None else f"; {own.rstrip('.')}")


def _bias(record: Record) -> str:
    known = FREE_OF_BIAS[record.orders] if record.bias is Bias.NONE else "it does not go away with more draws"
    return f"{known}; {MORE[record.orders]}" if record.orders in MORE else known


@functools.cache  # most paragraphs are those of several estimators
def _wrapped(text: str, indent: str = "") -> str:
    """One paragraph, hanging; a literal stays on one line."""
    whole = re.sub("``.*?``", lambda found: found[0].replace(" ", "\0"), " ".join(text.split()))
    filled = textwrap.fill(
        whole, WIDTH, initial_indent=indent, subsequent_indent=indent + "  " if indent else "",
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip
    return filled.replace("\0", " ")
