"""What a user's function raises is JAX's own error, with a note that says what to do."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from cases import REQUIRED, frame
from covering import covering

import jax_scorefn as sf

NORMAL = sf.family(lambda m: sf.Normal(loc=m, scale=1.0))
COIN = sf.family(lambda m: sf.Bernoulli(logits=m))
KEY = jax.random.key(0)
PLAIN = {
    "float": lambda x: float(x), "if": lambda x: 1.0 if x > 0 else 0.0, "math": lambda x: math.exp(x), "numpy": lambda x: np.sin(x),
    "scipy": lambda x: scipy.special.gammaln(x + 1), "item": lambda x: x.item(), "table": lambda x: {0.0: 1.0}.get(x, 2.0),
    "list": lambda x: [1.0, 2.0][x],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _keys_may_be_reused():
    with jax.debug_key_reuse(False):
        yield


def notes(call):
    with pytest.raises(Exception) as caught:
        call()
    return [note for note in getattr(caught.value, "__notes__", []) if "sf.black_box" in note]


@pytest.mark.parametrize("kind", sorted(PLAIN))
def test_each_kind_of_plain_python_is_told_of_black_box(kind):
    (note,) = notes(lambda: sf.score_function(PLAIN[kind], COIN, 0.3, KEY))
    assert "sf.black_box(f)" in note and "jnp.where" in note
    boxed = sf.score_function(sf.black_box(lambda x: PLAIN[kind](int(x) if kind == "list" else x)), COIN, 0.3, KEY)
    assert jnp.isfinite(boxed)


def reward(x):
    return 1.0 if x > 0 else 0.0


@pytest.mark.parametrize("name", covering(sorted(sf.ESTIMATORS), frame))
def test_under_every_estimator(name):
    record = sf.ESTIMATORS[name]
    family = COIN if record.missing(NORMAL.at(0.0)) else NORMAL
    options = {} if name == "exact" else {"num_samples": 4, **REQUIRED.get(name, {})}
    for function in (record.function, getattr(sf, f"{name}_grad")):
        call = lambda m, function=function: function(reward, family, m, KEY, **options)
        (note,) = notes(lambda call=call: jax.eval_shape(call, jnp.float32(0.3)))
        assert "sf.black_box(reward)" in note


def test_elsewhere():
    program = lambda m, key: reward(sf.sample(key, sf.Bernoulli(logits=m)))
    for call in (
        lambda: sf.audit(reward, COIN, 0.3, KEY, estimators=["score_function"], budget=1000),
        lambda: sf.expectation(program)(0.3, key=KEY),
        lambda: sf.score_function(jnp.square, NORMAL, 0.3, KEY, control_variate=sf.control_variates.known(reward, 0.5)),
        lambda: sf.testing.enumerate_expectation(reward, COIN, np.array([0.0, 1.0]))(0.3),
    ):
        assert any("sf.black_box" in note for note in notes(call))


XS = jnp.ones((4, 100, 2))  # chains that were not flattened
CHAINS = sf.family(log_prob=lambda m, x: -((m @ x) ** 2), samples=XS, normalized=False)
FLAT = sf.family(log_prob=lambda m, x: -((x - m) ** 2).sum(), samples=XS, normalized=False)
PAIR = (jnp.ones(2), jnp.zeros(2))
BITS = sf.family(lambda m: sf.Bernoulli(logits=m))
OTHERWISE = {
    "chains, log_prob": (lambda x: x.sum(), CHAINS, jnp.ones(2), "log_prob(params, x)", "float[2], float[100, 2]"),
    "chains, f": (lambda x: x @ jnp.ones(2) @ jnp.ones(2), FLAT, jnp.ones(2), "(chains * draws, ...)", "float[100, 2]"),
    "a batch": (lambda xs: xs.sum(axis=1), BITS, jnp.zeros(3), "one draw at a time", "float[3]"),
    "an index": (lambda xs: xs[:, 0], BITS, jnp.zeros(3), "one draw at a time", "float[3]"),
    "params one by one": (
        lambda x: x @ x, sf.family(lambda m, s: sf.Normal(loc=m, scale=jnp.exp(s))), PAIR, "(*params)", "tuple of float[2], float[2]",
    ),
    "sampler the wrong way": (
        lambda x: x, sf.family(log_prob=lambda m, x: -((x - m) ** 2), sampler=lambda m, k: jax.random.normal(k) + m), 0.3,
        "sampler(key, params)", "key<fry>[], float[]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERWISE)
def test_what_a_function_is_called_with_is_told(kind):
    f, family, params, words, given = OTHERWISE[kind]
    for function in (sf.score_function, sf.score_function_grad):
        with pytest.raises((TypeError, ValueError, IndexError, AttributeError)) as caught:
            function(f, family, params, KEY)
        (note,) = [note for note in caught.value.__notes__ if "draw" in note or "dist_fn" in note]
        assert words in note and given in note.replace(str(jnp.result_type(float)), "float")


def test_what_is_said_is_said_once_and_by_the_innermost():
    inner = lambda x: sf.score_function(lambda y: y @ x, COIN, 0.3, KEY)
    with pytest.raises(ValueError, match="matmul") as caught:
        sf.score_function(inner, BITS, jnp.zeros(3), KEY)
    (note,) = [note for note in caught.value.__notes__ if "one draw" in note]
    assert "(float" in note and "[]" in note and "[3]" not in note


def test_other_errors_stay_as_they_are():
    def broken(x):
        raise TypeError("not today")

    assert notes(lambda: sf.score_function(broken, COIN, 0.3, KEY)) == []
    assert notes(lambda: sf.score_function(lambda x: 1 / 0, COIN, 0.3, KEY)) == []
