"""Losses of groups of answers against all groups of a small model: value and gradient, in numpy from the formulas."""

import functools
import math

import by_hand
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg

pytestmark = pytest.mark.usefixtures("x64")
MODEL = sf.testing.AnswerModel()
SIZE = 2


@functools.cache
def settings():
    """Parameters that learn: those that sampled, one update later and five, and those of a sampler that rounds."""
    with jax.enable_x64(True):
        first = MODEL.parameters(1)
        slope = jax.jit(jax.grad(MODEL.expected_reward))
        learned = [first]
        for _ in range(5):
            learned.append(jax.tree.map(lambda x, g: x + 1.5 * g, learned[-1], slope(learned[-1])))
        rounded = jax.tree.map(lambda x: jnp.round(x * 8) / 8, first)
        return {
            "on": (first, first),
            "one": (learned[1], first),
            "five": (learned[5], first),
            "other": (first, rounded),
        }


def returns_of(group):
    return jnp.sum(group.r_t, axis=1)


def old_of(params):
    table = MODEL.log_probs(params)
    return lambda group: table[group.prompt, group.answer]


def numbers(params):
    return {name: np.asarray(x) for name, x in params.items()}


def compare(loss, hand, learner, sampler, size=SIZE, rtol=1e-12):
    """``loss(group)`` of ours against ``hand(prompt, group, l)``, value and gradient."""
    value, gradient = jax.jit(lambda p, q: MODEL.expected(loss, p, group_size=size, sampled_by=q))(learner, sampler)
    wanted, wanted_gradient = by_hand.expected(hand, numbers(learner), size, sampled_by=numbers(sampler))
    np.testing.assert_allclose(value, wanted, rtol=rtol, atol=rtol)
    for name in gradient:
        np.testing.assert_allclose(gradient[name], wanted_gradient[name], rtol=rtol, atol=rtol)
    return gradient


def differs(loss, hand, learner, sampler):
    """Whether a twin of a loss is seen."""
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        compare(loss, hand, learner, sampler)


def test_every_answer_is_listed_and_every_group_counted():
    assert len(MODEL.tokens) == 31 == len(by_hand.answers())
    assert [tuple(row[m]) for row, m in zip(MODEL.tokens, MODEL.mask, strict=True)] == by_hand.answers()
    for size, count in ((3, 5456), (4, 46376)):
        members, orders = MODEL.groups(size)
        assert len(members) == count and orders.sum() == 31**size
    members, orders = MODEL.groups(3)
    assert all(by_hand.orders(tuple(row)) == n for row, n in zip(members[::97], orders[::97], strict=True))
    params = MODEL.parameters()
    np.testing.assert_allclose(MODEL.probs(params).sum(axis=1), 1.0, rtol=1e-14)
    for prompt, answer in ((0, 3), (1, 20)):
        l, _ = by_hand.log_prob_and_score(numbers(params), prompt, by_hand.answers()[answer])
        np.testing.assert_allclose(MODEL.log_probs(params)[prompt, answer, : len(l)], l, rtol=1e-13)
    with pytest.raises(ValueError, match="vocabulary=1 must be 2"):
        sf.testing.AnswerModel(vocabulary=1)
    with pytest.raises(ValueError, match="group_size=0"):
        MODEL.groups(0)


def test_the_objective_is_that_of_all_answers():
    params, rewards = MODEL.parameters(), MODEL.rewards.sum(axis=-1)
    value, gradient = jax.jit(jax.value_and_grad(MODEL.expected_reward))(params)
    hand = lambda prompt, group, l: (rewards[prompt, group[0]], [[rewards[prompt, group[0]]] * len(l[0])])
    wanted, wanted_gradient = by_hand.expected(hand, numbers(params), 1)
    np.testing.assert_allclose(value, wanted, rtol=1e-13)
    for name in gradient:
        np.testing.assert_allclose(gradient[name], wanted_gradient[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("size", [2, 3])
def test_leave_one_out_is_unbiased_and_the_mean_of_all_is_short_by_one_of_n(size):
    params = MODEL.parameters(1)
    exact = jax.jit(jax.grad(MODEL.expected_reward))(params)
    rloo = lambda g: pg.mean_loss(pg.rloo(g.log_prob_t, returns_of(g), mask=g.mask))

    def of_mean(g):
        a = pg.group_advantages(returns_of(g), group_axis=0, baseline="mean")
        return pg.mean_loss(jax.vmap(pg.actor_critic)(g.log_prob_t, jnp.broadcast_to(a[:, None], g.mask.shape), mask=g.mask)._replace(
            weight=jnp.ones(size)))  # fmt: skip

    for loss, share in ((rloo, 1.0), (of_mean, 1 - 1 / size)):
        _, gradient = jax.jit(lambda p, loss=loss: MODEL.expected(loss, p, group_size=size))(params)
        for name in exact:
            np.testing.assert_allclose(gradient[name], -share * exact[name], rtol=1e-12, atol=1e-14)


WAYS = {
    "plain": ("leave_one_out", None),
    "mean": ("mean", None),
    "deviation": ("mean", 1),
    "deviation, n": ("leave_one_out", 0),
}


@pytest.mark.parametrize("when", ["on", "one", "five", "other"])
@pytest.mark.parametrize("reduction", ["sequence_sum", "token_mean", "sequence_mean"])
@pytest.mark.parametrize("way", WAYS)
def test_clipped_losses_of_a_group(way, reduction, when):
    (learner, sampler), (baseline, std) = settings()[when], WAYS[way]
    rewards = MODEL.rewards.sum(axis=-1)
    old = old_of(sampler)
    low, high = 0.2, 0.28

    def ours(g):
        a = pg.group_advantages(
            returns_of(g), group_axis=0, baseline=baseline, divide_by_std=std is not None, ddof=std or 0
        )
        one = lambda l, o, a, m: pg.grpo(l, o, a, reduction=reduction, clip=low, clip_high=high, mask=m)
        return pg.mean_loss(jax.vmap(one)(g.log_prob_t, old(g), a, g.mask))

    old_l = np.asarray(MODEL.log_probs(sampler))

    def hand(prompt, group, l):
        a = by_hand.advantages([rewards[prompt, i] for i in group], baseline, std)
        lengths = [len(x) for x in l]
        scale = {"sequence_sum": [1 / SIZE] * SIZE, "token_mean": [1 / sum(lengths)] * SIZE,
                 "sequence_mean": [1 / (SIZE * n) for n in lengths]}[reduction]  # fmt: skip
        value, coefficients = 0.0, []
        for i, x, advantage, s in zip(group, l, a, scale, strict=True):
            terms = [
                by_hand.clipped_token(math.exp(x[t] - old_l[prompt, i, t]), advantage, low, high) for t in range(len(x))
            ]
            value -= s * sum(v for v, _ in terms)
            coefficients.append([-s * c for _, c in terms])
        return value, coefficients

    compare(ours, hand, learner, sampler)
