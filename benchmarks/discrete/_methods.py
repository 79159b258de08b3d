"""The estimators that are compared on discrete draws, each with its options, what it costs, and what of it is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_scorefn as sf

BITS = sf.family(lambda logits: sf.Bernoulli(logits=logits))


@dataclasses.dataclass(frozen=True)
class Method:
    """A line in every figure.

    Attributes:
      label: what tables and figures call it.
      estimate: ``(f, logits, key, draws, tuning, has_aux) -> value`` of the expectation, to be differentiated.
      calls: calls of f for each draw.
      at_least: the fewest draws that it can do with.
      biased: whether its gradient is another one than what is wanted.
      start: ``number of bits -> tuning``; None where nothing is tuned.
      rate: of Adam, for the tuning.
      apart: whether f is differentiated at its draws alone in what f closes over: elsewhere that adds noise.
    """

    label: str
    estimate: Callable[..., Any]
    calls: int = 1
    at_least: int = 1
    biased: bool = False
    start: Callable[[int], Any] | None = None
    rate: float = 1e-2
    apart: bool = False

    def draws(self, calls: int) -> int:
        """How many draws so many calls of f allow, or the fewest that do."""
        return max(self.at_least, calls // self.calls)

    def spent(self, calls: int) -> int:
        """Calls of f of one gradient where so many are allowed."""
        return self.draws(calls) * self.calls

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """What trains the tuning."""
        return optax.adam(self.rate, eps=1e-12)  # a variance may be very small

    def begin(self, size: int) -> tuple[Any, Any]:
        """Tuning for so many bits, and the optimizer's state."""
        tuning = () if self.start is None else self.start(size)
        return tuning, self.optimizer.init(tuning)

    def tuned(self, grads: Callable[[Any], Any], tuned: tuple[Any, Any], has_aux: bool = False) -> tuple[Any, ...]:
        """``grads(tuning)`` and the tuning after one step down the slope of its variance."""
        tuning, state = tuned
        if self.start is None:
            return grads(tuning), tuned
        told = sf.tuned_grad(grads, tuning, has_aux=has_aux)
        updates, state = self.optimizer.update(told[1], state)
        return (told[0], told[2]) if has_aux else told[0], (optax.apply_updates(tuning, updates), state)


def _plain(name: str, **options: Any) -> Callable[..., Any]:
    def estimate(f: Any, logits: Any, key: Any, draws: int, tuning: Any, has_aux: bool = False) -> Any:
        del tuning
        return sf.ESTIMATORS[name].function(f, BITS, logits, key, num_samples=draws, has_aux=has_aux, **options)

    return estimate


def _tuned(name: str, option: str = "tuning", **options: Any) -> Callable[..., Any]:
    def estimate(f: Any, logits: Any, key: Any, draws: int, tuning: Any, has_aux: bool = False) -> Any:
        given = {option: tuning} | options
        return sf.ESTIMATORS[name].function(f, BITS, logits, key, num_samples=draws, has_aux=has_aux, **given)

    return estimate


UNITS = 32


def critic(tuning: Any, z: Any) -> Any:
    """A small network of the noisy logits."""
    (w, b), (v, c) = tuning
    return jnp.tanh(jnp.tanh(z / 2) @ w + b) @ v + c


def _critic(size: int) -> Any:
    w = jax.random.normal(jax.random.key(0), (size, UNITS)) / np.sqrt(size)
    return (w, jnp.zeros(UNITS)), (jnp.zeros(UNITS), jnp.zeros(()))


def _floats(tuning: Any) -> Callable[[int], Any]:
    return lambda size: jax.tree.map(jnp.float32, tuning)


METHODS: dict[str, Method] = {
    "score": Method("score function", _plain("score_function", baseline=None)),
    "loo": Method(
        "score, leave-one-out", _plain("score_function", baseline=sf.baselines.leave_one_out), at_least=2
    ),
    "disarm": Method("DisARM", _plain("disarm"), at_least=2),
    "arms": Method("ARMS, groups of 4", _plain("arms", group_size=4), at_least=4),
    "double-cv": Method(
        "double control variate", _tuned("double_control_variate", "coefficient"), at_least=2, start=_floats(1.0)
    ),
    "rodeo": Method("RODEO", _tuned("rodeo"), at_least=2, start=_floats(sf.RodeoTuning())),
    "rebar": Method("REBAR", _tuned("rebar"), calls=3, start=_floats(sf.RebarTuning()), apart=True),
    "relax": Method("RELAX, a small critic", _tuned("relax", critic=critic), at_least=1, start=_critic, rate=1e-3),
    "gumbel": Method("Gumbel-softmax", _plain("gumbel_softmax"), biased=True),
    "straight": Method("straight-through", _plain("straight_through"), biased=True),
    "gumbel-rao": Method("Gumbel-Rao", _plain("gumbel_rao"), biased=True),
    "reinmax": Method("ReinMax", _plain("reinmax"), biased=True),
}  # fmt: skip
VAE = {name: method for name, method in METHODS.items() if name != "score"}
"""Those that are worth a try in an autoencoder: without a baseline there is no learning to look at."""
