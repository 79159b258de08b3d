"""The guard: exactly as many derivatives as declared, under every transform."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import REQUIRED
from covering import covering

import jax_scorefn as sf
from jax_scorefn._guards import guard

X = jnp.arange(1.0, 4.0)


def once(x):
    return jnp.sum(jnp.sin(guard(x, order=1, message="no more than once")) ** 2)


def test_one_derivative_passes_under_every_transform():
    expected = np.sin(2 * X)
    two = jnp.stack([X, X])
    loop = lambda x: jax.lax.scan(lambda c, _: (c, jax.grad(once)(c)), x, None, length=2)[1][1]
    grads = (
        jax.grad(once), jax.jit(jax.grad(once)), jax.jacfwd(once), jax.jacrev(once), jax.grad(jax.checkpoint(once)),
        lambda x: jax.vmap(jax.grad(once))(two)[0], loop, jax.grad(jax.jit(once)),
    )  # fmt: skip
    forward = lambda x: jax.jvp(once, (x,), (jnp.ones(3),))[1]
    found, tangent = jax.jit(lambda x: ([grad(x) for grad in grads], forward(x)))(X)
    for got in (jax.grad(once)(X), *found):
        np.testing.assert_allclose(got, expected, rtol=1e-5)
    np.testing.assert_allclose(tangent, expected.sum(), rtol=1e-5)


def descend(x):
    return jax.lax.fori_loop(0, 2, lambda _, c: c - 0.1 * jax.grad(once)(c), x)


@pytest.mark.parametrize(
    "twice",
    [
        jax.hessian(once), jax.jacfwd(jax.jacfwd(once)), jax.jacrev(jax.jacrev(once)), jax.jacrev(jax.jacfwd(once)),
        jax.jit(jax.hessian(jax.jit(once))), jax.hessian(jax.checkpoint(once)), jax.jacfwd(descend),
        lambda x: jax.vmap(jax.hessian(once))(jnp.stack([x, x])),
    ],
)  # fmt: skip
def test_the_second_raises(twice):
    with pytest.raises(TypeError, match="no more than once"):
        jax.eval_shape(twice, X)


def test_a_second_derivative_in_something_else_passes():
    def f(x, y):
        return once(x) * jnp.sin(y)

    mixed = jax.grad(lambda y: jax.grad(f)(X, y).sum())
    got, second = jax.jit(lambda y: (mixed(y), jax.grad(jax.grad(f, argnums=1), argnums=1)(X, y)))(0.3)
    np.testing.assert_allclose(got, np.sin(2 * X).sum() * np.cos(0.3), rtol=1e-5)
    assert np.isfinite(second)


def test_order_two_allows_a_hessian_and_refuses_the_third():
    twice = lambda x: jnp.sum(jnp.sin(guard(x, order=2, message="no more than twice")) ** 2)
    np.testing.assert_allclose(np.diag(jax.jit(jax.hessian(twice))(X)), 2 * np.cos(2 * X), rtol=1e-5)
    with pytest.raises(TypeError, match="no more than twice"):
        jax.eval_shape(jax.jacfwd(jax.hessian(twice)), X)


@pytest.mark.slow
def test_every_estimator_raises_above_its_declared_order():
    dists = [sf.family(lambda m: sf.Normal(loc=m, scale=1.0)), sf.family(lambda m: sf.Bernoulli(logits=m))]
    allowed = {}
    for record in sf.ESTIMATORS.values():
        if record.orders == float("inf"):
            continue
        family = next(dist for dist in dists if not record.missing(dist.at(0.0)))
        differentiated = lambda m, r=record, family=family: r.function(
            lambda x: x**4, family, m, jax.random.key(0), num_samples=8, **REQUIRED.get(r.name, {})
        )
        for _ in range(int(record.orders)):
            differentiated = jax.grad(differentiated)
        allowed[record.name] = differentiated
        with pytest.raises(TypeError, match=f"{record.name} estimates derivatives up to order {int(record.orders)}"):
            jax.eval_shape(jax.grad(differentiated), 0.3)
    values = jax.jit(lambda m: {name: function(m) for name, function in allowed.items()})(0.3)
    assert all(np.isfinite(value) for value in values.values()), values


def test_leaves_that_are_not_floats_pass_untouched():
    tree = {"a": 1, "b": jnp.arange(3), "key": jax.random.key(0), "x": 2.0}
    guarded = guard(tree, order=1, message="")
    assert guarded["a"] == 1 and guarded["key"] is tree["key"] and guarded["b"] is tree["b"]
    assert guard(tree, order=float("inf"), message="") is tree


@pytest.mark.statistical
@pytest.mark.parametrize(
    "name",
    covering([n for n in sorted(sf.ESTIMATORS) if n not in ("exact", "vargrad")], lambda n: sf.ESTIMATORS[n].estimates),
)
def test_mixed_derivatives_are_unbiased(name):
    """Distribution and f differentiated once each, in both orders: against differences of the gradient, whose draws do not depend on
    f's parameter."""
    record = sf.ESTIMATORS[name]
    normal = sf.family(lambda m: sf.Normal(loc=m, scale=1.0))
    coins = sf.family(lambda m: sf.Bernoulli(logits=m))
    family = coins if record.missing(normal.at(jnp.zeros(2))) else normal
    options = {"num_samples": 8, **REQUIRED.get(name, {})} | ({"num_particles": 4} if name == "iwae" else {})

    def loss(m, t, key):  # f is not linear in t
        f = lambda x: jnp.sin(t * x[0]) * x[1] + x[0] * t
        return record.function(f, family, m, key, **options)

    m, t, step = jnp.array([0.3, -0.5]), jnp.float32(0.7), 0.05

    @jax.jit
    def measured(keys):
        def one(key):
            points, weights = np.float32([1, -1, 2, -2]), np.float32([8, -8, -1, 1])
            difference = weights @ jax.vmap(lambda t: jax.grad(loss)(m, t, key))(t + step * points) / (12 * step)
            return difference, jax.jacfwd(jax.grad(loss, 0), 1)(m, t, key), jax.jacfwd(jax.grad(loss, 1), 0)(m, t, key)

        return jax.vmap(one)(keys)

    with jax.debug_key_reuse(False):
        difference, *mixed = measured(jax.random.split(jax.random.key(3), 4000))
    assert np.all(np.abs(difference.mean(axis=0)) > 0.02)
    for found in mixed:
        sf.testing.assert_unbiased(np.asarray(found - difference), np.zeros(2), precision=0.1, rounding=1e-4)


class Own(sf.Distribution):
    """A distribution of a user's, which is no pytree: JAX sees no leaf of it."""

    def __init__(self, loc, scale):
        self.loc, self.scale = loc, scale

    def sample(self, key):
        return self.loc + self.scale() * jax.random.normal(key)

    def log_prob(self, x):
        return jax.scipy.stats.norm.logpdf(x, self.loc, self.scale())


class Made(Own):
    """The same, made from uniforms: what it says of their shape is no number to be limited."""

    sample = sf.Distribution.sample

    def uniform_like(self):
        return jax.ShapeDtypeStruct((), jnp.float32)

    def from_uniform(self, u):
        return self.loc + self.scale() * jax.scipy.special.ndtri(jnp.maximum(u, 1e-7))


class Foreign:
    """Nobody's distribution, which has one of another's inside."""

    def __init__(self, inner):
        self.inner = inner

    def sample(self, key):
        return self.inner.sample(key)

    def log_prob(self, x):
        return self.inner.log_prob(x)


def closed_over(m):
    """A class whose methods close over a number."""

    class Here(Foreign):
        def sample(self, key):
            return m + jax.random.normal(key)

        def log_prob(self, x):
            return jax.scipy.stats.norm.logpdf(x, m)

    return Here(None)


@pytest.mark.parametrize(
    "build", [
        closed_over, lambda m: types.SimpleNamespace(**{word: getattr(Own(m, lambda: 1.0), word) for word in ("sample", "log_prob")}),
        lambda m: Own(m, lambda: 1.0), lambda m: Own(0.0, lambda: jnp.exp(m)), lambda m: Foreign(Own(m, lambda: 1.0)),
        lambda m: Foreign(sf.Normal(loc=m, scale=1.0)), lambda m: Made(m, lambda: 1.0),
    ],
)  # fmt: skip
def test_what_a_distribution_of_ones_own_holds_or_closes_over_is_limited(build):
    """The parameters of the call are not involved: the family closes over what is differentiated."""

    def loss(m, name="vargrad"):
        return getattr(sf, name)(jnp.cos, sf.family(lambda p: build(m)), 0.0, jax.random.key(0), num_samples=4)

    allowed = jax.jit(lambda m: (jax.grad(loss)(m), jax.hessian(loss)(m, "score_function")))
    with jax.debug_key_reuse(False):
        slope, curvature = allowed(0.3)
    assert np.isfinite(slope) and slope != 0 and np.isfinite(curvature)
    with pytest.raises(TypeError, match="vargrad estimates derivatives up to order 1"):
        jax.eval_shape(jax.hessian(loss), 0.3)
