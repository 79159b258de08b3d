"""The command: ``python -m benchmarks``. It reads the options, and leaves the work to the other files.

Exit status: 0 when the report is written, 2 for a request that cannot be met (one line on stderr), 130 when
interrupted.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.util
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

NEEDED = {"sklearn": "scikit-learn", "matplotlib": "matplotlib", "rich": "rich", "jinja2": "jinja2"}

PARTS = {
    "speed": "The time of a gradient beside hand-written JAX, PyTorch and Storchastic (minutes: with --full, or by name)",
    "credit": "Programs with several choices: what credit costs and brings, and other systems",
    "discrete": "Bits: a toy with known answers, a variational autoencoder (minutes: with --full, or by name)",
    "control": "Policies that learn: CartPole, Pendulum, chess, the short corridor (minutes: with --full, or by name)",
}


class Unusable(Exception):
    """A command line that cannot be met."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Unusable(f"{message} (see --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m benchmarks",
        description="Measure gradient estimators: bias, variance and time on every problem, and write an HTML report.",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", dest="mode", action="store_const", const="quick", help="about a minute (the default)")
    mode.add_argument("--full", dest="mode", action="store_const", const="full", help="more replicates and more draws")
    parser.add_argument(
        "--only",
        metavar="NAME[,NAME...]",
        help="problems, estimators, 'speed', 'credit', 'control' or 'discrete', by name or glob (see --list); others are left out",
    )
    parser.add_argument(
        "--peers",
        type=Path,
        default=Path(".venv-peers"),
        metavar="DIR",
        help="environments of other systems, which 'speed' and 'credit' run if they are there (default .venv-peers)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of every key (default 0)")
    parser.add_argument("--out", type=Path, default=Path("bench-report"), metavar="DIR", help="default: bench-report")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in DIR: finished cells are kept. Without it a run begins anew, and the results that DIR holds "
        "are renamed to results-1.jsonl",
    )
    parser.add_argument("--list", action="store_true", help="print the names of problems and estimators, and stop")
    parser.set_defaults(mode="quick")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    begin = time.perf_counter()
    try:
        options = _parser().parse_args(argv)
        if missing := [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]:
            raise Unusable(
                f"{', '.join(missing)} not installed; pip install 'jax_scorefn[bench]' brings what is needed"
            )
        if not 0 <= options.seed < 2**32:
            raise Unusable(f"--seed is a whole number from 0 to 2**32 - 1, not {options.seed}")
        return _run(options, begin)
    except Unusable as error:
        print(f"benchmarks: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nbenchmarks: interrupted; the same command with --resume goes on from here", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace, begin: float) -> int:
    from rich.console import Console

    from benchmarks import report, tables
    from benchmarks.methods import METHODS
    from benchmarks.problems import PROBLEMS
    from benchmarks.results import collect
    from benchmarks.run import (
        CONTROL,
        CREDIT,
        DISCRETE,
        SPEED,
        control_tasks,
        credit_tasks,
        discrete_tasks,
        run,
        speed_tasks,
        tasks,
    )
    from benchmarks.settings import Settings
    from benchmarks.store import Refused, open_store

    every, usual = [SPEED, CREDIT, CONTROL, DISCRETE], [CREDIT]
    if options.mode == "full":
        usual += [SPEED, CONTROL, DISCRETE] if _has_environments() else [SPEED, DISCRETE]
    problems, methods, parts = _chosen(options.only, list(PROBLEMS), list(METHODS), every, usual)
    if options.list:
        for heading, names in (("problems", problems), ("estimators", methods)):
            print(heading)
            for name in names:
                title = PROBLEMS[name].title if heading == "problems" else METHODS[name].label
                print(f"  {name:<16} {title}")
        if parts or options.only is None:
            print("parts")
            for name in every if options.only is None else parts:
                print(f"  {name:<16} {PARTS[name]}")
        return 0

    if CONTROL in parts and not _has_environments():
        raise Unusable("gymnax or pgx not installed, which 'control' needs; pip install 'jax_scorefn[rl]' brings them")
    settings = Settings(options.mode, options.seed)
    try:
        store = open_store(options.out, settings, resume=options.resume)
    except Refused as error:
        raise Unusable(str(error)) from error
    log = Console(stderr=True, highlight=False)
    if store.aside is not None:
        log.print(f"a new run; the results that were there are {store.aside}", markup=False, soft_wrap=True)
    todo = tasks([PROBLEMS[n] for n in problems], [METHODS[n] for n in methods], settings, store)
    todo += speed_tasks(options.peers) if SPEED in parts else []
    todo += credit_tasks(settings, options.peers) if CREDIT in parts else []
    todo += control_tasks() if CONTROL in parts else []
    run(todo + (discrete_tasks(settings) if DISCRETE in parts else []), store, log)
    results = collect(store)
    screen = Console(highlight=False)
    tables.show(screen if screen.is_terminal else Console(highlight=False, width=150), results)
    try:
        path = report.write(options.out, results, settings, seconds=time.perf_counter() - begin)
    except OSError as error:
        raise Unusable(f"cannot write the report to {options.out}: {error.strerror or error}") from error
    print(f"\nreport: {path.resolve()}   ({time.perf_counter() - begin:.0f} s)")
    return 0


def _has_environments() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("gymnax", "pgx"))


def _chosen(
    only: str | None, problems: list[str], methods: list[str], parts: list[str], usual: list[str]
) -> tuple[list[str], list[str], list[str]]:
    """The problems, methods and further parts that the patterns of ``--only`` name; without it, all and the usual parts.

    Of problems and methods, a side that none of them names is whole; neither is measured where only parts are named.
    """
    if only is None:
        return problems, methods, usual
    patterns = [pattern.strip() for pattern in only.split(",") if pattern.strip()]
    if not patterns:
        raise Unusable("--only names nothing; --list prints the names")
    for pattern in patterns:
        if not fnmatch.filter([*problems, *methods, *parts], pattern):
            raise Unusable(f"no problem or estimator is called {pattern!r}; --list prints the names")
    named = [
        [name for name in names if any(fnmatch.fnmatchcase(name, p) for p in patterns)]
        for names in (problems, methods, parts)
    ]
    if named[2] and not named[0] and not named[1]:
        return [], [], named[2]
    return named[0] or problems, named[1] or methods, named[2]


if __name__ == "__main__":
    sys.exit(main())
