"""What a type checker knows of the estimators, which are made by a decorator: the stub of jax_scorefn/estimators.

python docs/stubs.py           write it anew; a test compares
"""

import inspect
import re
from pathlib import Path

import jax_scorefn as sf

PACKAGE = Path(sf.__file__).parent / "estimators"
STUB = PACKAGE / "__init__.pyi"
HEAD = '''"""The estimators as a type checker sees them. Made by ``python docs/stubs.py``."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar, overload

from jax.sharding import Sharding

from jax_scorefn.distributions import Family
from jax_scorefn.typing import Array, ChunkSize, Info, Key
'''


def stub():
    """The text of it."""
    made = {name + suffix for name in sf.ESTIMATORS for suffix in ("", "_grad")}
    face = re.findall(r"^from (\S+) import (?:\((.*?)\)|(.*?))$", (PACKAGE / "__init__.py").read_text(), re.S | re.M)
    others = []
    for module, many, few in face:
        names = [name for name in re.findall(r"(\w+) as \w+", many or few) if name not in made]
        others += [f"from {module} import {', '.join(f'{name} as {name}' for name in names)}"] if names else []
    functions = []
    for name in sf.ESTIMATORS:
        functions += _overloads(name, "Any", "Array") + _overloads(f"{name}_grad", "P", "P")
    return "\n".join([HEAD.rstrip(), *others, "", 'P = TypeVar("P")', "", *functions])


def _overloads(name, params, result):
    """Without Info, and with it."""
    signature = inspect.signature(getattr(sf, name))

    def one(has_aux, returned):
        given = []
        for parameter in signature.parameters.values():
            kind = params if parameter.name == "params" else parameter.annotation
            if parameter.name == "has_aux":
                given.append(has_aux)
                continue
            if parameter.kind is parameter.KEYWORD_ONLY and "*" not in given:
                given.append("*")
            kind = "Any" if kind is parameter.empty else kind
            default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}".replace("'", '"')
            given.append(f"{parameter.name}: {kind}{default}")
        return ["@overload", f"def {name}({', '.join(given)}) -> {returned}: ..."]

    return [
        *one("has_aux: Literal[False] = False", result),
        *one("has_aux: Literal[True]", f"tuple[{result}, Info]"),
        "",
    ]


if __name__ == "__main__":
    STUB.write_text(stub())
