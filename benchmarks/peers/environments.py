"""An environment for each peer, made from what stands at the head of its file, and the process that runs in it."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from benchmarks import FLAG

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HOME = ("ours", "by_hand")
"""What runs where this library does."""
OURS = ("optax", "chex")
"""What this library needs beside JAX, to take its turns where a peer runs."""
NEWEST = 15
"""Python 3 of so many is looked for, and older ones."""
MOST_SECONDS = 1800


class Unavailable(Exception):
    """A peer that is not there, or is no more; the message says why."""


def names() -> list[str]:
    """Of all peers but ours."""
    found = sorted(path.stem.removeprefix("peer_") for path in HERE.glob("peer_*.py"))
    return [name for name in found if name not in HOME]


def needs(name: str) -> dict[str, Any]:
    """What stands at the head of a peer's file: ``requires-python`` and ``dependencies``."""
    text = (HERE / f"peer_{name}.py").read_text(encoding="utf-8")
    block = re.search(r"^# /// script\n((?:# .*\n)+?)# ///$", text, flags=re.MULTILINE)
    assert block is not None, f"peer_{name}.py says nothing about what it needs"
    return tomllib.loads("".join(line.removeprefix("# ") for line in block[1].splitlines(keepends=True)))


def python_of(folder: Path, name: str) -> Path:
    """The interpreter of a peer's environment, which may not have been made."""
    return folder / name / "bin" / "python"


def make(folder: Path, name: str) -> Path:
    """Make the environment of a peer unless it is there as it should be; its interpreter.

    Raises:
      Unavailable: where no Python is found for it, or something cannot be installed.
    """
    wanted, python = json.dumps(needs(name) | {"ours": OURS}, sort_keys=True), python_of(folder, name)
    stamp = folder / name / "made-of.json"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    shutil.rmtree(folder / name, ignore_errors=True)
    _run([str(_interpreter(needs(name)["requires-python"])), "-m", "venv", str(folder / name)])
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *needs(name)["dependencies"]])
    if _jaxlib(python, ""):
        with contextlib.suppress(Unavailable):  # ours then runs at home, and the row says so
            _beside(folder / name, python)
    stamp.write_text(wanted, encoding="utf-8")
    return python


def _beside(folder: Path, python: Path) -> None:
    """What ours needs, at no other version of anything that is there."""
    kept = subprocess.run([str(python), "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    (folder / "kept.txt").write_text(kept, encoding="utf-8")
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*install, "--constraint", str(folder / "kept.txt"), *OURS])


def _jaxlib(python: Path, version: str) -> list[Path]:
    """Its package in an environment, where there is one of a version that begins so."""
    return list(python.parents[1].glob(f"lib/python*/site-packages/jaxlib-{version}*"))


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"not installed after {MOST_SECONDS} s") from None
    if done.returncode:
        raise Unavailable((done.stderr.strip().splitlines() or ["not installed, without a word"])[-1])


def _interpreter(required: str) -> Path:
    """A Python that a peer can do with: ours if it will do, else the newest that is found."""
    low, high = (tuple(map(int, x.split("."))) for x in re.findall(r"3\.\d+", required))
    fits = lambda version: low <= version < high
    if fits(sys.version_info[:2]):
        return Path(sys.executable)
    folders = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    for minor in range(NEWEST, 10, -1):
        if not fits((3, minor)):
            continue
        places = [path for folder in folders for path in sorted(folder.glob(f"3.{minor}.*/bin/python"))]
        on_path = shutil.which(f"python3.{minor}")
        for path in [*places, *([Path(on_path)] if on_path else [])]:
            with contextlib.suppress(OSError):
                if subprocess.run([str(path), "-m", "venv", "--help"], capture_output=True).returncode == 0:
                    return path
    raise Unavailable(f"it needs Python {required}, which was not found")


def _flags(python: Path) -> str:
    """For the compiler of an environment: ours may be told what it does not know."""
    flags = os.environ.get("XLA_FLAGS", "").replace(FLAG, "").strip()
    return f"{flags} {FLAG}" if _jaxlib(python, "0.10.") else flags


class Peer:
    """A running process: what it calls itself, its problems, what is to be known of them, and a way to ask it."""

    def __init__(self, python: Path, name: str):
        path = (
            f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
            if name in HOME
            else os.environ.get("PYTHONPATH", "")
        )
        self._complaints = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - a pipe that nobody reads would stop it
        self._child: Any = subprocess.Popen(
            [str(python), "-W", "ignore", str(HERE / f"peer_{name}.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._complaints, text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": path, "XLA_FLAGS": _flags(python)},
        )  # fmt: skip
        atexit.register(self.close)
        told = self._heard()
        self.system, self.problems, self.notes = told["system"], told["problems"], told["notes"]

    def ask(self, question: str, *given: Any) -> Any:
        """Its answer.

        Raises:
          Unavailable: where it fails, or has ended.
        """
        with contextlib.suppress(BrokenPipeError):  # it is no more, and has said why
            print(json.dumps([question, *given]), file=self._child.stdin, flush=True)
        answer = self._heard()
        if isinstance(answer, dict) and "error" in answer:
            raise Unavailable(answer["error"])
        return answer

    def _heard(self) -> Any:
        if line := self._child.stdout.readline():
            return json.loads(line)
        self._child.wait()
        self._complaints.seek(0)
        complaint = self._complaints.read().strip().splitlines()
        raise Unavailable((complaint or ["it ended without a word"])[-1])

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(BrokenPipeError, ValueError):  # what it did not live to read
            self._child.stdin.close()
        self._child.wait()
        self._child.stdout.close()
        self._complaints.close()


@functools.lru_cache(maxsize=3)
def running(python: Path, name: str) -> Peer:
    """The process of a peer, which is kept for the next problem."""
    return Peer(python, name)
