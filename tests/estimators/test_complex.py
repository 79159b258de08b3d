"""Complex parameters, complex f and complex draws, in JAX's convention: the gradient of a real E in z = a + i b is dE/da - i dE/db."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import HOLD_F, LOG_TARGET, REQUIRED, frame
from covering import covering

import jax_scorefn as sf


@pytest.fixture(autouse=True)
def _floats_and_complex_numbers_mix():
    with jax.numpy_dtype_promotion("standard"), jax.debug_key_reuse(False):
        yield


KINDS = {
    "all complex": {"w": jnp.array([0.4 - 0.3j, -0.2 + 0.5j]), "v": jnp.asarray(0.3 + 0.2j)},
    "mixed": {"w": jnp.array([0.4 - 0.3j, -0.2 + 0.5j]), "v": jnp.asarray(0.3)},
    "real": {"w": jnp.array([0.4, -0.2]), "v": jnp.asarray(0.3)},
}


def numbers(params):
    """What the distribution is made of: real, and no holomorphic function of the parameters."""
    w, v = params["w"], params["v"]
    return jnp.real(w * (0.8 + 0.5j)) + 0.3 * jnp.abs(w) ** 2 - jnp.imag(w) * jnp.real(v) + 0.2 * jnp.imag(v)


COINS = sf.family(lambda p: sf.Bernoulli(logits=numbers(p)))
NORMALS = sf.family(lambda p: sf.Normal(loc=numbers(p), scale=0.7))
OUTCOMES = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])


def f(x, params):
    return jnp.sum(jnp.cos(x * jnp.arange(1.0, 3.0))) + jnp.real(jnp.sum(params["w"] * x) * jnp.conj(params["v"])) ** 2


def complex_f(x, params):
    return f(x, params) + 1j * jnp.sum(x * jnp.abs(params["w"])) + jnp.exp(1j * x[0]) * params["v"]


def family_of(name):
    record, params = sf.ESTIMATORS[name], KINDS["mixed"]
    return next(family for family in (COINS, NORMALS) if not record.missing(family.at(params)))


def run(name, objective, family, params, key, **options):
    """An estimate whose f depends on the parameters, where it may."""
    record = sf.ESTIMATORS[name]
    options = {**({} if name == "exact" else {"num_samples": 4}), **REQUIRED.get(name, {}), **options}
    own = jax.lax.stop_gradient(params) if name in HOLD_F else params
    return record.function(lambda x: objective(x, own), family, params, key, **options)


def split(params):
    """The same parameters as real numbers."""
    return jax.tree.map(lambda z: (z.real, z.imag) if jnp.iscomplexobj(z) else z, params)


def joined(parts, like):
    """Gradients in the real numbers as JAX gives them for the complex ones."""
    of = lambda z, part: jax.lax.complex(part[0], -part[1]) if jnp.iscomplexobj(z) else part
    leaves, treedef = jax.tree.flatten(like)
    return treedef.unflatten([of(z, part) for z, part in zip(leaves, treedef.flatten_up_to(parts), strict=True)])


def back(parts, like):
    of = lambda z, part: jax.lax.complex(*part) if jnp.iscomplexobj(z) else part
    leaves, treedef = jax.tree.flatten(like)
    return treedef.unflatten([of(z, part) for z, part in zip(leaves, treedef.flatten_up_to(parts), strict=True)])


def close(tree, other, rtol=2e-4):
    pairs = list(zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True))
    scale = max(float(np.max(np.abs(b))) for _, b in pairs)
    return all(np.allclose(a, b, rtol=rtol, atol=rtol * scale) for a, b in pairs)


def names_of(*estimates):
    names = [name for name, record in sorted(sf.ESTIMATORS.items()) if record.estimates in estimates]
    return covering(names, frame)


NOT_REAL = covering(sorted(KINDS), lambda kind: kind if kind != "real" else None)
"""Real parameters are those of every other test."""


@pytest.mark.parametrize(
    "kinds",
    covering([(("all complex", "mixed"),), (("real",),)], lambda kinds: len(kinds) > 1 or None),
    ids=" and ".join,
)
@pytest.mark.parametrize("name", names_of("E[f]", "a bound"))
def test_complex_parameters_are_pairs_of_real_ones(name, kinds):
    """The same draws, and derivatives that are those of the two real numbers, for every estimator and every kind of parameters."""
    family = family_of(name)

    @jax.jit
    def both(key):
        found = {}
        for kind, params in {kind: KINDS[kind] for kind in kinds}.items():
            of_parts = lambda parts, params=params: run(name, f, family, back(parts, params), key)
            whole = jax.value_and_grad(lambda p: run(name, f, family, p, key))(params)
            value, grads = jax.value_and_grad(of_parts)(split(params))
            found[kind] = whole, (value, joined(grads, params))
        return found

    found = jax.device_get(both(jax.random.key(0)))
    for kind, (got, wanted) in found.items():
        assert [leaf.dtype for leaf in jax.tree.leaves(got[1])] == [leaf.dtype for leaf in jax.tree.leaves(KINDS[kind])]
        assert close(got, wanted), (kind, got, wanted)
        assert kind == "real" or not close(jax.tree.map(np.conj, got), wanted)  # the other convention


@pytest.mark.parametrize("name", ["exact", "score_function"])
@pytest.mark.parametrize("kind", NOT_REAL)
def test_derivatives_in_complex_parameters_are_those_of_the_sum_over_all_outcomes(name, kind):
    params = KINDS[kind]
    exact = jax.jit(jax.value_and_grad(sf.testing.enumerate_expectation(f, COINS, OUTCOMES)))(params)
    estimate = jax.value_and_grad(lambda p, key: run(name, f, COINS, p, key))
    if name == "exact":
        return np.testing.assert_(close(jax.jit(estimate)(params, None), exact, rtol=1e-5))
    runs = sf.testing.replicate(lambda key: estimate(params, key), jax.random.key(0), 10_000, batch=10_000)
    sf.testing.assert_unbiased(runs, exact, precision=0.05)
    if kind != "real":
        with pytest.raises(AssertionError, match="is biased"):
            sf.testing.assert_unbiased(jax.tree.map(np.conj, runs), exact, precision=0.05)
    return None


def same_as_the_parts(name, key, objective=complex_f, real_options=None, **options):
    """A complex f is its real and its imaginary part on the same draws: value, derivatives of both, and Info."""
    family, params = family_of(name), KINDS["mixed"]
    parts = [lambda x, p: jnp.real(objective(x, p)), lambda x, p: jnp.imag(objective(x, p))]

    @jax.jit
    def everything():
        estimate = lambda p: run(name, objective, family, p, key, has_aux=True, **options)
        value, pull_back, info = jax.vjp(estimate, params, has_aux=True)
        grads = [pull_back(ct)[0] for ct in (jnp.ones((), complex), -1j * jnp.ones((), complex))]
        each = []
        for part, own in zip(parts, real_options or [options] * 2, strict=True):
            estimate = lambda p, part=part, own=own: run(name, part, family, p, key, has_aux=True, **own)
            each.append(jax.value_and_grad(estimate, has_aux=True)(params))
        return value, info, grads, each

    value, info, grads, each = jax.device_get(everything())
    for pick, of_part, ((real_value, real_info), real_grads) in zip((np.real, np.imag), grads, each, strict=True):
        assert close(pick(value), real_value, 1e-4) and close(of_part, real_grads, 1e-3)
        assert close(pick(info.values), real_info.values, 1e-4)
    error = np.hypot(*(real_info.value_standard_error for (_, real_info), _ in each))
    assert value.dtype == jnp.complex64 and info.values.shape == info.weights.shape
    assert info.value_standard_error.dtype == jnp.float32
    np.testing.assert_allclose(info.value_standard_error, error, rtol=1e-3)


@pytest.mark.parametrize("name", names_of("E[f]"))
def test_a_complex_f_is_its_parts_on_the_same_draws(name):
    options = {"relax": {"critic": lambda s, z: (1 + 0.5j) * s * jnp.sum(jnp.tanh(z))}}.get(name, {})
    real = [{"critic": lambda s, z: s * jnp.sum(jnp.tanh(z))}, {"critic": lambda s, z: 0.5 * s * jnp.sum(jnp.tanh(z))}]
    same_as_the_parts(name, jax.random.key(0), real_options=real if name == "relax" else None, **options)


EMA = sf.baselines.ema(0.5)
HOW = {
    "delta": {"control_variate": sf.control_variates.delta(coefficient=0.5)},
    "fitted": {"control_variate": sf.control_variates.delta(order=1, coefficient="fitted_per_parameter")},
    "optimal constant": {"baseline": sf.baselines.optimal_constant},
    "self critical": {"baseline": sf.baselines.self_critical},
    "proposal": {"proposal": sf.Bernoulli(probs=jnp.array([0.4, 0.6]))},
}


@pytest.mark.parametrize("how", covering(sorted(HOW)))
def test_options_of_the_score_function_with_a_complex_f(how):
    same_as_the_parts("score_function", jax.random.key(0), **{"num_samples": 8, **HOW[how]})


def test_users_functions_beside_a_complex_f_see_complex_values():
    params, key, seen = KINDS["mixed"], jax.random.key(0), []
    h, expectation = lambda x: (1 + 2j) * jnp.sum(x), lambda p: (1 + 2j) * jnp.sum(jax.nn.sigmoid(numbers(p)))
    control = sf.control_variates.known(h, expectation)

    def baseline(values):
        seen.append((values.shape, values.dtype))
        return (jnp.sum(values, axis=0, keepdims=True) - values) / (values.shape[0] - 1)

    state = EMA.init(dtype=complex)
    go = lambda **o: run("score_function", complex_f, COINS, params, key, num_samples=8, has_aux=True, **o)
    own, auto, (_, info) = jax.jit(lambda: (go(baseline=baseline)[0], go()[0], go(baseline=EMA.bind(state))))()
    of = lambda pick: sf.control_variates.known(lambda x: pick(h(x)), lambda p: pick(expectation(p)))
    real = [{"control_variate": of(jnp.real)}, {"control_variate": of(jnp.imag)}]
    same_as_the_parts("score_function", key, control_variate=control, real_options=real)
    np.testing.assert_allclose(own, auto, rtol=1e-5)
    assert seen == [((8,), jnp.complex64)]
    ema = jax.jit(lambda state, info: EMA.value(EMA.update(state, info)))(state, info)
    np.testing.assert_allclose(ema, np.mean(info.values), rtol=1e-5)
    with pytest.raises(TypeError, match=r"begin with ema_.init\(shape, dtype=complex\)"):
        EMA.update(EMA.init(), info)
    net = sf.baselines.learned(lambda p, context: p * context, optax.sgd(1.0))
    trained = jax.jit(lambda info: net.update(net.init(jnp.zeros((), complex)), info, 1.0))(info)
    np.testing.assert_allclose(trained.params, np.mean(info.values), rtol=1e-5)  # one step to the minimum


def spins(n):
    return np.array(np.meshgrid(*[[-1.0, 1.0]] * n, indexing="ij")).reshape(n, -1).T


def chain(n=3):
    """A Hermitian matrix on n spins that no single phase makes real."""
    rng = np.random.default_rng(0)
    h = rng.normal(size=(2**n, 2**n)) + 1j * rng.normal(size=(2**n, 2**n))
    return h + h.conj().T + 3 * np.eye(2**n)


@pytest.mark.parametrize("estimator", covering(["score_function", "exact"]))
def test_variational_monte_carlo(x64, estimator):
    """|psi|^2 as the distribution, real; local energies that are complex; complex parameters. Against <psi|H|psi> / <psi|psi>."""
    xs, h = jnp.asarray(spins(3)), jnp.asarray(chain())
    key = jax.random.key(1)
    normal = jax.jit(jax.random.normal, static_argnums=(1, 2))
    params = {"a": 0.3 * np.asarray(normal(key, (3,), complex)), "w": 0.4 * np.asarray(normal(key, (2, 3), complex))}

    def log_psi(params, x):
        x = x.astype(complex)
        return params["a"] @ x + jnp.sum(jnp.log(jnp.cosh(params["w"] @ x)))

    def energy(params):
        psi = jnp.exp(jax.vmap(lambda x: log_psi(params, x))(xs))
        return jnp.real(jnp.vdot(psi, h @ psi)) / jnp.real(jnp.vdot(psi, psi))

    def local_energy(params, x):
        row = h[jnp.argmax(jnp.all(xs == x[None], axis=-1))]
        return jnp.sum(row * jnp.exp(jax.vmap(lambda y: log_psi(params, y))(xs) - log_psi(params, x)))

    born = sf.family(log_prob=lambda p, x: 2 * jnp.real(log_psi(p, x)), support=xs)
    run = getattr(sf, estimator)
    options = {} if estimator == "exact" else {"num_samples": 32}
    loss = lambda p, key: run(lambda x: local_energy(p, x), born, p, key, **options)
    mean = lambda p, key: jnp.real(loss(p, key))
    exact = jax.jit(jax.value_and_grad(energy))(params)
    if estimator == "exact":
        value, grads = jax.jit(jax.value_and_grad(mean))(params, None)
        np.testing.assert_allclose(jax.jit(loss)(params, None), exact[0], rtol=1e-12)
        assert close((value, grads), exact, rtol=1e-10)
        return
    runs = sf.testing.replicate(lambda k: jax.value_and_grad(mean)(params, k), key, 4000, batch=4000)
    sf.testing.assert_unbiased(runs, exact, precision=0.05)
    check = lambda grad: sf.diagnostics.check_unbiased(grad, exact[1], params, jax.random.key(3), num_replicates=1000)
    found, wrong = check(jax.grad(mean)), check(lambda p, k: jax.tree.map(jnp.conj, jax.grad(mean)(p, k)))
    assert found and wrong.verdict == "biased"


@pytest.mark.slow
def test_an_audit_of_complex_parameters():
    report = sf.audit(
        f, COINS, KINDS["all complex"], jax.random.key(0), estimators=["score_function", "disarm"], budget=60_000
    )
    assert {row.verdict for row in report.rows} == {"unbiased"} and 0 < report["disarm"].cosine <= 1


@pytest.mark.nans
def test_training_goes_downhill_in_both_parts():
    loss = lambda z, key: jnp.sum(jnp.abs(z - jnp.array([1 + 2j, -0.5j])) ** 2)
    optimizer = optax.chain(sf.training.track_snr(0.9), optax.sgd(0.1))
    fitted = sf.training.fit(loss, jnp.zeros(2, complex), optimizer, jax.random.key(0), 100)
    np.testing.assert_allclose(fitted.params, [1 + 2j, -0.5j], atol=1e-4)
    assert fitted.opt_state[0].snr.dtype == jnp.float32 and np.isfinite(fitted.opt_state[0].snr)


def test_tuning_makes_a_complex_gradient_smaller():
    """The derivative of sum |g|^2, by its definition."""
    grads = lambda t: jnp.array([1 + 2j, 3 - 1j]) * t["c"] + jnp.array([0.5j, 1.0]) * t["r"]
    tuning = {"c": jnp.asarray(0.3 - 0.2j), "r": jnp.asarray(0.7)}
    _, slopes = sf.tuned_grad(grads, tuning)
    wanted = jax.grad(lambda t: jnp.sum(jnp.abs(grads(t)) ** 2))(tuning)
    assert close(slopes, wanted, rtol=1e-5)


def complex_normal(reparameterized):
    """Draws z + noise, with noise of variance 1/2 in each part."""

    def sampler(key, z):
        return z + jax.random.normal(key, (), complex)

    log_prob = lambda z, x: -jnp.real((x - z) * jnp.conj(x - z)) - jnp.log(jnp.pi)
    return sf.family(log_prob=log_prob, sampler=sampler, reparameterized=reparameterized)


@pytest.mark.parametrize("name", ["score_function", "pathwise", "vargrad"])
def test_complex_draws_are_held_fixed_and_moved_like_real_ones(name):
    """E |x|^2 = |z|^2 + 1, whose gradient is 2 conj z."""
    z, square = jnp.asarray(0.5 - 0.8j), lambda x: jnp.real(x * jnp.conj(x))
    estimate = jax.value_and_grad(
        lambda z, key: getattr(sf, name)(square, complex_normal(True), z, key, num_samples=16)
    )
    runs = sf.testing.replicate(lambda key: estimate(z, key), jax.random.key(0), 5000)
    sf.testing.assert_unbiased(runs, (np.abs(z) ** 2 + 1, 2 * np.conj(z)), precision=0.03)


@pytest.mark.parametrize("name", LOG_TARGET)
def test_bounds_of_complex_draws(name):
    """The bound is the Kullback-Leibler divergence to another mean, |z - t|^2, less; at the target each draw's gradient is 0."""
    family, target = complex_normal(True), jnp.asarray(0.1 + 0.2j)
    options = {"gradient": "doubly_reparameterized", "num_particles": 1} if name == "iwae" else {}
    log_target = lambda x: -jnp.real((x - target) * jnp.conj(x - target)) - jnp.log(jnp.pi)
    grad = lambda z, key: getattr(sf, f"{name}_grad")(log_target, family, z, key, num_samples=8, **options)
    z = jnp.asarray(0.5 - 0.8j)
    runs = sf.testing.replicate(lambda key: grad(z, key), jax.random.key(0), 2000)
    sf.testing.assert_unbiased(runs, -2 * np.conj(z - target), precision=0.03)
    assert np.abs(jax.jit(grad)(target, jax.random.key(0))) < 1e-5
