"""Some four thousand bad inputs: each is a TypeError or a ValueError that names the argument or the function, before anything runs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, OPTIONS, PAIRS, REQUIRED, params_of
from covering import few
from policy_calls import CALLS, function_of, random_row

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg

pytestmark = pytest.mark.usefixtures("unchecked_keys")

KEY, NAN = jax.random.key(0), float("nan")


class Thing:
    """What nobody takes."""

    def __repr__(self):
        return "Thing()"


WORDS = {
    "f": "a function of one draw", "logp": "a family as its second argument", "params": "parameters", "key": "key",
    "has_aux": "has_aux is True or False", "nonesuch": "no option nonesuch. Its options",
}  # fmt: skip
"""What a message says of an argument, where that is not its name."""
BAD = {
    "f": [3.0, None, "f", np.zeros(3), [len], Thing()],
    "logp": [None, lambda p: sf.Bernoulli(logits=p), sf.Bernoulli(logits=jnp.zeros(2)), 3.0, "normal", np.ones(2), Thing()],
    "params": [None, "p", {}, [], {"l": None}, {"l": "x"}, [Thing()], np.arange(3), np.ones(2, bool), 3, True],
    "key": [None, 3, 1.5, "k", np.zeros(2), np.zeros(3, np.uint32), np.zeros((2, 2), np.uint32), np.zeros(2, np.int32),
            jax.random.split(KEY, 2), np.random.default_rng(0), Thing()],
    "num_samples": [0, -1, 2.5, "8", np.ones(2), [4], 1.0, NAN, True, Thing()],
    "chunk_size": [0, -3, "all", 2.5, [2], float("inf"), np.ones(2), False, Thing()],
    "sharding": ["draws", 3, True, (1,), Thing()],
    "has_aux": ["yes", 1, None, np.ones(2, bool), Thing()],
    "nonesuch": [1],
}  # fmt: skip


def the_pair(estimator):
    """A distribution that the estimator takes, and whose parameters are plain."""
    return next(name for name in ("Bernoulli", "Normal", "Categorical", "Dirichlet") if (name, estimator) in PAIRS)


@pytest.mark.parametrize("estimator", few(OPTIONS, "score_function", "exact", "coupled"))
@pytest.mark.parametrize("form", few(["value", "gradient"], "gradient"))
def test_an_estimator_tells_every_bad_argument(estimator, form):
    name = the_pair(estimator)
    function = sf.ESTIMATORS[estimator].function if form == "value" else getattr(sf, f"{estimator}_grad")
    f, told = lambda x: jnp.sum(x.astype(jnp.float32)), 0
    for argument, values in BAD.items():
        if estimator == "exact" and argument in ("key", "num_samples"):
            continue
        for bad in values:
            given = {"f": f, "logp": CASES[name].family, "params": params_of(name, jnp.float32), "key": KEY}
            given |= {**OPTIONS[estimator], **REQUIRED.get(estimator, {}), argument: bad}
            with pytest.raises((TypeError, ValueError)) as caught:
                function(given.pop("f"), given.pop("logp"), given.pop("params"), given.pop("key"), **given)
            assert WORDS.get(argument, argument) in str(caught.value), (argument, bad, str(caught.value))
            assert len(str(caught.value)) > 20
            told += 1
    assert told >= 30


BAD_ARRAYS = {
    "a string": "x", "None": None, "a thing": Thing(), "one more step": np.zeros(7, np.float32), "a matrix": np.zeros((2, 6), np.float32),
    "complex": np.zeros(6, complex), "ragged": [[1.0], [1.0, 2.0]],
}  # fmt: skip
FLAGS = {"mask", "terminated", "truncated"}
OPTIONAL = FLAGS | {"v_t", "old"}


class _Row(dict):
    """A row that knows what was asked of it."""

    def __init__(self, given):
        super().__init__(given)
        self.asked = set()

    def __getitem__(self, name):
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        self.asked.add(name)
        return super().get(name, default)


@pytest.mark.parametrize(
    "name", few([n for n in CALLS if n not in ("all_actions", "rloo")], "gae", "grpo", "kl_penalty")
)
def test_a_policy_gradient_tells_every_bad_array(name):
    row = _Row({**random_row(0, 6), "mask": np.ones(6, bool)})
    CALLS[name](row)
    told = 0
    for argument in sorted(row.asked):
        for what, bad in BAD_ARRAYS.items():
            if bad is None and argument in OPTIONAL:
                continue
            if name == "grpo_tokens" and argument == "gain" and not hasattr(bad, "shape"):
                continue  # the call of the table takes its negative
            with pytest.raises((TypeError, ValueError)) as caught:
                CALLS[name]({**row, argument: bad})
            assert function_of(name) in str(caught.value), (argument, what, str(caught.value))
            told += 1
        for bad in (np.ones(6, np.float32), np.ones(6, int)) if argument in FLAGS else ():
            with pytest.raises(TypeError, match=f"{function_of(name)}: {argument} is an array of booleans"):
                CALLS[name]({**row, argument: bad})
            told += 1
    assert told >= 12


COIN = sf.family(lambda logit: sf.Bernoulli(logits=logit))
FLAGGED = {
    "expectation": lambda x: sf.expectation(lambda p, key: p, has_aux=x),
    "explain": lambda x: sf.explain(lambda p, key: p, has_aux=x),
    "plan": lambda x: sf.plan(lambda p, key: p, has_aux=x),
    "lost_gradients": lambda x: sf.lost_gradients(lambda p: p, has_aux=x),
    "tuned_grad": lambda x: sf.tuned_grad(lambda t: t, 1.0, has_aux=x),
    "black_box": lambda x: sf.black_box(len, vectorized=x),
    "normalized": lambda x: sf.family(log_prob=lambda p, x: p * x, normalized=x),
    "reparameterized": lambda x: sf.family(log_prob=lambda p, x: p * x, sampler=lambda k, p: p, reparameterized=x),
    "independent": lambda x: sf.family(log_prob=lambda p, x: p * x, samples=jnp.zeros(3), independent=x),
    "per_draw": lambda x: sf.score_function_grad(jnp.sum, COIN, 0.0, KEY, per_draw=x),
    "straight_through": lambda x: sf.gumbel_softmax(jnp.sum, COIN, 0.0, KEY, straight_through=x),
    "while_loop": lambda x: sf.programs.while_loop(lambda s: s < 3, lambda s: s + 1, 0, max_steps=4, truncate=x),
    "register_rule": lambda x: sf.programs.register_rule("mine", each_result=x),
    "with_rule": lambda x: sf.programs.with_rule(lambda x: x, lambda op: [{}], each_result=x),
    "divide_by_std": lambda x: pg.group_advantages(jnp.ones((2, 3)), group_axis=1, divide_by_std=x),
    "forget": lambda x: pg.rollout(None, None, None, 0.0, KEY, 3, forget=x),
} | {
    option: functools.partial(
        lambda option, x: sf.training.fit(lambda p, k: p**2, jnp.ones(()), optax.sgd(0.1), KEY, 2, **{option: x}), option
    )
    for option in ("progress", "stop_on_nonfinite")
}  # fmt: skip


@pytest.mark.parametrize("name", FLAGGED)
@pytest.mark.parametrize("bad", ["no", 1, 0, None, Thing()], ids=str)
def test_what_is_true_or_false_takes_nothing_else(name, bad):
    with pytest.raises(TypeError, match="is True or False, not"):
        FLAGGED[name](bad)


NOT_FINITE = {
    "f is NaN": (lambda x: jnp.sum(x.astype(jnp.float32)) * NAN, None),
    "f is infinite": (lambda x: jnp.sum(x.astype(jnp.float32)) * 0 + jnp.inf, None),
    "f is NaN at some draws": (lambda x: jnp.where(jnp.sum(x.astype(jnp.float32)) > 0, NAN, 1.0), None),
    "a parameter is NaN": (lambda x: jnp.sum(x.astype(jnp.float32)), NAN),
}


@pytest.mark.parametrize("estimator", few(OPTIONS, "score_function"))
@pytest.mark.parametrize("what", few(NOT_FINITE, "a parameter is NaN"))
@pytest.mark.nans
def test_what_is_not_finite_never_becomes_a_number(what, estimator):
    """The value and the gradient say it."""
    f, bad = NOT_FINITE[what]
    name = the_pair(estimator)
    params = params_of(name, jnp.float32)
    if bad is not None:
        leaves, treedef = jax.tree.flatten(params)
        params = treedef.unflatten([leaves[0] * 0 + bad, *leaves[1:]])
    how = {**OPTIONS[estimator], **REQUIRED.get(estimator, {})}
    function = sf.ESTIMATORS[estimator].function
    run = jax.jit(jax.value_and_grad(lambda p, k: function(f, CASES[name].family, p, k, **how)))
    value, grads = run(params, jax.random.key(1))
    finite = [bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(grads)]
    assert not np.isfinite(value)
    # along a path the derivative is that of f, which has one where its value is no number, as for jax.grad
    assert not all(finite) or sf.ESTIMATORS[estimator].differentiates_f
