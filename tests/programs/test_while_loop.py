"""Loops that end by themselves: exact by enumeration, skipped when all runs have ended, and refused where they cannot be credited."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from outcomes import all_bits, bit, derivative

import jax_scorefn as sf
from jax_scorefn.programs import _evaluate, _finished, _while_loop
from jax_scorefn.programs._ir import build
from jax_scorefn.programs._while_loop import in_program

pytestmark = pytest.mark.usefixtures("x64")
P = np.array([0.3, -0.5, 0.8])


def loop(cond, *args, **options):
    """That the number of steps moves with the parameters is a jump, of which nothing is to be said here."""
    return sf.programs.while_loop(lambda s: cond(jax.lax.stop_gradient(s)), *args, **options)


# Programs are (params, bits, key) -> (cost, number of bits that were drawn); bits are drawn in their order.


def walk(p, x, key):
    """The cost of the last state, which the body could not bear: log of 0."""

    def body(s):
        position, t = s
        up = bit(x[t], p[0] + p[1] * jnp.log(position))
        return position + 2.0 * up - 1.0, t + 1

    position, t = loop(lambda s: (s[0] > 0) & (s[0] < 4) & (s[1] < 6), body, (2.0, 0), max_steps=6)
    return jnp.exp(p[2] * position), t


def running(p, x, key):
    """Costs added up in the carry, of several terms."""

    def body(s):
        position, total, t = s
        up = bit(x[t], p[0] + p[1] * position)
        after = position + up * p[2]
        return after, total + after**2 + (up - 0.3) * p[1], t + 1

    _, total, t = loop(lambda s: (s[0] < 1.5) & (s[2] < 5), body, (0.1, 0.0, 0), max_steps=5)
    return total, t


def plate(p, x, key):
    """Loops of a plate, which end on their own."""

    def one(x, scale):
        def body(s):
            position, total, t = s
            up = bit(x[t], p[0] * scale + p[1] * position)
            return position + up, total + (position - p[2]) ** 2 * up, t + 1

        _, total, t = loop(lambda s: (s[0] < 2) & (s[2] < 3), body, (0.0, 0.0, 0), max_steps=3)
        return total, t

    totals, t = jax.vmap(one)(x.reshape(2, 3), jnp.array([1.0, -2.0]))
    return jnp.sum(totals * jnp.array([1.0, 3.0])), jnp.sum(t)


def branches(p, x, key):
    """Choices in both branches, and after the loop."""

    def body(s):
        position, t = s
        on = lambda: bit(x[t], p[0]) * 2.0
        off = lambda: bit(x[t], p[1] * position) - 1.0
        return position + jax.lax.cond(position > 0, on, off), t + 1

    position, t = loop(lambda s: (s[0] < 3) & (s[1] < 4), body, (0.5, 0), max_steps=4)
    last = bit(x[4], p[2] * position)
    return jnp.sin(position) * (1 + last), t + 1


def scan_inside(p, x, key):
    def body(s):
        total, t = s

        def step(c, y):
            z = bit(y, p[0] * c + p[1])
            return 0.5 * c + z, c * z

        c, ys = jax.lax.scan(step, 0.2, jax.lax.dynamic_slice(x, (t,), (2,)))
        return total + jnp.sum(ys) * p[2] + c, t + 2

    total, t = loop(lambda s: (s[0] < 1.2) & (s[1] < 6), body, (0.1, 0), max_steps=3)
    return total**2, t


def inside_scan(p, x, key):
    """A loop in each iteration of a scan, as long as the state is small; it reads on where the last one ended."""

    def step(carry, _):
        level, t = carry

        def body(s):
            n, level, t = s
            return n + 1, level + bit(x[t], p[0] + p[1] * level) - 0.5 * p[2], t + 1

        n, level, t = loop(lambda s: (s[0] < 2) & (s[1] < 1.0), body, (0, level, t), max_steps=2)
        return (0.5 * level, t), level * n

    (level, t), costs = jax.lax.scan(step, (0.2, 0), None, length=3)
    return jnp.sum(costs) + level, t


def nested(p, x, key):
    def outer(s):
        total, t, k = s

        def inner(s):
            n, total, t = s
            b = bit(x[t], p[0] - p[1] * n)
            return n + 1.0 + b, total + b * p[2], t + 1

        n, total, t = loop(lambda s: s[0] < 2.0, inner, (0.0, total, t), max_steps=2)
        return total * n, t, k + 1

    total, t, _ = loop(lambda s: (s[0] < 2.0) & (s[2] < 3), outer, (0.3, 0, 0), max_steps=3)
    return total, t


def never(p, x, key):
    """No step is made."""
    total, t = loop(lambda s: s[0] < 0, lambda s: (s[0] + bit(x[s[1]], p[0]), s[1] + 1), (p[1], 0), max_steps=2)
    return total**2 + loop(lambda s: s > 0, lambda s: s - p[2], p[2], max_steps=3), t


PROGRAMS = {f.__name__: (f, n) for f, n in (
    (walk, 6), (running, 5), (plate, 6), (branches, 5), (scan_inside, 6), (inside_scan, 6), (nested, 6), (never, 2),
)}  # fmt: skip


def outcome(program, params, bits):
    """Cost and probability, by plain evaluation: of the bits that were drawn, and 1/2 for each of the others."""
    with in_program(True):
        block = build(jax.make_jaxpr(program)(params, bits, jax.random.key(0)))
    _finished.finish(block)
    sites = {op.serial for op in block.choices()}
    (cost, drawn), emitted = _evaluate.run_block(block, [params, bits, jax.random.key(0)])
    log_prob = sum(jnp.sum(x) for k, x in emitted.items() if k in sites)
    return cost, jnp.exp(log_prob) * jnp.exp2((drawn - bits.size).astype(float))


def means(program, n, order, num_samples=1, **options):
    """The mean of a derivative of the expectation over all outcomes, and the derivative of the mean."""

    def of_run(params, rows, key):
        known = jax.random.key_data(
            jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(jnp.arange(num_samples))
        )
        run = jnp.argmax(jnp.all(known == jax.random.key_data(key)[None], axis=1))
        return program(params, rows[run], key)[0]

    estimator = sf.expectation(of_run, num_samples=num_samples, **options)
    rows = all_bits(n * num_samples).reshape(-1, num_samples, n)

    def one(rows):
        weight = jnp.prod(jnp.stack([outcome(program, P, row)[1] for row in rows]))
        return weight, weight * derivative(order)(lambda p: estimator(p, rows, jax.random.key(0)))(P)

    def mean(p):
        costs, weights = jax.vmap(lambda bits: outcome(program, p, bits))(all_bits(n))
        return jnp.sum(costs * weights)

    weights, found = jax.jit(jax.vmap(one))(rows)
    np.testing.assert_allclose(jnp.sum(weights), 1.0, rtol=1e-12)
    return jnp.sum(found, axis=0), jax.jit(derivative(order)(mean))(P)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.default
def test_it_is_exact_to_second_order(name):
    found, exact = means(*PROGRAMS[name], "to second order")
    np.testing.assert_allclose(found, exact, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["walk", "running", "plate", "inside_scan", "nested"])
def test_groups_of_blocks_are_the_same_loop(name, monkeypatch):
    """Of two steps each, so that there are several groups, one that is not full, and a rest."""
    flat = means(*PROGRAMS[name], 1)
    monkeypatch.setattr(_while_loop, "BLOCK", 2)
    found, exact = means(*PROGRAMS[name], 1)
    np.testing.assert_allclose(found, exact, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(found, flat[0], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"chunk_size": 1}, {"baseline": None}], ids=str)
def test_it_is_exact_with_several_runs(options):
    """Runs that end at different steps, in one batch, with a baseline that the others make."""
    found, exact = means(running, 5, 1, num_samples=2, **options)
    np.testing.assert_allclose(found, exact, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("broken", ["_zero_if_not", "_score_while_alive"])
def test_a_finished_run_that_counts_is_seen(broken, monkeypatch):
    """Broken twins: what a finished run draws is scored once more."""
    rows, (_, exact) = all_bits(5), means(branches, 5, 1)
    weights = jax.vmap(lambda bits: outcome(branches, P, bits)[1])(rows)
    estimator = sf.expectation(lambda p, bits, key: branches(p, bits, key)[0])
    mean = lambda: weights @ jax.vmap(lambda bits: jax.grad(estimator)(P, bits, jax.random.key(0)))(rows)
    np.testing.assert_allclose(mean(), exact, rtol=1e-11)
    monkeypatch.setattr(_finished, broken, {"_zero_if_not": lambda alive, x: x}.get(broken, lambda *_: None))
    assert np.max(np.abs(mean() - exact)) > 1e-2


def test_a_choice_is_charged_with_what_comes_after_it():
    """As in a scan with a mask: the cost of a step is not charged to later choices, nor to those of another loop of a plate."""
    shown = lambda program, n: (
        sf.explain(lambda p, x, key: program(p, x, key)[0])(P, np.zeros(n), jax.random.key(0)).costs
    )
    charged = [text for cost in shown(running, 5) for text in cost.charged.values()]
    assert "scan 0 at or before" in charged
    assert any("equal" in text for cost in shown(plate, 6) for text in cost.charged.values())


def ends_at(n, max_steps, truncate=False):
    def program(logit, key):
        def body(s):
            t, x, key = s
            key, now = jax.random.split(key)
            return t + 1, x + sf.sample(now, sf.Bernoulli(logits=logit)), key

        return sf.programs.while_loop(lambda s: s[0] < n, body, (0, 0.0, key), max_steps=max_steps, truncate=truncate)[
            1
        ]

    return program


def test_one_that_goes_on_is_nan_unless_it_may_be_cut():
    value = lambda program: jax.jit(jax.value_and_grad(sf.expectation(program)))(0.3, jax.random.key(0))
    assert np.all(np.isnan(value(ends_at(5, 4)))) and np.all(np.isfinite(value(ends_at(5, 5))))
    cut, whole = value(ends_at(5, 4, truncate=True)), value(ends_at(4, 4))
    np.testing.assert_allclose(cut, whole, rtol=1e-12)


@pytest.mark.parametrize("max_steps", [1, 15, 16, 17, 40, 700])
def test_blocks_are_those_of_a_plain_loop(max_steps):
    """In a program and outside of one, whatever number of blocks, the draws are those of ``jax.lax.while_loop``."""

    def body(s):
        x, key = s
        key, now = jax.random.split(key)
        return x + sf.sample(now, sf.Bernoulli(logits=0.0)), key

    goes_on = lambda s: s[0] < 0.3 * max_steps
    keys = jax.random.split(jax.random.key(1), 8)
    plain = lambda key: jax.lax.while_loop(goes_on, body, (0.0, key))[0]
    ours = lambda key: sf.programs.while_loop(goes_on, body, (0.0, key), max_steps=max_steps, truncate=True)[0]
    short = jax.vmap(ours)(keys)
    expected = jax.vmap(plain)(keys)
    assert np.all((short == expected) | (short < expected))
    wide = lambda key: sf.programs.while_loop(goes_on, body, (0.0, key), max_steps=20 * max_steps + 100)[0]
    np.testing.assert_array_equal(jax.vmap(wide)(keys), expected)


def test_a_cond_is_left_under_two_maps():
    run = jax.grad(sf.expectation(ends_at(3, 40), num_samples=4))
    text = str(jax.make_jaxpr(jax.vmap(jax.vmap(run)))(np.zeros((2, 3)), jax.random.split(jax.random.key(0), (2, 3))))
    assert text.count("cond[") >= 2  # forwards and backwards


def test_it_may_be_differentiated_outside_of_a_program():
    """Along a path, with no choice in it."""
    run = lambda x: sf.programs.while_loop(lambda s: s[1] < 3, lambda s: (s[0] * x, s[1] + 1), (1.0, 0), max_steps=50)[
        0
    ]
    np.testing.assert_allclose(jax.jit(jax.hessian(run))(1.5), 9.0, rtol=1e-12)


def test_what_is_refused():
    step = lambda s: s + 1.0
    with pytest.raises(TypeError, match="one boolean from cond; it was|one boolean from cond; it returned"):
        sf.programs.while_loop(lambda s: s, step, 0.0, max_steps=3)
    with pytest.raises(TypeError, match="returns the next state, of the structure"):
        sf.programs.while_loop(lambda s: s < 1.0, lambda s: (s, s), 0.0, max_steps=3)
    with pytest.raises(ValueError, match="max_steps is a positive"):
        sf.programs.while_loop(lambda s: s < 1.0, step, 0.0, max_steps=0)


@pytest.mark.parametrize("of_jax", ["while_loop", "fori_loop"])
def test_a_plain_loop_that_ends_by_itself_names_this_one(of_jax):
    def program(p, key):
        body = lambda s: s + sf.sample(key, sf.Bernoulli(logits=p))
        if of_jax == "while_loop":
            return jax.lax.while_loop(lambda s: s < 3.0, body, 0.0)
        return jax.lax.fori_loop(0, jnp.int32(jnp.round(p)), lambda i, s: body(s), 0.0)

    with (
        jax.debug_key_reuse(False),
        pytest.raises(TypeError, match=r"inside of while.*sf\.programs\.while_loop\(cond, body, init, max_steps="),
    ):
        sf.expectation(program)(2.0, jax.random.key(0))
