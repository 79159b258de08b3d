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
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.settings import Settings
    from benchmarks.study import Study, Task

NEEDED = {
    "sklearn": "scikit-learn", "matplotlib": "matplotlib", "rich": "rich", "jinja2": "jinja2", "jsonschema": "jsonschema",
}  # fmt: skip


class Unusable(Exception):
    """A command line that cannot be met."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Unusable(f"{message} (see --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m benchmarks",
        description="Measure gradient estimators, and write an HTML report. 'python -m benchmarks compare A B' compares two runs.",
    )
    parser.add_argument(
        "studies", nargs="*", metavar="STUDY", help="which to run (see --list); without any, those of the mode"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", dest="mode", action="store_const", const="quick", help="small (the default)")
    mode.add_argument("--full", dest="mode", action="store_const", const="full", help="more replicates and more draws")
    parser.add_argument(
        "--only",
        metavar="NAME[,NAME...]",
        help="of the studies, what has these names or globs (see --list): problems, estimators, papers, workloads",
    )
    parser.add_argument(
        "--peers",
        type=Path,
        default=Path(".venv-peers"),
        metavar="DIR",
        help="environments of other systems (default .venv-peers)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of every key (default 0)")
    parser.add_argument("--out", type=Path, default=Path("bench-report"), metavar="DIR", help="default: bench-report")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in DIR: finished tasks are kept. Without it a run begins anew, and the results that DIR holds "
        "are renamed to results-1.jsonl",
    )
    parser.add_argument(
        "--list", action="store_true", help="print the names of studies and of what is in them, and stop"
    )
    parser.set_defaults(mode="quick")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    begin = time.perf_counter()
    argv = sys.argv[1:] if argv is None else argv
    try:
        if argv and argv[0] == "compare":
            return _compare(argv[1:])
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


def _compare(argv: Sequence[str]) -> int:
    from benchmarks.report.compare import compare
    from benchmarks.store import Refused

    parser = _Parser(prog="python -m benchmarks compare", description="The times of two runs, B in units of A.")
    parser.add_argument("folders", nargs=2, type=Path, metavar="DIR", help="what --out was")
    try:
        a, b = parser.parse_args(argv).folders
        return compare(a, b, _screen())
    except Refused as error:
        raise Unusable(str(error)) from error


def _run(options: argparse.Namespace, begin: float) -> int:
    print("benchmarks: starting", file=sys.stderr, flush=True)  # JAX takes seconds to import
    from rich.console import Console

    from benchmarks import report
    from benchmarks.run import run
    from benchmarks.settings import Settings
    from benchmarks.store import Refused, open_store
    from benchmarks.studies import STUDIES

    settings = Settings(options.mode, options.seed, options.peers)
    chosen = _studies(options.studies, options.only, STUDIES, options.mode)
    if options.list:
        _print_names(chosen if options.studies or options.only else STUDIES)
        return 0
    for study in chosen:
        if missing := study.missing():
            raise Unusable(
                f"{' or '.join(missing)} not installed, which {study.name!r} needs; "
                f"pip install 'jax_scorefn[{','.join(sorted(set(missing.values())))}]' brings what is missing"
            )
    try:
        store = open_store(options.out, settings, resume=options.resume)
    except Refused as error:
        raise Unusable(str(error)) from error
    log = Console(stderr=True, highlight=False)
    if store.aside is not None:
        log.print(f"a new run; the results that were there are {store.aside}", markup=False, soft_wrap=True)
    try:
        run([(study, task) for study in chosen for task in _tasks(study, settings, options.only)], store, log)
    except Refused as error:
        raise Unusable(str(error)) from error
    told = {study: found for study in STUDIES if len(found := store.of(study.name))}
    try:
        path = report.write(options.out, told, settings, seconds=time.perf_counter() - begin, console=_screen())
    except OSError as error:
        raise Unusable(f"cannot write the report to {options.out}: {error.strerror or error}") from error
    print(f"\nreport: {path.resolve()}   ({time.perf_counter() - begin:.0f} s)")
    return 0


def _screen() -> Console:
    """Where tables go: wide where nobody looks at it."""
    from rich.console import Console

    screen = Console(highlight=False)
    return screen if screen.is_terminal else Console(highlight=False, width=150)


def _patterns(only: str | None) -> list[str]:
    patterns = [pattern.strip() for pattern in (only or "").split(",") if pattern.strip()]
    if only is not None and not patterns:
        raise Unusable("--only names nothing; --list prints the names")
    return patterns


def _studies(named: Sequence[str], only: str | None, studies: Sequence[Study], mode: str) -> list[Study]:
    """Those that are named, in the order of the report; else those that have all that ``--only`` names; else those of the mode."""
    patterns, names = _patterns(only), [study.name for study in studies]
    for name in named:
        if name not in names:
            raise Unusable(f"no study is called {name!r}; there are {', '.join(names)}")
    among = [study for study in studies if not named or study.name in named]
    every = {name for study in among for name in (study.name, *_names(study))}
    for pattern in patterns:
        if not fnmatch.filter(every, pattern):
            raise Unusable(f"nothing is called {pattern!r}; --list prints the names")
    if patterns:
        inside = [pattern for pattern in patterns if not fnmatch.filter(names, pattern)]
        is_named = lambda study: any(fnmatch.fnmatchcase(study.name, pattern) for pattern in patterns)
        has_all = lambda study: inside and all(fnmatch.filter(_names(study), pattern) for pattern in inside)
        if found := [study for study in among if is_named(study) or has_all(study)]:
            return found
        raise Unusable(f"no study has all of {', '.join(inside)}; --list prints the names")
    if named:
        return among
    return [study for study in studies if study.is_in(mode) and not (study.mode == "full" and study.missing())]


def _names(study: Study) -> list[str]:
    return [name for axis in study.axes.values() for name in axis]


def _tasks(study: Study, settings: Settings, only: str | None) -> list[Task]:
    """The tasks that ``--only`` leaves: an axis of which it names nothing is whole."""
    patterns, tasks = _patterns(only), study.tasks(settings)
    kept = {
        axis: {name for name in names if any(fnmatch.fnmatchcase(name, p) for p in patterns)} or set(names)
        for axis, names in study.axes.items()
    }
    return [task for task in tasks if all(name in kept[axis] for axis, name in task.of.items())]


def _print_names(studies: Sequence[Study]) -> None:
    for study in studies:
        print(f"{study.name:<12} {study.about}")
        for axis, names in study.axes.items():
            print(f"  {axis}")
            for name, title in names.items():
                print(f"    {name:<18} {title}")


if __name__ == "__main__":
    sys.exit(main())
