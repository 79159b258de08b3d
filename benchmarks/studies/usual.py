"""Code that people write for these gradients, and how far its mean is from the exact one. Every outcome is summed for that.

Each is a few lines that run without a complaint; beside it the same gradient by this library.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient

import jax_scorefn as sf
from benchmarks import timing
from benchmarks.peers.serve import of_rows
from benchmarks.settings import Settings
from benchmarks.shown import Cell, Column, Finding, Section, Table, num
from benchmarks.study import Record, Records, Study, Task
from benchmarks.words import plural

WRONG = 5.0
"""Standard errors from the exact gradient."""
LOGITS, REWARDS = jnp.array([0.3, -0.2, 0.1, 0.0]), jnp.array([1.0, 0.0, 3.0, -1.0])
OTHERS = jax.nn.log_softmax(jnp.array([0.0, 0.5, -0.5, 0.2]))
CHOICE = sf.family(lambda logits: sf.Categorical(logits=logits))
DRAWS = 4


@dataclasses.dataclass(frozen=True)
class Habit:
    """What is written, what is wanted, and the same by the library.

    Attributes:
      what: in words.
      why: it is not right, or is.
      usual: ``(params, key) -> gradient``.
      exact: ``params -> expectation``.
      ours: ``(params, key) -> gradient``.
      order: of the derivative that is wanted.
    """

    what: str
    why: str
    usual: Callable[[Any, Any], Any]
    exact: Callable[[Any], Any]
    ours: Callable[[Any, Any], Any]
    params: Any = dataclasses.field(default_factory=lambda: LOGITS)
    order: int = 1


def f(x: Any) -> Any:
    """The reward of a choice."""
    return REWARDS[x]


def expected(logits: Any) -> Any:
    """Of the reward."""
    return jax.nn.softmax(logits) @ REWARDS


def _drawn(logits: Any, key: Any, count: int = DRAWS) -> Any:
    return jax.random.categorical(key, stop_gradient(logits), shape=(count,))


def _surrogate(weigh: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """The gradient of mean weight log p, with weights made of the rewards of all draws."""

    def gradient(logits: Any, key: Any) -> Any:
        def loss(logits: Any) -> Any:
            x = _drawn(logits, key)
            return jnp.mean(stop_gradient(weigh(f(x))) * jax.nn.log_softmax(logits)[x])

        return jax.grad(loss)(logits)

    return gradient


def _score(logits: Any, key: Any) -> Any:
    return sf.score_function_grad(f, CHOICE, logits, key, num_samples=DRAWS)


def _of_loss(loss: Callable[[Any, Any], Any], order: int = 1) -> Callable[[Any, Any], Any]:
    gradient = jax.grad(loss)
    return gradient if order == 1 else jax.grad(gradient)


def _plain(logit: Any, key: Any) -> Any:
    x = jax.random.bernoulli(key, jax.nn.sigmoid(stop_gradient(logit))).astype(float)
    return (1 + 2 * x) * sf.Bernoulli(logits=logit).log_prob(x)


def _straight(logits: Any, key: Any) -> Any:
    probs = jax.nn.softmax(logits)
    hard = jax.nn.one_hot(_drawn(logits, key, 1)[0], 4)
    return (probs + stop_gradient(hard - probs)) ** 2 @ REWARDS


def _relaxed(logits: Any, key: Any) -> Any:
    return jax.nn.softmax(logits + jax.random.gumbel(key, logits.shape)) ** 2 @ REWARDS


def _kl_loss(logits: Any, key: Any) -> Any:
    x = _drawn(logits, key)
    return jnp.mean(jax.nn.log_softmax(logits)[x] - OTHERS[x])


def _kl(logits: Any) -> Any:
    log_probs = jax.nn.log_softmax(logits)
    return jnp.exp(log_probs) @ (log_probs - OTHERS)


def _kl_ours(logits: Any, key: Any) -> Any:
    return sf.score_function_grad(
        lambda x: jax.nn.log_softmax(logits)[x] - OTHERS[x], CHOICE, logits, key, num_samples=DRAWS
    )


def _through_params(logits: Any, key: Any) -> Any:
    x = _drawn(logits, key)
    values = f(x) * jnp.sum(logits**2)
    return jnp.mean(stop_gradient(values) * jax.nn.log_softmax(logits)[x])


HABITS = {
    "plain": Habit(
        "f log p, the textbook's line", "It is right.", _surrogate(lambda r: r), expected, _score
    ),
    "leave-one-out": Habit(
        "(f - mean of the others) log p", "It is right.",
        _surrogate(lambda r: r - (jnp.sum(r) - r) / (DRAWS - 1)), expected, _score,
    ),
    "batch mean": Habit(
        "(f - mean) log p", "The mean holds the draw itself: 1 - 1/n of the gradient.",
        _surrogate(lambda r: r - jnp.mean(r)), expected, _score,
    ),
    "standardised": Habit(
        "(f - mean) / deviation, as GRPO has it", "Another weight for each batch: the gradient of another objective.",
        _surrogate(lambda r: (r - jnp.mean(r)) / (jnp.std(r) + 1e-4)), expected, _score,
    ),
    "twice": Habit(
        "f log p, differentiated twice", "The surrogate is right once; the second derivative lacks a term.",
        _of_loss(_plain, 2), lambda logit: 1 + 2 * jax.nn.sigmoid(logit),
        lambda logit, key: _of_loss(lambda at, k: sf.score_function(
            lambda x: 1 + 2 * x, sf.family(lambda q: sf.Bernoulli(logits=q)), at, k, num_samples=DRAWS), 2)(logit, key),
        jnp.float32(1.0), 2,
    ),
    "through the sampler": Habit(
        "jax.grad through jax.random.categorical", "A draw has no derivative: 0.",
        _of_loss(lambda logits, key: jnp.mean(f(jax.random.categorical(key, logits, shape=(DRAWS,))))), expected,
        lambda logits, key: jax.grad(sf.expectation(
            lambda at, key: f(sf.random.categorical(key, at)), num_samples=DRAWS))(logits, key),
    ),
    "straight-through": Habit(
        "straight-through, f a square of the one-hot draw", "The slope of f between the draws is not what a draw changes.",
        _of_loss(_straight), expected, _score,
    ),
    "relaxed": Habit(
        "Gumbel-softmax with temperature 1", "It is the gradient of a relaxed objective.", _of_loss(_relaxed), expected, _score,
    ),
    "step": Habit(
        "the reparameterised gradient of a step", "A step has slope 0 wherever it has one.",
        _of_loss(lambda m, key: jnp.mean((m + jax.random.normal(key, (DRAWS,)) > 0).astype(float))),
        lambda m: jax.scipy.stats.norm.cdf(m),
        lambda m, key: sf.score_function_grad(
            lambda x: (x > 0).astype(float), sf.family(lambda at: sf.Normal(loc=at, scale=1.0)), m, key, num_samples=DRAWS),
        jnp.float32(0.3),
    ),
    "penalty": Habit(
        "log p - log q of the draws as a penalty in the loss", "Its gradient has mean 0: the divergence is not penalised.",
        _of_loss(_kl_loss), _kl, _kl_ours,
    ),
    "cost of the parameters": Habit(
        "stop_gradient(f) log p where f holds the parameters too", "The derivative of f itself is lost.",
        _of_loss(_through_params), lambda logits: expected(logits) * jnp.sum(logits**2),
        lambda logits, key: jax.grad(lambda at: sf.score_function(
            lambda x: f(x) * jnp.sum(at**2), CHOICE, at, key, num_samples=DRAWS))(logits),
    ),
}  # fmt: skip


def measure(name: str, settings: Settings) -> Record:
    """Moments of both."""
    habit, count = HABITS[name], 100_000 if settings.full else 20_000
    exact = jax.grad(habit.exact) if habit.order == 1 else jax.grad(jax.grad(habit.exact))
    found: dict[str, Any] = {"exact": np.asarray(exact(habit.params), float).reshape(-1).tolist()}

    def moments(side: str, gradient: Callable[[Any, Any], Any]) -> dict[str, Any]:
        of = lambda key: gradient(habit.params, key)
        rows = sf.testing.replicate(of, settings.key("usual", name, side), count, batch=5000)
        return of_rows(np.asarray(rows, float).reshape(count, -1))

    both = timing.side_by_side(lambda: moments("usual", habit.usual), lambda: moments("ours", habit.ours))
    found |= dict(zip(("usual", "ours"), both, strict=True))
    return {"found": found, "times": {}}


def off(row: dict[str, Any], side: str) -> float:
    """Standard errors from the exact gradient, the largest of the entries."""
    error = np.hypot(np.asarray(row[side]["standard_error"]), 1e-6)
    return float(np.max(np.abs(np.asarray(row[side]["mean"]) - np.asarray(row["exact"])) / error))


def tasks(settings: Settings) -> list[Task]:
    """One for each habit."""
    return [Task(name, lambda name=name: measure(name, settings), {"habit": name}) for name in HABITS]


def sections(records: Records, settings: Settings) -> list[Section]:
    """A table."""
    del settings
    rows = {name: records[name] for name in HABITS if name in records}
    wrong = [name for name, row in rows.items() if off(row, "usual") > WRONG]
    ours = max(off(row, "ours") for row in rows.values())
    text = (
        f"Of {plural(len(rows), 'way')} in which people write such a gradient, each in a few lines that run without a complaint, "
        f"{len(wrong)} have a mean that is not the exact gradient. Ours is at most {ours:.1f} standard errors away."
    )
    finding = Finding(f"{len(wrong)} of {len(rows)}", "ways to write it are wrong", text, alarm=ours > WRONG, first=5)
    about = "Distance of the mean from the exact gradient, in standard errors."
    columns = (
        Column("what is written", words=True), Column("z|usual", about, best=True), Column("z|ours"), Column("mean"),
        Column("exact", "The entry in which the two are furthest apart."), Column("why", words=True),
    )  # fmt: skip
    cells = []
    for name, row in rows.items():
        gaps = np.abs(np.asarray(row["usual"]["mean"]) - np.asarray(row["exact"]))
        i, z = int(np.argmax(gaps)), off(row, "usual")
        cells.append((
            Cell(HABITS[name].what), num(z, 2, mark="biased" if z > WRONG else ""), num(off(row, "ours"), 2),
            num(row["usual"]["mean"][i], error=row["usual"]["standard_error"][i]), num(row["exact"][i]), Cell(HABITS[name].why),
        ))  # fmt: skip
    return [
        Section(
            "all",
            "Ways to write it",
            [str(__doc__).partition("\n\n")[2], finding, Table("usual", "Usual code", columns, cells)],
        )
    ]


STUDY = Study(
    name="usual",
    title="Usual code",
    about="What people write for these gradients, beside the exact ones",
    tasks=tasks,
    sections=sections,
    axes={"habit": {name: habit.what for name, habit in HABITS.items()}},
    mode="quick",
)
