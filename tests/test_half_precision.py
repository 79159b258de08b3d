"""Parameters of half precision: the gradient of the same numbers in float32, rounded. Float32 beside float64 is in ``engine/test_many_draws``."""

import jax
import jax.numpy as jnp
import numpy as np
import on_devices
import pytest
from cases import CASES, OPTIONS, PAIRS, REQUIRED, params_of
from covering import covering

import jax_scorefn as sf

pytestmark = pytest.mark.usefixtures("unchecked_keys")
HALVES = ("bfloat16", "float16")


def cost(x):
    """In float32, as an f that is careful is."""
    x = x.astype(jnp.float32)
    return jnp.sum(jnp.sin(x * jnp.arange(1.0, x.size + 1).reshape(x.shape)) + x**2)


def of_estimator(name):
    dist = next(dist for dist in ("Bernoulli", "Normal", "Categorical", "Dirichlet") if (dist, name) in PAIRS)
    how = {**OPTIONS[name], **REQUIRED.get(name, {}), **({} if name == "exact" else {"num_samples": 1024})}
    return lambda p, k: sf.ESTIMATORS[name].function(cost, CASES[dist].family, p, k, **how), params_of(
        dist, jnp.float32
    )


def of_program(name):
    program, how = on_devices.PROGRAMS[name]
    widely = lambda p, key: program(p.astype(jnp.float32), key)  # a program computes in its own dtypes
    return sf.expectation(widely, num_samples=256, **how), on_devices.LOGITS


THINGS = {name: (of_estimator, name) for name in OPTIONS} | {name: (of_program, name) for name in on_devices.PROGRAMS}


@pytest.mark.parametrize(
    ("name", "dtype"),
    covering([(name, dtype) for name in THINGS for dtype in HALVES], lambda name, dtype: (dtype, THINGS[name][0])),
)
@pytest.mark.float32
def test_half_precision_costs_one_rounding(name, dtype):
    """Added up in half precision, a thousand terms would be off by a hundred units of the last place."""
    make, of = THINGS[name]
    run, params = make(of)
    low = jax.tree.map(lambda x: jnp.asarray(x).astype(dtype), params)
    grad = jax.jit(jax.value_and_grad(run))
    (value, found), (wide_value, wanted) = (
        grad(p, jax.random.key(0)) for p in (low, jax.tree.map(lambda x: x.astype(jnp.float32), low))
    )
    unit = float(jnp.finfo(dtype).eps)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, wide_value, rtol=2 * unit)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert a.dtype == dtype
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        off = np.max(np.abs(a - b) / np.maximum(np.abs(b), 0.1)) / unit
        assert off <= 1, off


def test_the_gate_fails_where_the_sum_is_taken_in_half_precision():
    """The same estimate by hand, added up in bfloat16."""
    x = np.asarray(jax.random.bernoulli(jax.random.key(0), 0.5, (1024, 3)), np.float32)
    terms = x.sum(1, keepdims=True) ** 2 * (x - 0.5)
    total = jnp.zeros(3, jnp.bfloat16)
    for term in terms:
        total = total + jnp.asarray(term, jnp.bfloat16)
    off = (
        np.abs(np.asarray(total, np.float64) / 1024 - terms.mean(0))
        / np.abs(terms.mean(0))
        / float(jnp.finfo(jnp.bfloat16).eps)
    )
    assert np.max(off) > 5
