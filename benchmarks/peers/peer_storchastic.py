# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["storchastic==0.3.7", "torch==2.13.0", "packaging", "numpy"]
# ///
"""Storchastic: its score function.

On the workloads with its leave-one-out baseline ("batch_average"), data in a plate of their own; in programs a choice is charged with
the costs whose graph it is in, plate by plate.

Networks and objectives are plain PyTorch, in one piece each, so that its bookkeeping is only where a draw is made and where a
cost is paid.
"""

from __future__ import annotations

import functools
import importlib.metadata

import problems as w
import storch
import torch
from peer_pytorch import apply, parameters
from serve import serve
from torch.distributions import Bernoulli, Categorical, Normal

SYSTEM = f"Storchastic {importlib.metadata.version('storchastic')}, ScoreFunction"


def of_draws(dist, cost, params, num_samples):
    """The leaves of the gradient of E[cost(x)], x from the distribution that is built anew for each gradient."""

    def call():
        for leaf in params:
            leaf.grad = None
        draw = storch.method.ScoreFunction("draws", n_samples=num_samples, baseline_factory="batch_average")
        storch.add_cost(storch.deterministic(cost)(draw(dist())), "cost")
        storch.backward()
        return [leaf.grad for leaf in params]

    return call


def gaussian(dim, num_samples):
    """W1."""
    mean, log_scale = parameters(torch.linspace(-1.0, 1.0, dim).numpy(), torch.zeros(dim).numpy())
    dist = lambda: Normal(mean, log_scale.exp(), validate_args=False)
    return of_draws(dist, lambda x: (x**2).sum(-1), [mean, log_scale], num_samples)


def bernoulli(dim, num_samples):
    """W2."""
    (logits,) = parameters(torch.linspace(-0.5, 0.5, dim).numpy())
    dist = lambda: Bernoulli(logits=logits, validate_args=False)
    return of_draws(dist, lambda x: ((x - w.TARGET) ** 2).mean(-1), [logits], num_samples)


def policy():
    """W3."""
    layers = parameters(*(layer[name] for layer in w.POLICY for name in "wb"))
    observations = torch.tensor(w.OBSERVATIONS)

    def dist():
        return Categorical(
            logits=storch.denote_independent(apply(layers, observations), 0, "data"), validate_args=False
        )

    def cost(actions):
        return torch.where(actions == (observations[:, 0] > 0), 1.0, -observations[:, 1])

    return of_draws(dist, cost, layers, w.POLICY_DRAWS)


def latents(num_samples):
    """W4."""
    layers = parameters(*(layer[name] for layer in w.ENCODER for name in "wb"))
    data, table, places = torch.tensor(w.DATA), torch.tensor(w.TABLE), torch.arange(w.LATENTS)

    def dist():
        logits = apply(layers, data).reshape(-1, w.LATENTS, w.CATEGORIES)
        return Categorical(logits=storch.denote_independent(logits, 0, "data"), validate_args=False)

    return of_draws(dist, lambda codes: (table[places, codes].sum(-1) - data[:, 0]) ** 2, layers, num_samples)


CALLS = {
    **{f"W1 D={d} S={s}": functools.partial(gaussian, d, s) for d, s in w.GAUSSIANS},
    **{f"W2 D={d} S={s}": functools.partial(bernoulli, d, s) for d, s in w.BERNOULLIS},
    f"W3 S={w.POLICY_DRAWS}": policy,
    **{f"W4 S={s}": functools.partial(latents, s) for s in w.LATENT_DRAWS},
}


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
    z = torch.ones(w.WIDTH)
    for k in range(w.DEPTH):
        z = choose(torch.tanh(z @ weights[k]))
        storch.add_cost(torch.sum(torch.as_tensor(w.LAYER_COSTS) * (z - 0.499) ** 2, -1), f"c{k}")


def plate(logits, choose):
    storch.add_cost((choose(torch.zeros(())) + 0.499) ** 2, "c0")
    logits = storch.denote_independent(logits, 0, "pairs")
    weights = storch.denote_independent(torch.as_tensor(w.PLATE_WEIGHTS), 0, "pairs")
    a = choose(logits)
    b = choose(logits + a - 0.5)
    storch.add_cost((weights * a + b - 0.499) ** 2, "c1")


def rollout(policy, choose):
    x, v = (torch.tensor(s) for s in w.START)
    for t in range(w.STEPS):
        action = choose(policy[0] * x + policy[1] * v + policy[2])
        x, v, reward = w.environment(x, v, action, torch.sin)
        storch.add_cost(reward, f"r{t}")


def of_runs(program, params):
    """The gradient of the mean cost over runs."""
    params = torch.tensor(params, requires_grad=True)

    def call():
        params.grad = None
        program(params, chooser(w.RUNS))
        storch.backward()
        return [params.grad]

    return call


PROGRAMS = {"layers": layers, "plate": plate, "rollout": rollout}

if __name__ == "__main__":
    torch.manual_seed(0)
    serve(SYSTEM, CALLS | {name: functools.partial(of_runs, f, w.PROGRAMS[name]) for name, f in PROGRAMS.items()})
