"""A function that is computed in one place: the same numbers, once in the compiled program, under every transform; bits of
jax.random."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering
from jax import export
from jax.sharding import AxisType, PartitionSpec

import jax_scorefn as sf
from jax_scorefn.engine import _noise
from jax_scorefn.noise import _materialize, materialize
from jax_scorefn.noise._threefry import _threefry, bits32, bits64, stock


def root(x, y):
    return jnp.sqrt(x) * y


ROOT = materialize(root)
X, Y = jnp.linspace(0.1, 2.0, 12).reshape(3, 4), jnp.linspace(1.0, 2.0, 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda f: f(X, X),
        lambda f: f(jnp.float32(2.0), X),
        lambda f: f(X, jnp.float32(2.0)),
        lambda f: f(X[:0], X[:0]),
        lambda f: jax.jit(f)(X[0], X[1]),
        lambda f: jax.vmap(f)(X, X),
        lambda f: jax.vmap(f, (0, None))(X, X[0]),
        lambda f: jax.vmap(f, (None, 0))(jnp.float32(2.0), X),
        lambda f: jax.vmap(f, (1, 0), 1)(X.T, X),
        lambda f: jax.vmap(jax.vmap(f, (None, 0)), (0, None))(Y, X[0]),
        lambda f: jax.vmap(jax.vmap(jax.vmap(f, (None, 0)), (None, 0)), (0, None))(Y, jnp.stack([X, 2 * X])),
        lambda f: jax.vmap(jax.vmap(f, (0, None)), (None, 0))(Y, X),
        lambda f: f(X[:, :1], X[:1]),
        lambda f: f(X[None, :, :1], jnp.stack([X, X])[:, :1]),
        lambda f: jax.lax.map(lambda x: f(x, x), X),
        lambda f: jax.grad(lambda w: jnp.sum(w * f(X, X)))(2.0),
        lambda f: jax.hessian(lambda w: jnp.sum(w**2 * f(X, X)))(2.0),
        lambda f: jax.grad(jax.checkpoint(lambda w: jnp.sum(jnp.sin(w * f(X, X)))))(2.0),
    ],
)
@pytest.mark.float32
def test_it_is_the_function_under_every_transform(call):
    np.testing.assert_allclose(call(ROOT), call(root), rtol=1e-6)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit, "shard_map"])
def test_it_is_the_function_on_devices(kind):
    manual = kind == "shard_map"
    mesh = jax.make_mesh((4,), ("x",), axis_types=(AxisType.Auto if manual else kind,))
    spec = PartitionSpec("x")
    x = jax.device_put(jnp.linspace(0.1, 2.0, 24).reshape(8, 3), jax.sharding.NamedSharding(mesh, spec))
    run = lambda f: jax.shard_map(f, mesh=mesh, in_specs=(spec, spec), out_specs=spec) if manual else f
    with jax.set_mesh(mesh):
        np.testing.assert_allclose(jax.jit(run(ROOT))(x, x), jax.jit(run(root))(x, x), rtol=1e-6)


@pytest.mark.parametrize("dist", ["Bernoulli", "Normal", "Categorical"])
def test_draws_within_a_shard_map(dist):
    """Each shard has keys of its own; value and gradient are those without shards."""
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,))
    makes = {"Normal": lambda p: sf.Normal(loc=p, scale=1.0)}
    family = sf.family(makes.get(dist, lambda p: getattr(sf, dist)(logits=p)))
    f = lambda x: jnp.sum(x.astype(float) ** 2)
    run = jax.vmap(jax.value_and_grad(lambda p, key: sf.score_function(f, family, p, key, num_samples=5)))
    spec, keys = PartitionSpec("d"), lambda: jax.random.split(jax.random.key(0), 4)
    params = jnp.linspace(-1.0, 1.0, 12).reshape(4, 3)
    sharded = jax.shard_map(run, mesh=mesh, in_specs=(spec, spec), out_specs=spec)
    for there, here in zip(jax.jit(sharded)(params, keys()), jax.jit(run)(params, keys()), strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-5, atol=1e-6)


def test_a_batch_of_unknown_size_is_exported():
    family = sf.family(lambda logits: sf.Bernoulli(logits=logits))
    run = jax.jit(jax.vmap(lambda p, key: sf.score_function_grad(jnp.sum, family, p, key), (None, 0)))
    (size,) = export.symbolic_shape("b")
    shapes = jax.ShapeDtypeStruct((3,), jnp.float32), jax.ShapeDtypeStruct((size, 2), jnp.uint32)
    keys = lambda n: jax.random.key_data(jax.random.split(jax.random.key(0), n))
    exported = export.export(run)(*shapes)
    for n in (1, 2, 5):
        there, here = exported.call(jnp.zeros(3), keys(n)), run(jnp.zeros(3), keys(n))
        np.testing.assert_allclose(there, here, rtol=1e-5, atol=1e-6)


def generators(function, *args):
    """Places of a compiled program at which random words are made."""
    text = jax.jit(function).lower(*args).compile().as_text()
    return sum(len(re.findall(r" xor\(", part)) > 15 for part in text.split("\n\n"))


@pytest.mark.float32
def test_words_are_made_in_one_place(monkeypatch):
    """Of the program that the processor runs; a twin without the fence makes them anew wherever they are used."""
    family = sf.family(lambda p: sf.Normal(loc=p["m"], scale=jnp.exp(p["s"])))
    params = {"m": jnp.zeros(10), "s": jnp.zeros(10)}
    grad = lambda p, key: sf.score_function_grad(lambda x: jnp.sum(x**2), family, p, key, num_samples=1000)
    assert generators(lambda p, key: grad(p, key), params, jax.random.key(0)) == 1
    low = lambda first, length: first + jnp.arange(length, dtype=jnp.uint32)
    plain = lambda wide, k0, k1, first, length: jnp.bitwise_xor(*_threefry(k0, k1, jnp.uint32(0), low(first, length)))
    monkeypatch.setattr(_noise, "bits_in_a_row", plain)
    monkeypatch.setattr(
        sf.distributions._normal, "standard_normal", sf.distributions._normal.standard_normal.__wrapped__
    )
    assert generators(lambda p, key: grad(p, key), params, jax.random.key(0)) > 1


def test_one_word_in_a_loop_is_made_in_one_place(monkeypatch):
    """Its number is a constant to the compiler. A twin whose branch hangs on that number alone is no fence."""

    def program(logit, key):
        def step(state, k):
            state = 0.9 * state + sf.sample(k, sf.Bernoulli(logits=logit - state))
            return state, -(state**2)

        return jnp.sum(jax.lax.scan(step, jnp.zeros(()), jax.random.split(key, 5))[1])

    grad = lambda runs: lambda logit, key: jax.grad(sf.expectation(program, num_samples=runs))(logit, key)
    made = lambda runs: generators(grad(runs), 0.5, jax.random.key(0))
    assert made(7) == 1
    always = _materialize._always
    monkeypatch.setattr(_materialize, "_always", lambda args: always(args[-1:]))
    assert made(11) > 1  # a number of runs that no other test has: JAX keeps what it traced, patched or not


@pytest.mark.parametrize("x64", [False, True])
def test_bits_are_those_of_jax_random(x64):
    with jax.enable_x64(x64):
        counters = jnp.arange(1000, dtype=jnp.uint32)
        bits, dtype = (bits64, jnp.uint64) if x64 else (bits32, jnp.uint32)
        draw = lambda words: bits(words[0], words[1], jnp.uint32(0), counters)
        keys = jax.random.split(jax.random.key(3), (2, 3))
        expected = jax.vmap(jax.vmap(lambda key: jax.random.bits(key, (1000,), dtype)))(keys)
        np.testing.assert_array_equal(jax.vmap(jax.vmap(draw))(jax.random.key_data(jax.random.clone(keys))), expected)


def test_other_processors_have_the_stock_generator():
    """The same bits, by the primitive that JAX has kernels for."""
    words, counters = jnp.uint32([1, 2]), jnp.arange(100, dtype=jnp.uint32)
    run = jax.jit(lambda words: bits32(words[0], words[1], jnp.uint32(0), counters))
    np.testing.assert_array_equal(run(words), stock(False, words[0], words[1], jnp.uint32(0), counters))
    traced = run.trace(words)
    text = {name: traced.lower(lowering_platforms=(name,)).as_text() for name in ("cpu", "cuda", "tpu")}
    assert {name: "_four_rounds" in text[name] for name in text} == {"cpu": True, "cuda": False, "tpu": False}
    assert {name: "threefry2x32" in text[name] for name in text} == {"cpu": False, "cuda": True, "tpu": True}


DISTRIBUTIONS = {
    "Normal": (lambda p: sf.Normal(loc=p, scale=0.5), lambda p, *a: p + 0.5 * jax.random.normal(*a)),
    "TanhNormal": (lambda p: sf.TanhNormal(loc=p, scale=0.5), lambda p, *a: jnp.tanh(p + 0.5 * jax.random.normal(*a))),
    "Laplace": (lambda p: sf.Laplace(loc=p, scale=0.5), lambda p, *a: p + 0.5 * jax.random.laplace(*a)),
    "Logistic": (lambda p: sf.Logistic(loc=p, scale=0.5), lambda p, *a: p + 0.5 * jax.random.logistic(*a)),
    "Gumbel": (lambda p: sf.Gumbel(loc=p, scale=0.5), lambda p, *a: p + 0.5 * jax.random.gumbel(*a)),
    "Cauchy": (lambda p: sf.Cauchy(loc=p, scale=0.5), lambda p, *a: p + 0.5 * jax.random.cauchy(*a)),
    "Exponential": (lambda p: sf.Exponential(rate=p), lambda p, *a: jax.random.exponential(*a) / p),
    "Uniform": (lambda p: sf.Uniform(low=0.0 * p, high=p), lambda p, *a: p * jax.random.uniform(*a)),
    "Bernoulli": (
        lambda p: sf.Bernoulli(probs=p / 4),
        lambda p, key, shape, dtype: jax.random.bernoulli(key, p / 4, shape).astype(dtype),
    ),
    "Geometric": (
        lambda p: sf.Geometric(probs=p / 4),
        lambda p, key, shape, dtype: jax.random.geometric(key, p / 4, shape, jnp.int32),
    ),
}


@pytest.mark.parametrize(
    ("dtype", "shape"),
    covering(
        [(dtype, shape) for dtype in ("float32", "float64") for shape in ((2, 3), (), (3,))], lambda *_: "the first"
    ),
)
@pytest.mark.default
def test_draws_are_one_batch_of_jax_random(dtype, shape):
    """Of every distribution whose docstring says so: whole, in chunks, and mapped over keys. Discrete ones to the bit, floats to 4
    ulp."""
    with jax.enable_x64(dtype == "float64"), jax.debug_key_reuse(False):
        params, keys = jnp.full(shape, 1.5, dtype), jax.random.split(jax.random.key(5), 2)

        def drawn(dist, key, chunk_size):
            options = {"num_samples": 7, "chunk_size": chunk_size, "has_aux": True}
            return sf.score_function(lambda x: jnp.sum(x, dtype=dtype), sf.family(dist), params, key, **options)[
                1
            ].samples

        @jax.jit
        def everything(keys):
            ours = {
                name: [jax.vmap(lambda key: drawn(dist, key, size))(keys) for size in (None, 3)]
                for name, (dist, _) in DISTRIBUTIONS.items()
            }
            theirs = {
                name: jax.vmap(lambda key: make(params[None] if shape else params, key, (7, *shape), params.dtype))(
                    keys
                )
                for name, (_, make) in DISTRIBUTIONS.items()
            }
            return ours, theirs

        ours, theirs = everything(keys)
    for name in DISTRIBUTIONS:
        for draws in ours[name]:
            if draws.dtype.kind == "f":
                np.testing.assert_allclose(draws, theirs[name], rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)
            else:
                np.testing.assert_array_equal(draws, theirs[name])
