"""What an argument may be: numbers that decide no shape may be traced, and what is said not to be differentiated is not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from policy_calls import CALLS, STOPPED, function_of, random_row

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg
from jax_scorefn import training

ROW = random_row(3, 10)
ROW |= {"terminated": np.arange(10) == 6, "truncated": np.arange(10) == 2, "discount": np.full(10, 0.9, np.float32)}
L, OLD, ADV, R, V, NEXT, RHO = (ROW[name] for name in ("l", "old", "advantage", "r", "v_tm1", "v_t", "log_rho"))


# Never differentiated


def slopes_of(call, names):
    def total(held):
        outputs = call({**ROW, **held})
        return sum(jnp.sum(x) for x in jax.tree.leaves(outputs))

    return jax.jit(jax.grad(total))({name: ROW[name] for name in names})


@pytest.mark.parametrize("name", STOPPED)
def test_what_is_said_not_to_be_differentiated_is_not(name):
    for label, slope in slopes_of(CALLS[name], STOPPED[name]).items():
        assert np.all(np.asarray(slope) == 0), label
    twin = slopes_of(
        lambda w: sum(jnp.sum(x * w[label]) for x in CALLS[name](w) for label in STOPPED[name]), STOPPED[name]
    )
    assert all(np.any(np.asarray(slope) != 0) for slope in twin.values())


def test_every_docstring_that_says_so_is_in_the_table():
    """Counted in the text, so that a new argument comes here too; group_advantages and the values of losses are below."""
    words = ("ever differentiated", "not differentiated")
    told = {name for name, f in vars(pg).items() if callable(f) and any(w in (f.__doc__ or "") for w in words)}
    assert told == {function_of(name) for name in STOPPED} | {
        "group_advantages",
        "whiten",
        "categorical_kl",
    }
    for call in (
        lambda r: jnp.sum(pg.group_advantages(r, group_axis=0) ** 2),
        lambda x: jnp.sum(pg.whiten(x) ** 2),
        lambda ref: pg.categorical_kl(jnp.ones(10), ref),
        lambda w: pg.mean_loss(pg.Loss(jnp.ones(10), w)),
        lambda w: jnp.sum(sf.magic_box(jnp.ones(10), w)),
    ):
        assert np.all(jax.jit(jax.grad(call))(jnp.arange(1.0, 11.0)) == 0)


def test_the_values_of_a_critic_do_not_leak_into_a_loss():
    ones = jnp.ones(3)
    for loss in (pg.reward_to_go, pg.reinforce):
        whole = lambda v, loss=loss: loss(jnp.zeros(3), ones, v_t=v * ones, discount_t=0.9).sum
        cut = lambda v, loss=loss: loss(jnp.zeros(3), ones, v_t=v * ones, truncated=np.array([False, True, False])).sum
        assert jax.jit(jax.grad(lambda v: whole(v) + cut(v)))(2.0) == 0
    # of the returns themselves they are a part
    of_returns = jax.jit(jax.grad(lambda v: pg.discounted_returns(ones, v_t=v * ones, discount_t=0.9)[0]))
    np.testing.assert_allclose(of_returns(2.0), 0.729, rtol=1e-6)


# Numbers that decide no shape


def at_each(f, *numbers):
    """Under jit and vmap of an array, and as numbers of Python."""
    arrays = [jnp.asarray(x) for x in numbers]
    traced = jax.jit(jax.vmap(f))(*arrays)
    plain = jax.jit(lambda: [f(*map(float, row)) for row in zip(*numbers, strict=True)])()
    for mapped, one in zip(
        jax.tree.leaves(traced), jax.tree.leaves(jax.tree.map(lambda *x: jnp.stack(x), *plain)), strict=True
    ):
        np.testing.assert_allclose(mapped, one, rtol=2e-5, atol=1e-6)


NUMBERS = {
    "ppo_clip": (lambda low, high, most: jax.grad(lambda l: pg.ppo_clip(
        l, OLD, ADV, clip=low, clip_high=high, max_log_ratio=most).sum)(L), [0.1, 0.5, 1.0], [0.2, 0.7, 2.0], [0.1, 1.0, 9.0]),
    "grpo": (lambda low: jax.grad(lambda l: pg.grpo(l, OLD, -1.0, clip=low).sum)(L), [0.05, 0.2, 1.0]),
    "gspo": (lambda low, high: jax.grad(lambda l: pg.gspo(l, OLD, -1.0, clip=low, clip_high=high).sum)(L), [0.05, 0.9], [0.1, 2.0]),
    "cispo": (lambda low, high: jax.grad(lambda l: pg.cispo(l, OLD, ADV, clip=low, clip_high=high).sum)(L), [0.05, 1.0], [0.1, 2.0]),
    "sampler_correction": (lambda low, high: pg.sampler_correction(L, OLD, kind="band", low=low, high=high).weights,
                           [0.0, 0.5], [1.5, 9.0]),
    "vtrace": (lambda rho, c, pg_rho: pg.vtrace(R, V, NEXT, RHO, clip_rho=rho, clip_c=c, clip_pg_rho=pg_rho),
               [0.5, 1.0, 0.0], [0.3, 1.0, 3.0], [0.7, 1.5, 2.0]),
    "gae": (lambda discount, lambda_: pg.gae(R, V, NEXT, discount_t=discount, lambda_=lambda_), [0.9, 0.0], [0.0, 0.7]),
    "reinforce": (lambda discount, b: pg.reinforce(L, R, discount_t=discount, baseline=b), [0.9, 1.0], [0.0, 0.7]),
    "reward_to_go": (lambda discount, b: pg.reward_to_go(L, R, discount_t=discount, baseline_t=b), [0.9, 1.0], [0.0, 0.7]),
    "group_advantages": (lambda ddof: pg.group_advantages(R, group_axis=0, divide_by_std=True, ddof=ddof), [0.0, 1.0]),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_policy_gradients_may_be_traced(name):
    at_each(*NUMBERS[name])


def test_a_lower_bound_of_zero_is_a_bound():
    far = jnp.array([-30.0, 30.0, -30.0])
    value, slopes = jax.value_and_grad(
        lambda l: pg.ppo_clip(l, jnp.zeros(3), jnp.array([1.0, 1.0, -1.0]), clip=1.0).sum
    )(far)
    np.testing.assert_allclose(value, -2.0, rtol=1e-5)  # the second ratio counts as 2, and the others are 0
    np.testing.assert_allclose(slopes, [0, 0, 0], atol=1e-12)
    for clip, words in (
        (1.5, "clip=1.5 must be above 0 and at most 1"),
        (0.0, "clip=0.0 must be above 0 and at most 1"),
    ):
        with pytest.raises(ValueError, match=words):
            pg.ppo_clip(L, OLD, ADV, clip=clip)


def test_numbers_elsewhere_may_be_traced():
    def ema(decay):
        baseline = sf.baselines.ema(decay)
        state = baseline.init()
        for x in (1.0, 3.0):
            state = baseline.update(state, _info(jnp.full(2, x)))
        return baseline.value(state)

    at_each(ema, [0.0, 0.5, 0.9])
    with pytest.raises(ValueError, match="a decay in .0, 1."):
        sf.baselines.ema(1.0)

    normal, proposal = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0)), sf.Normal(loc=0.5, scale=2.0)

    def cut(max_weight):
        run = lambda mean: sf.score_function(
            jnp.sin, normal, mean, jax.random.key(0), num_samples=16, proposal=proposal, max_weight=max_weight
        )
        return run(0.3), jax.grad(run)(0.3)

    at_each(cut, [0.5, 1.0, 30.0])
    assert jax.jit(jax.grad(lambda w: cut(w)[0]))(1.0) == 0.0  # weights are never differentiated

    def value(discount):
        transition = np.full((2, 2, 2), 0.5)
        mdp = sf.testing.TabularMDP(transition, np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([1.0, 0.0]), discount)
        return mdp.expected_return(jnp.zeros((2, 2)))

    at_each(value, [0.5, 0.9])

    def coefficient(c):
        control = sf.control_variates.known(lambda x: x, lambda mean: mean, coefficient=c)
        return sf.score_function(jnp.sin, normal, 0.3, jax.random.key(0), num_samples=16, control_variate=control)

    at_each(coefficient, [0.5, 0.9])


def test_the_decay_of_the_signal_to_noise_ratio_may_be_traced(foreign):
    def snr(decay):
        optimizer = training.track_snr(decay)
        state = optimizer.init(jnp.zeros(2))
        for x in (1.0, 3.0, -1.0):
            _, state = optimizer.update(jnp.full(2, x), state)
        return state.snr

    at_each(snr, [0.5, 0.9])
    with pytest.raises(ValueError, match="track_snr wants"):
        training.track_snr(1.0)
    assert isinstance(optax.chain(training.track_snr(0.5)), optax.GradientTransformation)


def _info(values):
    return sf.score_function(
        lambda x: x, sf.family(log_prob=lambda p, x: 0.0 * p, samples=values), 0.0, None, baseline=None, has_aux=True
    )[1]
