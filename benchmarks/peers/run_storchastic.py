"""Storchastic, run by an interpreter of its own: a choice is charged with the costs whose graph it is in, plate by plate.

python -m venv peer && peer/bin/pip install -r benchmarks/peers/torch.txt
peer/bin/python benchmarks/peers/run_storchastic.py
"""

from __future__ import annotations

import importlib.metadata

import problems as p
import storch
import torch
from torch.distributions import Bernoulli

SYSTEM = f"Storchastic {importlib.metadata.version('storchastic')}, ScoreFunction"


def chooser(runs):
    """A function that makes a choice: the first one draws ``runs`` values, those that follow one for each."""
    made = []

    def choose(logits):
        first = not made
        method = storch.method.ScoreFunction("runs" if first else f"z{len(made)}", n_samples=runs if first else 1)
        made.append(method)
        return method(Bernoulli(logits=logits))

    return choose


def layers(weights, choose):
    z = torch.ones(p.WIDTH)
    for k in range(p.DEPTH):
        z = choose(torch.tanh(z @ weights[k]))
        storch.add_cost(torch.sum(torch.as_tensor(p.LAYER_COSTS) * (z - 0.499) ** 2, -1), f"c{k}")


def plate(logits, choose):
    storch.add_cost((choose(torch.zeros(())) + 0.499) ** 2, "c0")
    logits = storch.denote_independent(logits, 0, "pairs")
    weights = storch.denote_independent(torch.as_tensor(p.PLATE_WEIGHTS), 0, "pairs")
    a = choose(logits)
    b = choose(logits + a - 0.5)
    storch.add_cost((weights * a + b - 0.499) ** 2, "c1")


def rollout(policy, choose):
    x, v = (torch.tensor(s) for s in p.START)
    for t in range(p.STEPS):
        action = choose(policy[0] * x + policy[1] * v + policy[2])
        x, v, reward = p.environment(x, v, action, torch.sin)
        storch.add_cost(reward, f"r{t}")


def gradient(program, params, runs):
    """The gradient of the mean cost over so many runs."""
    params.grad = None
    program(params, chooser(runs))
    storch.backward()
    return params.grad.numpy().reshape(-1).copy()


def main() -> None:
    torch.manual_seed(0)
    programs = {"layers": (layers, p.LAYERS), "plate": (plate, p.PLATE_LOGITS), "rollout": (rollout, p.POLICY)}
    for name, (program, params) in programs.items():
        params = torch.tensor(params, requires_grad=True)
        gradients = p.one_by_one(lambda program=program, params=params: gradient(program, params, 1), 4000)
        p.say(
            SYSTEM, name, **p.moments(gradients), microseconds=p.microseconds(lambda: gradient(program, params, p.RUNS))
        )


if __name__ == "__main__":
    main()
