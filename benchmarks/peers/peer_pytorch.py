# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["torch==2.13.0", "numpy"]
# ///
"""PyTorch in eager mode: the same gradient as a person writes it for one problem, one batched draw and one backward pass."""

from __future__ import annotations

import functools

import problems as w
import torch
from serve import serve
from torch.distributions import Bernoulli, Categorical, Normal


def leave_one_out_loss(values, log_probs):
    """Mean over draws (leading axis) of (f - leave-one-out mean) log p."""
    baseline = (values.sum(0) - values) / (values.shape[0] - 1)
    return ((values - baseline).detach() * log_probs).mean()


def gradient(loss, params):
    """The leaves of the gradient of a loss."""

    def call():
        for leaf in params:
            leaf.grad = None
        loss().backward()
        return [leaf.grad for leaf in params]

    return call


def parameters(*arrays):
    """Tensors to differentiate in."""
    return [torch.tensor(array, requires_grad=True) for array in arrays]


def apply(layers, x):
    """The network at a batch; layers are weights and biases in turn."""
    for k in range(0, len(layers) - 2, 2):
        x = torch.tanh(x @ layers[k] + layers[k + 1])
    return x @ layers[-2] + layers[-1]


def gaussian(dim, num_samples):
    """W1."""
    mean, log_scale = parameters(torch.linspace(-1.0, 1.0, dim).numpy(), torch.zeros(dim).numpy())

    def loss():
        dist = Normal(mean, log_scale.exp(), validate_args=False)
        x = dist.sample((num_samples,))
        return leave_one_out_loss((x**2).sum(-1), dist.log_prob(x).sum(-1))

    return gradient(loss, [mean, log_scale])


def bernoulli(dim, num_samples):
    """W2."""
    (logits,) = parameters(torch.linspace(-0.5, 0.5, dim).numpy())

    def loss():
        dist = Bernoulli(logits=logits, validate_args=False)
        x = dist.sample((num_samples,))
        return leave_one_out_loss(((x - w.TARGET) ** 2).mean(-1), dist.log_prob(x).sum(-1))

    return gradient(loss, [logits])


def policy():
    """W3."""
    layers = parameters(*(layer[name] for layer in w.POLICY for name in "wb"))
    observations = torch.tensor(w.OBSERVATIONS)

    def loss():
        dist = Categorical(logits=apply(layers, observations), validate_args=False)
        actions = dist.sample((w.POLICY_DRAWS,))
        rewards = torch.where(actions == (observations[:, 0] > 0), 1.0, -observations[:, 1])
        return leave_one_out_loss(rewards, dist.log_prob(actions))

    return gradient(loss, layers)


def latents(num_samples):
    """W4."""
    layers = parameters(*(layer[name] for layer in w.ENCODER for name in "wb"))
    data, table, places = torch.tensor(w.DATA), torch.tensor(w.TABLE), torch.arange(w.LATENTS)

    def loss():
        dist = Categorical(logits=apply(layers, data).reshape(-1, w.LATENTS, w.CATEGORIES), validate_args=False)
        codes = dist.sample((num_samples,))
        costs = (table[places, codes].sum(-1) - data[:, 0]) ** 2
        return leave_one_out_loss(costs, dist.log_prob(codes).sum(-1))

    return gradient(loss, layers)


CALLS = {
    **{f"W1 D={d} S={s}": functools.partial(gaussian, d, s) for d, s in w.GAUSSIANS},
    **{f"W2 D={d} S={s}": functools.partial(bernoulli, d, s) for d, s in w.BERNOULLIS},
    f"W3 S={w.POLICY_DRAWS}": policy,
    **{f"W4 S={s}": functools.partial(latents, s) for s in w.LATENT_DRAWS},
}

if __name__ == "__main__":
    torch.manual_seed(0)
    serve(f"PyTorch {torch.__version__.split('+')[0]}", CALLS)
