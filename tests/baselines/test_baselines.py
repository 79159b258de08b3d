"""Baselines: what each computes, what is true of it, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_scorefn as sf
from jax_scorefn import baselines

COIN = sf.family(lambda l: sf.Bernoulli(logits=l))
VALUES = jnp.array([1.0, 4.0, -2.0, 5.0])


def test_leave_one_out_is_the_mean_of_the_others():
    np.testing.assert_allclose(baselines.leave_one_out(VALUES), [7 / 3, 4 / 3, 10 / 3, 1.0], rtol=1e-6)
    stacked = jnp.stack([VALUES, 2 * VALUES], axis=1)
    np.testing.assert_allclose(baselines.leave_one_out(stacked)[:, 1], 2 * baselines.leave_one_out(VALUES), rtol=1e-6)


def test_batch_mean_scales_the_score_part_by_one_minus_one_over_s(x64):
    """Summed over all outcomes of two draws: exactly half the gradient, and declared as biased."""
    logp = lambda l, x: sf.Bernoulli(logits=l).log_prob(x)

    def estimate(baseline):
        def of_draws(xs):
            fam = sf.family(log_prob=logp, samples=xs, independent=True)
            return sf.score_function_grad(lambda x: 1 + 2 * x, fam, 1.0, None, baseline=baseline)

        return jax.jit(lambda: sf.testing.enumerate_draws(of_draws, logp, 1.0, np.array([0.0, 1.0]), 2))()

    exact = 2 / (1 + np.exp(-1.0)) / (1 + np.exp(1.0))
    np.testing.assert_allclose(estimate(baselines.leave_one_out), exact, rtol=1e-12)
    np.testing.assert_allclose(estimate(baselines.batch_mean), exact / 2, rtol=1e-12)
    assert baselines.batch_mean.bias is sf.Bias.VANISHING
    assert baselines.leave_one_out.bias is sf.Bias.NONE


def test_ema_debiases_on_reading_and_keeps_the_raw_average():
    ema = baselines.ema(0.9)
    state = ema.init()
    assert ema.value(state) == 0.0
    info = sf.Info(None, jnp.ones(4), jnp.zeros(4), jnp.ones(4), jnp.zeros(()))
    for _ in range(5):
        state = ema.update(state, info)
        np.testing.assert_allclose(ema.value(state), 1.0, rtol=1e-6)
    np.testing.assert_allclose(state.average, 1 - 0.9**5, rtol=1e-6)
    assert baselines.ema(0.5).init((3,)).average.shape == (3,)
    with pytest.raises(ValueError, match=r"decay in \[0, 1\)"):
        baselines.ema(1.0)


@pytest.mark.statistical
def test_ema_adds_no_bias_and_serves_a_single_draw():
    ema = baselines.ema(0.5)
    state = ema.update(ema.init(), sf.Info(None, jnp.full(4, 2.4), jnp.zeros(4), jnp.ones(4), jnp.zeros(())))
    grad = lambda key, b: sf.score_function_grad(lambda x: 1 + 2 * x, COIN, 1.0, key, num_samples=1, baseline=b)
    runs = sf.testing.replicate(lambda key: grad(key, ema.bind(state)), jax.random.key(0), 20_000, batch=20_000)
    plain = sf.testing.replicate(lambda key: grad(key, None), jax.random.key(0), 20_000, batch=20_000)
    sf.testing.assert_unbiased(runs, 0.393224, precision=0.03)
    assert runs.var() < 0.5 * plain.var()


def test_ema_carries_through_a_scan_and_starts_with_the_old_state():
    ema = baselines.ema(0.9)

    def step(state, key):
        _, info = sf.score_function(lambda x: 5.0 + x, COIN, 0.0, key, baseline=ema.bind(state), has_aux=True)
        return ema.update(state, info), ema.value(state)

    state, read = jax.jit(lambda keys: jax.lax.scan(step, ema.init(), keys))(jax.random.split(jax.random.key(0), 50))
    assert read[0] == 0.0 and abs(ema.value(state) - 5.5) < 0.1 and state.count == 50


NET = baselines.learned(lambda w, context: w["a"] + w["b"] * context, optax.sgd(0.3))
WEIGHTS = {"a": jnp.array(0.5), "b": jnp.array(-1.0)}


def _bandit(state, context, key, num_samples=8):
    """A cost that grows with what is known before the draw."""
    return sf.score_function_grad(
        lambda x: 4.0 * context + x,
        COIN,
        0.2,
        key,
        num_samples=num_samples,
        baseline=NET.attach(state, context),
        has_aux=True,
    )


def test_learned_is_trained_apart_and_by_least_squares():
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        state, context = NET.init(WEIGHTS), 0.7

        @jax.jit
        def run(state, context, key):
            _, info = _bandit(state, context, key)
            return (
                info.values,
                NET.value(state, context),
                NET.loss(state.params, info, context),
                NET.update(state, info, context),
            )

        values, value, loss, new = run(state, context, jax.random.key(0))
        np.testing.assert_allclose(value, 0.5 - 0.7, rtol=1e-6)
        residual = value - np.asarray(values)
        np.testing.assert_allclose(loss, np.mean(residual**2) / 2, rtol=1e-6)
        np.testing.assert_allclose(new.params["a"], 0.5 - 0.3 * np.mean(residual), rtol=1e-5)
        np.testing.assert_allclose(new.params["b"], -1.0 - 0.3 * 0.7 * np.mean(residual), rtol=1e-5)
        np.testing.assert_array_equal(state.params["a"], 0.5)  # the old state is what it was
        bound = NET.bind(state, context)
        assert bound.bias is sf.Bias.NONE and bound.min_groups == 1


def test_learned_is_never_differentiated_through_the_score_term():
    def through(params):
        state = baselines.LearnedState(params, ())
        grads, _ = _bandit(state, 0.7, jax.random.key(0))
        return grads

    for leaf in jax.tree.leaves(jax.jit(jax.grad(through))(WEIGHTS)):
        assert leaf == 0.0


@pytest.mark.statistical
def test_learned_takes_out_what_the_context_explains_and_adds_no_bias():
    with jax.numpy_dtype_promotion("standard"):

        def step(state, key):
            k1, k2 = jax.random.split(key)
            context = jax.random.uniform(k1)
            _, info = _bandit(state, context, k2)
            return NET.update(state, info, context), None

        state, _ = jax.jit(lambda keys: jax.lax.scan(step, NET.init(WEIGHTS), keys))(
            jax.random.split(jax.random.key(1), 2000)
        )
        np.testing.assert_allclose(state.params["b"], 4.0, atol=0.3)
        np.testing.assert_allclose(state.params["a"], jax.nn.sigmoid(0.2), atol=0.2)

        def run(state):
            def one(key):
                k1, k2 = jax.random.split(key)
                return _bandit(state, jax.random.uniform(k1), k2, 1)[0]

            return sf.testing.replicate(one, jax.random.key(2), 20_000, batch=20_000)

        trained, raw = run(state), run(NET.init({"a": jnp.array(0.0), "b": jnp.array(0.0)}))
    exact = jax.nn.sigmoid(0.2) * jax.nn.sigmoid(-0.2)
    for runs in (trained, raw):
        sf.testing.assert_unbiased(runs, exact, precision=0.06)
    assert trained.var() < 0.1 * raw.var()


def test_self_critical_is_f_at_the_greedy_choice():
    dist = sf.family(lambda l: sf.Autoregressive(step=lambda t, c, k: (c, t[k]), params=l, carry=(), length=3))
    table = jnp.array([[0.0, 1.0], [2.0, 0.0]])
    f = lambda x: jnp.sum(x * jnp.arange(1, 4, dtype=x.dtype)).astype(float)
    run = lambda b: jax.jit(
        lambda l, k: sf.score_function_grad(f, dist, l, k, num_samples=8, baseline=b)
    )(table, jax.random.key(0))  # fmt: skip
    greedy = jax.jit(lambda l: f(dist.at(l).mode()))(table)
    assert greedy == 4.0
    np.testing.assert_allclose(
        run(baselines.self_critical), run(lambda values: jnp.full_like(values, greedy)), rtol=1e-6
    )


def test_what_is_refused():
    def run(n, baseline):
        loss = lambda l, k: sf.score_function(jnp.square, COIN, l, k, num_samples=n, baseline=baseline)
        return jax.jit(loss)(0.0, jax.random.key(0))

    for name in ("leave_one_out", "batch_mean"):
        with pytest.raises(ValueError, match=f"baseline {name} needs at least 2 draws and got 1"):
            run(1, getattr(baselines, name))
    for unbound in (baselines.ema(0.9), baselines.ema):
        with pytest.raises(TypeError, match=r"ema has a state.*attach\(state\)"):
            run(4, unbound)
    for unbound in (NET, baselines.learned):
        with pytest.raises(TypeError, match=r"learned has a state.*attach\(state, context\)"):
            run(4, unbound)
    with pytest.raises(ValueError, match=r"one number for each element of f, shape \(\); it returned \(2,\)"):
        run(4, NET.bind(NET.init(WEIGHTS), jnp.ones(2)))
    with pytest.raises(TypeError, match="learned wants a function"):
        baselines.learned(3.0)
    with pytest.raises(TypeError, match="A baseline is"):
        run(4, 3.0)
    with pytest.raises(TypeError, match="A baseline is"):
        run(4, "mean")
    assert np.isfinite(run(1, "auto")) and np.isfinite(run(1, None))


def test_learned_takes_a_model_with_leaves_that_are_no_arrays():
    """As those of equinox: functions and ints are left alone."""
    model = {"w": jnp.float32(0.0), "activation": jnp.tanh, "depth": 2}
    net = baselines.learned(lambda m, context: m["activation"](m["w"]) * context, optax.sgd(0.3))
    info = sf.score_function(lambda x: 0.5 + 0.0 * x, COIN, 0.0, jax.random.key(0), num_samples=4, has_aux=True)[1]
    state = net.init(model)
    for _ in range(60):
        state = net.update(state, info, jnp.float32(1.0))
    assert state.params["activation"] is jnp.tanh and state.params["depth"] == 2
    np.testing.assert_allclose(np.tanh(state.params["w"]), 0.5, atol=1e-3)
