"""Draws of a Markov chain from an energy model whose constant nobody knows: the gradient of an expectation, against quadrature."""

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn as sf

PARAMS = {"depth": jnp.array(1.2), "tilt": jnp.array(0.3)}
CHAINS, STEPS, FIRST = 64, 700, 200


def log_density(params, x):
    """Two wells, one lower than the other; log Z is missing, and depends on the parameters."""
    return -params["depth"] * (x**2 - 1) ** 2 - params["tilt"] * x


def cost(x):
    return x**2 + jnp.sin(2 * x)


def chains(key, params):
    """NUTS: draws of CHAINS independent chains, (CHAINS, STEPS - FIRST)."""
    target = lambda x: log_density(params, x)
    tune, begin, run = jax.random.split(key, 3)
    (_, found), _ = blackjax.window_adaptation(blackjax.nuts, target).run(tune, jnp.array(0.5), 300)
    kernel = blackjax.nuts(target, **found)
    states = jax.vmap(kernel.init)(0.5 * jax.random.normal(begin, (CHAINS,)))

    def step(states, key):
        states, _ = jax.vmap(kernel.step)(jax.random.split(key, CHAINS), states)
        return states, states.position

    return jax.lax.scan(step, states, jax.random.split(run, STEPS))[1][FIRST:].T


def truth(params):
    x = np.linspace(-6, 6, 20_001)

    def mean(p):
        return jax.nn.softmax(jax.vmap(lambda x: log_density(p, x))(jnp.asarray(x))) @ cost(jnp.asarray(x))

    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), params)
        return jax.device_get(jax.jit(jax.value_and_grad(mean))(wide))


@pytest.fixture(scope="module")
def draws():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"), jax.debug_key_reuse(False):
        return jax.device_get(jax.jit(chains)(jax.random.key(0), PARAMS))


def of_pairs_of_chains(draws, params, **options):
    """One estimate from each two chains: independent of each other, whatever the draws within a chain are."""

    def one(xs, log_q):
        family = sf.family(log_prob=log_density, samples=xs, log_proposal=log_q, normalized=False)
        return jax.value_and_grad(lambda p: sf.score_function(cost, family, p, None))(params)

    xs = jnp.asarray(draws.reshape(CHAINS // 2, -1))
    log_q = lambda xs: jax.vmap(lambda x: log_density(options.get("drawn_at", params), x))(xs)
    return jax.jit(jax.vmap(lambda xs: one(xs, log_q(xs))))(xs)


@pytest.mark.statistical
def test_the_gradient_of_an_energy_model_from_its_chain(draws):
    runs, exact = of_pairs_of_chains(draws, PARAMS), truth(PARAMS)
    sf.testing.assert_unbiased(runs, exact, precision=0.15)
    # the twin forgets that log Z moves with the parameters, and f is not centred
    wrong = sf.family(log_prob=log_density, samples=jnp.asarray(draws.reshape(-1)))
    plain = jax.jit(lambda p: sf.score_function_grad(lambda x: cost(x) + 3.0, wrong, p, None, baseline=None))(PARAMS)
    assert abs(plain["depth"] - exact[1]["depth"]) > 1.0


@pytest.mark.statistical
def test_a_chain_serves_parameters_nearby(draws):
    near = {"depth": jnp.array(0.9), "tilt": jnp.array(0.5)}
    runs = of_pairs_of_chains(draws, near, drawn_at=PARAMS)
    sf.testing.assert_unbiased(runs, truth(near), precision=0.15)
    stale = of_pairs_of_chains(draws, near)  # without the weights it is the gradient of another distribution
    with pytest.raises(AssertionError, match="is biased"):
        sf.testing.assert_unbiased(stale, truth(near), precision=0.15)


def test_its_bias_is_declared():
    family = sf.family(log_prob=log_density, samples=jnp.zeros(8), normalized=False)
    assert sf.ESTIMATORS["score_function"].bias_with(family) is sf.Bias.VANISHING
