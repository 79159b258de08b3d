"""A variational objective: q, eight independent bits, against a target that couples them.

    KL(q || target) + log Z = E_q[ log q(b) - sum_j h_j b_j - sum_{j<k} J_jk b_j b_k ]

f contains log q, whose own derivative has mean 0. All 256 states can be summed.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn as sf
from benchmarks.method import Estimate
from benchmarks.settings import Settings
from benchmarks.studies.estimators.problems._base import EPSILON, Problem, Reference, Setup

SIZE = 8
NUM_DRAWS = 8
_RANDOM = np.random.default_rng(0)
FIELD = _RANDOM.normal(size=SIZE).astype(np.float32)
COUPLING = np.triu(_RANDOM.normal(size=(SIZE, SIZE)), 1).astype(np.float32)
LOGITS = (0.5 * _RANDOM.normal(size=SIZE)).astype(np.float32)
BITS = sf.family(lambda logits: sf.Bernoulli(logits=logits))


def _energy(bits: Any) -> Any:
    return -(FIELD.astype(bits.dtype) @ bits) - bits @ (COUPLING.astype(bits.dtype) @ bits)


def _objective(estimate: Estimate, params: Any, key: jax.Array) -> jax.Array:
    def cost(bits: jax.Array) -> jax.Array:
        # written between the bits too: log q of a bit is linear in it
        log_q = jnp.sum(bits * jax.nn.log_sigmoid(params) + (1 - bits) * jax.nn.log_sigmoid(-params))
        return log_q + _energy(bits)

    return estimate(cost, BITS, params, key)


def _setup(settings: Settings) -> Setup:
    del settings
    with jax.enable_x64(True):
        states = (np.arange(2**SIZE)[:, None] >> np.arange(SIZE)) & 1
        wide = jnp.asarray(LOGITS.astype(np.float64))
        whole = sf.testing.enumerate_expectation(
            lambda bits, logits: BITS(logits, bits) + _energy(bits), BITS, states.astype(np.float64)
        )
        value, gradient = jax.value_and_grad(whole)(wide)
    reference = Reference(np.asarray(gradient), np.zeros(SIZE), 64 * EPSILON, "the sum over all 256 states in 64 bits")
    params = jnp.asarray(LOGITS)
    facts = {"KL + log Z": float(value)}
    return Setup(
        params, _objective, (BITS, params), lambda grad: grad, reference, num_points=2**SIZE, facts=facts
    )  # fmt: skip


COUPLED = Problem(
    name="coupled-bits",
    title="A variational objective on coupled bits",
    formula="∇η  E[ log q(b) − h·b − Σ J b b ],   bⱼ ~ q = Bernoulli(σ(ηⱼ)),   D = 8",
    about="Independent bits against a target that couples them, as in variational inference with discrete latents. f is a quadratic "
    "of the bits, so the expansion around their mean says nearly everything about it.",
    num_draws=NUM_DRAWS,
    replicates=(10_000, 100_000),
    batch=2_000,
    setup=_setup,
    full_only=("score-mean", "score-sobol", "score-best"),
)
