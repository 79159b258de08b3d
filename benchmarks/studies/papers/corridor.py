"""G. The short corridor with switched actions (Sutton and Barto, Example 13.1, Figures 13.1 and 13.2).

three states that look alike, "right" with probability p in all of them, a step costs 1:   J(p) = 2 (p - 2) / (p (1 - p))
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg
from benchmarks.report import figures
from benchmarks.settings import Settings
from benchmarks.studies.control._corridor import corridor
from benchmarks.studies.papers._base import Outcome, Paper, mean_of, runs

PLACES = {"p = .58579": ("0.585786437627", "-11.6569"), "p = .05": ("0.05", "-82.11"), "p = .95": ("0.95", "-44.21")}
LENGTH = 300
"""Steps after which an episode is cut: at p = 1/2 one in 10^9 is longer."""


def table(logit: Any) -> Any:
    """One probability of "right" in every state."""
    return jnp.broadcast_to(jnp.stack([jnp.zeros(()), logit]), (4, 2))


def measure(settings: Settings) -> Outcome:
    """Exact returns, and gradients at p = 1/2 by each way beside the exact one."""
    process, outcome, count = sf.testing.short_corridor(), Outcome(), 40_000 if settings.full else 10_000
    for row, (p, _) in PLACES.items():
        logit = jnp.log(float(p) / (1 - float(p)))
        outcome.numbers[row] = {"J": (float(process.expected_return(table(logit))), 2e-4 * abs(float(PLACES[row][1])))}
    exact = float(jax.grad(lambda logit: process.expected_return(table(logit)))(0.0))

    def gradient(key: Any, way: str) -> Any:
        steps = process.sample(table(0.0), key, LENGTH)
        ends = {"terminated": steps.terminated, "mask": steps.mask}
        log_probs = lambda logit: jax.nn.log_softmax(table(logit)[0])[steps.actions]
        losses = {
            "REINFORCE": lambda logit: pg.reinforce(log_probs(logit), steps.r_t, **ends).sum,
            "reward-to-go": lambda logit: pg.reward_to_go(log_probs(logit), steps.r_t, **ends).sum,
            "reward-to-go, baseline -12": lambda logit: (
                pg.reward_to_go(log_probs(logit), steps.r_t, baseline_t=-12.0, **ends).sum
            ),
        }
        return -jax.grad(losses[way])(0.0)

    for way in ("REINFORCE", "reward-to-go", "reward-to-go, baseline -12"):
        found = runs(lambda key, way=way: gradient(key, way), settings.key("G", way), count, batch=1000)
        middle, error = mean_of(found)
        outcome.claim(
            f"{way}: the mean gradient at p = 1/2 ({middle:.2f} ± {error:.2f}) is the exact one ({exact:.3f})",
            abs(middle - exact) < 4.5 * error,
        )
    learned = corridor(episodes=1000, runs=100 if settings.full else 30, length=400 if settings.full else 300)["found"]
    outcome.curves = {name: learned[name] for name in ("curves", "errors", "episodes", "best")}
    last = learned["last"]
    outcome.claim("REINFORCE learns: over the last 50 episodes it is above -14", last["REINFORCE"] > -14)
    outcome.claim("with a baseline it is nearer to the best at the end", last["with a baseline"] > last["REINFORCE"])
    return outcome


def paint(outcome: Outcome, theme: figures.Theme) -> Any:
    """Expected return against episodes."""
    from benchmarks.studies.control import _figures

    return _figures.corridor(outcome.curves, theme)


PAPER = Paper(
    letter="G",
    title="The short corridor",
    source="Sutton and Barto 2018, Example 13.1, Figures 13.1 and 13.2",
    about=(
        "Three states that look alike, the actions of the middle one switched: the best policy is random. The step sizes of the "
        "curves are ours (the paper's could not be checked), so of these the order counts."
    ),
    measure=measure,
    wanted={row: {"J": text} for row, (_, text) in PLACES.items()},
    figure=paint,
)
