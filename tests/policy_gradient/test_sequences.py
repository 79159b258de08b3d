"""Sequences: the distribution, log-probabilities with masks, and the losses of groups against all sequences of a small model."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg

TOKENS, LENGTH = 4, 5
SEQUENCES = np.array(list(itertools.product(range(TOKENS), repeat=LENGTH)), np.int32)
RNG = np.random.default_rng(0)
PARAMS = {"first": RNG.normal(size=TOKENS) * 0.5, "table": RNG.normal(size=(TOKENS, TOKENS)) * 0.5}
REWARDS = np.sin(SEQUENCES @ np.array([1.0, 0.7, -0.4, 0.9, 0.2])) + (SEQUENCES[:, 0] == SEQUENCES[:, -1])


def step(params, carry, token):
    """Reads a token (-1 before the first) and gives the logits of the next; the carry counts and remembers."""
    count, memory = carry
    logits = jnp.where(token < 0, params["first"], params["table"][token]) + 0.1 * memory
    return (count + 1, jnp.tanh(memory + 0.3 * token.astype(memory.dtype))), logits


def model(params, **how):
    carry = (jnp.zeros((), jnp.int32), jnp.zeros_like(params["first"][0]))
    return sf.Autoregressive(step=step, params=params, carry=carry, start=-1, length=LENGTH, **how)


def as_float32():
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), PARAMS)


def test_probabilities_sum_to_one_and_are_those_of_the_draws():
    params = as_float32()

    @jax.jit
    def run(key, keys):
        x, log_prob = model(params).sample_and_log_prob(key)
        of_all, draws = jax.vmap(model(params).log_prob)(SEQUENCES), jax.vmap(model(params).sample)(keys)
        return of_all, draws, x, log_prob, model(params).log_prob(x), model(params).log_probs(x)

    keys = jax.random.split(jax.random.key(0), 40_000)
    log_probs, draws, x, log_prob, again, parts = run(jax.random.key(1), keys)
    np.testing.assert_allclose(np.sum(np.exp(log_probs)), 1.0, rtol=1e-5)
    counts = np.bincount(np.asarray(draws) @ TOKENS ** np.arange(LENGTH - 1, -1, -1), minlength=TOKENS**LENGTH)
    expected = 40_000 * np.exp(np.asarray(log_probs, np.float64))
    assert np.sum((counts - expected) ** 2 / expected) < TOKENS**LENGTH + 6 * np.sqrt(2 * TOKENS**LENGTH)
    np.testing.assert_array_equal(x, jax.jit(model(params).sample)(jax.random.key(1)))
    np.testing.assert_allclose(log_prob, again, rtol=1e-6)
    np.testing.assert_allclose(parts.sum(), log_prob, rtol=1e-6)


def test_nothing_comes_after_the_end():
    params = as_float32()
    dist = model(params, end_token=2)
    draws = np.asarray(jax.jit(jax.vmap(dist.sample))(jax.random.split(jax.random.key(0), 500)))
    ended = np.cumsum(draws == 2, axis=1) > 0
    assert np.all(draws[ended] == 2) and np.any(ended[:, 0]) and not np.all(ended[:, -1])
    log_probs, whole = jax.jit(lambda all, some: (jax.vmap(dist.log_prob)(all), jax.vmap(dist.log_probs)(some)))(
        SEQUENCES, draws
    )
    np.testing.assert_allclose(np.sum(np.exp(log_probs)), 1.0, rtol=1e-5)
    before = np.concatenate([np.zeros((500, 1), bool), ended[:, :-1]], axis=1)
    np.testing.assert_array_equal(np.asarray(whole)[before], 0.0)
    _, together = jax.jit(jax.vmap(dist.sample_and_log_prob))(jax.random.split(jax.random.key(0), 500))
    np.testing.assert_allclose(together, whole.sum(axis=1), rtol=1e-5)
    assert jax.jit(dist.log_prob)(np.array([2, 0, 0, 0, 0])) == -np.inf


def test_a_choice_of_a_program():
    params = as_float32()
    reward = lambda x: jnp.sum(jnp.sin(x.astype(float)))
    program = lambda p, key: reward(sf.sample(key, model(p)))
    probs = lambda p: jnp.exp(jax.vmap(model(p).log_prob)(SEQUENCES))
    exact = jax.jit(jax.grad(lambda p: jnp.sum(probs(p) * jax.vmap(reward)(SEQUENCES))))(params)
    with jax.debug_key_reuse(False):
        runs = sf.testing.replicate(
            lambda k: jax.grad(sf.expectation(program, num_samples=4))(params, k), jax.random.key(2), 10_000
        )
    sf.testing.assert_unbiased(runs, exact, precision=0.05)


@pytest.mark.parametrize(
    "bad, words",
    [
        (lambda p, c, t: (c, p["table"]), "logits are"),
        (lambda p, c, t: ((c[0], c[0]), p["first"]), "the carry was"),
    ],
)
def test_a_step_that_does_not_fit_is_told_so(bad, words):
    dist = sf.Autoregressive(step=bad, params=as_float32(), carry=(jnp.zeros(()), jnp.zeros((), jnp.int32)), length=3)
    with pytest.raises(TypeError, match=words):
        dist.sample(jax.random.key(0))


def test_token_log_probs_are_shifted_and_masked():
    logits, tokens = RNG.normal(size=(6, 3)).astype(np.float32), np.array([0, 2, 1, 1, 0, 2])
    answer = np.array([False, False, True, True, True, False])
    run = jax.jit(lambda l, tokens: pg.token_log_probs(l, tokens, answer))
    grad = jax.jit(jax.grad(lambda l, tokens: jnp.sum(pg.token_log_probs(l, tokens, answer))))
    got = run(logits, tokens)
    normalised = np.asarray(jax.jit(jax.nn.log_softmax)(logits))
    for t in range(6):
        wanted = normalised[t - 1, tokens[t]] if answer[t] else 0.0
        np.testing.assert_allclose(got[t], wanted, rtol=1e-6)
    # what stands at the prompt and in the padding does not matter, whatever it is
    rubbish, other = logits.copy(), tokens.copy()
    rubbish[0], rubbish[5], other[5] = np.nan, np.inf, -7
    slopes = grad(logits, other)
    np.testing.assert_allclose(run(rubbish, other), got, rtol=1e-6)
    np.testing.assert_allclose(grad(rubbish, other), slopes, rtol=1e-6)
    assert np.all(slopes[np.array([0, 4, 5])] == 0)
    with pytest.raises(TypeError, match="one sequence"):
        pg.token_log_probs(logits[None], tokens[None], answer[None])
    with pytest.raises(TypeError, match="booleans"):
        pg.token_log_probs(logits, tokens, answer.astype(int))


# All 1,024 sequences


def scores(params):
    """Log-probabilities of each token of each sequence, (1024, T)."""
    return jax.vmap(model(params).log_probs)(SEQUENCES)


def exact_gradient(params):
    return jax.jit(jax.grad(lambda p: jnp.sum(jnp.exp(scores(p).sum(axis=1)) * REWARDS)))(params)


def mean_over_pairs(params, loss):
    """The gradient of minus the loss of a group of two, averaged over every pair of sequences."""
    probs = jnp.exp(scores(params).sum(axis=1))
    slopes = jax.jacrev(scores)(params)  # of each token of each sequence

    def of_pair(i, j):
        # the loss depends on the parameters by the log-probabilities alone: its slopes in those, and the chain rule
        l = scores_[jnp.array([i, j])]
        return jax.grad(lambda l: -loss(l, rewards[jnp.array([i, j])]))(l)

    scores_, rewards = scores(params), jnp.asarray(REWARDS)
    index = jnp.arange(len(SEQUENCES))

    def row(i):
        pairs = jax.vmap(of_pair, in_axes=(None, 0))(i, index)  # (1024, 2, T)
        return probs[i] * jnp.einsum("j,jt->t", probs, pairs[:, 0]), probs[i] * probs[:, None] * pairs[:, 1]

    first, second = jax.lax.map(row, index)
    weights = first + jnp.sum(second, axis=0)
    return jax.tree.map(lambda s: jnp.einsum("it,it...->...", weights, s), slopes)


def grpo_loss(l, r, divide_by_std, baseline="mean"):
    advantages = pg.group_advantages(r, group_axis=0, baseline=baseline, divide_by_std=divide_by_std)
    return pg.mean_loss(jax.vmap(lambda l, a: pg.grpo(l, l, a))(l, advantages))


def test_rloo_is_exact_over_all_pairs_of_sequences(x64):
    params = jax.tree.map(jnp.asarray, PARAMS)
    exact = exact_gradient(params)
    mean = jax.jit(functools.partial(mean_over_pairs, loss=lambda l, r: pg.mean_loss(pg.rloo(l, r))))(params)
    for a, b in zip(jax.tree.leaves(mean), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_grpo_is_not_exact_over_all_pairs_of_sequences_and_its_bias_is_printed(x64):
    params = jax.tree.map(jnp.asarray, PARAMS)
    flat = lambda tree: jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree)])
    wanted = flat(exact_gradient(params))
    for name, how, ratio in [("leave-one-out", {"divide_by_std": False, "baseline": "leave_one_out"}, 1.0),
                             ("mean", {"divide_by_std": False}, 0.5), ("over std", {"divide_by_std": True}, None)]:  # fmt: skip
        got = flat(jax.jit(functools.partial(mean_over_pairs, loss=functools.partial(grpo_loss, **how)))(params))
        bias = float(jnp.linalg.norm(got - wanted) / jnp.linalg.norm(wanted))
        cosine = float(got @ wanted / jnp.linalg.norm(got) / jnp.linalg.norm(wanted))
        print(f"GRPO, group of 2, {name}: bias {bias:.3f} of the gradient's length, cosine {cosine:.4f}")
        if ratio is not None:
            np.testing.assert_allclose(got, ratio * wanted, rtol=1e-10, atol=1e-12)
        else:
            assert bias > 0.05 and cosine > 0.8


@pytest.mark.statistical
def test_groups_of_eight_sampled_answers():
    params = as_float32()
    rewards = jnp.asarray(REWARDS, jnp.float32)
    number = jnp.asarray(TOKENS ** np.arange(LENGTH - 1, -1, -1), jnp.int32)

    def gradient(key):
        x = jax.lax.stop_gradient(jax.vmap(model(params).sample)(jax.random.split(key, 8)))
        return jax.grad(lambda p: -pg.mean_loss(pg.rloo(jax.vmap(model(p).log_probs)(x), rewards[x @ number])))(params)

    with jax.debug_key_reuse(False):
        runs = sf.testing.replicate(gradient, jax.random.key(3), 10_000)
    sf.testing.assert_unbiased(runs, jax.tree.map(np.asarray, exact_gradient(params)), precision=0.05)


@pytest.mark.slow
def test_rloo_of_a_reward_that_depends_on_the_parameters_and_its_second_derivative(x64):
    """A penalty on the divergence from a reference, as a part of the reward: exact over all pairs, to second order."""
    sequences = np.array(list(itertools.product(range(2), repeat=2)), np.int32)
    dist = lambda p: sf.Autoregressive(step=lambda t, c, x: (c, t[x]), params=p, carry=(), length=2)
    params, ref = jnp.array([[0.3, -0.2], [0.5, 0.1]]), jnp.array([[-0.1, 0.4], [0.2, -0.3]])
    reward = lambda p, x: (
        jnp.sin(x[0].astype(float) + 2.0 * x[1].astype(float)) - 0.3 * (dist(p).log_prob(x) - dist(ref).log_prob(x))
    )
    value = lambda p: jnp.sum(jnp.exp(logs(p).sum(axis=1)) * rewards(p))

    pairs = jnp.asarray(list(itertools.product(range(4), repeat=2)))
    logs, rewards = (
        (lambda p: jax.vmap(dist(p).log_probs)(sequences)),
        (lambda p: jax.vmap(lambda x: reward(p, x))(sequences)),
    )
    estimate = lambda p, pair: -pg.mean_loss(pg.rloo(logs(p)[pair], rewards(p)[pair]))
    for order in (jax.grad, jax.hessian):
        of_pairs = jax.jit(jax.vmap(order(estimate), in_axes=(None, 0)))(params, pairs)
        weights = jnp.exp(logs(params).sum(axis=1)[pairs].sum(axis=1))
        mean = jnp.einsum("i,i...->...", weights, of_pairs)
        np.testing.assert_allclose(mean, jax.jit(order(value))(params), rtol=1e-10, atol=1e-12)


def test_what_has_no_probability_is_an_error_and_under_jit_nan():
    logits, answer = np.zeros((4, 3), np.float32), np.array([False, False, True, True])
    run = jax.jit(pg.token_log_probs)
    for token in (3, -1, 7):
        tokens = np.array([9, -5, token, 1])
        with pytest.raises(ValueError, match=f"a token {token} where the logits are of tokens 0 to 2"):
            pg.token_log_probs(logits, tokens, answer)
        got, slopes = run(logits, tokens, answer), jax.grad(lambda l, t=tokens: run(l, t, answer)[3])(logits)
        assert np.isnan(got[2]) and np.all(np.isfinite(np.asarray(got)[[0, 1, 3]])) and np.all(np.isfinite(slopes))
    first = np.array([True, True, True, True])
    with pytest.raises(ValueError, match="answer.0. is True"):
        pg.token_log_probs(logits, np.zeros(4, int), first)
    with pytest.raises(ValueError, match="answer.0. is True"):
        jax.jit(lambda l: pg.token_log_probs(l, np.zeros(4, int), first))(logits)  # what is known can be looked at
    l = run(logits, np.zeros(4, int), first)
    assert np.isnan(l[0]) and np.isnan(pg.grpo(l, l, 1.0, mask=first).sum)


def test_a_sequence_that_is_all_padding_counts_nowhere():
    l, r = RNG.normal(size=(4, 3)).astype(np.float32), np.array([1.0, 0.0, 5.0, np.nan], np.float32)
    mask = np.array([[True] * 3, [True, True, False], [False, True, True], [False] * 3])
    run = jax.jit(lambda l, r, m: (pg.rloo(l, r, mask=m), jax.grad(lambda l: pg.rloo(l, r, mask=m).sum)(l)))
    (loss, grad), (without, other_grad) = run(l, r, mask), run(l[:3], r[:3], mask[:3])
    np.testing.assert_allclose([*loss], [*without], rtol=1e-6)
    np.testing.assert_allclose(grad[:3], other_grad, rtol=1e-5)
    assert loss.weight == 3 and np.all(grad[3] == 0)
    for reduction in ("sequence_sum", "token_mean", "sequence_mean"):
        losses = jax.jit(jax.vmap(lambda l, m, how=reduction: pg.grpo(l, l, 1.0, reduction=how, mask=m)))(l, mask)
        assert losses.weight[3] == losses.sum[3] == 0
        np.testing.assert_allclose(pg.mean_loss(losses), -7 / 3 if reduction == "sequence_sum" else -1)


def test_no_steps_are_no_error():
    none, no = np.zeros(0, np.float32), np.zeros(0, bool)

    @jax.jit
    def run():
        arrays = [pg.token_log_probs(np.zeros((0, 5), np.float32), np.zeros(0, int), no), pg.gae(none, none, none)]
        losses = [pg.reward_to_go(none, none), pg.reinforce(none, none, mask=no), pg.kl_loss(none, none)]
        losses += [pg.grpo(none, none, 1.0), pg.rloo(np.zeros((2, 0), np.float32), np.ones(2, np.float32))]
        return [*arrays, *pg.vtrace(none, none, none, none, mask=no)], losses

    arrays, losses = run()
    assert all(x.shape == (0,) for x in arrays)
    assert all(loss.sum == 0 and loss.weight == 0 for loss in losses)


def test_padding_in_answers_changes_nothing():
    l, r = RNG.normal(size=(3, 4)).astype(np.float32), np.array([1.0, 0.0, 2.0], np.float32)
    padded = np.concatenate([l, np.full((3, 2), -np.inf, np.float32)], axis=1)
    mask = np.broadcast_to(np.arange(6) < 4, (3, 6))
    run = jax.jit(jax.value_and_grad(lambda l, m: pg.rloo(l, r, mask=m).sum))
    (value, grad), (other, other_grad) = run(l, np.ones((3, 4), bool)), run(padded, mask)
    assert value == other == -3.0
    np.testing.assert_allclose(other_grad[:, :4], grad)
    assert np.all(other_grad[:, 4:] == 0)
    with pytest.raises(TypeError, match="one group"):
        pg.rloo(l, r[:2])
    with pytest.raises(ValueError, match="two answers"):
        pg.rloo(l[:1], r[:1])
    for dtype in (int, float):
        with pytest.raises(TypeError, match="rloo: mask is an array of booleans.*pass mask != 0"):
            pg.rloo(l, r, mask=np.ones((3, 4), dtype))


# Where a penalty is put, and what its expected gradient then is


@pytest.mark.slow
def test_the_placement_of_a_divergence_decides_its_gradient(x64):
    """Two steps of a policy with three actions and two states, all nine trajectories."""
    theta, ref = jnp.asarray(RNG.normal(size=(4, 3))), jnp.asarray(RNG.normal(size=(4, 3)))
    paths = np.array(list(itertools.product(range(3), repeat=2)))
    states = np.stack([np.zeros(9, int), 1 + paths[:, 0]], axis=1)

    def logs(t):
        return jax.nn.log_softmax(t)[states, paths]

    def divergence(t):
        return jnp.sum(jnp.exp(logs(t).sum(axis=1)) * (logs(t) - logs(ref)).sum(axis=1))

    def expected(loss):
        grads = jax.vmap(lambda i: jax.grad(lambda t: loss(logs(t)[i], logs(ref)[i]))(theta))(jnp.arange(9))
        return jnp.einsum("i,i...->...", jnp.exp(logs(theta).sum(axis=1)), grads)

    exact = jax.grad(divergence)(theta)
    k1 = lambda l, r: l - r
    placements = {
        "kl_loss": lambda l, r: pg.kl_loss(l, r).sum,
        "k1 as a reward": lambda l, r: -pg.reward_to_go(l, k1(l, r)).sum,
        "k1 in the loss": lambda l, r: jnp.sum(k1(l, r)),
        "k2 in the loss": lambda l, r: jnp.sum(k1(l, r) ** 2 / 2),
        "k3 in the loss": lambda l, r: jnp.sum(jnp.exp(-k1(l, r)) - 1 + k1(l, r)),
    }
    got = {name: expected(loss) for name, loss in placements.items()}
    np.testing.assert_allclose(got["kl_loss"], exact, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(got["k1 as a reward"], exact, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(got["k1 in the loss"], 0.0, atol=1e-12)
    # k2 charges an action with its own term alone: right at the last step, and not before it
    np.testing.assert_allclose(got["k2 in the loss"][1:], exact[1:], rtol=1e-10, atol=1e-12)
    assert np.max(np.abs(got["k2 in the loss"] - exact)) > 0.01
    # k3 follows the other divergence, KL(ref || pi), step by step
    assert np.max(np.abs(got["k3 in the loss"] - exact)) > 0.01
    last = lambda t: jnp.sum(
        jax.lax.stop_gradient(jnp.exp(jax.nn.log_softmax(theta)[0]))
        * jnp.sum(jax.nn.softmax(ref)[1:] * (jax.nn.log_softmax(ref)[1:] - jax.nn.log_softmax(t)[1:]), axis=1)
    )
    np.testing.assert_allclose(got["k3 in the loss"][1:], jax.grad(last)(theta)[1:], rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_the_entropy_of_trajectories_has_its_gradient(x64):
    theta = jnp.asarray(RNG.normal(size=(4, 3)))
    paths = np.array(list(itertools.product(range(3), repeat=2)))
    states = np.stack([np.zeros(9, int), 1 + paths[:, 0]], axis=1)
    logs = lambda t: jax.nn.log_softmax(t)[states, paths]
    minus_entropy = lambda t: jnp.sum(jnp.exp(logs(t).sum(axis=1)) * logs(t).sum(axis=1))
    for order in (jax.grad, jax.hessian):
        one = jax.vmap(lambda i: order(lambda t: pg.entropy_loss(logs(t)[i]).sum)(theta))(jnp.arange(9))
        mean = jnp.einsum("i,i...->...", jnp.exp(logs(theta).sum(axis=1)), one)
        np.testing.assert_allclose(mean, order(minus_entropy)(theta), rtol=1e-9, atol=1e-11)
