"""The public face: docstrings that run, floors that import downwards, an import that is cheap, no private surface."""

import ast
import doctest
import importlib
import importlib.util
import inspect
import operator
import os
import pathlib
import pkgutil
import re
import subprocess
import sys
import types

import jax
import pytest
import readme
from covering import covering

import jax_scorefn as sf
from jax_scorefn import _guesses

ROOT = pathlib.Path(sf.__file__).parent
MODULES = sorted(
    m.name
    for m in pkgutil.walk_packages([str(ROOT)], "jax_scorefn.")
    if not (m.name.startswith("jax_scorefn.contrib.") and importlib.util.find_spec(m.name.split(".")[2]) is None)
)
"""All but those of another library that is not installed."""


def package_with_examples(name):
    """By default the examples of one module of each package; continuous integration runs all of them."""
    return name.split(".")[1:2] if ">>> " in inspect.getsource(importlib.import_module(name)) else None


@pytest.mark.parametrize("name", covering(["jax_scorefn", *MODULES], package_with_examples))
@pytest.mark.float32
@pytest.mark.leaks
def test_docstring_examples_run(name):
    foreign = "contrib." in name  # see the fixture foreign
    optax = "training" in name or name.endswith(("_learned", "_tuning"))  # it mixes dtypes
    scanned = name.endswith(("_rollout", "programs._expectation", "plans._make"))  # see the fixture unchecked_keys
    with (
        jax.debug_key_reuse(not (scanned or foreign)),
        jax.numpy_dtype_promotion("standard" if optax or foreign else "strict"),
        jax.numpy_rank_promotion("allow" if foreign else "raise"),
    ):
        assert failures_of(importlib.import_module(name)) == 0


class Rounded(doctest.OutputChecker):
    """Statistics may be off by one in the last digit, if that is 2 % of them at most: another compiler rounds otherwise."""

    numbers = re.compile(r"[-+]?\d+\.\d+(?:e[-+]\d+)?")

    def check_output(self, want, got, optionflags):
        """As doctest does, or with other numbers that are close."""
        wanted, found = self.numbers.findall(want), self.numbers.findall(got)
        return super().check_output(want, got, optionflags) or (
            len(wanted) == len(found)
            and super().check_output(self.numbers.sub("#", want), self.numbers.sub("#", got), optionflags)
            and all(a == b or near(a, b) for a, b in zip(wanted, found, strict=True))
        )


def near(want, got):
    digits, _, exponent = want.partition("e")
    one = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
    return abs(float(want) - float(got)) <= min(1.001 * one, 0.02 * abs(float(want)))


def failures_of(module):
    runner = doctest.DocTestRunner(Rounded(), optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder().find(module):
        runner.run(test)
    return runner.failures


def test_a_statistic_may_be_off_by_one_in_the_last_digit():
    close = lambda want, got: Rounded().check_output(want, got, 0)
    assert close("0.531 +- 0.01\n", "0.532 +- 0.01\n") and close("[-1.21e-05]\n", "[-1.22e-05]\n")
    assert not close("0.531 +- 0.01\n", "0.533 +- 0.01\n") and not close("0.531 +- 0.01\n", "0.531 +- 0.02\n")
    assert not close("3 draws of 0.5\n", "4 draws of 0.5\n") and not close("0.5\n", "0.5 0.5\n")
    assert failures_of(types.ModuleType("broken", ">>> 0.5\n0.6\n")) == 1


def test_there_are_docstring_examples_for_the_main_functions():
    for function in (
        sf.score_function, sf.pathwise, sf.exact, sf.black_box, sf.family, sf.magic_box, sf.baselines.ema, sf.Joint, sf.Normal,
        sf.testing.replicate, sf.testing.enumerate_expectation, sf.testing.quadrature_expectation,
    ):  # fmt: skip
        assert ">>> " in inspect.getdoc(function), function


def test_every_public_name_has_a_docstring():
    for module in (
        sf,
        sf.distributions,
        sf.baselines,
        sf.schemes,
        sf.control_variates,
        sf.programs,
        sf.random,
        sf.policy_gradient,
        sf.training,
        sf.diagnostics,
        sf.testing,
    ):
        for name, thing in vars(module).items():
            ours = getattr(thing, "__module__", "").startswith("jax_scorefn")
            if ours and not name.startswith("_") and (inspect.isclass(thing) or inspect.isfunction(thing)):
                assert inspect.getdoc(thing), f"{module.__name__}.{name}"
    for record in sf.ESTIMATORS.values():
        for words in ("Args:", "Returns:", "Raises:", "Bias:", "Cost in evaluations", "Example:", "References:"):
            assert words in record.function.__doc__, (record.name, words)


FLOORS = [
    {"typing", "_checks", "_trees", "_wide", "_guards", "_users_code", "_reports", "_progress", "_surrogate", "_groups", "noise"}, {"_regression"},
    {"distributions"},
    {"engine", "baselines", "schemes", "control_variates"}, {"estimators"},
    {"programs"}, {"policy_gradient", "random"}, {"testing", "training", "diagnostics"}, {"contrib"},
]  # fmt: skip


def _imports(path):
    """Names of the first-level parts of the package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("jax_scorefn"):
            rest = node.module.split(".")[1:]
            yield from [rest[0]] if rest else [alias.name for alias in node.names]


def test_no_import_runs_upwards():
    floor = {part: i for i, parts in enumerate(FLOORS) for part in parts}
    for path in ROOT.rglob("*.py"):
        part = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        for imported in _imports(path):
            assert floor[imported] <= floor[part], f"{path} imports {imported}"


def private_imports(source, package):
    """What a file of ``package`` imports of other packages' own files, or of their names with an underscore."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            of = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in (".".join([*of, alias.name]) for alias in node.names):
                root, *path = name.split(".")
                if root == "jax_scorefn" and path[:1] != [package] and any(part.startswith("_") for part in path[1:]):
                    yield name


def test_no_package_imports_from_the_files_of_another():
    for path in ROOT.rglob("*.py"):
        package = path.relative_to(ROOT).parts[0].removesuffix(".py")
        assert not list(private_imports(path.read_text(), package)), path
    twin = """
from jax_scorefn import _checks, programs
from jax_scorefn._trees import stop
from jax_scorefn.programs.rules._base import Rule
from jax_scorefn.distributions import Normal, _views
def f():
    import jax_scorefn.engine._map
"""
    rule, views, of_engine = (
        f"jax_scorefn.{path}" for path in ("programs.rules._base.Rule", "distributions._views", "engine._map")
    )
    assert list(private_imports(twin, "programs")) == [views, of_engine]
    assert list(private_imports(twin, "distributions")) == [rule, of_engine]


def test_only_public_surfaces_and_no_configuration():
    for path in ROOT.rglob("*.py"):
        text = path.read_text()
        for forbidden in ("jax._src", "jaxlib._", "config.update", "monkeypatch"):
            assert forbidden not in text, f"{path}: {forbidden}"
        assert len(text.splitlines()) <= 400, path


def script(name):
    """A script of the documentation, as a module."""
    path = ROOT.parent / "docs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"docs_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_type_checker_sees_the_signatures_that_there_are():
    stubs = script("stubs")
    assert stubs.STUB.read_text() == stubs.stub(), "python docs/stubs.py writes it anew"
    assert stubs.stub().count("def ") == 4 * len(sf.ESTIMATORS)
    # the samplers of the newest JAX have arguments that others lack
    told = {node.name: [a.arg for a in (*node.args.args, *node.args.kwonlyargs)] for node in ast.parse(stubs.RANDOM.read_text()).body
            if isinstance(node, ast.FunctionDef)}  # fmt: skip
    for name, sampler in sf.random.SAMPLERS.items():
        if sampler.function is not None:
            mine = list(inspect.signature(sampler.function).parameters)
            assert [argument for argument in told.pop(name) if argument in mine] == mine
    assert not told


@pytest.mark.parametrize("name", ["estimators", "distributions"])
def test_a_table_of_the_readme_is_what_the_library_says(name):
    page = script("tables")
    _, found, _ = page.part(page.PAGE.read_text(), name)
    assert found.strip() == page.TABLES[name]().strip(), "python docs/tables.py writes it anew"
    names = sf.ESTIMATORS if name == "estimators" else ["Autoregressive", "Mixture", "VonMises"]
    assert all(f"`{n}`" in found for n in names)


def test_tests_mirror_the_package():
    tests = pathlib.Path(__file__).parent
    folders = {path.parent.name for path in tests.glob("*/test_*.py")}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders == packages | {"benchmarks", "traps"}
    names = [path.name for path in tests.rglob("test_*.py")]
    assert len(names) == len(set(names)), "two files of one name are one module to pytest"


def written_out(code):
    """What an error says where it is raised, and not in a constant with a name; assertions say something to ourselves."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            said = node.exc.args[0]
            kind = ast.unparse(node.exc.func)
            if isinstance(said, ast.JoinedStr | ast.Constant) and kind.endswith("Error") and kind != "AssertionError":
                yield ast.unparse(said)


def test_messages_are_constants_with_a_name():
    assert list(written_out("raise ValueError(f'{x} is no number')")) and not list(written_out("raise ValueError(BAD)"))
    found = {path.name: said for path in ROOT.rglob("*.py") if (said := list(written_out(path.read_text())))}
    assert all("has no attribute" in x for said in found.values() for x in said), found  # Python's own words


RETIRED = {"law", "laws", "held", "once", "coin", "coins", "spread", "how"}
"""Words that meant what another word says (see docs/glossary.md), and whole identifiers that did."""
RETIRED_NAMES = {"num_draws", "Draws", "Choice", "choice_p", "Bits", "Choices", "Bound", "bind"}
OLDER_NAMES = {
    "as_law", "Draws", "Choice", "bind",  # aliases, which stay
    "num_draws",  # of sf.testing.enumerate_draws
    "law",  # of an explanation's sites
}  # fmt: skip


def _identifiers(path):
    """Names that a file defines: functions, classes, arguments, variables and attributes that are assigned to."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr


def retired(names):
    return {n for n in names if n in RETIRED_NAMES or RETIRED & set(n.lower().split("_"))} - OLDER_NAMES


def test_retired_words_are_in_no_name():
    found = {(path.name, name) for path in ROOT.rglob("*.py") for name in retired(_identifiers(path))}
    assert not found - {("_reference.py", "how")}, found  # Reference.how, which is public
    assert (
        retired(["law_of", "num_draws", "held_out", "dist", "lawful"])
        == {"law_of", "num_draws", "held_out"} - OLDER_NAMES
    )


def test_signatures_are_those_of_the_documentation():
    options = {"chunk_size", "sharding", "has_aux"}
    for name, record in sf.ESTIMATORS.items():
        twin = getattr(sf, f"{name}_grad")
        assert twin.__name__ == f"{name}_grad" and name in twin.__doc__
        for function in (record.function, twin):
            parameters = inspect.signature(function).parameters
            assert list(parameters)[:4] == ["f", "logp", "params", "key"] and options <= set(parameters)
            assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in list(parameters.values())[4:])


@pytest.mark.default
def test_import_costs_little_beside_jax():
    """At most a fifth of what jax, optax and chex take in the same process: in one of five processes at most, since others may be busy.

    A ratio, since seconds measure the machine: .06 to .08 s here, and more than .15 s on one that was twice as slow.
    """
    code = (
        "import time; start = time.process_time(); import jax, optax, chex; there = time.process_time(); import jax_scorefn; "
        "print((time.process_time() - there) / (there - start))"
    )
    compiled = {
        k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"
    }  # the first process compiles the source
    how = {"check": True, "capture_output": True, "text": True, "env": compiled}
    run = lambda: subprocess.run([sys.executable, "-c", code], **how).stdout
    assert any(float(run()) < 0.2 for _ in range(5))


@pytest.mark.default
def test_what_is_imported_later_is_what_a_checker_of_types_is_told():
    tree = ast.parse(pathlib.Path(sf.__file__).read_text())
    (told,) = (
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "_typing.TYPE_CHECKING"
    )
    names = {
        (node.module, alias.name) for node in told.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    later = {("jax_scorefn", package) for package in sf._LATER}
    assert names == later | {(f"jax_scorefn.{package}", name) for package, names in sf._LATER.items() for name in names}
    code = "import sys, jax_scorefn as sf; print(*(name for name in sf._LATER if f'jax_scorefn.{name}' in sys.modules)); sf.plan, sf.lift"
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True, text=True)
    assert not run.stdout.split()  # nothing that the rest imports brings them in


@pytest.mark.default
@pytest.mark.float32
def test_the_readme_prints_what_it_says():
    for code, said in readme.programs(readme.README.read_text()):
        with jax.debug_key_reuse(False), jax.numpy_dtype_promotion("standard"):
            readme.check(code, said)
    with pytest.raises(AssertionError):
        readme.check("print('a', 1.26)", "a 1.25\n")


def test_the_readme_names_and_links_what_there_is():
    text = (ROOT.parent / "README.md").read_text()
    names = set(re.findall(r"\bsf((?:\.\w+)+)", text))
    assert len(names) > 20
    for name in names:
        assert operator.attrgetter(name[1:])(sf), name
    links = re.findall(r'(?:\]\(|src(?:set)?=")(?!http)([^)"#]+)', text)
    assert len(links) > 15
    for link in links:
        assert (ROOT.parent / link).exists(), link


def test_help_has_every_name_by_its_topic():
    topics = sf.__doc__.partition("by topic:")[2]
    listed = set(re.findall(r"\b\w+\b", topics))
    is_distribution = lambda x: inspect.isclass(x) and issubclass(x, sf.Distribution)
    names = {name for name in sf.__all__ if not name.endswith("_grad") and not is_distribution(getattr(sf, name))}
    assert names - listed == {"distributions", "estimators", "typing"} - listed
    assert len(names) <= 90
    assert {name for name in dir(sf) if not name.startswith("_")} == set(sf.__all__)
    assert not {"engine", "noise"} & set(sf.__all__)


def test_a_name_that_people_guess_is_answered():
    for name, meant in _guesses.GUESSES.items():
        assert name not in sf.__all__
        with pytest.raises(AttributeError, match="jax_scorefn has no .*: take "):
            getattr(sf, name)
        for there in re.findall(r"\bsf((?:\.\w+)+)", meant):
            assert operator.attrgetter(there[1:])(sf) is not None
    with pytest.raises(AttributeError, match="has no 'score_funtion'. Did you mean sf.score_function"):
        sf.score_funtion  # noqa: B018
    assert not hasattr(sf, "__wrapped__")
