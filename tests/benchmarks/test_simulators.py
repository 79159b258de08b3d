"""The simulators of the benchmark: their gradients under every plan beside the exact ones, and what the command prints."""

import json

import jax
import numpy as np
import pytest
from covering import few

import jax_scorefn as sf
from benchmarks.simulators import SIMULATORS, __main__ as command
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
        found = np.concatenate([np.asarray(x, float).reshape(estimates, -1) for x in jax.tree.leaves(found)], axis=1)
        return found.mean(axis=0), found.std(axis=0, ddof=1) / estimates**0.5

    score, error = gradients("score_function", 1)
    other, error_other = gradients("coupled", 2)
    assert np.all(np.isfinite(score)) and np.all(np.isfinite(other))
    assert np.all(np.abs(score - other) <= 5 * np.hypot(error, error_other))
    if made.exact is not None:
        exact = np.asarray(made.exact, float).reshape(-1)
        assert np.all(np.abs(score - exact) <= 5 * error + 1e-4 * np.abs(exact))
        assert np.all(np.abs(other - exact) <= 5 * error_other + 1e-4 * np.abs(exact))


def test_the_command_writes_what_it_measures(tmp_path, capsys):
    out = tmp_path / "found.json"
    assert command.main(["Game of Life", "--pilots", "1", "--runs", "8", "--estimates", "16", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("Game of Life")
    assert "board: " in lines[1]
    (found,) = json.loads(out.read_text()).values()
    assert len(found["rows"]) == 4
    assert all(row["variance"] > 0 and row["microseconds"] > 0 for row in found["rows"])
    assert command.main(["no such thing"]) == 2
    assert "there are: " in capsys.readouterr().err
