"""What a type checker knows of what is made by a decorator: the stubs of jax_scorefn/estimators and of jax_scorefn/random.

python docs/stubs.py           write them anew, with the newest JAX, whose samplers have the most options; tests compare
"""

import inspect
import re
from pathlib import Path

import jax_scorefn as sf

PACKAGE = Path(sf.__file__).parent / "estimators"
STUB = PACKAGE / "__init__.pyi"
RANDOM = Path(sf.__file__).parent / "random" / "__init__.pyi"
HEAD = '''"""The estimators as a type checker sees them. Made by ``python docs/stubs.py``."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, overload

from jax.sharding import Sharding
from jax.typing import ArrayLike

from jax_scorefn.baselines import Baseline
from jax_scorefn.control_variates import ControlVariate
from jax_scorefn.distributions import Family
from jax_scorefn.schemes import Scheme
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


OF_RANDOM = '''"""``jax.random`` with our samplers, as a type checker sees it. Made by ``python docs/stubs.py``."""

from typing import Any, Literal

from jax import Array
{given}
from jax.typing import ArrayLike

from jax_scorefn.random._lift import lift as lift
from jax_scorefn.random._sampler import SAMPLERS as SAMPLERS, Sampler as Sampler
'''
KINDS = {
    "name": "str | None", "max_value": "int | None", "mode": "str | None",
    "method": "str", "replace": "bool", "axis": "int",
}  # fmt: skip


def stub_of_random():
    """The text of it: the arguments of ``jax.random``'s function, and what we add."""
    ours = {name: sampler for name, sampler in sorted(sf.random.SAMPLERS.items()) if sampler.function}
    given = [name for name in sorted(sf.random.SAMPLERS) if name not in ours]
    names = ", ".join(f"{name} as {name}" for name in given)
    imported = f"from jax.random import {names}  # pyright: ignore[reportAttributeAccessIssue] # some of them in newer versions"
    lines = [OF_RANDOM.replace("{given}", imported)]
    for name, sampler in ours.items():
        signature, arguments = inspect.signature(sampler.function), []
        for parameter in signature.parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY and "*" not in arguments:
                arguments.append("*")
            kind = "ArrayLike" if parameter.name in sampler.parameters else KINDS.get(parameter.name, "Any")
            if parameter.name == "estimator":
                kind = f"Literal[{', '.join(map(repr, sampler.estimators))}]".replace("'", '"')
            kind += " | None" * (parameter.default is None and not kind.endswith(("Any", "None")))
            optional = "" if parameter.default is parameter.empty else " = ..."
            arguments.append(f"{parameter.name}: {kind}{optional}")
        lines.append(f"def {name}({', '.join(arguments)}) -> Array: ...")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    STUB.write_text(stub())
    RANDOM.write_text(stub_of_random())
