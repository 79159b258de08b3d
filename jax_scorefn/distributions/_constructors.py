"""How a distribution's class may be called: by name, or in the order of positions that every library shares.

    Normal(0.0, 1.0)  =  Normal(loc=0.0, scale=1.0)

What has two forms (logits or probs) has no such order, and goes by name. A name that another library has for a parameter is answered
with the one that it has here.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

TOO_MANY = "{dist} takes {positions} by position, and {count} were given; its parameters are {fields}."
BY_NAME = "{dist} takes its parameters by name, since libraries differ in which of them comes first: {dist}({named})."
TWICE = "{dist} was given {name} twice, by position and by name."
UNKNOWN = "{dist} has no parameter {given!r}{called}; its parameters are {fields}."
MISSING = "{dist} needs {missing}; its parameters are {fields}."

CALLED = {
    "mu": "loc", "location": "loc", "sigma": "scale", "scale_diag": "scale",
    "covariance_matrix": "covariance", "cov": "covariance", "cholesky": "scale_tril",
    "lam": "rate", "lambda_": "rate", "lmbda": "rate",
    "p": "probs", "prob": "probs", "logit": "logits", "log_probs": "logits",
    "n": "total_count", "num_trials": "total_count", "count": "total_count", "r": "total_count",
    "nu": "df", "dof": "df", "concentration1": "a", "concentration0": "b", "alpha": "a", "beta": "b",
    "kappa": "concentration", "k": "concentration", "shape": "concentration", "alphas": "concentration",
    "minval": "low", "maxval": "high", "lower": "low", "upper": "high",
    "components_distribution": "components", "component_distribution": "components", "distributions": "components",
}  # fmt: skip
"""Names of other libraries -> ours."""
MOMENTS = {
    "mean": "it is called loc here", "std": "it is called scale here", "stddev": "it is called scale here",
    "sd": "it is called scale here", "variance": "the square root of it is scale", "var": "the square root of it is scale",
    "precision": "scale is 1 / sqrt(precision)",
}  # fmt: skip
"""Of a normal distribution alone: elsewhere loc is not the mean, or scale not the standard deviation."""
RELATED = {
    ("log_rate", "rate"): "rate is exp(log_rate)", ("scale", "rate"): "rate is 1 / scale",
    ("alpha", "concentration"): "it is called concentration here", ("beta", "rate"): "it is called rate here",
    ("concentration", "a"): "its two numbers are called a and b here",
    ("mixing_distribution", "logits"): "its logits or probs are given here",
    ("mixture_distribution", "logits"): "its logits or probs are given here",
}  # fmt: skip
"""A parameter that is there in another form: (the name given, ours) -> how the two hang together."""


def positions(cls: type) -> list[str]:
    """The fields that may be given by position: all in front of a choice between two forms."""
    fields = [] if getattr(cls, "by_name", False) else dataclasses.fields(cls)
    forms = [i for i, field in enumerate(fields) if field.default is None]
    return [field.name for field in fields[: min(forms, default=len(fields))]]


def by_position_too(cls: type) -> None:
    """Let a keyword-only dataclass be called by position, and say what is wrong with a call in the words of its user."""
    made: Callable[..., None] = cls.__init__
    fields = dataclasses.fields(cls)
    names, first = [field.name for field in fields], positions(cls)
    required = [field.name for field in fields if field.default is dataclasses.MISSING]
    facts = {"dist": cls.__name__, "fields": ", ".join(names)}

    @functools.wraps(made)
    def init(self: Any, *args: Any, **given: Any) -> None:
        if len(args) > len(first):
            named = ", ".join(f"{name}=..." for name in names)
            wrong = TOO_MANY if first else BY_NAME
            raise TypeError(wrong.format(**facts, positions=" and ".join(first), count=len(args), named=named))
        for name, value in zip(first, args, strict=False):
            if name in given:
                raise TypeError(TWICE.format(**facts, name=name))
            given[name] = value
        for name in given:
            if name not in names:
                raise TypeError(UNKNOWN.format(**facts, given=name, called=_called(name, cls.__name__, names)))
        missing = [name for name in required if name not in given]
        if missing:
            raise TypeError(MISSING.format(**facts, missing=" and ".join(missing)))
        made(self, **given)

    parameters = list(inspect.signature(made).parameters.values())
    order = {name: i for i, name in enumerate(["self", *first])}
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [p.replace(kind=kind) if p.name in order else p for p in parameters]
    signature = inspect.Signature(sorted(parameters, key=lambda p: order.get(p.name, len(order))))
    init.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]
    cls.__init__ = init


def _called(given: str, dist: str, names: list[str]) -> str:
    if dist == "Normal" and given in MOMENTS:
        return f" ({MOMENTS[given]})"
    for name in names:
        if (given, name) in RELATED:
            return f" ({RELATED[given, name]})"
    return f" (it is called {CALLED[given]} here)" if CALLED.get(given) in names else ""
