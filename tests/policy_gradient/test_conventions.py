"""The conventions of the field, written out as sums and products: what other libraries give for the same arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn.policy_gradient as pg

T = 7
CASES = range(6)


def case(seed):
    """Rewards, values (T + 1), discounts some of which are 0, log-ratios, and lambdas for each step."""
    rng = np.random.default_rng(40 + seed)
    discounts = rng.uniform(0.5, 1.0, size=T) * (rng.uniform(size=T) > 0.2)
    return (
        rng.normal(size=T),
        rng.normal(size=T + 1),
        discounts,
        rng.normal(size=T),
        rng.choice([0.0, 0.4, 0.7, 1.0], size=T),
    )


def expanded(delta, factor):
    """Sum over u >= t of factor_t ... factor_{u-1} delta_u."""
    return np.array([sum(np.prod(factor[t:u]) * delta[u] for u in range(t, T)) for t in range(T)])


@pytest.mark.parametrize("seed", CASES)
def test_returns_and_advantages_as_sums_over_what_is_ahead(seed, x64):
    r, v, d, _, lam = case(seed)
    how = {"discount_t": d, "lambda_": lam}
    delta = r + d * v[1:] - v[:-1]
    run = jax.jit(lambda: (pg.gae(r, v[:-1], v[1:], **how), pg.lambda_returns(r, v[:-1], v[1:], **how),
                           pg.discounted_returns(r, discount_t=d, v_t=v[1:])))  # fmt: skip
    advantages, targets, returns = run()
    np.testing.assert_allclose(advantages, expanded(delta, d * lam), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(targets, expanded(delta, d * lam) + v[:-1], rtol=1e-10, atol=1e-12)
    rest = [np.prod(d[t:]) * v[-1] for t in range(T)]
    np.testing.assert_allclose(returns, expanded(r, d) + rest, rtol=1e-10, atol=1e-12)
    textbook = v[-1]  # G_t = r_t + discount_t ((1 - lambda) v_t + lambda G_{t+1}), from the value after the last step
    for t in reversed(range(T)):
        textbook = r[t] + d[t] * ((1 - lam[t]) * v[t + 1] + lam[t] * textbook)
        np.testing.assert_allclose(targets[t], textbook, rtol=1e-10, atol=1e-12)


def test_lambda_returns_are_what_their_docstring_says_for_any_two_critics(x64):
    r, v, d, other, _ = case(0)
    d = np.abs(d) + 0.1
    got = pg.lambda_returns(r, v[:-1], other, discount_t=d, lambda_=0.6)
    for t in range(T - 1):
        np.testing.assert_allclose(got[t], r[t] + d[t] * (other[t] + 0.6 * (got[t + 1] - v[t + 1])), rtol=1e-10)
    np.testing.assert_allclose(got[-1], r[-1] + d[-1] * other[-1], rtol=1e-10)


@pytest.mark.parametrize("seed", CASES)
def test_v_trace_as_products_of_clipped_ratios(seed, x64):
    r, v, d, log_rho, lam = case(seed)
    rho, c, pg_rho = (np.minimum(np.exp(log_rho), bound) for bound in (1.2, 0.8, 1.5))
    errors = expanded(rho * (r + d * v[1:] - v[:-1]), d * c * lam)
    got = jax.jit(
        lambda: pg.vtrace(
            r, v[:-1], v[1:], log_rho, discount_t=d, lambda_=lam, clip_rho=1.2, clip_c=0.8, clip_pg_rho=1.5
        )
    )()
    np.testing.assert_allclose(got.targets, v[:-1] + errors, rtol=1e-10, atol=1e-12)
    ahead = np.append(lam[:-1] * (v[1:-1] + errors[1:]) + (1 - lam[:-1]) * v[1:-1], v[-1])
    np.testing.assert_allclose(got.advantages, pg_rho * (r + d * ahead - v[:-1]), rtol=1e-10, atol=1e-12)


def test_clipped_and_plain_losses_are_their_formulas(x64):
    _, advantage, _, log_ratio, _ = case(1)
    advantage, ratio = advantage[:-1], np.exp(log_ratio)
    zeros = np.zeros(T)
    wanted = -np.minimum(ratio * advantage, np.clip(ratio, 0.7, 1.3) * advantage)
    loss = pg.ppo_clip(log_ratio, zeros, advantage, clip=0.3)
    np.testing.assert_allclose(pg.mean_loss(loss), wanted.mean(), rtol=1e-10)
    slopes = jax.grad(lambda l: pg.mean_loss(pg.actor_critic(l, advantage)))(log_ratio)
    np.testing.assert_allclose(slopes, -advantage / T, rtol=1e-12)


# Entropy


def test_the_entropy_of_what_is_left(x64):
    logits = np.random.default_rng(2).normal(size=(3, 5)) * 3
    legal = np.array([[True] * 5, [True, False, True, False, True], [False, False, True, False, False]])
    run = lambda l: pg.entropy(pg.legal_logits(l, legal))
    got, slopes, curvature = jax.jit(
        lambda l: (run(l), jax.grad(lambda l: run(l).sum())(l), jax.hessian(lambda l: run(l)[1])(l))
    )(logits)
    for i in range(3):
        p = np.exp(logits[i][legal[i]])
        p /= p.sum()
        h = -np.sum(p * np.log(p))
        np.testing.assert_allclose(got[i], h, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(slopes[i][legal[i]], -p * (np.log(p) + h), rtol=1e-9, atol=1e-12)
    assert np.all(slopes[~legal] == 0) and np.all(np.isfinite(curvature))
    usual = lambda l: -jnp.sum(jax.nn.softmax(l) * jax.nn.log_softmax(l))  # the broken twin
    assert np.isnan(jax.jit(lambda l: jax.grad(usual)(pg.legal_logits(l, legal[1])))(logits[1])).any()


ENTROPY = jax.jit(jax.value_and_grad(pg.entropy))


@pytest.mark.parametrize("logits", [[0.0, -jnp.inf], [40.0, -40.0], [0.0, -1e30], [3e38, -3e38], [0.0, 0.0]])
def test_the_entropy_is_finite_at_the_ends(logits):
    value, slopes = ENTROPY(np.float32(logits))
    assert np.isfinite(value) and np.all(np.isfinite(slopes))
    np.testing.assert_allclose(value, np.log(2) if logits == [0, 0] else 0, atol=1e-6)


@pytest.mark.nans
def test_an_entropy_of_nothing_is_nan_and_a_scalar_is_refused():
    assert np.isnan(pg.entropy(jnp.full(3, -jnp.inf)))
    assert pg.entropy(np.array([1, 1])).dtype == jnp.result_type(float)
    with pytest.raises(TypeError, match="categories along the last axis"):
        pg.entropy(1.0)
    with pytest.raises(TypeError, match="logits is an array of real numbers, not of complex64"):
        pg.entropy(np.array([1j, 0], np.complex64))
