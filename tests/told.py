"""Schemes that are told their uniforms, so that every outcome of an estimate can be summed: its exact mean, without sampling."""

import itertools

import jax
import numpy as np

from jax_scorefn.schemes import Scheme


def told(uniforms, group_size=1):
    """A scheme whose draw i is made of ``uniforms[i]``."""

    def make(source, key, num_draws):
        del key
        return lambda index: [source.take(uniforms, index)]

    return Scheme("told", lambda num_draws: group_size, make, "Given uniforms.")


def mean_over_bits(estimate, probs, num_draws):
    """Exact mean of ``estimate(scheme)`` over all outcomes of ``num_draws`` draws of independent bits with these probabilities."""
    probs = np.asarray(probs, float)
    bits = np.array(list(itertools.product([0, 1], repeat=num_draws * probs.size)), bool).reshape(
        -1, num_draws, *probs.shape
    )
    uniforms = np.where(bits, probs / 2, (1 + probs) / 2)
    weights = np.where(bits, probs, 1 - probs).reshape(len(bits), -1).prod(axis=1)
    return _weighted(jax.jit(jax.vmap(lambda u: estimate(told(u))))(uniforms), weights)


def mean_over_groups(estimate, group_of, num_cells, num_groups):
    """Exact mean where a group of draws is made of one uniform: all of ``num_cells`` cells of it in each group."""
    cells = (np.arange(num_cells) + 0.5) / num_cells
    groups = np.stack([group_of(u) for u in cells])  # (cells, group_size, ...)
    outcomes = np.array(list(itertools.product(range(num_cells), repeat=num_groups)))
    uniforms = groups[outcomes].reshape(len(outcomes), num_groups * groups.shape[1], *groups.shape[2:])
    weights = np.full(len(outcomes), 1 / len(outcomes))
    return _weighted(jax.jit(jax.vmap(lambda u: estimate(told(u, groups.shape[1]))))(uniforms), weights)


def _weighted(runs, weights):
    return jax.tree.map(lambda leaf: np.tensordot(weights, leaf, axes=1), jax.device_get(runs))
