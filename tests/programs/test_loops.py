"""Whatever has a body, with what depends on draws coming in as constant, as carry, as rows, or not at all: credit is exact.

A program is written down as five words: the primitive, where a draw comes in, what the body does with its carry, what it stacks, and
whether it is mapped.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import outcomes
import pytest
from covering import covering
from jax import lax
from outcomes import bit

from jax_scorefn.programs import _tail

pytestmark = pytest.mark.usefixtures("x64")

WIDTH = 2
BODIES = ("scan", "scan_of_rows", "scan_backwards", "scan_of_nothing", "fori", "while", "cond", "jit", "checkpoint",
          "custom_jvp", "custom_vjp", "nested")  # fmt: skip
WHAT = {"scan": "loops", "cond": "branches", "jit": "calls", "custom_vjp": "has rules of its own", "nested": "both"}
"""By default one of each, and what they are made of stands in the programs of ``program_cases``."""
DRAWN = tuple("".join(names) for k in range(1, 4) for names in itertools.combinations("cir", k))
"""Which depend on draws: c, the constant; i, the first carry; r, the rows."""
STEPS = {
    "adds": lambda c, const, row: c + const,
    "takes": lambda c, const, row: const - c,
    "decays": lambda c, const, row: 0.5 * c + const * row,
    "multiplies": lambda c, const, row: jnp.tanh(c * const) + row,
    "overwrites": lambda c, const, row: const + row,
    "keeps": lambda c, const, row: c,
    "masks": lambda c, const, row: jnp.where(jnp.arange(WIDTH) > 0, c + const, c - row),
}
STACKED = {
    "nothing": lambda c, const, row: None,
    "constant": lambda c, const, row: const,
    "carry": lambda c, const, row: c,
    "row": lambda c, const, row: row * const,
}


def looped(kind, step, stack, const, first, rows):
    """The last carry, and what was stacked (None where there is nothing)."""
    body = lambda c, row: (step(c, const, row), stack(c, const, row))
    one = lambda c, const, row: (step(c, const, row), stack(c, const, row))
    row = rows[0]
    match kind:
        case "scan":
            return lax.scan(lambda c, _: body(c, row), first, None, length=3)
        case "scan_of_rows":
            return lax.scan(body, first, rows)
        case "scan_backwards":
            return lax.scan(body, first, rows, reverse=True)
        case "scan_of_nothing":
            return lax.scan(lambda c, _: body(c, row), first, None, length=0)
        case "fori":
            return lax.fori_loop(0, 3, lambda t, c: step(c, const, row), first), None
        case "while":
            turns = lax.stop_gradient(jnp.where(rows.size > 0, 3, 2))
            loop = lambda held: lax.fori_loop(0, turns, lambda t, c: step(c, held[0], held[1]), held[2])
            return loop(lax.stop_gradient((const, row, first))), None
        case "cond":
            return lax.cond(jnp.bool_(True), one, lambda c, const, row: one(c, row, const), first, const, row)
        case "jit":
            return jax.jit(one)(first, const, row)
        case "checkpoint":
            return jax.checkpoint(one)(first, const, row)
        case "custom_jvp":
            call = jax.custom_jvp(one)
            call.defjvp(lambda primals, tangents: jax.jvp(one, primals, tangents))
            return call(first, const, row)
        case "custom_vjp":
            call = jax.custom_vjp(one)
            call.defvjp(lambda *xs: jax.vjp(one, *xs), lambda back, g: back(g))
            return call(first, const, row)
        case "nested":
            return lax.scan(
                lambda c, row: (lax.scan(lambda d, _: body(d, row), c, None, length=2)[0], row), first, rows
            )


def program(p, x, key, *, kind, drawn, step, stack, mapped):
    z = bit(x, p[0] * jnp.array([1.0, -0.5]))
    plain = p[1] * jnp.array([0.7, -0.4])
    const = jnp.sin(z * p[1]) if "c" in drawn else plain
    first = z * p[2] + 0.3 if "i" in drawn else 0.5 * plain
    rows = jnp.outer(jnp.linspace(0.5, 1.5, 3), jnp.cos(z) if "r" in drawn else plain)
    run = functools.partial(looped, kind, STEPS[step], STACKED[stack])
    if mapped:  # over the coordinates, the body sees scalars
        step_ = (lambda c, const, row: c + const) if step == "masks" else STEPS[step]
        run = jax.vmap(functools.partial(looped, kind, step_, STACKED[stack]), (0, 0, 1))
    last, stacked = run(const, first, rows)
    weights = jnp.array([1.0, 2.0])
    total = jnp.sum(last * weights) + jnp.sum(jnp.tanh(last)) * p[2]
    if stacked is not None:
        total = total + jnp.sum(stacked * jnp.linspace(0.3, 1.1, stacked.size).reshape(stacked.shape))
    return total


ALL = [
    {"kind": kind, "drawn": drawn, "step": step, "stack": stack, "mapped": mapped}
    for kind in BODIES for drawn in DRAWN for step in STEPS for stack in STACKED for mapped in (False, True)
    if stack == "nothing" or kind not in ("fori", "while", "nested")
]  # fmt: skip


def check(how):
    cost, params = functools.partial(program, **how), jnp.array([0.4, -0.7, 0.9])
    if how["kind"] == "custom_vjp":  # it has no forward mode; mapped and then differentiated it is wrong in plain JAX
        same = functools.partial(program, **{**how, "kind": "jit"})
        exact = jax.jit(jax.grad(outcomes.exact(same, WIDTH)))(params)
        got = outcomes.mean_derivative(cost, params, WIDTH, 1)
    else:
        got, exact = outcomes.gradients(cost, params, WIDTH)
    np.testing.assert_allclose(got, exact, rtol=1e-10, atol=1e-11, err_msg=str(how))


def some(kind, count, seed):
    """A few of a kind at random; the first adds a drawn constant to its carry, and nothing else goes in."""
    mine = [how for how in ALL if how["kind"] == kind]
    adds = {"kind": kind, "drawn": "c", "step": "adds", "stack": "nothing", "mapped": False}
    return [adds, *(mine[i] for i in np.random.default_rng(seed).permutation(len(mine))[:count])]


@pytest.mark.parametrize("kind", covering(BODIES, WHAT.get))
def test_wherever_a_draw_comes_into_a_body_credit_is_exact(kind):
    for how in some(kind, 3, seed=1):
        check(how)


def test_a_loop_that_adds_a_drawn_constant_ten_times():
    def cost(p, x, key):
        a = bit(x[0], p[0])
        total = lax.scan(lambda c, _: (c + a, None), jnp.zeros(2), None, length=10)[0]
        return jnp.sum(total) + jnp.sum(lax.fori_loop(0, 10, lambda t, c: c + a, jnp.zeros(2)))

    got, exact = outcomes.gradients(cost, jnp.zeros(1), 1)
    np.testing.assert_allclose(got, [10.0])  # 40 times the derivative of the probability, 1 / 4
    np.testing.assert_allclose(exact, [10.0])


def test_a_loop_that_is_taken_for_a_sum_is_seen(monkeypatch):
    how = {"kind": "scan_of_rows", "drawn": "cir", "step": "decays", "stack": "nothing", "mapped": False}
    check(how)
    monkeypatch.setattr(_tail, "_accumulators", lambda *args: True)
    with pytest.raises(AssertionError, match="Not equal"):
        check(how)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BODIES)
def test_many_ways_into_a_body_are_exact(kind):
    for how in some(kind, 60, seed=2):
        check(how)
