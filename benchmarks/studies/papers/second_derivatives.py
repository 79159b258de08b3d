"""H. Second derivatives (Foerster et al. 2018, DiCE): one bit, and the iterated prisoner's dilemma.

the plain surrogate f log p is right once and wrong twice; the magic box is right at every order
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn as sf
from benchmarks.settings import Settings
from benchmarks.studies.papers._base import Outcome, Paper, exactly, mean_of, runs

BIT = sf.family(lambda logit: sf.Bernoulli(logits=logit))
ROUNDS = 20
GAME = sf.testing.PrisonersDilemma()


def f(x: Any) -> Any:
    """1 for 0, and 3 for 1."""
    return 1.0 + 2.0 * x


def play(both: Any, key: Any) -> Any:
    """The first player's payoff in some rounds; each move is a choice."""
    first, second = both

    def step(state: Any, key: Any) -> Any:
        mine, theirs, worth = state
        one, two = jax.random.split(key)
        a = sf.sample(one, sf.Bernoulli(logits=first[mine]))
        b = sf.sample(two, sf.Bernoulli(logits=second[theirs]))
        payoff = worth * (a * b * -1.0 + a * (1 - b) * -3.0 + (1 - a) * (1 - b) * -2.0)
        a, b = a.astype(int), b.astype(int)
        return (1 + 2 * (1 - a) + (1 - b), 1 + 2 * (1 - b) + (1 - a), worth * GAME.discount), payoff

    start = (jnp.int32(0), jnp.int32(0), jnp.float32(1.0))
    return jnp.sum(jax.lax.scan(step, start, jax.random.split(key, ROUNDS))[1])


def measure(settings: Settings) -> Outcome:
    """One bit; the exact numbers of the game; and its sampled derivatives beside the exact ones."""
    outcome, count = Outcome(), 400_000 if settings.full else 100_000
    loss = lambda logit, key: sf.score_function(f, BIT, logit, key, num_samples=1, baseline=None)
    orders = {
        "value": loss,
        "gradient": jax.grad(loss),
        "second derivative": jax.grad(jax.grad(loss)),
    }
    sampled = {
        name: mean_of(runs(lambda key, g=g: g(1.0, key), settings.key("H", name), count, batch=20_000))
        for name, g in orders.items()
    }

    def plain(logit: Any, key: Any) -> Any:
        x = BIT.at(jax.lax.stop_gradient(logit)).sample(key)
        return jax.lax.stop_gradient(f(x)) * BIT.at(logit).log_prob(x)

    twice = jax.grad(jax.grad(plain))
    sampled["second derivative of f log p"] = mean_of(
        runs(lambda key: twice(1.0, key), settings.key("H", "plain"), count, batch=20_000)
    )
    outcome.numbers["one bit, logit 1"] = sampled

    zeros = (jnp.zeros(5), jnp.zeros(5))
    value = lambda both: GAME.values(*both)[0]
    hessian = np.asarray(jax.jit(jax.hessian(lambda x: value((x[:5], x[5:]))))(jnp.zeros(10)), float)
    own, other = jax.jit(jax.grad(value))(zeros)
    eigenvalues = np.sort(np.linalg.eigvalsh((hessian + hessian.T) / 2))
    outcome.numbers["dilemma, all logits 0"] = {
        "V": (float(value(zeros)), 1e-4), "own slope, CC": (float(own[1]), 1e-5), "other's slope, CC": (float(other[1]), 1e-5),
        "norm of the Hessian": (float(np.linalg.norm(hessian)), 1e-4), "largest eigenvalue": (float(eigenvalues[-1]), 1e-4),
    }  # fmt: skip
    outcome.claim("six of the ten eigenvalues are 0", bool(np.sum(np.abs(eigenvalues) < 1e-3) == 6))

    logits = jax.random.normal(settings.key("H", "logits"), (10,))
    pair = lambda x: (x[:5], x[5:])
    exact = lambda x: GAME.values(*pair(x), horizon=ROUNDS)[0]
    program = sf.expectation(play, num_samples=1000)
    sampled_loss = lambda x, key: program(pair(x), key)
    batches = 40 if settings.full else 10
    keys = jax.random.split(settings.key("H", "game"), batches)
    for name, of, truth, least in (
        ("gradient", jax.grad(sampled_loss), jax.grad(exact), 0.99), ("Hessian", jax.hessian(sampled_loss), jax.hessian(exact), 0.9),
    ):  # fmt: skip
        found = np.mean(
            np.asarray(jax.jit(lambda keys, of=of: jax.lax.map(lambda key: of(logits, key), keys))(keys)), axis=0
        ).ravel()
        wanted = np.asarray(jax.jit(truth)(logits)).ravel()
        correlation = float(np.corrcoef(found, wanted)[0, 1])
        outcome.numbers.setdefault(f"dilemma, {ROUNDS} rounds", {})[f"correlation of the {name}"] = exactly(correlation)
        outcome.claim(
            f"the sampled {name} of {batches},000 games correlates with the exact one by more than {least}",
            correlation > least,
        )
    return outcome


PAPER = Paper(
    letter="H",
    title="Second derivatives",
    source="Foerster et al. 2018 (DiCE)",
    about=(
        "f(0) = 1 and f(1) = 3 at logit 1; then two players with five logits each who remember the last round, discount .96. "
        "Logits are drawn at random for the sampled derivatives, so that all entries of the Hessian matter. The paper shows "
        "correlations in a figure."
    ),
    measure=measure,
    wanted={
        "one bit, logit 1": {
            "value": "2.46212",
            "gradient": ".39322",
            "second derivative": "-.18172",
            "second derivative of f log p": "-.48408",
        },
        "dilemma, all logits 0": {
            "V": "-37.5",
            "own slope, CC": "-1.5",
            "other's slope, CC": "3",
            "norm of the Hessian": "3.2311",
            "largest eigenvalue": "1.6155",
        },
    },
)
