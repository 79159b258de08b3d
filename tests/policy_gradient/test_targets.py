"""Targets of n steps, of Retrace and of UPGO against their sums step by step; and the gradient of all actions, and the size of returns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering
from policy_calls import random_row

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg

STEPS = 12


def steps_of(seed):
    """Arrays, and for each step its discount (0 at a termination) and whether another step of the episode follows."""
    row = random_row(seed, STEPS)
    discount = np.where(row["terminated"], 0.0, row["discount"])
    goes_on = ~(row["terminated"] | row["truncated"] | (row["discount"] == 0))
    goes_on[-1] = False
    return row, discount, goes_on


def ends(row):
    return {"discount_t": row["discount"], "terminated": row["terminated"], "truncated": row["truncated"]}


@pytest.mark.parametrize("n, seed", covering([(n, seed) for n in (1, 2, 5, 20) for seed in range(4)]))
def test_n_steps_by_hand(n, seed):
    row, discount, goes_on = steps_of(seed)
    wanted = []
    for t in range(STEPS):
        total, product, k = 0.0, 1.0, t
        while True:
            total, product = total + product * row["r"][k], product * discount[k]
            if k - t + 1 == n or not goes_on[k]:
                break
            k += 1
        wanted.append(total + product * row["v_t"][k])
    got = jax.jit(lambda r, b, v: pg.n_step_returns(r, b, v, n=n, **ends(row)))(row["r"], row["v_tm1"], row["v_t"])
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_n_steps_are_the_ends_of_lambda():
    row, *_ = steps_of(0)
    args = row["r"], row["v_tm1"], row["v_t"]
    run = jax.jit(lambda *a: (
        pg.n_step_returns(*a, n=1, **ends(row)), pg.lambda_returns(*a, lambda_=0.0, **ends(row)),
        pg.n_step_returns(*a, n=STEPS, **ends(row)), pg.lambda_returns(*a, lambda_=1.0, **ends(row)),
    ))  # fmt: skip
    one, zero, every, whole = run(*args)
    np.testing.assert_allclose(one, zero, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(every, whole, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="n is a positive Python int"):
        pg.n_step_returns(*args, n=0)


@pytest.mark.parametrize("seed", range(4))
def test_retrace_and_upgo_by_hand(seed):
    row, discount, goes_on = steps_of(seed)
    r, q, v, rho = row["r"], row["target"], row["v_t"], np.exp(row["log_rho"])
    retrace, upgo = np.zeros(STEPS), np.zeros(STEPS)
    for t in reversed(range(STEPS)):
        bootstrap = 0.0 if discount[t] == 0 else v[t]
        after, best = bootstrap, bootstrap
        if goes_on[t]:
            after += 0.7 * min(1.0, rho[t + 1]) * (retrace[t + 1] - q[t + 1])
            following = 0.0 if discount[t + 1] == 0 else v[t + 1]
            if r[t + 1] + discount[t + 1] * following >= row["v_tm1"][t + 1]:
                best = upgo[t + 1]
        retrace[t], upgo[t] = r[t] + discount[t] * after, r[t] + discount[t] * best
    got = jax.jit(lambda r, b, v: (
        pg.retrace(r, q, b, v, row["log_rho"], lambda_=0.7, **ends(row)), pg.upgo(r, b, v, **ends(row))
    ))(r, row["v_tm1"], v)  # fmt: skip
    np.testing.assert_allclose(got[0], retrace, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got[1], upgo - row["v_tm1"], rtol=1e-4, atol=1e-5)


def test_retrace_of_the_right_values_is_unbiased(x64, unchecked_keys):
    """Two states and two actions: the mean of the targets over all trajectories of another policy is the action value."""
    rng = np.random.default_rng(0)
    mdp = sf.testing.TabularMDP(rng.dirichlet(np.ones(2), (2, 2)), rng.normal(size=(2, 2)), np.array([0.4, 0.6]), 0.8)
    target, behaviour = jnp.asarray(rng.normal(size=(2, 2))), jnp.asarray(rng.normal(size=(2, 2)))
    log_pi, log_mu = jax.nn.log_softmax(target), jax.nn.log_softmax(behaviour)
    v = mdp.values(target)
    q = jnp.asarray(mdp.reward) + 0.8 * jnp.einsum("sat,t->sa", jnp.asarray(mdp.transition), v)

    def one(key):
        steps = mdp.sample(behaviour, key, 4)
        s, a = steps.states, steps.actions
        after = jnp.concatenate([s[1:], s[:1]])
        ratios = (log_pi - log_mu)[s, a]
        targets = pg.retrace(steps.r_t[:3], q[s, a][:3], v[s][:3], v[after][:3], ratios[:3], discount_t=0.8)
        return targets[0] - q[s[0], a[0]]

    errors = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 20_000))
    assert abs(float(errors.mean())) < 4.5 * float(errors.std()) / 20_000**0.5 and float(errors.std()) > 0.01


def test_all_actions_have_the_gradient_of_the_process(x64):
    rng = np.random.default_rng(1)
    mdp = sf.testing.TabularMDP(rng.dirichlet(np.ones(3), (3, 2)), rng.normal(size=(3, 2)), np.ones(3) / 3, 0.7)
    logits = jnp.asarray(rng.normal(size=(3, 2)))

    @jax.jit
    def both(logits):
        v = mdp.values(logits)
        q = jnp.asarray(mdp.reward) + 0.7 * jnp.einsum("sat,t->sa", jnp.asarray(mdp.transition), v)
        moves, _ = mdp.of_policy(logits)
        visits = jnp.linalg.solve(jnp.eye(3) - 0.7 * moves.T, jnp.asarray(mdp.start))
        one = lambda l, s: pg.all_actions(l[s][None], q[s][None]).sum
        summed = jax.grad(lambda l: sum(visits[s] * one(l, s) for s in range(3)))(logits)
        return summed, jax.grad(mdp.expected_return)(logits)

    summed, exact = both(logits)
    np.testing.assert_allclose(summed, -exact, rtol=1e-10)
    legal = sf.policy_gradient.legal_logits(logits, np.array([[True, False]] * 3))
    loss = lambda l: pg.all_actions(l, jnp.array([[1.0, jnp.nan]] * 3)).sum
    value, slopes = jax.jit(jax.value_and_grad(loss))(legal)
    assert value == -3 and not np.any(slopes)
    with pytest.raises(TypeError, match="actions along the last axis"):
        pg.all_actions(logits, logits[0])


def test_a_value_that_has_moved_far_is_not_drawn_further():
    old, target = np.zeros(4, np.float32), np.float32([2, 2, -2, 2])
    new = np.float32([0.1, 0.5, -0.5, -0.5])
    value, slopes = jax.jit(jax.value_and_grad(lambda v: pg.critic_loss(v, target, clip=0.2, old_v_tm1=old).sum))(new)
    np.testing.assert_allclose(slopes, [-1.9, 0, 0, -2.5], rtol=1e-6)
    np.testing.assert_allclose(value, 0.5 * (1.9**2 + 1.8**2 + 1.8**2 + 2.5**2), rtol=1e-6)
    with pytest.raises(ValueError, match="go together"):
        pg.critic_loss(new, target, clip=0.2)
    with pytest.raises(ValueError, match="clip=-1"):
        pg.critic_loss(new, target, clip=-1, old_v_tm1=old)


@pytest.mark.float32
@pytest.mark.nans
def test_returns_are_brought_to_one_size():
    scale, rng = pg.ReturnScale(decay=0.95), np.random.default_rng(0)
    batches = (50 + 10 * rng.normal(size=(200, 64))).astype(np.float32)
    state = jax.jit(lambda xs: jax.lax.scan(lambda s, x: (scale.update(s, x), None), scale.init(), xs)[0])(batches)
    normal = np.asarray(scale.normalise(state, batches[-1]))
    assert abs(normal.mean()) < 0.5 and 0.8 < normal.std() < 1.2
    np.testing.assert_allclose(scale.restore(state, normal), batches[-1], rtol=1e-5)
    same = scale.update(state, np.full(3, np.nan, np.float32), mask=np.zeros(3, bool))
    np.testing.assert_array_equal(np.asarray(same), np.asarray(state))
    np.testing.assert_array_equal(scale.normalise(scale.init(), jnp.array([3.0])), [3.0])
    alone = scale.update(scale.init(), np.full(5, 7.0, np.float32))  # no deviation: only the mean is taken off
    np.testing.assert_allclose(scale.normalise(alone, jnp.array([7.0, 8.0])), [0, 1], atol=1e-6)
    with pytest.raises(ValueError, match="decay in"):
        pg.ReturnScale(decay=1.0)
