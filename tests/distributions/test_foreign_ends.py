"""Supports of distrax, TFP on JAX and NumPyro that move with a parameter: the score raises, and is right wherever it does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering
from foreign_cases import MOVING, STAYING, dx, nd, tfd
from scipy import stats

import jax_scorefn as sf
from jax_scorefn.distributions import _ends

pytestmark = [pytest.mark.usefixtures("foreign"), pytest.mark.filterwarnings("ignore"), pytest.mark.float32]
KEY = jax.random.key(0)
H = jnp.float32(0.7)
RAISES = r"A parameter that the support of \w+\.\w+ depends on carries a derivative.*boundary term.*Use pathwise"


def total(x):
    return sum(jnp.sum(jnp.sin(jnp.asarray(leaf, float))) for leaf in jax.tree.leaves(x))


def score(build, h, key=KEY, num_samples=4):
    return sf.score_function_grad(total, sf.family(build), h, key, num_samples=num_samples)


def score_of(family, params):
    return sf.score_function_grad(total, family, params, KEY, num_samples=4)


def trace(f, *args):
    """Shapes alone: what raises does so when it is traced."""
    return jax.eval_shape(f, *args)


def density(build):
    """The log-density of some draw as a function of the parameter."""
    return lambda h: sf.family(build)(h, jnp.full(build(h).event_shape, 0.5))


@pytest.mark.parametrize("name", sorted(MOVING))
@pytest.mark.leaks
def test_a_support_that_moves_raises(name):
    with pytest.raises(TypeError, match=RAISES):
        trace(jax.grad(density(MOVING[name])), H)
    trace(density(MOVING[name]), H)  # a value has no boundary term


@pytest.mark.parametrize(
    "name", ["tfp Pareto", "tfp HalfCauchy", "tfp Deterministic", "distrax Uniform", "numpyro Pareto"]
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_support_in_less_than_the_default_precision_moves(name, dtype):
    """A transform of TFP takes ends of no other dtype than its own."""
    with jax.enable_x64(dtype == jnp.float32), pytest.raises(TypeError, match=RAISES):
        trace(jax.grad(lambda h: sf.family(MOVING[name])(h, jnp.asarray(0.5, dtype))), jnp.asarray(0.7, dtype))


@pytest.mark.parametrize("name", sorted(STAYING))
@pytest.mark.leaks
def test_a_support_that_stays_does_not(name):
    trace(jax.grad(density(STAYING[name])), H)


@pytest.mark.parametrize(
    "build", [lambda h: nd.Uniform(0.0, h), lambda h: tfd.Uniform(0.0, h), lambda h: dx.Uniform(0.0, h)]
)
@pytest.mark.leaks
def test_uniform_by_every_form_of_score(build):
    fam = sf.family(build)
    wide, target = nd.Uniform(0.0, 2.0), lambda x: -(x**2)
    forms = {
        "score_function": lambda h: sf.score_function(total, fam, h, KEY),
        "without a baseline": lambda h: sf.score_function(total, fam, h, KEY, baseline=None),
        "of a proposal": lambda h: sf.score_function(total, fam, h, KEY, proposal=wide),
        "vargrad": lambda h: sf.vargrad(total, fam, h, KEY),
        "sticking_the_landing": lambda h: sf.sticking_the_landing(target, fam, h, KEY),
        "vimco": lambda h: sf.iwae(target, fam, h, KEY, num_particles=4),
        "a bound by score": lambda h: sf.iwae(target, fam, h, KEY, num_particles=1),
        "a program": lambda h: sf.expectation(lambda h, key: total(sf.sample(key, build(h))))(h, KEY),
        "a part of a joint": lambda h: sf.score_function(
            total, sf.family(lambda h: sf.Joint([build(h), sf.Normal(loc=0.0, scale=1.0)])), h, KEY
        ),
        "its own density": lambda h: fam(h, jnp.float32(0.3)),
    }
    for form in forms.values():
        with pytest.raises(TypeError, match=RAISES):
            trace(jax.grad(form), H)
        with pytest.raises(TypeError, match=RAISES):  # compiled before it is differentiated, and mapped
            trace(jax.vmap(jax.grad(jax.jit(form))), H[None])
        trace(form, H)  # a value has no boundary term


def test_along_the_path_ends_may_move():
    square = lambda x: jnp.sum(x**2)
    for build in (lambda h: nd.Uniform(0.0, h), lambda h: tfd.Uniform(0.0, h), lambda h: dx.Uniform(0.0, h)):
        runs = jax.jit(jax.vmap(lambda key, b=build: sf.pathwise_grad(square, sf.family(b), 2.0 * jnp.ones(()), key)))
        sf.testing.assert_unbiased(runs(jax.random.split(KEY, 2000)), 4 / 3, precision=0.02)
    program = lambda h, key: sf.sample(key, nd.Uniform(0.0, h), estimator="pathwise") ** 2
    runs = jax.jit(jax.vmap(jax.grad(sf.expectation(program)), (None, 0)))(2.0, jax.random.split(KEY, 20_000))
    sf.testing.assert_unbiased(runs, 4 / 3, precision=0.02)


TRUNCATED = [
    lambda m: nd.TruncatedNormal(m, 1.0, low=-1.0, high=2.0),
    lambda m: tfd.TruncatedNormal(m, jnp.ones_like(m), -jnp.ones_like(m), 2 * jnp.ones_like(m)),
]


@pytest.mark.parametrize("build", TRUNCATED)
@pytest.mark.parametrize("wide", covering([False, True]))
def test_between_fixed_ends_the_location_moves(build, wide):
    mean = lambda m: stats.truncnorm(-1.0 - m, 2.0 - m, loc=m).mean()
    exact = (mean(0.3 + 1e-5) - mean(0.3 - 1e-5)) / 2e-5
    with jax.enable_x64(wide):
        one = lambda m, key: sf.score_function_grad(lambda x: x, sf.family(build), m, key, num_samples=8)
        runs = jax.jit(jax.vmap(one, (None, 0)))(jnp.asarray(0.3, float), jax.random.split(jax.random.key(1), 4000))
        assert runs.dtype == jnp.zeros(()).dtype
    sf.testing.assert_unbiased(np.asarray(runs), exact, precision=0.02)


JOINTS = {
    "list": lambda h: tfd.JointDistributionSequential([tfd.Normal(0.0, 1.0), lambda a: tfd.Uniform(a - a, h)]),
    "distrax": lambda h: dx.Joint([dx.Uniform(0.0, h), dx.Normal(0.0, 1.0)]),
}


@pytest.mark.parametrize("name", sorted(JOINTS))
@pytest.mark.leaks
def test_a_part_of_a_joint_distribution_of_theirs_raises(name):
    with pytest.raises(TypeError, match=RAISES):
        trace(lambda h: score(JOINTS[name], h), H)


MASKED = [
    lambda h: nd.Normal(h, 1.0).mask(jnp.array(False)),
    lambda h: nd.Normal(h, 1.0).mask(False),
    lambda h: nd.Normal(jnp.stack([h, h]), 1.0).mask(jnp.array([True, False])).to_event(1),
    lambda h: nd.LeftCensoredDistribution(nd.Normal(h, 1.0), jnp.array(True)),
    lambda h: nd.RightCensoredDistribution(nd.Normal(h, 1.0), jnp.array(True)),
    lambda h: tfd.Masked(tfd.Normal(h, 1.0), jnp.array(False)),
]


@pytest.mark.parametrize("build", MASKED)
def test_a_distribution_whose_log_prob_is_not_that_of_its_draws_is_refused_by_name(build):
    with pytest.raises(TypeError, match=r"The log_prob of \w+\.\w*(Masked|Censored)\w* is not that of its draws"):
        trace(lambda h: score(build, h), H)


def test_a_mask_is_no_matter_along_the_path():
    masked = sf.family(lambda h: nd.Normal(h, 1.0).mask(jnp.array(False)))
    runs = jax.jit(jax.vmap(lambda key: sf.pathwise_grad(jnp.square, masked, jnp.float32(0.598), key)))
    sf.testing.assert_unbiased(runs(jax.random.split(KEY, 1000)), 1.196, precision=0.02)


class Dependent(nd.Uniform):
    support = nd.constraints.dependent(is_discrete=False, event_dim=0)


def test_a_support_that_depends_on_what_it_does_not_say_is_refused():
    with pytest.raises(TypeError, match=r"the support of \w+\.Dependent depends on"):
        trace(lambda h: score(lambda h: Dependent(0.0, h, validate_args=False), h), H)


class Undeclared:
    """A distribution of one's own, which declares nothing: the broken twin."""

    def __init__(self, h):
        self.dist = nd.Uniform(0.0, h)

    def sample(self, key):
        return self.dist.sample(key)

    def log_prob(self, x):
        return self.dist.log_prob(x)


class Masked:
    """Of the name of a distribution that is refused, and of no library."""

    def __init__(self, h):
        self.dist = nd.Normal(h, 1.0)

    def sample(self, key):
        return self.dist.sample(key)

    def log_prob(self, x):
        return self.dist.log_prob(x)


def test_names_are_those_of_the_libraries():
    np.testing.assert_array_equal(score(Masked, H), score(lambda h: nd.Normal(h, 1.0), H))


def test_where_nothing_is_declared_the_boundary_term_is_missing():
    runs = jax.jit(jax.vmap(lambda key: sf.score_function_grad(lambda x: x, sf.family(Undeclared), H, key)))
    np.testing.assert_allclose(runs(jax.random.split(KEY, 4)), 0.0, atol=1e-5)  # 0.5 would be right


@pytest.mark.nans
def test_a_pareto_whose_concentration_says_whether_it_ends():
    """Below 0 it has an upper end, which moves with each parameter."""
    pareto = sf.family(lambda p: tfd.GeneralizedPareto(0.0, p["scale"], p["shape"]))
    grad = jax.jit(lambda shape: score_of(pareto, {"scale": 1.0, "shape": shape}))
    assert all(np.isnan(x) for x in jax.tree.leaves(grad(-1.0))) and all(map(np.isfinite, jax.tree.leaves(grad(0.1))))


def test_a_transform_that_closes_over_parameters_is_not_asked():
    def flow(h):
        shift = dx.Lambda(
            forward=lambda x: x + h,
            inverse=lambda y: y - h,
            forward_log_det_jacobian=jnp.zeros_like,
            event_ndims_in=0,
            is_constant_jacobian=True,
        )
        return dx.Transformed(dx.Gamma(3.0, 1.0), shift)

    trace(lambda h: score(flow, h), H)


def test_which_leaves_move_an_end():
    def moved(a, b, c):
        out.append([leaf is a for leaf in _ends._moving((a, b, c), lambda t: [t[0] + 0 * t[1], jnp.inf * t[2]])])
        return a + b + c

    out = []
    jax.eval_shape(moved, H, H, H)
    assert out == [[True]]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STAYING))
def test_where_the_score_is_taken_it_is_the_derivative(name):
    """Against differences of means of draws with the same keys."""
    build, keys = STAYING[name], jax.random.split(jax.random.key(3), 20_000)

    @jax.jit
    def both(h):
        def one(key):
            dist = lambda h: sf.distributions.as_distribution(build(h))
            x = jax.lax.stop_gradient(dist(h).sample(key))
            moved = [total(dist(h + d).sample(key)) for d in (-0.02, 0.02)]
            return total(x) * jax.grad(lambda h: dist(h).log_prob(x))(h), (moved[1] - moved[0]) / 0.04

        return jax.vmap(one)(keys)

    by_score, by_difference = map(np.asarray, both(H))
    error = (by_score - by_difference).std() / len(keys) ** 0.5
    assert abs((by_score - by_difference).mean()) < 5 * error + 1e-3
