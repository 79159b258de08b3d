"""L. Plackett-Luce (Gadetsky et al. 2020, toy experiment): a permutation matrix that should be nearly uniform.

loss ||P_b - T||_F^2, T = 1/d + eps on the diagonal and 1/d - eps/(d - 1) off it, eps = .05;   b ~ Plackett-Luce(logits)
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

EPS = 0.05
COLUMNS = ("E f", "norm of the gradient", "score", "score - mean", "leave-one-out pair")
TABLE = {
    "d = 4, zeros": "3.013333 .061531 17.434 .030288 .034074", "d = 8, zeros": "7.022857 .037523 260.5856 .067583 .068991",
    "d = 8, linspace(1, -1)": "6.942325 .060553 234.1977 .094112 .102257",
}  # fmt: skip
FIRST = {"entry 1": "-.014286", "entry 2": "-.011953", "entry 3": "-.009232"}


def log_prob(logits: Any, b: Any) -> Any:
    """Chosen one after the other, each among those that are left."""
    chosen = logits[b]
    left = jax.lax.cumlogsumexp(chosen, reverse=True)
    return jnp.sum(chosen - left)


def sampler(key: Any, logits: Any) -> Any:
    """Noisy logits, sorted."""
    return jnp.argsort(-(logits + jax.random.gumbel(key, logits.shape))).astype(jnp.int32)


def f(b: Any) -> Any:
    """The distance depends on how many stay in their place."""
    d = b.shape[0]
    on, off = 1 / d + EPS, 1 / d - EPS / (d - 1)
    fixed = jnp.sum(b == jnp.arange(d))
    return d + d * on**2 + d * (d - 1) * off**2 - 2 * (fixed * on + (d - fixed) * off)


def measure(settings: Settings) -> Outcome:
    """Exact over all permutations, and by draws."""
    outcome, count = Outcome(), 100_000 if settings.full else 20_000
    for row in TABLE:
        d = int(row.split("= ")[1][0])
        logits = jnp.zeros(d) if row.endswith("zeros") else jnp.linspace(1.0, -1.0, d)
        every = jnp.asarray(list(itertools.permutations(range(d))), jnp.int32)
        family = sf.family(log_prob=log_prob, support=every)
        value, gradient = jax.value_and_grad(lambda l, family=family: sf.exact(f, family, l, None))(logits)
        numbers = {
            "E f": (float(value), 2e-6 * float(value)),
            "norm of the gradient": (float(jnp.linalg.norm(gradient)), 1e-6),
        }
        drawn = sf.family(log_prob=log_prob, sampler=sampler)

        def score(key: Any, b: float, logits: Any = logits, family: Any = drawn) -> Any:
            return sf.score_function_grad(lambda x: f(x) - b, family, logits, key, num_samples=1, baseline=None)

        ways = {
            "score": lambda key: score(key, 0.0),
            "score - mean": lambda key, b=float(value): score(key, b),
            "leave-one-out pair": lambda key, logits=logits, family=drawn: sf.score_function_grad(
                f, family, logits, key, num_samples=2
            ),
        }
        numbers |= {name: variance_of(runs(way, settings.key("L", row, name), count)) for name, way in ways.items()}
        outcome.numbers[row] = numbers
        if row == "d = 8, zeros":
            outcome.numbers["gradient, d = 8, zeros"] = {
                f"entry {i + 1}": (float(np.asarray(gradient)[i]), 2e-7) for i in range(3)
            }
    return outcome


PAPER = Paper(
    letter="L",
    title="Permutations by Plackett-Luce",
    source="Gadetsky et al. 2020, toy experiment",
    about=(
        "A family that is a log-probability, a sampler and a list of all permutations: exact sums, and variances added up over "
        "the logits."
    ),
    measure=measure,
    wanted={
        **{row: dict(zip(COLUMNS, text.split(), strict=True)) for row, text in TABLE.items()},
        "gradient, d = 8, zeros": FIRST,
    },
    within={"": 2e-4},
    not_yet={"REBAR and RELAX of the paper's figure": "They come with structured distributions."},
)
