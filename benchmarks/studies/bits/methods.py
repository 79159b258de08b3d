"""The estimators that are compared on bits, each with its options, what it costs, and what of it is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn as sf
from benchmarks.method import Method, Tuning

BITS = sf.family(lambda logits: sf.Bernoulli(logits=logits))
UNITS = 32


def critic(tuning: Any, z: Any) -> Any:
    """A small network of the noisy logits."""
    (w, b), (v, c) = tuning
    return jnp.tanh(jnp.tanh(z / 2) @ w + b) @ v + c


def _critic(size: int) -> Any:
    w = jax.random.normal(jax.random.key(0), (size, UNITS)) / np.sqrt(size)
    return (w, jnp.zeros(UNITS)), (jnp.zeros(UNITS), jnp.zeros(()))


def floats(tuning: Any) -> Callable[[int], Any]:
    """The same start for every size."""
    return lambda size: jax.tree.map(jnp.float32, tuning)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("score", "score function", "score_function", {"baseline": None}),
        Method("loo", "score, leave-one-out", "score_function", {"baseline": sf.baselines.leave_one_out}, at_least=2),
        Method("disarm", "DisARM", "disarm", at_least=2),
        Method("arms", "ARMS, groups of 4", "arms", {"group_size": 4}, at_least=4),
        Method(
            "double-cv",
            "double control variate",
            "double_control_variate",
            at_least=2,
            tuning=Tuning("coefficient", floats(1.0)),
        ),
        Method("rodeo", "RODEO", "rodeo", at_least=2, tuning=Tuning("tuning", floats(sf.RodeoTuning()))),
        Method("rebar", "REBAR", "rebar", calls=3, apart=True, tuning=Tuning("tuning", floats(sf.RebarTuning()))),
        Method("relax", "RELAX, a small critic", "relax", {"critic": critic}, tuning=Tuning("tuning", _critic, 1e-3)),
        Method("gumbel", "Gumbel-softmax", "gumbel_softmax"),
        Method("straight", "straight-through", "straight_through"),
        Method("gumbel-rao", "Gumbel-Rao", "gumbel_rao"),
        Method("reinmax", "ReinMax", "reinmax"),
    )
}
VAE = {name: method for name, method in METHODS.items() if name != "score"}
"""Those that are worth a try in an autoencoder: without a baseline there is no learning to look at."""
