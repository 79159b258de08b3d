"""Settings: what decides the numbers of a run, and so what two runs must share for one to continue the other."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import importlib.metadata
import os
import platform
import zlib
from pathlib import Path

import jax

import jax_scorefn as sf

FORMAT = 2
"""Version of the lines in ``results.jsonl``; raised when their meaning changes."""


quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 1})
"""``jax.jit`` for what is not timed: half the time to compile, and about the same to run."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Mode and seed of a run; ``peers`` is where environments of other systems are."""

    mode: str = "quick"
    seed: int = 0
    peers: Path = Path(".venv-peers")

    @property
    def full(self) -> bool:
        """Whether there is time for more replicates and larger problems."""
        return self.mode == "full"

    def key(self, *names: str) -> jax.Array:
        """The key of a named thing: the same in every process and whatever else is in the tables."""
        return jax.random.fold_in(jax.random.key(self.seed), zlib.crc32("/".join(names).encode()))

    def identity(self) -> dict[str, object]:
        """What must agree before results are put side by side."""
        return {
            "format": FORMAT,
            "mode": self.mode,
            "seed": self.seed,
            "jax_scorefn": sf.__version__,
            "jax": jax.__version__,
            "numpy": importlib.metadata.version("numpy"),
        }


def environment() -> list[tuple[str, str]]:
    """Facts about the machine and the software, for the foot of the report."""
    device = jax.devices()[0]
    packages = ("jaxlib", "numpy", "scikit-learn", "optax", "matplotlib")
    return [
        ("date", datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")),
        ("jax_scorefn", sf.__version__),
        ("jax", jax.__version__),
        *((name, importlib.metadata.version(name)) for name in packages),
        ("python", platform.python_version()),
        ("platform", f"{platform.system()} {platform.machine()}"),
        ("cores", str(os.cpu_count())),
        ("backend", f"{jax.default_backend()} ({device.device_kind})"),
        ("float width", "64 bit" if jax.config.jax_enable_x64 else "32 bit"),  # pyright: ignore[reportAttributeAccessIssue]
    ]
