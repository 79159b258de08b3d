"""sample and expectation as functions: on their own, under JAX's transforms, with the other kinds of choice, and what they refuse."""

import contextlib
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering
from versions import explicit_meshes

import jax_scorefn as sf
from jax_scorefn.programs.sites._base import sample_p

LOGITS = jnp.array([0.3, -0.5])
BITS = np.array([0.0, 1.0])


def two(p, key):
    k1, k2 = jax.random.split(key)
    a = sf.sample(k1, sf.Bernoulli(logits=p[0]), name="a")
    b = sf.sample(k2, sf.Bernoulli(logits=p[1] + a), name="b")
    return jnp.sin(a + 1.0) * p[0] + (b + 1.0) ** 2


def exact_two(p):
    prob = lambda x, l: jnp.exp(sf.Bernoulli(logits=l).log_prob(x))
    return sum(
        prob(a, p[0]) * prob(b, p[1] + a) * (jnp.sin(a + 1.0) * p[0] + (b + 1.0) ** 2)
        for a in (0.0, 1.0)
        for b in (0.0, 1.0)
    )


def rollout(p, key, length=20, in_carry=False):
    def step(carry, k):
        s, total = carry
        a = sf.sample(k, sf.Bernoulli(logits=p[0] * s + p[1]))
        s = 0.9 * s + a - 0.4
        return (s, total - s**2), -(s**2)

    (_, total), rewards = jax.lax.scan(step, (jnp.ones(()), jnp.zeros(())), jax.random.split(key, length))
    return total if in_carry else jnp.sum(rewards)


def by_hand(p, key, length=20):
    """Reward-to-go, on the draws of one run of the rollout."""

    def loss(q):
        def step(s, k):
            logit = q[0] * s + q[1]
            a = sf.Bernoulli(logits=jax.lax.stop_gradient(logit)).sample(k)
            s = 0.9 * s + a - 0.4
            return s, (sf.Bernoulli(logits=logit).log_prob(a), -(s**2))

        _, (log_probs, rewards) = jax.lax.scan(step, jnp.ones(()), jax.random.split(key, length))
        return jnp.sum(jax.lax.stop_gradient(jax.lax.cumsum(rewards, reverse=True)) * log_probs)

    return jax.grad(loss)(p)


# On its own


def test_on_its_own_a_choice_is_the_draw():
    dist = sf.Normal(loc=jnp.arange(3.0), scale=1.0)
    key = jax.random.key
    expected = jax.jit(dist.sample)(key(0))
    for run in (lambda k: sf.sample(k, dist), jax.jit(lambda k: sf.sample(k, dist))):
        np.testing.assert_array_equal(run(key(0)), expected)
    joint = sf.Joint({"a": sf.Bernoulli(logits=0.0), "b": sf.Gamma(concentration=2.0, rate=1.0)})
    drawn, expected = jax.jit(lambda k: sf.sample(k, joint))(key(1)), jax.jit(joint.sample)(key(1))
    np.testing.assert_array_equal(drawn["a"], expected["a"])
    np.testing.assert_allclose(drawn["b"], expected["b"], rtol=1e-6)
    bits = sf.Bernoulli(logits=0.0)
    mapped = jax.jit(jax.vmap(lambda k: sf.sample(k, bits)))(jax.random.split(key(2), 50))
    scanned = jax.jit(lambda ks: jax.lax.scan(lambda c, k: (c, sf.sample(k, bits)), 0, ks)[1])(
        jax.random.split(key(2), 50)
    )
    np.testing.assert_array_equal(mapped, scanned)
    assert 5 < mapped.sum() < 45
    branch = jax.lax.cond(True, lambda k: sf.sample(k, bits), lambda k: 0.5 * jnp.ones(()), key(3))
    assert branch in (0.0, 1.0)


@pytest.mark.parametrize("how", ["grad", "jit", "vmap", "scan", "jvp", "inner"])
@pytest.mark.leaks
def test_differentiated_on_its_own_it_says_both_remedies(how):
    cost = lambda p, k: two(p, k)
    wrapped = {
        "grad": lambda: jax.grad(cost)(LOGITS, jax.random.key(0)),
        "jit": lambda: jax.jit(jax.grad(jax.jit(cost)))(LOGITS, jax.random.key(0)),
        "vmap": lambda: jax.vmap(jax.grad(cost), (None, 0))(LOGITS, jax.random.split(jax.random.key(0), 2)),
        "scan": lambda: jax.grad(rollout)(LOGITS, jax.random.key(0)),
        "jvp": lambda: jax.jvp(lambda p: cost(p, jax.random.key(0)), (LOGITS,), (LOGITS,)),
        "inner": lambda: sf.expectation(lambda p, key: jnp.sum(jax.grad(two)(p, key)))(LOGITS, jax.random.key(0)),
    }
    with pytest.raises(
        TypeError, match=r"outside of sf.expectation.*jax.grad\(sf.expectation\(program\)\).*stop_gradient"
    ):
        wrapped[how]()


def test_a_parameter_that_no_distribution_depends_on_may_be_differentiated():
    grad = jax.grad(lambda q, key: q * sf.sample(key, sf.Bernoulli(logits=0.3)))(2.0, jax.random.key(0))
    assert grad in (0.0, 1.0)
    stopped = lambda p, key: two(jax.lax.stop_gradient(p), key) * p[0]
    assert np.all(np.isfinite(jax.jit(jax.grad(stopped))(LOGITS, jax.random.key(0))))


# Composition


@pytest.mark.statistical
def test_estimates_are_unbiased_with_and_without_a_baseline():
    exact = jax.jit(jax.value_and_grad(exact_two))(LOGITS)
    for num_samples in (1, 4):
        loss = jax.value_and_grad(sf.expectation(two, num_samples=num_samples))
        runs = sf.testing.replicate(lambda key, loss=loss: loss(LOGITS, key), jax.random.key(1), 20_000, batch=20_000)
        sf.testing.assert_unbiased(runs, exact, precision=0.03)
    twin = lambda key: 1.1 * jax.grad(sf.expectation(two, num_samples=4))(LOGITS, key)
    with pytest.raises(AssertionError, match="is biased"):
        sf.testing.assert_unbiased(
            sf.testing.replicate(twin, jax.random.key(1), 20_000, batch=20_000), exact[1], precision=0.03
        )


@pytest.mark.parametrize("order", covering(["rev-rev", "fwd-rev", "rev-fwd"]))
def test_hessians_of_each_mode_agree(order):
    loss = sf.expectation(two, num_samples=4)
    value = lambda p: loss(p, jax.random.key(5))
    modes = {
        "fwd-rev": (jax.jacfwd, jax.jacrev),
        "rev-fwd": (jax.jacrev, jax.jacfwd),
        "rev-rev": (jax.jacrev, jax.jacrev),
    }
    outer, inner = modes[order]
    third = jax.grad(lambda t: jax.grad(lambda u: jax.grad(lambda v: value(LOGITS * v))(u))(t))
    of_mode, hessian, slope = jax.jit(lambda p: (outer(inner(value))(p), jax.hessian(value)(p), third(1.0)))(LOGITS)
    np.testing.assert_allclose(of_mode, hessian, rtol=1e-5, atol=1e-6)
    assert np.isfinite(slope)


@pytest.mark.parametrize("in_carry", covering([False, True]))
def test_transforms_compose(in_carry, unchecked_keys, checking_leaks):
    loss = sf.expectation(functools.partial(rollout, in_carry=in_carry, length=5), num_samples=3)
    grad, direction = jax.grad(loss), jnp.array([1.0, -2.0])

    @jax.jit
    def transformed(p, k):
        return {
            "jit": jax.jit(grad)(p, k),
            "vmap": jax.vmap(grad, (None, 0))(p, k[None])[0],
            "params": jax.vmap(grad, (0, None))(jnp.stack([p, p + 1]), k)[0],
            "scan": jax.lax.scan(lambda c, k: (c, grad(p, k)), 0, k[None])[1][0],
            "checkpoint": jax.grad(jax.checkpoint(loss))(p, k),
            "keyword": jax.grad(lambda q: loss(key=k, p=q))(p),
            "closure": jax.grad(lambda q: sf.expectation(
                lambda key: rollout(q, key, in_carry=in_carry, length=5), num_samples=3)(k))(p),
            "twice": jax.grad(sf.expectation(lambda q, key: loss(q, k)))(p, k),
        }, jax.jvp(lambda q: loss(q, k), (p,), (direction,))[1]  # fmt: skip

    expected = jax.jit(grad)(LOGITS, jax.random.key(0))
    with checking_leaks():
        got, forward = transformed(LOGITS, jax.random.key(0))
    got["legacy"] = jax.jit(grad)(LOGITS, jax.random.PRNGKey(0))
    for name, value in got.items():
        np.testing.assert_allclose(value, expected, rtol=2e-4, atol=2e-5, err_msg=name)
    np.testing.assert_allclose(forward, jnp.sum(expected * direction), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("in_carry", covering([True, False]))
def test_a_rollout_is_the_hand_written_reward_to_go_draw_by_draw(in_carry, unchecked_keys):
    keys = jax.random.split(jax.random.key(3), 200)
    hand = jax.jit(jax.vmap(lambda k: by_hand(LOGITS, jax.random.fold_in(k, 0), 100)))(keys)
    program = functools.partial(rollout, length=100, in_carry=in_carry)
    auto = jax.jit(jax.vmap(lambda k: jax.grad(sf.expectation(program))(LOGITS, k)))(keys)
    np.testing.assert_allclose(auto, hand, rtol=1e-5, atol=1e-5 * np.max(np.abs(hand)))

    def many(p, key):
        return jnp.sum(jax.vmap(lambda k: program(p, k))(jax.random.split(key, 30)))

    inside = jax.jit(jax.grad(sf.expectation(many)))(LOGITS, jax.random.key(4))
    keys = jax.random.split(jax.random.fold_in(jax.random.key(4), 0), 30)
    each = jax.jit(jax.vmap(lambda k: by_hand(LOGITS, k, 100)))(keys)
    np.testing.assert_allclose(inside, each.sum(0), rtol=1e-4, atol=1e-5 * np.max(np.abs(each)))


def test_a_rollout_in_float64_to_the_last_digits(x64, unchecked_keys):
    p, keys = jnp.array([0.3, -0.5]), jax.random.split(jax.random.key(3), 50)
    hand = jax.jit(jax.vmap(lambda k: by_hand(p, jax.random.fold_in(k, 0))))(keys)
    auto = jax.jit(jax.vmap(lambda k: jax.grad(sf.expectation(rollout))(p, k)))(keys)
    np.testing.assert_allclose(auto, hand, rtol=1e-12, atol=1e-12 * np.max(np.abs(hand)))


def test_leave_one_out_is_that_of_each_step(unchecked_keys):
    """For each step its own baseline, the other runs' reward at that step: equal to hand-written code draw by draw."""
    runs, length = 8, 20
    key = jax.random.key(2)
    auto = jax.jit(jax.grad(sf.expectation(rollout, num_samples=runs)))(LOGITS, key)

    def one(q, k):
        def step(s, k):
            logit = q[0] * s + q[1]
            a = sf.Bernoulli(logits=jax.lax.stop_gradient(logit)).sample(k)
            s = jax.lax.stop_gradient(0.9 * s + a - 0.4)
            return s, (sf.Bernoulli(logits=logit).log_prob(a), -(s**2))

        return jax.lax.scan(step, jnp.ones(()), jax.random.split(k, length))[1]

    def loss(q):
        log_probs, rewards = jax.vmap(lambda i: one(q, jax.random.fold_in(jax.random.key(2), i)))(jnp.arange(runs))
        centred = rewards - (rewards.sum(0, keepdims=True) - rewards) / (runs - 1)
        return jnp.sum(jax.lax.cumsum(centred, axis=1, reverse=True) * log_probs) / runs

    np.testing.assert_allclose(auto, jax.jit(jax.grad(loss))(LOGITS), rtol=1e-4)


@pytest.mark.parametrize(
    ("chunk_size", "baseline"),
    covering(
        itertools.product((1, 3, 7, 10, "auto"), ("auto", sf.baselines.batch_mean, None)),
        lambda chunk_size, _: (chunk_size in (1, "auto"), chunk_size == "auto" or bool(10 % chunk_size)),
        lambda _, baseline: baseline or "none",
    ),
)
def test_chunks_change_nothing(unchecked_keys, chunk_size, baseline):
    run = lambda c: jax.jit(
        jax.value_and_grad(sf.expectation(rollout, num_samples=10, chunk_size=c, baseline=baseline))
    )(LOGITS, jax.random.key(0))
    for a, b in zip(run(chunk_size), run(None), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


@functools.cache
def on_one_device(in_carry):
    program = functools.partial(rollout, in_carry=in_carry)
    run = lambda s: jax.jit(jax.value_and_grad(sf.expectation(program, num_samples=10, sharding=s)))(
        LOGITS, jax.random.key(0)
    )
    return run, run(None)


# More of Explicit meshes stands in test_mesh.
@pytest.mark.sharded
@pytest.mark.parametrize(
    ("devices", "in_carry", "explicit"),
    covering(itertools.product((2, 8), (False, True), (False, True))),
)
def test_devices_change_nothing(request, unchecked_keys, devices, explicit, in_carry):
    if explicit:
        request.applymarker(explicit_meshes)
    kind = jax.sharding.AxisType.Explicit if explicit else jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((devices,), ("draws",), axis_types=(kind,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("draws"))
    run, alone = on_one_device(in_carry)
    with jax.set_mesh(mesh) if explicit else contextlib.nullcontext():
        spread = run(sharding)
    for a, b in zip(spread, alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_auxiliary_results_come_with_runs_in_front_and_without_derivatives():
    def program(p, key):
        x = sf.sample(key, sf.Bernoulli(logits=p))
        return x**2, {"x": x, "p": p}

    loss = sf.expectation(program, num_samples=5, has_aux=True)
    (value, aux), grad = jax.jit(jax.value_and_grad(loss, has_aux=True))(0.3, jax.random.key(0))
    np.testing.assert_allclose(value, aux["x"].mean(), rtol=1e-6)
    assert aux["x"].shape == aux["p"].shape == (5,) and np.isfinite(grad)
    assert jax.jit(jax.grad(lambda p: loss(p, jax.random.key(0))[1]["p"].sum()))(0.3) == 0.0


def test_costs_may_be_trees_and_of_any_dtype():
    def program(p, key):
        x = sf.sample(key, sf.Categorical(logits=p))
        return {"index": x, "even": x % 2 == 0, "float": x.astype(float) * 2.0}

    value = jax.eval_shape(sf.expectation(program, num_samples=50), jnp.zeros(3), jax.random.key(0))
    assert all(leaf.dtype == jnp.result_type(float) and leaf.shape == () for leaf in jax.tree.leaves(value))
    jacobian = jax.jit(jax.jacobian(sf.expectation(program, num_samples=4000)))(jnp.zeros(3), jax.random.key(0))
    np.testing.assert_allclose(jacobian["index"], [-1 / 3, 0, 1 / 3], atol=0.05)


# The other kinds of choice


@pytest.mark.statistical
def test_pathwise_and_score_in_one_program():
    def program(p, key):
        k1, k2 = jax.random.split(key)
        x = sf.sample(k1, sf.Normal(loc=p[0], scale=1.0), estimator="pathwise")
        b = sf.sample(k2, sf.Bernoulli(logits=p[1] + x))
        return jnp.sin(x) + b * x

    def exact(p):
        logp = lambda p, x: sf.Normal(loc=p[0], scale=1.0).log_prob(x)
        f = lambda x, p: jnp.sin(x) + jax.nn.sigmoid(p[1] + x) * x
        return sf.testing.quadrature_expectation(f, logp, (-12.0, 12.0))(p)

    runs = sf.testing.replicate(
        lambda key: jax.grad(sf.expectation(program, num_samples=4))(LOGITS, key),
        jax.random.key(0),
        20_000,
        batch=20_000,
    )
    sf.testing.assert_unbiased(runs, jax.jit(jax.grad(exact))(LOGITS), precision=0.03)
    alone = lambda p: jnp.sin(sf.sample(jax.random.key(0), sf.Normal(loc=p, scale=1.0), estimator="pathwise"))
    assert jax.jit(jax.grad(alone))(0.3) != 0.0


@pytest.mark.slow
@pytest.mark.statistical
def test_an_enumerated_choice_between_two_others_is_unbiased():
    """Root -> enumerated (its probabilities depend on the root) -> leaf, with leave-one-out over two runs."""

    def exact(p):
        prob = lambda x, l: jnp.exp(sf.Bernoulli(logits=l).log_prob(x))
        return sum(
            prob(a, p[0]) * prob(e, p[1] * (a + 1)) * prob(b, p[2] + e)
            * ((a + e * 2 + 1) ** 2 + jnp.cos(b * p[0]) * (e + 1) + jnp.sin(p[1]) * a)
            for a in BITS for e in BITS for b in BITS
        )  # fmt: skip

    params = jnp.array([0.3, -0.5, 0.8])
    loss = sf.expectation(_with_enumeration, num_samples=2)
    both = lambda of: lambda *args: (jax.grad(of)(*args), jax.hessian(of)(*args))
    with jax.debug_key_reuse(False):  # both on the same draws
        runs, hessians = sf.testing.replicate(
            lambda key: both(loss)(params, key), jax.random.key(1), 20_000, batch=20_000
        )
    grad, hessian = jax.jit(both(exact))(params)
    sf.testing.assert_unbiased(runs, grad, precision=0.03)
    sf.testing.assert_unbiased(hessians, hessian, precision=0.1)


def _with_enumeration(p, key):
    k1, k2, k3 = jax.random.split(key, 3)
    a = sf.sample(k1, sf.Bernoulli(logits=p[0]))
    e = sf.sample(k2, sf.Bernoulli(logits=p[1] * (a + 1)), estimator="exact")
    b = sf.sample(k3, sf.Bernoulli(logits=p[2] + e))
    return (a + e * 2 + 1) ** 2 + jnp.cos(b * p[0]) * (e + 1) + jnp.sin(p[1]) * a


@pytest.mark.parametrize("max_value", covering([2, 30]))
def test_a_choice_without_an_end_is_enumerated_up_to_a_value(max_value):
    def program(p, key):
        k1, k2 = jax.random.split(key)
        n = sf.sample(k1, sf.Poisson(rate=p[0]), estimator="exact", max_value=max_value).astype(float)
        x = sf.sample(k2, sf.Geometric(probs=p[1]), estimator="exact", max_value=60).astype(float)
        return n**2 * x

    both = jax.jit(jax.value_and_grad(sf.expectation(program)))(jnp.array([1.5, 0.4]), jax.random.key(0))
    square = lambda rate: sum(jnp.exp(sf.Poisson(rate=rate).log_prob(n)) * n**2 for n in range(max_value + 1))
    wanted = jax.jit(jax.value_and_grad(lambda p: square(p[0]) / p[1]))(jnp.array([1.5, 0.4]))
    for got, exact in zip(both, wanted, strict=True):
        np.testing.assert_allclose(got, exact, rtol=1e-5)


@pytest.mark.slow
def test_a_program_of_enumerated_choices_has_no_noise():
    def program(p, key):
        k1, k2 = jax.random.split(key)
        a = sf.sample(k1, sf.Bernoulli(logits=p[0]), estimator="exact")
        b = sf.sample(k2, sf.Bernoulli(logits=p[1] + a), estimator="exact")
        return jnp.sin(a + 1.0) * p[0] + (b + 1.0) ** 2

    for transform in (lambda f: f, jax.grad, jax.hessian):
        got = jax.jit(transform(lambda p: sf.expectation(program)(p, jax.random.key(9))))(LOGITS)
        np.testing.assert_allclose(got, transform(exact_two)(LOGITS), rtol=1e-5, atol=1e-6)

    def plate(p, key):
        z = jax.vmap(lambda k: sf.sample(k, sf.Categorical(logits=p), estimator="exact"))(jax.random.split(key, 3))
        return jnp.max(z).astype(float) + z[0].astype(float) * 0.5

    probs = lambda p: jax.nn.softmax(p)
    exact = lambda p: sum(
        probs(p)[i] * probs(p)[j] * probs(p)[k] * (max(i, j, k) + i * 0.5)
        for i in range(3)
        for j in range(3)
        for k in range(3)
    )
    p = jnp.array([0.1, 0.5, -0.3])
    got = jax.jit(jax.grad(sf.expectation(plate)))(p, jax.random.key(0))
    np.testing.assert_allclose(got, jax.jit(jax.grad(exact))(p), rtol=1e-4)


# What is refused


def refused(program, error, match, *args, **options):
    with pytest.raises(error, match=match):
        jax.eval_shape(sf.expectation(program, **options), *(args or (0.3,)), jax.random.key(0))


def test_choices_where_they_cannot_be_credited_raise_by_name():
    flip = lambda p, key: sf.sample(key, sf.Bernoulli(logits=p))
    in_while = lambda p, key: jax.lax.while_loop(lambda c: c < 1.0, lambda c: c + 1.0 + flip(p, key), 0.0)
    with jax.debug_key_reuse(False):
        refused(in_while, TypeError, r"random choice inside of while.*sf\.programs\.while_loop")

    @jax.custom_jvp
    def custom(p, key):
        return flip(p, key)

    custom.defjvp(lambda primals, tangents: (custom(*primals), tangents[0]))
    refused(lambda p, key: custom(p, key), TypeError, "random choice inside of custom_jvp_call")

    @jax.custom_vjp
    def custom_back(p, key):
        return flip(p, key)

    custom_back.defvjp(lambda p, key: (custom_back(p, key), None), lambda _, g: (g, None))
    refused(lambda p, key: custom_back(p, key), TypeError, "random choice inside of custom_vjp_call")
    mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    mapped = jax.shard_map(
        flip, mesh=mesh, in_specs=jax.sharding.PartitionSpec(), out_specs=jax.sharding.PartitionSpec()
    )
    refused(lambda p, key: mapped(p, key), TypeError, "random choice inside of shard_map.*sharding=")

    def mutable(p, key):
        ref = jax.new_ref(jnp.zeros(()))
        ref[...] = flip(p, key)
        return ref[...]

    refused(mutable, TypeError, "mutable array")
    enumerated = lambda p, key: sf.sample(key, sf.Bernoulli(logits=p), estimator="exact", name="e")
    scanned = lambda p, key: jax.lax.scan(lambda c, k: (c + enumerated(p, k), None), 0.0, jax.random.split(key, 3))[0]
    refused(scanned, ValueError, "choice e is enumerated inside of a scan")
    plate = lambda p, key: jnp.sum(jax.vmap(lambda k: enumerated(p, k))(jax.random.split(key, 13)))
    refused(plate, ValueError, r"Enumerating the choice e makes 8192 combinations \(2 values in each of 13 elements")
    with_aux = lambda p, key: (lambda x: (x, x))(enumerated(p, key))
    refused(with_aux, ValueError, "auxiliary output depends on the enumerated choice e", has_aux=True)


def test_bad_arguments_are_told_so():
    key = jax.random.key(0)
    with pytest.raises(
        ValueError, match="sample has no estimator 'reinforce'; its estimators: score_function, pathwise, exact"
    ):
        sf.sample(key, sf.Bernoulli(logits=0.0), estimator="reinforce")
    with pytest.raises(TypeError, match="needs reparameterized draws; Bernoulli has"):
        sf.sample(key, sf.Bernoulli(logits=0.0), estimator="pathwise")
    with pytest.raises(TypeError, match="needs a finite support; Normal has"):
        sf.sample(key, sf.Normal(loc=0.0, scale=1.0), estimator="exact")
    poisson = sf.Poisson(rate=2.0)
    with pytest.raises(ValueError, match="no end to them: pass max_value="):
        sf.sample(key, sf.Joint((poisson, sf.Bernoulli(logits=0.0))), estimator="exact")
    with pytest.raises(ValueError, match="given with estimator='score_function'"):
        sf.sample(key, poisson, max_value=3)
    for dist, options in ((poisson, {"max_value": 5000}), (sf.Bernoulli(logits=jnp.zeros(13)), {})):
        with pytest.raises(ValueError, match="4096 is the most, which no option of sample raises"):
            sf.sample(key, dist, estimator="exact", **options)
    with pytest.raises(TypeError, match="need a program with an argument named key.*<lambda> has p. Rename"):
        sf.expectation(lambda p: p)
    with pytest.raises(TypeError, match="needs a function that draws"):
        sf.expectation(3.0)
    with pytest.raises(ValueError, match="leave_one_out needs at least 2 draws and got 1"):
        sf.expectation(two, baseline=sf.baselines.leave_one_out)
    with pytest.raises(TypeError, match="num_samples is a positive Python int"):
        sf.expectation(two, num_samples=2.5)
    with pytest.raises(TypeError, match="returns a pair"):
        sf.expectation(two, has_aux=True)(LOGITS, key)
    with pytest.raises(TypeError, match="key"):
        sf.expectation(two)(LOGITS, jax.random.split(key, 3))


def test_a_key_that_is_used_for_two_choices_is_an_error():
    def reused(p, key):
        return sf.sample(key, sf.Bernoulli(logits=p)) + sf.sample(key, sf.Normal(loc=p, scale=1.0))

    with pytest.raises(jax.errors.KeyReuseError):
        jax.jit(jax.grad(sf.expectation(reused)))(0.3, jax.random.key(0))
    key = jax.random.key(0)
    sf.expectation(two)(LOGITS, key)
    with pytest.raises(jax.errors.KeyReuseError):
        sf.expectation(two)(LOGITS, key)


def test_saturated_distributions_and_infinite_log_probabilities_stay_finite():
    def program(p, key):
        k1, k2 = jax.random.split(key)
        masked = jnp.where(jnp.array([True, False, True]), p, -jnp.inf)
        x = sf.sample(k1, sf.Categorical(logits=masked))
        b = sf.sample(k2, sf.Bernoulli(logits=jnp.array([40.0, -40.0]) * (1 + p[0])))
        return jnp.sum(b) + x.astype(float)

    grads = jax.jit(jax.grad(sf.expectation(program, num_samples=4)))(jnp.zeros(3), jax.random.key(0))
    assert np.all(np.isfinite(grads)) and grads[1] == 0.0


def test_callbacks_fire_once_for_each_step():
    seen = []

    def program(p, key):
        def step(c, k):
            b = sf.sample(k, sf.Bernoulli(logits=p))
            jax.debug.callback(lambda x: seen.append(float(x)), b)
            return c + b, None

        return jax.lax.scan(step, 0.0, jax.random.split(key, 3))[0]

    jax.block_until_ready(jax.jit(sf.expectation(program))(0.3, jax.random.key(0)))
    jax.effects_barrier()
    assert len(seen) == 3


class Spinner:
    """A distribution of somebody's own: two functions and nothing else."""

    def __init__(self, logits):
        self.logits = logits

    def sample(self, key):
        return jax.random.categorical(key, self.logits)

    def log_prob(self, x):
        return jax.nn.log_softmax(self.logits)[x]


def test_distributions_of_ones_own_are_choices():
    def program(p, key):
        return sf.sample(key, Spinner(p)).astype(float) * 2.0

    g = jax.jit(jax.grad(sf.expectation(program, num_samples=2000)))(jnp.zeros(3), jax.random.key(0))
    np.testing.assert_allclose(g, [-2 / 3, 0, 2 / 3], atol=0.1)


def test_the_primitive_lowers_for_accelerators(unchecked_keys):
    grad = jax.jit(jax.grad(sf.expectation(rollout, num_samples=4)))
    for platform in ("cuda", "tpu"):
        assert "func.func" in grad.trace(LOGITS, jax.random.key(0)).lower(lowering_platforms=(platform,)).as_text()
    assert sample_p.multiple_results
