"""M. Subsets of k among ten (Ahmed et al. 2023, the notebooks of SIMPLE).

p(x) ~ exp(theta . x) over subsets of size k, theta = randn(10), b = |randn(10)|, f = ||x - b||^2
"""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn as sf
from benchmarks.settings import Settings
from benchmarks.studies.papers._base import Outcome, Paper, runs, variance_of

COLUMNS = ("E f", "norm of the gradient", "score", "score - mean", "leave-one-out pair")
TABLE = {"k = 1": "11.286426 .368419 105.139 .916705 .98759", "k = 5": "8.685266 .919681 147.727 6.172526 6.791391"}


def measure(settings: Settings) -> Outcome:
    """A family of its subsets: their log-probabilities, and a draw among them."""
    outcome, count = Outcome(), 200_000 if settings.full else 40_000
    for row in TABLE:
        k, rng = int(row.split("= ")[1]), np.random.RandomState(1234)  # the notebooks' own generator
        theta = jnp.asarray(rng.randn(10), jnp.float32)
        target = jnp.asarray(np.abs(rng.randn(10)), jnp.float32)
        every = np.array(
            [[float(i in chosen) for i in range(10)] for chosen in itertools.combinations(range(10), k)], np.float32
        )
        subsets = jnp.asarray(every)
        log_prob = lambda theta, x, subsets=subsets: x @ theta - jax.nn.logsumexp(subsets @ theta)
        sampler = lambda key, theta, subsets=subsets: subsets[jax.random.categorical(key, subsets @ theta)]
        f = lambda x, target=target: jnp.sum((x - target) ** 2)
        exact = sf.family(log_prob=log_prob, support=subsets)
        drawn = sf.family(log_prob=log_prob, sampler=sampler)
        value, gradient = jax.value_and_grad(lambda t, f=f, family=exact: sf.exact(f, family, t, None))(theta)
        numbers = {"E f": (float(value), 5e-6), "norm of the gradient": (float(jnp.linalg.norm(gradient)), 1e-6)}

        def score(key: Any, b: float, f: Any = f, theta: Any = theta, family: Any = drawn) -> Any:
            return sf.score_function_grad(lambda x: f(x) - b, family, theta, key, num_samples=1, baseline=None)

        ways = {
            "score": lambda key: score(key, 0.0),
            "score - mean": lambda key, b=float(value): score(key, b),
            "leave-one-out pair": lambda key, f=f, theta=theta, family=drawn: sf.score_function_grad(
                f, family, theta, key, num_samples=2
            ),
        }
        numbers |= {name: variance_of(runs(way, settings.key("M", row, name), count)) for name, way in ways.items()}
        outcome.numbers[row] = numbers
    return outcome


PAPER = Paper(
    letter="M",
    title="Subsets of k among ten",
    source="Ahmed et al. 2023, notebooks",
    about="All subsets of one size as a given support: exact sums, and variances added up over the ten parameters.",
    measure=measure,
    wanted={row: dict(zip(COLUMNS, text.split(), strict=True)) for row, text in TABLE.items()},
    within={"": 1e-4},
    printed=("E f at k = 1 (11.2864)",),
    not_yet={"variance and bias of SIMPLE": "It comes with structured distributions."},
)
