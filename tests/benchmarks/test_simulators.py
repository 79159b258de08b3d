"""The simulators of the benchmark: their gradients under every plan beside the exact ones, and what the command prints."""

import jax
import numpy as np
import pytest
from covering import few

import jax_scorefn as sf
from benchmarks.studies import simulators
from benchmarks.studies.simulators import SIMULATORS
from benchmarks.studies.simulators._measure import measure, rows_of
from benchmarks.study import Records
from jax_scorefn.programs import Plan

pytestmark = pytest.mark.usefixtures("foreign")
LARGE = {"epidemic of 10,000", "repressilator"}


@pytest.mark.statistical
@pytest.mark.parametrize("name", few(SIMULATORS, "births and deaths", "telegraph gene", "decisions, 20 steps"))
def test_each_estimator_finds_the_same_gradient(name):
    """The exact one where it is known, and that of the score function where it is not."""
    made = SIMULATORS[name]()
    names = {site.name for site in sf.explain(made.program)(made.params, jax.random.key(0)).choices}
    estimates = 40 if name in LARGE else 200

    def gradients(estimator, seed):
        plan = Plan(tuple((n, estimator) for n in sorted(names)))
        run = jax.grad(sf.expectation(made.program, num_samples=16, plan=plan))
        keys = jax.random.split(jax.random.key(seed), estimates)
        found = jax.jit(lambda keys: jax.lax.map(lambda key: run(made.params, key), keys))(keys)
        found = rows_of(found, estimates)
        return found.mean(axis=0), found.std(axis=0, ddof=1) / estimates**0.5

    score, error = gradients("score_function", 1)
    other, error_other = gradients("coupled", 2)
    assert np.all(np.isfinite(score)) and np.all(np.isfinite(other))
    assert np.all(np.abs(score - other) <= 5 * np.hypot(error, error_other))
    if made.exact is not None:
        exact = np.asarray(made.exact, float).reshape(-1)
        assert np.all(np.abs(score - exact) <= 5 * error + 1e-4 * np.abs(exact))
        assert np.all(np.abs(other - exact) <= 5 * error_other + 1e-4 * np.abs(exact))


def test_a_simulator_is_measured_and_told():
    record = measure(SIMULATORS["Game of Life"](), runs=8, pilots=1, estimates=16)
    assert len(record["found"]["plans"]) == len(record["times"]["microseconds"]) == 4
    assert all(row["variance"] > 0 for row in record["found"]["plans"]) and min(record["times"]["microseconds"]) > 0
    (section,) = simulators.sections(Records([record | {"task": "Game of Life: 8 runs"}]), None)
    (table,) = section.tables
    assert table.rows[0][0].text == "Game of Life" and "board: " in table.rows[0][5].text


def test_prices_are_variance_times_time():
    plans = [{"plan": {"a": "score_function"}, "variance": 4.0}, {"plan": {"a": "coupled"}, "variance": 1.0, "z": 2.0}]
    found = simulators.summary({"plans": plans, "microseconds": [1.0, 2.0], "chosen": [1, 1, 0]})
    assert (found["gain"], found["to_best"], found["worst"], found["z"]) == (2.0, 1.0, 1.0, 2.0)
    assert found["chosen"] == {"a": "coupled"}
