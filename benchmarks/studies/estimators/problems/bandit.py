"""A contextual bandit: the policy sees an 8 x 8 digit, names it, and is paid 1 if it is right.

    J(theta) = mean over images of E_{a ~ pi(. | image; theta)}[ 1{a = label} ]

Each image is an expectation of its own under ``jax.vmap``, so that each has its own credit and its own baseline. The
reward has no derivative in the action. The exact gradient is that of the mean probability of the right digit.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_scorefn as sf
from benchmarks.method import Estimate
from benchmarks.settings import Settings, quick_jit
from benchmarks.studies.estimators.methods import METHODS
from benchmarks.studies.estimators.problems._base import EPSILON, Curve, Problem, Reference, Setup

NUM_DRAWS = 8
HIDDEN = 32
ACTIONS = 10
BATCH = 128
EVERY = 10


@functools.cache
def data() -> tuple[np.ndarray, np.ndarray]:
    """Images scaled to [0, 1], (1797, 64) float32, and their digits, int32."""
    from sklearn.datasets import load_digits

    images, labels = map(np.asarray, load_digits(return_X_y=True))
    return (images / 16).astype(np.float32), labels.astype(np.int32)


def initial(key: jax.Array) -> dict[str, jax.Array]:
    """A small random network 64-32-10."""
    first, second = jax.random.split(key)
    return {
        "w1": jax.random.normal(first, (64, HIDDEN)) / 8,
        "b1": jnp.zeros(HIDDEN),
        "w2": jax.random.normal(second, (HIDDEN, ACTIONS)) / HIDDEN**0.5,
        "b2": jnp.zeros(ACTIONS),
    }


def logits(params: Any, image: jax.Array) -> jax.Array:
    """Scores of the ten digits for one image."""
    return jnp.tanh(image @ params["w1"] + params["b1"]) @ params["w2"] + params["b2"]


def policy_for(image: jax.Array) -> sf.Family:
    """The distribution of the action, given an image."""
    return sf.family(lambda params: sf.Categorical(logits=logits(params, image)))


def reward(estimate: Estimate, params: Any, key: jax.Array, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Estimated mean reward over a batch of images, each with draws of its own."""

    def one(image, label, image_key):
        return estimate(lambda action: action == label, policy_for(image), params, image_key)

    return jnp.mean(jax.vmap(one)(images, labels, jax.random.split(key, images.shape[0])))


def mean_success(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Exact mean reward: the probability of the right digit, in closed form."""
    log_probs = jax.nn.log_softmax(jax.vmap(functools.partial(logits, params))(images))
    return jnp.mean(jnp.exp(jnp.take_along_axis(log_probs, labels[:, None], axis=1)))


def flatten(grads: Any) -> jax.Array:
    """All the parameters' derivatives in one vector."""
    return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(grads)])


def _setup(settings: Settings) -> Setup:
    batch = 256 if settings.full else BATCH
    images, labels = (jnp.asarray(array[:batch]) for array in data())
    params = initial(settings.key("bandit", "initial"))
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), np.float64), (params, images))
        value, grads = jax.value_and_grad(mean_success)(*wide, labels)
        gradient = np.asarray(flatten(grads))
    reference = Reference(
        gradient,
        np.zeros_like(gradient),
        64 * EPSILON * float(np.max(np.abs(gradient))),
        "closed form in 64 bits: the gradient of the probability of the right digit",
    )

    def objective(estimate: Estimate, p: Any, key: jax.Array) -> jax.Array:
        return reward(estimate, p, key, images, labels)

    dist = (policy_for(images[0]), params)
    return Setup(
        params,
        objective,
        dist,
        flatten,
        reference,
        num_points=ACTIONS,
        contexts=batch,
        facts={"mean reward": float(value)},
    )


def _curve(method: str, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """SGD with momentum on batches of 128 images; mean reward over all the images, every 10 steps."""
    images, labels = (jnp.asarray(array) for array in data())
    estimate = METHODS[method].bind(NUM_DRAWS)
    optimizer = optax.sgd(1.0, momentum=0.9)
    blocks = 100 if settings.full else 40

    def step(state, index_and_key):
        params, moments = state
        index, key = index_and_key
        loss = lambda p: -reward(estimate, p, key, images[index], labels[index])
        updates, moments = optimizer.update(jax.grad(loss)(params), moments, params)
        return (optax.apply_updates(params, updates), moments), None

    def block(state, indices_and_keys):
        value = mean_success(state[0], images, labels)
        return jax.lax.scan(step, state, indices_and_keys)[0], value

    @quick_jit
    def run(params, indices, keys):
        state, values = jax.lax.scan(block, (params, optimizer.init(params)), (indices, keys))
        return jnp.append(values, mean_success(state[0], images, labels))

    batch_key, draw_key = jax.random.split(settings.key("bandit", "train"))
    shape = (blocks, EVERY, BATCH)
    indices = jax.random.randint(batch_key, shape, 0, images.shape[0])
    values = run(initial(settings.key("bandit", "initial")), indices, jax.random.split(draw_key, shape[:2]))
    return np.arange(0, blocks * EVERY + 1, EVERY), np.asarray(values)


BANDIT = Problem(
    name="bandit-digits",
    title="A bandit that reads digits",
    formula="∇θ  mean over images of E[ 1{a = label} ],   a ~ Categorical(MLP(image; θ)),   2 730 weights",
    about="A 64-32-10 network, at its random start, on scikit-learn's digits. The reward is 0 or 1 and has no "
    "derivative. "
    "With ten actions the expectation can also be summed exactly.",
    num_draws=NUM_DRAWS,
    replicates=(1_000, 5_000),
    batch=1,
    full_only=("score-mean", "score-best", "score-sobol"),
    setup=_setup,
    curve=Curve(
        title="Learning to read digits",
        ylabel="mean reward (all images)",
        methods=("score", "score-loo", "exact"),
        run=_curve,
        about="SGD with momentum, batches of 128 images, 8 draws for each image. The reward is the exact "
        "probability of the right digit.",
    ),
)
