"""The page of rules is made of their docstrings, and the example in each docstring is true."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering
from jax import lax

from jax_scorefn.programs import RULES, Rule
from jax_scorefn.testing import check_rule

PATH = pathlib.Path(__file__).parents[2] / "docs" / "rules.py"
spec = importlib.util.spec_from_file_location("docs_rules", PATH)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)
FAMILIES = {function.__name__: function for function in page.families()}
WHERE_IT_IS = {"expand", "stack", "unstack"}
"""Families of primitives that not every version of JAX has."""


def operand(kind, shape, seed):
    rng = np.random.default_rng(seed)
    match kind:
        case "key":
            return jax.random.split(jax.random.key(seed), shape) if shape else jax.random.key(seed)
        case "int":
            return jnp.asarray(rng.integers(0, 3, shape))
        case "uint":
            return jnp.asarray(rng.integers(0, 9, shape), jnp.uint32)
    return jnp.asarray(rng.uniform(0.5, 2.0, shape))


def said(function):
    """What the rules say of the example, by name of the primitive, each of them checked."""
    code, operands, _ = page.example(function)
    run = eval(f"lambda {', '.join(operands)}: {code}", {"jax": jax, "jnp": jnp, "lax": lax})
    return check_rule(run, *(operand(*how, seed) for seed, how in enumerate(operands.values())))


def belongs(name, function):
    return name in RULES and RULES[name].function is function


def test_the_page_is_what_the_rules_say():
    assert page.of_page() == page.made(), "python docs/rules.py writes it anew"


def test_a_rule_that_is_not_on_the_page_is_seen(monkeypatch):
    monkeypatch.setitem(RULES, "one_more", Rule(FAMILIES["sort"], linear=0))
    assert page.of_page() != page.made()


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize("name", covering(FAMILIES, lambda name: name if name != "gamma" else None))
def test_the_example_of_a_rule_is_true(name):
    function = FAMILIES[name]
    found = [maps for primitive, maps in said(function).items() if belongs(primitive, function)]
    assert found == [page.example(function)[2]] or (not found and name in WHERE_IT_IS)


@pytest.mark.usefixtures("foreign")
def test_an_example_that_is_not_true_is_seen(monkeypatch):
    function = FAMILIES["cumulative"]
    monkeypatch.setattr(function, "__doc__", function.__doc__.replace("-inf, 0", "0, 0"))
    assert said(function)["cumsum"] != page.example(function)[2]
    monkeypatch.setitem(RULES, "cumsum", Rule(lambda op: page.example(function)[2]))
    with pytest.raises(AssertionError, match="The rule of cumsum is wrong"):
        said(function)
