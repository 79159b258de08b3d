"""Baselines: what each computes, what is true of it, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
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

        return sf.testing.enumerate_draws(of_draws, logp, 1.0, np.array([0.0, 1.0]), 2)

    exact = 2 * jax.nn.sigmoid(1.0) * jax.nn.sigmoid(-1.0)
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


def test_what_is_refused():
    def run(n, baseline):
        return sf.score_function(jnp.square, COIN, 0.0, jax.random.key(0), num_samples=n, baseline=baseline)

    for name in ("leave_one_out", "batch_mean"):
        with pytest.raises(ValueError, match=f"baseline {name} needs at least 2 draws and got 1"):
            run(1, getattr(baselines, name))
    for unbound in (baselines.ema(0.9), baselines.ema):
        with pytest.raises(TypeError, match=r"ema has a state.*bind\(state\)"):
            run(4, unbound)
    with pytest.raises(TypeError, match="A baseline is"):
        run(4, 3.0)
    with pytest.raises(TypeError, match="A baseline is"):
        run(4, "mean")
    assert np.isfinite(run(1, "auto")) and np.isfinite(run(1, None))
