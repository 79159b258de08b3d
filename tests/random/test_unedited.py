"""Forty programs that nobody edited but for the lift, or the import: each has a right gradient, or is told of with its line.

The exact expectations are written here from what a program does, as sums over its outcomes, and share no code with it.
"""

import inspect
import itertools
import math
import types
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import unedited_programs as plain
from covering import covering

import jax_scorefn as sf

pytestmark = [pytest.mark.usefixtures("foreign"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]

LOGITS = jnp.array([0.4, 0.0, 1.0])
PAYS = jnp.array([1.0, 4.0, 9.0])
softmax, sigmoid = jax.nn.softmax, jax.nn.sigmoid
square_of_sum = lambda p, weights: jnp.sum(weights**2 * p * (1 - p)) + jnp.sum(weights * p) ** 2
counts = lambda number, p: jnp.stack([math.comb(number, k) * p**k * (1 - p) ** (number - k) for k in range(number + 1)])


def poisson(rate, most=80):
    k = jnp.arange(most)
    return jnp.exp(k * jnp.log(rate) - rate - jax.scipy.special.gammaln(k + 1.0))


def of_matching(logits):
    gaps = (jnp.arange(3) - jnp.array([[0.0], [2.0]])) ** 2
    return jnp.mean(jnp.sum(softmax(logits) * gaps, axis=1))


def of_dense_layer(params):
    probs = softmax(softmax(params["kernel"][0] + params["kernel"][1] + params["bias"]))
    return probs @ jnp.arange(4.0) ** 2


def of_switched(logits):
    return softmax(logits) @ jnp.stack([logits[0] ** 2 + 1, 3 * logits[0], jnp.array(2.0)])


def of_with_replacement(logits):
    p = softmax(logits)
    return jnp.sum(p[:, None] * p * jnp.maximum(PAYS[:, None], PAYS))


def of_without_replacement(logits):
    p = softmax(logits)
    return sum(p[i] * p[j] / (1 - p[i]) * ((1.0 if i < j else 5.0) + j) for i, j in itertools.permutations(range(3), 2))


def of_markov_chain(table):
    p, total = softmax(table), 0.0
    for path in itertools.product(range(3), repeat=3):
        pairs = list(zip((0, *path), path, strict=False))
        total += math.prod(p[pair] for pair in pairs) * sum(a < b for a, b in pairs)
    return total


def of_epidemic(rate):
    def ill_later(healthy, ill, steps):
        if steps == 0:
            return 4.0 - healthy
        chance = counts(healthy, 1 - (1 - rate) ** ill)
        return sum(chance[new] * ill_later(healthy - new, new, steps - 1) for new in range(healthy + 1))

    return ill_later(3, 1, 3)


def of_queue(rate):
    def time(waiting, steps):
        if steps == 0:
            return 0.0
        total = 0.0
        for come, leave in itertools.product((0, 1), repeat=2):
            now = max(waiting + come - leave, 0)
            total += 0.5 * (rate if come else 1 - rate) * (now + time(now, steps - 1))
        return total

    return time(0, 4)


def of_hard_dropout(params):
    p, total = sigmoid(params["rate"]), 0.0
    x = jnp.array([[1.0, -0.5, 2.0], [0.3, 0.8, -1.0]])
    for mask in itertools.product((0.0, 1.0), repeat=3):
        chance = math.prod(q if bit else 1 - q for q, bit in zip(p, mask, strict=True))
        total += chance * jnp.sum(jnp.tanh((x * jnp.array(mask)) @ params["w"]) ** 2)
    return total


def of_insurance(params):
    n = jnp.arange(6.0)
    return counts(5, params["p"]) @ (n + n**2 * params["mean"] ** 2)


def of_mixture(params):
    return softmax(params["logits"]) @ (params["means"] ** 2 + 1)


def of_metropolis(strength):
    z = jnp.linspace(-8.0, 8.0, 40_001)
    y = 1 + z
    accept = jnp.minimum(jnp.exp(-strength * (y**2 - 1)), 1.0)
    return jnp.sum(jnp.exp(-(z**2) / 2) * (accept * y**2 + 1 - accept)) * (z[1] - z[0]) / jnp.sqrt(2 * jnp.pi)


MIXED = {"logits": LOGITS, "means": jnp.array([0.5, -1.0, 2.0])}
RIGHT = {
    "matching": (of_matching, jnp.array([[0.4, 0.0, 1.0], [-0.2, 0.3, 0.5]])),
    "dense_layer": (of_dense_layer, {"kernel": jnp.sin(jnp.arange(12.0)).reshape(3, 4), "bias": jnp.zeros(4)}),
    "switched": (of_switched, LOGITS),
    "with_replacement": (of_with_replacement, LOGITS),
    "without_replacement": (of_without_replacement, LOGITS),
    "by_inversion": (lambda logits: softmax(logits) @ PAYS, LOGITS),
    "by_gumbels": (lambda logits: softmax(logits) @ PAYS, LOGITS),
    "markov_chain": (of_markov_chain, jnp.sin(jnp.arange(9.0)).reshape(3, 3)),
    "agents": (lambda p: 20 * p * (1 - p) + (20 * p - 8) ** 2, 0.3),
    "epidemic": (of_epidemic, 0.3),
    "queue": (of_queue, 0.4),
    "spikes": (lambda rate: rate * (1 - 0.1 * rate) + (rate - 3) ** 2, 4.0),
    "hard_dropout": (of_hard_dropout, {"rate": LOGITS, "w": jnp.cos(jnp.arange(6.0)).reshape(3, 2)}),
    "gated": (lambda p: p * p + (1 - p) * 4 * p**2, 0.4),
    "checkpointed": (lambda p: 2 * (1 + 3 * p) ** 2, 0.4),
    "counted_loop": (lambda p: square_of_sum(p, jnp.array([1.0, 2.0, 3.0])), 0.4),
    "photons": (lambda rate: poisson(rate) @ jnp.sqrt(jnp.arange(80) + 1.0), 3.0),
    "waiting_time": (lambda p: -p * jnp.log(p) / (1 - p), 0.4),
    "insurance": (of_insurance, {"p": 0.4, "mean": 0.7}),
    "mixture": (of_mixture, MIXED),
    "metropolis": (of_metropolis, 0.3),
}
"""Name -> its exact expectation, and where it is differentiated."""
TOLD = {
    "own_name": LOGITS, "geometric_by_hand": 0.4, "noise_used_twice": 0.4, "quantized": 0.3, "straight_through": 0.4,
    "surrogate": LOGITS, "best_of_two": 0.3, "rejection": 0.4, "until_success": 0.4,
}  # fmt: skip
IN_A_LOOP = {"rejection", "until_success"}
"""JAX differentiates these forward alone; a choice in such a loop is refused."""
MIRRORED = ("matching", "agents", "epidemic", "with_replacement", "hard_dropout")
"""By the one changed import."""
TWICE = ("matching", "by_inversion", "agents", "markov_chain", "hard_dropout")
"""To second order."""


def wide(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def is_right(program, exact, at, *, number=2000, order=1):
    """Value and gradient, or the Hessian, within what ``number`` runs of it tell, which is more than that they are not 0."""
    start, unravel = jax.flatten_util.ravel_pytree(wide(at))
    estimate = sf.expectation(program, num_samples=32, lost="raise")
    flat, wanted = (lambda x, key: estimate(unravel(x), key)), (lambda x: jnp.asarray(exact(unravel(x))))
    taken = jax.value_and_grad if order == 1 else jax.hessian
    runs = sf.testing.replicate(lambda key: taken(flat)(start, key), jax.random.key(1), number, batch=500)
    true = jax.jit(taken(wanted))(start)
    for got, one in zip(jax.tree.leaves(runs), jax.tree.leaves(true), strict=True):
        sf.testing.assert_unbiased(got, one, precision=0.08)
        with pytest.raises(AssertionError, match="is biased"):
            sf.testing.assert_unbiased(got, jnp.zeros_like(one), precision=np.inf)


@pytest.mark.statistical
@pytest.mark.parametrize(
    "name", covering(RIGHT, lambda name: name in ("by_inversion", "epidemic", "metropolis"), lambda name: name)
)
def test_a_lifted_program_has_the_gradient_of_its_expectation(name):
    exact, at = RIGHT[name]
    is_right(sf.lift(getattr(plain, name)), exact, at)


@pytest.mark.statistical
@pytest.mark.parametrize("name", covering(MIRRORED))
def test_one_changed_import_does_the_same(name):
    exact, at = RIGHT[name]
    program = getattr(plain, name)
    jax_ = types.SimpleNamespace(**{**vars(jax), "random": sf.random})
    mirrored = types.FunctionType(program.__code__, {**program.__globals__, "jax": jax_})
    is_right(mirrored, exact, at)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("name", TWICE)
def test_hessians_of_scored_programs_are_right(name):
    exact, at = RIGHT[name]
    is_right(sf.lift(getattr(plain, name)), exact, at, number=4000, order=2)


def marked(program):
    lines, first = inspect.getsourcelines(program)
    return {first + i for i, line in enumerate(lines) if "# told" in line}


def is_told_of(program, at, loop=False):
    """A warning with the line, or an error with it."""
    taken = jax.jacfwd if loop else jax.grad
    (line,) = marked(program)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", sf.LostGradientWarning)
        try:
            taken(sf.expectation(sf.lift(program), num_samples=1 if loop else 4))(wide(at), jax.random.key(0))
        except TypeError as error:
            assert f"{inspect.getsourcefile(program)}:{line}" in str(error)
            return
    told = {(w.filename, w.lineno) for w in caught if w.category is sf.LostGradientWarning}
    assert told == {(inspect.getsourcefile(program), line)}


@pytest.mark.parametrize("name", TOLD)
def test_what_cannot_be_right_is_told_of_with_its_line(name):
    is_told_of(getattr(plain, name), TOLD[name], loop=name in IN_A_LOOP)


@pytest.mark.slow
def test_without_the_lift_the_gradients_are_zero_or_wrong():
    """What these programs are today: a score that went missing has no other sign."""
    silent = [name for name, (exact, at) in RIGHT.items() if _is_wrong(getattr(plain, name), exact, wide(at))]
    assert silent == list(RIGHT)


def _is_wrong(program, exact, at):
    keys = jax.random.split(jax.random.key(1), 64)
    got = jax.jit(jax.vmap(jax.grad(program), (None, 0)))(at, keys)
    true = jax.jit(jax.grad(lambda p: jnp.asarray(exact(p))))(at)
    apart = lambda g, t: np.max(np.abs(g.mean(axis=0) - t) / (g.std(axis=0) / 8 + 1e-3))
    return max(jax.tree.leaves(jax.tree.map(apart, got, true))) > 6
