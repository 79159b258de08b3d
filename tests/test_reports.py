"""An Info has no derivative: reverse mode says so, and nothing else notices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import REQUIRED, frame
from covering import covering

import jax_scorefn as sf

NORMAL = sf.family(lambda m: sf.Normal(loc=m, scale=1.0))
COIN = sf.family(lambda m: sf.Bernoulli(logits=m))
KEY = jax.random.key(0)
AT = jnp.float32(0.3)


@pytest.fixture(autouse=True)
def _keys_may_be_reused():
    with jax.debug_key_reuse(False):
        yield


def loss(m, key=KEY):
    return sf.score_function(jnp.square, NORMAL, m, key, num_samples=4, has_aux=True)


def value(m, key=KEY):
    return sf.score_function(jnp.square, NORMAL, m, key, num_samples=4)


def over_keys(m):
    return jax.lax.scan(lambda carry, key: (carry, loss(m, key)), 0.0, jax.random.split(KEY, 3))[1]


PARTS = {
    name: (lambda info, name=name: jnp.sum(getattr(info, name)))
    for name in (*sf.Info._fields, "effective_sample_size")
    if name != "gradient_standard_error"  # there with per_draw=True alone
}


@pytest.mark.parametrize("part", sorted(PARTS))
def test_reverse_mode_of_each_part_raises_and_forward_mode_is_0(part):
    of = lambda m: PARTS[part](loss(m)[1])
    wrapped = {
        "grad": jax.grad(of),
        "jacrev": jax.jacrev(of),
        "jit": jax.jit(jax.grad(of)),
        "of jit": jax.grad(jax.jit(of)),
    }
    for name, derivative in wrapped.items():
        with pytest.raises(TypeError, match="An Info was differentiated.*stop_gradient"):
            jax.eval_shape(derivative, AT)
        assert name
    assert jax.jit(jax.jacfwd(of))(AT) == 0 and jax.jit(jax.jacfwd(jax.jacfwd(of)))(AT) == 0


@pytest.mark.parametrize("name", covering(sorted(sf.ESTIMATORS), frame))
def test_every_estimator_has_such_an_info(name):
    record = sf.ESTIMATORS[name]
    family = COIN if record.missing(NORMAL.at(0.0)) else NORMAL
    options = {} if name == "exact" else {"num_samples": 4, **REQUIRED.get(name, {})}
    estimate = lambda m: record.function(lambda x: x * m, family, m, KEY, has_aux=True, **options)
    for part in ("values", "samples", "value_standard_error"):
        with pytest.raises(TypeError, match="An Info was differentiated"):
            jax.eval_shape(jax.grad(lambda m, part=part: jnp.sum(getattr(estimate(m)[1], part))), AT)
    jax.eval_shape(jax.grad(estimate, has_aux=True), AT)


def test_an_info_that_is_not_differentiated_changes_nothing():
    keys = jax.random.split(KEY, 3)
    of_scan = lambda m: over_keys(m)[0].mean()
    held = lambda m: jnp.sum(jax.lax.stop_gradient(loss(m)[1].samples) * m)

    @jax.jit
    def derivatives(m):
        drop = lambda function: jax.grad(lambda m: function(m)[0])
        grads = [
            jax.grad(loss, has_aux=True)(m)[0], jax.grad(jax.jit(loss), has_aux=True)(m)[0], drop(jax.jit(loss))(m),
            drop(jax.checkpoint(loss))(m), drop(lambda m: jax.lax.cond(m > 0, loss, loss, m))(m),
            jax.vmap(jax.grad(loss, has_aux=True))(m[None])[0][0], jax.vjp(loss, m, has_aux=True)[1](1.0)[0],
            jax.grad(lambda m: jax.vmap(loss)(m)[0].sum())(m[None])[0],
            jax.jvp(loss, (m,), (jnp.ones_like(m),), has_aux=True)[1],
            sf.score_function_grad(jnp.square, NORMAL, m, KEY, num_samples=4, has_aux=True)[0],
        ]  # fmt: skip
        second = [
            jax.hessian(loss, has_aux=True)(m)[0], jax.hessian(jax.jit(loss), has_aux=True)(m)[0],
            jax.jacrev(lambda m: sf.score_function_grad(jnp.square, NORMAL, m, KEY, num_samples=4, has_aux=True), has_aux=True)(m)[0],
        ]  # fmt: skip
        scans = [
            jax.grad(of_scan)(m), jax.grad(lambda m: jax.vmap(lambda k: loss(m, k))(keys)[0].mean())(m),
            jax.grad(lambda m: jax.checkpoint(lambda m: jax.vmap(loss, (None, 0))(m, keys))(m)[0].mean())(m),
        ]  # fmt: skip
        plain = (
            jax.grad(value)(m),
            jax.hessian(value)(m),
            jax.grad(lambda m: jax.vmap(lambda k: value(m, k))(keys).mean())(m),
        )
        return grads, second, scans, plain, (jax.grad(held)(m), held(m) / m)

    grads, second, scans, plain, data = jax.device_get(derivatives(AT))
    for found, wanted in zip((grads, second, scans), plain, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    np.testing.assert_allclose(*data, rtol=1e-5)
