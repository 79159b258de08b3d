"""The table of problems. A new one is a ``Problem`` in a file of its own, and a line here."""

from benchmarks.studies.estimators.problems import bandit, bernoulli, coupled, gaussian, logistic, smooth, tail
from benchmarks.studies.estimators.problems._base import (
    Curve as Curve,
    Problem as Problem,
    Reference as Reference,
    Setup as Setup,
)

PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        gaussian.SQUARE,
        gaussian.BUMP,
        gaussian.WAVE,
        gaussian.WELL,
        bernoulli.ONE,
        smooth.SMOOTH,
        tail.TAIL,
        bernoulli.MANY,
        coupled.COUPLED,
        logistic.START,
        logistic.END,
        bandit.BANDIT,
    )
}
