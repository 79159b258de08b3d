"""Returns and advantages against plain loops, and the identities that tie them together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn.policy_gradient as pg

T, GAMMA, LAMBDA = 17, 0.9, 0.7
RNG = np.random.default_rng(0)
R, V, NEXT = (RNG.normal(size=T) for _ in range(3))
ENDS = {"terminated": np.arange(T) % 6 == 4, "truncated": np.arange(T) % 7 == 5}
NEXT[:-1] = np.where(ENDS["terminated"] | ENDS["truncated"], NEXT, np.roll(V, -1))[
    :-1
]  # within an episode the next value is the next
RHO = RNG.normal(size=T)
pytestmark = pytest.mark.usefixtures("x64")


def loop(
    r,
    v,
    nxt,
    rho=None,
    lam=1.0,
    clip_rho=np.inf,
    clip_c=np.inf,
    terminated=ENDS["terminated"],
    truncated=ENDS["truncated"],
):
    """The errors e_t, one step at a time from the back."""
    weight = np.ones(len(r)) if rho is None else np.exp(rho)
    errors, after = np.zeros(len(r)), 0.0
    for t in reversed(range(len(r))):
        gamma = 0.0 if terminated[t] else GAMMA
        delta = min(clip_rho, weight[t]) * (r[t] + (gamma * nxt[t] if gamma else 0.0) - v[t])
        goes_on = not (terminated[t] or truncated[t] or t == len(r) - 1)
        errors[t] = delta + (lam * min(clip_c, weight[t]) * gamma * after if goes_on else 0.0)
        after = errors[t]
    return errors


def test_each_is_its_recursion():
    how = {"discount_t": GAMMA, **ENDS}
    np.testing.assert_allclose(pg.gae(R, V, NEXT, lambda_=LAMBDA, **how), loop(R, V, NEXT, lam=LAMBDA), rtol=1e-12)
    np.testing.assert_allclose(
        pg.lambda_returns(R, V, NEXT, lambda_=LAMBDA, **how), loop(R, V, NEXT, lam=LAMBDA) + V, rtol=1e-12
    )
    np.testing.assert_allclose(
        pg.discounted_returns(R, v_t=NEXT, **how), loop(R, 0 * V, np.where(_last(), NEXT, 0)), rtol=1e-12
    )
    got = pg.vtrace(R, V, NEXT, RHO, lambda_=LAMBDA, clip_rho=1.3, clip_c=0.8, clip_pg_rho=2.0, **how)
    errors = loop(R, V, NEXT, RHO, LAMBDA, 1.3, 0.8)
    np.testing.assert_allclose(got.targets, errors + V, rtol=1e-12)
    for t in range(T):
        gamma = 0.0 if ENDS["terminated"][t] else GAMMA
        after = NEXT[t] if _last()[t] else errors[t + 1] + V[t + 1]
        mixed = after if _last()[t] else LAMBDA * after + (1 - LAMBDA) * NEXT[t]
        wanted = min(2.0, np.exp(RHO[t])) * (R[t] + gamma * mixed - V[t])
        np.testing.assert_allclose(got.advantages[t], wanted, rtol=1e-10)


def _last():
    return ENDS["terminated"] | ENDS["truncated"] | (np.arange(T) == T - 1)


def test_lambda_of_one_telescopes_and_of_zero_is_one_step():
    how = {"discount_t": GAMMA, **ENDS}
    returns = pg.discounted_returns(R, v_t=NEXT, **how)
    np.testing.assert_allclose(pg.gae(R, V, NEXT, lambda_=1.0, **how) + V, returns, rtol=1e-12)
    np.testing.assert_allclose(pg.lambda_returns(R, V, NEXT, lambda_=1.0, **how), returns, rtol=1e-12)
    one = R + np.where(ENDS["terminated"], 0.0, GAMMA * NEXT) - V
    np.testing.assert_allclose(pg.gae(R, V, NEXT, lambda_=0.0, **how), one, rtol=1e-12)


@pytest.mark.parametrize("lambda_", [1.0, 0.7, 0.0])
def test_on_policy_v_trace_is_gae(lambda_):
    how = {"discount_t": GAMMA, "lambda_": lambda_, **ENDS}
    got = pg.vtrace(R, V, NEXT, np.zeros(T), **how)
    np.testing.assert_allclose(got.advantages, pg.gae(R, V, NEXT, **how), rtol=1e-11)
    np.testing.assert_allclose(got.targets, pg.lambda_returns(R, V, NEXT, **how), rtol=1e-11)


@pytest.mark.parametrize("log_ratio", [1e3, -1e3])
def test_v_trace_is_finite_at_any_ratio(log_ratio):
    run = jax.jit(lambda r, rho: pg.vtrace(r, V, NEXT, rho, discount_t=GAMMA))
    got = run(R, np.full(T, log_ratio))
    assert np.all(np.isfinite(got.targets)) and np.all(np.isfinite(got.advantages))
    grad = jax.jit(jax.grad(lambda r, rho: jnp.sum(pg.vtrace(r, V, NEXT, rho).targets)))(R, np.full(T, log_ratio))
    assert np.all(np.isfinite(grad))


def test_nothing_leaks_from_one_episode_into_the_one_before():
    cut = 4  # a termination
    later = R.copy()
    later[cut + 1 :] += 100.0
    for name, run in COMPILED.items():
        before, after = run(R, **ENDS), run(later, **ENDS)
        np.testing.assert_array_equal(before[: cut + 1], after[: cut + 1], err_msg=name)
        assert not np.allclose(before[cut + 1 :], after[cut + 1 :])


CALLS = {
    "discounted_returns": lambda r, v=V, nxt=NEXT, **how: pg.discounted_returns(r, discount_t=GAMMA, v_t=nxt, **how),
    "gae": lambda r, v=V, nxt=NEXT, **how: pg.gae(r, v, nxt, discount_t=GAMMA, lambda_=LAMBDA, **how),
    "lambda_returns": lambda r, v=V, nxt=NEXT, **how: pg.lambda_returns(
        r, v, nxt, discount_t=GAMMA, lambda_=LAMBDA, **how
    ),
    "targets": lambda r, v=V, nxt=NEXT, **how: (
        pg.vtrace(r, v, nxt, np.resize(RHO, len(r)), discount_t=GAMMA, **how).targets
    ),
    "advantages": lambda r, v=V, nxt=NEXT, **how: (
        pg.vtrace(r, v, nxt, np.resize(RHO, len(r)), discount_t=GAMMA, **how).advantages
    ),
}


COMPILED = {name: jax.jit(call) for name, call in CALLS.items()}


@pytest.mark.parametrize("name", CALLS)
def test_a_truncation_bootstraps_and_a_termination_does_not(name):
    run, flags = COMPILED[name], np.arange(T) == 7
    higher = NEXT + np.where(flags, 10.0, 0.0)
    truncated, lifted = (run(R, nxt=n, truncated=flags) for n in (NEXT, higher))
    assert abs(lifted[7] - truncated[7]) > 1.0
    terminated, ignored = (run(R, nxt=n, terminated=flags) for n in (NEXT, np.where(flags, np.nan, NEXT)))
    np.testing.assert_array_equal(terminated, ignored)
    both = run(R, nxt=higher, terminated=flags, truncated=flags)  # an end is an end
    np.testing.assert_array_equal(both, run(R, nxt=NEXT, terminated=flags))


@pytest.mark.parametrize("name", CALLS)
def test_padding_changes_nothing(name):
    """Without a reward and an end, whatever else stands there; behind an end, whatever it is. See ``test_masks``."""
    run = COMPILED[name]
    pad = lambda x, fill: np.concatenate([x, np.full(3, fill)])
    mask, over = pad(np.full(T, True), False), {**ENDS, "terminated": ENDS["terminated"] | (np.arange(T) == T - 1)}
    for ends, flag, reward in ((ENDS, False, 0.0), (over, True, np.nan)):
        flags = {key: pad(x, flag) for key, x in ends.items()}
        got = run(pad(R, reward), v=pad(V, 1e9), nxt=pad(NEXT, np.inf), mask=mask, **flags)
        np.testing.assert_allclose(got[:T], run(R, **ends), rtol=1e-12)
        np.testing.assert_array_equal(got[T:], 0.0)


@pytest.mark.parametrize("name", CALLS)
def test_it_works_under_jit_and_vmap_and_in_float32(name):
    run = CALLS[name]
    stacked = np.stack([R, 2 * R], axis=1)
    got = jax.jit(jax.vmap(lambda r: run(r, **ENDS), in_axes=1, out_axes=1))(stacked)
    assert got.shape == (T, 2)
    np.testing.assert_allclose(got[:, 1], COMPILED[name](2 * R, **ENDS), rtol=1e-12)
    single = COMPILED[name](R.astype(np.float32), v=V.astype(np.float32), nxt=NEXT.astype(np.float32), **ENDS)
    np.testing.assert_allclose(single, COMPILED[name](R, **ENDS), rtol=1e-4, atol=1e-5)


def test_a_discount_for_each_step():
    discounts = RNG.uniform(0.5, 1.0, size=T)
    returns = pg.discounted_returns(R, discount_t=discounts)
    np.testing.assert_allclose(returns[:-1], R[:-1] + discounts[:-1] * returns[1:], rtol=1e-12)


def test_whole_numbers_are_made_floats():
    assert pg.discounted_returns(np.array([1, 2, 3])).dtype == jnp.float64


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: pg.gae(R, V[:-1], NEXT), TypeError, "gae takes one trajectory.*v_tm1 has shape.*jax.vmap"),
        (lambda: pg.gae(R[:, None], V[:, None], NEXT[:, None]), TypeError, "r_t has shape"),
        (lambda: pg.gae(R, V, NEXT, terminated=np.zeros(T)), TypeError, "terminated is an array of booleans"),
        (lambda: pg.gae(R, V, NEXT, truncated=np.zeros(3, bool)), TypeError, "truncated has shape"),
        (lambda: pg.discounted_returns(R, truncated=np.zeros(T, bool)), ValueError, "truncated= without v_t="),
        (lambda: pg.reinforce(R, R, truncated=np.zeros(T, bool)), ValueError, "reinforce was given truncated= without"),
        (lambda: pg.gae(R, V, NEXT, discount_t=np.ones(3)), TypeError, "discount_t has shape .3., not .17."),
        (lambda: pg.gae(R, V, NEXT, lambda_=np.ones(3)), TypeError, "lambda_ has shape .3., not .17."),
        (lambda: pg.gae(R + 1j, V, NEXT), TypeError, "r_t is an array of real numbers, not of complex128"),
        (lambda: pg.vtrace(R, V, NEXT, RHO, clip_c=-1.0), ValueError, "clip_c=-1.0 must be a number that is 0 or more"),
    ],
)
def test_what_is_refused_and_how(call, error, words):
    with pytest.raises(error, match=words):
        call()
