"""Known ways in which policy-gradient code goes wrong in public, one test each, after the trap; see also ``test_traps``."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg

pytestmark = pytest.mark.default  # every row runs, whatever it takes

REWARDS = jnp.array([1.0, -2.0, 0.5, 3.0])
LOG_PROBS = jnp.log(jnp.array([0.3, 0.6, 0.2, 0.9]))


def test_18_the_residue_of_rounding_is_not_magnified_by_a_standard_deviation():
    """NeMo-RL #4161: rewards that are all 0.1 have a deviation of 1e-9 in float32, and an advantage of 4,000."""
    residues = []
    of_group = jax.jit(lambda r: [
        pg.group_advantages(r, group_axis=0, baseline=baseline, divide_by_std=True) for baseline in ("mean", "leave_one_out")
    ] + [jnp.sqrt(jnp.abs(jnp.mean(r**2) - jnp.mean(r) ** 2))])  # fmt: skip
    for value in (0.1, 0.3, 0.7):
        for size in (3, 6, 7, 11):
            *both, residue = of_group(np.full(size, value, np.float32))
            residues.append(residue)
            for advantages in both:
                assert np.max(np.abs(advantages)) < 1e-3
    assert max(residues) > 0.0  # what the usual formula makes of groups without any deviation
    advantages, *_ = of_group(np.float32([0.2] + 6 * [0.1]))
    np.testing.assert_allclose(advantages[0], 6 / np.sqrt(7.0), rtol=1e-3)


def test_20_the_axis_of_a_group_is_said_and_a_permutation_of_its_members_changes_nothing():
    """Tunix #816, grpo-flat #2, agents #651: normalised over the wrong axis, or over a micro-batch that cuts groups."""
    with pytest.raises(TypeError, match="say which answers are to one question"):
        pg.group_advantages(np.ones((3, 4), np.float32))
    rewards = (
        np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32) + 10 * np.arange(3, dtype=np.float32)[:, None]
    )
    order = np.array([2, 0, 3, 1])
    by_column = jax.jit(lambda r: pg.group_advantages(r, group_axis=0))
    by_row = jax.jit(lambda r: pg.group_advantages(r, group_axis=1))
    within = by_row(rewards)
    np.testing.assert_allclose(by_row(rewards[:, order]), within[:, order], rtol=1e-5)
    np.testing.assert_allclose(by_column(rewards.T), within.T, rtol=1e-5)
    assert np.max(np.abs(within)) < 5 < np.max(np.abs(by_column(rewards)))


def test_22_how_lengths_weigh_is_a_choice_with_a_name():
    """Verl #593, trl #6654, ROLL #444: division by the length makes long answers cheap, in silence."""
    mask, padded = np.ones(4, bool), np.array([True, True, False, False])

    def objective(reduction):
        loss = jax.jit(lambda m: pg.grpo(LOG_PROBS, LOG_PROBS, 1.0, reduction=reduction, mask=m))
        losses = [loss(m) for m in (mask, padded)]
        return [float(loss.sum) for loss in losses], [float(loss.weight) for loss in losses]

    assert objective("sequence_sum") == ([-4.0, -2.0], [1.0, 1.0])
    assert objective("sequence_mean") == ([-1.0, -1.0], [1.0, 1.0])
    assert objective("token_mean") == ([-4.0, -2.0], [4.0, 2.0])
    for junk in (-1e6, jnp.nan):  # what stands in the padding does not matter
        other = np.where(padded, LOG_PROBS, np.float32(junk))
        value, grad = jax.jit(jax.value_and_grad(lambda l: pg.grpo(l, other, 1.0, mask=padded).sum))(other)
        assert value == -2.0 and np.all(np.asarray(grad) == [-1, -1, 0, 0])


def test_23_micro_batches_add_up_to_the_batch():
    """Trl #3021, open-instruct #1161: a mean of means weighs a short micro-batch like a long one."""
    rng = np.random.default_rng(1)
    log_probs, rewards = np.log(rng.uniform(size=(5, 4)), dtype=np.float32), rng.normal(size=(5, 4)).astype(np.float32)
    mask = np.arange(4)[None, :] < np.array([4, 1, 2, 3, 1])[:, None]
    loss = jax.vmap(lambda l, a, m: pg.actor_critic(l, a, mask=m))

    def whole(l):
        return pg.mean_loss(loss(l, rewards, mask))

    def parts(l):
        return pg.mean_loss(loss(l[:1], rewards[:1], mask[:1]), loss(l[1:], rewards[1:], mask[1:]))

    def mean_of_means(l):
        return (pg.mean_loss(loss(l[:1], rewards[:1], mask[:1])) + pg.mean_loss(loss(l[1:], rewards[1:], mask[1:]))) / 2

    run = jax.jit(lambda l: [jax.value_and_grad(g)(l) for g in (whole, parts, mean_of_means)])
    for of_whole, of_parts, of_means in zip(*run(log_probs), strict=True):
        np.testing.assert_allclose(of_parts, of_whole, rtol=1e-5, atol=1e-7)
        assert not np.allclose(of_means, of_whole, rtol=1e-2)


def test_24_a_cut_has_a_future_and_an_end_has_none():
    """Trl #3681, rlevo #342, pytorch/rl #4209, Stoix #142: one done flag for both, or one step too late."""
    v_t, flag = jnp.array([10.0, 20.0, 30.0, 40.0]), jnp.array([False, True, False, False])
    ended = pg.discounted_returns(REWARDS, v_t=v_t, terminated=flag)
    cut = pg.discounted_returns(REWARDS, v_t=v_t, truncated=flag)
    np.testing.assert_allclose(ended, [-1.0, -2.0, 43.5, 43.0])
    np.testing.assert_allclose(cut, [19.0, 18.0, 43.5, 43.0])
    v_tm1 = jnp.array([5.0, 6.0, 7.0, 8.0])
    v_t = jnp.append(v_tm1[1:], 40.0)  # one critic, asked once about each state
    ends = {"terminated": flag, "discount_t": 0.9}
    telescoped = pg.discounted_returns(REWARDS, v_t=v_t, **ends) - v_tm1
    gae = pg.gae(REWARDS, v_tm1, v_t, lambda_=1.0, **ends)
    np.testing.assert_allclose(gae, telescoped, rtol=1e-5)
    np.testing.assert_allclose(pg.vtrace(REWARDS, v_tm1, v_t, jnp.zeros(4), **ends).targets - v_tm1, gae, rtol=1e-5)


def test_25_each_action_is_weighed_by_what_comes_after_it_and_not_by_the_whole_return():
    """Gymnasium #1336, deep-rl-class #95: G_0, or a mean log-probability, at every step. Here the weights are known."""
    after = -np.array([2.5, 1.5, 3.5, 3.0])
    run = jax.jit(
        lambda l: [jax.grad(lambda l, loss=loss: loss(l, REWARDS).sum)(l) for loss in (pg.reward_to_go, pg.reinforce)]
    )
    to_go, whole = run(LOG_PROBS)
    np.testing.assert_allclose(to_go, after, rtol=1e-6)
    np.testing.assert_allclose(whole, [-2.5] * 4, rtol=1e-6)


@pytest.mark.parametrize("loss", [pg.reinforce, pg.reward_to_go])
def test_26_the_value_of_a_loss_is_the_objective_and_not_zero(loss):
    """Trl #3452, open-r1 #239: "the loss is 0, is training broken?"."""
    assert float(loss(LOG_PROBS, REWARDS).sum) == -2.5


def test_27_a_divergence_in_the_loss_needs_its_score_term():
    """Trl #4967, open-instruct #534: the sampled log-ratio as a loss has an expected gradient of 0 on-policy."""
    logits, reference = jnp.array([0.4, -0.2, 0.1]), jnp.array([0.0, 0.3, 0.0])
    log_p, log_q = jax.nn.log_softmax, jax.nn.log_softmax(reference)
    exact = jax.jit(jax.grad(lambda l: jnp.sum(jax.nn.softmax(l) * (log_p(l) - log_q))))(logits)

    def expected(loss):
        """Over the three actions."""
        return jax.jit(lambda l: jax.nn.softmax(l) @ jax.vmap(jax.grad(loss), (None, 0))(l, jnp.arange(3)))(logits)

    ours = expected(lambda l, x: pg.kl_loss(log_p(l)[x][None], log_q[x][None]).sum)
    np.testing.assert_allclose(ours, exact, atol=1e-6)
    naive = expected(lambda l, x: log_p(l)[x] - log_q[x])
    assert np.max(np.abs(naive)) < 1e-6 < 0.1 < np.max(np.abs(exact))


@jax.jit
def ratios_beyond_all_numbers(new, advantage):
    old = jnp.zeros(1)
    losses = (lambda l: pg.ppo_clip(l, old, advantage[None]), lambda l: pg.grpo(l, old, advantage))
    of_both = [jax.value_and_grad(lambda l, loss=loss: loss(l).sum)(new) for loss in losses]
    return of_both, pg.vtrace(jnp.ones(1), jnp.zeros(1), jnp.ones(1), new)


@pytest.mark.parametrize("log_ratio", [-1e3, 1e3])
@pytest.mark.parametrize("advantage", [-1.0, 1.0])
@pytest.mark.nans
def test_28_a_ratio_beyond_all_numbers_has_a_finite_gradient(log_ratio, advantage):
    """Prime-rl #2972, OpenRLHF #1335: exp first and then clip: infinite, and NaN backwards."""
    late = jax.grad(lambda l: jnp.minimum(jnp.exp(l) * 0.0, 1.2))(1e3)
    assert np.isnan(late)
    of_both, v_trace = ratios_beyond_all_numbers(np.float32([log_ratio]), np.float32(advantage))
    for value, grad in of_both:
        assert np.isfinite(value) and np.all(np.isfinite(grad))
    assert all(np.all(np.isfinite(x)) for x in v_trace)


def test_29_no_switch_turns_a_stop_gradient_off_and_what_is_not_differentiated_is_stopped():
    """Rlax #28, #109 and its qpg_loss: a flag for stop_gradient, which is not passed on."""
    functions = [getattr(pg, name) for name in dir(pg) if inspect.isfunction(getattr(pg, name))]
    functions += [getattr(sf, name) for name in dir(sf) if inspect.isfunction(getattr(sf, name))]
    assert len(functions) > 20
    assert not [f.__name__ for f in functions for name in inspect.signature(f).parameters if "stop" in name]
    for loss in (
        lambda x: pg.actor_critic(LOG_PROBS, x), lambda x: pg.critic_loss(LOG_PROBS, x), lambda x: pg.ppo_clip(LOG_PROBS, x, REWARDS),
        lambda x: pg.ppo_clip(LOG_PROBS, LOG_PROBS, x), lambda x: pg.reward_to_go(LOG_PROBS, REWARDS, baseline_t=x),
    ):  # fmt: skip
        assert np.all(jax.jit(jax.grad(lambda x, loss=loss: loss(x).sum))(REWARDS) == 0.0)
