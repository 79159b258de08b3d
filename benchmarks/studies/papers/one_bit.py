"""C. One Bernoulli whose two values hardly differ (Tucker et al. 2017; Grathwohl et al. 2018; Dimitriev and Zhou 2021).

f(b) = (b - t)^2, b ~ Bernoulli(sigmoid(phi)), t in {.45, .49, .499}: variance of one call
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

import jax_scorefn as sf
from benchmarks.settings import Settings
from benchmarks.studies.papers._base import Outcome, Paper, runs, variance_of

BIT = sf.family(lambda logit: sf.Bernoulli(logits=logit))
COLUMNS = ("gradient", "score (1)", "score - mean (1)", "leave-one-out (2)", "ARM (2)", "DisARM (2)")
TABLE = {
    "p = .5, t = .45": ".025 .015939 0 6.25e-4 2.083e-4 0", "p = .5, t = .49": ".005 .015638 0 2.5e-5 8.333e-6 0",
    "p = .5, t = .499": "5e-4 .015625 0 2.5e-7 8.333e-8 0", "p = .1, t = .45": ".009 .0077001 5.76e-4 3.69e-4 3.2567e-4 3.24e-4",
    "p = .1, t = .49": ".0018 .0059954 2.304e-5 1.476e-5 1.3027e-5 1.296e-5",
    "p = .1, t = .499": "1.8e-4 .0056611 2.304e-7 1.476e-7 1.3027e-7 1.296e-7",
}  # fmt: skip


def measure(settings: Settings) -> Outcome:
    """Each column by its estimator, at the least number of draws."""
    outcome, count = Outcome(), 1_000_000 if settings.full else 200_000
    for row in TABLE:
        p, t = (float(part.split("= ")[1]) for part in row.split(", "))
        f = lambda b, t=t: (b - t) ** 2
        logit, mean = jnp.float32(np.log(p / (1 - p))), p * (1 - t) ** 2 + (1 - p) * t**2

        def score(key: Any, b: float, f: Any = f, logit: Any = logit) -> Any:
            return sf.score_function_grad(lambda x: f(x) - b, BIT, logit, key, num_samples=1, baseline=None)

        ways = {
            "score (1)": lambda key: score(key, 0.0),
            "score - mean (1)": lambda key, b=mean: score(key, b),
            "leave-one-out (2)": lambda key, f=f, at=logit: sf.score_function_grad(f, BIT, at, key, num_samples=2),
            "ARM (2)": lambda key, f=f, at=logit: sf.arm_grad(f, BIT, at, key, num_samples=2),
            "DisARM (2)": lambda key, f=f, at=logit: sf.disarm_grad(f, BIT, at, key, num_samples=2),
        }
        exact = float(sf.exact_grad(f, BIT, logit, None))
        numbers = {"gradient": (exact, 1e-8)}
        for name, way in ways.items():
            numbers[name] = variance_of(runs(way, settings.key("C", row, name), count, batch=50_000))
        outcome.numbers[row] = numbers
    return outcome


PAPER = Paper(
    letter="C",
    title="One bit",
    source="Tucker et al. 2017, Grathwohl et al. 2018, Dimitriev and Zhou 2021",
    about="f = (b − t)², b ~ Bernoulli(p): variance of one call in the logit; the number of evaluations of f in brackets.",
    measure=measure,
    wanted={row: dict(zip(COLUMNS, text.split(), strict=True)) for row, text in TABLE.items()},
    within={"": 2e-4},
)
