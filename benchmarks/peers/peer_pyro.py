# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["pyro-ppl==1.9.2", "torch==2.13.0", "numpy"]
# ///
"""Pyro's TraceGraph_ELBO: a choice is charged with the factors that its provenance reaches.

An expected cost is written as an ELBO: the guide makes the choices, the model makes the same choices with stopped parameters
(log p - log q is 0, and so is its gradient in expectation) and pays each cost as a factor of -cost.
"""

from __future__ import annotations

import importlib.metadata

import problems as p
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceGraph_ELBO
from serve import serve

SYSTEM = f"Pyro {importlib.metadata.version('pyro-ppl')} TraceGraph_ELBO, torch {torch.__version__.split('+')[0]}"


def layers(weights, pay):
    z = torch.ones(p.WIDTH)
    for k in range(p.DEPTH):
        z = pyro.sample(f"z{k}", dist.Bernoulli(logits=torch.tanh(z @ weights[k])).to_event(1))
        pay(f"c{k}", torch.sum(torch.as_tensor(p.LAYER_COSTS) * (z - 0.499) ** 2, -1))


def plate(logits, pay):
    root = pyro.sample("root", dist.Bernoulli(logits=torch.zeros(())))
    pay("c0", (root + 0.499) ** 2)
    with pyro.plate("pairs", p.PLATE, dim=-1):
        a = pyro.sample("a", dist.Bernoulli(logits=logits))
        b = pyro.sample("b", dist.Bernoulli(logits=logits + a - 0.5))
        pay("c1", (torch.as_tensor(p.PLATE_WEIGHTS) * a + b - 0.499) ** 2 / p.PLATE)


def rollout(policy, pay):
    x, v = (torch.tensor(s) for s in p.START)
    for t in range(p.STEPS):
        action = pyro.sample(f"a{t}", dist.Bernoulli(logits=policy[0] * x + policy[1] * v + policy[2]))
        x, v, reward = p.environment(x, v, action, torch.sin)
        pay(f"r{t}", reward)


def gradient(program, params, nesting):
    """The gradient of the mean cost over the particles."""
    params = torch.tensor(params, requires_grad=True)
    loss = TraceGraph_ELBO(num_particles=p.RUNS, vectorize_particles=True, max_plate_nesting=nesting)

    def call():
        params.grad = None
        loss.loss_and_grads(
            lambda: program(params.detach(), lambda name, cost: pyro.factor(name, -cost)),
            lambda: program(params, lambda name, cost: None),
        )
        return [params.grad]

    return call


if __name__ == "__main__":
    pyro.set_rng_seed(1)
    programs = {"layers": (layers, 0), "plate": (plate, 1), "rollout": (rollout, 0)}
    serve(SYSTEM, {name: lambda f=f, at=p.PROGRAMS[name], n=n: gradient(f, at, n) for name, (f, n) in programs.items()})
