"""What bad input gets: when the function is traced, in words that say what was given, what was wanted and what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import REQUIRED

import jax_scorefn as sf

COIN = sf.family(lambda l: sf.Bernoulli(logits=l))
NORMAL = sf.family(lambda m: sf.Normal(loc=m, scale=1.0))
KEY = jax.random.key(0)
f = jnp.square


@pytest.fixture(autouse=True)
def _keys_may_be_reused():
    with jax.debug_key_reuse(False):
        yield


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sf.score_function(f, lambda p, x: x, 0.0, KEY), TypeError, "needs a family as its second argument, not function"),
        (lambda: sf.score_function(3.0, COIN, 0.0, KEY), TypeError, "needs a function of one draw as its first argument, not float"),
        (lambda: sf.score_function_grad(3.0, COIN, 0.0, KEY), TypeError, "needs a function of one draw"),
        (lambda: sf.score_function(f, COIN, 1, KEY), TypeError, r"no floating-point leaf \(leaves: \['int \(1\)'\]\)"),
        (lambda: sf.score_function_grad(f, COIN, 1, KEY), TypeError, r"no floating-point leaf \(leaves: \['int \(1\)'\]\)"),
        (lambda: sf.score_function(f, COIN, 0.0, None), TypeError, "draws at random and needs a key, not None"),
        (lambda: sf.pathwise(f, sf.family(lambda m: sf.Normal(loc=m, scale=1.0)), 0.0, None), TypeError, "needs a key"),
        (lambda: sf.score_function(f, COIN, 0.0, 42), TypeError, r"A key is one jax.random.key\(seed\).*not int \(42\)"),
        (lambda: sf.score_function(f, COIN, 0.0, jax.random.split(KEY, 3)), TypeError, r"key<fry>\[3\].*map over them"),
        (lambda: sf.score_function(f, COIN, 0.0, KEY, num_samples=0), ValueError, "num_samples is a positive Python int"),
        (lambda: sf.score_function(f, COIN, 0.0, KEY, num_samples=2.5), TypeError, "num_samples is a positive Python int"),
        (lambda: sf.score_function(f, COIN, 0.0, KEY, num_samples=True), TypeError, "num_samples is a positive Python int"),
        (lambda: sf.score_function(f, COIN, 0.0, KEY, chunk_size=0), ValueError, "chunk_size is a positive Python int"),
        (lambda: jax.jit(lambda n: sf.score_function(f, COIN, 0.0, KEY, num_samples=n))(3), TypeError, "it has to be known before"),
        (lambda: sf.score_function(f, COIN, 0.0, KEY, num_sample=3), TypeError, "has no option num_sample. Its options: num_samples"),
        (lambda: sf.exact(f, COIN, 0.0, num_samples=3), TypeError, "exact has no option num_samples"),
        (lambda: sf.score_function(lambda x: {"a": x}, COIN, 0.0, KEY), TypeError, "f must return one real array.*not dict"),
        (lambda: sf.score_function(lambda x: "high", COIN, 0.0, KEY), TypeError, "f must return one real array.*not str"),
        (lambda: sf.iwae(lambda x: jax.lax.complex(x, x), COIN, 0.0, KEY), TypeError, "f must return one real array.*complex(64|128)"),
        (lambda: sf.score_function_grad(lambda x: jax.lax.complex(x, x), COIN, 0.0, KEY), TypeError, "f returned complex(64|128).*jnp.real"),
        (lambda: sf.score_function(lambda x: None, COIN, 0.0, KEY), TypeError, "f must return one real array.*not NoneType"),
        (lambda: sf.score_function_grad(lambda x: jnp.stack([x, x]), COIN, 0.0, KEY), ValueError, r"scalar.*returned shape \(2,\)"),
        (
            lambda: sf.score_function(f, sf.family(log_prob=lambda p, x: jnp.zeros(2), sampler=lambda k, p: p), 0.0, KEY),
            ValueError, r"must be a scalar; FunctionDistribution returned shape \(2,\)",
        ),
        (
            lambda: sf.score_function(f, sf.family(log_prob=lambda p, x: 1, sampler=lambda k, p: p), 0.0, KEY),
            TypeError, "must be a real float; FunctionDistribution returned int(32|64)",
        ),
        (lambda: sf.exact(f, sf.family(log_prob=lambda p, x: x, sampler=lambda k, p: p), 0.0), TypeError,
         "exact needs a distribution that has a support that can be listed or a quadrature; FunctionDistribution has a log-probability, a "
         "sampler. "
         "Estimators that work with it: score_function"),
        (lambda: sf.score_function(f, COIN, 0.0, KEY, baseline=lambda v: jnp.zeros(3)), ValueError,
         r"returned shape \(3,\) for values of shape \(64,\): return one number for each draw"),
        (lambda: sf.score_function(f, COIN, 0.0, KEY, baseline=lambda v: v[:, None]), ValueError, r"returned shape \(64, 1\)"),
        (lambda: sf.gumbel_softmax(f, COIN, 0.0, KEY, temperature=0.0), ValueError, "temperature is a number above 0.*not 0.0"),
        (lambda: sf.reinmax_grad(f, COIN, 0.0, KEY, temperature=-1), ValueError, "temperature is a number above 0.*not -1"),
        (lambda: sf.Binomial(total_count=-1, probs=0.5).sample(KEY), ValueError, "Binomial got total_count=-1; it is a whole number"),
        (lambda: sf.Binomial(total_count=2.5, probs=0.5).sample(KEY), TypeError, "Binomial got total_count=2.5; it is a whole"),
        (lambda: sf.Categorical(logits=jnp.zeros(3)).mean(), NotImplementedError, r"Categorical has no mean\(\); it has .*a finite support"),
        (lambda: sf.Categorical(logits=jnp.zeros(3)).bits(), NotImplementedError, r"choices\(\) shows others"),
        (lambda: sf.sample(KEY, 3.0), TypeError, "A distribution of one draw is one of sf.distributions.*not float"),
        (lambda: (lambda p: sf.elbo(lambda x: x - NORMAL(p, x), NORMAL, p, KEY))(jnp.ones(())), TypeError, "that elbo was given, and elbo subtracts"),
    ],
)  # fmt: skip
def test_static_mistakes(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_parameters_may_hold_leaves_that_are_not_floats():
    fam = sf.family(lambda p: sf.Categorical(logits=p["l"][: p["k"]]))
    params = {"l": jnp.zeros(5), "k": 3, "flag": True, "count": np.arange(2)}
    # the int is a static one: it fixes a shape, so that the whole cannot be compiled with the parameters as arguments
    grads = jax.jit(lambda: sf.score_function_grad(jnp.square, fam, params, KEY))()
    assert grads["l"].shape == (5,) and grads["l"][:3].any() and not grads["l"][3:].any()
    for name in ("k", "flag", "count"):
        assert grads[name].dtype == jax.dtypes.float0


def test_values_keep_their_precision_and_ints_and_bools_become_floats():
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
        loss = lambda l, d=dtype: sf.score_function(lambda x: x.astype(d), COIN, l, KEY)
        value, grads = jax.eval_shape(jax.value_and_grad(loss), 0.0)
        assert value.dtype == dtype and grads.dtype == jnp.result_type(float)
    fam = sf.family(lambda l: sf.Categorical(logits=l))
    for g in (lambda x: x, lambda x: x > 1):
        assert jax.eval_shape(lambda l, g=g: sf.score_function(g, fam, l, KEY), jnp.zeros(3)).dtype == jnp.result_type(
            float
        )
    both = lambda l: sf.score_function(lambda x: jnp.stack([x, 2 * x]), COIN, l, KEY)
    one = lambda l: sf.score_function_grad(lambda x: x, COIN, l, KEY)
    vector, jacobian, grad = jax.jit(lambda l: (both(l), jax.jacobian(both)(l), one(l)))(0.0)
    np.testing.assert_allclose(vector[1], 2 * vector[0], rtol=1e-6)
    np.testing.assert_allclose(jacobian, np.array([1.0, 2.0]) * grad, rtol=1e-5)


@pytest.mark.nans
def test_info_says_how_far_the_value_may_be_off():
    @jax.jit
    def run(l):
        single = sf.score_function(f, COIN, l, KEY, num_samples=1, has_aux=True)[1].value_standard_error
        return (
            sf.score_function(lambda x: 2 * x, COIN, l, KEY, num_samples=100, has_aux=True), single,
            sf.score_function_grad(lambda x: 2 * x, COIN, l, KEY, has_aux=True),
        )  # fmt: skip

    (value, info), single, (grads, info_of_grad) = run(0.0)
    np.testing.assert_allclose(info.value_standard_error, np.std(info.values, ddof=1) / 10, rtol=1e-5)
    np.testing.assert_allclose(info.log_probs, np.log(0.5), rtol=1e-6)
    np.testing.assert_array_equal(2 * info.samples, info.values)
    assert np.isnan(single)
    assert abs(value - 1.0) < 5 * info.value_standard_error
    assert isinstance(info_of_grad, sf.Info) and grads.shape == ()


@pytest.mark.nans
def test_nan_is_never_turned_into_a_number():
    value_and_grad = jax.value_and_grad(lambda l: sf.score_function(lambda x: x * jnp.nan, COIN, l, KEY))
    with_aux = lambda l: sf.score_function(lambda x: jnp.log(x - 1), COIN, l, KEY, has_aux=True)
    (value, grads), (_, info) = jax.jit(lambda l: (value_and_grad(l), with_aux(l)))(0.0)
    assert np.isnan(value) and np.isnan(grads)
    assert not np.all(np.isfinite(info.values))


def test_works_under_checkify_and_debug_nans():
    from jax.experimental import checkify

    def checked(l, key):
        value = sf.score_function(lambda x: x, COIN, l, key)
        checkify.check(jnp.isfinite(value), "not finite")
        return value

    errors = checkify.user_checks | checkify.float_checks
    error, _ = jax.jit(checkify.checkify(jax.grad(checked), errors=errors))(0.0, KEY)
    error.throw()
    normal, coin = sf.family(lambda m: sf.Normal(loc=m, scale=1.0)), sf.family(lambda m: sf.Bernoulli(logits=m))

    def grad(name, estimator, key):
        options = {} if name == "exact" else {"num_samples": 4, **REQUIRED.get(name, {})}
        family = coin if estimator.missing(normal.at(0.0)) else normal
        return jax.grad(estimator.function, argnums=2)(f, family, 0.0, key, **options)

    with jax.debug_nans(True), jax.debug_key_reuse(False):
        grads = jax.jit(lambda key: {name: grad(name, record, key) for name, record in sf.ESTIMATORS.items()})(KEY)
    assert all(np.isfinite(g) for g in grads.values()), grads
