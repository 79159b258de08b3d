"""The helper that chooses the default run: all values are shown, no case is lost, and a choice that leaves one out is found out."""

import itertools
from pathlib import Path

import hypothesis.strategies as st
import pytest
from covering import cover, covering
from hypothesis import given, settings

TABLES = st.integers(1, 4).flatmap(
    lambda columns: st.lists(st.tuples(*[st.sampled_from([None, 0, 1, 2, "a"])] * columns), min_size=1, max_size=25)
)


def shown(table, places, strength):
    """What rows at these places show, said anew."""
    few = min(strength, len(table[0]))
    return {
        (columns, tuple(table[i][c] for c in columns))
        for i in places
        for columns in itertools.combinations(range(len(table[0])), few)
        if all(table[i][c] is not None for c in columns)
    }


def check(table, strength, choose=cover):
    chosen = choose(table, strength)
    assert chosen == sorted(set(chosen)) and chosen == choose(table, strength)
    assert shown(table, chosen, strength) == shown(table, range(len(table)), strength)
    assert len(chosen) <= len(shown(table, chosen, strength))  # each is there for something


@settings(max_examples=200, derandomize=True, deadline=None)
@given(TABLES, st.integers(1, 3))
def test_everything_is_shown_and_nothing_twice_for_nothing(table, strength):
    check(table, strength)


def test_a_choice_that_forgets_one_or_takes_all_is_found_out():
    table = list(itertools.product("ab", "cd", "ef"))
    check(table, 2)
    for broken in (lambda *given: cover(*given)[1:], lambda table, strength: list(range(len(table))) * 2):
        with pytest.raises(AssertionError):
            check(table, 2, broken)


def by_default(params):
    return [param.values for param in params if not param.marks]


def test_no_case_is_lost_and_few_run_by_default():
    names, kinds = "abcde", [1, 2, 3]
    params = covering(itertools.product(names, kinds))
    assert [param.values for param in params] == list(itertools.product(names, kinds))
    assert len(by_default(params)) == 5  # each name once, and of the kinds none much more often than another
    assert sorted(kind for _, kind in by_default(params)) == [1, 1, 2, 2, 3]
    assert len(by_default(covering(itertools.product(names, kinds), strength=2))) == 15
    assert all(param.marks[0].name == "slow" for param in params if param.marks)


def test_factors_may_be_functions_and_leave_cases_out():
    words = ["a", "b", "bb", "c", "ccc"]
    assert by_default(covering(words)) == [("a",)]
    assert by_default(covering(words, len)) == [("a",), ("bb",), ("ccc",)]
    assert by_default(covering(words, lambda word: word if word > "b" else None)) == [("bb",), ("c",), ("ccc",)]
    assert by_default(covering([(["a"], 1), (["b"], 1)])) == [(["a"], 1), (["b"], 1)]


def test_what_is_said_to_be_long_is_there():
    """By its function; which cases there are only a run knows."""
    tests = Path(__file__).parent
    for name in (tests / "long.txt").read_text().splitlines():
        path, _, function = name.partition("[")[0].partition("::")
        assert f"def {function}(" in (tests.parent / path).read_text(), name
