"""N. A birth-death chain by uniformisation: births at rate 6, deaths at rate 1 a head, 60 candidate events in two units of time.

The gradient is exact by the probabilities of all numbers; variances are those of one run.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import jax_scorefn as sf
from benchmarks.settings import Settings
from benchmarks.studies.papers._base import SIGMAS, Outcome, Paper, mean_of, runs, variance_of

EVENTS, RATE = 60, 30.0
COSTS = {"X_T": lambda x: x, "1[X_T > 8]": lambda x: (x > 8).astype(float)}
COLUMNS = ("exact", "score - mean", "coupled, all", "coupled, one that is picked")
STEPS = jnp.array([1.0, -1.0, 0.0])
TABLE = {
    "X_T, births": ".86920 3.21 .229 .983", "X_T, deaths": "-3.59149 60.2 5.63",
    "1[X_T > 8], births": ".06384 .060 .037 .127", "1[X_T > 8], deaths": "-.26146 1.36 .767",
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


def picked(cost: Any, p: Any, key: Any) -> Any:
    """One event is replaced, picked by the size of its weight, for each parameter: the library's own pick is an even one.

    A parameter that goes up takes probability from some events and gives it to others: an event x becomes y with the weight
    (what x loses) / p(x) (share of y in what is gained).
    """
    key_events, *key_picks = jax.random.split(key, 3)
    uniforms = jax.random.uniform(key_events, (EVENTS,))

    def last(at: Any, other: Any) -> Any:
        """The last number, and each number and event, where event ``at`` is ``other`` and all uniforms are kept."""

        def step(x: Any, row: Any) -> Any:
            t, u = row
            event = jnp.where(t == at, other, jnp.sum(u > jnp.cumsum(probs(p, x))[:2]))
            return x + STEPS[event], (x, event)

        return jax.lax.scan(step, jnp.float32(0.0), (jnp.arange(EVENTS), uniforms))

    end, (numbers, events) = last(-1, 0)
    chances, slopes = (jax.vmap(lambda x, of=of: of(p, x))(numbers) for of in (probs, jax.jacobian(probs)))
    happened = jnp.arange(EVENTS), events

    def of(slope: Any, key: Any) -> Any:
        lost, gained = jnp.maximum(-slope[happened], 0.0), jnp.maximum(slope, 0.0)
        shares = gained / jnp.maximum(jnp.sum(gained, axis=1, keepdims=True), 1e-30)
        weights = ((lost / chances[happened])[:, None] * shares).reshape(-1)
        at, other = jnp.divmod(jax.random.categorical(key, jnp.log(weights)), 3)
        return jnp.sum(weights) * (cost(last(at, other)[0]) - cost(end))

    return jnp.stack([of(slopes[..., i], own) for i, own in enumerate(key_picks)])


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
            COLUMNS[3]: lambda key, cost=cost: picked(cost, PARAMS, key),
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
    for name, most in (("X_T", 26.5), ("1[X_T > 8]", 3.80)):
        variance, error = outcome.numbers[f"{name}, deaths"][COLUMNS[3]]
        outcome.claim(
            f"{name}, deaths: the one that is picked has at most the variance {most}", variance < most + SIGMAS * error
        )
    return outcome


PAPER = Paper(
    letter="N",
    title="Births and deaths",
    source="Worked out; the simulator is that of stochastix",
    about=(
        "30 candidate events in a unit of time, two units, from 0; the cost is the last number, or whether it is above 8. "
        "How the reference weighs what it picks is not written down: with one-sided weights births agree, and deaths "
        "are less noisy."
    ),
    measure=measure,
    wanted={row: dict(zip(COLUMNS, text.split(), strict=False)) for row, text in TABLE.items()},
    within=dict.fromkeys(COLUMNS[1:], 0.1),
    reasons={
        "X_T, births": (
            "how the reference keeps the later events is not written down. Six orders of the three outcomes along the uniform "
            "that makes an event give .26 for births and 5.2 to 5.4 for deaths, or 1.7 and 22 with the birth in the middle; weights "
            "of one side .42 and 10; an event made of two bits .28 and 6.1, or more."
        )
    },
)
