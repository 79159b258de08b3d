"""Known ways in which gradient-estimation code goes wrong in public, one test each, named after the trap.

Each fails when the trap is put back; the project and the report in which each was met stand in its docstring.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from broken_twins import KINDS, twin
from cases import REQUIRED
from covering import covering

import jax_scorefn as sf
from jax_scorefn import baselines
from jax_scorefn.testing import assert_unbiased, enumerate_expectation, replicate

COIN = sf.family(lambda l: sf.Bernoulli(logits=l))
NORMAL = sf.family(lambda m: sf.Normal(loc=m, scale=1.0))
BITS = np.array([0.0, 1.0])
G = 0.39322384  # d/dl E[1 + 2x] at logit 1


def runs_of(grad, count=10_000, seed=0):
    return replicate(grad, jax.random.key(seed), count, batch=count)


pytestmark = pytest.mark.default  # every row runs, whatever it takes


# A gradient that is silently zero or wrong


def test_01_a_gradient_through_a_discrete_draw_is_not_a_silent_zero():
    """Jax #17555, #17556, #11606: jax.grad through random.bernoulli gives 0. Our draws raise, and say what to do."""
    naive = lambda l: jax.random.bernoulli(jax.random.key(0), jax.nn.sigmoid(l)).astype(float)
    assert jax.jit(jax.grad(naive))(1.0) == 0.0
    for dist in (
        lambda l: sf.Bernoulli(logits=l), lambda l: sf.Categorical(logits=jnp.stack([l, l])), lambda l: sf.Geometric(logits=l),
        lambda l: sf.Poisson(rate=l), lambda l: sf.Binomial(total_count=3, logits=l),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="was differentiated in the distribution's parameters.*sf.score_function"):
            jax.eval_shape(jax.grad(lambda l, dist=dist: dist(l).sample(jax.random.key(0)).astype(float)), 1.0)
    assert_unbiased(
        runs_of(lambda k: sf.score_function_grad(lambda x: 1 + 2 * x, COIN, 1.0, k, num_samples=8)), G, precision=0.02
    )


def test_02_a_reparameterized_sampler_is_stopped():
    """Tensorflow #7236, pytorch #10943: log_prob(sample()) with a reparameterised sample has gradient 0 in the mean."""
    fam = sf.family(
        log_prob=lambda m, x: jax.scipy.stats.norm.logpdf(x, m, 1.0), sampler=lambda k, m: m + jax.random.normal(k)
    )
    twin = lambda k, m=0.5: jax.grad(
        lambda q: (lambda x: x * jax.scipy.stats.norm.logpdf(x, q, 1.0))(q + jax.random.normal(k))
    )(m)
    assert_unbiased(
        runs_of(lambda k: sf.score_function_grad(lambda x: 2 * x, fam, 0.5, k, num_samples=8)), 2.0, precision=0.02
    )
    with pytest.raises(AssertionError, match="is biased"):
        assert_unbiased(runs_of(twin), 1.0, precision=0.1)


@pytest.mark.float32
def test_03_a_squashed_distribution_scores_its_preimage():
    """Distrax #323: the score at saturation comes from the draw before tanh, and has mean 0."""
    fam = sf.family(lambda m: sf.TanhNormal(loc=m, scale=1.0))
    score = lambda k: sf.score_function_grad(lambda x: jnp.ones(()), fam, 12.0, k, num_samples=4, baseline=None)
    assert_unbiased(runs_of(score), 0.0, precision=0.02)
    naive = lambda k: jax.grad(
        lambda m: sf.TanhNormal(loc=m, scale=1.0).log_prob(jnp.tanh(12.0 + jax.random.normal(k)))
    )(12.0)
    with pytest.raises(AssertionError, match="is biased"):
        assert_unbiased(runs_of(naive), 0.0, precision=0.1)


def test_04_every_estimator_is_held_against_an_exact_oracle():
    """Numpyro #1512: off by a constant, found only by enumeration. The exam covers the registry; a constant factor fails it."""
    import test_exam

    assert set(test_exam.OPTIONS) == set(sf.ESTIMATORS)
    off = lambda k: 1.05 * sf.score_function_grad(lambda x: 1 + 2 * x, COIN, 1.0, k, num_samples=8)
    with pytest.raises(AssertionError, match="is biased"):
        assert_unbiased(runs_of(off), G, precision=0.02)


@pytest.mark.parametrize("order", [1, 2])
def test_05_the_direct_derivative_of_f_is_kept(x64, order):
    """Pyro #2894: df/dtheta lost. Enumerated over two draws, first and second order."""
    logp = lambda l, x: sf.Bernoulli(logits=l).log_prob(x)
    f = lambda x, l: (x + 0.5) * l**2

    def estimate(xs):
        fam = sf.family(log_prob=logp, samples=xs, independent=True)
        value = lambda l: sf.score_function(lambda x: f(x, l), fam, l, None)
        return (jax.grad(value) if order == 1 else jax.grad(jax.grad(value)))(0.8)

    truth = enumerate_expectation(f, logp, BITS)
    exact = jax.grad(truth) if order == 1 else jax.grad(jax.grad(truth))
    got, exact = jax.jit(lambda: (sf.testing.enumerate_draws(estimate, logp, 0.8, BITS, 2), exact(0.8)))()
    np.testing.assert_allclose(got, exact, rtol=1e-12)


def test_06_pathwise_through_a_jump_is_seen_by_the_gate():
    """Pyro #2277: pathwise through a discontinuous f is 0 for .381; the score function sees the jump."""
    step = lambda x: (x > 0).astype(float)
    truth = float(jax.scipy.stats.norm.pdf(0.3))
    assert_unbiased(
        runs_of(lambda k: sf.score_function_grad(step, NORMAL, 0.3, k, num_samples=8)), truth, precision=0.02
    )
    with pytest.raises(AssertionError, match="is biased"):
        assert_unbiased(runs_of(lambda k: sf.pathwise_grad(step, NORMAL, 0.3, k, num_samples=8)), truth, precision=0.02)


@pytest.mark.parametrize("sigma", [0.1, 1.0, 7.0])
def test_07_the_jacobian_of_the_mean_is_the_identity_at_any_scale(sigma):
    """Optax #1308: a perturbed gradient off by sigma."""
    fam = sf.family(lambda m: sf.Normal(loc=m, scale=sigma))
    for estimator in (sf.score_function, sf.pathwise):
        jacobian = lambda k, e=estimator: jax.jacobian(lambda m: e(lambda x: x, fam, m, k, num_samples=8))(jnp.zeros(2))
        assert_unbiased(runs_of(jacobian), np.eye(2), precision=0.03)


def test_08_second_and_third_derivatives_are_right_with_baselines_on():
    """Edward #875, tfp #37: a plain surrogate's second derivative is -.484 where -.182 is right."""
    value = lambda l, k: sf.score_function(lambda x: 1 + 2 * x, COIN, l, k, num_samples=16)
    truth = enumerate_expectation(lambda x: 1 + 2 * x, COIN, BITS)
    for order, precision in ((2, 0.05), (3, 0.5)):
        derivative = lambda f, n=order: functools.reduce(lambda g, _: jax.grad(g), range(n), f)
        runs = runs_of(lambda k, d=derivative: d(lambda l: value(l, k))(1.0), 20_000)
        assert_unbiased(runs, jax.jit(derivative(truth))(1.0), precision=precision)


def test_09_moving_ends_of_a_uniform_distribution_raise_and_fixed_ones_work():
    """The score function misses the boundary term of a distribution whose support moves."""
    moving = sf.family(lambda h: sf.Uniform(low=0.0, high=h))
    with pytest.raises(TypeError, match="The ends of a Uniform distribution carry a derivative"):
        sf.score_function_grad(jnp.square, moving, 2.0, jax.random.key(0))
    through = jax.jit(lambda h, k: sf.pathwise_grad(jnp.square, moving, h, k, num_samples=4096))
    np.testing.assert_allclose(through(2.0, jax.random.key(0)), 4 / 3, rtol=0.05)
    fixed = sf.family(lambda p: sf.Joint((sf.Uniform(low=0.0, high=2.0), sf.Bernoulli(logits=p))))
    runs = runs_of(lambda k: sf.score_function_grad(lambda x: x[0] * x[1], fixed, 0.0, k, num_samples=8))
    assert_unbiased(runs, 0.25, precision=0.03)


def test_10_weights_are_stopped_and_ratios_are_taken_in_the_right_order(x64):
    """Multi-sample weights: held against enumeration for S = 1, 2, 3 given draws of another distribution."""
    logp = lambda l, x: sf.Bernoulli(logits=l).log_prob(x)
    for size in (1, 2, 3):

        def estimate(xs, l=1.0):
            fam = sf.family(
                log_prob=logp, samples=xs, log_proposal=jax.vmap(lambda x: logp(0.2, x))(xs), independent=True,
            )  # fmt: skip
            return sf.score_function_grad(lambda x: 1 + 2 * x, fam, l, None)

        got = jax.jit(lambda n=size: sf.testing.enumerate_draws(estimate, logp, 0.2, BITS, n))()
        np.testing.assert_allclose(got, G, atol=1e-7)


# 10, for bounds of K particles: tests/estimators/test_bounds.py sums over all tuples, with twins whose weights are not stopped.


def test_11_implicit_gradients_hold_in_expectation():
    """Jax #27349: gamma draws fail finite differences at a fixed key; what must hold is the mean."""
    fam = sf.family(lambda a: sf.Gamma(concentration=a, rate=1.0))
    runs = runs_of(lambda k: sf.pathwise_grad(jnp.square, fam, 1.7, k, num_samples=4), 5000)
    assert_unbiased(runs, 2 * 1.7 + 1, precision=0.03)


@pytest.mark.parametrize("name", covering(sorted(sf.ESTIMATORS, key=lambda name: name != "pathwise")))
def test_12_every_transform_works_and_no_tracer_leaks(name, checking_leaks):
    """Jax #29342, #20889: custom rules with array-valued static arguments crash or leak tracers."""
    estimator = sf.ESTIMATORS[name].function
    options = {"num_nodes": 8} if name == "exact" else {"num_samples": 4, **REQUIRED.get(name, {})}

    def loss(p, scale, k):  # the family and f close over traced values
        normal, coin = (lambda p: sf.Normal(loc=p * scale, scale=1.0)), (lambda p: sf.Bernoulli(logits=p * scale))
        fam = sf.family(coin if sf.ESTIMATORS[name].missing(sf.Normal(loc=0.0, scale=1.0)) else normal)
        return estimator(lambda x: jnp.sin(x) * scale * p, fam, p, k, **options)

    key = jax.random.key
    eager = jax.grad(loss)(0.3, 1.5, key(0))
    with checking_leaks():

        @jax.jit
        def transformed(p, scale, k):
            return [
                jax.grad(loss)(p, scale, k), jax.jvp(lambda q: loss(q, scale, k), (p,), (1.0,))[1],
                jax.vmap(jax.grad(loss), (0, None, None))(jnp.stack([p]), scale, k)[0],
                jax.grad(jax.checkpoint(loss))(p, scale, k),
                jax.lax.scan(lambda c, _: (c, jax.grad(loss)(p, scale, k)), 0, None, length=1)[1][0],
                jax.linearize(lambda q: loss(q, scale, k), p)[1](1.0),
            ], jax.hessian(loss)(p, scale, k) if sf.ESTIMATORS[name].orders >= 2 else p  # fmt: skip

        with jax.debug_key_reuse(False):  # the same key for each transform, on purpose
            grads, hessian = transformed(jnp.asarray(0.3), jnp.asarray(1.5), key(0))
    assert np.isfinite(hessian)
    grads = [eager, *grads]
    np.testing.assert_allclose(grads, grads[0], rtol=2e-5)


# Baselines


def test_13_leave_one_out_with_one_draw_is_an_error():
    """Verl #7581, #7794, tunix: learns nothing, in silence."""
    with pytest.raises(ValueError, match="leave_one_out needs at least 2 draws and got 1"):
        sf.score_function_grad(
            jnp.square, COIN, 0.0, jax.random.key(0), num_samples=1, baseline=baselines.leave_one_out
        )


def test_14_a_mean_with_the_draw_itself_is_declared_biased_and_is_not_the_default():
    """NetKet expect, tunix: the gradient comes out 1 - 1/n."""
    grad = lambda k, b: sf.score_function_grad(lambda x: 1 + 2 * x, COIN, 1.0, k, num_samples=2, baseline=b)
    assert_unbiased(runs_of(lambda k: grad(k, "auto")), G, precision=0.02)
    assert_unbiased(runs_of(lambda k: grad(k, baselines.batch_mean)), G / 2, precision=0.02)
    assert baselines.batch_mean.bias is not sf.Bias.NONE


def test_15_a_moving_average_of_a_constant_is_that_constant():
    """Optax 0.1 moving_avg_baseline fed the debiased value back: 1.0 became 1.034, 1.025, ..."""
    ema = baselines.ema(0.99)
    state = ema.init()
    for _ in range(4):
        state = ema.update(state, sf.Info(None, jnp.ones(8), None, None, None))
        np.testing.assert_allclose(ema.value(state), 1.0, rtol=2e-5)


def test_16_the_moving_average_is_used_before_it_is_updated():
    """Optax 0.1 updated it on the draws that it was then used on; here the state goes in, and the next comes out apart."""
    ema = baselines.ema(0.5)
    state = ema.update(ema.init(), sf.Info(None, jnp.full(2, 3.0), None, None, None))
    bound = ema.bind(state)
    np.testing.assert_array_equal(bound(jnp.array([100.0, -100.0])), [3.0, 3.0])
    new = ema.update(state, sf.Info(None, jnp.full(2, 9.0), None, None, None))
    np.testing.assert_array_equal(bound(jnp.zeros(2)), [3.0, 3.0])
    assert ema.value(new) > 3.0


def test_17_a_key_is_used_once_and_the_checker_sees_it():
    """Optax 0.1 drew "new samples" from the same key. The whole suite runs with the key-reuse checker on."""
    assert jax.config.jax_debug_key_reuse
    for estimator in (sf.score_function_grad, sf.pathwise_grad):
        for wrap in (lambda f: f, jax.jit):
            grad = wrap(lambda m, k, e=estimator: e(jnp.square, NORMAL, m, k, num_samples=4))
            key = jax.random.key(0)
            grad(0.0, key)
            with pytest.raises(jax.errors.KeyReuseError):
                grad(0.0, key)
    draw = jax.jit(lambda k: sf.score_function(jnp.square, NORMAL, 0.0, k, num_samples=500, has_aux=True)[1].samples)
    draws = draw(jax.random.key(0))
    assert len(np.unique(draws)) == 500


def test_19_an_offset_in_f_moves_the_gradient_by_less_than_a_tenth_of_its_standard_error():
    """1e4 + f in float32, f of standard deviation 1 or more."""
    for size in (64, 10_000):
        grad = jax.jit(jax.vmap(
            lambda k, c, n=size: sf.score_function_grad(lambda x: c + x + x**2, NORMAL, 0.5, k, num_samples=n), (0, None)
        ))  # fmt: skip
        plain, shifted = (grad(jax.random.split(jax.random.key(0), 50), c) for c in (0.0, 1e4))
        assert np.max(np.abs(plain - shifted)) < 0.1 * np.std(plain)
    naive = lambda k: sf.score_function_grad(
        lambda x: 1e4 + x + x**2, NORMAL, 0.5, k, num_samples=64, baseline=lambda v: jnp.zeros_like(v)
    )
    drowned = jax.jit(jax.vmap(naive))(jax.random.split(jax.random.key(0), 50))
    assert np.std(drowned) > 100 * 0.1 * np.std(plain)


def test_21_the_state_of_a_baseline_goes_in_and_comes_out_for_each_of_many_particles():
    """Pyro: mutable state, dropped with several particles. Here a hundred particles under vmap keep a hundred states."""
    ema = baselines.ema(0.5)

    def step(states, key):
        def particle(state, offset, key):
            _, info = sf.score_function(lambda x: offset + x, COIN, 0.0, key, baseline=ema.bind(state), has_aux=True)
            return ema.update(state, info)

        return jax.vmap(particle)(states, jnp.arange(100.0), jax.random.split(key, 100)), None

    begin = jax.vmap(lambda _: ema.init())(jnp.arange(100))
    states, _ = jax.jit(lambda keys: jax.lax.scan(step, begin, keys))(jax.random.split(jax.random.key(0), 20))
    np.testing.assert_array_equal(states.count, 20)
    np.testing.assert_allclose(jax.vmap(ema.value)(states), np.arange(100) + 0.5, atol=0.25)


# Shapes and numerics


def test_30_a_scalar_for_each_draw_is_required_where_one_is_wanted():
    """pytorch/rl #1243: (n, 1) * (n,) broadcast to (n, n). An f of shape (1,) is refused by the gradient form, by its shape."""
    with pytest.raises(ValueError, match=r"returned shape \(1,\)"):
        jax.eval_shape(lambda l, k: sf.score_function_grad(lambda x: x[None], COIN, l, k), 0.0, jax.random.key(0))
    run = lambda l, k: sf.score_function(lambda x: x[None], COIN, l, k, num_samples=7, has_aux=True)
    value, info = jax.eval_shape(run, 0.0, jax.random.key(0))
    assert value.shape == (1,) and info.values.shape == (7, 1) and info.log_probs.shape == (7,)


@jax.jit
def saturated_gradients(logit, logits):
    """Of a coin and of categories of which one is masked, by both estimators, in one compilation for all logits."""
    masked = sf.family(lambda l: sf.Categorical(logits=jnp.where(jnp.array([True, False, True]), l, -jnp.inf)))
    grads = [jax.grad(sf.ESTIMATORS[name].function, argnums=2) for name in ("score_function", "exact")]
    return (
        [grad(lambda x: 1 + 2 * x, COIN, logit, jax.random.key(0)) for grad in grads],
        [grad(lambda x: x.astype(float), masked, logits, jax.random.key(0)) for grad in grads],
    )


@pytest.mark.parametrize("logit", [40.0, -40.0, np.inf, -np.inf])
def test_31_saturated_distributions_give_no_nan(logit):
    """Jax #17070, distrax #7, #216: NaN from masked and saturated log-probabilities."""
    of_coin, of_masked = saturated_gradients(logit, np.zeros(3, np.float32))
    for grad in of_coin:
        assert np.isfinite(grad) and abs(grad) < 1e-6
    for grad in of_masked:
        assert np.all(np.isfinite(grad)) and grad[1] == 0


def test_32_the_score_of_a_rare_value_has_mean_zero():
    """Rebar #1, storchastic #88: NaN or doubt near the edge. The mean of the score is 0 at probabilities of 1e-4."""
    runs = runs_of(
        lambda k: sf.score_function_grad(lambda x: 1.0, COIN, -9.2, k, num_samples=64, baseline=None), 20_000
    )
    assert np.all(np.isfinite(runs))
    assert abs(runs.mean()) < 5 * runs.std() / np.sqrt(len(runs))


def test_33_no_gate_is_without_a_twin_that_fails_it():
    """storchastic: paths that no test asserts. The gate of the exam fails each known way of being wrong."""
    exact = 2.8
    for kind in KINDS:
        with pytest.raises(AssertionError, match="is biased"):
            assert_unbiased(runs_of(twin(kind)), exact, precision=0.08)


def test_34_a_rare_action_keeps_its_gradient():
    """log(max(p, 1e-8)) has gradient 0 for rare actions: here the score at logit -25 is 1."""
    bernoulli = lambda l: sf.Bernoulli(logits=l).log_prob(1.0)
    rare = lambda l: sf.Categorical(logits=jnp.stack([l, jnp.float32(0.0)])).log_prob(jnp.asarray(0))
    geometric = lambda l: sf.Geometric(logits=l).log_prob(jnp.asarray(1))
    slopes = jax.jit(lambda l: [jax.grad(log_prob)(l) for log_prob in (bernoulli, rare, geometric)])(-25.0)
    np.testing.assert_allclose(slopes, 1.0, rtol=1e-6)


def test_35_a_log_probability_with_a_shape_is_an_error_and_not_a_silent_sum():
    """Genjax sums it in silence. The error says how to make an event of it, or a batch."""
    fam = sf.family(
        log_prob=lambda m, x: jax.scipy.stats.norm.logpdf(x, m, 1.0),
        sampler=lambda k, m: m + jax.random.normal(k, (3,)),
    )
    with pytest.raises(ValueError, match=r"returned shape \(3,\).*Independent.*to_event.*jax.vmap"):
        sf.score_function_grad(jnp.sum, fam, jnp.zeros(3), jax.random.key(0))


# Scale


def test_36_chunks_are_recomputed_and_do_not_pile_up():
    """Jax #11319, #19614: per-draw residuals. No array of the compiled gradient spans all draws but their scalars."""
    wide = jnp.zeros(40)
    grad = lambda m, k: sf.score_function_grad(
        lambda x: jnp.sum(jnp.sin(x)), NORMAL, m, k, num_samples=640, chunk_size=16
    )
    text = jax.jit(grad).lower(wide, jax.random.key(0)).compile().as_text()
    assert "[16,40]" in text and "[640,40]" not in text and "[40,16,40]" not in text


@pytest.mark.parametrize("chunk_size", covering([3, 7, 1, 100], lambda size: size if size in (3, 7) else None))
def test_37_any_chunk_size_with_any_remainder_gives_the_same(chunk_size):
    """NetKet #1006, #2010, #1356, #2229: the chunk must divide, or the result changes with it."""
    options = {"num_samples": 10}
    run = lambda c: jax.jit(
        lambda m, k: sf.score_function_grad(jnp.square, NORMAL, m, k, chunk_size=c, **options)
    )(0.5, jax.random.key(0))  # fmt: skip
    np.testing.assert_allclose(run(chunk_size), run(None), rtol=1e-5)


def test_38_a_black_box_is_called_once_for_each_chunk():
    """Jax #24756, jaxopt #613: a host function under vmap. Counted over an eager gradient, forwards and backwards."""
    calls = []
    box = sf.black_box(lambda xs: (calls.append(len(xs)), xs**2)[1], vectorized=True)
    jax.block_until_ready(sf.score_function_grad(box, NORMAL, 0.5, jax.random.key(0), num_samples=10, chunk_size=4))
    assert sorted(calls) == [2, 4, 4]


def test_39_a_derivative_above_the_declared_order_raises():
    """jax.grad of a first-order estimator's gradient is a wrong finite Hessian elsewhere."""
    third = jax.grad(jax.grad(sf.pathwise_grad, argnums=2), argnums=2)
    with pytest.raises(
        TypeError, match="pathwise estimates derivatives up to order 2 and was differentiated once more"
    ):
        third(lambda x: x**4, NORMAL, 0.5, jax.random.key(0))
    orders = {name: record.orders for name, record in sf.ESTIMATORS.items()}
    every = ("score_function", "exact", "double_control_variate", "sum_and_sample")
    higher = dict.fromkeys(every, np.inf) | {"pathwise": 2}
    assert orders == dict.fromkeys(sf.ESTIMATORS, 1) | higher
    with pytest.raises(TypeError, match="vargrad estimates derivatives up to order 1"):
        jax.grad(sf.vargrad_grad, argnums=2)(lambda x: x**4, NORMAL, 0.5, jax.random.key(0))


# 40, that people can examine an estimator of their own: tests/testing/test_testing.py examines five that are not the library's.


def test_40_a_users_own_estimator_sits_the_same_exam():
    """Storchastic #21, #37, verl #5842: nobody could check their own estimator."""
    mine = lambda k, l=1.0: jax.grad(lambda q: (lambda x: (1 + 2 * x) * sf.Bernoulli(logits=q).log_prob(x))(
        jax.random.bernoulli(k, jax.nn.sigmoid(l)).astype(float)))(l)  # fmt: skip
    sf.testing.assert_unbiased(sf.testing.replicate(mine, jax.random.key(0), 20_000), G, precision=0.05)


def test_41_one_backward_pass_whatever_the_number_of_draws():
    """Optax 0.1 took a Jacobian for each draw: 485 times hand-written code. No (draws, parameters) array appears here."""
    weights = jnp.zeros((50, 30))
    fam = sf.family(lambda w: sf.Categorical(logits=jnp.ones(50) @ w))
    grad = lambda w, k: sf.score_function_grad(lambda x: x.astype(float), fam, w, k, num_samples=23)
    text = jax.jit(grad).lower(weights, jax.random.key(0)).compile().as_text()
    assert "[50,30]" in text and "[23,50,30]" not in text and "[23,1500]" not in text
