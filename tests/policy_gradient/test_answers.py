"""Losses of groups of answers against all groups of a small model: value and gradient, in numpy from the formulas."""

import functools
import math

import by_hand
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering, few

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


@pytest.mark.parametrize("size", few([2, 3, 4], 2))
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
WHEN = ("on", "one", "five", "other")


def scales(reduction, lengths):
    """What a token of each answer is multiplied by, on the paper."""
    n = len(lengths)
    return {
        "sequence_sum": [1 / n] * n,
        "token_mean": [1 / sum(lengths)] * n,
        "sequence_mean": [1 / (n * x) for x in lengths],
    }[reduction]


def of_tokens(token, reduction, old_l, advantages):
    """A loss that is a sum over tokens of ``token(log ratio, A) -> (value, slope in l)``."""

    def hand(prompt, group, l):
        a = advantages(prompt, group)
        value, coefficients = 0.0, []
        for i, x, advantage, s in zip(group, l, a, scales(reduction, [len(x) for x in l]), strict=True):
            terms = [
                token(x[t] - old_l[prompt, i, t], advantage[t] if np.ndim(advantage) else advantage)
                for t in range(len(x))
            ]
            value -= s * sum(v for v, _ in terms)
            coefficients.append([-s * c for _, c in terms])
        return value, coefficients

    return hand


def plain_advantages(baseline="leave_one_out", std=None):
    rewards = MODEL.rewards.sum(axis=-1)
    return lambda prompt, group: by_hand.advantages([rewards[prompt, i] for i in group], baseline, std)


@pytest.mark.parametrize(
    "way, reduction, when",
    covering([(w, r, x) for w in WAYS for r in ("sequence_sum", "token_mean", "sequence_mean") for x in WHEN]),
)
def test_clipped_losses_of_a_group(way, reduction, when):
    (learner, sampler), (baseline, std) = settings()[when], WAYS[way]
    old, old_l, low, high = old_of(sampler), np.asarray(MODEL.log_probs(sampler)), 0.2, 0.28

    def ours(g):
        a = pg.group_advantages(
            returns_of(g), group_axis=0, baseline=baseline, divide_by_std=std is not None, ddof=std or 0
        )
        return pg.mean_loss(
            pg.grpo(g.log_prob_t, old(g), a, reduction=reduction, clip=low, clip_high=high, mask=g.mask)
        )

    token = lambda log_ratio, a: by_hand.clipped_token(math.exp(log_ratio), a, low, high)
    compare(ours, of_tokens(token, reduction, old_l, plain_advantages(baseline, std)), learner, sampler)
    if when == "five":  # a twin whose bounds are the other way round
        twin = lambda log_ratio, a: by_hand.clipped_token(math.exp(log_ratio), a, high, low)
        differs(ours, of_tokens(twin, reduction, old_l, plain_advantages(baseline, std)), learner, sampler)


# The others: name -> (ours(group, old), by hand(old l))


def capped(log_ratio, a):
    weight = min(math.exp(log_ratio), 1.5)
    return weight * a, weight * a


def dual(log_ratio, a):
    ratio = math.exp(log_ratio)
    value, slope = by_hand.clipped_token(ratio, a, 0.2, 0.2)
    return (1.1 * a, 0.0) if a < 0 and ratio > 1.1 else (value, slope)


def gspo_by_hand(low, high):
    def make(old_l):
        def hand(prompt, group, l):
            value, coefficients = 0.0, []
            for i, x, a in zip(group, l, plain_advantages()(prompt, group), strict=True):
                n = len(x)
                s = math.exp(sum(x[t] - old_l[prompt, i, t] for t in range(n)) / n)
                term, slope = by_hand.clipped_token(s, a, low, high)
                value -= term / len(group)
                coefficients.append([-slope / (n * len(group))] * n)
            return value, coefficients

        return hand

    return make


def to_go(prompt, group):
    """Rewards to go of each token, less the mean of all of them, over their deviation."""
    rows = [np.cumsum(MODEL.rewards[prompt, i][MODEL.mask[i]][::-1])[::-1] for i in group]
    together = np.concatenate(rows)
    deviation = together.std()
    return [(row - together.mean()) / deviation if deviation > 1e-9 else 0.0 * row for row in rows]


def rlhf_plus(g, old):
    returns = jax.vmap(lambda r, m: pg.discounted_returns(r, mask=m))(g.r_t, g.mask)
    return pg.grpo(g.log_prob_t, old, pg.whiten(returns, mask=g.mask), reduction="token_mean", mask=g.mask)


def loo(g):
    return pg.group_advantages(returns_of(g), group_axis=0)


def clip20(log_ratio, a):
    return by_hand.clipped_token(math.exp(log_ratio), a, 0.2, 0.2)


def kept(prompt, group):
    """The shortest of a group, of equal ones the first, is kept: alone, it has nothing to be compared with."""
    lengths = [int(MODEL.mask[i].sum()) for i in group]
    order = sorted(range(len(group)), key=lambda k: (lengths[k], k))[:2]
    a, rewards = [0.0] * len(group), MODEL.rewards.sum(axis=-1)
    for k, x in zip(order, by_hand.advantages([rewards[prompt, group[k]] for k in order], "mean"), strict=True):
        a[k] = x
    return a


LOSSES = {
    "gspo": (
        lambda g, old: pg.gspo(g.log_prob_t, old, loo(g), clip=0.05, clip_high=0.1, mask=g.mask), gspo_by_hand(0.05, 0.1)),
    "gspo, token": (
        lambda g, old: pg.gspo(g.log_prob_t, old, loo(g), level="token", clip=0.05, clip_high=0.1, mask=g.mask),
        gspo_by_hand(0.05, 0.1)),
    "cispo": (
        lambda g, old: pg.cispo(g.log_prob_t, old, loo(g), clip_high=0.5, mask=g.mask),
        lambda old_l: of_tokens(capped, "token_mean", old_l, plain_advantages())),
    "dual clip": (
        lambda g, old: pg.grpo(g.log_prob_t, old, loo(g), max_log_ratio=math.log(1.1), mask=g.mask),
        lambda old_l: of_tokens(dual, "sequence_sum", old_l, plain_advantages())),
    "reinforce++": (rlhf_plus, lambda old_l: of_tokens(clip20, "token_mean", old_l, to_go)),
}  # fmt: skip


@pytest.mark.parametrize("name, when", covering([(name, when) for name in LOSSES for when in WHEN]))
def test_the_family(name, when):
    (learner, sampler), (loss, hand) = settings()[when], LOSSES[name]
    old = old_of(sampler)
    compare(lambda g: pg.mean_loss(loss(g, old(g))), hand(np.asarray(MODEL.log_probs(sampler))), learner, sampler)


def test_few_of_a_group_are_kept():
    (learner, sampler) = settings()["five"]
    old = old_of(sampler)

    def loss(g):
        keep = pg.best_of_group(-jnp.sum(g.mask, axis=1), 2, group_axis=0)
        a = pg.group_advantages(returns_of(g), group_axis=0, baseline="mean", mask=keep)
        return pg.mean_loss(pg.grpo(g.log_prob_t, old(g), a, mask=g.mask))

    # groups are listed by the length of their members, so the order of equal ones is that of the list
    hand = of_tokens(clip20, "sequence_sum", np.asarray(MODEL.log_probs(sampler)), kept)
    compare(loss, hand, learner, sampler, size=3, rtol=1e-11)


# Between the sampler and the learner: l_old of the learner at the parameters that drew, and what the sampler says


def corrected(level, kind, low, high):
    """Weights of the tokens of an answer, and whether they count, on the paper."""

    def of(log_rho):
        n, total = len(log_rho), sum(log_rho)
        rho = {
            "token": [math.exp(x) for x in log_rho],
            "sequence": [math.exp(total)] * n,
            "geometric": [math.exp(total / n)] * n,
        }[level]
        if kind == "truncate":
            return [min(x, high) for x in rho], [True] * n
        inside = [x <= high and (kind == "mask" or low <= x) for x in rho]
        if kind == "reject":
            return [1.0] * n, inside
        return [x if good else 0.0 for x, good in zip(rho, inside, strict=True)], [True] * n

    return of


KINDS = [
    ("token", "truncate"), ("token", "mask"), ("token", "band"), ("sequence", "truncate"), ("sequence", "mask"),
    ("sequence", "reject"), ("geometric", "reject"),
]  # fmt: skip


@pytest.mark.parametrize(
    "level, kind, reduction", covering([(*k, r) for k in KINDS for r in ("sequence_sum", "token_mean")])
)
def test_corrections_between_sampler_and_learner(level, kind, reduction):
    """The learner is one update behind those that drew, and the sampler rounds."""
    learner, _ = settings()["one"]
    old_params, sampler = settings()["other"]
    low, high = 0.97, 1.03
    old, drawn = old_of(old_params), old_of(sampler)
    old_l, drawn_l = (np.asarray(MODEL.log_probs(p)) for p in (old_params, sampler))
    counts = []

    def loss(g):
        found = pg.sampler_correction(old(g), drawn(g), level=level, kind=kind, low=low, high=high, mask=g.mask)
        a = found.weights * loo(g)[:, None]
        return pg.mean_loss(pg.grpo(g.log_prob_t, old(g), a, reduction=reduction, mask=found.keep))

    def hand(prompt, group, l):
        a, rows = plain_advantages()(prompt, group), []
        for i, x in zip(group, l, strict=True):
            rows.append(
                corrected(level, kind, low, high)([old_l[prompt, i, t] - drawn_l[prompt, i, t] for t in range(len(x))])
            )
        counts.append([sum(keep) for _, keep in rows])
        whole = sum(counts[-1]) if reduction == "token_mean" else sum(n > 0 for n in counts[-1])
        value, coefficients = 0.0, []
        for i, x, advantage, (weights, keep) in zip(group, l, a, rows, strict=True):
            c = [0.0] * len(x)
            for t in range(len(x)):
                if keep[t]:
                    term, slope = clip20(x[t] - old_l[prompt, i, t], weights[t] * advantage)
                    value -= term / whole
                    c[t] = -slope / whole
            coefficients.append(c)
        return value, coefficients

    compare(loss, hand, learner, sampler)
    assert (kind != "reject") == all(sum(row) > 0 for row in counts)  # what is rejected has left the denominators


# Penalties


def penalty_by_hand(kind, ref_l, old_l=None):
    """Value and slope of each token, on the paper."""

    def token(l, ref, old):
        k1 = l - ref
        value, slope = {"k1": (k1, 1.0), "k2": (k1**2 / 2, k1), "k3": (math.exp(-k1) - 1 + k1, 1 - math.exp(-k1))}[kind]
        if old is not None:
            weight = math.exp(l - old)
            value, slope = weight * value, weight * (slope + value)
        return value, slope

    def hand(prompt, group, l):
        value, coefficients = 0.0, []
        for i, x in zip(group, l, strict=True):
            terms = [
                token(x[t], ref_l[prompt, i, t], None if old_l is None else old_l[prompt, i, t]) for t in range(len(x))
            ]
            value += sum(v for v, _ in terms) / len(group)
            coefficients.append([c / len(group) for _, c in terms])
        return value, coefficients

    return hand


@pytest.mark.parametrize(
    "kind, weighed, when",
    covering([(k, w, x) for k in ("k1", "k2", "k3") for w in (False, True) for x in ("on", "five")]),
)
def test_penalties_of_tokens(kind, weighed, when):
    learner, sampler = settings()[when]
    ref = MODEL.parameters(7)
    of_ref, old = old_of(ref), old_of(sampler)
    ref_l, old_l = (np.asarray(MODEL.log_probs(p)) for p in (ref, sampler))

    def loss(g):
        terms = pg.kl_penalty(
            g.log_prob_t, of_ref(g), kind=kind, old_log_prob_t=old(g) if weighed else None, mask=g.mask
        )
        return jnp.mean(jnp.sum(terms, axis=1))

    gradient = compare(loss, penalty_by_hand(kind, ref_l, old_l if weighed else None), learner, sampler, size=1)

    # what it is the gradient of: divergences of each token, at the prefixes that the sampler visits
    def divergence(params, forwards):
        p, q = jax.nn.log_softmax(MODEL.logits(params)), jax.nn.log_softmax(MODEL.logits(ref))
        a, b = (q, p) if forwards else (p, q)
        each = jnp.where(MODEL.mask, jnp.sum(jnp.exp(a) * (a - b), axis=-1), 0.0)
        return jnp.mean(jnp.sum(MODEL.probs(sampler) * jnp.sum(each, axis=-1), axis=-1))

    towards = jax.jit(jax.grad(divergence), static_argnums=1)
    zero = jax.tree.map(jnp.zeros_like, gradient)
    wanted = {
        ("k1", False, "on"): zero, ("k2", False, "on"): towards(learner, False), ("k3", False, "on"): towards(learner, True),
        ("k1", True, "on"): towards(learner, False), ("k3", True, "on"): towards(learner, False),
        ("k1", True, "five"): towards(learner, False), ("k3", True, "five"): towards(learner, False),
    }.get((kind, weighed, when))  # fmt: skip
    if wanted is not None:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), gradient, wanted)


def test_the_exact_divergence_of_a_token_and_of_an_answer():
    params, ref = MODEL.parameters(1), MODEL.parameters(7)
    ref_logits, ref_l = MODEL.logits(ref), MODEL.log_probs(ref)
    of = lambda x, g: x[g.prompt, g.answer]
    exact = lambda g: jnp.mean(
        jnp.sum(jnp.where(g.mask, pg.categorical_kl(g.logits_t, of(ref_logits, g)), 0.0), axis=1)
    )
    k2 = lambda g: jnp.mean(jnp.sum(pg.kl_penalty(g.log_prob_t, of(ref_l, g), kind="k2", mask=g.mask), axis=1))
    whole = lambda g: pg.mean_loss(
        jax.vmap(lambda l, r, m: pg.kl_loss(l, r, mask=m))(g.log_prob_t, of(ref_l, g), g.mask)
    )
    run = jax.jit(lambda p: [MODEL.expected(loss, p, group_size=1) for loss in (exact, k2, whole)])
    (value, of_tokens), (_, of_k2), (other, of_answers) = run(params)
    divergence = lambda p: jnp.mean(jnp.sum(MODEL.probs(p) * jnp.sum(MODEL.log_probs(p) - ref_l, axis=-1), axis=1))
    np.testing.assert_allclose([value, other], divergence(params), rtol=1e-12)
    close = lambda a, b: jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12), a, b)
    close(of_tokens, of_k2)
    close(of_answers, jax.jit(jax.grad(divergence))(params))
    with pytest.raises(AssertionError):
        close(of_tokens, of_answers)


# Which groups count


def test_groups_without_a_difference_are_left_out_of_the_mean():
    """Rewards of 0 and 1: dividing by the groups that differ weighs a question by how often they do."""
    solved = jnp.asarray(MODEL.rewards.sum(axis=-1) > 0.3, float)
    params, size = MODEL.parameters(1), 3
    probs = MODEL.probs(params)
    success = jnp.sum(probs * solved, axis=1)
    of_prompt = jax.jit(jax.jacobian(lambda p: jnp.sum(MODEL.probs(p) * solved, axis=1)))(params)

    def parts(g):
        r = solved[g.prompt, g.answer]
        a = pg.group_advantages(r, group_axis=0)
        good = pg.informative(r, group_axis=0)
        return -jnp.mean(jnp.where(good, a, 0.0) * jnp.sum(g.log_prob_t, axis=1)), jnp.any(good).astype(float)

    run = jax.jit(lambda p: [MODEL.expected(lambda g, i=i: parts(g)[i], p, group_size=size) for i in range(2)])
    (_, gradient), (share, _) = run(params)
    wanted = jax.tree.map(lambda x: -jnp.mean(x, axis=0), of_prompt)  # no advantage is lost: in the sum it was 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), gradient, wanted)
    np.testing.assert_allclose(share, jnp.mean(1 - success**size - (1 - success) ** size), rtol=1e-12)
