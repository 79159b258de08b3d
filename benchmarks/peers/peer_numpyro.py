# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["numpyro==0.22.0", "jax<0.11"]
# ///
"""NumPyro's TraceGraph_ELBO: a choice is charged with the factors whose provenance it is in.

An expected cost is written as an ELBO: the guide makes the choices, the model makes them with stopped parameters and pays each
cost as a factor of -cost.
"""

from __future__ import annotations

import importlib.metadata

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import problems as p
from in_jax import calls_of
from numpyro.infer import TraceGraph_ELBO
from serve import serve

SYSTEM = f"NumPyro {importlib.metadata.version('numpyro')} TraceGraph_ELBO, jax {jax.__version__}"


def layers(weights, pay):
    z = jnp.ones(p.WIDTH)
    for k in range(p.DEPTH):
        z = numpyro.sample(f"z{k}", dist.Bernoulli(logits=jnp.tanh(z @ weights[k])).to_event(1)).astype(float)
        pay(f"c{k}", jnp.sum(p.LAYER_COSTS * (z - 0.499) ** 2))


def plate(logits, pay):
    root = numpyro.sample("root", dist.Bernoulli(logits=jnp.zeros(())))
    pay("c0", (root + 0.499) ** 2)
    with numpyro.plate("pairs", p.PLATE):
        a = numpyro.sample("a", dist.Bernoulli(logits=logits))
        b = numpyro.sample("b", dist.Bernoulli(logits=logits + a - 0.5))
        pay("c1", (p.PLATE_WEIGHTS * a + b - 0.499) ** 2 / p.PLATE)


def rollout(policy, pay):
    x, v = p.START
    for t in range(p.STEPS):
        action = numpyro.sample(f"a{t}", dist.Bernoulli(logits=policy[0] * x + policy[1] * v + policy[2]))
        x, v, reward = p.environment(x, v, action, jnp.sin)
        pay(f"r{t}", reward)


NOTES = {"plate": "at a logit of exactly 0 its Bernoulli's log-probability has the derivative x, not x - 1/2"}


def gradient(program, params):
    """The gradient of the mean cost over the particles."""
    elbo = TraceGraph_ELBO(num_particles=p.RUNS)
    stopped = lambda q: program(jax.lax.stop_gradient(q), lambda name, cost: numpyro.factor(name, -cost))
    loss = lambda q, key: elbo.loss(key, {}, lambda: stopped(q), lambda: program(q, lambda name, cost: None))
    return calls_of(loss, params)


if __name__ == "__main__":
    programs = {"layers": layers, "plate": plate, "rollout": rollout}
    serve(SYSTEM, {name: lambda f=f, at=p.PROGRAMS[name]: gradient(f, at) for name, f in programs.items()}, NOTES)
