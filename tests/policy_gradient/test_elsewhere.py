"""The formulas of TRL, verl and tunix in numpy, on rows as they lay them out: value and gradient are those of the call that the page
names.

Where they differ from each other or from us is said here: the small number in a deviation, the cap of k3, what CISPO's bound counts.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn.policy_gradient as pg

pytestmark = pytest.mark.usefixtures("x64")
B, T, GROUP = 6, 5, 3
RNG = np.random.default_rng(4)
MASK = np.arange(T)[None] < np.array([5, 2, 3, 1, 4, 5])[:, None]
OLD = -0.3 - RNG.exponential(size=(B, T))
NEW = OLD + 0.25 * RNG.normal(size=(B, T))
REF = OLD + 0.4 * RNG.normal(size=(B, T))
REWARDS = RNG.normal(size=B)
M = MASK.astype(float)


def aggregated(terms, how):
    """What verl calls ``loss_agg_mode``; TRL's ``loss_type`` has the same four under other names."""
    if how == "token-mean":  # TRL: dapo, bnpo
        return (terms * M).sum() / M.sum()
    of_rows = (terms * M).sum(axis=1)
    if how == "seq-mean-token-sum":
        return of_rows.mean()
    if how == "seq-mean-token-mean":  # TRL: grpo
        return (of_rows / M.sum(axis=1)).mean()
    return of_rows.sum() / (B * T)  # TRL: dr_grpo; verl: seq-mean-token-sum-norm


REDUCTIONS = {
    "token-mean": ("token_mean", 1.0), "seq-mean-token-sum": ("sequence_sum", 1.0), "seq-mean-token-mean": ("sequence_mean", 1.0),
    "over a constant": ("sequence_sum", 1 / T),
}  # fmt: skip


def grouped(small):
    """Rewards less the mean of their group over its deviation, n - 1, and something small."""
    rows = REWARDS.reshape(-1, GROUP)
    return ((rows - rows.mean(axis=1, keepdims=True)) / (rows.std(axis=1, ddof=1, keepdims=True) + small)).reshape(-1)


def slopes(f, at):
    """Central differences."""
    out = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[index] = 1e-6
        out[index] = (f(at + step) - f(at - step)) / 2e-6
    return out


def compare(theirs, ours, at=NEW, rtol=1e-9):
    value, gradient = jax.jit(jax.value_and_grad(ours))(at)
    np.testing.assert_allclose(value, theirs(at), rtol=rtol)
    np.testing.assert_allclose(gradient, slopes(theirs, at), rtol=1e-5, atol=1e-8)


def ppo(l, a, low, high, c=None):
    """Both libraries: the larger of two losses; verl bounds what is lost at negative advantages by c."""
    ratio = np.exp(np.clip(l - OLD, -20, 20))
    losses = np.maximum(-a * ratio, -a * np.clip(ratio, 1 - low, 1 + high))
    return losses if c is None else np.where(a < 0, np.minimum(-a * c, losses), losses)


def advantages():
    return pg.group_advantages(REWARDS.reshape(-1, GROUP), group_axis=1, baseline="mean", divide_by_std=True).reshape(
        -1
    )


@pytest.mark.parametrize("how", REDUCTIONS)
def test_grpo_dapo_and_dr_grpo(how):
    reduction, scale = REDUCTIONS[how]
    a = grouped(0.0)[:, None]
    compare(
        lambda l: aggregated(ppo(l, a, 0.2, 0.28), how),
        lambda l: scale * pg.mean_loss(pg.grpo(l, OLD, advantages(), clip_high=0.28, reduction=reduction, mask=MASK)),
    )


@pytest.mark.parametrize("small", [1e-4, 1e-6])  # TRL, verl
def test_the_small_number_in_a_deviation_is_what_it_is(small):
    ours, theirs = np.asarray(advantages()), grouped(small)
    np.testing.assert_allclose(ours, theirs, rtol=10 * small)
    assert np.any(ours != theirs)
    # where all rewards are one number but for rounding theirs are rounding over something small, ours are 0
    same = np.full((1, 3), 0.1)
    assert not np.any(pg.group_advantages(same, group_axis=1, baseline="mean", divide_by_std=True))


def test_the_dual_clip_of_verl():
    a = grouped(0.0)[:, None]
    far = OLD + 2.0 * RNG.normal(size=(B, T))
    compare(
        lambda l: aggregated(ppo(l, a, 0.2, 0.2, c=3.0), "token-mean"),
        lambda l: pg.mean_loss(
            pg.grpo(l, OLD, advantages(), max_log_ratio=np.log(3.0), reduction="token_mean", mask=MASK)
        ),
        at=far,
    )


def test_gspo():
    """Both: one ratio for a row, which TRL keeps as a column and verl gives to each token; the mean over rows is the same."""
    a = grouped(0.0)

    def theirs(l):
        s = np.exp(((l - OLD) * M).sum(axis=1) / M.sum(axis=1))
        return np.mean(np.maximum(-a * s, -a * np.clip(s, 1 - 0.03, 1 + 0.04)))

    for level in ("sequence", "token"):
        compare(
            theirs,
            lambda l, level=level: pg.mean_loss(
                pg.gspo(l, OLD, advantages(), level=level, clip=0.03, clip_high=0.04, mask=MASK)
            ),
        )


def test_cispo_has_the_gradient_and_another_value():
    """TRL: the largest ratio is its ``epsilon_high``, where ours is 1 + clip_high; its loss is the weight times log p."""
    a, weights = grouped(0.0)[:, None], np.minimum(np.exp(NEW - OLD), 1.2)
    ours = lambda l: pg.mean_loss(pg.cispo(l, OLD, advantages(), clip_high=0.2, mask=MASK))
    value, gradient = jax.jit(jax.value_and_grad(ours))(NEW)
    np.testing.assert_allclose(
        gradient, slopes(lambda l: aggregated(-weights * a * l, "token-mean"), NEW), rtol=1e-5, atol=1e-8
    )
    np.testing.assert_allclose(value, aggregated(-weights * a, "token-mean"), rtol=1e-9)


def test_penalties():
    theirs = {
        "k1": lambda l: l - REF,
        "k2": lambda l: 0.5 * (l - REF) ** 2,
        "k3": lambda l: np.exp(REF - l) - (REF - l) - 1,  # verl cuts what is above 10
    }
    for kind, terms in theirs.items():
        total = lambda l, kind=kind: jnp.sum(pg.kl_penalty(l, REF, kind=kind, mask=MASK)) / M.sum()
        compare(lambda l, terms=terms: aggregated(terms(l), "token-mean"), total)
    # TRL's correction of its penalty by the ratio, off-policy
    compare(
        lambda l: aggregated(np.exp(l - OLD) * theirs["k3"](l), "token-mean"),
        lambda l: jnp.sum(pg.kl_penalty(l, REF, old_log_prob_t=OLD, mask=MASK)) / M.sum(),
    )


def test_truncated_and_masked_weights():
    """TRL and verl: exp(old - sampler) per token or per row, cut at a cap, multiplied into the terms of the loss."""
    drawn, a = OLD + 0.3 * RNG.normal(size=(B, T)), grouped(0.0)[:, None]
    rho, rows = np.exp(OLD - drawn), np.exp(((OLD - drawn) * M).sum(axis=1, keepdims=True))
    for level, ratio in (("token", rho), ("sequence", np.broadcast_to(rows, rho.shape))):
        for kind, weights in (("truncate", np.minimum(ratio, 1.2)), ("mask", np.where(ratio <= 1.2, ratio, 0.0))):
            found = pg.sampler_correction(OLD, drawn, level=level, kind=kind, high=1.2, mask=MASK)
            np.testing.assert_allclose(found.weights, weights * M, rtol=1e-9)
            compare(
                lambda l, w=weights: aggregated(w * ppo(l, a, 0.2, 0.2), "seq-mean-token-mean"),
                lambda l, w=found.weights: pg.mean_loss(
                    pg.grpo(l, OLD, w * advantages()[:, None], reduction="sequence_mean", mask=MASK)
                ),
            )


def test_the_critic_of_ppo():
    values, targets = RNG.normal(size=T), RNG.normal(size=T)
    moved = values + 0.5 * RNG.normal(size=T)

    def theirs(v):
        near = np.clip(v, values - 0.2, values + 0.2)
        return 0.5 * np.mean(np.maximum((v - targets) ** 2, (near - targets) ** 2))

    compare(theirs, lambda v: pg.mean_loss(pg.critic_loss(v, targets, clip=0.2, old_v_tm1=values)), at=moved)


def test_reinforce_plus_plus():
    """verl: returns to go, then less the mean and over the deviation of all tokens, n - 1 in its denominator; ours is n."""
    r_t = RNG.normal(size=(B, T)) * M
    returns = np.stack([np.cumsum(row[::-1])[::-1] for row in r_t])
    chosen = returns[MASK]
    theirs = (returns - chosen.mean()) / chosen.std(ddof=1) * M
    ours = pg.whiten(jax.vmap(lambda r, m: pg.discounted_returns(r, mask=m))(r_t, MASK), mask=MASK)
    np.testing.assert_allclose(ours * np.sqrt(1 - 1 / len(chosen)), theirs, rtol=1e-9, atol=1e-12)


def test_leave_one_out_of_verl():
    """It has (r - mean) n / (n - 1), as ours."""
    rows = REWARDS.reshape(-1, GROUP)
    theirs = (rows - rows.mean(axis=1, keepdims=True)) * GROUP / (GROUP - 1)
    np.testing.assert_allclose(pg.group_advantages(rows, group_axis=1), theirs, rtol=1e-12)


@pytest.mark.parametrize("ratio", ["token", "gspo-token"])
def test_tunix_always_has_the_dual_clip(ratio):
    """Its bound is 3, with a ratio of each token and with one of the answer; its other modes are verl's under longer names."""
    a, far = grouped(0.0)[:, None], OLD + 2.0 * RNG.normal(size=(B, T))

    def theirs(l):
        means = ((l - OLD) * M).sum(axis=1, keepdims=True) / M.sum(axis=1, keepdims=True)
        moved = OLD + np.broadcast_to(means, l.shape) if ratio == "gspo-token" else l
        return aggregated(ppo(moved, a, 0.2, 0.28, c=3.0), "seq-mean-token-mean")

    loss, options = (pg.grpo, {"reduction": "sequence_mean"}) if ratio == "token" else (pg.gspo, {"level": "token"})
    compare(
        theirs,
        lambda l: pg.mean_loss(
            loss(l, OLD, advantages(), clip=0.2, clip_high=0.28, max_log_ratio=np.log(3.0), mask=MASK, **options)
        ),
        at=far,
    )
