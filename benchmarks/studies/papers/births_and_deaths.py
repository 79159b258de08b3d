"""N. A birth-death chain by uniformisation: births at rate 6, deaths at rate 1 a head, 60 candidate events in two units of time.

The gradient is exact by the probabilities of all numbers; variances are those of one run.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import jax_scorefn as sf
from benchmarks.settings import Settings
from benchmarks.studies.papers._base import Outcome, Paper, mean_of, runs, variance_of
from jax_scorefn.programs import Coupled

EVENTS, RATE = 60, 30.0
COSTS = {"X_T": lambda x: x, "1[X_T > 8]": lambda x: (x > 8).astype(float)}
COLUMNS = ("exact", "score - mean", "coupled, all", "coupled, pick one")
TABLE = {
    "X_T, births": ".86920 3.21 .229 .983", "X_T, deaths": "-3.59149 60.2 5.63 26.5",
    "1[X_T > 8], births": ".06384 .060 .037 .127", "1[X_T > 8], deaths": "-.26146 1.36 .767 3.80",
}  # fmt: skip
PARAMS = jnp.array([6.0, 1.0])


def probs(p: Any, x: Any) -> Any:
    """Of a birth, a death, and nothing."""
    birth, death = p[0] / RATE, p[1] * x / RATE
    return jnp.stack([birth, death, 1 - birth - death])


def chain(cost: Any, estimator: str) -> Any:
    """The program."""

    def program(p: Any, key: Any) -> Any:
        def step(x: Any, key: Any) -> Any:
            event = sf.sample(key, sf.Categorical(probs=probs(p, x)), estimator=estimator)
            return x + jnp.array([1.0, -1.0, 0.0])[event], None

        return cost(jax.lax.scan(step, jnp.float32(0.0), jax.random.split(key, EVENTS))[0])

    return program


def expected(cost: Any, p: Any) -> Any:
    """Forwards through the probabilities of 0 .. 60."""
    numbers = jnp.arange(EVENTS + 1.0)
    of = jax.vmap(lambda x: probs(p, x))(numbers)

    def step(mass: Any, _: Any) -> Any:
        up, down, stay = (of[:, i] * mass for i in range(3))
        return stay + jnp.roll(up, 1) + jnp.roll(down, -1), None

    return jax.lax.scan(step, (numbers == 0).astype(float), None, length=EVENTS)[0] @ cost(numbers)


def measure(settings: Settings) -> Outcome:
    """Both costs, in both parameters."""
    outcome, count = Outcome(), 40_000 if settings.full else 8000
    for name, cost in COSTS.items():
        value, exact = jax.value_and_grad(lambda p, cost=cost: expected(cost, p))(PARAMS)
        off = lambda x, cost=cost, mean=value: cost(x) - mean
        ways = {
            "score - mean": sf.expectation(chain(off, "score_function")), "coupled, all": sf.expectation(chain(cost, "coupled")),
            "coupled, pick one": sf.expectation(chain(cost, "coupled"), coupled=Coupled(alternatives=1)),
        }  # fmt: skip
        found = {}
        for way, program in ways.items():
            gradient = jax.grad(program)
            found[way] = runs(lambda key, g=gradient: g(PARAMS, key), settings.key("N", name, way), count, batch=1000)
        for i, parameter in enumerate(("births", "deaths")):
            numbers = {"exact": (float(exact[i]), 2e-6)} | {way: variance_of(rows[:, i]) for way, rows in found.items()}
            outcome.numbers[f"{name}, {parameter}"] = numbers
            for way, rows in found.items():
                middle, error = mean_of(rows[:, i])
                outcome.claims.append(
                    (f"{name}, {parameter}: the mean of {way} is exact", abs(middle - float(exact[i])) < 4.5 * error)
                )
    return outcome


PAPER = Paper(
    letter="N",
    title="Births and deaths",
    source="Worked out; the simulator is that of stochastix",
    about="30 candidate events in a unit of time, two units, from 0; the cost is the last number, or whether it is above 8.",
    measure=measure,
    wanted={row: dict(zip(COLUMNS, text.split(), strict=True)) for row, text in TABLE.items()},
    within={"score - mean": 0.1, "coupled, all": 0.1, "coupled, pick one": 0.12},
)
