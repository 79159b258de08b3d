"""Are all public names on an API page? Prints the missing ones and exits with 1 if there are any.

    python docs/coverage.py            the check
    python docs/coverage.py --twin     the check's broken twin: one entry is struck out, so it must fail

Public are the names without a leading underscore that ``jax_scorefn/__init__.py`` and the public submodules bind at top
level, by import or by definition. A name imported for a module's own use is not public: a re-export is written
``import x as x``. Nor is what a module lists as ``_INTERNAL``, which other packages of the library take. An object that has
two names (``sf.Normal``, ``sf.distributions.Normal``) needs one entry.
The gradient form of an estimator is a line in the entry of the estimator (``twins.py``).
"""

import ast
import importlib
import re
import sys
from pathlib import Path

from twins import twins

DOCS = Path(__file__).parent
MODULES = ["jax_scorefn"] + [
    f"jax_scorefn.{name}"
    for name in (
        "baselines",
        "contrib.numpyro",
        "control_variates",
        "diagnostics",
        "distributions",
        "policy_gradient",
        "programs",
        "random",
        "schemes",
        "testing",
        "training",
        "typing",
    )
]
ENTRY = re.compile(r"^\.\. (?:auto)?(?:function|class|data|attribute|module|exception):: (\S+)", re.MULTILINE)


def public_names(module):
    """Names bound at top level, read from the source."""
    internal = getattr(module, "_INTERNAL", ())
    for node in ast.parse(Path(module.__file__).read_text()).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names if alias.asname == alias.name]
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names = [node.name]
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
        else:
            names = []
        yield from (name for name in names if not name.startswith("_") and name not in internal)


def resolve(path):
    """The object behind a dotted name; an error if the entry documents nothing."""
    if path in MODULES:
        return importlib.import_module(path)
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def missing(entries):
    """Public dotted names whose object no entry documents."""
    lines = [f"jax_scorefn.{twin}" for estimator, twin in twins().items() if estimator in entries]
    documented = {id(resolve(entry)) for entry in [*entries, *lines]} | set(entries)
    for module in map(importlib.import_module, MODULES):
        for name in public_names(module):
            path = f"{module.__name__}.{name}"
            if path not in documented and id(getattr(module, name)) not in documented:
                yield path


def main(arguments):
    pages = sorted((DOCS / "api").rglob("*.md"))
    entries = [entry for page in pages for entry in ENTRY.findall(page.read_text())]
    if "--twin" in arguments:
        entries.remove("jax_scorefn.score_function")
    absent = list(missing(entries))
    for name in absent:
        print(f"not on any API page: {name}")
    print(f"{len(entries)} entries on {len(pages)} API pages, {len(absent)} public names without one")
    return bool(absent)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
