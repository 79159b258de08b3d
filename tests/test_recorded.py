"""Every answer that is on record is still given: of every estimator, distribution, option and transform, programs and policy gradients.

A change that is meant to change one writes the record anew (see ``recorded_calls``), and its diff shows which.
"""

import json

import jax
import pytest
import recorded_calls
from covering import covering
from recorded_calls import answer, differ

PARTS = 60
RECORD = json.loads(recorded_calls.FILE.read_text())


def test_every_call_is_on_record():
    assert [name for name, _ in recorded_calls.calls()] == list(RECORD)
    assert sum("numbers" in found for found in RECORD.values()) >= 300


@pytest.mark.parametrize("part", covering(range(PARTS)))
@pytest.mark.default
def test_answers_are_those_on_record(part):
    with jax.debug_key_reuse(False), jax.numpy_dtype_promotion("standard"):
        some = [(name, answer(call)) for name, call in list(recorded_calls.calls())[part::PARTS]]
    others = {name: (found, RECORD[name]) for name, found in some if differ(found, RECORD[name])}
    assert not others, others


OF_DOUBLES = {
    *("score_function: GivenDraws", "vargrad: GivenDraws"),  # the case makes its draws in doubles there
    *("program: filled", "program: delay_line", "refused: a bad mask"),  # and these have doubles in them
}


@pytest.mark.parametrize("part", covering(range(PARTS)))
def test_parameters_in_single_precision_give_the_same_answers_where_doubles_are_on(part):
    with jax.enable_x64(True), jax.debug_key_reuse(False), jax.numpy_dtype_promotion("standard"):
        some = [(name, answer(call)) for name, call in list(recorded_calls.calls())[part::PARTS]]
    recorded = {
        name: RECORD[name] | {word: found[word] for word in ("dtypes",) if word in found} for name, found in some
    }
    others = {name: (found, recorded[name]) for name, found in some if differ(found, recorded[name])}
    assert set(others) <= OF_DOUBLES, others


def test_another_answer_is_told_from_rounding():
    name = "score_function: Normal"
    numbers = RECORD[name]["numbers"]
    assert not differ(RECORD[name] | {"numbers": [x * (1 + 1e-5) for x in numbers]}, RECORD[name])
    assert differ(RECORD[name] | {"numbers": [*numbers[:-1], numbers[-1] + 0.01 * numbers[1]]}, RECORD[name])
    assert differ(RECORD[name] | {"dtypes": "d"}, RECORD[name])
    refused = RECORD["refused: no key"]
    assert differ(refused | {"says": "something else"}, refused) and differ(refused, RECORD[name])
