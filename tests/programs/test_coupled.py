"""Choices by their alternatives: exact over all uniforms, which are cut where a draw changes, beside the score at the same uniforms.

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
from jax_scorefn.programs import _lane, _lanes
from jax_scorefn.programs.sites import _coupled

pytestmark = pytest.mark.usefixtures("x64", "unchecked_keys")
P = np.array([0.25, 0.5, 0.75])
CELLS, OTHER = 4, 6
KEY = jax.random.fold_in(jax.random.key(0), 0)  # of run 0


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


PROGRAMS = {f.__name__: (f, n, others) for f, n, others in (
    (chain, 3, ()), (scanned, 4, ()), (backwards, 3, ()), (scan_in_scan, 4, ()), (branches, 3, ()), (plate, 4, ()), (vector, 4, ()),
    (table, 2, (0, 1)), (one_hot, 2, (0,)), (trials, 2, (0, 1)), (sorting, 4, ()), (between, 2, ()), (stops, 4, ()),
    (recomputed, 3, ()), (through, 2, ()), (windows, 4, ()), (apart, 4, ()), (layers, 4, ()), (support, 2, (0,)),
)}  # fmt: skip
"""Each with the number of its uniforms, and those whose choices draw the other value too."""


def uniforms(n, others):
    """All combinations of cells: (rows, n) for draws and (rows, n) for other values."""
    middles = lambda number: (np.arange(number) + 0.5) / number
    axes = [middles(CELLS)] * n + [middles(OTHER) if i in others else np.array([0.5]) for i in range(n)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2 * n)
    return grid[:, :n], grid[:, n:]


def gradients(monkeypatch, name, estimator, **options):
    """Value and gradient at all uniforms, of choices whose estimator is that of their number (``estimator(i)`` is static)."""
    program, n, others = PROGRAMS[name]
    keys = jax.vmap(lambda i: jax.random.fold_in(KEY, i))(jnp.arange(n))
    pairs = jax.vmap(jax.random.split)(keys)
    known = jax.random.key_data(jnp.concatenate([keys, pairs[:, 0], pairs[:, 1]]))
    place = {}

    def uniform(key, like):
        at = jnp.argmax(jnp.all(known == jax.random.key_data(key)[None], axis=1))
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

    def at(row, other):
        place["table"] = jnp.concatenate([row, row, other])
        return jax.value_and_grad(sf.expectation(run, **options))(P, jax.random.key(0))

    return jax.jit(jax.vmap(at))(*uniforms(n, others))


@functools.cache
def truth(name):
    with pytest.MonkeyPatch.context() as patch:
        values, grads = gradients(patch, name, lambda _: "score")
    return values.mean(), grads.mean(axis=0)


MIXED = {
    "all": lambda _: "coupled",
    "even": lambda i: "coupled" if i % 2 == 0 else "score",
    "odd": lambda i: "coupled" if i % 2 else "score",
}


@pytest.mark.parametrize("mixed", MIXED)
@pytest.mark.parametrize("name", PROGRAMS)
def test_it_is_exact_over_all_uniforms(name, mixed, monkeypatch):
    value, exact = truth(name)
    values, grads = gradients(monkeypatch, name, MIXED[mixed])
    np.testing.assert_allclose(values.mean(), value, rtol=1e-12)
    np.testing.assert_allclose(grads.mean(axis=0), exact, rtol=1e-12, atol=1e-12)


SUMMED = {
    "first": (
        lambda i: "exact" if i == 0 else "coupled",
        ("chain", "vector", "table", "plate", "branches", "trials", "between"),
    ),
    "last": (lambda i: "coupled" if i == 0 else "exact", ("vector", "table", "one_hot", "between", "sorting")),
    "score between": (lambda i: ("coupled", "exact", "score")[i % 3], ("chain",)),
}


@pytest.mark.parametrize(("which", "name"), [(which, name) for which, (_, names) in SUMMED.items() for name in names])
def test_it_is_exact_beside_choices_that_are_summed(which, name, monkeypatch):
    """In the branches of a choice, and across them."""
    value, exact = truth(name)
    values, grads = gradients(monkeypatch, name, SUMMED[which][0])
    np.testing.assert_allclose(values.mean(), value, rtol=1e-12)
    np.testing.assert_allclose(grads.mean(axis=0), exact, rtol=1e-12, atol=1e-12)


def everywhere(self, iteration):
    return self._replace(iterations=(*self.iterations, 0 * iteration))


LANES = {"plate": 2, "vector": 4, "windows": 2, "apart": 1, "scanned": 4, "layers": 3, "sorting": 4, "table": 2}


@pytest.mark.parametrize("name", LANES)
def test_choices_that_share_a_lane_give_what_they_give_alone(name, monkeypatch):
    """Not on the mean: for each draw."""
    program, n, _ = PROGRAMS[name]
    made = lambda p, key: program(p, lambda i, dist: sf.sample(jax.random.fold_in(key, i), dist, estimator="coupled"))
    assert sum(site.lanes for site in sf.explain(made)(P, jax.random.key(0)).choices) == LANES[name] <= n
    together = gradients(monkeypatch, name, MIXED["all"])
    monkeypatch.setattr(_lanes, "colours", lambda shape, seen: shape)
    alone = gradients(monkeypatch, name, MIXED["all"])
    np.testing.assert_allclose(together[1], alone[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["windows", "layers"])
def test_a_lane_that_replaces_too_much_is_seen(name, monkeypatch):
    """A twin with one colour less."""
    _, exact = truth(name)
    monkeypatch.setattr(_lanes, "colours", lambda shape, seen: tuple(max(1, c - 1) for c in _lane.colours(shape, seen)))
    grads = gradients(monkeypatch, name, MIXED["all"])[1]
    assert np.max(np.abs(grads.mean(axis=0) - exact)) > 1e-3


_alternative = sf.Bernoulli.alternative


def one_sided(self, u, v):
    """Weights of another pair of values."""
    pair = _alternative(self, u, v)
    return pair._replace(rate=(1 - pair.draw) * pair.rate)


@pytest.mark.parametrize("broken", ["the iteration", "the weight"])
def test_what_is_wrong_is_seen(broken, monkeypatch):
    """Twins: a choice that is replaced in all iterations of the first lane; rates of one side without the weight of both."""
    _, exact = truth("scanned")
    if broken == "the iteration":
        monkeypatch.setattr(_lane.Lane, "within", everywhere)
    else:
        monkeypatch.setattr(sf.Bernoulli, "alternative", one_sided)
    grads = gradients(monkeypatch, "scanned", MIXED["all"])[1]
    assert np.max(np.abs(grads.mean(axis=0) - exact)) > 1e-3


def test_a_score_sees_past_a_coupled_choice(monkeypatch):
    """A cost depends on a choice by score through one that is coupled: without that it is charged with too little."""
    _, exact = truth("through")
    monkeypatch.setattr(_coupled.Coupled, "dependence", lambda self, site, parts, depth: [{}] * site.params["size"])
    grads = gradients(monkeypatch, "through", MIXED["odd"])[1]
    assert np.max(np.abs(grads.mean(axis=0) - exact)) > 1e-3


def walk(p, key, estimator="coupled", length=8, **options):
    def step(x, k):
        b = sf.sample(k, sf.Bernoulli(probs=jnp.exp(-x / p)), estimator=estimator)
        return x + 2 * b - 1, None

    return lax.scan(step, jnp.zeros_like(p), jax.random.split(key, length))[0] ** 2


@pytest.mark.parametrize(
    "options", [{"num_samples": 4}, {"num_samples": 4, "chunk_size": 2}, {"num_samples": 4, "baseline": None}], ids=str
)
def test_runs_chunks_and_transformations_agree(options):
    """A mean over runs is one of single runs; no baseline is subtracted."""
    key, p = jax.random.key(3), jnp.float64(16.0)
    run = jax.value_and_grad(sf.expectation(walk, **options))
    single = [jax.grad(one_run)(p, jax.random.fold_in(key, i)) for i in range(4)]
    found = jax.jit(run)(p, key)
    np.testing.assert_allclose(found[1], np.mean(single), rtol=1e-12)
    mapped = jax.jit(jax.vmap(run, (0, None)))(jnp.stack([p, p]), key)
    np.testing.assert_allclose(mapped[1], np.mean(single), rtol=1e-12)


def one_run(p, key):
    """Of a run whose key is this one itself."""
    known = jax.random.key_data(key)
    return sf.expectation(lambda p, key: walk(p, jax.random.wrap_key_data(known)), lost="ignore")(p, jax.random.key(0))


def test_lanes_in_pieces_are_the_same_lanes(monkeypatch):
    p, key = jnp.float64(16.0), jax.random.key(3)
    whole = jax.jit(jax.grad(sf.expectation(walk, num_samples=3)))(p, key)
    monkeypatch.setattr(_lanes, "SIDE_BY_SIDE", 3)
    np.testing.assert_allclose(jax.jit(jax.grad(sf.expectation(walk, num_samples=3)))(p, key), whole, rtol=1e-12)


def test_more_than_2_to_the_15_replaced_rows():
    """Chunked as not chunked, where a compiler once erred."""
    p, key = jnp.float32(40.0), jax.random.key(5)
    run = lambda chunk: jax.jit(
        jax.grad(sf.expectation(functools.partial(walk, length=50), num_samples=1000, chunk_size=chunk))
    )
    np.testing.assert_allclose(run(None)(p, key), run(100)(p, key), rtol=1e-5)


def test_complex_costs_and_several():
    def program(p, key):
        a, b = jax.random.split(key)
        x = sf.sample(a, sf.Bernoulli(probs=p), estimator="coupled")
        y = sf.sample(b, sf.Bernoulli(probs=p * (1 + x) / 2), estimator="coupled")
        return {"complex": x.astype(complex) * (1 + 2j) + y.astype(complex) * 1j, "row": jnp.stack([x, x * y])}

    loss = lambda p, key: (lambda c: c["complex"].imag * 3 + c["row"] @ jnp.array([1.0, 2.0]))(
        sf.expectation(program, num_samples=200)(p, key))  # fmt: skip
    keys = jax.random.split(jax.random.key(1), 500)
    grads = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(0.4, keys)
    exact = jax.grad(lambda p: 3 * (2 * p + (1 - p) * p / 2 + p * p) + p + 2 * p * p)(0.4)
    assert abs(grads.mean() - exact) < 4 * grads.std() / 500**0.5


def test_a_second_derivative_raises_and_names_the_choice():
    with pytest.raises(TypeError, match="The choice Bernoulli is estimated by its alternatives"):
        jax.grad(jax.grad(sf.expectation(walk)))(16.0, jax.random.key(0))
    with pytest.raises(
        TypeError, match=r"was differentiated in the parameters of its distribution outside of sf\.expectation"
    ):
        jax.grad(walk)(16.0, jax.random.key(0))
    with pytest.raises(TypeError, match="estimator='coupled' compares a draw .* Normal has"):
        sf.sample(jax.random.key(0), sf.Normal(loc=0.0, scale=1.0), estimator="coupled")


def test_samplers_of_jax_say_that_their_draws_are_others():
    with pytest.raises(TypeError, match=r"sf\.random\.bernoulli makes the draws of jax\.random, .* use sf\.sample"):
        sf.random.bernoulli(jax.random.key(0), 0.3, estimator="coupled")


def test_the_deviation_of_the_random_walk():
    """d/dp E X_n^2 for p = 2 n, and the deviation of one gradient: .798 for 10 steps."""
    grads = jax.jit(jax.vmap(jax.grad(sf.expectation(functools.partial(walk, length=10))), (None, 0)))(
        20.0, jax.random.split(jax.random.key(0), 40_000)
    )
    assert abs(grads.mean() - 1.48982) < 4 * grads.std() / 200
    np.testing.assert_allclose(grads.std(), 0.798, rtol=0.03)
