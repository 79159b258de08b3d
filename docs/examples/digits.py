# %% [markdown]
# # Digits in six bits
#
# A variational autoencoder whose latents are bits: an encoder says how likely each bit of a digit's code is, a decoder draws the digit
# from the code. What is learned is the evidence lower bound, E[log p(x | z)] - KL(q(z | x), p(z)). The second part has a closed form.
#
# A bit has no derivative in its probability, so `jax.grad` gives the encoder nothing of the first part. `sf.score_function` does, with
# any number of draws. For few bits there is more: `sf.rao_blackwell` sums out one bit after the other, and `sf.exact` all codes.
#
# As a script: `pip install "jax_scorefn[training]" flax scikit-learn matplotlib`, then `python digits.py`.

# %%
import sys

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax
from flax import nnx
from jax.flatten_util import ravel_pytree
from sklearn.datasets import load_digits

import jax_scorefn as sf

images = jnp.asarray(load_digits().data > 7.5, jnp.float32)  # 1797 of 8 x 8 pixels, each 0 or 1
train, test = images[:1500], images[1500:]
BITS = 6


class Autoencoder(nnx.Module):
    def __init__(self, rngs):
        self.encoder = nnx.Sequential(nnx.Linear(64, 64, rngs=rngs), nnx.leaky_relu, nnx.Linear(64, BITS, rngs=rngs))
        self.decoder = nnx.Sequential(nnx.Linear(BITS, 64, rngs=rngs), nnx.leaky_relu, nnx.Linear(64, 64, rngs=rngs))


graph, start = nnx.split(Autoencoder(nnx.Rngs(0)))  # start is a pytree of arrays, to be differentiated and trained
code = sf.family(lambda logits: sf.Bernoulli(logits=logits))
prior = sf.Bernoulli(logits=jnp.zeros(BITS))


def elbo(estimate, params, x, key):
    """The bound of each image. What is estimated holds the decoder, whose gradient comes along, and nothing of the encoder."""
    model = nnx.merge(graph, params)

    def one(logits, x, key):
        log_likelihood = lambda z: sf.Bernoulli(logits=model.decoder(z)).log_prob(x)
        return estimate(log_likelihood, code, logits, key) - sf.kl(code.at(logits), prior)

    return jax.vmap(one)(model.encoder(x), x, jax.random.split(key, len(x)))


estimators = {
    "score function, 2 draws": lambda *args: sf.score_function(*args, num_samples=2),
    "score function, 12 draws": lambda *args: sf.score_function(*args, num_samples=12),
    "one bit at a time": lambda *args: sf.rao_blackwell(*args, num_samples=1),  # asks the decoder 12 times
    "exact": lambda f, code, logits, key: sf.exact(f, code, logits),  # 64 times
}

# %% [markdown]
# 400 updates of Adam from 64 images each. The bound of held-out digits is summed over all codes, whichever way it was trained:

# %%
held_out = jax.jit(lambda params: elbo(estimators["exact"], params, test, jax.random.key(0)))
fitted = {}
for name in ("score function, 2 draws", "one bit at a time", "exact"):

    def loss(params, key, name=name):
        key_batch, key = jax.random.split(key)
        return -elbo(estimators[name], params, jax.random.choice(key_batch, train, (64,)), key).mean()

    fitted[name] = sf.training.fit(loss, start, optax.adam(5e-3), jax.random.key(1), 400, progress=sys.stderr.isatty())

print(f"{'start':25s} {held_out(start).mean():6.2f} nats")
for name, found in fitted.items():
    bound = held_out(found.params)
    short = held_out(fitted["exact"].params) - bound
    error = short.std() / len(test) ** 0.5
    print(f"{name:25s} {bound.mean():6.2f} nats, {short.mean():.2f} +- {error:.2f} below exact")

# %% [markdown]
# Less noise in the gradient, a better bound after as many updates. Here is the noise: 50 gradients of the encoder at what two draws
# have learned, for the same 50 images. At the price of 12 evaluations of the decoder, summing out each bit is nearer than 12 draws.

# %%
params = fitted["score function, 2 draws"].params


def of_encoder(estimate, key):
    grads = jax.grad(lambda params: elbo(estimate, params, train[:50], key).mean())(params)
    return ravel_pytree(grads["encoder"])[0]


right = jax.jit(of_encoder, static_argnums=0)(estimators["exact"], jax.random.key(0))
print(f"length of the exact gradient {jnp.linalg.norm(right):.2f}")
for name in list(estimators)[:3]:
    grads = jax.jit(lambda keys, name=name: jax.lax.map(lambda key: of_encoder(estimators[name], key), keys))
    error = jnp.sqrt(((grads(jax.random.split(jax.random.key(2), 50)) - right) ** 2).sum(axis=1).mean())
    print(f"{name:25s} distance from it {error:.2f}")

# %%
model = nnx.merge(graph, fitted["one bit at a time"].params)
likeliest = (model.encoder(test[:10]) > 0).astype(float)
rows = jnp.stack([test[:10], jax.nn.sigmoid(model.decoder(likeliest))]).reshape(2, 10, 8, 8)
rows = jnp.pad(rows, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=jnp.nan)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", width_ratios=(1, 1.5))
for (name, found), color in zip(fitted.items(), ("C0", "C1", "0.6"), strict=True):
    left.plot(range(10, 400, 20), -found.history["loss"].reshape(-1, 20).mean(axis=1), color=color, label=name)
left.set(xlabel="update", ylabel="bound, nats", ylim=(-27, -19))
left.legend()
right.imshow(rows.transpose(0, 2, 1, 3).reshape(20, 100))
right.set(title="held-out digits, and what is drawn from six bits of each")
right.axis("off")
plt.show()
