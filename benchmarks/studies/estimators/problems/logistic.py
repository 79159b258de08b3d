"""Bayesian logistic regression by variational inference: 569 tumours, 30 measurements and a constant.

    ELBO(m, log s) = E_q[ log p(y | X, w) ] - KL(q || N(0, I)),    q = N(m, diag s^2)

The KL term is in closed form, so only the expected log-likelihood is estimated. The gradient of the 31 means is
measured twice: where training starts, and where it ends (set-up of Mohamed et al. 2020, section 8: batches of 32, 50
draws, SGD with a cosine step size, 5000 steps).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn as sf
from benchmarks.method import Estimate
from benchmarks.settings import Settings, quick_jit
from benchmarks.studies.estimators.methods import METHODS
from benchmarks.studies.estimators.problems._base import EPSILON, Curve, Problem, Reference, Setup

NUM_DRAWS = 50
BATCH = 32
STEPS = 5000
STEP_SIZE = 1e-3
WATCH = 1000
"""Draws with which the ELBO is watched."""
EVERY = 50
"""Training steps between two looks at the ELBO."""
POSTERIOR = sf.family(lambda params: sf.Normal(loc=params["mean"], scale=jnp.exp(params["log_scale"])))


@functools.cache
def data() -> tuple[np.ndarray, np.ndarray]:
    """Standardised measurements with a column of ones (569, 31), and the labels as -1 and +1 (569,); float32."""
    from sklearn.datasets import load_breast_cancer

    features, labels = map(np.asarray, load_breast_cancer(return_X_y=True))
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    features = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    return features.astype(np.float32), (2 * labels - 1).astype(np.float32)


def log_likelihood(weights: jax.Array, features: Any, signs: Any) -> jax.Array:
    """Log p(y | X, w) of one draw of the weights, summed over the rows."""
    return jnp.sum(jax.nn.log_sigmoid(signs * (features @ weights)))


def divergence(params: Any) -> jax.Array:
    """KL(q || N(0, I))."""
    mean, log_scale = params["mean"], params["log_scale"]
    return 0.5 * jnp.sum(jnp.exp(2 * log_scale) + mean**2 - 1 - 2 * log_scale)


def elbo(estimate: Estimate, params: Any, key: jax.Array) -> jax.Array:
    """The ELBO on all the data."""
    features, signs = (jnp.asarray(array) for array in data())
    return estimate(lambda w: log_likelihood(w, features, signs), POSTERIOR, params, key) - divergence(params)


def start() -> dict[str, jax.Array]:
    """Q = N(0, I), as the prior."""
    size = data()[0].shape[1]
    return {"mean": jnp.zeros(size), "log_scale": jnp.zeros(size)}


def path(estimate: Estimate, key: jax.Array) -> tuple[Any, np.ndarray]:
    """5000 steps of SGD on batches: parameters and ELBO every 50 steps, the start first."""
    features, signs = (jnp.asarray(array) for array in data())
    rows = features.shape[0]

    def step(params, step_and_key):
        t, step_key = step_and_key
        batch_key, draw_key = jax.random.split(step_key)
        index = jax.random.randint(batch_key, (BATCH,), 0, rows)
        x, y = features[index], signs[index]

        def objective(p):
            return estimate(
                lambda w: rows / BATCH * log_likelihood(w, x, y), POSTERIOR, p, draw_key
            ) - divergence(p)  # fmt: skip

        size = STEP_SIZE * jnp.cos(jnp.pi / 2 * t.astype(float) / STEPS)
        return jax.tree.map(lambda p, g: p + size * g, params, jax.grad(objective)(params)), None

    noise = jnp.asarray(np.random.default_rng(0).standard_normal((WATCH, features.shape[1])), features.dtype)

    def watch(params):
        """The ELBO on all the data, with the same noise every time and for every method."""
        draws = params["mean"][None] + jnp.exp(params["log_scale"])[None] * noise
        return jnp.mean(jax.vmap(lambda w: log_likelihood(w, features, signs))(draws)) - divergence(params)

    def block(params, steps_and_keys):
        return jax.lax.scan(step, params, steps_and_keys)[0], (params, watch(params))

    @quick_jit
    def run(params, run_key):
        blocks = STEPS // EVERY
        steps = jnp.arange(STEPS).reshape(blocks, EVERY)
        keys = jax.random.split(run_key, (blocks, EVERY))
        last, (path, values) = jax.lax.scan(block, params, (steps, keys))
        path = jax.tree.map(lambda rows, x: jnp.concatenate([rows, x[None]]), path, last)
        return path, jnp.append(values, watch(last))

    found, values = run(start(), key)
    return found, np.asarray(values)


def train(estimate: Estimate, key: jax.Array) -> tuple[Any, np.ndarray]:
    """The parameters at the end of that, and the ELBO on the way."""
    found, values = path(estimate, key)
    return jax.tree.map(lambda rows: rows[-1], found), values


def places(estimate: Estimate, key: jax.Array, steps: Sequence[int]) -> list[Any]:
    """The parameters after so many steps, multiples of 50."""
    found, _ = path(estimate, key)
    return [jax.tree.map(lambda rows, i=step // EVERY: rows[i], found) for step in steps]


@functools.cache
def trained(settings: Settings, method: str) -> tuple[Any, np.ndarray]:
    """The parameters after training with a method, and the ELBO on the way."""
    return train(METHODS[method].bind(NUM_DRAWS), settings.key("logistic", "train"))


def _setup(settings: Settings, end: bool) -> Setup:
    params = trained(settings, "pathwise")[0] if end else start()
    features, signs = data()
    gradient, error, value = _reference(params, settings, "end" if end else "start")
    facts = {"ELBO": value}
    if end:
        facts["accuracy of the posterior mean"] = float(np.mean(signs * (features @ np.asarray(params["mean"])) > 0))
    reference = Reference(
        gradient, error, EPSILON * float(np.max(np.abs(gradient))), "a large pathwise run on its own keys"
    )
    return Setup(params, elbo, (POSTERIOR, params), lambda grad: grad["mean"], reference, facts=facts)


def _reference(params: Any, settings: Settings, where: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and standard error of many pathwise gradients of the 31 means, and the ELBO."""
    estimate = METHODS["pathwise"].bind(250)

    @quick_jit
    def run(p, keys):
        def one(_, key):
            value, grads = jax.value_and_grad(functools.partial(elbo, estimate))(p, key)
            return None, (value, grads["mean"])

        return jax.lax.scan(one, None, keys)[1]

    count = 8000 if settings.full else 400
    keys = jax.random.split(settings.key("logistic", "reference", where), count)
    values, grads = (np.asarray(array, np.float64) for array in run(params, keys))
    return grads.mean(axis=0), grads.std(axis=0, ddof=1) / count**0.5, float(values.mean())


def _curve(method: str, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(0, STEPS + 1, EVERY), trained(settings, method)[1]


FORMULA = "∇m  { E[ Σᵢ log σ(yᵢ w·xᵢ) ] − KL(q ‖ N(0, I)) },   w ~ q = N(m, diag s²),   31 means"
START = Problem(
    name="logistic-start",
    title="Bayesian logistic regression, first step",
    formula=FORMULA + ",   m = 0, s = 1",
    about="Wisconsin breast cancer data, all 569 rows. A log-likelihood of about minus a thousand multiplies every "
    "score, and its spread is nearly as large: a baseline helps, a slope helps far more.",
    num_draws=NUM_DRAWS,
    replicates=(800, 10_000),
    batch=1,
    full_only=("score-mean",),
    setup=functools.partial(_setup, end=False),
    curve=Curve(
        title="Training the posterior",
        ylabel="ELBO on all the data",
        methods=("score", "score-loo", "pathwise"),
        run=_curve,
        about="5000 steps of SGD, batches of 32, 50 draws for each gradient; the same step sizes for all. Higher "
        "is better.",
    ),
)
END = Problem(
    name="logistic-end",
    title="Bayesian logistic regression, trained",
    formula=FORMULA + ",   after 5000 steps",
    about="The same gradient at the end of training, where the posterior is narrow and the gradient is near 0.",
    num_draws=NUM_DRAWS,
    replicates=(800, 10_000),
    batch=1,
    full_only=("score-mean", "score-best", "score-delta", "double-cv"),
    setup=functools.partial(_setup, end=True),
)
