"""Entropy and relative entropy: closed forms against sums over all outcomes and quadrature, and their digits near equality."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from cases import CASES, OF_A_FAMILY, made_of, params_of
from covering import covering

import jax_scorefn as sf

NO_ENTROPY, NO_KL = ({name for name, case in CASES.items() if form in case.lacks} for form in ("entropy", "kl"))
# the kink of the second Laplace distribution is where two panels meet
MOVED = {
    "Uniform": {"w": 0.7},
    "Laplace": {"loc": 0.48, "scale": 0.8},
    "MultivariateNormal": {"loc": [0.1, -0.2], "tril": [[0.9, 0.0], [-0.2, 0.8]]},
}


def other_params(name):
    if name in MOVED:
        return jax.tree.map(jnp.asarray, MOVED[name], is_leaf=lambda x: isinstance(x, list))
    return jax.tree.map(lambda leaf: 1.2 * leaf + 0.05, params_of(name, jnp.float64))


def expected(name, f):
    """``(p, q) -> E_p[f(x, p, q)]`` in float64."""
    case = CASES[name]
    finer = (
        5 if case.lift or not isinstance(case.intervals, list) else 1
    )  # a log-ratio has kinks and poles where the draw has none
    return case.expectation(lambda x, pq: f(x, *pq), sf.family(lambda pq: case.family.at(pq[0])), finer)


HEAVY = {name for name, case in CASES.items() if case.heavy}
ENTROPIES, DIVERGENCES = (sorted(set(CASES) - none - HEAVY) for none in (NO_ENTROPY, NO_KL))


@pytest.mark.parametrize("name", covering(ENTROPIES, made_of))
def test_entropy_is_that_of_all_outcomes(name, x64):
    family, params = CASES[name].family, params_of(name, jnp.float64)
    whole = expected(name, lambda x, p, q: -family(p, x))
    closed = lambda pq: family.at(pq[0]).entropy()
    found, truth = jax.jit(lambda pq: [jax.value_and_grad(g)(pq) for g in (closed, whole)])((params, params))
    assert found[0].dtype == jnp.float64 and found[0].shape == ()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6), found, truth)


@pytest.mark.parametrize("name", covering(DIVERGENCES, made_of))
def test_relative_entropy_is_that_of_all_outcomes(name, x64):
    family, params = CASES[name].family, params_of(name, jnp.float64)
    whole = expected(name, lambda x, p, q: family(p, x) - family(q, x))
    closed = lambda pq: sf.kl(family.at(pq[0]), family.at(pq[1]))
    both = (params, other_params(name))
    found, truth, itself = jax.jit(
        lambda pq: (*(jax.value_and_grad(g)(pq) for g in (closed, whole)), closed((pq[0], pq[0])))
    )(both)
    assert found[0].dtype == jnp.float64 and found[0].shape == ()
    assert found[0] > 0 or name == "Uniform"
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6), found, truth)
    np.testing.assert_allclose(itself, 0, atol=1e-12)


def test_a_relative_entropy_the_wrong_way_round_is_found_out(x64):
    family, p, q = CASES["Exponential"].family, params_of("Exponential", jnp.float64), other_params("Exponential")
    whole = expected("Exponential", lambda x, p, q: family(p, x) - family(q, x))
    assert abs(sf.kl(family.at(q), family.at(p)) - whole((p, q))) > 1e-3


def test_of_cauchy_distributions(x64):
    """In the angle of a draw; symmetric in the two."""
    p, q = sf.Cauchy(loc=0.3, scale=0.6), sf.Cauchy(loc=-1.0, scale=2.0)
    ratio = lambda t: float(p.log_prob(0.3 + 0.6 * np.tan(t)) - q.log_prob(0.3 + 0.6 * np.tan(t)))
    truth = scipy.integrate.quad(ratio, -np.pi / 2, np.pi / 2)[0] / np.pi
    np.testing.assert_allclose([sf.kl(p, q), sf.kl(q, p)], truth, rtol=1e-6)
    np.testing.assert_allclose(p.entropy(), np.log(4 * np.pi * 0.6), rtol=1e-12)


@pytest.mark.parametrize(
    "name",
    ["Normal", "MultivariateNormal", "TanhNormal", "HalfNormal", "LogNormal", "Exponential", "Gamma", "Beta", "Bernoulli", "Binomial",
     "Geometric", "Poisson", "Categorical", "OneHotCategorical", "Cauchy"],
)  # fmt: skip
def test_near_equality_it_keeps_its_digits(name):
    """Parameters that differ by a part in 256: the value, of the size of 1e-5, is right to one in 200 in float32."""

    def value(dtype):
        p = params_of(name, dtype)
        q = jax.tree.map(lambda leaf: leaf * jnp.asarray(1 + 2.0**-8, dtype), p)
        return jax.jit(lambda p, q: sf.kl(CASES[name].family.at(p), CASES[name].family.at(q)))(p, q)

    found = value(jnp.float32)
    with jax.enable_x64(True):
        truth = float(value(jnp.float64))
    assert found.dtype == jnp.float32 and 0 < truth < 1e-3
    np.testing.assert_allclose(found, truth, rtol=5e-3)


def test_large_parameters_keep_their_digits():
    """Gamma and beta distributions of a concentration of 10^5, in float32."""
    with jax.enable_x64(True):
        truth = jax.device_get([
            sf.kl(sf.Gamma(concentration=1e5, rate=2.0), sf.Gamma(concentration=1.01e5, rate=2.01)),
            sf.Gamma(concentration=1e5, rate=2.0).entropy(), sf.kl(sf.Beta(a=1e5, b=2e5), sf.Beta(a=1.01e5, b=2e5)),
        ])  # fmt: skip
    f = jnp.float32
    found = [
        sf.kl(sf.Gamma(concentration=f(1e5), rate=f(2.0)), sf.Gamma(concentration=f(1.01e5), rate=f(2.01))),
        sf.Gamma(concentration=f(1e5), rate=f(2.0)).entropy(), sf.kl(sf.Beta(a=f(1e5), b=f(2e5)), sf.Beta(a=f(1.01e5), b=f(2e5))),
    ]  # fmt: skip
    np.testing.assert_allclose(found, truth, rtol=2e-4)


def test_ends_of_ranges():
    """What cannot be drawn adds nothing; what the other distribution lacks makes it infinite; the slope at p = 0 is infinite, as it
    is."""
    of_bits = lambda p, q: sf.kl(sf.Bernoulli(probs=p), sf.Bernoulli(probs=q))
    np.testing.assert_allclose(of_bits(0.0, 0.5), np.log(2), rtol=1e-6)
    assert of_bits(0.0, 0.0) == 0 and of_bits(0.5, 0.0) == np.inf
    assert jax.grad(of_bits)(0.0, 0.5) == -np.inf
    assert jax.grad(lambda p: sf.Bernoulli(probs=p).entropy())(0.0) == np.inf
    never = sf.Categorical(logits=jnp.array([0.0, -jnp.inf, 0.0]))
    np.testing.assert_allclose(never.entropy(), np.log(2), rtol=1e-6)
    slope = jax.grad(lambda l: sf.Categorical(logits=l).entropy())(jnp.array([0.5, -jnp.inf, 0.0]))
    assert np.all(np.isfinite(slope)) and slope[1] == 0
    assert sf.kl(never, sf.Categorical(logits=jnp.zeros(3))) > 0
    assert sf.kl(sf.Categorical(logits=jnp.zeros(3)), never) == np.inf
    assert sf.kl(sf.Uniform(low=0.0, high=2.0), sf.Uniform(low=0.0, high=1.0)) == np.inf
    wide, cut = sf.TruncatedNormal(loc=0.0, scale=1.0, low=-1.0), sf.TruncatedNormal(loc=0.0, scale=1.0, low=0.0)
    assert sf.kl(wide, cut) == np.inf and sf.kl(cut, wide) > 0


def test_what_has_no_closed_form_says_how_to_estimate_it():
    for name in sorted(NO_ENTROPY - OF_A_FAMILY):
        with pytest.raises(NotImplementedError, match=r"entropy of .*sf.expectation"):
            CASES[name].family.at(params_of(name, jnp.float32)).entropy()
    for name in sorted(NO_KL - OF_A_FAMILY):
        dist = CASES[name].family.at(params_of(name, jnp.float32))
        with pytest.raises(NotImplementedError, match=rf"of {name} to {name}.*sf.expectation of the log-ratio"):
            sf.kl(dist, dist)
    with pytest.raises(NotImplementedError, match="of Normal to Laplace"):
        sf.kl(sf.Normal(loc=0.0, scale=1.0), sf.Laplace(loc=0.0, scale=1.0))
    for kind, probs in ((sf.Binomial, 0.5), (sf.Multinomial, jnp.array([0.5, 0.5]))):
        with pytest.raises(NotImplementedError, match=rf"{kind.__name__}\(total_count=3.*total_count=4"):
            sf.kl(kind(total_count=3, probs=probs), kind(total_count=4, probs=probs))
    trials = [sf.Binomial(total_count=jnp.array([3, 4]), probs=jnp.array([0.5, 0.5])), sf.Binomial(total_count=jnp.array([3, 3]), probs=jnp.array([0.2, 0.5]))]  # fmt: skip
    assert np.isnan(sf.kl(*trials))
    with pytest.raises(ValueError, match=r"draws of one shape.*\(2,\).*\(3,\)"):
        sf.kl(sf.Normal(loc=jnp.zeros(2), scale=1.0), sf.Normal(loc=jnp.zeros(3), scale=1.0))
    for make in (lambda n: sf.MultivariateNormal(loc=jnp.zeros(n), scale_tril=jnp.eye(n)), lambda n: sf.Dirichlet(concentration=jnp.ones(n)),
                 lambda n: sf.Categorical(logits=jnp.zeros(n)), lambda n: sf.Multinomial(total_count=2, logits=jnp.zeros(n))):  # fmt: skip
        with pytest.raises(ValueError, match=r"draws of one shape.*\(2,\).*\(3,\)"):
            sf.kl(make(2), make(3))
    with pytest.raises(ValueError, match="the same structure"):
        sf.kl(sf.Joint([sf.Poisson(rate=1.0)]), sf.Joint((sf.Poisson(rate=1.0),)))
    with pytest.raises(TypeError, match="A distribution of one draw is .* not float"):
        sf.kl(3.0, sf.Poisson(rate=1.0))


EQUAL = [
    "Normal",
    "Laplace",
    "Gumbel",
    "Cauchy",
    "Gamma",
    "Beta",
    "Poisson",
    "Bernoulli",
    "VonMises",
    "TruncatedNormal",
]


@pytest.mark.parametrize("name", covering(EQUAL, lambda name: CASES[name].support is None))
def test_at_equality_its_curvature_is_the_fisher_information(name, x64):
    """Of KL(p || p + d), which is d^T F d / 2: F is the variance of the score, by the same sums as above."""
    family, params = CASES[name].family, params_of(name, jnp.float64)
    score = jax.grad(lambda p, x: family(p, x))
    flat = lambda tree: jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(tree)])
    square = lambda i, j: expected(name, lambda x, p, q: (s := flat(score(p, x)))[i] * s[j])
    size = flat(params).size
    vector, unravel = jax.flatten_util.ravel_pytree(params)
    closed = lambda v: sf.kl(family.at(params), family.at(unravel(v)))
    found, information = jax.jit(
        lambda v: (jax.hessian(closed)(v), [[square(i, j)((params, params)) for j in range(size)] for i in range(size)])
    )(vector)
    np.testing.assert_allclose(
        found, np.array(information), rtol=5e-3, atol=1e-6
    )  # the sum over a Cauchy distribution ends at 200
    assert not np.allclose(1.02 * found, np.array(information), rtol=5e-3, atol=1e-6)
