"""The gradient form of an estimator is one line in the entry of the estimator, with an anchor and a place in the index.

It takes what the estimator takes, so its signature has the names of what is given, and whatever option it has beside.
"""

import inspect

from sphinx.util import logging

import jax_scorefn as sf

ROOT = f"{sf.__name__}."
LACKING = "{name} has no line on a page: is there an entry of the estimator?"
RETURNED = "Array | tuple[Array, Info]"


def twins():
    """Dotted name of an estimator -> name of its gradient form."""
    forms = (name for name in sf.__all__ if name.endswith("_grad"))
    return {ROOT + of: name for name in forms if hasattr(sf, of := name.removesuffix("_grad"))}


def line(estimator, twin):
    """The signature in one line: the arguments by position, the options that the estimator has not, and ``**options``."""
    shared, own = (inspect.signature(function).parameters for function in (estimator, twin))
    by_position = [name for name, parameter in own.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    more = [f"{name}={parameter.default!r}" for name, parameter in own.items() if name not in shared]
    return f"{twin.__name__}({', '.join([*by_position, *(['*', *more] if more else []), '**options'])})"


def add_twin(app, what, name, obj, options, lines):
    """Below the first paragraph of the estimator's docstring."""
    twin = twins().get(name)
    if twin and what == "function":
        first = lines.index("") if "" in lines else len(lines)
        lines[first:first] = [
            "",
            f".. py:function:: {line(obj, getattr(sf, twin))}",
            f"   :module: {sf.__name__}",
            "   :no-contents-entry:",
            "",
            "   Its :ref:`gradient <gradient-form>` in ``params``, with the same options.",
            "",
        ]


def add_returned(app, what, name, obj, options, signature, returned):
    """What an estimator returns, where its signature does not tell."""
    return (signature, returned or RETURNED) if name in twins() else None


def check(app, env):
    """Each gradient form is there to be linked to."""
    for twin in twins().values():
        if f"{ROOT}{twin}" not in env.domains["py"].objects:
            logging.getLogger(__name__).warning(LACKING.format(name=twin))


def setup(app):
    app.connect("autodoc-process-docstring", add_twin, priority=600)  # napoleon's is 500
    app.connect("autodoc-process-signature", add_returned)
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
