"""Schemes: what their draws are, which belong together, and that no split of the work changes them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scipy.stats import qmc

import jax_scorefn as sf
from jax_scorefn import baselines, engine, schemes
from jax_scorefn.schemes._sobol import MAX_DIMENSIONS

ALL = {
    "iid": (schemes.iid, 1), "antithetic": (schemes.antithetic, 2), "stratified": (schemes.stratified(8), 8),
    "sobol": (schemes.sobol(4), 16),
}  # fmt: skip
S, D = 64, 3


def points(scheme, key, dtype=jnp.float32, impl="threefry2x32", num=S, **how):
    """The uniforms of each draw, (S, D)."""

    @jax.jit
    def run(key):
        dist = sf.Uniform(low=jnp.zeros(D, dtype), high=jnp.ones(D, dtype))
        noise = engine.noise_of(dist, jax.random.key(key, impl=impl), num, scheme, how.get("sharding"))
        return engine.map_draws(lambda noise, _: noise.uniforms, noise, num, **how)

    return run(key)


@pytest.mark.parametrize(
    ("name", "impl"),
    covering([*((name, "threefry2x32") for name in ALL), *((name, "rbg") for name in list(ALL)[1:])]),
)
def test_each_draw_alone_is_uniform(name, impl):
    """Draw i over many keys: its mean, its variance and the correlation of its coordinates; every i."""
    scheme, count = ALL[name][0], 4000
    seeds = jnp.arange(count)
    u = jax.jit(jax.vmap(lambda seed: points(scheme, seed, impl=impl)))(seeds)  # (count, S, D)
    assert u.min() >= 0 and u.max() < 1
    assert np.all(np.abs(u.mean(axis=0) - 0.5) < 5 / np.sqrt(12 * count))
    assert np.all(np.abs(u.var(axis=0) - 1 / 12) < 5 * np.sqrt(1 / 180 / count))
    for a in range(D):
        for b in range(a):
            assert np.all(np.abs(np.mean((u[..., a] - 0.5) * (u[..., b] - 0.5), axis=0)) < 5 / 12 / np.sqrt(count))


@pytest.mark.parametrize("dtype", covering(["float64", "float32"]))
def test_what_the_draws_of_a_group_are(dtype):
    with jax.enable_x64(dtype == "float64"):
        eps = jnp.finfo(dtype).eps
        pairs = points(schemes.antithetic, 0, dtype).reshape(-1, 2, D)
        np.testing.assert_allclose(pairs.sum(axis=1), 1, atol=eps)
        strata = points(schemes.stratified(8), 0, dtype).reshape(-1, 8, D)
        np.testing.assert_array_equal(
            np.sort(np.floor(8 * strata), axis=1), np.broadcast_to(np.arange(8.0)[:, None], strata.shape)
        )
        orders = np.argsort(strata, axis=1)
        assert not np.array_equal(orders[:, :, 0], orders[:, :, 1]) and not np.array_equal(orders[0], orders[1])
        nets = points(schemes.sobol(4), 0, dtype).reshape(4, 16, D)
        assert nets.dtype == dtype
        words = (np.asarray(nets, np.float64) * 2**23).astype(np.int64)  # the bits that both dtypes have
        net = (qmc.Sobol(D, scramble=False).random(16) * 2**23).astype(np.int64)
        for one in words:
            shifted = one ^ one[:1]  # the shift goes, and the net is there, point by point
            np.testing.assert_array_equal(np.sort(shifted, axis=0), np.sort(net, axis=0))
            assert {tuple(row) for row in shifted} == {tuple(row) for row in net}
        assert len({tuple(one[0]) for one in words}) == 4


def test_distributions_of_several_parts_share_one_net():
    """The coordinates of a Joint are coordinates of one net: no two parts repeat each other."""
    dist = sf.Joint({"a": sf.Uniform(low=jnp.zeros(2), high=jnp.ones(2)), "b": sf.Uniform(low=0.0, high=1.0)})

    @jax.jit
    def run(key):
        noise = engine.noise_of(dist, key, 32, schemes.sobol(2))
        return engine.map_draws(lambda noise, _: noise.uniforms, noise, 32)

    u = run(jax.random.key(0))
    flat = np.concatenate([u["a"], u["b"][:, None]], axis=1)[:16]
    words = (flat * 2**23).astype(np.int64)
    net = (qmc.Sobol(3, scramble=False).random(16) * 2**23).astype(np.int64)
    assert {tuple(row) for row in words ^ words[:1]} == {tuple(row) for row in net}


@pytest.mark.sharded
@pytest.mark.parametrize("name", covering(ALL, lambda name: ALL[name][1] if ALL[name][1] > 2 else None))
def test_no_split_changes_a_draw(name):
    scheme = ALL[name][0]
    whole = points(scheme, 3)
    for chunk_size in (1, 5, 16):
        np.testing.assert_array_equal(points(scheme, 3, chunk_size=chunk_size), whole)
    for kind in (AxisType.Auto, AxisType.Explicit):
        mesh = jax.make_mesh((4,), ("draws",), axis_types=(kind,))
        with jax.set_mesh(mesh):
            sharding = NamedSharding(mesh, PartitionSpec("draws"))
            np.testing.assert_array_equal(jax.jit(lambda s=sharding: points(scheme, 3, sharding=s))(), whole)
    mapped = jax.jit(jax.vmap(lambda seed: points(scheme, seed)))(jnp.array([2, 3]))
    np.testing.assert_array_equal(mapped[1], whole)


@pytest.mark.statistical
@pytest.mark.parametrize("name", [name for name in ALL if name != "iid"])
def test_a_standard_error_is_that_of_groups(name):
    """Over many runs: the mean squared standard error is the variance of the value, which independent draws' is not."""
    scheme = ALL[name][0]
    family = sf.family(lambda mean: sf.Normal(loc=jnp.full(D, mean), scale=1.0))
    f = lambda x: jnp.sum(x + 0.5 * x**2)
    for estimator in (sf.score_function, sf.pathwise):
        run = lambda key, e=estimator: e(f, family, 0.3, key, num_samples=S, scheme=scheme, has_aux=True)
        values, info = sf.testing.replicate(run, jax.random.key(0), 4000, batch=1000)
        ratio = np.mean(info.value_standard_error**2) / values.var()
        assert abs(ratio - 1) < 0.12
        naive = np.mean(info.values.var(axis=1, ddof=1)) / S / values.var()
        assert abs(naive - 1) > 0.25


def test_without_a_baseline_one_group_is_enough_and_with_one_it_is_not():
    normal = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))
    run = lambda **o: jax.jit(
        lambda m, k: sf.score_function_grad(jnp.sin, normal, m, k, scheme=schemes.antithetic, **o)
    )(0.3, jax.random.key(0))  # fmt: skip
    assert np.isfinite(run(num_samples=2, baseline=None))
    with pytest.raises(ValueError, match="leave_one_out needs at least 2 groups of draws, and there are 1 of 2"):
        run(num_samples=2)
    with pytest.raises(ValueError, match="optimal_constant needs at least 4 groups of draws, and there are 3 of 2"):
        run(num_samples=6, baseline=baselines.optimal_constant)


def test_what_is_refused():
    normal = sf.family(lambda mean: sf.Normal(loc=mean, scale=1.0))
    gamma = sf.family(lambda a: sf.Gamma(concentration=a, rate=1.0))
    given = sf.family(log_prob=lambda m, x: -((x - m) ** 2), samples=jnp.arange(4.0))
    run = lambda n, scheme, family=normal, e=sf.score_function: e(
        jnp.sin, family, 0.3, jax.random.key(0), num_samples=n, scheme=scheme
    )
    for estimator in (sf.score_function, sf.pathwise):
        with pytest.raises(
            TypeError,
            match="scheme antithetic needs a distribution whose draws are made from uniforms; Gamma is drawn otherwise",
        ):
            run(4, schemes.antithetic, gamma, estimator)
        with pytest.raises(ValueError, match="groups of 2: num_samples has to be a multiple of that, not 5"):
            run(5, schemes.antithetic, normal, estimator)
        for wrong in (schemes.sobol, "sobol", schemes.stratified):
            with pytest.raises(TypeError, match="scheme is one of sf.schemes.iid, antithetic"):
                run(8, wrong, normal, estimator)
    with pytest.raises(ValueError, match="4 times a power of 2, not 24"):
        run(24, schemes.sobol(4))
    with pytest.raises(ValueError, match="multiple of that, not 12"):
        run(12, schemes.stratified(8))
    for make in (schemes.stratified, schemes.sobol):
        with pytest.raises(ValueError, match="at least 2"):
            make(1)
        with pytest.raises(TypeError, match="a Python int, at least 2"):
            make(2.0)
    with pytest.raises(ValueError, match="The family holds given draws, so scheme= has nothing to draw"):
        run(None, schemes.antithetic, given)
    wide = sf.family(lambda mean: sf.Normal(loc=mean, scale=jnp.ones(MAX_DIMENSIONS + 1)))
    with pytest.raises(
        ValueError, match="has direction numbers for 21201 coordinates, and this distribution has 21202"
    ):
        sf.score_function(jnp.sum, wide, 0.0, jax.random.key(0), num_samples=8, scheme=schemes.sobol(2))
