"""Known numbers of programs whose choices are compared with their alternatives: walks, a birth-death chain, the Game of Life."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jax_scorefn as sf

pytestmark = [
    pytest.mark.statistical,
    pytest.mark.usefixtures("unchecked_keys"),
]  # JAX cannot follow mapped scans of keys


def choice(key, dist):
    return sf.sample(key, dist, estimator="coupled")


def gradients(program, params, number, seed=0, num_samples=1):
    run = jax.jit(jax.vmap(jax.value_and_grad(sf.expectation(program, num_samples=num_samples)), (None, 0)))
    return run(params, jax.random.split(jax.random.key(seed), number))


def agrees(found, exact, errors=4.5):
    found = np.asarray(found, float)
    error = found.std(axis=0) / len(found) ** 0.5
    assert np.all(np.abs(found.mean(axis=0) - exact) < errors * error), (found.mean(axis=0), error, exact)


@pytest.mark.parametrize(("length", "exact", "deviation"), [
    (10, 1.48982, 0.798), (50, 7.55819, 3.07), pytest.param(100, 15.13490, 5.67, marks=pytest.mark.slow),
])  # fmt: skip
def test_the_random_walk(length, exact, deviation):
    """One step up with probability exp(-x / p), or else down; the square of the last position, at p = 2 n (Arya et al. 2022)."""

    def walk(p, key):
        def step(x, k):
            return x + 2 * choice(k, sf.Bernoulli(probs=jnp.exp(-x / p))) - 1, None

        return lax.scan(step, 0.0, jax.random.split(key, length))[0] ** 2

    _, grads = gradients(walk, 2.0 * length, 20_000)
    agrees(grads, exact)
    np.testing.assert_allclose(grads.std(), deviation, rtol=0.03)


def test_what_is_a_sum_over_bits_has_no_noise():
    """Two hundred bits in one lane."""
    program = lambda logits, key: jnp.mean((choice(key, sf.Bernoulli(logits=logits)) - 0.499) ** 2)
    (site,) = sf.explain(program)(jnp.zeros(200), jax.random.key(0)).choices
    assert site.lanes == 1
    with jax.enable_x64(True):
        _, grads = gradients(program, jnp.zeros(200), 3)
    np.testing.assert_allclose(grads, 2.5e-6, rtol=1e-9)


def births_and_deaths(p, key, beyond):
    """Uniformised: sixty candidate events, thirty in a unit of time; X_0 = 0."""

    def step(x, k):
        birth, death = p[0] / 30, p[1] * x / 30
        event = choice(k, sf.Categorical(probs=jnp.stack([birth, death, 1 - birth - death])))
        return x + jnp.array([1.0, -1.0, 0.0])[event], None

    last = lax.scan(step, jnp.float32(0.0), jax.random.split(key, 60))[0]
    return (last > 8).astype(float) if beyond else last


def exact_chain(p, beyond):
    """Forwards through all numbers."""
    x = jnp.arange(61.0)
    birth, death = jnp.full(61, p[0] / 30), p[1] * x / 30

    def step(masses, _):
        up, down = masses * birth, masses * death
        return masses - up - down + jnp.roll(up, 1) + jnp.roll(down, -1), None

    masses = lax.scan(step, jnp.zeros(61).at[0].set(1.0), None, length=60)[0]
    return masses @ (x > 8 if beyond else x).astype(float)


@pytest.mark.parametrize(("beyond", "known"), [(False, (0.86920, -3.59149)), (True, (0.06384, -0.26146))])
def test_a_birth_death_chain(beyond, known):
    p = jnp.array([6.0, 1.0])
    exact = jax.jit(jax.grad(functools.partial(exact_chain, beyond=beyond)))(p)
    np.testing.assert_allclose(exact, known, rtol=1e-4)
    _, grads = gradients(functools.partial(births_and_deaths, beyond=beyond), p, 5000)
    agrees(grads, exact)


@pytest.mark.parametrize(("size", "steps", "p", "value", "slope"), [
    (7, 1, 0.3, 9.425200, 37.260000), (7, 1, 0.5, 19.05, 53.9), (3, 2, 0.5, 1.748360, 5.097584),
])  # fmt: skip
def test_the_game_of_life(size, steps, p, value, slope):
    """Four neighbours, dead outside; a rule is broken with probability .1. The cost is how many live at the end."""

    def after(alive):
        padded = jnp.pad(alive, 1)
        number = padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2]
        lives = jnp.where(alive > 0, (number == 2) | (number == 3), number == 3)
        return jnp.where(lives, 0.9, 0.1)

    def program(p, key):
        keys = jax.random.split(key, steps + 1)
        alive = choice(keys[0], sf.Bernoulli(probs=jnp.full((size, size), p)))
        for t in range(steps):
            alive = choice(keys[t + 1], sf.Bernoulli(probs=after(alive)))
        return jnp.sum(alive)

    found = gradients(program, p, 4000)
    agrees(found[0], value)
    agrees(found[1], slope)
    first = sf.explain(program)(p, jax.random.key(0)).choices[0]
    assert first.lanes == min(size, 1 + 2 * steps) ** 2  # a cell reaches its neighbours in each step


def test_paths_and_differences_in_one_program():
    """X = a c N(b, a), a = p (1 - p), b ~ Bin(10, p), c = 2 b + 3 Bern(p), of mean 20 p^2 + 190 p^3 - 210 p^4."""

    def program(p, key):
        k1, k2, k3 = jax.random.split(key, 3)
        a = p * (1 - p)
        b = choice(k1, sf.Binomial(total_count=10, probs=p)).astype(float)
        c = 2 * b + 3 * choice(k2, sf.Bernoulli(probs=p))
        return a * c * sf.sample(k3, sf.Normal(loc=b, scale=a), estimator="pathwise")

    mean = lambda p: 20 * p**2 + 190 * p**3 - 210 * p**4
    found = gradients(program, 0.6, 20_000)
    agrees(found[0], mean(0.6))
    agrees(found[1], jax.grad(mean)(0.6))
