"""Strict by default: ranks and dtypes are never promoted in silence, keys are used once, warnings are errors, 8 CPU devices.

Under JAX's own ``JAX_ENABLE_X64``, ``JAX_DEBUG_NANS`` and ``JAX_CHECK_TRACER_LEAKS`` it runs too (``make test-modes``), but for the tests
that are marked as being of what the mode does away with.

A test that takes more than three quarters of a second is slow: ``long.txt`` has those that were found so, and is written anew by
``python -m pytest -m "not slow" --rewrite-long``. What the default run cannot do without is marked ``default``.
"""

import collections
import gc
import os
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "--xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
# The suite is thousands of small compilations: most of its time. What is compiled is the same program, optimised less.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["XLA_FLAGS"] += " --xla_cpu_parallel_codegen_split_count=1"  # the other core has tests of its own to run
if version("jaxlib").startswith("0.10."):  # later ones do not know the first flag, which halves the time to compile
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
    os.environ["XLA_FLAGS"] += " --xla_cpu_experimental_ynn_fusion_type="  # its sums are wrong (jax_scorefn/_jaxlib.py)

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)


LONG, SECONDS = Path(__file__).parent / "long.txt", 0.75


def pytest_addoption(parser):
    parser.addoption(
        "--rewrite-long",
        action="store_true",
        help=f"write into {LONG.name} which tests take more than three quarters of a second",
    )


IN_MODE = {"float32": "jax_enable_x64", "nans": "jax_debug_nans", "leaks": "jax_check_tracer_leaks"}
"""Which tests are left out in which mode of JAX."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    left_out = {mark for mark, mode in IN_MODE.items() if getattr(jax.config, mode)}
    without = [item for item in items if left_out.isdisjoint(mark.name for mark in item.iter_markers())]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(without)])
    items[:] = without
    long = set() if config.option.rewrite_long else set(LONG.read_text().splitlines())
    for item in items:
        if item.nodeid in long:
            item.add_marker("slow")


def pytest_configure(config):
    if config.option.rewrite_long and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Rewrite())


class Rewrite:
    """Of each test that takes more than three quarters of a second its name, but of those marked ``default`` the fastest case runs."""

    def __init__(self):
        self.seconds, self.kept = collections.Counter(), collections.defaultdict(set)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] += report.duration
        if "default" in report.keywords:
            self.kept[report.nodeid.partition("[")[0]].add(report.nodeid)

    def pytest_sessionfinish(self):
        fastest = {min(cases, key=self.seconds.get) for cases in self.kept.values()}
        found = {name for name, taken in self.seconds.items() if taken > SECONDS} - fastest
        not_run = set(LONG.read_text().splitlines()) - set(self.seconds)
        LONG.write_text("".join(f"{name}\n" for name in sorted(found | not_run)))


gc.set_threshold(200_000, 20, 1000)  # what JAX's caches hold lives as long as the process: walking it frees nothing


@pytest.fixture(autouse=True, scope="module")
def frozen():
    """What a module leaves in JAX's caches is not walked again."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def checking_leaks():
    """JAX's own, which collects garbage after each trace: it walks what this test makes alone."""
    gc.collect()
    gc.freeze()
    return jax.checking_leaks


@pytest.fixture
def key():
    return jax.random.key(20261122)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def foreign():
    """Other libraries mix ranks and dtypes freely, and reuse keys where they know that it is harmless."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"), jax.debug_key_reuse(False):
        yield


@pytest.fixture
def unchecked_keys():
    """JAX's checker takes the keys of a scan for used twice when the scan is differentiated, in hand-written code too."""
    with jax.debug_key_reuse(False):
        yield
