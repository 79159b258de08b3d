"""Variance and bias of every method at the same places: those that one training goes through."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_scorefn as sf
from benchmarks.method import Method
from benchmarks.settings import quick_jit
from benchmarks.studies.bits._vae import Images, batch_grads, encode, estimates, start
from benchmarks.studies.bits.methods import VAE
from benchmarks.study import Record

GUIDE = "loo"
"""The method that the path is trained with."""


def logit_grads(method: Method, draws: int, decoder: Any, logits: Any, xs: Any, key: Any, tuning: Any) -> Any:
    """Gradient of each image's objective in its logits, (images, latents)."""
    return jax.grad(lambda at: estimates(method, draws, decoder, at, xs, key, tuning)[0])(logits)


def trainer(method: Method, draws: int, data: Images, rate: float, batch: int, steps: int) -> tuple[Any, Any]:
    """``(begin, stretch)`` of a training with Adam: ``stretch(state, key)`` is so many steps of it."""
    optimizer, train = optax.adam(rate), jnp.asarray(data.train)

    def begin(params: Any, latents: int) -> Any:
        return params, optimizer.init(params), method.begin(latents)

    def step(state: Any, key: Any) -> Any:
        params, moments, tuned = state
        key_batch, key_grad = jax.random.split(key)
        xs = train[jax.random.randint(key_batch, (batch,), 0, len(train))]
        grads, tuned = batch_grads(method, draws, params, tuned, xs, key_grad)
        updates, moments = optimizer.update(grads, moments, params)
        return (optax.apply_updates(params, updates), moments, tuned), None

    return begin, lambda state, key: jax.lax.scan(step, state, jax.random.split(key, steps))[0]


def moments(method: Method, draws: int, repeats: int) -> Any:
    """Mean and variance of so many gradients, elementwise."""

    def measure(decoder: Any, logits: Any, xs: Any, tuning: Any, key: Any) -> Any:
        grads = lambda at, now: logit_grads(method, draws, decoder, at, xs, now, tuning)
        found = sf.diagnostics.gradient_moments(grads, logits, key, num_replicates=repeats, chunk_size=10)
        return found.mean, found.variance

    return measure


def tuner(method: Method, draws: int, steps: int) -> Any:
    """So many steps of tuning where the networks stand still."""

    def tune(decoder: Any, logits: Any, xs: Any, tuned: Any, key: Any) -> Any:
        def step(tuned: Any, now: Any) -> Any:
            grads = lambda tuning: logit_grads(method, draws, decoder, logits, xs, now, tuning)
            return method.tuned(grads, tuned)[1], None

        return jax.lax.scan(step, tuned, jax.random.split(key, steps))[0]

    return tune


def bias(found: dict[str, tuple[Any, Any]], name: str, repeats: int) -> tuple[float, float]:
    """Squared distance of a method's mean from the gradient, relative to the gradient's square, with its standard error.

    The gradient is the mean of the other methods' means that have no bias, each weighed by its precision. Both noises are taken off
    the squares, so that what is left of an unbiased method is 0, give or take the error.
    """
    others = [(mean, variance) for other, (mean, variance) in found.items() if other != name and not VAE[other].biased]
    weights = np.array([1 / np.mean(variance) for _, variance in others])
    weights /= weights.sum()
    reference = sum(w * mean for w, (mean, _) in zip(weights, others, strict=True))
    noise = sum(w**2 * variance for w, (_, variance) in zip(weights, others, strict=True)) / repeats
    mean, variance = found[name]
    square = np.mean((mean - reference) ** 2 - variance / repeats - noise, axis=1)  # of each image
    size = np.mean(reference**2 - noise)
    return float(square.mean() / size), float(square.std(ddof=1) / np.sqrt(len(square)) / size)


def path(
    data: Images, *, latents: int, hidden: int, calls: int = 4, batch: int = 100, rate: float = 1e-3, looks: int = 4,
    steps: int = 500, images: int = 50, repeats: int = 100, tuning: int = 100,
) -> Record:  # fmt: skip
    """Every method at ``looks + 1`` places of one training, ``steps`` apart: variance of the gradient in the logits, and bias."""
    key_start, key_train, key_look = jax.random.split(jax.random.key(0), 3)
    guide = VAE[GUIDE]
    begin, stretch = trainer(guide, guide.draws(calls), data, rate, batch, steps)
    stretch = quick_jit(stretch)
    state = begin(start(data, latents, hidden, key_start), latents)
    measures = {n: quick_jit(moments(m, m.draws(calls), repeats)) for n, m in VAE.items()}
    tuners = {n: quick_jit(tuner(m, m.draws(calls), tuning)) for n, m in VAE.items() if m.tuning}
    tunings = {n: m.begin(latents) for n, m in VAE.items()}
    variance: dict[str, list[float]] = {n: [] for n in VAE}
    biases: dict[str, list[tuple[float, float]]] = {n: [] for n in VAE}
    xs, sizes, clock = jnp.asarray(data.test[:images]), [], time.perf_counter()
    for look in range(looks + 1):
        state = state if look == 0 else stretch(state, jax.random.fold_in(key_train, look))
        params = state[0]
        logits, found = encode(params["encoder"], xs), {}
        for n in VAE:
            key_tune, key_moments = jax.random.split(
                jax.random.fold_in(jax.random.fold_in(key_look, look), list(VAE).index(n))
            )
            if n in tuners:
                tunings[n] = tuners[n](params["decoder"], logits, xs, tunings[n], key_tune)
            found[n] = tuple(map(np.asarray, measures[n](params["decoder"], logits, xs, tunings[n][0], key_moments)))
            variance[n].append(float(found[n][1].mean()))
        for n in VAE:
            biases[n].append(bias(found, n, repeats))
        sizes.append(float(np.mean(found[GUIDE][0] ** 2 - found[GUIDE][1] / repeats)))
    learned = {
        "data": data.name, "latents": latents, "hidden": hidden, "calls": calls,
        "images": images, "repeats": repeats, "tuning": tuning, "guide": guide.label,
        "steps": [look * steps for look in range(looks + 1)],
        "variance": variance, "bias": biases, "square": sizes, "spent": {n: m.spent(calls) for n, m in VAE.items()},
    }  # fmt: skip
    return {"found": learned, "times": {"seconds": time.perf_counter() - clock}}
