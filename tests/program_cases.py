"""Programs for the tests of credit: each with parameters and its number of bits. Every construct that a rule is for is in one."""

import jax
import jax.numpy as jnp
from outcomes import bit

P = (0.3, -0.5, 0.8)


def two_depths(p, x, key):
    a = bit(x[0], p[0])
    first = jnp.sin(p[1]) * a + p[0] ** 2
    b = bit(x[1], p[1] + p[2] * a)
    return first + jnp.exp(p[2] * b) * (1 + a)


def three_deep(p, x, key):
    a = bit(x[0], p[0])
    b = bit(x[1], p[1] * (1 + a))
    c = bit(x[2], p[2] - b + a)
    return a**2 * p[0] + jnp.cos(b * p[1]) + (c + 1) ** 3 + a * p[2]


def plates(p, x, key):
    """Two axes, per-element costs, a shared root."""
    root = bit(x[0], p[0])
    z = jax.vmap(jax.vmap(lambda y, s: bit(y, p[1] * s + root)))(
        x[1:].reshape(2, 2), jnp.array([[1.0, 2.0], [0.5, -1.0]])
    )
    costs = (z + p[2]) ** 2 * jnp.array([[1.0, 2.0], [3.0, 4.0]]) + root * z
    return jnp.mean(costs) + jnp.sum(jnp.sum(z, axis=0) * jnp.array([1.0, -2.0]))


def vector_dist(p, x, key):
    """One distribution of three coordinates: three choices."""
    z = bit(x, jnp.stack([p[0], p[1], p[2]]))
    a, b, c = z
    return a * p[0] + jnp.sin(b) * 3 + c**2 * p[1] + z[0] * z[1]


def nonlinear_plate(p, x, key):
    z = jax.vmap(lambda y: bit(y, p[0]))(x)
    return jnp.exp(jnp.sum(z) * p[1]) + jnp.max(z * p[2])


def rollout(p, x, key):
    """Costs stacked."""

    def step(s, y):
        a = bit(y, p[0] + p[1] * s)
        s = 0.5 * s + a - p[2]
        return s, s**2 * a

    return jnp.sum(jax.lax.scan(step, 0.2, x)[1])


def rollout_carry(p, x, key):
    """The same cost in the carry."""

    def step(carry, y):
        s, total = carry
        a = bit(y, p[0] + p[1] * s)
        s = 0.5 * s + a - p[2]
        return (s, total + s**2 * a), None

    return jax.lax.scan(step, (0.2, 0.0), x)[0][1]


def discounted_carry(p, x, key):
    def step(carry, y):
        s, total, g = carry
        a = bit(y, p[0] + p[1] * s)
        s = jnp.tanh(s) + a
        return (s, total + g * s, g * 0.9), None

    return jax.lax.scan(step, (0.1, 0.0, 1.0), x)[0][1]


def backward_return(p, x, key):
    def step(s, y):
        a = bit(y, p[0] + p[1] * s)
        return s + a, (s + a) ** 2

    rewards = jax.lax.scan(step, 0.0, x)[1]
    back = lambda g, r: (r + 0.7 * g, r + 0.7 * g)
    _, returns = jax.lax.scan(back, 0.0, rewards, reverse=True)
    return returns[0] + p[2] * jnp.sum(returns)


def linear_state(p, x, key):
    def step(s, y):
        return 0.8 * s + bit(y, p[0]) * p[1], None

    return jax.lax.scan(step, p[2], x)[0]


def reverse_scan(p, x, key):
    def step(s, y):
        a = bit(y, p[0] + p[1] * s)
        return s + a, s * a + p[2]

    return jnp.sum(jax.lax.scan(step, 0.3, x, reverse=True)[1])


def accumulator_is_read(p, x, key):
    def step(total, y):
        a = bit(y, p[0] + p[1] * total)
        return total + a * p[2], None

    return jax.lax.scan(step, 0.0, x)[0]


def nested_scan_fresh(p, x, key):
    def episode(_, ys):
        def step(s, y):
            a = bit(y, p[0] + p[1] * s)
            return s + a, (s + a) ** 2

        return None, jnp.sum(jax.lax.scan(step, p[2], ys)[1])

    return jnp.sum(jax.lax.scan(episode, None, x.reshape(2, 2))[1])


def nested_scan_carried(p, x, key):
    def episode(s, ys):
        def step(s, y):
            a = bit(y, p[0] + p[1] * s)
            return s + a, (s + a) ** 2

        s, costs = jax.lax.scan(step, s, ys)
        return s, jnp.sum(costs)

    return jnp.sum(jax.lax.scan(episode, p[2], x.reshape(2, 2))[1])


def vmap_of_scan(p, x, key):
    def one(ys):
        def step(s, y):
            a = bit(y, p[0] + p[1] * s)
            return s + a, (s + a) * p[2]

        return jnp.sum(jax.lax.scan(step, 0.0, ys)[1])

    return jnp.mean(jax.vmap(one)(x.reshape(2, 2)))


def scan_of_vmap(p, x, key):
    def step(s, ys):
        a = jax.vmap(lambda y, s: bit(y, p[0] + p[1] * s))(ys, s)
        return s + a, jnp.sum((s + a) ** 2 * jnp.array([1.0, 3.0]))

    return jnp.sum(jax.lax.scan(step, jnp.zeros(2), x.reshape(2, 2))[1]) * p[2]


def cond_on_a_draw(p, x, key):
    a = bit(x[0], p[0])
    y = jax.lax.cond(a > 0.5, lambda: bit(x[1], p[1]) * 2.0 + p[2], lambda: jnp.sin(p[1]) + bit(x[1], p[2]) ** 2)
    return y**2 + a


def cond_in_a_scan(p, x, key):
    def step(s, y):
        a = jax.lax.cond(s > 0.5, lambda: bit(y, p[0] + s), lambda: bit(y, p[1]) * 1.0)
        return s + a - 0.4, s * a

    return jnp.sum(jax.lax.scan(step, p[2], x)[1])


def draw_as_index(p, x, key):
    z = jax.vmap(lambda y: bit(y, p[0]))(x[:2]).astype(int)
    table = jnp.stack([jnp.array([1.0, 2.0]) * p[1], jnp.array([3.0, -1.0])])
    rows = jnp.take_along_axis(table, z[:, None], axis=1)[:, 0]
    c = bit(x[2], p[2] + rows[0])
    return jnp.sum(rows**2) + table[c.astype(int), 0]


def masked_loop(p, x, key):
    """A loop of random length: stop at the first 1."""

    def step(carry, y):
        alive, total = carry
        a = bit(y, p[0])
        total = total + jnp.where(alive, p[1] + a, 0.0)
        return (alive & (a < 0.5), total), None

    return jax.lax.scan(step, (True, 0.0), x)[0][1] ** 2 + p[2]


def while_on_a_draw(p, x, key):
    n = jnp.sum(jax.vmap(lambda y: bit(y, p[0]))(x))
    return jax.lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] * 1.5), (0.0, 1.0))[1] + n * p[1]


def draw_free_loop(p, x, key):
    """A loop whose length is not known when it is traced, and does not depend on a draw."""
    z = bit(x, jnp.ones(3) * p[0])
    n = jax.lax.stop_gradient(jnp.where(p[1] < 0.0, 2, 3))
    w = jax.lax.fori_loop(0, n, lambda i, c: (c[1] * 0.5 + z, c[0] * z + i), (z, z))[0]
    return jnp.sum(jnp.sin(w) * p[2])


def leaf_used_twice(p, x, key):
    z = jax.vmap(lambda y: bit(y, p[0]))(x)
    cost = jnp.sin(z + p[1])
    return jnp.sum(cost) + p[2] * jnp.prod(cost)


def bands(p, x, key):
    z = jax.vmap(lambda y: bit(y, p[0]))(x)
    pairs = z[1:] * z[:-1] + p[1]
    padded = jnp.pad(z, (1, 2)) * jnp.arange(7.0)
    both = jnp.concatenate([z * 2, pairs])
    return (
        jnp.sum(pairs)
        + jnp.sum(padded[:5] ** 2) * p[2]
        + jnp.sum(both**2 * jnp.arange(7.0))
        + jnp.sum(jnp.cumsum(z) ** 2)
    )


def linear_algebra(p, x, key):
    z = jax.vmap(lambda y: bit(y, p[0]))(x).reshape(2, 2)
    m = jnp.eye(2)[None] * (1.0 + z.sum(1))[:, None, None] + 0.1
    low = jnp.linalg.cholesky(m)
    mixed = jnp.einsum("bi,bij->bj", z, low)
    return jnp.sum(mixed**2) * p[1] + jnp.sum(jnp.sort(z, axis=1)[:, 0] * p[2]) + jnp.sum(z @ jnp.array([1.0, 2.0]))


def same_function_twice(p, x, key):
    one = jax.jit(lambda y, logit: bit(y, logit) * 2.0)
    return one(x[0], p[0]) ** 2 + jnp.sin(one(x[1], p[1])) * p[2]


def softened(p, x, key):
    """custom_jvp in between, and a checkpoint with a choice inside."""
    z = jax.vmap(lambda y: bit(y, p[0]))(x[:2])
    inner = jax.checkpoint(lambda q: jnp.sin(q) * bit(x[2], q) + jnp.sum(z))(p[1])
    return jnp.sum(jax.nn.softplus(z * p[2])) + inner**2


def fallbacks(p, x, key):
    """Things without a rule, or whose rule keeps nothing: right all the same."""
    z = jax.vmap(lambda y: bit(y, p[0]))(x)
    flat = (z.reshape(2, 2) + p[1]).reshape(4)
    taken = jnp.take(z, jnp.array([3, 0, 0, 1]))
    scattered = jnp.zeros(5).at[jnp.array([0, 2, 2, 4])].add(z * p[2])
    prefix = jax.lax.associative_scan(lambda a, b: a * b + b, z + 0.5)
    return (
        jnp.sum(flat**2) + jnp.sum(taken**2 * p[1]) + jnp.sum(scattered**3) + jnp.sum(z[::-1] * prefix) + jnp.sum(z[::2] ** 2)
        + jnp.sum(jnp.roll(z, 1) * z) + jnp.sum(jax.lax.dynamic_slice(z, (z[0].astype(int),), (2,)) ** 2)
    )  # fmt: skip


def filled(p, x, key):
    """A gather that fills in a number for what is out of range is not linear."""
    z = jax.vmap(lambda y: bit(y, p[0]))(x)
    taken = (z * p[1]).at[jnp.array([0, 7, 2])].get(mode="fill", fill_value=5.0)
    return jnp.sum(taken) + jnp.sum(jax.lax.pad(z * p[2], 3.0, [(1, -1, 1)]))


WEIGHTS = ((1.0, 2.0), (3.0, 5.0))


def reshaped_in_another_order(p, x, key):
    """A reshape that transposes first, which is what order="F" is."""
    z = bit(x.reshape(2, 2), jnp.array([[0.5, 1.0], [-0.7, 1.2]]) * p[0])
    columns = jnp.ravel(z, order="F").reshape(2, 2) + jax.lax.reshape(z, (2, 2), dimensions=(1, 0))
    return jnp.sum(jnp.exp(columns * p[1]) * jnp.array(WEIGHTS)) + jnp.sum(
        jnp.exp(z.reshape((2, 2, 1), order="F") * p[2]) * jnp.array(WEIGHTS)[:, :, None]
    )


def scan_of_no_length(p, x, key):
    """The first carry goes through untouched, though each iteration would overwrite it."""
    z = bit(x, p[:2])
    swap = lambda length: jax.lax.scan(
        lambda c, _: ((c[1], p[1]), None), (jnp.sum(jnp.sin(z)), p[2]), None, length=length
    )[0]
    (a, b), (c, d) = swap(0), swap(1)
    return a + b + c * d


def overwritten_in_a_nested_scan(p, x, key):
    z = bit(x, p[:2])

    def body(c, y):
        a, _ = jax.lax.scan(lambda ab, _: ((ab[1], p[1]), None), (y, p[2]), None, length=2)[0]
        return c, a

    return jnp.sum(jax.lax.scan(body, 0.0, z)[1]) + jnp.sum(z * p[2])


def delay_line(p, x, key):
    """A dependence that needs more rounds to come around than there are iterations."""

    def step(c, y):
        a = bit(y, p[0] + p[1] * c[-1])
        return (a, *c[:-1]), c[-1] * a + a * p[2]

    return jnp.sum(jax.lax.scan(step, (0.0,) * 110, x)[1])


def masked_infinity(p, x, key):
    """What a mask takes out may be infinite."""
    z = bit(x, jnp.ones(4) * p[0])
    costs = 1 / (z[:2] - jnp.array([2.0, 1.0])) + jnp.exp(z[2:] * p[1])
    return jnp.sum(jnp.where(jnp.array([True, False]), costs, 0.0))


def subtracted_carry(p, x, key):
    """A total from which costs are taken, and one that changes its sign at each step."""

    def step(carry, y):
        s, down, turned = carry
        a = bit(y, p[0] + p[1] * s)
        s = 0.5 * s + a - p[2]
        return (s, down - s * a, s * a - turned), None

    _, down, turned = jax.lax.scan(step, (0.2, 0.0, 0.0), x)[0]
    return down + 2.0 * turned


def masked_carry(p, x, key):
    """A cost in the carry under a mask that no choice decides; what is masked out may be infinite."""

    def step(carry, row):
        s, total = carry
        y, t = row
        a = bit(y, p[0] + p[1] * s)
        s = 0.5 * s + a - p[2]
        reward = s * a + 1 / (a - 1.0 - jnp.where(t < 3, 1.0, 0.0))
        return (s, jnp.where(t < 3, total - reward, total)), None

    return jax.lax.scan(step, (0.2, 0.0), (x, jnp.arange(4)))[0][1]


def masked_reset(p, x, key):
    """A total that starts again at every second step, whatever is drawn."""

    def step(carry, row):
        s, total, lost = carry
        y, t = row
        a = bit(y, p[0] + p[1] * s)
        s = jnp.where(t % 2 == 1, p[1], 0.5 * s + a)
        total = total + s * a * p[2]
        return (s, jnp.where(t % 2 == 1, 0.0, total), jnp.where(t % 2 == 1, lost + total, lost)), None

    return jax.lax.scan(step, (0.2, 0.0, 0.0), (x, jnp.arange(4)))[0][2]


def masked_sums(p, x, key):
    """Cases that are sums, differences and not linear, and a mask that is a scalar."""
    z = bit(x, jnp.ones(4) * p[0])
    w = jnp.tanh(z * p[1])
    u = jnp.where(jnp.array([True, False, True, False]), z - w, -(w + z * p[2]) + 1.0)
    return jnp.sum(jnp.where(jnp.bool_(False), z, u + jnp.sum(z) * w))


CASES = {
    f.__name__: (f, n)
    for f, n in [
        (two_depths, 2), (three_deep, 3), (plates, 5), (vector_dist, 3), (nonlinear_plate, 3), (rollout, 4), (rollout_carry, 4),
        (discounted_carry, 4), (backward_return, 4), (linear_state, 4), (reverse_scan, 4), (accumulator_is_read, 4),
        (nested_scan_fresh, 4), (nested_scan_carried, 4), (vmap_of_scan, 4), (scan_of_vmap, 4), (cond_on_a_draw, 2),
        (cond_in_a_scan, 3), (draw_as_index, 3), (masked_loop, 4), (while_on_a_draw, 3), (draw_free_loop, 3), (leaf_used_twice, 3), (bands, 4),
        (linear_algebra, 4), (same_function_twice, 2), (softened, 3), (fallbacks, 4),
        (filled, 3), (reshaped_in_another_order, 4), (scan_of_no_length, 2), (overwritten_in_a_nested_scan, 2),
        (delay_line, 2), (masked_infinity, 4), (masked_carry, 4), (subtracted_carry, 4), (masked_reset, 4), (masked_sums, 4),
    ]
}  # fmt: skip
