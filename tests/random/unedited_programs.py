"""Programs as people write them, with ``jax.random`` alone: none knows of this library.

After public questions where the gradient was 0 without a word: jax #17555 and #17556 (categories of a matrix of probabilities, and of
a dense layer), #11606 (a model of agents whose infections are Bernoulli draws), #2173 (will draws be differentiable?).
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.random import categorical

# ------------------------------------------------------------------------------------------------- categories


def matching(logits, key):
    """After jax #17555: samples of a matrix of probabilities against a target."""
    samples = jax.random.categorical(key, logits, axis=1)
    return jnp.mean(jnp.square(samples - jnp.array([0.0, 2.0])))


def dense_layer(params, key):
    """After jax #17556: the probabilities are passed as logits, as there."""

    def apply(params, x):
        return jax.nn.softmax(x @ params["kernel"] + params["bias"])

    prob_list = apply(params, jnp.array([[1.0, 1.0, 0.0]]))
    samples = jax.random.categorical(key, prob_list, axis=1)
    return jnp.mean(jnp.square(samples - jnp.array([0.0])))


def switched(logits, key):
    first, second = jax.random.split(key)
    kind = jax.random.categorical(first, logits)
    noise = jax.random.normal(second)
    return lax.switch(kind, [lambda s: s**2, lambda s: 3.0 * s, lambda s: 0.0 * s + 2.0], logits[0] + noise)


def with_replacement(logits, key):
    picked = jax.random.choice(key, jnp.array([1.0, 4.0, 9.0]), (2,), p=jax.nn.softmax(logits))
    return jnp.max(picked)


def without_replacement(logits, key):
    first, second = jax.random.choice(key, 3, (2,), replace=False, p=jax.nn.softmax(logits))
    return jnp.where(first < second, 1.0, 5.0) + second.astype(float)


def by_inversion(logits, key):
    edges = jnp.cumsum(jax.nn.softmax(logits))[:-1]
    return jnp.array([1.0, 4.0, 9.0])[jnp.searchsorted(edges, jax.random.uniform(key))]


def by_gumbels(logits, key):
    noise = jax.random.gumbel(key, (2, 3))
    return jnp.mean(jnp.array([1.0, 4.0, 9.0])[jnp.argmax(logits + noise, axis=-1)])


@jax.jit
def _next_token(key, table, token):
    return jax.random.categorical(key, table[token])


def markov_chain(table, key):
    """Tokens one after the other, by an inner jitted function; a reward for each pair that ascends."""

    def step(token, k):
        following = _next_token(k, table, token)
        return following, (following > token).astype(float)

    _, rewards = lax.scan(step, 0, jax.random.split(key, 3))
    return rewards.sum()


# ------------------------------------------------------------------------------------------------- coins


def agents(p, key):
    """After jax #11606: how many of 20 agents are infected, against 8 that were seen."""
    new_inf = jax.random.bernoulli(key, p=jnp.repeat(p, 20))
    return jnp.square(jnp.sum(1.0 * new_inf) - 8.0)


def epidemic(rate, key):
    """A chain binomial model of 4 people, 1 of them infected: how many fall ill in 3 steps."""

    def step(state, k):
        healthy, ill = state
        catches = jax.random.bernoulli(k, 1 - (1 - rate) ** jnp.sum(ill), (4,))
        new = healthy & catches
        return (healthy & ~new, new), None

    start = jnp.array([True, False, False, False])
    (healthy, _), _ = lax.scan(step, (~start, start), jax.random.split(key, 3))
    return 4.0 - jnp.sum(healthy)


def queue(rate, key):
    """Customers come with probability rate and leave with .5; the time that they wait."""

    def step(waiting, k):
        come, leave = jax.random.split(k)
        waiting = waiting + jax.random.bernoulli(come, rate).astype(int)
        waiting = jnp.maximum(waiting - jax.random.bernoulli(leave, 0.5).astype(int), 0)
        return waiting, waiting

    return lax.scan(step, 0, jax.random.split(key, 4))[1].sum().astype(float)


def spikes(rate, key):
    u = jax.random.uniform(key, (10,))
    return (jnp.sum(u < rate * 0.1) - 3.0) ** 2


def hard_dropout(params, key):
    """A mask with learned rates in front of a tanh layer, mapped over a batch that shares it."""
    mask = jax.random.bernoulli(key, jax.nn.sigmoid(params["rate"])).astype(float)
    out = jax.vmap(lambda x: jnp.tanh(x * mask @ params["w"]))(jnp.array([[1.0, -0.5, 2.0], [0.3, 0.8, -1.0]]))
    return jnp.sum(out**2)


def gated(p, key):
    first, second, third = jax.random.split(key, 3)
    on = jax.random.bernoulli(first, p)
    return lax.cond(on, lambda: p + jax.random.normal(second), lambda: 4.0 * jax.random.bernoulli(third, p**2))


@jax.checkpoint
def _layer(k, x, p):
    return x + jax.random.bernoulli(k, p, (2,)).astype(float) * x


def checkpointed(p, key):
    x = jnp.ones(2)
    for k in jax.random.split(key):
        x = _layer(k, x, p)
    return jnp.sum(x**2)


def counted_loop(p, key):
    def body(i, x):
        return x + jax.random.bernoulli(jax.random.fold_in(key, i), p) * (i + 1.0)

    return lax.fori_loop(0, 3, body, 0.0) ** 2


# ------------------------------------------------------------------------------------------------- counts, mixtures, walks


def photons(rate, key):
    return jnp.sqrt(jax.random.poisson(key, rate) + 1.0)


def waiting_time(p, key):
    return 1.0 / jax.random.geometric(key, p).astype(float)


def insurance(params, key):
    """As many claims as a binomial draw says, each with a normal size: the square of the sum."""
    first, second = jax.random.split(key)
    number = jax.random.binomial(first, 5, params["p"])
    sizes = params["mean"] + jax.random.normal(second, (5,))
    return jnp.sum(jnp.where(jnp.arange(5) < number, sizes, 0.0)) ** 2


def mixture(params, key):
    first, second = jax.random.split(key)
    kind = jax.random.categorical(first, params["logits"])
    return (params["means"][kind] + jax.random.normal(second)) ** 2


def metropolis(strength, key):
    """One step from 1: the proposal is accepted by comparison with a uniform."""
    first, second = jax.random.split(key)
    proposal = 1.0 + jax.random.normal(first)
    accept = jax.random.uniform(second) < jnp.exp(-strength * (proposal**2 - 1.0))
    return jnp.where(accept, proposal, 1.0) ** 2


# ------------------------------------------------------------------------------------------------- told of


def own_name(logits, key):
    return jnp.array([1.0, 4.0, 9.0])[categorical(key, logits)]  # told


def geometric_by_hand(p, key):
    u = jax.random.uniform(key)
    return 1.0 / (jnp.floor(jnp.log1p(-u) / jnp.log1p(-p)) + 1.0)  # told


def noise_used_twice(p, key):
    u = jax.random.uniform(key)
    return jnp.where(u < p, 1.0 + u, 2.0)  # told


def rejection(p, key):
    """The first normal draw above p."""

    def again(carry):
        k, _ = carry
        k, this = jax.random.split(k)
        return k, jax.random.normal(this)

    return lax.while_loop(lambda carry: carry[1] < p, again, (key, -jnp.inf))[1]  # told


def quantized(mean, key):
    return jnp.round(mean + jax.random.normal(key)) ** 2  # told


def straight_through(p, key):
    hard = jax.random.bernoulli(key, p).astype(float)
    soft = p + lax.stop_gradient(hard - p)  # told
    return (soft - 0.45) ** 2


def surrogate(logits, key):
    action = jax.random.categorical(key, logits)
    reward = jnp.array([1.0, 4.0, 9.0])[action]
    return lax.stop_gradient(reward) * jax.nn.log_softmax(logits)[action]  # told


def until_success(p, key):
    def again(carry):
        k, n, _ = carry
        k, this = jax.random.split(k)
        return k, n + 1.0, jax.random.bernoulli(this, p)  # told

    return lax.while_loop(lambda carry: ~carry[2], again, (key, 0.0, False))[1]


def best_of_two(mean, key):
    draws = mean + jax.random.normal(key, (2,))
    return jnp.array([1.0, 3.0])[jnp.argmax(draws**2)] + 0.0 * mean  # told
