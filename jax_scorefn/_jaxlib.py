"""Releases of JAX whose compiler errs on a CPU: who imports the library beside one is told so, and what to do.

XLA fuses reductions with what is before them ("YNN fusion"). In jaxlib 0.10 sums over several axes of broadcast products, or of padded
arrays, come out with wrong rows, or end the process. The library changes nothing by itself: the remedy is a flag of XLA.
"""

from __future__ import annotations

import os
import warnings
from importlib.metadata import version

FLAG = "--xla_cpu_experimental_ynn_fusion_type="
ERRS = (
    "jaxlib {version} compiles some sums to wrong numbers on a CPU, whatever library asks for them (see 'Wrong in JAX itself' in the "
    "documentation of jax_scorefn). Set the environment variable XLA_FLAGS to {flag!r}, nothing after the sign =, before JAX computes "
    "anything, or take JAX 0.11 or later, which needs Python 3.12. If no CPU computes here, switch this warning off: "
    "warnings.filterwarnings('ignore', message='jaxlib')"
)


class CompilerWarning(RuntimeWarning):
    """The installed JAX compiles some sums to wrong numbers."""


def warn_if_it_errs() -> None:
    """Warn beside a jaxlib 0.10 without the flag."""
    found = version("jaxlib")
    if found.startswith("0.10.") and FLAG not in os.environ.get("XLA_FLAGS", "").split():
        warnings.warn(ERRS.format(version=found, flag=FLAG), CompilerWarning, stacklevel=3)
