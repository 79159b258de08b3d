"""The evidence lower bound by every estimator, against sums and quadratures: one convention, whatever is chosen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering, few

import jax_scorefn as sf
from jax_scorefn.estimators._bounds import _elbo
from jax_scorefn.testing import assert_unbiased

KEY = lambda: jax.random.key(0)
COINS = sf.family(lambda p: sf.Bernoulli(logits=p["q"]))
OPTIONS = sf.family(lambda p: sf.Categorical(logits=p["q"]))
NORMAL = sf.family(lambda p: sf.Normal(p["q"], jnp.full(3, 0.8)))
AT = {"q": jnp.array([0.4, -0.3, 0.2])}
TABLE = jnp.array([-0.3, 0.9, 0.1])


def bits_joint(x):
    return jnp.sum(x * TABLE) + jnp.prod(x + 0.5) - 1.0


def options_joint(x):
    return TABLE[x] if jnp.ndim(x) == 0 else jnp.sum(TABLE * x)


def smooth_joint(x):
    return -jnp.sum((x - TABLE) ** 2) + 0.3 * jnp.sin(jnp.sum(x))


PROBLEMS = {
    "bits": (bits_joint, COINS),
    "options": (options_joint, OPTIONS),
    "rows": (options_joint, sf.family(lambda p: sf.OneHotCategorical(logits=p["q"]))),
    "both": (
        lambda x: bits_joint(x[0]) + options_joint(x[1]) * x[0][0],
        sf.family(lambda p: sf.Joint((sf.Bernoulli(logits=p["q"]), sf.OneHotCategorical(logits=p["q"])))),
    ),
    "normal": (smooth_joint, NORMAL),
}
OPTIONS_OF = {"iwae": {"num_particles": 1}, "unordered_set": {"num_samples": 16}}
NEEDS_MORE = {"relax", "vargrad"}
"""A critic that has to be given; and what is refused."""


def exact_bound(name):
    joint, q = PROBLEMS[name]
    return lambda p, model=1.0: sf.exact(lambda x: model * joint(x) - q(p, x), q, p)


def fitting(name):
    _, q = PROBLEMS[name]
    return [
        record.name
        for record in sf.ESTIMATORS.values()
        if not record.missing(q.at(AT)) and record.bias is sf.Bias.NONE and record.name not in NEEDS_MORE
    ]


CASES = [(name, estimator) for name in PROBLEMS for estimator in ("auto", *fitting(name))]


@pytest.mark.statistical
@pytest.mark.parametrize(
    "name, estimator",
    covering(CASES, lambda _, e: e if e in ("auto", "rebar", "pathwise") else None),
)
@pytest.mark.default
def test_value_and_gradient_are_those_of_the_bound(name, estimator):
    """In the parameters of q, and of a model."""
    joint, q = PROBLEMS[name]
    options = OPTIONS_OF.get(estimator, {})

    def bound(p, model, key):
        return sf.elbo(lambda x: model * joint(x), q, p, key, estimator=estimator, **options)

    runs = jax.jit(jax.vmap(lambda key: jax.value_and_grad(bound, (0, 1))(AT, 1.0, key)))(jax.random.split(KEY(), 2000))
    exact = jax.value_and_grad(exact_bound(name), (0, 1))(AT, 1.0)
    assert_unbiased(runs, exact, precision=0.05, name=estimator)


@pytest.mark.parametrize("name", few(["bits", "options"], "options"))
def test_every_derivative_of_a_sum_is_that_of_the_bound(name):
    joint, q = PROBLEMS[name]
    summed = lambda p: sf.elbo(joint, q, p, estimator="exact")
    for derivative in (jax.grad, jax.hessian):
        for a, b in zip(*(jax.tree.leaves(derivative(f)(AT)) for f in (summed, exact_bound(name))), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-6)


@pytest.mark.statistical
def test_a_hessian_by_score():
    one = lambda key: jax.hessian(lambda p: sf.elbo(bits_joint, COINS, p, key, num_samples=16))(AT)["q"]["q"]
    runs = jax.jit(jax.vmap(one))(jax.random.split(KEY(), 8000))
    assert_unbiased(runs, jax.hessian(exact_bound("bits"))(AT)["q"]["q"], precision=0.05)


def test_where_q_is_the_posterior_there_is_no_noise(monkeypatch):
    """The score of log q itself is left out; with it there is."""
    joint, q = options_joint, OPTIONS
    grads = lambda: sf.elbo_grad(joint, q, {"q": TABLE}, KEY(), num_samples=8)["q"]
    np.testing.assert_allclose(grads(), 0.0, atol=1e-6)
    monkeypatch.setattr(_elbo.jnp, "expm1", jnp.zeros_like)
    assert jnp.max(jnp.abs(grads())) > 0.05


def test_the_gradient_form_the_report_and_a_black_box():
    value, info = sf.elbo(bits_joint, COINS, AT, KEY(), has_aux=True, num_samples=32)
    np.testing.assert_allclose(info.values.mean(), value, rtol=1e-6)
    log_q = jax.vmap(lambda x: COINS(AT, x))(info.samples)
    np.testing.assert_allclose(info.values, jax.vmap(bits_joint)(info.samples) - log_q, rtol=1e-5)
    grads = sf.elbo_grad(bits_joint, COINS, AT, KEY(), num_samples=32)["q"]
    np.testing.assert_allclose(grads, jax.grad(lambda p: sf.elbo(bits_joint, COINS, p, KEY(), num_samples=32))(AT)["q"])
    boxed = sf.black_box(lambda x: float(np.sum(x * np.asarray(TABLE)) + np.prod(x + 0.5) - 1.0))
    np.testing.assert_allclose(sf.elbo_grad(boxed, COINS, AT, KEY(), num_samples=32)["q"], grads, rtol=1e-4, atol=1e-6)


def test_what_is_refused():
    with_q = lambda x: bits_joint(x) - COINS(AT, x)
    for estimator in ("score_function", "disarm", "exact", "auto"):
        with pytest.raises(TypeError, match="log_joint asks for log q, .* elbo .* count twice"):
            sf.elbo(with_q, COINS, AT, KEY(), estimator=estimator)
        with pytest.raises(TypeError, match="count twice"):
            sf.elbo_grad(with_q, COINS, AT, KEY(), estimator=estimator)
    with pytest.raises(TypeError, match="count twice"):
        sf.elbo_grad(lambda x: smooth_joint(x) - NORMAL(AT, x), NORMAL, AT, KEY())
    with pytest.raises(ValueError, match="'vargrad', which stops f, and with it the parameters of a model"):
        sf.elbo(bits_joint, COINS, AT, KEY(), estimator="vargrad")
    with pytest.raises(ValueError, match="'auto' or the name of an estimator: arm, .* given 'scores'"):
        sf.elbo(bits_joint, COINS, AT, KEY(), estimator="scores")
    with pytest.raises(ValueError, match="the log of the target, one number for each draw; in elbo it returned shape"):
        sf.elbo(lambda x: x, COINS, AT, KEY())
    half = sf.family(log_prob=lambda p, x: -(x**2), sampler=lambda key, p: jax.random.normal(key), normalized=False)
    with pytest.raises(ValueError, match="declared to lack its constant"):
        sf.elbo(lambda x: x, half, jnp.ones(()), KEY())
    with pytest.raises(TypeError, match="elbo"):
        sf.elbo(bits_joint, lambda p, x: 0.0, AT, KEY())
    with pytest.raises(TypeError, match="differentiated"):
        jax.hessian(lambda p: sf.elbo(bits_joint, COINS, p, KEY(), estimator="disarm"))(AT)
