"""Programs as people write them: in some a derivative is lost, on the lines that say ``# lost``; in the others none is.

All of them are functions of (p, key), with p an array of three floats between 0 and 1.
"""

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn as sf

TABLE = jnp.array([1.0, -2.0, 4.0, 0.5, 3.0, 2.5, -1.0, 0.0])
DATA = np.linspace(-1.0, 2.0, 12).astype(np.float32).reshape(4, 3)
LOSSY, LOSSLESS = {}, {}


def lossy(f):
    LOSSY[f.__name__] = f
    return f


def lossless(f):
    LOSSLESS[f.__name__] = f
    return f


# ------------------------------------------------------------------------------------------------- draws that are no choices


@lossy
def categorical(p, key):
    action = jax.random.categorical(key, p)  # lost
    return TABLE[action]


@lossy
def bernoulli(p, key):
    return jnp.sum(jax.random.bernoulli(key, jax.nn.sigmoid(p)) * p)  # lost


@lossy
def uniform_below(p, key):
    hit = jax.random.uniform(key, (3,)) < jax.nn.sigmoid(p)  # lost
    return jnp.sum(jnp.where(hit, 2.0, 1.0))


@lossy
def step_of_a_normal(p, key):
    x = p + jax.random.normal(key, (3,))
    return jnp.mean(jnp.where(x > 0.0, 1.0, 0.0))  # lost


@lossy
def choice(p, key):
    return jax.random.choice(key, TABLE[:3], p=jax.nn.softmax(p))  # lost


@lossy
def scan_of_coins(p, key):
    def step(x, k):
        up = jax.random.uniform(k) < jax.nn.sigmoid(p[0] - x)  # lost
        x = x + jnp.where(up, 1.0, -1.0)
        return x, x**2

    return jnp.sum(jax.lax.scan(step, 0.0, jax.random.split(key, 5))[1])


@lossy
def poisson(p, key):
    counts = jax.random.poisson(key, jnp.exp(p))  # lost
    return jnp.sum(counts.astype(jnp.float32) * 0.5)


@lossy
def geometric(p, key):
    return jnp.sum(jnp.sqrt(jax.random.geometric(key, jax.nn.sigmoid(p)).astype(jnp.float32)))  # lost


@lossy
def binomial(p, key):
    return jnp.sum(jax.random.binomial(key, 10.0, jax.nn.sigmoid(p)) ** 2)  # lost


@lossy
def vmapped_coins(p, key):
    keys = jax.random.split(key, 3)
    coins = jax.vmap(lambda k, q: jax.random.bernoulli(k, q))(keys, jax.nn.sigmoid(p))  # lost
    return jnp.mean(jnp.where(coins, 1.0 + p, 0.5))


@lossy
def gumbel_argmax(p, key):
    best = jnp.argmax(p + jax.random.gumbel(key, (3,)))  # lost
    return jax.nn.one_hot(best, 3) @ TABLE[:3]


@lossy
def metropolis(p, key):
    move, decide = jax.random.split(key)
    x = jnp.zeros(3)
    y = x + jax.random.normal(move, (3,))
    log_ratio = -0.5 * jnp.sum((y - p) ** 2 - (x - p) ** 2)
    accept = jnp.log(jax.random.uniform(decide)) < log_ratio  # lost
    return jnp.sum(jnp.where(accept, y, x) ** 2)


@lossy
def poisson_by_hand(p, key):
    limit = jnp.exp(-jnp.exp(p[0]))

    def body(state):
        n, product, k = state
        k, sub = jax.random.split(k)
        return n + 1, product * jax.random.uniform(sub), k

    return jax.lax.while_loop(lambda s: s[1] > limit, body, (0, 1.0, key))[0] - 1.0  # lost


@lossy
def step_behind_a_choice_along_its_path(p, key):
    x = sf.sample(key, sf.Normal(loc=p, scale=1.0), estimator="pathwise")
    return jnp.sum((x > 0.5) * TABLE[:3])  # lost


@lossy
def hard_dropout_of_a_learned_rate(p, key):
    keep = jax.random.bernoulli(key, jax.nn.sigmoid(p), (4, 3))  # lost
    return jnp.mean(jnp.where(keep, DATA / jax.nn.sigmoid(p), 0.0) ** 2)


# ------------------------------------------------------------------------------------------------- steps without a draw


@lossy
def rounded(p, key):
    return jnp.sum(jnp.round(p * 5.0) * p)  # lost


@lossy
def binned(p, key):
    return jnp.sum(TABLE[jnp.floor(p * 6.0).astype(int)])  # lost


@lossy
def signs(p, key):
    return jnp.sum(jnp.sign(p - 0.4) * TABLE[:3])  # lost


@lossy
def best_of(p, key):
    return TABLE[jnp.argmax(p)]  # lost


@lossy
def ranks(p, key):
    order = jnp.argsort(p)  # lost
    return jnp.sum(TABLE[order] * jnp.arange(3.0))


@lossy
def cast(p, key):
    return jnp.sum((p * 10.0).astype(jnp.int32)) * 0.1  # lost


@lossy
def stopped(p, key):
    target = jax.lax.stop_gradient(p**2)  # lost
    return jnp.sum(target * 3.0)


@lossy
def largest_two(p, key):
    _, which = jax.lax.top_k(p, 2)  # lost
    return jnp.sum(TABLE[which])


@lossy
def bucket(p, key):
    return jnp.sum(TABLE[jnp.searchsorted(jnp.array([0.1, 0.3, 0.5]), p)])  # lost


@lossy
def branch(p, key):
    return jax.lax.cond(p[0] > 0.4, lambda x: jnp.sum(x), lambda x: -jnp.sum(x), p)  # lost


@lossy
def inner_jit(p, key):
    @jax.jit
    def quantize(x):
        y = 8.0 * x
        return jnp.round(y) / 8.0  # lost

    return jnp.sum(quantize(p) + quantize(2.0 * p))


@lossy
def share_above(p, key):
    return jnp.mean(p @ DATA.T > 1.5)  # lost


@lossy
def penalty_on_the_slope_of_relu(p, key):
    slope = jax.vmap(jax.grad(lambda x: jnp.sum(jax.nn.relu(x - p))))(DATA)  # lost
    return jnp.mean(slope**2)


@lossy
def is_the_largest(p, key):
    return jnp.sum((p == jnp.max(p)) * TABLE[:3])  # lost


@lossy
def hard_threshold(p, key):
    return jnp.sum(jax.checkpoint(lambda x: jnp.where(jnp.abs(x) > 0.4, x, 0.0))(p))  # lost


# ------------------------------------------------------------------------------------------------- nothing is lost


@lossless
def network(p, key):
    return jnp.mean(jnp.tanh(jax.nn.relu(DATA * p) @ jnp.ones(3)))


@lossless
def activations(p, key):
    some = (
        jax.nn.relu6,
        jax.nn.gelu,
        jax.nn.elu,
        jax.nn.leaky_relu,
        jax.nn.hard_tanh,
        jax.nn.softplus,
        jax.nn.silu,
        jax.nn.selu,
    )
    return sum(jnp.sum(f(p - 0.4)) for f in some)


@lossless
def largest(p, key):
    return jnp.max(p) + jnp.sum(jnp.maximum(p, 0.4)) + jax.lax.top_k(p, 2)[0] @ jnp.ones(2)


@lossless
def sorted_values(p, key):
    return jnp.sort(p) @ TABLE[:3]


@lossless
def clipped(p, key):
    return jnp.sum(jnp.clip(p, 0.3, 0.45)) + jnp.sum(jnp.abs(p - 0.4))


@lossless
def relu_by_where(p, key):
    x = p - 0.4
    return jnp.sum(jnp.where(x > 0.0, x, 0.0) + jnp.where(x >= 0.0, x, 0.1 * x))


@lossless
def relu_by_product(p, key):
    x = p - 0.4
    return jnp.sum((x > 0.0) * x + jnp.sign(x) * x)


@lossless
def huber(p, key):
    x = 5.0 * (p - 0.4)
    return jnp.sum(jnp.where(jnp.abs(x) < 1.0, 0.5 * x**2, jnp.abs(x) - 0.5))


@lossless
def double_where(p, key):
    x = p - 0.4
    safe = jnp.where(x > 0.0, x, 1.0)
    return jnp.sum(jnp.where(x > 0.0, safe * jnp.log(safe), 0.0))


@lossless
def attention(p, key):
    scores = DATA * p @ DATA.T
    causal = jnp.tril(jnp.ones((4, 4), bool))
    weights = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), axis=-1)
    return jnp.sum(weights @ DATA) + jax.nn.logsumexp(p) + jax.nn.log_softmax(p)[0]


@lossless
def middle(p, key):
    return jnp.median(p) + jnp.quantile(p, 0.3)


@lossless
def interpolated(p, key):
    return jnp.sum(jnp.interp(p, jnp.array([0.0, 0.3, 0.5, 1.0]), TABLE[:4]))


@lossless
def clipped_by_norm(p, key):
    norm = jnp.sqrt(jnp.sum(p**2))
    return jnp.sum(jnp.where(norm > 0.7, 0.7 * p / norm, p))


@lossless
def safe_direction(p, key):
    norm = jnp.linalg.norm(p)
    return jnp.sum(jnp.where(norm > 0.0, p / norm, 0.0))


@lossless
def without_nan(p, key):
    x = jnp.where(jnp.isnan(p), 0.0, p)
    return jnp.sum(jnp.nan_to_num(x)) + jnp.sum(jnp.where(jnp.isfinite(x), x, 0.0))


@lossless
def dropout(p, key):
    keep = jax.random.bernoulli(key, 0.5, (4, 3))
    return jnp.mean(jnp.where(keep, DATA * p / 0.5, 0.0) ** 2)


@lossless
def masked_data(p, key):
    observed, labels = DATA > 0.0, jnp.argmax(jnp.asarray(DATA), axis=1)
    return jnp.sum(jnp.where(observed, DATA - p, 0.0) ** 2) - jnp.mean(jax.nn.log_softmax(p)[labels])


@lossless
def metrics_on_the_side(p, key):
    loss = jnp.mean((DATA @ p - 1.0) ** 2)
    correct = jnp.mean((DATA @ p > 0.5) == (DATA[:, 0] > 0.0))
    jax.debug.callback(lambda x: None, correct)
    return loss


@lossless
def walk_of_choices(p, key):
    def step(x, k):
        up = sf.sample(k, sf.Bernoulli(logits=p[0] - x))
        x = jnp.where(x + up > 2.0, 0.0, x + up)
        return x, jnp.where(x > 1.0, x, 0.3)

    return jnp.sum(jax.lax.scan(step, 0.0, jax.random.split(key, 4))[1])


@lossless
def choice_among_rows(p, key):
    a = sf.sample(key, sf.Categorical(logits=p))
    return TABLE[a] + jnp.where(a == 1, 1.0, 0.0) + jax.lax.cond(a > 1, lambda: 2.0, lambda: 0.0)


@lossless
def smooth_of_a_path(p, key):
    x = sf.sample(key, sf.Normal(loc=p, scale=jax.nn.softplus(p)), estimator="pathwise")
    return jnp.sum(jnp.cos(x) + jax.nn.relu(x))


@lossless
def samplers_with_a_path(p, key):
    keys = jax.random.split(key, 5)
    a = jnp.exp(p)
    some = jax.random.gamma(keys[0], a) + jax.random.beta(keys[1], a, 2.0) + jax.random.dirichlet(keys[2], a)
    return jnp.sum(some + jax.random.t(keys[3], 4.0 + a, (3,))) + jnp.sum(
        jax.random.truncated_normal(keys[4], -1.0 - a, 1.0, (3,))
    )


IMPLICIT = {"samplers_with_a_path"}
"""With gamma draws, whose derivative is that of another path with the same distribution: along that of one key they jump."""


@lossless
def recurrent(p, key):
    def step(h, x):
        h = jnp.tanh(p * h + x)
        return h, jnp.max(h)

    final, highest = jax.lax.scan(step, jnp.zeros(3), jnp.asarray(DATA))
    return jnp.sum(final) + jnp.sum(highest) + jax.lax.fori_loop(0, 3, lambda i, x: x * p[0], 1.0)


@lossless
def branch_that_meets(p, key):
    x = p[0] - 0.4
    flat = jax.lax.cond(x > 0.0, lambda x: x, lambda x: 0.5 * x, x)
    return flat + jax.lax.cond(DATA[0, 0] > 0.0, lambda x: x, lambda x: -x, p[1])


@lossless
def linear_algebra(p, key):
    a = jnp.eye(3) * 3.0 + jnp.outer(p, p)
    return (
        jnp.linalg.slogdet(a)[1]
        + jnp.sum(jnp.linalg.solve(a, p))
        + jnp.sum(jnp.linalg.eigvalsh(a))
        + jnp.linalg.cholesky(a)[2, 0]
    )


@lossless
def log_densities(p, key):
    some = (
        jax.scipy.stats.norm.logpdf(p)
        + jax.scipy.stats.gamma.logpdf(1.0, jnp.exp(p))
        + jax.scipy.stats.beta.logpdf(0.3, jnp.exp(p), 2.0)
    )
    return jnp.sum(some + jax.scipy.special.xlogy(p, 2.0) + jnp.logaddexp(p, 0.3)) + sf.Laplace(
        loc=p, scale=1.0
    ).log_prob(jnp.zeros(3))


@lossless
def normalized(p, key):
    x = DATA * p
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return jnp.sum(x**3)


@lossless
def distance_to_a_grid(p, key):
    x = 5.0 * p
    return jnp.sum(jnp.abs(x - jnp.round(x)))


@lossless
def updated_rows(p, key):
    x = jnp.zeros((4, 3)).at[jnp.array([0, 2])].add(p).at[1].set(2.0 * p)
    return jnp.sum(jax.lax.dynamic_slice(x, (1, 0), (2, 3)) ** 2)


@lossless
def max_pool(p, key):
    x = jnp.outer(jnp.asarray(DATA[:, 0]), p)
    return jnp.sum(jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (2, 1), (1, 1), "VALID"))


# ------------------------------------------------------------------------------------------------- right, and told of all the same


def reordered(p, key):
    return p[jnp.argsort(p)] @ TABLE[:3]


def interpolated_by_hand(p, key):
    i = jnp.floor(p * 5.0)
    w, j = p * 5.0 - i, i.astype(int)
    return jnp.sum((1.0 - w) * TABLE[j] + w * TABLE[j + 1])


FALSE_ALARMS = {f.__name__: f for f in (reordered, interpolated_by_hand)}
