"""Programs over all their uniforms, which are cut where a draw changes: a mean over all cells is an expectation, exactly.

Probabilities are whole quarters (of options among the others: sixths), so that the middles of so many cells are all uniforms there are.
A program is ``(p, draw) -> cost``, and ``draw(i, dist)`` its choice number i, which uses uniforms i, i + 1, ... of a table.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jax_scorefn as sf
from jax_scorefn.distributions import _base
from jax_scorefn.programs.sites import _coupled

P = np.array([0.25, 0.5, 0.75])
CELLS, OTHER = 4, 6
KEYS = [jax.random.fold_in(jax.random.key(0), i) for i in range(2)]
"""Of two runs, which use the same uniforms."""


def flip(p):
    return sf.Bernoulli(probs=p)


def one_of_three(p):
    """A quarter, a quarter and a half, in this order or another."""
    return sf.Categorical(probs=jnp.stack([p[0], 1 - p[0] - p[1], p[1]]))


def pick(p, i):
    return jnp.take(p, i.astype(int))


def chain(p, draw):
    a = draw(0, flip(p[0]))
    b = draw(1, flip(pick(p, a)))
    c = draw(2, flip(pick(p, a + b)))
    return jnp.sin(a + 2 * b * p[1] + 3 * c) * p[2] + a * c


def scanned(p, draw):
    def step(x, i):
        b = draw(i, flip(pick(p, jnp.clip(x, 0, 2))))
        return x + 2 * b - 1, x**2 * b + p[1] * x

    last, costs = lax.scan(step, 1.0, jnp.arange(4))
    return jnp.cos(last) + jnp.sum(costs)


def backwards(p, draw):
    def step(x, i):
        b = draw(i, flip(pick(p, x)))
        return b + x * (1 - b), b * (i.astype(float) + 1) * p[0]

    last, costs = lax.scan(step, 0.0, jnp.arange(3), reverse=True)
    return jnp.sum(costs**2) * (1 + last)


def scan_in_scan(p, draw):
    def outer(x, i):
        def inner(y, j):
            b = draw(2 * i + j, flip(pick(p, jnp.abs(y) % 3)))
            return y + b, y * b

        y, found = lax.scan(inner, x, jnp.arange(2))
        return y, jnp.sum(found) * p[1]

    last, costs = lax.scan(outer, 0.0, jnp.arange(2))
    return jnp.sum(costs) * last + jnp.sqrt(1 + last)


def branches(p, draw):
    a = draw(0, flip(p[1]))
    b = lax.cond(a > 0, lambda: draw(1, flip(p[0])) * 2.0, lambda: draw(2, flip(p[2])) - p[1] + draw(1, flip(p[1])))
    return jnp.exp(b * p[2]) * (1 + a)


def plate(p, draw):
    """A shared root, and what hangs on it; costs of their own."""
    root = draw(0, flip(p[2]))
    leaves = jax.vmap(lambda i, w: w * draw(i, flip(pick(p, root + 1))) + root)(
        jnp.arange(1, 4), jnp.array([1.0, -2.0, 3.0])
    )
    return jnp.sum(leaves**2 * p[0])


def vector(p, draw):
    """One site of three elements, and a cost that mixes them."""
    x = draw(0, flip(p))
    y = draw(3, flip(pick(p, x[0] + x[1])))
    return jnp.sum(x * jnp.arange(1.0, 4.0)) ** 2 * y + jnp.sum(x)


def table(p, draw):
    """A category that points into a table of the next one."""
    rows = jnp.stack([jnp.stack([p[0], 1 - p[0] - p[1], p[1]]), jnp.stack([p[1], p[0], 1 - p[0] - p[1]])])
    a = draw(0, one_of_three(p))
    b = draw(1, sf.Categorical(probs=rows[a % 2]))
    return jnp.array([1.0, -0.5, 2.0])[a] * p[2] + (a - b).astype(float) ** 2


def one_hot(p, draw):
    row = draw(0, sf.OneHotCategorical(probs=jnp.stack([p[0], 1 - p[0] - p[1], p[1]])))
    x = row @ jnp.array([1.0, 2.0, 4.0])
    return x**2 * p[1] + draw(1, flip(pick(p, row[2]))) * x


def trials(p, draw):
    """A count of a count."""
    n = draw(0, sf.Binomial(total_count=2, probs=p[1]))
    k = draw(1, sf.Binomial(total_count=n, probs=p[1])).astype(float)
    return (k - p[0]) ** 2 * (1 + n.astype(float))


def sorting(p, draw):
    x = draw(0, flip(p)) * jnp.array([3.0, 2.0, 1.0])
    return jnp.sort(x)[1] * p[2] + jnp.max(x) + draw(3, flip(pick(p, jnp.argmax(x))))


def between(p, draw):
    """A pathwise value that carries a derivative into the next probability, and has the value 1/4 there."""
    a = draw(0, flip(p[0]))
    w = p[1] * (0.3 + a) * jnp.exp(p[2])
    b = draw(1, flip(0.25 + w - lax.stop_gradient(w)))
    return b * w + a * b


def stops(p, draw):
    """A loop that ends by itself."""

    def body(s):
        x, t = s
        b = draw(t, flip(pick(p, x)))
        return x + b, t + 1

    x, t = sf.programs.while_loop(lambda s: (s[0] < 2) & (s[1] < 4), body, (0.0, 0), max_steps=4)
    return x * t + p[0] * t**2


def recomputed(p, draw):
    f = jax.checkpoint(lambda x: draw(1, flip(pick(p, x))) * p[2] + x)
    a = draw(0, flip(p[1]))
    return f(a) ** 2 + draw(2, flip(pick(p, a)))


def support(p, draw):
    """Of a given support, a pytree."""
    values = {"a": jnp.array([0.0, 1.0, 3.0]), "b": jnp.array([[1.0, 2.0], [0.0, 1.0], [5.0, 0.0]])}
    logits = jnp.log(jnp.stack([p[0], 1 - p[0] - p[1], p[1]]))
    family = sf.family(log_prob=lambda l, x: l @ (x["a"] == values["a"]).astype(float), support=values)
    x = draw(0, family.at(logits))
    return x["a"] * x["b"][0] * p[2] + draw(1, flip(pick(p, x["a"] > 1)))


def windows(p, draw):
    """Each cost sees two neighbours, of one site, and the first element of all is seen by another cost too."""
    x = draw(0, flip(jnp.concatenate([p, p[:1]])))
    return jnp.sum(jnp.sin(x[1:] + 2 * x[:-1]) * p[1]) + jnp.sum(jnp.where(jnp.arange(4) == 2, jnp.exp(x), 0))


def apart(p, draw):
    """Steps of a scan that have nothing to do with each other, of two bits each."""

    def step(c, i):
        x = draw(2 * i, flip(p[:2]))
        return c + 1, x**2 * jnp.cos(c) + x * p[2]

    return jnp.sum(lax.scan(step, 0.3, jnp.arange(2))[1])


def layers(p, draw):
    """A plate whose second layer sees a neighbour of the first."""
    x = draw(0, flip(p[:2]))
    y = draw(2, flip(jax.vmap(functools.partial(pick, p))(x + jnp.roll(x, 1))))
    return jnp.sum((y + x) ** 2 * p[:2])


def through(p, draw):
    """The cost is of the second choice alone."""
    a = draw(0, flip(p[0]))
    return draw(1, flip(pick(p, a + 1))) * p[2]


def added(p, draw):
    """Costs of a scan that are added up, and one of its last state."""

    def step(x, i):
        b = draw(i, flip(pick(p, jnp.clip(x, 0, 2))))
        return x + 2 * b - 1, x**2 * b + p[1] * x

    last, costs = lax.scan(step, 1.0, jnp.arange(3))
    return jnp.cos(last) + jnp.sum(costs)


def forgets(p, draw):
    """A state that comes back to what it was."""

    def step(x, i):
        b = draw(i, flip(pick(p, x)))
        return (x + 1) % 3 * b, jnp.exp(x * p[1])

    last, costs = lax.scan(step, 0.0, jnp.arange(3))
    return jnp.sum(costs) * p[2] + last


def added_backwards(p, draw):
    def step(x, i):
        b = draw(i, flip(pick(p, x)))
        return b + x * (1 - b), (b + x) ** 2 * p[0]

    last, costs = lax.scan(step, 0.0, jnp.arange(3), reverse=True)
    return jnp.mean(costs) - last**2


def two_in_a_step(p, draw):
    """The second is in a branch."""

    def step(x, i):
        a = draw(2 * i, flip(pick(p, x)))
        b = lax.cond(a > 0, lambda: draw(2 * i + 1, flip(p[0])) + p[2], lambda: 2.0 - x)
        return a, b * (1 + x)

    last, costs = lax.scan(step, 1.0, jnp.arange(2))
    return jnp.sum(costs) + last * p[1]


def nested(p, draw):
    """Costs that are added up in a scan in a scan."""

    def outer(x, i):
        def inner(y, j):
            b = draw(2 * i + j, flip(pick(p, y)))
            return (y + b) % 3, y * b * p[1]

        y, found = lax.scan(inner, x, jnp.arange(2))
        return y, jnp.sum(found) + y

    last, costs = lax.scan(outer, 0.0, jnp.arange(2))
    return jnp.sum(costs) + jnp.sqrt(1 + last)


def before_and_after(p, draw):
    a = draw(0, flip(p[0]))

    def step(x, i):
        b = draw(i, flip(pick(p, x)))
        return jnp.minimum(x * b + a, 2), b * p[0]

    last, costs = lax.scan(step, a, jnp.arange(1, 3))
    return draw(3, flip(pick(p, last))) * (1 + last) + jnp.sum(costs) * a


def gathers(p, draw):
    """Rows of a table at a drawn index, in a map."""
    rows = jnp.array([[0.0, 1.0, -1.0], [2.0, 0.5, 1.0]])
    k = draw(0, flip(p[:2])).astype(int)
    seen = jax.vmap(lambda i: rows[i, (i + 1) % 3])(k)
    return jnp.prod(seen + p[2]) + draw(2, flip(p[k.sum()])) * rows[k[0], k[1]]


def ranks(p, draw):
    """The order of what was drawn decides who comes next."""
    x = jnp.array([0.5, 0.4, 0.3]) + draw(0, flip(p))
    order = jnp.argsort(x)
    return p[order[0]] * x[order[2]] + draw(3, flip(p[order[1]])) * jnp.median(x)


def stops_in_a_map(p, draw):
    """Loops that end by themselves, one beside the other."""

    def run(start, first):
        def body(s):
            x, t = s
            return x + draw(first + t, flip(pick(p, x))), t + 1

        return sf.programs.while_loop(lambda s: (s[0] < 2) & (s[1] < 2), body, (start, 0), max_steps=2)

    x, t = jax.vmap(run)(jnp.array([0.0, 1.0]), jnp.array([0, 2]))
    return jnp.sum(x * p[:2]) * jnp.sum(t).astype(float) + jnp.prod(t.astype(float) + p[0])


def joined(p, draw):
    """A bit and a category that are drawn together."""
    both = draw(0, sf.Joint({"a": flip(p[1]), "b": flip(p[:2])}))
    return (both["a"] + 2 * both["b"][0] - both["b"][1]) ** 2 * p[0] + both["b"][1] * both["a"]


def long_way(p, draw):
    """A choice that reaches the cost by a probability, a path and a branch."""
    a = draw(0, flip(p[2]))
    w = p[0] * a
    b = draw(1, flip(0.5 + (w - lax.stop_gradient(w)) - 0.25 * a))
    c = lax.switch((a + b).astype(int), [lambda: p[0], lambda: draw(2, flip(p[1])) * w, lambda: jnp.sin(w)])
    return (b - c) ** 2 + w


def last_one(p, draw):
    """The cost is an element of what a scan has stacked, and its largest."""
    _, x = lax.scan(lambda x, i: ((y := draw(i, flip(pick(p, x)))) + x * 0, y + x * p[0]), 0.0, jnp.arange(3))
    return x[-1] * jnp.max(x) + x[1]


def values_of_another(p, draw):
    """A given support whose values another choice decides; the rates and uniforms do not know of it."""
    a = draw(0, flip(p[0]))
    logits = jnp.log(jnp.stack([p[0], 1 - p[0] - p[1], p[1]]))
    values = jnp.array([0.0, 1.0, 3.0])
    family = sf.family(
        log_prob=lambda l, x: l @ (x["i"] == values).astype(float), support={"i": values, "v": values * (1 + a)}
    )
    return (draw(1, family.at(logits))["v"] + 1) ** 2 * p[2]


def pairs(p, draw):
    """Sites of their own, two and two of which a cost sees."""

    def of(i):
        x = draw(2 * i, flip(p[i]))
        y = draw(2 * i + 1, flip(pick(p, x + i)))
        return (2 * y - x + i) ** 2 * p[1]

    return of(0) + of(1)


def neighbours(p, draw):
    """Sites of their own, side by side: each cost sees two."""
    x = [draw(i, flip(pick(p, jnp.asarray(i % 3)))) for i in range(4)]
    return sum(jnp.sin(a + 2 * b) * p[1] for a, b in itertools.pairwise(x))


def unlike(p, draw):
    """Two bits of which a cost is, and a category that another cost sees, in a scan of costs that see neither."""
    x, k = draw(0, flip(p[:2])), draw(2, one_of_three(p))
    none = lax.scan(lambda c, i: (c + p[2], c * i), 0.0, jnp.arange(2.0))[1]
    return jnp.prod(1 + x * p[1]) + jnp.array([1.0, -0.5, 2.0])[k] * p[0] + jnp.sum(none)


PROGRAMS = {f.__name__: (f, n, others) for f, n, others in (
    (chain, 3, ()), (scanned, 4, ()), (backwards, 3, ()), (scan_in_scan, 4, ()), (branches, 3, ()), (plate, 4, ()), (vector, 4, ()),
    (table, 2, (0, 1)), (one_hot, 2, (0,)), (trials, 2, (0, 1)), (sorting, 4, ()), (between, 2, ()), (stops, 4, ()),
    (recomputed, 3, ()), (through, 2, ()), (windows, 4, ()), (apart, 4, ()), (layers, 4, ()), (support, 2, (0,)),
    (added, 3, ()), (forgets, 3, ()), (added_backwards, 3, ()), (two_in_a_step, 4, ()), (nested, 4, ()), (before_and_after, 4, ()),
    (gathers, 3, ()), (ranks, 4, ()), (stops_in_a_map, 4, ()), (joined, 3, ()), (long_way, 3, ()), (last_one, 3, ()),
    (values_of_another, 2, (1,)), (pairs, 4, ()), (neighbours, 4, ()), (unlike, 3, (2,)),
)}  # fmt: skip
"""Each with the number of its uniforms, and those whose choices draw the other value too."""


def uniforms(n, others):
    """All combinations of cells: (rows, n) for draws and (rows, n) for other values."""
    middles = lambda number: (np.arange(number) + 0.5) / number
    axes = [middles(CELLS)] * n + [middles(OTHER) if i in others else np.array([0.5]) for i in range(n)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2 * n)
    return grid[:, :n], grid[:, n:]


def _uniform_of(key, n, others):
    """Data of keys that choices use, and the places in a table of what they draw; behind n uniforms those of the other values."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(n))
    part = lambda j: lambda key: jax.random.split(key)[j]
    of_two = [jax.vmap(part(j))(keys) for j in range(2)]  # drawn together, the first of one element
    at = np.arange(n)
    found = [(keys, at)]
    found += [(jax.vmap(part(0))(k), at + j) for k, j in ((of_two[0], 0), (of_two[1], 1))]
    found += [(jax.vmap(part(1))(k), at + j + n) for k, j in ((of_two[0], 0), (of_two[1], 1))]
    found += [(of_two[0], at), (of_two[1], at + (n if others else 1))]  # draw and other value, or two parts by score
    return np.concatenate([jax.random.key_data(k) for k, _ in found]), np.concatenate([places for _, places in found])


def gradients(monkeypatch, name, estimator, beside=None, **options):
    """Value and gradient at all uniforms, of choices whose estimator is that of their number (``estimator(i)`` is static).

    ``beside``: rows of more numbers, and what puts them in: ``(rows, (patch, row) -> None)``. All pairs of the two are run.
    """
    program, n, others = PROGRAMS[name]
    place = {}
    known, start = map(np.concatenate, zip(*(_uniform_of(key, n, others) for key in KEYS), strict=True))

    def uniform(key, like):
        at = jnp.asarray(start)[jnp.argmax(jnp.all(known == jax.random.key_data(key)[None], axis=1))]
        size = int(np.prod(like.shape))
        return lax.dynamic_slice(place["table"], (at,), (size,)).reshape(like.shape).astype(like.dtype)

    monkeypatch.setattr(_base, "uniform", uniform)
    monkeypatch.setattr(_coupled, "uniform", uniform)
    monkeypatch.setattr(
        sf.distributions._family.samplers,
        "categorical",
        lambda key, logits: jnp.sum(
            jnp.cumsum(jnp.exp(logits)) <= uniform(key, jax.ShapeDtypeStruct((), logits.dtype)), dtype=jnp.int32
        ),
    )
    monkeypatch.setattr(
        sf.Binomial, "sample", lambda self, key: self.alternative(uniform(key, self.uniform_like()), jnp.zeros(())).draw
    )

    def run(p, key):
        number = itertools.count()
        draw = lambda i, dist: sf.sample(jax.random.fold_in(key, i), dist, estimator=estimator(next(number)), name="z")
        return program(p, draw)

    def at(row, other, numbers):
        place["table"], place["beside"] = jnp.concatenate([row, other]), numbers
        with pytest.MonkeyPatch.context() as patch:
            if beside is not None:
                beside[1](patch, lambda: place["beside"])
            return jax.value_and_grad(sf.expectation(run, **options))(P, jax.random.key(0))

    rows = jnp.zeros((1, 0)) if beside is None else jnp.asarray(beside[0])
    each = jax.vmap(at, (0, 0, None))
    found = jax.jit(lambda rows: lax.map(lambda row: each(*uniforms(n, others), row), rows))(rows)
    return jax.tree.map(lambda x: np.reshape(x, (-1, *x.shape[2:])), found)


@functools.cache
def truth(name):
    with pytest.MonkeyPatch.context() as patch:
        values, grads = gradients(patch, name, lambda _: "score")
    return values.mean(), grads.mean(axis=0)
