"""Of which dtype the numbers of a program are: half precision, complex costs and parameters, and Python's own numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import outcomes
import pytest
from covering import covering
from jax import lax
from outcomes import bit

import jax_scorefn as sf
from jax_scorefn.programs import _evaluate

STEPS = 600
HALF = {jnp.bfloat16: 2**-7, jnp.float16: 2**-10}
"""How far a number is from the next, relative to it."""


def bits(logit, key, dtype):
    return jax.vmap(lambda k: sf.sample(k, sf.Bernoulli(logits=logit)))(jax.random.split(key, STEPS)).astype(dtype)


def rewards(p, key, dtype):
    step = lambda c, k: (c, sf.sample(k, sf.Bernoulli(logits=p)).astype(dtype))
    return lax.scan(step, None, jax.random.split(key, STEPS))[1]


def stacked(p, key, dtype):
    return jnp.sum(rewards(p, key, dtype))


def discounted(p, key, dtype):
    back = lambda g, r: (jnp.asarray(0.5, dtype) * g + r, g)
    return jnp.sum(lax.scan(back, jnp.zeros((), dtype), rewards(p, key, dtype), reverse=True)[1])


def running(p, key, dtype):
    return jnp.cumsum(bits(p, key, dtype))[-1] / jnp.asarray(STEPS, dtype)


def masked(p, key, dtype):
    z = bits(p, key, dtype)
    return jnp.sum(jnp.where(np.arange(STEPS) % 3 == 0, z * z + z, jnp.zeros((), dtype)))


def scattered(p, key, dtype):
    return jnp.sum(jnp.zeros(2, dtype).at[np.arange(STEPS) % 2].add(bits(p, key, dtype)))


def product(p, key, dtype):
    return bits(p, key, dtype) @ jnp.ones(STEPS, dtype)


def enumerated(p, key, dtype):
    dists = sf.Bernoulli(logits=p * jnp.ones(8, p.dtype))
    return jnp.sum(sf.sample(key, dists, estimator="exact").astype(dtype)) ** 2


def large(p, key, dtype):
    """Costs that fit the dtype, whose sum over runs does not."""
    return jnp.asarray(3072.0, dtype) * (sf.sample(key, sf.Bernoulli(logits=p)).astype(dtype) + jnp.asarray(8.0, dtype))


PROGRAMS = dict.fromkeys((stacked, discounted, masked, scattered, product), 4) | {running: 1, enumerated: 1, large: 64}
"""Each with its number of runs."""
CASES = covering([(f, dtype) for f in PROGRAMS for dtype in HALF])


def value_and_grad(program, dtype, **options):
    loss = sf.expectation(functools.partial(program, dtype=dtype), num_samples=PROGRAMS[program], **options)
    return jax.jit(jax.value_and_grad(loss))(jnp.asarray(0.25, dtype), jax.random.key(0))


def check_half(program, dtype):
    """A number is rounded where it is made and where it is handed back; what is between does not grow with what is added."""
    for got, wanted in zip(value_and_grad(program, dtype), value_and_grad(program, jnp.float32), strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(np.float32(got), wanted, rtol=2 * HALF[dtype])


@pytest.mark.usefixtures("unchecked_keys")
@pytest.mark.parametrize(("program", "dtype"), CASES, ids=lambda x: x.__name__)
def test_half_precision_is_float32_rounded(program, dtype):
    check_half(program, dtype)


@pytest.mark.usefixtures("unchecked_keys")
def test_sums_in_half_precision_are_seen(monkeypatch):
    monkeypatch.setattr(_evaluate, "wide", lambda tree: tree)
    with pytest.raises(AssertionError, match="Not equal"):
        check_half(stacked, jnp.bfloat16)


@pytest.mark.usefixtures("unchecked_keys")
def test_baselines_of_chunks_are_float32_too():
    whole, chunks = (value_and_grad(large, jnp.float16, chunk_size=c) for c in (None, 24))
    np.testing.assert_allclose(np.float32(chunks), np.float32(whole), rtol=2**-9)


# Complex numbers


def amplitude(p, x, key):
    """A complex cost of complex parameters, some used as they are and some in a distribution."""
    z, r = p["z"], p["r"]
    a = bit(x[0], jnp.real(z[0] * jnp.conj(z[1])) + r)
    b = bit(x[1], jnp.imag(z[1]) * (1 + a))
    phase = jnp.exp(lax.complex(0.3 * a, r * b) * z[0])
    return phase * (a + 1).astype(z.dtype) + jnp.conj(z[1]) * lax.complex(b, a * b)


def local_energies(p, x, key):
    """A sum of complex terms, each of one bit, of which the program itself takes a part."""
    z, r = p["z"], p["r"]
    bits = bit(x, jnp.abs(z[0]) * jnp.array([1.0, -0.5]) + r)
    terms = jnp.exp(lax.complex(r * bits, bits) * z[1]) * z
    return jnp.real(jnp.sum(terms)) + 2 * jnp.imag(terms[0] + terms[1])


def rolled_out(p, x, key):
    z = p["z"]

    def step(c, y):
        c = c * z[0] + lax.complex(bit(y, jnp.real(c * z[1]) + p["r"]), 0.1 * y)
        return c, jnp.where(jnp.array([True, False]), c * z, jnp.conj(c))

    return jnp.sum(lax.scan(step, z[1], x)[1])


PARAMS = {"z": np.array([0.4 - 0.3j, 0.7 + 0.2j]), "r": np.array(0.2)}


def pulled_back(function, params):
    """The value, and what JAX's reverse mode makes of 1 and of i: all that there is to know of a first derivative."""
    value, back = jax.vjp(function, params)
    directions = [1.0, 1.0j] if jnp.iscomplexobj(value) else [1.0]
    return value, [back(jnp.asarray(d, value.dtype))[0] for d in directions]


def both(program, num_runs=1):
    """The mean over all outcomes of what an estimate has as value and derivatives, and the same of the exact expectation."""
    params = jax.tree.map(jnp.asarray, PARAMS)
    estimator = sf.expectation(outcomes._by_run(program, num_runs), num_samples=num_runs)

    def one(rows):
        weight = jnp.exp(sum(outcomes.log_prob(program, params, row) for row in rows))
        found = pulled_back(lambda p: estimator(p, rows, jax.random.key(0)), params)
        return jax.tree.map(lambda x: weight.astype(x.dtype) * x, found)

    def exact(params):
        def outcome(row):
            cost, log_prob = outcomes.run(program, params, row)
            return jnp.exp(log_prob).astype(cost.dtype) * cost

        return jnp.sum(jax.vmap(outcome)(outcomes.all_bits(2)), axis=0)

    rows = outcomes.all_bits(2 * num_runs).reshape(-1, num_runs, 2)
    got = jax.tree.map(lambda x: jnp.sum(x, axis=0), jax.jit(jax.vmap(one))(rows))
    return got, jax.jit(lambda p: pulled_back(exact, p))(params)


def assert_same(got, wanted):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("program", [amplitude, local_energies, rolled_out], ids=lambda f: f.__name__)
def test_complex_costs_and_parameters_are_exact_in_jax_s_convention(program, x64):
    assert_same(*both(program))


def test_leave_one_out_of_complex_costs_is_exact(x64):
    assert_same(*both(amplitude, num_runs=2))


@pytest.mark.usefixtures("unchecked_keys")
def test_parameters_that_are_all_complex_and_an_imaginary_part_that_is_kept():
    def program(z, key):
        return jnp.asarray(1 + 2j, z.dtype) * sf.sample(key, sf.Bernoulli(logits=jnp.real(z))).astype(z.dtype)

    loss = sf.expectation(program, num_samples=20_000)
    probability = jax.nn.sigmoid(0.3)
    value, grads = jax.jit(lambda z, key: (loss(z, key), [
        jax.grad(lambda z: part(loss(z, key)))(z) for part in (jnp.real, jnp.imag)]))(0.3 + 1j, jax.random.key(0))  # fmt: skip
    np.testing.assert_allclose(value, (1 + 2j) * probability, atol=0.05)
    np.testing.assert_allclose(grads, np.array([1.0, 2.0]) * probability * (1 - probability), atol=0.03)


def test_terms_of_a_complex_sum_are_credited_one_by_one(x64):
    found = sf.explain(local_energies)(PARAMS, np.zeros(2), jax.random.key(0))
    assert {charged for cost in found.costs for charged in cost.charged.values()} == {"axis 0 equal", "axis 0 [1, 1]"}


# Python's own numbers


def test_a_python_int_or_bool_stays_what_it_is():
    def program(p, length, double, key):
        z = sf.sample(key, sf.Bernoulli(logits=p * jnp.ones(length)))
        return jnp.sum(z) * (2.0 if double else 1.0)

    key = lambda: jax.random.key(0)
    once, twice = (jax.jit(lambda p, d=d: sf.expectation(program)(p, 4, d, key()))(0.3) for d in (False, True))
    assert twice == 2 * once
    assert sf.explain(program)(0.3, 4, double=True, key=key()).choices[0].shape == (4,)
    with pytest.raises(TypeError, match="concrete|Shapes must be 1D"):  # traced by somebody else
        jax.jit(sf.expectation(program))(0.3, 4, True, key())


def test_floats_and_arrays_of_ints_are_traced():
    def program(p, index, key):
        return p * index.astype(float)[sf.sample(key, sf.Categorical(logits=jnp.zeros(2)))]

    run = jax.jit(jax.value_and_grad(sf.expectation(program)))
    value, grad = run(2.0, np.array([3, 3]), jax.random.key(0))
    assert value == 6.0 and grad == 3.0
