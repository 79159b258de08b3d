"""Known numbers of programs whose choices are compared with their alternatives: walks, a birth-death chain, the Game of Life."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from given_uniforms import ESTIMATORS, cells, choice
from jax import lax

import jax_scorefn as sf

pytestmark = [
    pytest.mark.statistical,
    pytest.mark.usefixtures("unchecked_keys"),
]  # JAX cannot follow mapped scans of keys


def choice_of(key, dist):
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
            return x + 2 * choice_of(k, sf.Bernoulli(probs=jnp.exp(-x / p))) - 1, None

        return lax.scan(step, 0.0, jax.random.split(key, length))[0] ** 2

    _, grads = gradients(walk, 2.0 * length, 20_000)
    agrees(grads, exact)
    np.testing.assert_allclose(grads.std(), deviation, rtol=0.03)


def test_what_is_a_sum_over_bits_has_no_noise():
    """Two hundred bits in one lane."""
    program = lambda logits, key: jnp.mean((choice_of(key, sf.Bernoulli(logits=logits)) - 0.499) ** 2)
    (site,) = sf.explain(program)(jnp.zeros(200), jax.random.key(0)).choices
    assert site.lanes == 1
    with jax.enable_x64(True):
        _, grads = gradients(program, jnp.zeros(200), 3)
    np.testing.assert_allclose(grads, 2.5e-6, rtol=1e-9)


def births_and_deaths(p, key, beyond):
    """Uniformised: sixty candidate events, thirty in a unit of time; X_0 = 0."""

    def step(x, k):
        birth, death = p[0] / 30, p[1] * x / 30
        event = choice_of(k, sf.Categorical(probs=jnp.stack([birth, death, 1 - birth - death])))
        return x + jnp.array([1.0, -1.0, 0.0])[event], None

    last = lax.scan(step, jnp.zeros(()), jax.random.split(key, 60))[0]
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
@pytest.mark.default
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
        alive = choice_of(keys[0], sf.Bernoulli(probs=jnp.full((size, size), p)))
        for t in range(steps):
            alive = choice_of(keys[t + 1], sf.Bernoulli(probs=after(alive)))
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
        b = choice_of(k1, sf.Binomial(total_count=10, probs=p)).astype(float)
        c = 2 * b + 3 * choice_of(k2, sf.Bernoulli(probs=p))
        return a * c * sf.sample(k3, sf.Normal(loc=b, scale=a), estimator="pathwise")

    mean = lambda p: 20 * p**2 + 190 * p**3 - 210 * p**4
    found = gradients(program, 0.6, 20_000)
    agrees(found[0], mean(0.6))
    agrees(found[1], jax.grad(mean)(0.6))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_count_of_a_count_is_exact(estimator):
    """A Poisson whose rate is moved by another: over all uniforms, cut at every cumulative probability that may be met."""
    p = np.array([0.7, 0.4])
    most = np.arange(24)
    first = scipy.stats.poisson.cdf(most, p[0])
    second = scipy.stats.poisson.cdf(most[None], p[1] * (1 + most[:, None]))

    def program(p, u):
        k = choice(u[0], sf.Poisson(rate=p[0]), estimator)
        m = choice(u[1], sf.Poisson(rate=p[1] * (1 + k.astype(float))), estimator)
        return jnp.sin(m.astype(float)) * (1 + k.astype(float))

    exact = jax.grad(lambda p: jnp.sum(_masses(p[0])[:, None] * jax.vmap(lambda k: _masses(p[1] * (1 + k)))(most.astype(float))
        * jnp.sin(most.astype(float))[None] * (1 + most.astype(float))[:, None]))(jnp.asarray(p))  # fmt: skip
    np.testing.assert_allclose(over_cells(program, p, [first, second]), exact, rtol=1e-9, atol=1e-10)


def _masses(rate):
    counts = jnp.arange(24.0)
    return jnp.exp(counts * jnp.log(rate) - rate - jax.scipy.special.gammaln(counts + 1))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_trials_beyond_a_threshold_are_exact(estimator):
    """A geometric number of trials, whether it is beyond 3, and a bit that depends on it."""
    p = np.array([0.35, 0.6])

    def program(p, u):
        beyond = choice(u[0], sf.Geometric(probs=p[0]), estimator) > 3
        b = choice(u[1], sf.Bernoulli(probs=jnp.where(beyond, p[1], p[1] ** 2)), estimator)
        return b * (1 + 2 * beyond.astype(float))

    def mean(p):
        far = (1 - p[0]) ** 3
        return 3 * far * p[1] + (1 - far) * p[1] ** 2

    beyond = scipy.stats.geom.sf(np.arange(1, 90), p[0])
    cuts = [[beyond, 1 - beyond], [p[1], p[1] ** 2, 1 - p[1], 1 - p[1] ** 2]]
    np.testing.assert_allclose(over_cells(program, p, cuts), jax.grad(mean)(jnp.asarray(p)), rtol=1e-9)


def over_cells(program, p, cuts):
    """The mean gradient, each uniform in the middle of each of its cells."""
    found = [cells(some) for some in cuts]
    u = np.stack(np.meshgrid(*(middle for middle, _ in found), indexing="ij"), axis=-1).reshape(-1, len(cuts))
    weight = np.prod(np.stack(np.meshgrid(*(width for _, width in found), indexing="ij"), axis=-1), axis=-1).reshape(-1)
    run = lambda u: jax.grad(sf.expectation(lambda p, key: program(p, u)))(jnp.asarray(p), jax.random.key(0))
    return weight @ np.asarray(jax.jit(lambda rows: lax.map(run, rows, batch_size=4096))(u))


def test_keys_that_depend_on_draws_stay_unbiased():
    """They lose the coupling alone."""

    def program(p, key):
        a, b = jax.random.split(key)
        x = choice_of(a, sf.Bernoulli(probs=p))
        return choice_of(jax.random.fold_in(b, x.astype(jnp.int32)), sf.Bernoulli(probs=p * (1 + x) / 2)) * (1 + x)

    _, grads = gradients(program, 0.4, 20_000)
    agrees(grads, jax.grad(lambda p: 2 * p * p + (1 - p) * p / 2)(0.4))


def test_bits_are_those_of_rao_blackwell():
    """The estimator for one family, draw by draw: of bits it compares each with its other value, as that does."""
    family = sf.family(lambda logits: sf.Bernoulli(logits=logits))
    logits, f = jnp.array([0.3, -1.0, 0.8]), lambda b: jnp.tanh(b @ jnp.array([1.0, 2.0, -1.5])) + b[0] * b[2]
    table = np.stack(np.meshgrid(*[[0.0, 1.0]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)

    def by_hand(x):
        p = jax.nn.sigmoid(logits)
        return jnp.stack([(f(x.at[d].set(1.0)) - f(x.at[d].set(0.0))) * p[d] * (1 - p[d]) for d in range(3)])

    # both are this function of the draws: of each draw, and so of the mean of those that a key makes
    rounded = lambda row: tuple(np.round(np.asarray(row, float), 5).tolist())
    found = {rounded(by_hand(jnp.asarray(x))) for x in table}
    for estimator in (sf.coupled, sf.rao_blackwell):
        for seed in range(20):
            g = jax.grad(lambda l, seed=seed: estimator(f, family, l, jax.random.key(seed), num_samples=1))(logits)
            assert rounded(g) in found
    draws = lambda estimator: estimator(f, family, logits, jax.random.key(3), num_samples=64, has_aux=True)[1].values
    per_draw = lambda estimator: estimator(f, family, logits, jax.random.key(3), num_samples=64, per_draw=True)
    for value, twin in ((sf.coupled, sf.coupled_grad), (sf.rao_blackwell, sf.rao_blackwell_grad)):
        assert draws(value).shape == (64,)
        assert {rounded(row) for row in per_draw(twin)} <= found
