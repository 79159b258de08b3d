"""What holds of every loss of answers: rows are answers, and neither their split nor their padding nor their order matters; extremes are finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering, few

import jax_scorefn.policy_gradient as pg

B, T = 6, 7
RNG = np.random.default_rng(0)
MASK = np.arange(T)[None] < np.array([7, 1, 4, 0, 5, 2])[:, None]
MASK[2, 1] = False  # what a tool said
OLD = (-0.5 - np.abs(RNG.normal(size=(B, T)))).astype(np.float32)
NEW = (OLD + 0.3 * RNG.normal(size=(B, T))).astype(np.float32)
OTHER = (OLD + 0.3 * RNG.normal(size=(B, T))).astype(np.float32)
A, TOKEN_A = RNG.normal(size=B).astype(np.float32), RNG.normal(size=(B, T)).astype(np.float32)


def corrected(level, kind):
    def loss(l, old, other, a, token_a, mask):
        found = pg.sampler_correction(old, other, level=level, kind=kind, low=0.8, high=1.3, mask=mask)
        return pg.grpo(l, old, found.weights * a[..., None], mask=found.keep)

    return loss


LOSSES = {
    **{f"grpo {r}": lambda l, old, other, a, token_a, mask, r=r: pg.grpo(l, old, a, reduction=r, mask=mask)
       for r in ("sequence_sum", "token_mean", "sequence_mean")},
    "grpo of tokens": lambda l, old, other, a, token_a, mask: pg.grpo(l, old, token_a, reduction="token_mean", mask=mask),
    "gspo": lambda l, old, other, a, token_a, mask: pg.gspo(l, old, a, clip=0.05, clip_high=0.1, mask=mask),
    "gspo of tokens": lambda l, old, other, a, token_a, mask: pg.gspo(l, old, token_a, level="token", clip=0.05, mask=mask),
    "cispo": lambda l, old, other, a, token_a, mask: pg.cispo(l, old, a, clip_high=0.2, mask=mask),
    "truncated": corrected("token", "truncate"),
    "band": corrected("token", "band"),
    "rejected": corrected("sequence", "reject"),
    "geometric": corrected("geometric", "reject"),
}  # fmt: skip
ROWS = (NEW, OLD, OTHER, A, TOKEN_A, MASK)


def run(loss, rows):
    """The mean and its slopes in the log-probabilities that learn."""
    return jax.jit(jax.value_and_grad(lambda l: pg.mean_loss(loss(l, *rows[1:]))))(rows[0])


def padded(x, width, fill):
    if x.ndim < 2:
        return x
    return np.concatenate([x, np.full((len(x), width), fill, x.dtype)], axis=1)


DEFAULT = ("grpo sequence_mean", "gspo", "cispo", "rejected")


@pytest.mark.parametrize("name", few(LOSSES, *DEFAULT))
def test_a_batch_is_its_rows(name):
    loss = LOSSES[name]
    value, slopes = run(loss, ROWS)
    assert np.all(np.isfinite(slopes)) and np.any(slopes) and not np.any(np.asarray(slopes)[~MASK])
    # one by one, and in two parts
    one = lambda i: loss(*(x[i] for x in ROWS))
    singles = jax.jit(lambda: [one(i) for i in range(B)])()
    np.testing.assert_allclose(pg.mean_loss(*singles), value, rtol=1e-6)
    parts = jax.jit(lambda: pg.mean_loss(loss(*(x[:2] for x in ROWS)), loss(*(x[2:] for x in ROWS))))()
    np.testing.assert_allclose(parts, value, rtol=1e-6)
    # in another order
    order = np.array([4, 0, 5, 3, 1, 2])
    other, other_slopes = run(loss, tuple(x[order] for x in ROWS))
    np.testing.assert_allclose(other, value, rtol=1e-6)
    np.testing.assert_allclose(other_slopes, np.asarray(slopes)[order], rtol=1e-5, atol=1e-8)
    # wider, with anything behind
    wide = tuple(padded(x, 3, False if x.dtype == bool else np.nan) for x in ROWS)
    other, other_slopes = run(loss, wide)
    np.testing.assert_allclose(other, value, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(other_slopes)[:, :T], slopes, rtol=1e-5, atol=1e-8)
    assert not np.any(np.asarray(other_slopes)[:, T:])


def test_a_twin_that_counts_padding_is_seen():
    def twin(l, old, other, a, token_a, mask):
        return pg.grpo(jnp.where(mask, l, 0.0), jnp.where(mask, old, 0.0), a, reduction="token_mean")

    value, _ = run(twin, ROWS)
    wide, _ = run(twin, tuple(padded(x, 3, False if x.dtype == bool else 0.0) for x in ROWS))
    assert abs(value - wide) > 1e-3


@pytest.mark.parametrize("name, far", covering([(name, far) for name in LOSSES for far in (1e3, -1e3)]))
def test_far_ratios_are_finite(name, far):
    for sign in (1.0, -1.0):
        rows = (
            NEW + np.float32(far),
            OLD,
            OTHER - np.float32(far),
            np.float32(sign) * np.abs(A),
            np.float32(sign) * np.abs(TOKEN_A),
            MASK,
        )
        value, slopes = run(LOSSES[name], rows)
        assert np.isfinite(value) and np.all(np.isfinite(slopes))
    gap = pg.sampler_correction(OLD, OTHER - np.float32(far), mask=MASK).diagnostics
    assert np.isfinite(gap.effective_share) and 0 <= gap.effective_share <= 1.0001 and np.isfinite(gap.cut_share)


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_far_penalties_are_finite(kind):
    for far in (1e3, -1e3):
        total = lambda l, far=far: jnp.sum(
            pg.kl_penalty(l, OLD + np.float32(far), kind=kind, old_log_prob_t=OLD, mask=MASK)
        )
        value, slopes = jax.jit(jax.value_and_grad(total))(NEW)
        assert np.isfinite(value) and np.all(np.isfinite(slopes)) and not np.any(np.asarray(slopes)[~MASK])
    alone = jnp.array([0.0, -jnp.inf, -jnp.inf])
    value, slopes = jax.jit(jax.value_and_grad(pg.categorical_kl))(alone, alone)
    assert value == 0 and not np.any(slopes)


@pytest.mark.parametrize("name", few(LOSSES, *DEFAULT))
def test_without_a_token_there_is_nothing(name):
    value, slopes = run(LOSSES[name], (*ROWS[:-1], np.zeros_like(MASK)))
    assert value == 0 and not np.any(slopes)


@pytest.mark.parametrize("seed", few(range(5), 0))
def test_groups_by_ids_are_those_along_an_axis(seed):
    rng = np.random.default_rng(seed)
    returns, mask = rng.normal(size=(4, 5)).astype(np.float32), rng.uniform(size=(4, 5)) < 0.7
    order, names = rng.permutation(20), np.array([-7, 900, 3, 0])
    ids, flat = np.repeat(names, 5)[order], returns.reshape(-1)[order]

    @jax.jit
    def both(returns, mask, flat, flat_mask):
        out = []
        for how in ({}, {"baseline": "mean"}, {"divide_by_std": True}):
            out.append((pg.group_advantages(returns, group_axis=1, mask=mask, **how),
                        pg.group_advantages(flat, group_ids=ids, mask=flat_mask, **how)))  # fmt: skip
        out.append(
            (pg.informative(returns, group_axis=1, mask=mask), pg.informative(flat, group_ids=ids, mask=flat_mask))
        )
        return out

    for square, ragged in both(returns, mask, flat, mask.reshape(-1)[order]):
        np.testing.assert_allclose(np.asarray(square).reshape(-1)[order], ragged, rtol=1e-5, atol=1e-6)
    # ranks too, where no two are equal
    best, few = pg.best_of_group(returns, 2, group_axis=1), pg.best_of_group(flat, 2, group_ids=ids)
    np.testing.assert_array_equal(np.asarray(best).reshape(-1)[order], few)
    assert np.all(np.asarray(best).sum(axis=1) == 2)
    several = pg.group_advantages(np.stack([flat, 2 * flat], axis=1), group_ids=ids)
    np.testing.assert_allclose(several[:, 1], 2 * several[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n, ddof", covering([(n, ddof) for n in (2, 4, 16) for ddof in (0, 1)]))
def test_no_advantage_over_a_deviation_is_larger_than_its_bound(n, ddof):
    """One that is solved among many that are not: 2, for four, and not a million."""
    rewards = np.zeros((1, n), np.float32)
    rewards[0, 0] = 1
    most = float(jnp.max(jnp.abs(pg.group_advantages(rewards, group_axis=1, divide_by_std=True, ddof=ddof))))
    assert most == pytest.approx(n**0.5 if ddof else n / (n - 1) ** 0.5, rel=1e-5)
    rng = np.random.default_rng(n)
    others = pg.group_advantages(
        rng.normal(size=(200, n)).astype(np.float32) ** 3, group_axis=1, divide_by_std=True, ddof=ddof
    )
    assert float(jnp.max(jnp.abs(others))) <= most * (1 + 1e-5)


def test_what_is_collected_differs_within_its_group():
    rng = np.random.default_rng(0)

    def sample(batch):
        returns = (rng.uniform(size=(5, 3)) < 0.5).astype(np.float32)
        return returns, {"batch": np.full(5, batch), "place": np.arange(5)}

    returns, data = pg.collect_informative(sample, 9)
    assert returns.shape == (9, 3) and np.all(returns.max(axis=1) > returns.min(axis=1))
    assert data["batch"].shape == (9,) and data["batch"][-1] >= 1
    turned, _ = pg.collect_informative(lambda i: (sample(i)[0].T, np.arange(5)), 4, group_axis=0)
    assert turned.shape == (3, 4)
    with pytest.raises(RuntimeError, match="after 2 batches 0 of 1"):
        pg.collect_informative(lambda i: (np.ones((5, 3), np.float32), np.arange(5)), 1, most_batches=2)


def test_the_gap_between_sampler_and_learner():
    same = pg.sampler_correction(OLD, OLD, mask=MASK).diagnostics
    np.testing.assert_allclose(same, [1, 0, 0, 0, 1], atol=1e-6)
    rng = np.random.default_rng(1)
    p, q = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5))
    drawn = rng.choice(5, size=200_000, p=q)
    found = pg.sampler_correction(np.log(p)[drawn].astype(np.float32), np.log(q)[drawn].astype(np.float32), high=1e9)
    divergence = float(np.sum(q * np.log(q / p)))
    for estimate in (found.diagnostics.kl_k1, found.diagnostics.kl_k3):
        assert abs(float(estimate) - divergence) < 0.02
    assert float(found.diagnostics.largest) == pytest.approx(np.max(p / q), rel=1e-4)
    assert abs(float(found.diagnostics.effective_share) - 1 / np.sum(p**2 / q)) < 0.02


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: pg.gspo(NEW, OLD, TOKEN_A), ValueError, "level='token'"),
        (lambda: pg.gspo(NEW, OLD, A, level="word"), ValueError, "level='word'"),
        (lambda: pg.cispo(NEW, OLD, A, clip_high=-1.0), ValueError, "clip_high=-1.0"),
        (lambda: pg.cispo(NEW, OLD, A, clip=2.0), ValueError, "clip=2.0"),
        (lambda: pg.cispo(NEW, OLD, A, reduction="sum"), ValueError, "reduction='sum'"),
        (lambda: pg.grpo(NEW, OLD[:, :3], A), TypeError, "takes log_prob_t and old_log_prob_t"),
        (lambda: pg.grpo(NEW.T, OLD.T, A), TypeError, "an advantage for each answer"),
        (lambda: pg.grpo(NEW, OLD, A, mask=MASK.astype(int)), TypeError, "array of booleans"),
        (lambda: pg.sampler_correction(OLD, OTHER, level="token", kind="reject"), ValueError, "there is no kind='reject'"),
        (lambda: pg.sampler_correction(OLD, OTHER, kind="band", low=2.0, high=1.0), ValueError, "low=2.0 and high=1.0"),
        (lambda: pg.sampler_correction(OLD, OTHER[:2]), TypeError, "all of one shape"),
        (lambda: pg.kl_penalty(NEW, OLD, kind="k4"), ValueError, "kind='k4'"),
        (lambda: pg.kl_penalty(NEW, OLD[0]), TypeError, "one number for each token"),
        (lambda: pg.categorical_kl(NEW, OLD[:, :2]), TypeError, "two arrays of logits"),
        (lambda: pg.best_of_group(A, 0, group_axis=0), ValueError, "keep is a positive"),
        (lambda: pg.best_of_group(A, 1), TypeError, "neither"),
        (lambda: pg.group_advantages(A, group_axis=0, group_ids=np.zeros(B, int)), TypeError, "both"),
        (lambda: pg.group_advantages(A, group_ids=np.zeros(B)), TypeError, "group_ids are integers"),
        (lambda: pg.overlong_penalty(np.arange(3), longest=5, cushion=9), ValueError, "cushion=9"),
    ],
)  # fmt: skip
def test_what_is_refused_and_how(call, error, words):
    with pytest.raises(error, match=words):
        call()
