"""Programs that Python unrolls: thousands of operations in a row, and no walk over them that is as deep as the program."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import outcomes
import pytest
from covering import covering
from outcomes import bit

import jax_scorefn as sf

MASK = np.array([True, False])


def chain(p, x, key, length):
    """Linear in the same draws all the way down to a sum, where something is gained."""
    total, factor = jnp.sum(bit(x, p[0] * jnp.ones(3))), p[1]
    for _ in range(length // 2):
        total = total * factor + total
    return total


def terms(p, x, key, length):
    """A sum of as many costs, of one draw or the other."""
    z = bit(x, p[0] * jnp.ones(3))
    a, b, _ = z
    total, factor = jnp.sum(z), p[1]
    for j in range(length // 3):
        total = total + jnp.sin(a if j % 2 else b) * factor
    return total


def masked(p, x, key, length):
    """Below a mask each value is the difference of the two before it: as a tree there would be 2^n of them."""
    older, newer = bit(x[:2], p[0] * jnp.ones(2)), bit(x[2:], p[1] * jnp.ones(2))
    for _ in range(length):
        older, newer = newer, older - newer
    return jnp.sum(jnp.where(MASK, newer, 0.0))


def called(p, x, key, length):
    """The same with each step in a jitted function, all of it in the body of a scan."""
    z = bit(x, p[0] * jnp.ones(3))
    step = jax.jit(lambda c, y: c * 0.9 + y)

    def body(c, row):
        for _ in range(length // 2):
            c = step(c, row)
        return c + row * p[1], None

    return jnp.sum(jax.lax.scan(body, z, jnp.stack([z, 2 * z]))[0])


PROGRAMS = {"chain": (chain, 3), "terms": (terms, 3), "masked": (masked, 4), "called": (called, 3)}
LENGTHS = covering(
    [(name, length) for name in PROGRAMS for length in (1200, 5000)],
    lambda name, length: "the short one" if length == 1200 else None,
)


@pytest.mark.parametrize(("name", "length"), LENGTHS)
def test_thousands_of_operations_in_a_row_are_followed(name, length):
    program, num_bits = PROGRAMS[name]
    grad = jax.grad(sf.expectation(functools.partial(program, length=length)))
    assert jax.eval_shape(grad, jnp.array([0.3, 0.5]), jnp.zeros(num_bits), jax.random.key(0)).shape == (2,)


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_unrolled_is_credited_exactly(name, x64):
    program, num_bits = PROGRAMS[name]
    got, exact = outcomes.gradients(functools.partial(program, length=24), jnp.array([0.3, 0.05]), num_bits)
    np.testing.assert_allclose(got, exact, rtol=1e-10)
