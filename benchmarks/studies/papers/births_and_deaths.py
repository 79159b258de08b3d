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

EVENTS, RATE = 60, 30.0
COSTS = {"X_T": lambda x: x, "1[X_T > 8]": lambda x: (x > 8).astype(float)}
COLUMNS = ("exact", "score - mean", "coupled, all")
STEPS = jnp.array([1.0, -1.0, 0.0])
TABLE = {
    "X_T, births": ".86920 3.21 .229", "X_T, deaths": "-3.59149 60.2 5.63", "1[X_T > 8], births": ".06384 .060 .037",
    "1[X_T > 8], deaths": "-.26146 1.36 .767",
}  # fmt: skip
PARAMS = jnp.array([6.0, 1.0])


def probs(p: Any, x: Any) -> Any:
    """Of a birth, a death, and nothing."""
    birth, death = p[0] / RATE, p[1] * x / RATE
    return jnp.stack([birth, death, 1 - birth - death])


def sampler(key: Any, p: Any) -> Any:
    """All events."""

    def step(x: Any, key: Any) -> Any:
        event = jax.random.categorical(key, jnp.log(probs(p, x)))
        return x + STEPS[event], event

    return jax.lax.scan(step, jnp.float32(0.0), jax.random.split(key, EVENTS))[1]


def log_prob(p: Any, events: Any) -> Any:
    """Of all events: each by the number that was there before it."""
    before = jnp.cumsum(STEPS[events]) - STEPS[events]
    chances = jax.vmap(lambda x, event: probs(p, x)[event])(before, events)
    return jnp.sum(jnp.log(chances))


def chain(cost: Any, estimator: str) -> Any:
    """The program."""

    def program(p: Any, key: Any) -> Any:
        def step(x: Any, key: Any) -> Any:
            event = sf.sample(key, sf.Categorical(probs=probs(p, x)), estimator=estimator)
            return x + STEPS[event], None

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
        family = sf.family(log_prob=log_prob, sampler=sampler)
        off = lambda events, cost=cost, mean=value: cost(jnp.sum(STEPS[events])) - mean
        coupled = jax.grad(sf.expectation(chain(cost, "coupled")))
        to_go = jax.grad(sf.expectation(chain(cost, "score_function")))
        ways = {
            "score - mean": lambda key, off=off, family=family: sf.score_function_grad(
                off, family, PARAMS, key, num_samples=1, baseline=None
            ),
            "coupled, all": lambda key, g=coupled: g(PARAMS, key),
            "score, credit found": lambda key, g=to_go: g(PARAMS, key),
        }
        found = {way: runs(of, settings.key("N", name, way), count, batch=1000) for way, of in ways.items()}
        for i, parameter in enumerate(("births", "deaths")):
            numbers = {"exact": (float(exact[i]), 2e-6)} | {way: variance_of(rows[:, i]) for way, rows in found.items()}
            outcome.numbers[f"{name}, {parameter}"] = numbers
            for way, rows in found.items():
                middle, error = mean_of(rows[:, i])
                outcome.claim(
                    f"{name}, {parameter}: the mean of {way} is exact", abs(middle - float(exact[i])) < 4.5 * error
                )
    return outcome


PAPER = Paper(
    letter="N",
    title="Births and deaths",
    source="Worked out; the simulator is that of stochastix",
    about="30 candidate events in a unit of time, two units, from 0; the cost is the last number, or whether it is above 8.",
    measure=measure,
    wanted={row: dict(zip(COLUMNS, text.split(), strict=True)) for row, text in TABLE.items()},
    within={"score - mean": 0.1, "coupled, all": 0.1},
    not_yet={
        "one comparison that is picked with the exact weights": "What is picked is picked evenly, which is noisier."
    },
)
