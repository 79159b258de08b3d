# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["stochastix==0.2.0"]
# ///
"""stochastix: exact trajectories of a birth-death chain, and `reinforce_loss` of its last number, as its guide has it."""

from __future__ import annotations

import importlib.metadata

import jax
import jax.numpy as jnp
import problems as p
import stochastix as stx
from in_jax import calls_of
from serve import serve
from stochastix.kinetics import MassAction
from stochastix.utils.optimization import reinforce_loss

SYSTEM = f"stochastix {importlib.metadata.version('stochastix')} reinforce_loss, jax {jax.__version__}"
MOST = 100
"""Events that are allowed for: the mean is 16."""


def network(rates):
    """Births at a rate, deaths at a rate a head."""
    return stx.ReactionNetwork([
        stx.Reaction("0 -> A", MassAction(rates[0]), name="birth"), stx.Reaction("A -> 0", MassAction(rates[1]), name="death"),
    ])  # fmt: skip


def births():
    """The mean over runs."""

    def one(rates, key):
        net = network(rates)
        still = network(jax.lax.stop_gradient(rates))
        found = stx.stochsimsolve(key, still, jnp.array([0.0]), T=p.TIME, solver=stx.DirectMethod(), max_steps=MOST)
        last = jax.lax.stop_gradient(found.x[-1, 0])
        return -reinforce_loss()(net, found, jnp.where(found.reactions >= 0, last, 0.0))

    loss = lambda rates, key: jnp.mean(jax.vmap(one, (None, 0))(rates, jax.random.split(key, p.RUNS)))
    return calls_of(loss, p.RATES)


if __name__ == "__main__":
    serve(SYSTEM, {"births": births}, {"births": "its likelihood leaves out that nothing happens after the last event"})
