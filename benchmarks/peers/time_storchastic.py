"""Storchastic: its score function with its leave-one-out baseline ("batch_average"), data in a plate of their own.

Networks and objectives are plain PyTorch, in one piece each, so that its bookkeeping is only where a draw is made and where a
cost is paid.

python -m venv peer && peer/bin/pip install -r benchmarks/peers/torch.txt
echo "W3 S=16
block" | peer/bin/python benchmarks/peers/time_storchastic.py
"""

from __future__ import annotations

import functools
import importlib.metadata

import storch
import torch
import workloads as w
from time_pytorch import apply, parameters
from torch.distributions import Bernoulli, Categorical, Normal


def gradient(dist, cost, params, num_samples):
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
    return gradient(dist, lambda x: (x**2).sum(-1), [mean, log_scale], num_samples)


def bernoulli(dim, num_samples):
    """W2."""
    (logits,) = parameters(torch.linspace(-0.5, 0.5, dim).numpy())
    dist = lambda: Bernoulli(logits=logits, validate_args=False)
    return gradient(dist, lambda x: ((x - w.TARGET) ** 2).mean(-1), [logits], num_samples)


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

    return gradient(dist, cost, layers, w.POLICY_DRAWS)


def latents(num_samples):
    """W4."""
    layers = parameters(*(layer[name] for layer in w.ENCODER for name in "wb"))
    data, table, places = torch.tensor(w.DATA), torch.tensor(w.TABLE), torch.arange(w.LATENTS)

    def dist():
        logits = apply(layers, data).reshape(-1, w.LATENTS, w.CATEGORIES)
        return Categorical(logits=storch.denote_independent(logits, 0, "data"), validate_args=False)

    return gradient(dist, lambda codes: (table[places, codes].sum(-1) - data[:, 0]) ** 2, layers, num_samples)


CALLS = {
    **{f"W1 D={d} S={s}": functools.partial(gaussian, d, s) for d, s in w.GAUSSIANS},
    **{f"W2 D={d} S={s}": functools.partial(bernoulli, d, s) for d, s in w.BERNOULLIS},
    f"W3 S={w.POLICY_DRAWS}": policy,
    **{f"W4 S={s}": functools.partial(latents, s) for s in w.LATENT_DRAWS},
}

if __name__ == "__main__":
    torch.manual_seed(0)
    w.serve(f"Storchastic {importlib.metadata.version('storchastic')}", CALLS)
