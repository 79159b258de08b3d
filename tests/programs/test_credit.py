"""Credit is exact: over all outcomes of the draws, the mean of each derivative is the derivative of the exact expectation."""

import functools
import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import outcomes
import pytest
from covering import covering
from outcomes import bit
from program_cases import CASES, P

import jax_scorefn as sf

pytestmark = pytest.mark.usefixtures("x64")


HESSIANS = ("plates", "rollout_carry", "cond_in_a_scan", "two_depths")
CALLS = {
    name: set(re.findall(r"\b(?:jax|lax)[.](\w+)\(", inspect.getsource(program)))
    for name, (program, _) in CASES.items()
}
"""What each program is made with: by default each transform and each loop of JAX once."""
ANSWER = dict.fromkeys(CASES, "raise") | {"cond_in_a_scan": "ignore"}
"""Nothing is lost, but where a parameter decides a branch: the expectation jumps there, and has its derivative on both sides."""


@pytest.mark.parametrize(
    "name",
    covering(
        sorted(CASES),
        lambda name: name if name in HESSIANS else None,
        *((lambda name, word=word: word in CALLS[name] or None) for word in sorted(set().union(*CALLS.values()))),
    ),
)
def test_value_gradient_and_hessian_are_exact(name):
    program, num_bits = CASES[name]
    params, exact = jnp.array(P), outcomes.exact(program, num_bits)
    order = "to second order" if name in HESSIANS else "value and gradient"
    wanted = jax.jit(outcomes.derivative(order)(exact))(params)
    got = outcomes.mean_derivative(program, params, num_bits, order, lost=ANSWER[name])
    np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("order", [0, 2])
def test_every_value_and_hessian_is_exact(name, order):
    program, num_bits = CASES[name]
    wanted = jax.jit(outcomes.derivative(order)(outcomes.exact(program, num_bits)))(jnp.array(P))
    got = outcomes.mean_derivative(program, jnp.array(P), num_bits, order, lost=ANSWER[name])
    np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["two_depths", "rollout", "rollout_carry", "plates", "cond_on_a_draw"])
def test_the_program_is_evaluated_as_it_stands(name):
    program, num_bits = CASES[name]
    params = jnp.array(P)
    both = jax.jit(lambda bits: [f(params, bits, jax.random.key(0)) for f in (program, sf.expectation(program))])
    for bits in outcomes.all_bits(num_bits)[:: max(1, 2**num_bits // 5)]:
        plain, transformed = both(bits)
        np.testing.assert_allclose(transformed, plain, rtol=1e-14)


def test_a_broken_twin_fails_the_same_comparison(monkeypatch):
    """Credit that leaves one choice out, or walks through a stopped gradient, is seen."""
    from jax_scorefn.programs import _credit

    program, num_bits = CASES["two_depths"]
    params = jnp.array(P)
    wanted = jax.jit(jax.grad(outcomes.exact(program, num_bits)))(params)
    whole = _credit.Credits.__init__

    def forgetful(self, of, emitted):
        whole(self, lambda v: dict(list(of(v).items())[1:]), emitted)

    monkeypatch.setattr(_credit.Credits, "__init__", forgetful)
    assert np.max(np.abs(outcomes.mean_derivative(program, params, num_bits, 1) - wanted)) > 0.01


@pytest.mark.parametrize(
    ("name", "order"),
    covering([(name, order) for name in ("two_depths", "two_step_rollout") for order in (1, 2)]),
)
def test_leave_one_out_over_two_runs_is_exact(name, order):
    rollout = CASES["rollout_carry"][0]
    program, num_bits = CASES.get(name, (rollout, 2))
    wanted = jax.jit(outcomes.derivative(order)(outcomes.exact(program, num_bits)))(jnp.array(P))
    got = outcomes.mean_derivative(program, jnp.array(P), num_bits, order, num_samples=2)
    np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12)


def test_a_mean_that_includes_the_run_itself_is_seen_as_biased():
    program, num_bits = CASES["two_depths"]
    wanted = jax.jit(jax.grad(outcomes.exact(program, num_bits)))(jnp.array(P))
    biased = outcomes.mean_derivative(
        program, jnp.array(P), num_bits, 1, num_samples=2, baseline=sf.baselines.batch_mean
    )
    assert np.max(np.abs(biased - wanted)) > 0.01


def auto_reset(p, x, key, cut=False):
    """A chain that starts again when its state reaches 2; with ``cut``, it is marked that the past is forgotten there."""

    def step(s, y):
        a = bit(y, p[0] + p[1] * s)
        s = s + a
        done = s >= 2.0
        start = jnp.where(done, 0.0, s)
        return sf.programs.forget(start, when=done) if cut else start, s**2 - a * p[1]

    return jnp.sum(jax.lax.scan(step, 0.0, x)[1])


def test_an_automatic_reset_that_depends_on_draws_keeps_credit_over_the_window():
    params, n = jnp.array([0.2, 0.4]), 6
    wanted = jax.jit(jax.grad(outcomes.exact(auto_reset, n)))(params)
    np.testing.assert_allclose(outcomes.mean_derivative(auto_reset, params, n, 1), wanted, rtol=1e-11)
    found = sf.explain(auto_reset)(params, jnp.zeros(n), jax.random.key(0))
    assert [cost.charged for cost in found.costs] == [{"Given": "axis 0 at or before"}]

    def cut(bits):
        """Reward-to-go up to the reset only, by hand: biased for the cost of the whole window."""

        def value(q):
            s, log_probs, costs, episodes, episode = 0.0, [], [], [], 0
            for t in range(n):
                logit = q[0] + q[1] * s
                log_probs.append(sf.Bernoulli(logits=logit).log_prob(bits[t]))
                s = s + bits[t]
                costs.append(s**2 - bits[t] * q[1])
                episodes.append(episode)
                done = s >= 2.0
                s, episode = jnp.where(done, 0.0, s), episode + done.astype(int)
            total = sum(log_probs)
            credit = sum(
                jnp.where(episodes[t] == episodes[u], 1.0, 0.0) * jax.lax.stop_gradient(costs[u]) * log_probs[t]
                for u in range(n) for t in range(u + 1)
            )  # fmt: skip
            return credit + sum(costs), total

        (_, total), grads = jax.value_and_grad(value, has_aux=True)(params)
        return jnp.exp(total) * grads

    biased = jnp.sum(jax.jit(jax.vmap(cut))(outcomes.all_bits(n)), axis=0)
    assert np.max(np.abs(biased - wanted)) > 0.1

    # the mark gives just that, and it changes neither the value nor, outside of expectation, anything
    marked = functools.partial(auto_reset, cut=True)
    np.testing.assert_allclose(outcomes.mean_derivative(marked, params, n, 1), biased, rtol=1e-11)
    np.testing.assert_allclose(
        outcomes.mean_derivative(marked, params, n, 0), jax.jit(outcomes.exact(auto_reset, n))(params), rtol=1e-11
    )
    found = sf.explain(marked)(params, jnp.zeros(n), jax.random.key(0))
    assert [cost.charged for cost in found.costs] == [{"Given": "axis 0 equal", "Given since a reset": "axis 0 before"}]


def test_a_mark_that_is_never_set_changes_nothing_and_one_that_always_is_charges_each_step_by_itself():
    def program(when):
        def run(p, x, key):
            def step(s, y):
                a = bit(y, p[0] + p[1] * s)
                s = jnp.tanh(s + a)
                return sf.programs.forget(s, when=when), s**2 + a * p[0]

            s, costs = jax.lax.scan(step, 0.0, x)
            return jnp.sum(costs) * p[1] + jnp.sum(costs[1:] * costs[:-1]) + s**3

        return run

    params, n = jnp.array([0.2, 0.4]), 4
    exact = jax.jit(jax.grad(outcomes.exact(program(False), n)))(params)
    np.testing.assert_allclose(outcomes.mean_derivative(program(False), params, n, 1), exact, rtol=1e-11)

    def alone(bits):  # each cost with its own score; the product of neighbours with both
        def value(q):
            s, log_probs, costs = 0.0, [], []
            for y in bits:
                dist = sf.Bernoulli(logits=q[0] + q[1] * s)
                log_probs.append(dist.log_prob(y))
                s = jnp.tanh(s + y)
                costs.append(s**2 + y * q[0])
            boxes = [sf.magic_box(l) for l in log_probs]
            total = sum(c * b for c, b in zip(costs, boxes, strict=True)) * q[1]
            for t in range(1, n):
                total = total + costs[t] * costs[t - 1] * boxes[t] * boxes[t - 1]
            return total + s**3, sum(log_probs)  # what is handed on at the end is forgotten: nothing is charged for it

        (_, total), grads = jax.value_and_grad(value, has_aux=True)(params)
        return jnp.exp(total) * grads

    wanted = jnp.sum(jax.jit(jax.vmap(alone))(outcomes.all_bits(n)), axis=0)
    np.testing.assert_allclose(outcomes.mean_derivative(program(True), params, n, 1), wanted, rtol=1e-11)


def test_where_a_mark_does_not_belong_it_says_so():
    def run(p, key, how):
        def step(s, k):
            s = s + sf.sample(k, sf.Bernoulli(logits=p - s))
            match how:
                case "flags":
                    s = sf.programs.forget(s, when=jnp.array([True, False]))
                case "number":
                    s = sf.programs.forget(s, when=1.0)
                case "cond":
                    s = jax.lax.cond(s > 1, lambda s: sf.programs.forget(s, when=True), lambda s: s, s)
                case "vmap":
                    s = jax.vmap(lambda s: sf.programs.forget(s, when=s > 1))(jnp.stack([s, s]))[0]
                case "twice":
                    s = sf.programs.forget(sf.programs.forget(s, when=True), when=False)
            return s, s

        out = jnp.sum(jax.lax.scan(step, 0.0, jax.random.split(key, 3), reverse=how == "reverse")[1])
        return sf.programs.forget(out, when=True) if how == "outside" else out

    for how, word in {"flags": "one boolean", "number": "float", "cond": "cond", "vmap": "vmap", "twice": "two places",
                      "outside": "lax.scan"}.items():  # fmt: skip
        with pytest.raises(TypeError, match=word):
            jax.grad(sf.expectation(functools.partial(run, how=how)))(0.3, jax.random.key(0))


CLASSES = {
    "two_depths": [{"Given": "the one", "Given#2": "the one"}, {"Given": "the one"}],
    "rollout": [{"Given": "axis 0 at or before"}],
    "rollout_carry": [{"Given": "scan 0 at or before"}],
    "nested_scan_fresh": [{"Given": "scan 0 equal; axis 0 at or before"}],
    "vmap_of_scan": [{"Given": "scan 0 at or before; axis 0 equal"}],
    "leaf_used_twice": [{"Given": "axis 0 equal"}, {"Given": "all"}],
    "reverse_scan": [{"Given": "axis 0 at or after"}],
    "linear_state": [{"Given": "scan 0 equal"}],
    "draw_free_loop": [{"Given": "axis 0 equal"}],
    "masked_carry": [{"Given": "scan 0 at or before"}],
    "masked_reset": [{"Given": "scan 0 at or before"}, {"Given": "scan 0 at or before"}],
}


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_the_dependence_that_is_found(name, capsys):
    program, num_bits = CASES[name]
    found = sf.explain(program)(jnp.array(P), jnp.zeros(num_bits), jax.random.key(0))
    assert sorted(map(str, (cost.charged for cost in found.costs))) == sorted(map(str, CLASSES[name]))
    assert "Given" in capsys.readouterr().out


def test_what_has_no_rule_is_reported_by_name():
    program, num_bits = CASES["while_on_a_draw"]
    found = sf.explain(program)(jnp.array(P), jnp.zeros(num_bits), jax.random.key(0))
    assert not found.fallbacks  # nothing was aligned there, so nothing was lost
    found = sf.explain(lambda p, key: jnp.sum(jnp.fft.fft(
        jax.vmap(lambda k: sf.sample(k, sf.Bernoulli(logits=p)))(jax.random.split(key, 4))).real))(0.3, jax.random.key(0))  # fmt: skip
    assert found.fallbacks == {"fft": 1}
    assert found.costs[0].charged == {"Bernoulli": "all"}


@pytest.mark.statistical
def test_the_walk_of_a_hundred_steps_is_quieter_than_its_score_function():
    """Cost X_n^2, P(up) = exp(-x / p), p = 200: derivative 15.1349, deviation of the plain score function 94.8."""

    def walk(as_product):
        def program(p, key):
            def step(x, k):
                new = x + 2.0 * sf.sample(k, sf.Bernoulli(probs=jnp.exp(-x / p))) - 1.0
                return new, (new - x) * (new + x) if as_product else new**2 - x**2

            return jnp.sum(jax.lax.scan(step, 0.0, jax.random.split(key, 100))[1])

        return program

    keys = jax.random.split(jax.random.key(0), 4000)
    deviation = {}
    for as_product in (False, True):
        grad = jax.jit(jax.vmap(jax.grad(sf.expectation(walk(as_product))), (None, 0)))
        with jax.debug_key_reuse(False):
            g = np.asarray(grad(200.0, keys), np.float64)
        assert abs(g.mean() - 15.13490) < 5 * g.std() / len(g) ** 0.5
        deviation[as_product] = g.std()
    assert deviation[False] == pytest.approx(94.8, rel=0.05)  # a difference of two squares: their credit telescopes
    assert deviation[True] < 60


@pytest.mark.statistical
@pytest.mark.parametrize(("n", "fold"), covering([(16, 200.0), (256, 40_000.0)], lambda *_: "the small one"))
def test_each_pair_of_a_plate_is_charged_with_its_own_cost(n, fold):
    """A root and n pairs of Bernoullis, each pair with a logit of its own, costs averaged: the variance of the plate's gradient.

    Against the usual surrogate, the whole cost times every score; neither has a baseline. It falls as n squared.
    """
    weights = jnp.linspace(0.5, 1.5, n)

    def program(p, key):
        k0, k1 = jax.random.split(key)
        root = sf.sample(k0, sf.Bernoulli(logits=p["root"]))

        def pair(k, logit, w):
            k1, k2 = jax.random.split(k)
            a = sf.sample(k1, sf.Bernoulli(logits=logit))
            b = sf.sample(k2, sf.Bernoulli(logits=logit + a - 0.5))
            return (w * a + b - 0.499) ** 2, a, b

        costs, a, b = jax.vmap(pair)(jax.random.split(k1, n), p["plate"], weights)
        return (root + 0.499) ** 2 + jnp.mean(costs), (root, a, b)

    def usual(p, key):
        cost, draws = jax.lax.stop_gradient(sf.expectation(program, has_aux=True)(p, key))
        root, a, b = (x[0] for x in draws)

        def score(q):
            pairs = sf.Bernoulli(logits=q["plate"]).log_prob(a) + sf.Bernoulli(logits=q["plate"] + a - 0.5).log_prob(b)
            return cost * (sf.Bernoulli(logits=q["root"]).log_prob(root) + pairs)

        return jax.grad(score)(p)

    params = {"root": jnp.zeros(()), "plate": jnp.zeros(n)}
    fine = jax.grad(lambda p, key: sf.expectation(program, has_aux=True)(p, key)[0])
    ours, theirs = (
        sf.testing.replicate(lambda key, g=g: g(params, key)["plate"], jax.random.key(1), 20_000, batch=5_000)
        for g in (fine, usual)
    )
    errors = (ours.std(0) + theirs.std(0)) / np.sqrt(len(ours))
    assert np.all(np.abs(ours.mean(0) - theirs.mean(0)) < 5 * errors)
    ratio = theirs.var(0).sum() / ours.var(0).sum()
    assert ratio > fold, ratio
    print(
        f"n = {n}: summed variance {ours.var(0).sum():.4g} against {theirs.var(0).sum():.4g}, a factor of {ratio:.0f}"
    )
