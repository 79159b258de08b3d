"""Relaxations and what is tuned: declared biases, cases that have none, and the gradient of the variance."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from covering import covering

import jax_scorefn as sf

pytestmark = pytest.mark.statistical

ONE = sf.family(lambda l: sf.Bernoulli(logits=l))
ROWS = sf.family(lambda l: sf.OneHotCategorical(logits=l))
LOGITS = jnp.array([[0.3, -1.0, 0.5, 0.0], [1.0, 0.0, -0.5, -jnp.inf]])
COUPLING = jnp.asarray(np.random.default_rng(3).normal(size=(4, 4)), jnp.float32)


def f(x):
    return jnp.tanh(x[0] @ (COUPLING @ x[1])) + x[0, 1]


def exact_grad(f, family, params):
    return jax.jit(lambda p: sf.exact_grad(f, family, p))(params)


def gradients(estimator, f, family, params, num, key=0, **options):
    run = lambda key: estimator(f, family, params, key, **options)
    return sf.testing.replicate(run, jax.random.key(key), num, batch=min(num, 20_000))


def test_averaging_over_the_noise_of_a_draw_keeps_the_mean_and_takes_variance_away():
    """Gumbel-Rao against the straight-through Gumbel-softmax gradient: one bias, less noise; the path of z given the draw has another."""
    options = {"temperature": 0.3, "num_samples": 1}
    plain = gradients(sf.gumbel_softmax_grad, f, ROWS, LOGITS, 100_000, straight_through=True, **options)
    averaged = gradients(sf.gumbel_rao_grad, f, ROWS, LOGITS, 100_000, key=1, **options)
    error = np.sqrt((plain.var(axis=0) + averaged.var(axis=0)) / 100_000) + 1e-7
    assert np.all(np.abs(plain.mean(axis=0) - averaged.mean(axis=0)) < 5 * error)
    assert np.any(np.abs(plain.mean(axis=0) - 1.1 * averaged.mean(axis=0)) > 5 * error)
    assert averaged.var(axis=0).sum() < 0.7 * plain.var(axis=0).sum()


def test_where_straight_through_and_reinmax_have_no_bias():
    """Straight-through where f is linear in each coordinate; ReinMax for one choice and a quadratic. The other's cases show a bias."""
    bilinear = lambda x: x[0] @ (COUPLING @ x[1]) + 2.0
    exact = exact_grad(bilinear, ROWS, LOGITS)
    sf.testing.assert_unbiased(
        gradients(sf.straight_through_grad, bilinear, ROWS, LOGITS, 40_000, num_samples=8), exact, precision=0.03
    )
    quadratic, logits = lambda x: (x @ COUPLING[0]) ** 2 + x @ COUPLING[1], LOGITS[0]
    exact = exact_grad(quadratic, ROWS, logits)
    sf.testing.assert_unbiased(
        gradients(sf.reinmax_grad, quadratic, ROWS, logits, 40_000, num_samples=8), exact, precision=0.03
    )
    with pytest.raises(AssertionError, match="is biased"):
        sf.testing.assert_unbiased(
            gradients(sf.straight_through_grad, quadratic, ROWS, logits, 40_000, num_samples=8), exact, precision=0.03
        )


def test_a_low_temperature_has_little_bias_and_much_noise():
    exact = exact_grad(f, ROWS, LOGITS)
    hot, cold = (
        gradients(sf.gumbel_softmax_grad, f, ROWS, LOGITS, 20_000, temperature=t, num_samples=8) for t in (1.0, 0.1)
    )
    error = lambda runs: np.abs(runs.mean(axis=0) - exact).sum()
    assert error(cold) < 0.3 * error(hot) and cold.var(axis=0).sum() > 3 * hot.var(axis=0).sum()


def test_relaxed_gradients_are_those_of_jax_for_given_noise():
    """A temperature may be traced, and saturated or forbidden options give finite gradients."""
    for estimator, options in (
        (sf.gumbel_softmax, {}), (sf.gumbel_softmax, {"straight_through": True}), (sf.gumbel_rao, {}), (sf.reinmax, {}), (sf.straight_through, None),
    ):  # fmt: skip
        options = {} if options is None else {"temperature": jnp.float32(0.5), **options}
        logits = jnp.array([[40.0, -40.0, 39.0, -jnp.inf], [0.0, -jnp.inf, -jnp.inf, -jnp.inf]])
        value, grads = jax.jit(
            jax.value_and_grad(lambda l, e=estimator, o=options: e(f, ROWS, l, jax.random.key(0), **o))
        )(logits)
        assert np.isfinite(value) and np.all(np.isfinite(grads)), estimator
        np.testing.assert_array_equal(grads[0, 3], 0)
        np.testing.assert_array_equal(grads[1], 0)


def network(tuning, z):
    return jnp.sum(jnp.tanh(z.reshape(-1) * tuning["w"] + tuning["b"]) * tuning["v"])


TUNINGS = {
    "rebar": (sf.rebar_grad, {}, sf.RebarTuning(jnp.float32(-0.5), jnp.float32(0.7)), "tuning"),
    "relax": (
        sf.relax_grad, {"critic": network}, {"w": jnp.full(8, 0.5), "b": jnp.linspace(-1.0, 1.0, 8), "v": jnp.linspace(-0.2, 0.3, 8)}, "tuning",
    ),
    "rodeo": (sf.rodeo_grad, {}, sf.RodeoTuning(jnp.float32(0.6), jnp.float32(0.2)), "tuning"),
    "rodeo with a surrogate": (
        sf.rodeo_grad, {"surrogate": lambda t, mean, step: (t[0] * jnp.tanh(step + 0.1 * mean), t[1] * step + t[2] * step**2)},
        jnp.array([0.5, 0.4, 0.1]), "tuning",
    ),
    "double_control_variate": (sf.double_control_variate_grad, {}, jnp.float32(0.4), "coefficient"),
}  # fmt: skip
SMALL = jnp.array([[0.3, -1.0, 0.5, 0.0], [1.0, 0.0, -0.5, 0.2]])


@pytest.mark.parametrize("name", covering(sorted(TUNINGS, key=lambda name: "surrogate" not in name)))
def test_the_gradient_of_the_variance(name):
    """Against central differences of the variance on common draws; the gradients are the estimator's own, unbiased for any tuning."""
    estimator, options, tuning, option = TUNINGS[name]
    flat, restore = jax.flatten_util.ravel_pytree(tuning)
    options = {**options, "num_samples": 3}
    keys, step = jax.random.split(jax.random.key(4), 30_000), 0.05

    @jax.jit
    def measured(keys):
        both = lambda key: sf.tuned_grad(lambda t: estimator(f, ROWS, SMALL, key, **{option: t}, **options), tuning)
        grads, slopes = jax.vmap(both)(keys)
        return grads, jax.vmap(lambda t: jax.flatten_util.ravel_pytree(t)[0])(slopes)

    @jax.jit
    def square(flat, keys):
        grads = jax.vmap(lambda key: estimator(f, ROWS, SMALL, key, **{option: restore(flat)}, **options))(keys)
        return jnp.sum(grads**2, axis=(1, 2))

    with jax.debug_key_reuse(False):
        grads, slopes = measured(keys)
        own = jax.jit(lambda key: estimator(f, ROWS, SMALL, key, **{option: tuning}, **options))(keys[0])
        caught = False  # a slope of twice the size, or of 0, fails the same comparison
        places = range(flat.size) if flat.size < 5 else (0, 9, 23)
        for j in places:
            up, down = (square(flat.at[j].add(d), keys) for d in (step, -step))
            difference = np.asarray(slopes[:, j] - (up - down) / (2 * step))
            caught |= abs(slopes[:, j].mean()) > 5 * difference.std() / np.sqrt(len(keys)) + 0.02 * np.abs(
                slopes[:, j].mean()
            )
            assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(len(keys)) + 0.02 * np.abs(
                slopes[:, j].mean()
            )
            assert np.std(slopes[:, j]) > 0
    assert caught
    np.testing.assert_allclose(grads[0], own, rtol=1e-4, atol=1e-6)
    sf.testing.assert_unbiased(np.asarray(grads), exact_grad(f, ROWS, SMALL), precision=0.05)


@pytest.mark.parametrize("name", covering(TUNINGS))
def test_tuning_takes_variance_away(name):
    estimator, options, tuning, option = TUNINGS[name]
    options, adam = {**options, "num_samples": 4}, optax.adam(0.03)

    def step(carry, key):
        tuning, state = carry
        _, slopes = sf.tuned_grad(lambda t: estimator(f, ROWS, SMALL, key, **{option: t}, **options), tuning)
        updates, state = adam.update(slopes, state)
        return (optax.apply_updates(tuning, updates), state), None

    with jax.debug_key_reuse(False), jax.numpy_dtype_promotion("standard"):
        keys = jax.random.split(jax.random.key(0), 1500)
        trained = jax.jit(lambda t: jax.lax.scan(step, (t, adam.init(t)), keys)[0][0])(tuning)
    before, after = (
        gradients(estimator, f, ROWS, SMALL, 20_000, key=9, **{option: t}, **options).var(axis=0).sum() for t in (tuning, trained)
    )  # fmt: skip
    assert after < 0.97 * before


def test_tuned_gradients_come_with_info_and_leave_integers_alone():
    family = sf.family(lambda p: sf.OneHotCategorical(logits=p["l"]))
    rebar = lambda t, l: sf.rebar_grad(
        f, family, {"l": l, "n": 3}, jax.random.key(0), tuning=t, has_aux=True, num_samples=5
    )
    grads, slopes, info = jax.jit(lambda l: sf.tuned_grad(lambda t: rebar(t, l), sf.RebarTuning(), has_aux=True))(SMALL)
    assert grads["l"].shape == (2, 4) and grads["n"].dtype == jax.dtypes.float0
    assert isinstance(slopes, sf.RebarTuning) and info.values.shape == (5,)
