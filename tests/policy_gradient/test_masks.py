"""A masked step is one that nobody chose: the numbers that were wrong, and what every function is held to."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from policy_calls import CALLS, covered, functions_with, random_row

import jax_scorefn.policy_gradient as pg

F, T = False, True
CHOICES, STEPS, SEEDS = 9, 15, range(12)
REWARDED = ("discounted_returns", "gae", "lambda_returns", "vtrace", "reinforce", "reward_to_go")


def expand(row, seed):
    """The same choices with masked steps among them, in front and behind: reward 0, no end, and NaN elsewhere."""
    rng = np.random.default_rng(100 + seed)
    mask = np.zeros(STEPS, bool)
    mask[np.sort(rng.choice(STEPS, CHOICES, replace=False))] = True
    wide = {}
    for name, x in row.items():
        wide[name] = x
        if x.ndim:
            wide[name] = np.zeros(STEPS, x.dtype) if x.dtype == bool or name == "r" else np.full(STEPS, np.nan, x.dtype)
            wide[name][mask] = x
    wide["mask"] = mask
    # what a critic says of a masked step counts nowhere: also as v_t of the choice in front of it
    ended = wide["terminated"] | wide["truncated"] | (wide["discount"] == 0)
    for t in np.flatnonzero(mask)[:-1]:
        if not ended[t] and not mask[t + 1]:
            wide["v_t"][t] = np.nan
    return wide, ended


def number_of(call):
    """Outputs, and the gradients of one number that is made of them, in every array of floats."""
    floats = lambda row: {name: x for name, x in row.items() if jnp.issubdtype(jnp.result_type(x), jnp.floating)}

    def total(held, row, weights):
        outputs = call({**row, **held})
        parts = [x if x.ndim == 0 else jnp.sum(x * weights) for x in jax.tree.leaves(outputs)]
        return parts[0] + sum(0.3 * x for x in parts[1:]), outputs

    return jax.jit(lambda row, weights: jax.value_and_grad(total, has_aux=True)(floats(row), row, weights))


RUN = {name: number_of(call) for name, call in CALLS.items()}
WEIGHTS = np.cos(np.arange(CHOICES, dtype=np.float32))


def run(name, row, runs=RUN):
    """Outputs and gradients at the choices."""
    mask = row.get("mask", np.ones(CHOICES, bool))
    weights = np.zeros(len(mask), np.float32)
    weights[mask] = WEIGHTS
    (_, outputs), grads = runs[name](row, weights)
    for x in jax.tree.leaves(outputs):
        assert x.ndim == 0 or np.all(np.asarray(x)[~mask] == 0)
    for label, slope in grads.items():
        assert np.all(np.isfinite(slope)), label
        unread = ~mask & ~row["truncated"] if label == "v_t" else ~mask
        assert label in ("r", "gain") or np.all(np.asarray(slope)[unread] == 0), label
    at = lambda x: x if x.ndim == 0 else np.asarray(x)[mask]
    return jax.tree.map(at, outputs), jax.tree.map(at, grads)


def assert_same(a, b, without=()):
    (outputs, grads), (others, other_grads) = a, b
    for x, y in zip(jax.tree.leaves(outputs), jax.tree.leaves(others), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-5)
    for label in grads.keys() - set(without):
        np.testing.assert_allclose(grads[label], other_grads[label], rtol=2e-5, atol=2e-5, err_msg=label)


# Where masked steps lie between two choices, the value after the first is that of the second: so the sum of the two slopes is the same
VALUES = ("v_tm1", "v_t")


def check_insertion(name, runs=RUN):
    for seed in SEEDS:
        row = random_row(seed, CHOICES)
        plain, wide = run(name, row, runs), run(name, expand(row, seed)[0], runs)
        assert_same(plain, wide, VALUES)
        slopes, others = plain[1], wide[1]
        shifted = lambda g: np.sum(g["v_tm1"]) + np.sum(g["v_t"])
        np.testing.assert_allclose(shifted(slopes), shifted(others), rtol=1e-4, atol=1e-4)


def check_moving(name, runs=RUN):
    moved = 0
    for seed in SEEDS:
        wide, ended = expand(random_row(seed, CHOICES), seed)
        other = {label: x.copy() for label, x in wide.items()}
        for t in np.flatnonzero(wide["mask"][:-1] & ~wide["mask"][1:] & ~ended[:-1]):
            last = t + 1
            while last + 1 < STEPS and not wide["mask"][last + 1]:
                last += 1
            other["r"][[t, t + 1, last]] = 0.0
            other["r"][t + 1] += 0.25 * wide["r"][t]
            other["r"][last] += 0.75 * wide["r"][t]
            moved += 1
        assert_same(run(name, wide, runs), run(name, other, runs))
    assert moved > 10


def test_every_function_with_a_mask_is_held_to_it():
    of_members_and_rows = {"group_advantages", "informative", "best_of_group", "unpack"}
    assert functions_with("mask") - of_members_and_rows == covered()


@pytest.mark.parametrize("name", CALLS)
def test_inserting_masked_steps_changes_nothing(name):
    check_insertion(name)


@pytest.mark.parametrize("name", REWARDED)
def test_moving_a_reward_to_the_masked_steps_behind_it_changes_nothing(name):
    check_moving(name)


def test_where_a_masked_step_ends_the_episode_both_properties_fail():
    """The broken twin: padding as what comes after an end."""

    def ending(row):
        following = jnp.concatenate([row["mask"][1:], jnp.ones(1, bool)]) if "mask" in row else jnp.ones(CHOICES, bool)
        return CALLS["discounted_returns"]({**row, "terminated": row["terminated"] | ~following})

    runs = {"twin": number_of(ending)}
    for check in (check_insertion, check_moving):
        with pytest.raises(AssertionError):
            check("twin", runs)


@pytest.mark.parametrize("name", REWARDED)
def test_an_end_may_stand_on_a_masked_step(name):
    """At the last masked step behind a choice, with the value that it is cut at, in place of the choice itself."""
    moved = 0
    for seed in SEEDS:
        wide, ended = expand(random_row(seed, CHOICES), seed)
        other = {label: x.copy() for label, x in wide.items()}
        for t in np.flatnonzero(wide["mask"][:-1] & ~wide["mask"][1:] & ended[:-1]):
            other["terminated"][t + 1], other["truncated"][t + 1] = wide["terminated"][t], wide["truncated"][t]
            other["terminated"][t] = other["truncated"][t] = False
            other["v_t"][[t, t + 1]] = np.nan, wide["v_t"][t]
            if wide["discount"][t] == 0:
                other["discount"][[t, t + 1]] = 0.5, 0.0
            elif wide["terminated"][t]:
                other["v_t"][t + 1] = np.nan
            moved += 1
        (outputs, _), (others, _) = run(name, wide), run(name, other)
        for x, y in zip(jax.tree.leaves(outputs), jax.tree.leaves(others), strict=True):
            np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-5)
    assert moved > 10


def by_hand(row):
    """Returns, errors, weights of the losses: step by step over the choices of each episode, in a list of turns."""
    episodes, turns, front, value = [], [], 0.0, 0.0
    steps = len(row["r"])
    for t in range(steps):
        if row["mask"][t]:
            turns.append({"t": t, "r": row["r"][t], "after": row["v_t"][t], "discount": row["discount"][t]})
        elif turns:
            turns[-1]["r"] += row["r"][t]
        else:
            front += row["r"][t]
        end = row["terminated"][t] or row["discount"][t] == 0
        if end or row["truncated"][t] or t == steps - 1:
            if turns:
                if end:
                    turns[-1]["discount"] = 0.0
                elif row["truncated"][t]:
                    turns[-1]["after"] = row["v_t"][t]
                episodes.append((turns, front))
            turns, front = [], 0.0
    returns, errors, slopes = np.zeros((3, steps))
    for turns, front in episodes:
        after, error, before = None, 0.0, 1.0
        for turn, following in reversed(list(zip(turns, [*turns[1:], None], strict=True))):
            t, gamma = turn["t"], turn["discount"]
            bootstrap = 0.0 if gamma == 0 else turn["after"] if following is None else row["v_tm1"][following["t"]]
            after = turn["r"] + (gamma * after if following else gamma * bootstrap if gamma else 0.0)
            error = turn["r"] + gamma * bootstrap - row["v_tm1"][t] + 0.7 * gamma * error * (following is not None)
            returns[t], errors[t] = after, error
        for turn in turns:
            slopes[turn["t"]] = -before * returns[turn["t"]]
            before *= turn["discount"]
        value += front + returns[turns[0]["t"]]
    return {"returns": returns, "errors": errors, "slopes": slopes, "value": value, "weight": len(episodes)}


@pytest.mark.parametrize("seed", range(6))
def test_rows_of_turns_against_plain_python(seed):
    """Rewards everywhere, ends on choices and on masked steps, several in one row."""
    rng = np.random.default_rng(seed)
    row = random_row(seed, STEPS)
    row["mask"] = rng.uniform(size=STEPS) < 0.5
    row["discount"] = np.where(rng.uniform(size=STEPS) < 0.1, 0, row["discount"]).astype(np.float32)
    wanted = by_hand({name: x.astype(float) if x.dtype == np.float32 else x for name, x in row.items()})

    @jax.jit
    def run(row):
        ends = {name: row[name] for name in ("terminated", "truncated", "mask")}
        ends |= {"discount_t": row["discount"], "v_t": row["v_t"]}
        go = lambda l: pg.reward_to_go(l, row["r"], **ends)
        whole = lambda l: pg.reinforce(l, row["r"], **ends)
        slopes = [jax.grad(lambda l, loss=loss: loss(l).sum)(row["l"]) for loss in (go, whole)]
        return go(row["l"]), whole(row["l"]), slopes, CALLS["discounted_returns"](row), CALLS["gae"](row)

    go, whole, (slopes, whole_slopes), returns, errors = run(row)
    np.testing.assert_allclose(returns, wanted["returns"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(errors, wanted["errors"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(slopes, wanted["slopes"], rtol=1e-5, atol=1e-5)
    for loss in (go, whole):
        np.testing.assert_allclose(loss.sum, -wanted["value"], rtol=1e-5, atol=1e-5)
        assert loss.weight == wanted["weight"]
    assert np.all(np.asarray(whole_slopes)[~row["mask"]] == 0)


# The numbers


def value_and_slopes(loss, *arrays, **how):
    made = jax.jit(lambda *a: (loss(*a, **how), jax.grad(lambda l: loss(l, *a[1:], **how).sum)(a[0])))(*arrays)
    return float(made[0].sum), float(made[0].weight), np.asarray(made[1])


@pytest.mark.parametrize("loss", [pg.reinforce, pg.reward_to_go])
def test_a_prompt_does_not_lose_the_start(loss):
    total, weight, slopes = value_and_slopes(
        loss, np.zeros(4, np.float32), np.float32([0, 0, 0, 1]), mask=np.array([F, F, T, T])
    )
    assert (total, weight) == (-1.0, 1.0)
    np.testing.assert_array_equal(slopes, [0, 0, -1, -1])
    # two rows packed into one, each with its prompt
    mask, ends = np.array([F, T, T, F, F, T]), np.array([F, F, T, F, F, T])
    total, weight, slopes = value_and_slopes(
        loss, np.zeros(6, np.float32), np.float32([0, 0, 1, 0, 0, 5]), mask=mask, terminated=ends
    )
    assert (total, weight) == (-6.0, 2.0)
    np.testing.assert_array_equal(slopes, [0, -1, -1, 0, 0, -5])


def test_penalties_of_answers_behind_a_prompt_are_averaged():
    l = np.log(np.float32([[0.5, 0.5, 0.4, 0.6]] * 4))
    ref, mask = l - np.float32(0.45) * np.array([0, 0, 1, 1], np.float32), np.array([F, F, T, T])

    @jax.jit
    def run(l, ref):
        losses = jax.vmap(lambda l, ref: pg.kl_loss(l, ref, mask=mask))(l, ref)
        return pg.mean_loss(losses), losses.weight, pg.entropy_loss(l[0], mask=mask)

    mean, weights, entropy = run(l, ref)
    np.testing.assert_allclose(mean, 0.9, rtol=1e-5)
    np.testing.assert_allclose(entropy.sum, np.log(0.4 * 0.6), rtol=1e-6)
    assert np.all(np.asarray(weights) == 1) and entropy.weight == 1


def test_an_observation_between_two_turns_does_not_end_the_episode():
    mask = np.array([T, T, F, F, T, T])
    np.testing.assert_array_equal(pg.discounted_returns(np.float32([0, 0, 0, 0, 0, 1]), mask=mask), [1, 1, 0, 0, 1, 1])
    # a reward of the observation, and one on a masked last position, are the choice's in front of it; each choice has one discount
    got = pg.discounted_returns(np.float32([0, 0, 4, 0, 0, 8]), discount_t=0.5, mask=np.array([T, T, F, F, T, F]))
    np.testing.assert_array_equal(got, [4, 8, 0, 0, 8, 0])


def test_rewards_in_front_of_the_first_choice_are_in_the_value_and_in_no_gradient():
    mask, r = np.array([F, T, F, T]), np.float32([5, 1, 0, 2])
    for loss in (pg.reinforce, pg.reward_to_go):
        total, weight, slopes = value_and_slopes(loss, np.zeros(4, np.float32), r, mask=mask, discount_t=0.5)
        assert (total, weight) == (-7.0, 1.0)
        np.testing.assert_array_equal(slopes, [0, -2, 0, -2 if loss is pg.reinforce else -1])
    np.testing.assert_array_equal(pg.discounted_returns(r, mask=mask, discount_t=0.5), [0, 2, 0, 2])


def test_an_episode_without_a_choice_counts_nowhere():
    ends = np.array([F, T, F, T, F, F])
    mask, r = np.array([F, F, T, T, F, F]), np.float32([np.nan, np.nan, 1, 1, np.nan, np.nan])
    for loss in (pg.reinforce, pg.reward_to_go):
        total, weight, slopes = value_and_slopes(loss, np.full(6, -1, np.float32), r, mask=mask, terminated=ends)
        assert (total, weight) == (-2.0, 1.0) and np.all(np.isfinite(slopes))
    run = jax.jit(lambda row: [call(row) for call in CALLS.values()])
    found = run({**random_row(0, 6), "mask": np.zeros(6, bool)})
    assert all(np.all(np.asarray(x) == 0) for x in jax.tree.leaves(found))  # sums, weights, and what steps have


@pytest.mark.parametrize("discount", [[1, 1, 0, 1, 1, 0], None])
def test_a_discount_of_zero_is_an_end_for_all(discount):
    """As in dm_env. The weight is the number of episodes, and the second one is not lost."""
    ends = {"discount_t": np.float32(discount)} if discount else {"terminated": np.array([F, F, T, F, F, T])}
    total, weight, slopes = value_and_slopes(pg.reward_to_go, np.zeros(6, np.float32), np.ones(6, np.float32), **ends)
    assert (total, weight) == (-6.0, 2.0)
    np.testing.assert_array_equal(slopes, [-3, -2, -1, -3, -2, -1])
    total, weight, slopes = value_and_slopes(pg.reinforce, np.zeros(6, np.float32), np.ones(6, np.float32), **ends)
    assert (total, weight) == (-6.0, 2.0)
    np.testing.assert_array_equal(slopes, [-3.0] * 6)


@pytest.mark.parametrize("name", REWARDED)
def test_every_function_reads_a_discount_of_zero_as_a_termination(name):
    for seed in SEEDS:
        row = random_row(seed, CHOICES)
        row["terminated"] = row["discount"] == 0
        flagged = {**row, "discount": np.where(row["discount"] == 0, np.float32(0.9), row["discount"])}
        by_discount = {**row, "terminated": np.zeros(CHOICES, bool)}
        assert_same(run(name, by_discount), run(name, flagged))


def test_a_policy_of_two_turns_by_enumeration(x64):
    """Two tokens, two observations that depend on them, two tokens: expected gradients of the reward and of the divergence."""
    rng = np.random.default_rng(5)
    theta, ref = jnp.asarray(rng.normal(size=(8, 2))), jnp.asarray(rng.normal(size=(8, 2)))
    paths = np.array(list(itertools.product(range(2), repeat=4)))  # a0 a1 | a2 a3
    states = np.stack([0 * paths[:, 0], 1 + paths[:, 0], 3 + paths[:, 1] * paths[:, 0], 5 + paths[:, 2]], axis=1)
    reward = jnp.asarray(rng.normal(size=16))  # of the whole path, at the last token
    logs = lambda t: jax.nn.log_softmax(t)[states, paths]
    probs = lambda t: jnp.exp(jnp.sum(logs(t), axis=1))
    mask = np.array([T, T, F, F, T, T])

    def row(x, fill):
        return jnp.concatenate([x[:2], jnp.full(2, fill), x[2:]])

    def expected(loss):
        one = lambda t, i: loss(row(logs(t)[i], jnp.nan), row(logs(ref)[i], jnp.nan), reward[i]).sum
        grads = jax.vmap(jax.grad(one), (None, 0))(theta, jnp.arange(16))
        return jnp.einsum("i,i...->...", probs(theta), grads)

    @jax.jit
    def both(theta):
        of_reward = jax.grad(lambda t: -jnp.sum(probs(t) * reward))(theta)
        divergence = lambda t: jnp.sum(probs(t) * jnp.sum(logs(t) - logs(ref), axis=1))
        r = lambda reward: jnp.zeros(6).at[5].set(reward)
        losses = [
            lambda l, ref, reward: pg.reward_to_go(l, r(reward), mask=mask),
            lambda l, ref, reward: pg.reinforce(l, r(reward), mask=mask, baseline=0.3),
            lambda l, ref, reward: pg.kl_loss(l, ref, mask=mask),
        ]
        return of_reward, jax.grad(divergence)(theta), [expected(loss) for loss in losses]

    of_reward, of_divergence, (to_go, whole, kl) = both(theta)
    np.testing.assert_allclose(to_go, of_reward, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(whole, of_reward, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(kl, of_divergence, rtol=1e-10, atol=1e-12)


def test_penalties_of_packed_rows_are_those_of_their_episodes():
    """Two episodes in a row, the second with a prompt: the sums of sums and weights of each by itself."""
    l = jnp.array([-1.0, -2.0, -0.5, -1.5, -0.7])
    ref, end = l + jnp.array([0.3, -0.2, 0.4, 0.1, -0.6]), jnp.array([False, True, False, False, True])
    mask = jnp.array([True, True, False, True, True])

    @jax.jit
    def all_of(l):
        found = {}
        for name, loss in (("kl", pg.kl_loss), ("entropy", lambda l, ref, **how: pg.entropy_loss(l, **how))):
            slope = lambda l, ref, loss=loss, **how: (
                loss(l, ref, **how),
                jax.grad(lambda l: loss(l, ref, **how).sum)(l),
            )
            parts = [slope(l[a:b], ref[a:b], mask=mask[a:b]) for a, b in ((0, 2), (2, 5))]
            found[name] = slope(l, ref, terminated=end, mask=mask), parts, slope(l, ref, mask=mask)
        return found

    for (packed, slopes), ((first, head), (second, tail)), (_, joined) in all_of(l).values():
        np.testing.assert_allclose(packed.sum, first.sum + second.sum, rtol=1e-6)
        assert packed.weight == 2 == first.weight + second.weight
        np.testing.assert_allclose(slopes, jnp.concatenate([head, tail]), rtol=1e-6)
        assert not np.allclose(slopes, joined)
