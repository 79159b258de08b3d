"""Random programs: the mean of the surrogate's gradient over all outcomes is the exact gradient, whatever is composed.

A program is a tape of numbers. Each step reads three of them: which operation, and which earlier values it takes. Scalars and vectors
of three elements are kept apart, and bits are drawn with logits that depend on what came before.
"""

import itertools
import os

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import outcomes
import pytest
from given_uniforms import ESTIMATORS, choice, quarter, quarters
from hypothesis import HealthCheck, given, settings
from outcomes import bit

import jax_scorefn as sf

pytestmark = pytest.mark.usefixtures("x64")
MAX_BITS, WIDTH = 5, 3


class Tape:
    """A program written down as numbers, whose bits are made by a function of a value and a logit."""

    def __init__(self, numbers, bit=bit):
        self.numbers, self.bit = numbers, bit

    def num_bits(self):
        """Counted from the numbers alone: to trace the program for it takes long."""
        used = 0
        for op in self.numbers[: len(self.numbers) // 3 * 3 : 3]:
            count = {0: 1, 1: 1, 2: WIDTH, 3: WIDTH, 4: WIDTH, 5: 1}.get(op % 26, 0)
            used += count if used + count <= MAX_BITS else 0
        return used

    def __call__(self, params, bits, key):
        del key
        cost, used = self._run(params, bits)
        assert used == bits.size
        return cost

    def _run(self, p, x):
        bit = self.bit
        scalars, vectors, used, steps = [p[0], p[1]], [jnp.linspace(0.2, 0.9, WIDTH) * p[0]], 0, iter(self.numbers)

        def draw(logit, count):
            nonlocal used
            used += count
            return bit(x[used - count : used] if count > 1 else x[used - 1], logit)

        for op, i, j in zip(steps, steps, steps, strict=False):
            a, b = scalars[i % len(scalars)], scalars[j % len(scalars)]
            v, w = vectors[i % len(vectors)], vectors[j % len(vectors)]
            room = MAX_BITS - used
            match op % 26:
                case 0 | 1 if room:
                    scalars.append(draw(a - 0.3 * b, 1))
                case 2 if room >= WIDTH:
                    vectors.append(draw(v + a, WIDTH))
                case 3 if room >= WIDTH:
                    bits = x[used : used + WIDTH]
                    used += WIDTH
                    vectors.append(jax.vmap(lambda y, l: bit(y, l - b))(bits, v))
                case 4 if room >= WIDTH:
                    bits = x[used : used + WIDTH]
                    used += WIDTH

                    def step(c, row, a=a):
                        y, l = row
                        z = bit(y, l + 0.4 * c)
                        return 0.6 * jnp.tanh(c) + z, c * z + a

                    last, ys = jax.lax.scan(step, b, (bits, v), reverse=bool(j % 2))
                    scalars.append(last)
                    vectors.append(ys)
                case 5 if room:
                    y = x[used]
                    used += 1
                    on = jax.lax.stop_gradient(a) > 0.3
                    scalars.append(jax.lax.cond(on, lambda l, y=y: bit(y, l) * 2.0, lambda l, y=y: bit(y, -l) + l, b))
                case 6:
                    scalars.append(a + b)
                case 7:
                    scalars.append(jnp.tanh(a * b))  # bounded: no program may overflow
                case 8:
                    scalars.append(jnp.sin(a) - b)
                case 9:
                    vectors.append(v + w)
                case 10:
                    vectors.append(jnp.sin(v * w) - a)
                case 11:
                    scalars.append(jnp.sum(v))
                case 12:
                    scalars.append(jnp.mean(jnp.tanh(v * a)))
                case 13:
                    vectors.append(jnp.cumsum(v) * 0.5)
                case 14:
                    vectors.append(jnp.concatenate([v[1:], w[:1]]))
                case 15:
                    vectors.append(jnp.where(w > 0.4, v, a))
                case 16:
                    # not jnp.max: its derivative compares the largest with what it came from, which XLA may compute anew and round
                    # otherwise, and then it is 0 / 0, in plain JAX too
                    scalars.append(v[j % WIDTH] + jax.nn.logsumexp(w))
                case 17:
                    vectors.append(jax.lax.stop_gradient(v) * 0.5 + w)
                case 18:
                    index = jnp.clip(jax.lax.stop_gradient(a).astype(int), 0, WIDTH - 1)
                    vectors.append(jnp.tanh(v[index] * w))
                case 19:
                    vectors.append(jnp.pad(v, (1, 0))[:WIDTH] + jax.nn.softplus(w))
                case 20:

                    def add(c, y, a=a):
                        return c + y * jnp.tanh(a), c

                    total, parts = jax.lax.scan(add, b, v)
                    scalars.append(total)
                    vectors.append(parts)
                case 22:
                    mask = jnp.arange(WIDTH) % 2 == j % 2
                    vectors.append(jnp.where(mask, v - w, w * 0.5 + a))
                case 23:

                    def masked(carry, row, a=a, j=j):
                        total, c = carry
                        y, t = row
                        cost = jnp.sin(y + c) * a
                        return (jnp.where(t % 2 == j % 2, total + cost, total), 0.5 * c + y), total

                    (total, c), parts = jax.lax.scan(masked, (b, a), (v, jnp.arange(WIDTH)), reverse=bool(i % 2))
                    scalars.append(total + 0.1 * c)
                    vectors.append(parts)
                case 24:
                    turns = jax.lax.stop_gradient(jnp.where(p[0] > 0, 2, 3))  # not known when it is traced, nor drawn
                    held = jax.lax.stop_gradient((v, w))
                    vectors.append(
                        jax.lax.fori_loop(0, turns, lambda t, c: (jnp.tanh(c[1]) + c[0] * 0.5, c[0]), held)[0]
                    )
                case 25:

                    def less(carry, y, a=a):
                        return (carry[0] - y * a, y - 0.5 * carry[1]), carry[0]

                    (down, turned), parts = jax.lax.scan(less, (a, b), w)
                    scalars += [down, turned]
                    vectors.append(parts)
                case 21:
                    vectors.append(jnp.tanh(v[:, None] * jnp.stack([w, w * 0.5])[j % 2][None]).sum(1) * 0.3)
        return sum(scalars[-3:]) + jnp.sum(vectors[-1] * vectors[-2 % len(vectors)]) + jnp.mean(vectors[-1]), used


def check(numbers):
    program = Tape(numbers)
    num_bits = program.num_bits()
    params = jnp.array([0.4, -0.7])
    # a mask may move with the parameters: the expectation jumps there, and has its derivative on both sides
    got, exact = outcomes.gradients(program, params, num_bits, lost="ignore")
    assert np.all(np.isfinite(exact))
    np.testing.assert_allclose(got, exact, rtol=1e-9, atol=1e-9 * (1 + np.max(np.abs(exact))))
    return num_bits


def mean_gradient(numbers, estimators):
    """Over all uniforms, of bits with probabilities in quarters, each with the next of the estimators."""
    used = iter(())

    def one_bit(u, logit):
        return choice(u, sf.Bernoulli(probs=quarter(logit)), estimators[next(used) % len(estimators)])

    def gradient(u):
        nonlocal used
        used = itertools.count()
        run = sf.expectation(lambda p, key: Tape(numbers, one_bit)(p, u, key), lost="ignore")
        return jax.grad(run)(jnp.array([0.4, -0.7]), jax.random.key(0))

    return np.mean(jax.jit(jax.vmap(gradient))(quarters(Tape(numbers).num_bits())), axis=0)


def check_compared(numbers, seed):
    """Each choice scored, compared, or half of each, at random; beside all scored."""
    chosen = np.random.default_rng(seed).choice(ESTIMATORS, size=MAX_BITS).tolist()
    exact = mean_gradient(numbers, ["score_function"])
    assert np.all(np.isfinite(exact))
    got = mean_gradient(numbers, chosen)
    np.testing.assert_allclose(got, exact, rtol=1e-9, atol=1e-9 * (1 + np.max(np.abs(exact))))


def tapes(seed, count):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        first = [int(rng.choice([0, 2, 3, 4])), *rng.integers(0, 100, 2)]
        second = [int(rng.choice([0, 0, 5])), *rng.integers(0, 100, 2)]
        yield [int(n) for n in (*first, *second, *rng.integers(0, 1000, 3 * rng.integers(4, 9)))]


@pytest.mark.slow  # by default hypothesis writes a few
@pytest.mark.parametrize("part", range(10))
def test_a_hundred_random_programs(part):
    sizes = [check(tape) for tape in tapes(part, 10)]
    assert min(sizes) >= 2 and max(sizes) == MAX_BITS


@pytest.mark.slow
@pytest.mark.parametrize("part", range(40))
def test_two_thousand_random_programs(part):
    for tape in tapes(1000 + part, int(os.environ.get("PROGRAMS_FUZZ", "50"))):
        check(tape)


@settings(max_examples=5, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 999), min_size=9, max_size=24))
def test_programs_that_hypothesis_writes(numbers):
    with jax.enable_x64(True):
        check([0, 0, 1, 2, 1, 0, *numbers])


@pytest.mark.parametrize("part", [pytest.param(part, marks=[pytest.mark.slow] * (part > 0)) for part in range(20)])
@pytest.mark.default
def test_random_programs_with_random_estimators(part):
    for number, tape in enumerate(tapes(5000 + part, 10 if part else 3)):
        check_compared(tape, number)


def test_a_random_program_with_a_wrong_rate_is_seen(monkeypatch):
    """The twin: a bit is compared with the rate of one side."""
    alternative = sf.Bernoulli.alternative

    def one_sided(self, u, v):
        pair = alternative(self, u, v)
        return pair._replace(rate=(1 - pair.draw) * pair.rate)

    monkeypatch.setattr(sf.Bernoulli, "alternative", one_sided)
    (tape,) = tapes(5000, 1)
    exact, got = mean_gradient(tape, ["score_function"]), mean_gradient(tape, ["coupled"])
    assert np.max(np.abs(got - exact)) > 1e-3
