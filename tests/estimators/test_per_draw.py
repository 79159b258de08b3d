"""The gradient of each draw: its mean is the gradient, its spread the standard error, and row i is made of draw i."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, REQUIRED, dist_of, params_of
from covering import covering, few

import jax_scorefn as sf
from jax_scorefn.estimators._call import Call

DRAWING = [name for name in sf.ESTIMATORS if name != "exact"]
PAIRS = [(name, e) for name in CASES for e in DRAWING if not sf.ESTIMATORS[e].missing(dist_of(name))]
SHOWN = [case.values for case in covering(PAIRS) if not case.marks]
"""Every distribution and every estimator."""

MORE = {"iwae": {"num_particles": 2}}

NORMAL = sf.family(lambda p: sf.Normal(p["loc"], jnp.exp(p["log_scale"])))
AT = {"loc": np.array([0.3, -0.2]), "log_scale": np.array([-0.2, 0.1])}
COINS = sf.family(lambda logits: sf.Bernoulli(logits=logits))
LOGITS = np.array([0.4, -0.7, 1.1])
smooth = lambda x: jnp.exp(0.5 * jnp.sum(x)) + x[0] * x[1]
DELTA = sf.control_variates.delta
PROPOSAL = sf.Normal(np.zeros(2), np.full(2, 1.5))


def leaves(tree):
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]


def assert_mean_is(rows, whole, num_rows):
    for row, grad in zip(leaves(rows), leaves(whole), strict=True):
        assert row.shape == (num_rows, *grad.shape) and row.dtype == grad.dtype
        scale = 1e-3 + np.max(np.abs(row), initial=0.0)
        np.testing.assert_allclose(row.mean(0), grad, rtol=1e-9, atol=1e-10 * scale)


@pytest.mark.parametrize(("name", "estimator"), covering(SHOWN, lambda name, estimator: estimator))
def test_the_mean_is_the_gradient(name, estimator):
    with jax.enable_x64(True):
        params, case = params_of(name, jnp.float64), CASES[name]
        twin = getattr(sf, f"{estimator}_grad")
        options = {"num_samples": 8, **REQUIRED.get(estimator, {}), **MORE.get(estimator, {})}

        def both(key):
            again = jax.random.clone(key)
            f, family = lambda x: case.f(x, params), case.drawn(estimator, jax.random.clone(key))
            go = lambda key, **more: twin(f, family, params, key, **options, **more)
            return go(key, per_draw=True), go(again)

        rows, whole = jax.jit(both)(jax.random.key(5))
        num_rows = {len(row) for row in leaves(rows)}
        assert len(num_rows) == 1 and num_rows <= {8, 4, 2, 1}
        assert_mean_is(rows, whole, num_rows.pop())


VARIED = {
    "no baseline": {"baseline": None},
    "batch mean": {"baseline": sf.baselines.batch_mean},
    "self-critical": {"baseline": sf.baselines.self_critical},
    "baseline for each parameter": {"baseline": sf.baselines.optimal_constant},
    "control variate": {"control_variate": DELTA(order=1)},
    "fitted": {"control_variate": DELTA(order=1, coefficient="fitted")},
    "for each parameter": {"control_variate": DELTA(order=1, coefficient="fitted_per_parameter")},
    "antithetic": {"scheme": sf.schemes.antithetic},
    "sobol": {"scheme": sf.schemes.sobol(4)},
    "proposal": {"proposal": PROPOSAL},
    "cut weights": {"proposal": PROPOSAL, "max_weight": 1.1},
    "chunks": {"chunk_size": 5},
    "all at once": {"chunk_size": None},
}


@pytest.mark.parametrize("variant", few(VARIED, "for each parameter", "antithetic", "cut weights", "chunks"))
def test_the_mean_is_the_gradient_with_every_option(variant):
    with jax.enable_x64(True):
        twin = functools.partial(sf.score_function_grad, smooth, NORMAL, num_samples=16, **VARIED[variant])
        rows, whole = jax.jit(lambda params, keys: (twin(params, keys[0], per_draw=True), twin(params, keys[1])))(
            AT, [jax.random.key(2), jax.random.key(2)]
        )
        assert_mean_is(rows, whole, 16)


@pytest.mark.parametrize("estimator", few([name for name in DRAWING if name != "vargrad"], "score_function", "rebar"))
def test_the_gradients_of_an_elbo(estimator):
    """Its f has the density of q, and moves with the parameters."""
    with jax.enable_x64(True):
        record = sf.ESTIMATORS[estimator]
        q, params = (NORMAL, AT) if record.missing(COINS.at(LOGITS)) else (COINS, LOGITS)
        f = lambda x: -jnp.sum((x - 0.3) ** 2) - x[0] * x[1]
        options = {"num_samples": 8, "estimator": estimator, **REQUIRED.get(estimator, {}), **MORE.get(estimator, {})}
        twin = functools.partial(sf.elbo_grad, f, q, has_aux=True, **options)
        (rows, info), (whole, plain) = jax.jit(
            lambda params, keys: (twin(params, keys[0], per_draw=True), twin(params, keys[1]))
        )(params, [jax.random.key(1), jax.random.key(1)])
        assert_mean_is(rows, whole, len(leaves(rows)[0]))
        for a, b in zip(leaves(info._replace(gradient_standard_error=None)), leaves(plain), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
        assert plain.gradient_standard_error is None


def test_each_row_is_that_of_its_draw():
    """The score of a draw times what f exceeds its baseline by, from a derivation by hand."""
    with jax.enable_x64(True):
        rows, info = sf.score_function_grad(
            smooth, NORMAL, AT, jax.random.key(0), num_samples=9, per_draw=True, has_aux=True
        )
        x, f = np.asarray(info.samples), np.asarray(info.values)
        rest = (f - (f.sum() - f) / 8)[:, None]
        z = (x - AT["loc"]) / np.exp(AT["log_scale"])
        np.testing.assert_allclose(rows["loc"], rest * z / np.exp(AT["log_scale"]), rtol=1e-10)
        np.testing.assert_allclose(rows["log_scale"], rest * (z**2 - 1), rtol=1e-10)

        rows, info = sf.pathwise_grad(smooth, NORMAL, AT, jax.random.key(0), num_samples=9, per_draw=True, has_aux=True)
        slopes = np.asarray(jax.vmap(jax.grad(smooth))(info.samples))
        np.testing.assert_allclose(rows["loc"], slopes, rtol=1e-10)
        np.testing.assert_allclose(rows["log_scale"], slopes * (np.asarray(info.samples) - AT["loc"]), rtol=1e-10)


SPREAD = {
    "score_function": {}, "score_function, no baseline": {"baseline": None}, "score_function, pairs": {"scheme": sf.schemes.antithetic},
    "score_function, proposal": {"proposal": PROPOSAL}, "pathwise": {}, "measure_valued": {}, "double_control_variate": {}, "vargrad": {},
    "sticking_the_landing": {}, "iwae": {"num_particles": 4, "num_samples": 256},
    "arm": {}, "disarm": {}, "arms": {"group_size": 4}, "rao_blackwell": {}, "sum_and_sample": {}, "unordered_set": {"num_samples": 120},
    "disarm_categorical": {}, "carms": {}, "rebar": {}, "rodeo": {}, "gumbel_softmax": {}, "straight_through": {}, "gumbel_rao": {},
    "reinmax": {}, "relax": REQUIRED["relax"], "coupled": {},
}  # fmt: skip


def spread(case):
    """Mean of the squared standard error, and the variance of the gradient that it is to tell, over many keys."""
    estimator = case.split(",")[0]
    on_normal = bool(sf.ESTIMATORS[estimator].missing(COINS.at(LOGITS))) or "proposal" in case or "pairs" in case
    family, params = (NORMAL, AT) if on_normal else (COINS, LOGITS)
    f = smooth if on_normal else lambda x: jnp.exp(0.5 * jnp.sum(x)) + x[0] * x[1]
    options = {"num_samples": 64, **SPREAD[case]}

    def one(key):
        twin = getattr(sf, f"{estimator}_grad")
        rows, info = twin(f, family, params, key, per_draw=True, has_aux=True, **options)
        return jax.tree.map(lambda g: g.mean(0), rows), info.gradient_standard_error

    grads, errors = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(3), 2000))
    flat = lambda tree: np.concatenate([np.asarray(leaf).reshape(2000, -1) for leaf in leaves(tree)], axis=1)
    return (flat(errors) ** 2).mean(0), flat(grads).var(0)


@pytest.mark.statistical
@pytest.mark.parametrize("case", few(SPREAD, "score_function, pairs", "sum_and_sample", "measure_valued"))
def test_the_standard_error_is_the_spread_of_the_gradient(case):
    told, true = spread(case)
    np.testing.assert_allclose(told, true, rtol=0.2)


@pytest.mark.statistical
def test_what_is_left_to_all_draws_is_seen(monkeypatch):
    """A broken twin: a gradient that each draw has of its own, taken for one that is common to all."""
    monkeypatch.setattr(Call, "map_rows", lambda self, one, table: jax.vmap(one)(table))
    told, true = spread("measure_valued")
    assert np.all(told < 0.01 * true)


def test_every_estimator_that_draws_is_held_to_its_spread():
    assert {case.split(",")[0] for case in SPREAD} == set(DRAWING)


def test_ints_and_what_is_no_number_are_left_alone():
    family = sf.family(lambda p: sf.Normal(p["loc"] * p["times"], 1.0))
    params = {"loc": jnp.ones(2), "times": 3, "name": "q"}
    go = lambda params: sf.pathwise_grad(jnp.sum, family, params, jax.random.key(0), num_samples=4, per_draw=True)
    rows = go(params)
    assert rows["loc"].shape == (4, 2) and rows["times"].shape == (4,) and rows["times"].dtype == jax.dtypes.float0
    assert rows["name"] is None
    bare = {"loc": params["loc"], "times": 3}
    np.testing.assert_allclose(jax.jit(go)(bare)["loc"], rows["loc"], rtol=1e-6)


def test_there_is_one_only_where_something_is_drawn():
    with pytest.raises(ValueError, match="exact draws nothing, so per_draw=True has no draws to tell apart"):
        sf.exact_grad(jnp.sum, COINS, LOGITS, per_draw=True)


@pytest.mark.parametrize("num_samples", few([2, 3, 4], 3))
def test_the_error_of_few_draws_is_not_told(num_samples):
    twin = functools.partial(
        sf.score_function_grad, smooth, NORMAL, AT, num_samples=num_samples, per_draw=True, has_aux=True
    )
    errors = leaves(twin(jax.random.key(0))[1].gradient_standard_error)
    assert all(np.all(np.isnan(error) == (num_samples < 4)) for error in errors)


def test_they_have_no_derivative():
    twin = functools.partial(sf.score_function_grad, jnp.sum, COINS, per_draw=True, has_aux=True)
    error = lambda p: jnp.sum(twin(p, jax.random.key(0))[1].gradient_standard_error)
    for loss in (lambda p: jnp.sum(twin(p, jax.random.key(0))[0] ** 2), error):
        with pytest.raises(TypeError, match="carry no derivative"):
            jax.grad(loss)(jnp.asarray(LOGITS))


@pytest.mark.slow
@pytest.mark.sharded
def test_devices_change_nothing():
    mesh = jax.make_mesh((4,), ("draws",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("draws"))
    go = lambda **how: sf.score_function_grad(
        smooth, NORMAL, AT, jax.random.key(0), num_samples=8, per_draw=True, **how
    )
    for a, b in zip(leaves(go(sharding=sharding)), leaves(go()), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


MOVING = {"logits": LOGITS, "weights": np.array([0.5, -1.0, 2.0])}
GATES = sf.family(lambda p: sf.Bernoulli(logits=p["logits"]))
REGRESSION = lambda gates, p: (jnp.sum(p["weights"] * gates) - 0.7) ** 2


@pytest.mark.parametrize(
    "estimator",
    few(["exact", "score_function", "disarm", "rao_blackwell", "elbo", "iwae"], "score_function", "elbo"),
)
def test_an_f_of_two_arguments_is_differentiated_in_the_parameters_too(estimator):
    """As ``jax.grad`` of the estimator with an f that closes over them; of a function of the draw alone that part is left out."""
    with jax.enable_x64(True):
        options = {} if estimator == "exact" else {"key": jax.random.key(0), "num_samples": 8}
        options |= MORE.get(estimator, {})
        function, twin = getattr(sf, estimator), getattr(sf, f"{estimator}_grad")
        closed = lambda p, key: function(
            lambda x: REGRESSION(x, p), GATES, p, **options | ({"key": key} if options else {})
        )
        other_key = jax.random.key(0)
        want = jax.grad(closed)(MOVING, other_key)
        got = twin(REGRESSION, GATES, MOVING, **options)
        for a, b in zip(leaves(got), leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
        assert np.abs(got["weights"]).min() > 1e-3
        if estimator != "exact":
            rows = twin(REGRESSION, GATES, MOVING, **options | {"key": jax.random.key(0)}, per_draw=True)
            assert_mean_is(rows, want, len(leaves(rows)[0]))


def test_vargrad_refuses_an_f_that_moves():
    with pytest.raises(TypeError, match="vargrad_grad was given a function of a draw and the parameters"):
        sf.vargrad_grad(REGRESSION, GATES, MOVING, jax.random.key(0))
