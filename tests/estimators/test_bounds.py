"""Bounds on the evidence, K = 1, 2, 3 particles, against exact values: every outcome is summed, or every integral is settled."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering

import jax_scorefn as sf
from jax_scorefn.testing import assert_unbiased, replicate

stop = jax.lax.stop_gradient
NAMES = ("score", "vimco", "pathwise", "doubly_reparameterized")


def log_mean(log_w):
    return jnp.log(jnp.mean(jnp.exp(log_w)))  # as it is defined; the library must not do it so


def same(tree, other, **tolerance):
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


def furthest(tree, other):
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
    return max(np.max(np.abs(a - b)) for a, b in pairs)


# Discrete draws: sums over all tuples

CATEGORICAL = sf.family(lambda p: sf.Categorical(logits=p["q"]))


def problem(size):
    """Parameters of q, parameters of a model, and log p(x, data) of them; as many categories as can be summed over."""
    categories = 2 if size == 3 else 3
    params = {"q": jnp.array([0.4, -0.3, 0.2][:categories]), "model": jnp.array([0.7, -0.5])}

    def f(x, params):
        m, x = params["model"], jnp.asarray(x, float)
        return m[0] * x - jnp.exp(m[1]) * (x - 0.6) ** 2 + jnp.sin(m[0] * m[1])

    return params, f, np.arange(categories)


def exact_bound(f, support, size):
    def bound(params):
        def of(xs):
            log_q = jax.vmap(lambda x: CATEGORICAL(params, x))(xs)
            return jnp.exp(jnp.sum(log_q)) * log_mean(jax.vmap(lambda x: f(x, params))(xs) - log_q)

        return jnp.sum(jax.vmap(of)(jnp.array(list(itertools.product(support, repeat=size)))))

    return bound


def mean_over_outcomes(run, log_prob, support, num_draws, count):
    """Exact mean of ``run(key) -> (draws, estimate)``: each outcome of the draws is met under one of ``count`` keys, and weighed."""
    every = jax.jit(lambda: jax.vmap(run)(jax.random.split(jax.random.key(0), count)))
    draws, estimates = jax.device_get(every())
    outcomes, first = np.unique(draws, axis=0, return_index=True)
    assert len(outcomes) == len(support) ** num_draws
    probs = np.exp(np.asarray(jax.jit(jax.vmap(jax.vmap(log_prob)))(outcomes)).sum(axis=1))
    np.testing.assert_allclose(probs.sum(), 1)
    return jax.tree.map(lambda leaf: np.tensordot(probs, leaf[first], axes=1), estimates)


@pytest.mark.parametrize(
    ("gradient", "size", "num_bounds"),
    covering(
        [("vimco", 3, 2), ("score", 1, 2), ("score", 2, 2), ("score", 3, 2), ("vimco", 2, 1), ("score", 3, 1), ("vimco", 2, 2), ("vimco", 3, 1)],
        lambda *_: "the code of all",
    ),
)  # fmt: skip
def test_the_bound_and_its_gradient_over_all_outcomes(x64, gradient, size, num_bounds):
    """In the parameters of q and of the model, to the last digits."""
    params, f, support = problem(size)

    def run(key):
        options = {"num_samples": size * num_bounds, "num_particles": size, "gradient": gradient, "has_aux": True}
        estimate = lambda p: sf.iwae(lambda x: f(x, p), CATEGORICAL, p, key, **options)
        (value, info), grads = jax.value_and_grad(estimate, has_aux=True)(params)
        return info.samples, (value, grads)

    got = mean_over_outcomes(run, lambda x: CATEGORICAL(params, x), support, size * num_bounds, 10_000)
    exact = jax.jit(jax.value_and_grad(exact_bound(f, support, size)))(params)
    same(got, exact, rtol=1e-11, atol=1e-12)


def _surrogate(kind, log_w, log_q):
    """Of one bound: its derivative is the gradient, or one that is broken on purpose."""
    bound, size = log_mean(log_w), log_w.shape[0]
    own = jnp.eye(size, dtype=bool)
    rows = jnp.broadcast_to(log_w, (size, size))
    geometric = lambda values, count: jnp.sum(values, axis=1, keepdims=True) / count
    without = {
        "vimco": jnp.where(own, geometric(jnp.where(own, 0, rows), size - 1), rows),
        "a geometric mean with its own": jnp.where(own, geometric(rows, size), rows),
    }
    signals = bound - jax.vmap(log_mean)(without.get(kind, without["vimco"]))
    signals = {"no score": 0 * signals, "flipped": -signals}.get(kind, signals)
    inner = {
        "weights not stopped": jnp.sum(jax.nn.softmax(log_w) * log_w),
        "weights of 1 / K": jnp.mean(log_w),
        "f stopped": 0.0 * bound,
    }.get(kind, bound)
    return jnp.sum(stop(signals) * log_q) + inner


TWINS = (
    "a geometric mean with its own",
    "no score",
    "flipped",
    "weights not stopped",
    "weights of 1 / K",
    "f stopped",
)


def test_broken_twins_fail_the_same_comparison(x64):
    params, f, support = problem(2)

    @jax.jit
    def means():
        truth = jax.grad(exact_bound(f, support, 2))(params)
        # log and mean swapped: the bound of one particle, whatever K is
        bounds = exact_bound(f, support, 1)(params), exact_bound(f, support, 2)(params)

        def of(xs, kind):
            def surrogate(p):
                log_q = jax.vmap(lambda x: CATEGORICAL(p, x))(xs)
                return _surrogate(kind, jax.vmap(lambda x: f(x, p))(xs) - log_q, log_q)

            return jax.grad(surrogate)(params)

        average = lambda kind: sf.testing.enumerate_draws(lambda xs: of(xs, kind), CATEGORICAL, params, support, 2)
        return {kind: average(kind) for kind in ("vimco", *TWINS)}, truth, bounds

    found, truth, (mean_of_logs, bound) = means()
    same(found.pop("vimco"), truth, rtol=1e-11, atol=1e-12)
    for kind, mean in found.items():
        assert furthest(mean, truth) > 0.01, kind
    assert abs(mean_of_logs - bound) > 0.01


# Along the path: the formulas of the papers at the draws, and their integrals

NORMAL = sf.family(lambda p: sf.Normal(loc=p["loc"], scale=jnp.exp(p["log_scale"])))
AT = {"loc": 0.3, "log_scale": -0.4, "model": [0.5, 0.8]}


def at():
    return jax.tree.map(jnp.asarray, AT, is_leaf=lambda leaf: isinstance(leaf, list))


def smooth(x, params):
    m = params["model"]
    return -0.5 * (x - m[0]) ** 2 + m[1] * jnp.sin(2.0 * x)


def by_hand(kind, params, eps):
    """Gradient of one bound from the noise of its particles, every derivative of q written out."""
    scale = jnp.exp(params["log_scale"])
    x = params["loc"] + scale * eps
    log_w = jax.vmap(lambda x: smooth(x, params))(x) + 0.5 * eps**2 + jnp.log(scale)
    share = jnp.exp(log_w) / jnp.sum(jnp.exp(log_w))
    slope = jax.vmap(jax.grad(smooth), (0, None))(x, params) + eps / scale  # of log w in x
    of_model = jax.vmap(jax.grad(lambda p, x: smooth(x, p)), (None, 0))(params, x)["model"]
    of_path, at_x = (
        (slope, scale * eps * slope),
        (eps / scale, eps**2 - 1),
    )  # the second: the score, d log q at a fixed x
    if kind == "pathwise":
        loc, log_scale = (jnp.sum(share * (p - s)) for p, s in zip(of_path, at_x, strict=True))
    else:
        weights = share if kind == "weights not squared" else share**2
        loc, log_scale = (jnp.sum(weights * p) for p in of_path)
    model = (share**2 if kind == "the model's weights squared" else share) @ of_model
    return {"loc": loc, "log_scale": log_scale, "model": model}


def integral(kind, params, size, nodes):
    eps, weights = np.polynomial.hermite_e.hermegauss(nodes)
    grid = jnp.array(list(itertools.product(eps, repeat=size)))
    joint = jnp.array(list(itertools.product(weights, repeat=size))).prod(axis=1) / (2 * np.pi) ** (size / 2)
    return jax.tree.map(
        lambda leaf: jnp.tensordot(joint, leaf, axes=1), jax.vmap(lambda e: by_hand(kind, params, e))(grid)
    )


@functools.cache
def integrated_bound(size):
    """The bound and its gradient by a rule that moves no node: nothing of it is along a path."""
    log_q = lambda p, xs: jnp.sum(jax.vmap(lambda x: NORMAL(p, x))(xs))
    value = lambda xs, p: log_mean(jax.vmap(lambda x: smooth(x, p) - NORMAL(p, x))(xs))
    panels = {1: 40, 2: 24, 3: 8}[size]
    oracle = sf.testing.quadrature_expectation(value, log_q, [(-5.7, 6.3)] * size, panels=panels, nodes=8)
    return jax.device_get(jax.jit(jax.value_and_grad(oracle))(at()))


@pytest.mark.parametrize("size", covering([2, 1, 3]))
@pytest.mark.parametrize("gradient", ["pathwise", "doubly_reparameterized"])
def test_gradients_along_the_path_are_those_of_the_papers_and_integrate_to_the_bounds(x64, gradient, size):
    _, grads = integrated_bound(size)
    nodes, tolerance = {1: (80, 1e-7), 2: (80, 1e-7), 3: (36, 1e-4)}[size]
    same(jax.jit(lambda p: integral(gradient, p, size, nodes))(at()), grads, atol=tolerance)

    @jax.jit
    def at_the_draws(params, key):
        loss = lambda p: sf.iwae(
            lambda x: smooth(x, p),
            NORMAL,
            p,
            key,
            num_samples=4 * size,
            num_particles=size,
            gradient=gradient,
            has_aux=True,
        )
        (value, info), got = jax.value_and_grad(loss, has_aux=True)(params)
        eps = ((info.samples - params["loc"]) / jnp.exp(params["log_scale"])).reshape(-1, size)
        bounds = jax.vmap(log_mean)(info.values.reshape(-1, size))
        by_paper = jax.vmap(lambda e: by_hand(gradient, params, e))(eps)
        return (value, got), (jnp.mean(bounds), jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), by_paper))

    same(*at_the_draws(at(), jax.random.key(1)), rtol=1e-11, atol=1e-12)


def test_broken_weights_along_the_path_fail_the_same_comparison(x64):
    _, grads = integrated_bound(2)
    twins = ("weights not squared", "the model's weights squared")
    found = jax.jit(lambda p: {kind: integral(kind, p, 2, 40) for kind in twins})(at())
    for kind, mean in found.items():
        assert furthest(mean, grads) > 0.01, kind


@pytest.mark.statistical
def test_all_four_share_their_value_and_their_mean():
    exact = jax.tree.map(np.float32, _in_float64(2))
    keys = jax.random.key(3)

    def runs(gradient):
        loss = lambda p, key: sf.iwae(
            lambda x: smooth(x, p), NORMAL, p, key, num_samples=8, num_particles=2, gradient=gradient
        )
        return lambda key: jax.value_and_grad(loss)(at(), key)

    found = replicate(
        lambda key: {name: runs(name)(jax.random.clone(key)) for name in NAMES}, keys, 20_000, batch=20_000
    )
    for name in NAMES:
        assert_unbiased(found[name], exact, precision=0.03, name=name)
    with pytest.raises(AssertionError, match="is biased"):
        assert_unbiased(jax.tree.map(lambda leaf: 1.2 * leaf, found["vimco"]), exact, precision=0.03)
    variance = {name: sum(leaf.var(axis=0).sum() for leaf in jax.tree.leaves(found[name][1])) for name in NAMES}
    assert variance["doubly_reparameterized"] < variance["pathwise"] < variance["vimco"] < variance["score"]


def _in_float64(size):
    with jax.enable_x64(True):
        return integrated_bound(size)


# One particle, and the target reached


def elbo(p):
    return lambda x: smooth(x, p) - NORMAL(p, x)


def test_one_particle_gives_the_evidence_lower_bound(x64):
    """The score function, pathwise and sticking the landing of f - log q, number by number."""
    one = {"num_samples": 6, "num_particles": 1}
    key = lambda: jax.random.key(5)

    @jax.jit
    def run(p):
        bound = lambda p, gradient: sf.iwae(lambda x: smooth(x, p), NORMAL, p, key(), gradient=gradient, **one)
        ours = {
            name: jax.value_and_grad(bound)(p, name) for name in ("score", "auto", "pathwise", "doubly_reparameterized")
        }
        score = jax.value_and_grad(lambda p: sf.score_function(elbo(p), NORMAL, p, key(), num_samples=6))(p)
        path = jax.value_and_grad(lambda p: sf.pathwise(elbo(p), NORMAL, p, key(), num_samples=6))(p)
        landing = jax.value_and_grad(
            lambda p: sf.sticking_the_landing(lambda x: smooth(x, p), NORMAL, p, key(), num_samples=6)
        )(p)
        return ours, {"score": score, "auto": score, "pathwise": path, "doubly_reparameterized": landing}

    same(*run(at()), rtol=1e-11, atol=1e-12)


JOINT = sf.family(
    lambda p: sf.Joint({"a": sf.Normal(loc=p["m"], scale=jnp.exp(p["s"])), "b": sf.Gamma(concentration=2.0, rate=jnp.exp(p["s"][0]))})
)  # fmt: skip
PLAIN = sf.family(
    log_prob=lambda p, x: jnp.sum(jax.scipy.stats.norm.logpdf(x, p["m"], jnp.exp(p["s"]))),
    sampler=lambda key, p: p["m"] + jnp.exp(p["s"]) * jax.random.normal(key, (2,)),
    reparameterized=True,
)


@pytest.mark.parametrize("family", covering([PLAIN, JOINT]), ids=["two functions", "joint"])
def test_at_the_target_there_is_no_noise_along_the_path(x64, family):
    """For every draw f - log q is a constant there; the score of log q is noise that pathwise keeps."""
    params = {"m": jnp.array([0.3, -0.8]), "s": jnp.array([-0.4, 0.2])}
    target = lambda x: family(jax.tree.map(jnp.array, params), x) + 3.0
    key = lambda: jax.random.key(0)

    @jax.jit
    def run(p):
        landing = jax.value_and_grad(lambda p: sf.sticking_the_landing(target, family, p, key(), num_samples=4))(p)
        many = {"num_samples": 4, "gradient": "doubly_reparameterized"}
        path = jax.grad(lambda p: sf.pathwise(lambda x: target(x) - family(p, x), family, p, key(), num_samples=4))(p)
        return landing, jax.value_and_grad(lambda p: sf.iwae(target, family, p, key(), **many))(p), path

    landing, many, path = run(params)
    for value, grads in (landing, many):
        np.testing.assert_allclose(value, 3.0, rtol=1e-10)
        assert max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(grads)) < 1e-12
    assert min(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(path)) > 0.1


@pytest.mark.parametrize("name", ["sticking_the_landing", "doubly_reparameterized"])
def test_a_family_that_closes_over_what_is_differentiated_does_not_escape_the_order_guard(name):
    """Of two plain functions: the first derivative is a number, the second raises."""

    def loss(m):
        family = sf.family(
            log_prob=lambda p, x: jax.scipy.stats.norm.logpdf(x, m + p),
            sampler=lambda key, p: m + p + jax.random.normal(key),
            reparameterized=True,
        )
        function, options = sf.sticking_the_landing, {}
        if name != "sticking_the_landing":
            function, options = sf.iwae, {"gradient": name}
        return function(lambda x: -(x**2), family, 0.0, jax.random.key(0), num_samples=2, **options)

    assert np.isfinite(jax.jit(jax.grad(loss))(0.3))
    with pytest.raises(TypeError, match="estimates derivatives up to order 1"):
        jax.eval_shape(jax.hessian(loss), 0.3)


@pytest.mark.statistical
def test_sticking_the_landing_is_unbiased_and_its_twins_are_not(x64):
    value, grads = integrated_bound(1)
    options = {"num_samples": 8, "scheme": sf.schemes.antithetic}
    landing = lambda p, key: sf.sticking_the_landing(lambda x: smooth(x, p), NORMAL, p, key, **options)
    twins = {
        "log q held whole": lambda p, key: sf.pathwise(
            lambda x: smooth(x, p) - stop(NORMAL(p, x)), NORMAL, p, key, num_samples=8
        ),
        "f's parameters held": lambda p, key: sf.sticking_the_landing(
            lambda x: smooth(x, stop(p)), NORMAL, p, key, num_samples=8
        ),
    }
    every = {"landing": landing, **twins}
    run = lambda key: {name: jax.value_and_grad(f)(at(), jax.random.clone(key)) for name, f in every.items()}
    found = replicate(run, jax.random.key(0), 10_000, batch=10_000)
    assert_unbiased(found.pop("landing"), (value, grads), precision=0.02, rounding=1e-10)
    for name, runs in found.items():
        with pytest.raises(AssertionError, match="is biased"):
            assert_unbiased(runs, (value, grads), precision=0.05, name=name)


# Noise


@pytest.mark.statistical
def test_where_noise_is_what_the_papers_say():
    """With more particles the plain path drowns in noise; the doubly reparameterized does not. VIMCO beats one number for a bound."""
    params = {"m": jnp.zeros(4) + 0.3}
    normal, bits = (
        sf.family(lambda p: sf.Normal(loc=p["m"], scale=1.0)),
        sf.family(lambda p: sf.Bernoulli(logits=p["m"])),
    )
    target = lambda x: -0.5 * jnp.sum(x**2) + jnp.sum(jnp.sin(x))
    coupled = lambda b: 2.0 * b[0] * b[1] - b[2] + jnp.tanh(b[3] * b[0] + b[1])

    def run(key):
        grad = lambda f, family, gradient: sf.iwae_grad(
            f, family, params, jax.random.clone(key), num_samples=64, num_particles=32, gradient=gradient
        )["m"]
        smooth = {name: grad(target, normal, name) for name in ("pathwise", "doubly_reparameterized")}
        return {**smooth, **{name: grad(coupled, bits, name) for name in ("score", "vimco")}}

    runs = replicate(run, jax.random.key(0), 2000, batch=500)
    variance = {name: found.var(axis=0).sum() for name, found in runs.items()}
    assert 5 * variance["doubly_reparameterized"] < variance["pathwise"]
    assert 5 * variance["vimco"] < variance["score"]
    for a, b in (("pathwise", "doubly_reparameterized"), ("score", "vimco")):
        error = np.sqrt((runs[a].var(axis=0) + runs[b].var(axis=0)) / 2000)
        assert np.all(np.abs(runs[a].mean(axis=0) - runs[b].mean(axis=0)) < 5 * error)


# Extremes


@pytest.mark.parametrize(
    "gradient",
    covering(["vimco", "doubly_reparameterized", "score", "pathwise"], lambda name: name in ("vimco", "score")),
)
def test_extreme_weights_give_finite_gradients(gradient):
    """Log-weights thousands apart, beyond all floats, and weights of 0: of some particles, of all but one."""
    params = {"loc": jnp.float32(0.1), "log_scale": jnp.float32(0.0)}
    targets = {
        "steep": lambda x: 1e3 * x,
        "high": lambda x: 1e3 + x,
        "low": lambda x: x - 1e3,
        "cut": lambda x: jnp.where(x > 0.0, -x, -jnp.inf),
        "nearly all cut": lambda x: jnp.where(x > 1.5, -x, -jnp.inf),
    }

    @jax.jit
    def run(key):
        def of_target(i):
            f = lambda x: jnp.stack([target(x) for target in targets.values()])[i]
            options = {"num_samples": 16, "num_particles": 8, "gradient": gradient, "has_aux": True}
            return jax.value_and_grad(sf.iwae, argnums=2, has_aux=True)(f, NORMAL, params, key, **options)

        return jax.vmap(of_target)(jnp.arange(len(targets)))

    (values, info), grads = jax.device_get(run(jax.random.key(SEED)))
    alive = np.isfinite(info.values[-1]).reshape(2, 8).sum(axis=1)
    assert min(alive) == 1 and list(targets)[-1] == "nearly all cut"
    for i, name in enumerate(targets):
        assert np.isfinite(values[i]) and all(np.all(np.isfinite(leaf[i])) for leaf in jax.tree.leaves(grads)), name


SEED = 18
"""Of 16 draws that leave one particle in a bound."""


@pytest.mark.nans
def test_a_bound_without_weight_is_minus_infinity():
    nowhere = lambda x: -jnp.inf * jnp.ones(())
    run = jax.jit(lambda p, key: sf.iwae(nowhere, NORMAL, p, key, num_samples=4, has_aux=True))
    value, info = run(at(), jax.random.key(0))
    assert value == -np.inf and np.all(info.values == -np.inf)


def test_an_offset_moves_no_gradient():
    """1e4 added to f, in float32."""
    bits = sf.family(lambda l: sf.Bernoulli(logits=l))
    grad = jax.jit(jax.vmap(lambda key, c: [
        sf.iwae_grad(lambda b: c + 2.0 * b[0] * b[1] - b[0], bits, jnp.zeros(2), jax.random.clone(key), num_samples=16, num_particles=4, gradient=name)
        for name in ("vimco", "score")
    ], (0, None)))  # fmt: skip
    for plain, shifted in zip(*(grad(jax.random.split(jax.random.key(2), 200), c) for c in (0.0, 1e4)), strict=True):
        assert np.max(np.abs(plain - shifted)) < 0.1 * np.std(plain)


# The frame


@pytest.mark.parametrize("gradient", covering(["vimco", "score"]))
def test_f_may_be_a_black_box_and_is_evaluated_once_for_each_particle(gradient):
    bits, seen = sf.family(lambda l: sf.Bernoulli(logits=l)), []
    host = lambda b: (seen.append(len(b)), np.float32(b.sum(axis=-1)))[1]
    options = {"num_samples": 12, "num_particles": 3, "gradient": gradient, "chunk_size": 5}
    grad = lambda f: jax.jit(
        lambda l: jax.value_and_grad(sf.iwae, argnums=2)(f, bits, l, jax.random.key(0), **options)
    )(jnp.zeros(3))
    got = jax.block_until_ready(grad(sf.black_box(host, vectorized=True)))
    assert sum(seen) == 12 and sf.ESTIMATORS["iwae"].evaluations == "S"
    same(got, grad(jnp.sum), rtol=1e-5)


def test_f_is_traced_once_along_the_path_and_a_black_box_is_refused():
    for estimator, options in ((sf.sticking_the_landing, {}), *((sf.iwae, {"gradient": name}) for name in NAMES[2:])):
        seen = []
        f = lambda x: (seen.append(1), jnp.sin(x))[1]
        jax.make_jaxpr(jax.grad(lambda p: estimator(f, NORMAL, p, jax.random.key(0), **options)))(at())
        assert len(seen) == 1
        box = sf.black_box(lambda x: np.float32(x))
        with pytest.raises(TypeError, match="A black box was differentiated in its input"):
            jax.eval_shape(jax.grad(lambda p: estimator(box, NORMAL, p, jax.random.key(0), **options)), at())


@pytest.mark.slow
@pytest.mark.sharded
@pytest.mark.parametrize("axes", ["Auto", "Explicit"])
def test_chunks_and_devices_that_split_a_bound_change_nothing(axes):
    mesh = jax.make_mesh((4,), ("draws",), axis_types=(getattr(jax.sharding.AxisType, axes),))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("draws"))
    names = NAMES if axes == "Explicit" else ("vimco", "doubly_reparameterized")

    def run(how):
        def loss(p, key, name):
            f = lambda x: smooth(x, p)
            if name == "landing":
                return sf.sticking_the_landing(f, NORMAL, p, key, num_samples=15, **how)
            return sf.iwae(f, NORMAL, p, key, num_samples=15, num_particles=5, gradient=name, **how)

        grads = lambda p, key: {n: jax.value_and_grad(loss)(p, jax.random.clone(key), n) for n in (*names, "landing")}
        return jax.jit(grads)(at(), jax.random.key(4))

    with jax.set_mesh(mesh):
        whole = run({})
        for how in ({"chunk_size": 4}, {"sharding": sharding}):
            same(run(how), whole, rtol=1e-5, atol=1e-6)


def test_a_batch_of_keys_is_the_keys_one_by_one():
    grad = jax.grad(lambda p, key: sf.iwae(lambda x: smooth(x, p), NORMAL, p, key, num_samples=8, num_particles=4))
    keys = lambda: jax.random.split(jax.random.key(0), 3)
    mapped, single = jax.jit(lambda p: (jax.vmap(grad, (None, 0))(p, keys()), grad(p, keys()[2])))(at())
    same(jax.tree.map(lambda leaf: leaf[2], mapped), single, rtol=1e-4, atol=1e-5)


def test_info_holds_the_log_weights():
    f = lambda x: jnp.float16(x)
    value, info = jax.jit(lambda key: sf.iwae(f, NORMAL, at(), key, num_samples=12, num_particles=4, has_aux=True))(
        jax.random.key(0)
    )
    bounds = np.log(np.exp(info.values.reshape(3, 4)).mean(axis=1))
    np.testing.assert_allclose(value, bounds.mean(), rtol=1e-5)
    np.testing.assert_allclose(info.value_standard_error, bounds.std(ddof=1) / np.sqrt(3), rtol=1e-4)
    np.testing.assert_allclose(info.weights.reshape(3, 4).sum(axis=1), 4.0, rtol=1e-5)
    assert value.dtype == info.values.dtype == jnp.result_type(float) and info.effective_sample_size <= 12


@pytest.mark.parametrize("name", NAMES)
def test_a_second_derivative_raises(name):
    loss = lambda p: sf.iwae(lambda x: smooth(x, p), NORMAL, p, jax.random.key(0), num_samples=4, gradient=name)
    with pytest.raises(TypeError, match="iwae estimates derivatives up to order 1"):
        jax.eval_shape(jax.hessian(loss), at())
    with pytest.raises(TypeError, match="sticking_the_landing estimates derivatives up to order 1"):
        jax.eval_shape(jax.hessian(lambda p: sf.sticking_the_landing(jnp.sin, NORMAL, p, jax.random.key(0))), at())


BITS = sf.family(lambda p: sf.Bernoulli(logits=p["loc"]))
ENDS = sf.family(lambda p: sf.Uniform(low=0.0, high=p["loc"]))
OPEN = sf.family(
    log_prob=lambda p, x: -((x - p["loc"]) ** 2), sampler=lambda key, p: p["loc"] + jax.random.normal(key),
    reparameterized=True, normalized=False,
)  # fmt: skip


@pytest.mark.parametrize(
    ("estimator", "f", "family", "options", "error", "message"),
    [
        ("iwae", jnp.sin, NORMAL, {"gradient": "reinforce"}, ValueError, "score, vimco, pathwise, doubly_reparameterized, or \"auto\"; not 'reinforce'"),
        ("iwae", jnp.sin, NORMAL, {"gradient": "vimco", "num_particles": 1}, ValueError, "there is one: raise num_particles"),
        ("iwae", jnp.sin, BITS, {"gradient": "pathwise"}, TypeError, "Bernoulli has .*Take gradient=\"vimco\" or \"score\""),
        ("iwae", jnp.sin, NORMAL, {"num_particles": 5}, ValueError, "iwae makes draws in groups of 5: num_samples has to be a multiple of that, not 64"),
        ("iwae", jnp.sin, NORMAL, {"num_particles": 2.0}, TypeError, "num_particles is a positive Python int"),
        ("iwae", lambda x: x[None], NORMAL, {}, ValueError, r"in iwae it returned shape \(1,\)"),
        ("iwae", jnp.sin, OPEN, {}, ValueError, "FunctionDistribution was declared to lack its constant"),
        ("iwae", jnp.sin, ENDS, {"gradient": "doubly_reparameterized"}, TypeError, "The ends of a Uniform distribution carry a derivative"),
        ("sticking_the_landing", jnp.sin, ENDS, {}, TypeError, "The ends of a Uniform distribution carry a derivative"),
        ("sticking_the_landing", jnp.sin, OPEN, {}, ValueError, "FunctionDistribution was declared to lack its constant"),
        ("sticking_the_landing", lambda x: x[None], NORMAL, {}, ValueError, r"in sticking_the_landing it returned shape \(1,\)"),
        ("sticking_the_landing", jnp.sin, BITS, {}, TypeError, "reparameterized draws; Bernoulli has .*Estimators that work with it: iwae."),
    ],
)  # fmt: skip
def test_what_is_refused(estimator, f, family, options, error, message):
    loss = lambda p: sf.ESTIMATORS[estimator].function(f, family, p, jax.random.key(0), **options)
    with pytest.raises(error, match=message):
        jax.eval_shape(jax.grad(loss), {"loc": jnp.float32(0.4), "log_scale": jnp.float32(0.1)})


TARGET = sf.Normal(loc=1.0, scale=0.5).log_prob
WRONG = {
    "log p - log q": lambda q, p: lambda x: TARGET(x) - q(p, x),
    "log q - log p": lambda q, p: lambda x: q(p, x) - TARGET(x),
    "by the distribution": lambda q, p: lambda x: TARGET(x) - q.at(p).log_prob(x),
    "compiled": lambda q, p: jax.jit(lambda x: TARGET(x) - q(p, x)),
}
CALLS = {
    "value": lambda run, wrong, q, p, key: run(wrong(q, p), q, p, key),
    "grad": lambda run, wrong, q, p, key: jax.grad(lambda p: run(wrong(q, p), q, p, key))(p),
    "jit": lambda run, wrong, q, p, key: jax.jit(lambda p: run(wrong(q, p), q, p, key))(p),
    "held": lambda run, wrong, q, p, key: jax.jit(jax.grad(lambda p: run(wrong(q, p), q, p, key)))(p),
}


@pytest.mark.parametrize(
    ("wrong", "name"), covering([(wrong, name) for wrong in sorted(WRONG) for name in ("sticking_the_landing", "iwae")])
)
def test_an_f_with_log_q_in_it_is_no_log_target(name, wrong):
    """The other estimators' f: log q would count twice. In the value, under transforms, and in the gradient form."""
    params, key, run = {"loc": jnp.array(0.3), "log_scale": jnp.array(-0.2)}, jax.random.key(0), getattr(sf, name)
    message = f"f asks for log q.*{name} subtracts log q itself"
    with jax.debug_key_reuse(False):
        for call in CALLS.values():
            with pytest.raises(TypeError, match=message):
                call(run, WRONG[wrong], NORMAL, params, key)
        with pytest.raises(TypeError, match=message):
            getattr(sf, f"{name}_grad")(WRONG[wrong](NORMAL, params), NORMAL, params, key)


def test_what_is_right_is_not_refused():
    """Another family of the same function, the same one at other parameters, equal ones, and estimators that want log p - log q."""
    params, key = {"loc": jnp.array(0.3), "log_scale": jnp.array(-0.2)}, jax.random.key(0)
    other = sf.family(lambda p: sf.Normal(loc=p["loc"], scale=jnp.exp(p["log_scale"])))
    copy = jax.tree.map(jnp.array, params)
    with jax.debug_key_reuse(False):
        bound = sf.sticking_the_landing(TARGET, NORMAL, params, key)
        same(bound, sf.pathwise(lambda x: TARGET(x) - NORMAL(params, x), NORMAL, params, key), rtol=1e-5)
        same(bound, -sf.vargrad(lambda x: NORMAL(params, x) - TARGET(x), NORMAL, params, key), rtol=1e-5)
        same(bound, sf.iwae(TARGET, NORMAL, params, key, num_particles=1, gradient="pathwise"), rtol=1e-5)
        same(sf.sticking_the_landing(lambda x: NORMAL(copy, x), NORMAL, params, key), 0.0, atol=1e-5)
        tempered = sf.sticking_the_landing(lambda x: TARGET(x) - other(params, x), NORMAL, params, key)
        assert abs(tempered - bound) > 0.1
        with pytest.raises(TypeError, match="not today"):  # and nothing stays refused after an error
            sf.iwae(lambda x: (_ for _ in ()).throw(TypeError("not today")), NORMAL, params, key)
        assert NORMAL(params, 0.3).shape == ()
