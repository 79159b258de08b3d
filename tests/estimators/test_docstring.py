"""What the library writes into the docstring of an estimator is what its record says, and no option goes without a word."""

import inspect
import re

import pytest

import jax_scorefn as sf
from jax_scorefn.estimators import _registry
from jax_scorefn.estimators._docstring import HEADS

DECLARED = {
    "needs": (sf.Capability.RELAXED,),
    "bias": sf.Bias.BIASED,
    "orders": 1,
    "evaluations": "2 S",
    "cite": ("jang2017",),
}


@pytest.fixture
def own(monkeypatch):
    """``estimator(...)``, with a registry that is forgotten afterwards."""
    monkeypatch.setattr(_registry, "ESTIMATORS", {})
    return _registry.estimator(**DECLARED)


@pytest.mark.parametrize("record", sf.ESTIMATORS.values(), ids=lambda record: record.name)
def test_every_argument_is_described_in_the_order_of_the_signature(record):
    doc = inspect.getdoc(record.function)
    _, head, arguments, *rest = HEADS.split(doc)
    assert head == "Args" and re.findall(r"^  (\w+): \S", arguments, re.MULTILINE) == list(
        inspect.signature(record.function).parameters
    )
    assert rest[::2] == ["Returns", "Raises", "Bias", "Example"]
    assert doc.endswith(f"References: {', '.join(record.cite)}.")
    assert f"Cost in evaluations of f: {record.evaluations}." in " ".join(doc.split())
    assert max(map(len, doc.splitlines())) < 135
    assert all(line.count("``") % 2 == 0 for line in doc.splitlines()), "a literal is broken over two lines"


def test_a_record_speaks_for_a_body_that_says_nothing(own):
    @own
    def plain(f, call):
        """A line.

        Example:
          >>> 1
          1
        """

    text = " ".join(inspect.getdoc(plain).split())
    for said in ("something between them: Bernoulli, OneHotCategorical, or a Joint", "asked, and differentiated"):
        assert (said in text) == (said.startswith("something")), said  # it was not declared to differentiate f
    assert "Bias: it does not go away with more draws; a second derivative raises." in text
    assert "Cost in evaluations of f: 2 S." in text and text.endswith("References: jang2017.")


def test_an_option_without_a_word_and_a_word_without_an_option_are_refused(own):
    def silent(f, call, *, temperature=1.0):
        """A line.

        Example:
          >>> 1
        """

    def chatty(f, call):
        """A line.

        Args:
          temperature: that of nothing.

        Example:
          >>> 1
        """

    for body in (silent, chatty):
        with pytest.raises(TypeError, match="describes"):
            own(body)
