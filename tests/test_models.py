"""Parameters as a model has them, with leaves that are functions, strings and None: they are left alone."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from covering import covering

import jax_scorefn as sf


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Model:
    """As modules of equinox are: every field a child."""

    weights: Any
    activation: Any = jax.nn.relu
    name: Any = "relu"
    nothing: Any = None
    plain: Any = jnp.tanh
    count: Any = 2

    def __call__(self, x):
        return self.activation(self.weights["w"] * x + self.weights["b"])


MODEL = Model({"w": jnp.array([0.5, -1.0]), "b": jnp.array([0.3, 0.2])})
X = jnp.array([1.0, -0.4])
COINS = sf.family(lambda model: sf.Bernoulli(logits=model(X)))
WEIGHTS = sf.family(lambda weights: sf.Bernoulli(logits=Model(weights)(X)))
f = lambda b: jnp.sum((b - 0.3) ** 2) + b[0] * b[1]


def close(tree, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), tree, other)


@pytest.mark.parametrize("name", covering(["exact", "score_function", "disarm", "rao_blackwell"]))
def test_gradient_forms_leave_other_leaves_alone(name, unchecked_keys):
    options = {} if name == "exact" else {"num_samples": 8}
    run = getattr(sf, f"{name}_grad")
    of_model = lambda key: run(f, COINS, MODEL, key, has_aux=True, **options)
    of_weights = lambda key: run(f, WEIGHTS, MODEL.weights, key, **options)
    (grads, info), wanted = jax.jit(lambda key: (of_model(key), of_weights(key)))(jax.random.key(0))
    assert isinstance(grads, Model) and grads.activation is None and grads.plain is None and grads.name is None
    assert grads.count.dtype == jax.dtypes.float0 and info.values.ndim == 1
    close(grads.weights, wanted)
    per_parameter = {"control_variate": sf.control_variates.delta(order=1, coefficient="fitted_per_parameter")}
    if name == "score_function":
        close(
            run(f, COINS, MODEL, jax.random.key(0), **options, **per_parameter).weights,
            run(f, WEIGHTS, MODEL.weights, jax.random.key(0), **options, **per_parameter),
        )


def test_fit_trains_the_floats_of_a_model(unchecked_keys):
    loss = lambda family: lambda model, key: sf.score_function(f, family, model, key, num_samples=8)
    optimizer = optax.chain(sf.training.track_snr(0.9), optax.sgd(0.1, momentum=0.5))
    of_model, of_weights = (
        sf.training.fit(loss(family), params, optimizer, jax.random.key(0), 20, inner_steps=7)
        for family, params in ((COINS, MODEL), (WEIGHTS, MODEL.weights))
    )
    trained = of_model.params
    assert (
        trained.activation is jax.nn.relu
        and trained.name == "relu"
        and trained.count == 2
        and trained.plain is jnp.tanh
    )
    close(trained.weights, of_weights.params)
    close(jax.tree.leaves(of_model.opt_state), jax.tree.leaves(of_weights.opt_state))
    assert not np.allclose(trained.weights["w"], MODEL.weights["w"])


@pytest.mark.slow
def test_an_audit_and_a_tuning_of_a_model():
    reports = [
        sf.audit(f, family, params, jax.random.key(0), estimators=["score_function", "disarm"], budget=20_000)
        for family, params in ((COINS, MODEL), (WEIGHTS, MODEL.weights))
    ]
    for row, other in zip(*(report.rows for report in reports), strict=True):
        np.testing.assert_allclose(row.variance, other.variance, rtol=1e-4)
        assert row.verdict == other.verdict
    grads = lambda model: jnp.sum(model(X)) * jnp.ones(2)
    _, slopes = sf.tuned_grad(grads, MODEL)
    wanted = jax.grad(lambda w: jnp.sum(grads(Model(w)) ** 2))(MODEL.weights)
    close(slopes.weights, wanted)
    assert slopes.activation is None
    found = sf.diagnostics.check_unbiased(
        lambda model, key: sf.score_function_grad(f, COINS, model, key, num_samples=8),
        lambda model: sf.exact_grad(f, COINS, model), MODEL, jax.random.key(1), num_replicates=2000,
    )  # fmt: skip
    assert found and found.mean.weights["w"].shape == (2,) and found.mean.activation is None
