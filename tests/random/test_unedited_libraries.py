"""Programs with distrax, NumPyro, flax, gymnax and pgx in them, lifted and not edited."""

import itertools
import warnings

import jax
import jax.numpy as jnp
import pytest
import test_unedited
from covering import covering
from test_unedited import (
    LOGITS,
    MIXED,
    PAYS,
    counts,
    is_right,
    is_told_of,
    of_mixture,
    poisson,
    sigmoid,
    softmax,
    square_of_sum,
)

import jax_scorefn as sf

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import unedited_libraries as users

pytestmark = [pytest.mark.usefixtures("foreign"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def of_bandit(logits):
    p = softmax(logits)
    return p @ PAYS - 0.5 * p @ jnp.log(p)


def of_one_hot_layer(logits):
    return softmax(logits) @ jnp.tanh(jnp.array([[0.5, -1.0], [2.0, 0.3], [-0.7, 1.0]])).sum(axis=1)


def of_nested_plates(logit):
    good, passes = sigmoid(logit), jnp.arange(3.0)
    school = good * counts(2, 0.8) + (1 - good) * counts(2, 0.2)
    mean, square = school @ passes, school @ passes**2
    return 3 * (square - mean**2) + 9 * mean**2


def of_hidden_markov(stay):
    total = 0.0
    for path in itertools.product((0, 1), repeat=3):
        chance = 1.0
        for before, now in zip((1, *path), path, strict=False):
            p = stay if before else 0.3
            chance *= p if now else 1 - p
        total += chance * sum(path) ** 2
    return total


def of_elbo(logits):
    q, prior = softmax(logits), jnp.array([0.2, 0.5, 0.3])
    log_x = -0.5 * ((3.0 - PAYS) / 2) ** 2 - jnp.log(2.0) - 0.5 * jnp.log(2 * jnp.pi)
    return q @ (jnp.log(prior) + log_x - jnp.log(q))


def of_zero_inflated(params):
    of_counts = poisson(params["rate"]) @ jnp.sqrt(jnp.arange(80) + 1.0)
    return 2 * (params["gate"] + (1 - params["gate"]) * of_counts)


def of_experts(params):
    x, dense = jnp.array([0.5, -1.0]), params["params"]
    layer = lambda name: x @ dense[name]["kernel"] + dense[name]["bias"]
    return softmax(layer("Dense_0")) @ jnp.concatenate([layer(f"Dense_{i}") for i in (1, 2, 3)]) ** 2


def of_cart_pole(w):
    env, env_params = users.CART
    first = env.reset(jax.random.PRNGKey(3), env_params)

    def along(actions):
        (obs, state), chance = first, 1.0
        for i in range(3):
            p = sigmoid(w @ obs)
            chance = chance * jnp.where(actions[i] == 1, p, 1 - p)
            obs, state, *_ = env.step(jax.random.PRNGKey(0), state, actions[i], env_params)
        return chance * 1e4 * obs[2] ** 2

    return jnp.sum(jax.vmap(along)(jnp.array(list(itertools.product((0, 1), repeat=3)))))


def of_catch(logits):
    env, env_params = users.CATCH

    def along(start, actions):
        _, state = env.reset(start, env_params)
        chance, total = 1.0, 0.0
        for i in range(2):
            chance = chance * softmax(logits[state.paddle_x])[actions[i]]
            _, state, reward, *_ = env.step(jax.random.PRNGKey(0), state, actions[i], env_params)
            total = total + reward + 0.1 * state.paddle_x
        return chance * total

    both = jax.vmap(jax.vmap(along, (None, 0)), (0, None))
    plays = jnp.array(list(itertools.product(range(3), repeat=2)))
    return jnp.sum(both(jax.random.split(jax.random.PRNGKey(5)), plays)) / 2


def of_tic_tac_toe(logits):
    total = 0.0
    for first, second in itertools.permutations(range(9), 2):
        rest = jnp.where(jnp.arange(9) == first, -jnp.inf, logits)
        # after two plies it is the first player's turn again: channel 0 has their stones
        total += softmax(logits)[first] * softmax(rest)[second] * {3: 1.0, 4: 2.0, 5: 1.0}.get(first, 0.0)
    return total


def of_slide(logits):
    return softmax(logits[:3]) @ jnp.array([4.0, 0.0, 4.0])


RIGHT = {
    "bandit": (of_bandit, LOGITS),
    "bits": (lambda logits: square_of_sum(sigmoid(logits), jnp.array([1.0, -2.0, 3.0])), LOGITS),
    "mixture_of_normals": (of_mixture, MIXED),
    "one_hot_layer": (of_one_hot_layer, LOGITS),
    "nested_plates": (of_nested_plates, 0.4),
    "mixture_model": (of_mixture, MIXED),
    "hidden_markov": (of_hidden_markov, 0.6),
    "elbo_by_hand": (of_elbo, LOGITS),
    "zero_inflated": (of_zero_inflated, {"gate": 0.3, "rate": 2.0}),
    "experts": (of_experts, None),
    "cart_pole": (of_cart_pole, jnp.array([0.5, 1.0, -2.0, 1.0])),
    "catch": (of_catch, jnp.sin(jnp.arange(15.0)).reshape(5, 3)),
    "tic_tac_toe": (of_tic_tac_toe, jnp.sin(jnp.arange(9.0))),
    "slide": (of_slide, jnp.array([0.4, 0.0, 1.0, -0.3])),
}
TOLD = {"reinforce_already": LOGITS, "successes": 0.4, "pendulum": 0.3}


@pytest.mark.statistical
@pytest.mark.parametrize("name", covering(RIGHT, lambda name: {"bandit": "distrax", "hidden_markov": "numpyro", "experts": "flax",
                                                               "catch": "gymnax", "slide": "pgx"}.get(name)))  # fmt: skip
def test_a_lifted_program_has_the_gradient_of_its_expectation(name):
    exact, at = RIGHT[name]
    if at is None:
        keys = {"params": jax.random.key(0), "route": jax.random.key(1)}
        at = users.Switch().init(keys, jnp.array([0.5, -1.0]))
    is_right(sf.lift(getattr(users, name)), exact, at)


@pytest.mark.parametrize("name", TOLD)
def test_what_cannot_be_right_is_told_of_with_its_line(name):
    is_told_of(getattr(users, name), TOLD[name])


def test_there_are_forty_programs():
    assert sum(map(len, (RIGHT, TOLD, test_unedited.RIGHT, test_unedited.TOLD))) >= 40
