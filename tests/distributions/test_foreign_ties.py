"""Derivatives of other libraries' log-probabilities where the branches of their formulas meet: at logits of 0, equal parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering
from foreign_cases import TIED, nd

import jax_scorefn as sf
from jax_scorefn.distributions import _adapters

pytestmark = [pytest.mark.usefixtures("foreign"), pytest.mark.filterwarnings("ignore")]
BESIDE = 1e-4
OURS_TO_MEND = ["numpyro Bernoulli", "numpyro Binomial", "numpyro mixture of Bernoulli"]


def at_a_tie(name):
    """First and second derivatives there, and the mean of those on its two sides, along a line in general position."""
    build, p, x = TIED[name]
    family = sf.family(build)
    with jax.enable_x64(True):
        p = jnp.asarray(p, float)
        line = (1.0 + jnp.arange(p.size) / 3).reshape(p.shape)
        along = lambda t: family(p + t * line, x)
        both = jax.jit(jax.vmap(lambda t: jnp.stack([jax.grad(along)(t), jax.grad(jax.grad(along))(t)])))
        here, above, below = both(jnp.array([0.0, BESIDE, -BESIDE]))
    return here, (above + below) / 2


@pytest.mark.parametrize("name", covering(sorted(TIED), lambda name: name if name in OURS_TO_MEND else name.split()[0]))
def test_derivatives_at_a_tie_are_those_beside_it(name):
    here, beside = at_a_tie(name)
    np.testing.assert_allclose(here, beside, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OURS_TO_MEND)
def test_the_libraries_own_are_not(name, monkeypatch):
    """So that the test above can fail, and the mend goes when it is needed no more."""
    monkeypatch.setattr(_adapters, "off_ties", lambda dist: dist)
    here, beside = at_a_tie(name)
    assert abs(here - beside).max() > 0.1


def test_a_logit_of_0_is_drawn_and_scored_as_one():
    """Value, estimator of a family, and choices of a program, without a baseline that would take the fault out."""
    logits = jnp.zeros(2)
    for x in (0, 1):
        assert sf.family(lambda l: nd.Bernoulli(logits=l))(0.0, x) == jnp.log(0.5)
    f = lambda x: jnp.sum((x - 0.45) ** 2)
    coins = sf.family(lambda l: nd.Bernoulli(logits=l).to_event(1))
    one = lambda key: sf.score_function_grad(f, coins, logits, key, num_samples=8, baseline=None)
    sf.testing.assert_unbiased(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 4000)), 0.025, precision=0.1)
    program = sf.expectation(lambda l, key: f(sf.sample(key, nd.Bernoulli(logits=l))))
    runs = jax.jit(jax.vmap(jax.grad(program), (None, 0)))(logits, jax.random.split(jax.random.key(1), 20_000))
    sf.testing.assert_unbiased(runs, 0.025, precision=0.1)
