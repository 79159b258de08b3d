"""I. VarGrad (Richter et al. 2020): the log-variance loss has the leave-one-out score gradient.

logistic regression, 2 features and a constant, 100 points, mean-field normal (6 parameters), trained on the log-variance loss with 5
draws, SGD 1e-3; variance of estimators with 4 draws on the way
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn as sf
from benchmarks.report import figures
from benchmarks.settings import Settings
from benchmarks.studies.papers._base import Outcome, Paper, runs, variance_of

POINTS, DRAWS, STEPS = 100, 4, 100
NORMAL = sf.family(lambda p: sf.Normal(loc=p["mean"], scale=jnp.exp(p["log_scale"])))
LOOKS = (0, 20, 50, 99)


def data() -> tuple[Any, Any]:
    """Two features and a constant, labels of a logistic model."""
    rng = np.random.default_rng(82)
    features = np.concatenate([rng.normal(size=(POINTS, 2)), np.ones((POINTS, 1))], axis=1)
    labels = (rng.random(POINTS) < 1 / (1 + np.exp(-features @ np.array([2.0, -1.0, 0.5])))).astype(float)
    return jnp.asarray(features, float), jnp.asarray(2 * labels - 1, float)


FEATURES, SIGNS = data()


def log_joint(w: Any) -> Any:
    """Likelihood and a standard normal prior."""
    return jnp.sum(jax.nn.log_sigmoid(SIGNS * (FEATURES @ w))) - 0.5 * jnp.sum(w**2) - 1.5 * np.log(2 * np.pi)


def cost(params: Any) -> Any:
    """Log q - log p of a draw, whose expectation is the divergence; the parameters are not differentiated here."""
    q = NORMAL.at(jax.lax.stop_gradient(params))
    return lambda w: jnp.sum(q.log_prob(w)) - log_joint(w)


def measure(settings: Settings) -> Outcome:
    """Variances on the way, and the identity draw by draw."""
    outcome, count = Outcome(), 20_000 if settings.full else 4000
    start = {"mean": jnp.zeros(3), "log_scale": jnp.zeros(3)}
    vargrad = lambda p, key, draws: sf.vargrad_grad(cost(p), NORMAL, p, key, num_samples=draws)
    one_out = lambda p, key, draws: sf.score_function_grad(cost(p), NORMAL, p, key, num_samples=draws)

    def step(p: Any, key: Any) -> Any:
        return jax.tree.map(lambda x, g: x - 1e-3 * g, p, vargrad(p, key, 5)), p

    _, path = jax.jit(lambda p, keys: jax.lax.scan(step, p, keys))(
        start, jax.random.split(settings.key("I", "train"), STEPS)
    )
    apart = []
    for look in LOOKS:
        p = jax.tree.map(lambda rows, i=look: rows[i], path)
        f = cost(p)
        values, scores = jax.jit(jax.vmap(lambda key, p=p, f=f: _with_score(p, f, key)))(
            jax.random.split(settings.key("I", "oracle"), 20_000)
        )
        best = jax.tree.map(
            lambda s, v=values: jnp.mean(v.reshape(-1, 1) * s**2, axis=0) / jnp.mean(s**2, axis=0), scores
        )
        mean = lambda of: (
            lambda key: jax.tree.map(lambda x: jnp.mean(x, axis=0), jax.vmap(of)(jax.random.split(key, DRAWS)))
        )

        def oracle(key: Any, p: Any = p, f: Any = f, best: Any = best) -> Any:
            value, score = _with_score(p, f, key)
            return jax.tree.map(lambda s, b: (value - b) * s, score, best)

        ways = {
            "REINFORCE": lambda key, p=p, f=f: sf.score_function_grad(
                f, NORMAL, p, key, num_samples=DRAWS, baseline=None
            ),
            "oracle control variate": mean(oracle),
            "VarGrad": lambda key, p=p: vargrad(p, key, DRAWS),
            "leave-one-out": lambda key, p=p: one_out(p, key, DRAWS),
        }
        rows = {
            name: np.concatenate(
                [np.asarray(x) for x in jax.tree.leaves(runs(way, settings.key("I", str(look)), count))], axis=1
            )
            for name, way in ways.items()
        }
        outcome.numbers[f"step {look}"] = {name: variance_of(found) for name, found in rows.items()}
        apart.append(np.max(np.abs(rows["VarGrad"] - rows["leave-one-out"])) / np.max(np.abs(rows["VarGrad"])))
    numbers = outcome.numbers.values()
    outcome.claim(
        f"VarGrad is the leave-one-out score gradient, draw by draw: apart by {max(apart):.0e} of the largest",
        max(apart) < 1e-4,
    )
    outcome.claim(
        "VarGrad has less than a third of REINFORCE's variance at the start, and less than a twentieth at the end",
        outcome.numbers["step 0"]["VarGrad"][0] < outcome.numbers["step 0"]["REINFORCE"][0] / 3
        and outcome.numbers["step 99"]["VarGrad"][0] < outcome.numbers["step 99"]["REINFORCE"][0] / 20,
    )
    outcome.claim(
        "and at most twice that of the best constant for each parameter",
        all(row["VarGrad"][0] < 2 * row["oracle control variate"][0] for row in numbers),
    )
    return outcome


def _with_score(p: Any, f: Any, key: Any) -> Any:
    w = jax.lax.stop_gradient(NORMAL.at(p).sample(key))
    return f(w), jax.grad(lambda p: jnp.sum(NORMAL.at(p).log_prob(w)))(p)


def paint(outcome: Outcome, theme: figures.Theme) -> Any:
    """Variance against steps."""
    from matplotlib import pyplot as plt

    figure, ax = plt.subplots(figsize=(9.5, 3.6))
    steps = [int(row.removeprefix("step ")) for row in outcome.numbers]
    for place, column in enumerate(next(iter(outcome.numbers.values()))):
        ys = [row[column][0] for row in outcome.numbers.values()]
        ax.plot(
            steps,
            ys,
            figures.marker(place),
            ls=figures.DASHES[place % 4],
            color=figures.shade(place),
            lw=2,
            label=column,
        )
    figures.logarithmic(ax, plain=True)
    figures.curves(ax, theme, "steps")
    ax.margins(x=0.03)
    ax.set_ylabel("variance, summed")
    ax.legend()
    return figure


PAPER = Paper(
    letter="I",
    title="VarGrad",
    source="Richter et al. 2020",
    about=(
        "Logistic regression with two features; the data are made again, since the paper's generator is not published, so the "
        "order of the curves is what is checked, and the identity."
    ),
    measure=measure,
    figure=paint,
)
