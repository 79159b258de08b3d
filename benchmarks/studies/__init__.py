"""All studies, in the order of the report. A new one is a module here with a ``STUDY``; one whose name begins with _ is none."""

from __future__ import annotations

import importlib
import pkgutil

from benchmarks.study import Study

ORDER = ("credit", "speed", "usual", "estimators", "papers", "simulators", "peers")
"""Those that stand first; the others follow by name."""


def _found() -> list[Study]:
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    names.sort(key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    return [importlib.import_module(f"{__name__}.{name}").STUDY for name in names]


STUDIES: list[Study] = _found()
