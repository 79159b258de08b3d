"""Draw i depends on (key, i) alone: the same estimate for every chunk size and device count, and nothing compiles twice."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import frame
from covering import covering, few
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from versions import explicit_meshes

import jax_scorefn as sf
from jax_scorefn.engine import _chunk
from jax_scorefn.engine._noise import _counters
from jax_scorefn.typing import Capability

PARAMS = {"m": jnp.array([0.5, -1.0, 2.0]), "s": jnp.zeros(3)}
NORMAL = sf.family(lambda p: sf.Normal(loc=p["m"], scale=jnp.exp(p["s"])))
COINS = sf.family(lambda logits: sf.Bernoulli(logits=logits))
S = 20


def value_and_grad(estimator, params=PARAMS, seed=1, **options):
    f = lambda x: jnp.sum(jnp.sin(x) + x**2) * params["m"][0]
    function = lambda p, k: estimator(f, NORMAL, p, k, num_samples=S, **options)
    return jax.jit(jax.value_and_grad(function))(params, jax.random.key(seed))


at_once = functools.cache(value_and_grad)


def samples(f, family, params, key, **options):
    return jax.jit(lambda p, k: sf.score_function(f, family, p, k, has_aux=True, **options)[1].samples)(params, key)


def assert_same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("estimator", [sf.score_function, sf.pathwise])
@pytest.mark.parametrize("chunk_size", covering([7, S, 1, 3 * S], lambda size: bool(S % size) if size > 1 else None))
def test_any_chunk_size_gives_the_same(estimator, chunk_size):
    assert_same(value_and_grad(estimator, chunk_size=chunk_size), at_once(estimator))


def test_draws_are_identical_for_every_chunk_size():
    coins = sf.family(lambda p: sf.Bernoulli(logits=p["m"]))
    draws = [samples(jnp.sum, coins, PARAMS, jax.random.key(0), num_samples=S, chunk_size=c) for c in (None, 1, 7, S)]
    for other in draws[1:]:
        np.testing.assert_array_equal(draws[0], other)


def test_fewer_draws_are_the_first_of_more():
    few = samples(jnp.sum, NORMAL, PARAMS, jax.random.key(0), num_samples=5)
    many = samples(jnp.sum, NORMAL, PARAMS, jax.random.key(0), num_samples=9)
    np.testing.assert_array_equal(few, many[:5])


@pytest.mark.parametrize(
    ("shape", "dtype"),
    covering(
        [(shape, dtype) for shape in ((2, 3), (), (3,)) for dtype in ("float32", "float64")], lambda *_: "the first"
    ),
)
@pytest.mark.parametrize("impl", ["typed", "legacy"])
def test_draws_are_the_rows_of_one_batch_of_jax_random(impl, shape, dtype):
    with jax.enable_x64(dtype == "float64"):
        make = {"typed": jax.random.key, "legacy": jax.random.PRNGKey}[impl]
        zeros = jnp.zeros(shape, dtype)
        normal = sf.family(lambda m: sf.Normal(loc=m, scale=jnp.ones((), dtype)))
        draws = lambda k, c: (
            sf.score_function(jnp.sum, normal, zeros, k, num_samples=7, chunk_size=c, has_aux=True)[1].samples
        )
        whole = jax.random.normal(make(5), (7, *shape), dtype)
        for chunk_size in (None, 3):
            np.testing.assert_array_equal(jax.jit(draws, static_argnums=1)(make(5), chunk_size), whole)
        if impl == "typed":
            mapped = jax.jit(lambda seeds: jax.vmap(lambda seed: draws(jax.random.key(seed), None))(seeds))
            np.testing.assert_array_equal(mapped(np.array([4, 5]))[1], whole)


def test_parts_of_a_joint_have_their_own_uniforms():
    joint = sf.family(
        lambda m: sf.Joint({"a": sf.Normal(loc=m, scale=1.0), "b": sf.Uniform(low=0.0, high=jnp.ones(2))})
    )
    drawn = samples(lambda x: x["a"], joint, 0.0, jax.random.key(0), num_samples=2000)
    a, b = np.asarray(drawn["a"]), np.asarray(drawn["b"])
    np.testing.assert_array_equal(b, jax.random.uniform(jax.random.key(0), (2000, 3))[:, 1:])
    correlations = np.corrcoef(np.concatenate([a[:, None], b], axis=1).T)
    assert np.max(np.abs(correlations - np.eye(3))) < 5 / np.sqrt(2000)


@pytest.mark.parametrize("width", [2, 3, 70_001, 2**31 + 5])
def test_counters_do_not_wrap(width):
    index = np.array([0, 1, 77, 2**20 + 3, 2**32 - 1], np.uint32)
    high, low = _counters(jnp.asarray(index), 2**32, width, 0, 2)
    got = [[int(h) * 2**32 + int(l) for h, l in zip(*row, strict=True)] for row in zip(high, low, strict=True)]
    assert got == [[int(i) * width + j for j in (0, 1)] for i in index]


@pytest.mark.slow
def test_hessian_is_the_same_in_chunks():
    function = lambda p, c: sf.score_function(
        lambda x: jnp.sum(x**2), NORMAL, p, jax.random.key(0), num_samples=9, chunk_size=c
    )
    assert_same(jax.hessian(function)(PARAMS, 4), jax.hessian(function)(PARAMS, None))


@pytest.mark.sharded
@pytest.mark.parametrize(("devices", "chunk_size", "how", "explicit"), covering([
    (2, 7, "jit", False), (8, None, "jit", True), (8, 8, "vmap", True),
    (8, 7, "eager", False), (1, None, "jit", False), (1, None, "jit", True), (2, None, "eager", False), (2, None, "eager", True), (2, 7, "jit", True),
    (2, None, "vmap", False), (2, None, "vmap", True), (8, None, "jit", False), (8, 7, "eager", True), (8, 8, "vmap", False),
], *(lambda *case, part=part: case[part] if case[2] != "eager" else None for part in range(4))))  # fmt: skip
def test_any_number_of_devices_gives_the_same(devices, explicit, chunk_size, how):
    mesh = jax.make_mesh((devices,), ("draws",), axis_types=(AxisType.Explicit if explicit else AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("draws"))
    f = lambda x: jnp.sum(jnp.sin(x) + x**2)
    plain = jax.value_and_grad(lambda p, k: sf.score_function(f, NORMAL, p, k, num_samples=S))
    options = {"num_samples": S, "sharding": sharding, "chunk_size": chunk_size}
    sharded = jax.value_and_grad(lambda p, k: sf.score_function(f, NORMAL, p, k, **options))
    expected = jax.jit(plain)(PARAMS, jax.random.key(1))
    run = sharded if not explicit else _inside(mesh, sharded)
    if how == "jit":
        run = jax.jit(sharded) if not explicit else _inside(mesh, jax.jit(sharded))
    if how == "vmap":
        mapped = jax.jit(jax.vmap(sharded, (None, 0)))
        mapped = mapped if not explicit else _inside(mesh, mapped)
        got = mapped(PARAMS, jax.vmap(jax.random.key)(jnp.array([3, 1])))
        got = jax.tree.map(lambda leaf: leaf[1], jax.device_get(got))
    else:
        got = run(PARAMS, jax.random.key(1))
    assert_same(got, expected)


def _inside(mesh, function):
    def call(*args):
        with jax.set_mesh(mesh):
            return jax.device_get(function(*args))

    return call


@pytest.mark.sharded
@pytest.mark.parametrize("jitted", [False, True])
def test_an_explicit_mesh_that_is_not_set_is_told_with_the_remedy(jitted):
    sharding = NamedSharding(jax.make_mesh((2,), ("draws",), axis_types=(AxisType.Explicit,)), PartitionSpec("draws"))
    estimate = lambda p, k: sf.score_function_grad(jnp.sum, NORMAL, p, k, num_samples=S, sharding=sharding)
    program = lambda p, key: jnp.sum(sf.sample(key, sf.Normal(loc=p["m"], scale=1.0), estimator="score_function"))
    expected = jax.grad(sf.expectation(program, num_samples=4, sharding=sharding))
    for run in (estimate, expected):
        with pytest.raises(ValueError, match="that mesh is not set here. Call the estimator under 'with jax.set_mesh"):
            (jax.jit(run) if jitted else run)(PARAMS, jax.random.key(0))


@pytest.mark.sharded
def test_draws_really_lie_on_the_devices():
    mesh = jax.make_mesh((4,), ("draws",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("draws"))
    grad = jax.jit(
        lambda p, k: sf.score_function_grad(lambda x: jnp.sum(x**2), NORMAL, p, k, num_samples=400, sharding=sharding)
    )
    text = grad.lower(PARAMS, jax.random.key(0)).compile().as_text()
    assert "num_partitions=4" in text and "[100,3]" in text and "[400,3]" not in text


@pytest.mark.sharded
def test_a_black_box_on_devices_sees_no_draw_that_was_not_asked_for():
    seen = []
    box = sf.black_box(lambda xs: (seen.append(len(xs)), xs.sum(-1))[1], vectorized=True)
    mesh = jax.make_mesh((8,), ("draws",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("draws"))
    boxed = jax.jit(lambda p, k: sf.score_function_grad(box, NORMAL, p, k, num_samples=S, sharding=sharding))
    got = boxed(PARAMS, jax.random.key(1))
    plain = jax.jit(lambda p, k: sf.score_function_grad(jnp.sum, NORMAL, p, k, num_samples=S))
    expected = plain(PARAMS, jax.random.key(1))
    assert_same(got, expected)


def test_sharding_of_the_wrong_kind_is_refused():
    with pytest.raises(TypeError, match=r"sharding is a jax\.sharding\.Sharding"):
        sf.score_function(jnp.sum, NORMAL, PARAMS, jax.random.key(0), sharding="draws")


def test_jit_vmap_over_a_thousand_problems_equals_the_loop_and_compiles_once(caplog):
    f = lambda x: jnp.sum((x - 1.0) ** 2)
    one = lambda params, key: sf.score_function_grad(f, NORMAL, params, key, num_samples=4)
    traces = []
    counted = jax.jit(jax.vmap(lambda p, k: (traces.append(1), one(p, k))[1]))
    params = {
        "m": jax.random.normal(jax.random.key(0), (1000, 3)),
        "s": 0.1 * jax.random.normal(jax.random.key(1), (1000, 3)),
    }
    mapped = counted(params, jax.random.split(jax.random.key(2), 1000))
    keys = jax.random.split(jax.random.key(3), 1000)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        again = counted(params, keys)
    assert len(traces) == 1 and not caplog.records, caplog.text
    assert not np.allclose(mapped["m"], again["m"])
    single = jax.jit(lambda params, bits: one(params, jax.random.wrap_key_data(bits)))
    params, mapped = jax.device_get((params, mapped))
    keys = np.asarray(jax.random.key_data(jax.random.split(jax.random.key(2), 1000)))
    for i in range(1000):
        looped = single(jax.tree.map(lambda leaf: leaf[i], params), keys[i])
        if i % 50 == 0:
            assert_same(looped, jax.tree.map(lambda leaf: leaf[i], mapped))
        else:
            np.testing.assert_allclose(looped["m"], mapped["m"][i], rtol=2e-4, atol=2e-4)


def test_legacy_and_rbg_keys_work():
    run = jax.jit(lambda p, k: sf.score_function_grad(lambda x: jnp.sum(x**2), NORMAL, p, k))
    keys = (jax.random.key(0), jax.random.PRNGKey(0), jax.random.key(0, impl="rbg"))
    typed, legacy, rbg = (run(PARAMS, key) for key in keys)
    assert np.all(np.isfinite(legacy["m"])) and np.all(np.isfinite(rbg["m"]))
    np.testing.assert_array_equal(typed["m"], legacy["m"])


def test_memory_of_a_chunked_gradient_is_that_of_a_chunk():
    """No array of the compiled program holds all draws at once: only their scalars do."""
    wide = {"m": jnp.zeros(50), "s": jnp.zeros(50)}
    f = lambda x: jnp.sum(x**2)
    compiled = lambda c: jax.jit(
        lambda p, k: sf.score_function_grad(f, NORMAL, p, k, num_samples=1024, chunk_size=c)
    ).lower(wide, jax.random.key(0)).compile().as_text()  # fmt: skip
    assert "[1024,50]" in compiled(None)
    chunked = compiled(32)
    assert "[32,50]" in chunked
    assert not any(shape in chunked for shape in ("[1024,50]", "[32,32,50]", "[51200]"))


def loops_of(call, *args):
    """The lengths of the loops that a call is compiled with."""
    operations = _chunk._operations(jax.make_jaxpr(call)(*args).jaxpr)
    return {op.params["length"] for op in operations if op.primitive.name == "scan"}


def chunks_of(call, *args):
    """The number of chunks that a call is compiled with: the length of the loop in it, None where there is none."""
    lengths = loops_of(call, *args)
    assert len(lengths) <= 1
    return lengths.pop() if lengths else None


def test_a_chunk_is_chosen_where_it_saves_time_and_memory():
    wide, narrow = ({"m": jnp.zeros(d), "s": jnp.zeros(d)} for d in (1000, 1))
    f, key = lambda x: jnp.sum(x**2), jax.random.key(0)
    grad = lambda p, n, f=f, key=key, **how: sf.score_function_grad(f, NORMAL, p, key, num_samples=n, **how)
    assert chunks_of(lambda p: grad(p, 10_000), wide) == 10  # of 1000 draws: 1048 would do, but 1000 leave no rest
    assert chunks_of(lambda p: grad(p, 8388), wide) is None  # 32 MiB and a little less
    assert chunks_of(lambda p: grad(p, 8389), wide) == 8  # of 1048, and 5 draws more
    assert chunks_of(lambda p: grad(p, 10_000, chunk_size=None), wide) is None
    assert chunks_of(lambda p: grad(p, 10_000, chunk_size=5000), wide) == 2
    # What is returned for each draw has to be in memory anyway, until it is so much that it is summed.
    assert chunks_of(lambda p: grad(p, 8_000_000), narrow) is None
    assert loops_of(lambda p: grad(p, 10_000_000), narrow) == {10}
    assert chunks_of(lambda p: grad(p, 10_000, has_aux=True), wide) is None
    # The largest array may be one that f makes, in a branch or a loop, and not one that the draws do not need.
    makes = lambda x: jax.lax.cond(x[0] > 0, lambda x: jnp.sum(jnp.tile(x, 1000)), jnp.sum, x)
    assert chunks_of(lambda p: grad(p, 10_000, makes), narrow) == 10
    fixed = jnp.ones((3000, 3000))
    assert chunks_of(lambda p: grad(p, 10, lambda x: jnp.sum(x) * jnp.sum(jnp.sin(fixed))), narrow) is None
    # The host is not asked twice.
    host = sf.black_box(lambda x: np.float32(np.sum(x)))
    assert chunks_of(lambda p: grad(p, 10_000, host), wide) is None
    shows = lambda x: (jax.debug.print("{}", x[0]), f(x))[1]
    assert chunks_of(lambda p: grad(p, 10_000, shows), wide) is None
    # Any integer is a size.
    assert chunks_of(lambda p: grad(p, 10_000, chunk_size=np.int64(5000)), wide) == 2


@pytest.mark.slow
def test_a_chunk_is_chosen_for_one_call_under_a_transform_for_a_bound_and_for_points():
    wide = {"m": jnp.zeros(1000), "s": jnp.zeros(1000)}
    f, key = lambda x: jnp.sum(x**2), jax.random.key(0)
    grad = lambda p, n, key=key: sf.score_function_grad(f, NORMAL, p, key, num_samples=n)
    assert chunks_of(jax.vmap(lambda p, k: grad(p, 10_000, key=k), (None, 0)), wide, jax.random.split(key, 2)) == 20
    assert chunks_of(lambda p: sf.pathwise_grad(f, NORMAL, p, key, num_samples=10_000), wide) == 10
    assert (
        chunks_of(lambda p: sf.exact_grad(lambda x: jnp.sum(x), COINS, p, max_points=2**20), jnp.zeros(20)) is not None
    )


def test_no_loop_is_chosen_outside_jit():
    """It would be compiled anew in each call."""
    wide = {"m": jnp.zeros(1000), "s": jnp.zeros(1000)}
    traced = []
    f = lambda x: (traced.append(x.shape), jnp.sum(x**2))[1]
    sf.score_function(f, NORMAL, wide, jax.random.key(0), num_samples=10_000)
    assert len(traced) == 1


def test_f_is_traced_once_unless_it_is_split():
    traced = []
    f = lambda x: (traced.append(x.shape), jnp.sum(x**2))[1]
    jax.jit(lambda p: sf.score_function_grad(f, NORMAL, p, jax.random.key(0), num_samples=S)).lower(PARAMS)
    assert len(traced) == 1


@pytest.mark.parametrize(
    "name", covering(["score_function", "pathwise", "vargrad", "measure_valued", "sticking_the_landing", "iwae"], frame)
)
def test_a_chosen_chunk_changes_nothing(name, monkeypatch):
    """With limits so low that this one is split; the draws of a wrong chunk would differ in the first digit."""
    monkeypatch.setattr(_chunk, "SPLIT_FROM", 64)
    monkeypatch.setattr(_chunk, "CHUNK", 64)
    monkeypatch.setattr(_chunk, "SMALLER_RESULT", 1)
    grad = getattr(sf, f"{name}_grad")
    f = lambda x: jnp.sum(jnp.sin(x)) - jnp.sum(x**2)
    run = lambda p, **how: grad(f, NORMAL, p, jax.random.key(0), num_samples=S, **how)
    assert loops_of(run, PARAMS)  # one for each map: measure_valued has two
    assert_same(jax.jit(run)(PARAMS), jax.jit(lambda p: run(p, chunk_size=None))(PARAMS))


@explicit_meshes
@pytest.mark.sharded
@pytest.mark.parametrize(
    "dist",
    covering(
        [
            lambda p: sf.Categorical(logits=p),
            lambda p: sf.Categorical(logits=jnp.concatenate([p, 2 * p])),  # more than are told apart by selection
            lambda p: sf.Bernoulli(logits=p),
            lambda p: sf.TanhNormal(loc=p, scale=1.0),
            lambda p: sf.TruncatedNormal(loc=p - 4.0, scale=1.0, low=0.0),
            lambda p: sf.VonMises(loc=p, concentration=1.0),
        ],
        lambda dist: Capability.SUPPORT in dist(jnp.zeros(3)).capabilities,
    ),
    ids=["categorical", "categories", "bernoulli", "tanh", "truncated", "angles"],
)
def test_other_distributions_in_an_explicit_mesh(dist):
    mesh = jax.make_mesh((4,), ("draws",), axis_types=(AxisType.Explicit,))
    sharding = NamedSharding(mesh, PartitionSpec("draws"))
    f = lambda x: jnp.sum(x).astype(float)
    grad = jax.jit(lambda p, k, s=None: sf.score_function_grad(f, sf.family(dist), p, k, num_samples=13, sharding=s))
    expected = grad(jnp.array([0.1, 0.2, -0.3]), jax.random.key(0))
    sharded = jax.jit(lambda p, k: sf.score_function_grad(f, sf.family(dist), p, k, num_samples=13, sharding=sharding))
    assert_same(_inside(mesh, sharded)(np.array([0.1, 0.2, -0.3]), jax.random.key(0)), expected)


ALL_AXES = {
    "gamma": (lambda p: sf.Gamma(concentration=jnp.exp(p), rate=1.0), {}),
    "student": (lambda p: sf.StudentT(df=5.0, loc=p, scale=1.0), {}),
    "poisson": (lambda p: sf.Poisson(rate=jnp.exp(p)), {}),
    "sequence": (lambda p: sf.Autoregressive(lambda p, c, k: (c, p + c), p, jnp.zeros(3), 3), {}),
    "coefficients": (lambda p: sf.Categorical(logits=p), {"baseline": sf.baselines.optimal_constant}),
}


@pytest.mark.sharded
@pytest.mark.parametrize("name", few(ALL_AXES, "gamma"))
def test_auto_axes_is_the_way_out_of_an_explicit_mesh(name):
    """JAX has no rule for these, some in the backward pass; an error on the way forward says what to do, and that does it."""
    dist, how = ALL_AXES[name]
    mesh, spec, key = (
        jax.make_mesh((4,), ("draws",), axis_types=(AxisType.Explicit,)),
        PartitionSpec("draws"),
        jax.random.key(0),
    )
    params, f = jnp.array([0.1, 0.2, -0.3]), lambda x: jnp.sum(x.astype(float) ** 2)
    grad = lambda p, k, sharding=None: sf.score_function_grad(
        f, sf.family(dist), p, k, num_samples=13, sharding=sharding, **how
    )
    expected = jax.jit(grad)(params, key)
    with jax.set_mesh(mesh):
        with pytest.raises((TypeError, ValueError)) as caught:
            jax.jit(lambda p, k: grad(p, k, NamedSharding(mesh, spec)))(params, jax.random.key(0))
        told = any("jax.sharding.auto_axes" in note for note in getattr(caught.value, "__notes__", ()))
        assert told == (name not in ("gamma", "student"))
        call = lambda p, k: grad(p, k, NamedSharding(jax.sharding.get_abstract_mesh(), spec))
        spread = jax.jit(jax.sharding.auto_axes(call, out_sharding=PartitionSpec()))(params, jax.random.key(0))
    np.testing.assert_allclose(spread, expected, rtol=1e-4, atol=1e-5)
