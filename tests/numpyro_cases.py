"""NumPyro models whose draws are given, so that every outcome can be summed, and the same written by hand."""

import warnings

import jax
import jax.numpy as jnp

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import numpyro
    import numpyro.distributions as nd
    from numpyro import handlers


class Given(nd.BernoulliLogits):
    """A Bernoulli distribution whose draw is given, so that every outcome can be summed."""

    pytree_data_fields = ("bits",)

    def __init__(self, logits, bits):
        self.bits = bits
        super().__init__(logits)

    def sample(self, key, sample_shape=()):
        return jnp.broadcast_to(self.bits, sample_shape + self.batch_shape).astype(int)


def log_mass(bits, logits):
    return jnp.where(bits > 0, jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits))


# A topic model: two documents, each of a kind c, with three words in the longer and two in the other, each word of a topic z.

WORDS = jnp.array([[0, 2, 1], [3, 0, 0]])
THERE = jnp.array([[True, True, True], [True, True, False]])
TOPICS = {
    "kind": jnp.array(0.3),
    "topic": jnp.array([-0.4, 0.9]),
    "words": jnp.sin(jnp.arange(8.0)).reshape(2, 4),
    "of c": jnp.array([[0.2], [-0.5]]),
    "of z": jnp.array([[0.1, -0.3, 0.6], [0.4, 0.8, -0.2]]),
    "follow": jnp.array(0.7),
}


def parameters(initial):
    return {name: numpyro.param(name, value) for name, value in initial.items()}


def bernoulli(logits, bits):
    return nd.Bernoulli(logits=logits) if bits is None else Given(logits, bits)


def topic_model(bits):
    p = parameters(TOPICS)
    with numpyro.plate("documents", 2, dim=-2):
        c = numpyro.sample("c", nd.Bernoulli(logits=p["kind"]))
        with numpyro.plate("positions", 3, dim=-1), handlers.mask(mask=THERE):
            z = numpyro.sample("z", nd.Bernoulli(logits=p["topic"][c]))
            numpyro.sample("word", nd.Categorical(logits=p["words"][z]), obs=WORDS)
        numpyro.factor("agree", 0.5 * c * p["follow"])


def topic_guide(bits):
    p = parameters(TOPICS)
    with numpyro.plate("documents", 2, dim=-2):
        c = numpyro.sample("c", bernoulli(p["of c"], None if bits is None else bits[:2, None]))
        with numpyro.plate("positions", 3, dim=-1), handlers.mask(mask=THERE):
            numpyro.sample(
                "z", bernoulli(p["of z"] + p["follow"] * c, None if bits is None else bits[2:].reshape(2, 3))
            )


def topics_by_hand(p, bits):
    """Log-probability of an outcome in the guide, and the loss there."""
    c, z = bits[:2, None].astype(int), bits[2:].reshape(2, 3).astype(int)
    of_c, of_z = log_mass(c, p["of c"]), log_mass(z, p["of z"] + p["follow"] * c)
    word = jnp.take_along_axis(jax.nn.log_softmax(p["words"])[z], WORDS[..., None], -1)[..., 0]
    each = jnp.where(THERE, log_mass(z, p["topic"][c]) + word - of_z, 0.0)
    return of_c.sum() + of_z.sum(), -(each.sum() + (log_mass(c, p["kind"]) - of_c + 0.5 * c * p["follow"]).sum())


# A mixture, with a weight for each row: x is of one of two components, and rows count 1, 2 and .5 times.

ROWS, SCALE = jnp.array([-1.0, 0.3, 1.8]), jnp.array([1.0, 2.0, 0.5])
MIXTURE = {"weight": jnp.array(0.4), "means": jnp.array([-0.8, 1.1]), "of z": jnp.array([0.2, -0.6, 0.9])}


def mixture_model(bits, fixed=None):
    p = fixed or parameters(MIXTURE)
    with numpyro.plate("rows", 3), handlers.scale(scale=SCALE):
        z = numpyro.sample("z", nd.Bernoulli(logits=p["weight"]))
        numpyro.sample("x", nd.Normal(p["means"][z], 1.0), obs=ROWS)


def mixture_guide(bits, fixed=None):
    p = parameters(MIXTURE)
    with numpyro.plate("rows", 3), handlers.scale(scale=SCALE):
        numpyro.sample("z", bernoulli(p["of z"], bits))


def mixture_by_hand(p, bits):
    z = bits.astype(int)
    x = -0.5 * (ROWS - p["means"][z]) ** 2 - 0.5 * jnp.log(2 * jnp.pi)
    of_z = log_mass(z, p["of z"])
    return of_z.sum(), -(SCALE * (log_mass(z, p["weight"]) + x - of_z)).sum()


# A continuous draw, along which the guide is differentiated, and bits behind it.

SHIFT = {"loc": jnp.array(0.2), "log scale": jnp.array(-0.5), "slope": jnp.array(0.8), "of z": jnp.array([0.3, -0.4])}
PAIR = jnp.array([0.4, -1.2])


class GivenNormal(nd.Normal):
    """A normal distribution whose noise is given."""

    pytree_data_fields = ("noise",)

    def __init__(self, loc, scale, noise):
        self.noise = noise
        super().__init__(loc, scale)

    def sample(self, key, sample_shape=()):
        return self.loc + self.scale * self.noise


def shift_model(noise, bits):
    shift = numpyro.sample("shift", nd.Normal(0.0, 2.0))
    with numpyro.plate("rows", 2):
        z = numpyro.sample("z", nd.Bernoulli(0.3))
        numpyro.sample("x", nd.Normal(shift * (2.0 * z - 1.0), 1.0), obs=PAIR)


def shift_guide(noise, bits):
    p = parameters(SHIFT)
    shift = numpyro.sample("shift", GivenNormal(p["loc"], jnp.exp(p["log scale"]), noise))
    with numpyro.plate("rows", 2):
        numpyro.sample("z", Given(p["of z"] + p["slope"] * shift, bits))


def shift_by_hand(p, shift, bits):
    """Log-density of the guide, that of the bits alone, and the loss."""
    normal = lambda x, scale: -0.5 * (x / scale) ** 2 - jnp.log(scale) - 0.5 * jnp.log(2 * jnp.pi)
    of_z = log_mass(bits, p["of z"] + p["slope"] * shift).sum()
    of_shift = normal(shift - p["loc"], jnp.exp(p["log scale"]))
    prior = normal(shift, 2.0) + jnp.log(jnp.where(bits > 0, 0.3, 0.7)).sum()
    return of_shift + of_z, of_z, of_shift + of_z - prior - normal(PAIR - shift * (2.0 * bits - 1.0), 1.0).sum()
