"""Programs that draw with ``jax.random`` and are not edited: their gradients against enumeration, and what a lift leaves behind."""

import ast
import pathlib
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering

import jax_scorefn as sf
from jax_scorefn.random import _lift

COSTS = jnp.array([1.0, 2.0, 5.0])
LOGITS = jnp.array([0.4, 0.0, 1.0])


@pytest.fixture
def same_keys():
    """The same keys for two runs that are compared, on purpose, and loops and branches that JAX's checker takes for reuse under a map."""
    with jax.debug_key_reuse(False):
        yield


def two_coins(p):
    """E of 1 b_0 + 2 b_1 + 3 b_0 b_1 for independent coins of p and p / 2."""
    return p + p + 1.5 * p**2


def of_coins(b):
    return b[0] + 2 * b[1] + 3 * b[0] * b[1]


@jax.jit
def traced_before(key, p):
    return jax.random.bernoulli(key, p, (2,)).astype(float)


def written_out(p, key):
    return of_coins((jax.random.uniform(key, (2,)) < jnp.stack([p, p / 2])).astype(float))


def from_above(p, key):
    """1 - p is above the noise, moved and between other ends."""
    u = jax.random.uniform(key, (1, 2), minval=-1.0, maxval=1.0).reshape(2)
    return of_coins(jnp.where(1 - 2 * jnp.stack([p, p / 2]) <= u, 1.0, 0.0))


def in_a_scan(p, key):
    def step(x, row):
        k, q = row
        return x, jax.random.bernoulli(k, q).astype(float)

    return of_coins(jax.lax.scan(step, 0.0, (jax.random.split(key), jnp.stack([p, p / 2])))[1])


def in_a_cond(p, key):
    first, second, third = jax.random.split(key, 3)
    b = jax.random.bernoulli(first, p).astype(float)
    other = jax.lax.cond(b > 0, lambda: jax.random.bernoulli(second, p / 2), lambda: jax.random.uniform(third) < p / 2)
    return of_coins(jnp.stack([b, other.astype(float)]))


def in_a_map(p, key):
    draw = lambda k, q: jax.random.bernoulli(k, q).astype(float)
    return of_coins(jax.vmap(draw)(jax.random.split(key), jnp.stack([p, p / 2])))


def with_a_reset(p, key):
    """A loop in front whose draws depend on no argument: an environment that starts somewhere."""

    def again(carry):
        i, _ = carry
        return i + 1, jax.random.bernoulli(jax.random.fold_in(key, i), jnp.full((), 0.3))

    i, _ = jax.lax.while_loop(lambda carry: carry[1], again, (0, jnp.array(True)))
    start = jax.random.categorical(jax.random.fold_in(key, 1000), jnp.log(jnp.array([0.2, 0.8])))
    return of_coins(traced_before(jax.random.fold_in(key, i), jnp.stack([p, p / 2]))) + 0.0 * start.astype(float)


COINS = {
    "a jitted function traced before": lambda p, key: of_coins(traced_before(key, jnp.stack([p, p / 2]))),
    "jitted as a whole": jax.jit(lambda p, key: of_coins(traced_before(key, jnp.stack([p, p / 2])))),
    "written out": written_out, "from above": from_above, "in a scan": in_a_scan, "in a cond": in_a_cond, "in a map": in_a_map,
    "with a reset": with_a_reset,
    "checkpointed": jax.checkpoint(lambda p, key: of_coins(jax.random.bernoulli(key, jnp.stack([p, p / 2])).astype(float))),
}  # fmt: skip
CATEGORIES = {
    "categorical": lambda l, key: COSTS[jax.random.categorical(key, l)],
    "gumbels": lambda l, key: COSTS[jnp.argmax(l + jax.random.gumbel(key, (3,)))],
    "gumbels of a table": lambda l, key: COSTS[jnp.argmax(jax.random.gumbel(key, (1, 3)) + l[None], axis=-1)][0],
}


def of_categories(logits):
    return jax.nn.softmax(logits) @ COSTS


ALL = [(name, program, two_coins, 0.4) for name, program in COINS.items()]
ALL += [(name, program, of_categories, LOGITS) for name, program in CATEGORIES.items()]


@pytest.mark.statistical
@pytest.mark.parametrize(("name", "program", "expected", "at"), ALL, ids=[row[0] for row in ALL])
def test_a_program_as_it_is_has_the_gradient_of_its_expectation(name, program, expected, at, same_keys):
    del name
    lost = jax.grad(lambda p: program(p, jax.random.key(0)))(at)
    np.testing.assert_array_equal(lost, jnp.zeros_like(lost))  # what it is without
    run = jax.value_and_grad(sf.expectation(sf.lift(program), num_samples=32))
    runs = sf.testing.replicate(lambda key: run(jnp.asarray(at), key), jax.random.key(1), 1500, batch=1500)
    sf.testing.assert_unbiased(runs, jax.value_and_grad(expected)(jnp.asarray(at)), precision=0.05)


@pytest.mark.parametrize("name", covering([*COINS]))
def test_draws_are_those_of_the_program(name, same_keys):
    keys = jax.random.split(jax.random.key(3), 20)
    plain, lifted = (jax.vmap(f, (None, 0))(0.4, keys) for f in (COINS[name], sf.lift(COINS[name])))
    np.testing.assert_array_equal(plain, lifted)


def test_outside_of_an_expectation_a_derivative_raises(same_keys):
    with pytest.raises(TypeError, match="was differentiated in the parameters of its distribution outside"):
        jax.grad(sf.lift(COINS["in a map"]))(0.4, jax.random.key(0))


@pytest.mark.statistical
@pytest.mark.parametrize("jitted", [False, True])
def test_parameters_may_come_by_a_closure(jitted, same_keys):
    """As in a loss that a training loop writes: what the program closes over moves too."""

    def loss(p, key):
        def inner(key):
            first, second = jax.random.split(key)
            written_out = jax.random.uniform(second) < p
            return 3.0 * jax.random.bernoulli(first, p).astype(float) + written_out.astype(float)

        return sf.expectation(sf.lift(inner), num_samples=16)(key)

    run = jax.grad(loss)
    runs = sf.testing.replicate(lambda key: (jax.jit(run) if jitted else run)(0.4, key), jax.random.key(1), 1000)
    sf.testing.assert_unbiased(runs, 4.0, precision=0.05)


@pytest.mark.statistical
@pytest.mark.float32
def test_a_derivative_of_its_own_in_front_of_a_draw_counts():
    """The body stands still, and its rule says that it moves."""

    @jax.custom_jvp
    def coarse(x):
        return jnp.round(x * 100).astype(jnp.int32).astype(jnp.float32) / 100

    coarse.defjvp(lambda primals, tangents: (coarse(primals[0]), tangents[0]))
    run = jax.grad(
        sf.expectation(sf.lift(lambda p, key: 3.0 * jax.random.bernoulli(key, coarse(p)).astype(float)), num_samples=16)
    )
    runs = sf.testing.replicate(lambda key: run(0.4, key), jax.random.key(1), 1000)
    sf.testing.assert_unbiased(runs, 3.0, precision=0.05)


def test_noise_that_is_used_twice_is_no_draw_of_its_own():
    """The second use would not be charged: it stays the comparison that it was."""

    def program(p, key):
        u = jax.random.uniform(key)
        return (u < p).astype(float) + u

    assert sf.explain(sf.lift(program))(0.4, jax.random.key(0)).choices == ()


def test_a_choice_whose_parameters_move_is_refused_in_a_loop_without_an_end(same_keys):
    def program(p, key):
        return jax.lax.while_loop(lambda c: c[1], lambda c: (c[0], jax.random.bernoulli(c[0], p)), (key, True))[
            1
        ].astype(float)

    with pytest.raises(TypeError, match="inside of while"):
        sf.expectation(sf.lift(program))(0.4, jax.random.key(0))


def test_the_key_may_have_another_name_or_place(same_keys):
    def program(rng, p, *, scale=1.0):
        return scale * jax.random.bernoulli(rng, p).astype(float)

    for lifted in (sf.lift(program, key="rng"), sf.lift(program, key=0)):
        gradient = jax.grad(sf.expectation(lifted, num_samples=4), argnums=1)
        assert np.isfinite(gradient(jax.random.key(0), 0.3, scale=2.0))
    for key, match in (("seed", "its arguments are rng, p, scale"), (5, "the position of one"), (True, "position")):
        with pytest.raises(TypeError, match=match):
            sf.lift(program, key=key)
    with pytest.raises(TypeError, match="another argument named key"):
        sf.lift(lambda key, rng: key, key="rng")
    with pytest.raises(TypeError, match="needs a function"):
        sf.lift(3)


def test_nothing_is_left_behind(same_keys):
    before = {name: getattr(jax.random, name) for name in _lift.OURS}
    assert before == _lift.ORIGINALS
    kept = []

    def program(p, key):
        kept.append(jax.random.bernoulli)
        assert jax.random.bernoulli is not before["bernoulli"]
        raise KeyError("stop")

    with pytest.raises(KeyError):
        sf.expectation(sf.lift(program))(0.4, jax.random.key(0))
    assert {name: getattr(jax.random, name) for name in _lift.OURS} == before
    # what was kept is the function that it stands for, in a program that is not lifted and in none
    assert jax.grad(lambda p: kept[0](jax.random.key(0), p).astype(float))(0.4) == 0.0
    assert traced_before(jax.random.key(0), 0.4).shape == (2,)


def test_a_lift_within_a_lift_and_after_an_error(same_keys):
    inner = sf.lift(COINS["in a map"])
    twice = sf.lift(lambda p, key: inner(p, key) * 1.0)
    run = jax.grad(sf.expectation(twice, num_samples=8))
    assert run(0.4, jax.random.key(0)) == jax.grad(sf.expectation(inner, num_samples=8))(0.4, jax.random.key(0))
    assert jax.random.bernoulli is _lift.ORIGINALS["bernoulli"]


@pytest.mark.parametrize("rounds", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_another_thread_sees_nothing(rounds, same_keys):
    """A thread that is lifted and one that is not, in turns and at once: neither has the other's draws."""
    wrong, stop = [], threading.Event()

    def lifted(p, key):
        return jax.random.bernoulli(key, p).astype(float)

    def other():
        plain = lambda p: jax.random.bernoulli(jax.random.key(0), p).astype(float)
        while not stop.is_set():
            try:
                if jax.grad(plain)(0.4) != 0.0:
                    wrong.append("a gradient")
            except TypeError as error:
                wrong.append(str(error))

    threads = [threading.Thread(target=other, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for i in range(rounds):
            if not np.isfinite(jax.grad(sf.expectation(sf.lift(lifted), num_samples=2))(0.4, jax.random.key(i))):
                wrong.append("not lifted")
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:3]
    assert jax.random.bernoulli is _lift.ORIGINALS["bernoulli"]


def through_the_module(source):
    """The functions of jax.random that a source calls by their attribute."""
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return {f.attr for f in calls if isinstance(f, ast.Attribute) and ast.unparse(f.value) == "jax.random"}


def test_our_own_draws_go_past_a_lift():
    """A draw of ours through the attribute of jax.random would be a choice inside of a choice."""
    parts = ("noise", "distributions", "engine", "estimators", "schemes", "programs")
    files = [path for part in parts for path in (pathlib.Path(sf.__file__).parent / part).rglob("*.py")]
    assert len(files) > 60
    for path in files:
        assert not through_the_module(path.read_text()) & set(_lift.OURS), path
    assert through_the_module("x = jax.random.poisson(key, 2.0) + samplers.poisson(key, 1.0)") & set(_lift.OURS) == {
        "poisson"
    }


def test_our_own_choices_and_estimators_in_a_lifted_program_are_not_choices_twice():
    def program(rate, key):
        first, second = jax.random.split(key)
        n = sf.sample(first, sf.Poisson(rate=rate))
        inner = sf.score_function(
            lambda x: x.astype(float), sf.family(lambda r: sf.Poisson(rate=r)), rate, second, num_samples=2
        )
        return n.astype(float) ** 2 + 3.0 * inner

    found = sf.explain(sf.lift(program))(1.5, jax.random.key(0))
    assert [choice.name for choice in found.choices] == ["Poisson"]
    run = jax.grad(sf.expectation(sf.lift(program), num_samples=32))
    runs = sf.testing.replicate(lambda key: run(1.5, key), jax.random.key(1), 2000, batch=2000)
    sf.testing.assert_unbiased(runs, 2 * 1.5 + 1 + 3.0, precision=0.02)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize(
    "form", [lambda u, p: u < p, lambda u, p: p >= u, lambda u, p: ~(u >= p), lambda u, p: ~(p < u)]
)
def test_rare_bits_that_are_written_out_have_their_gradient(form):
    """A uniform of float32 is below 1e-9 a hundred times too often; the score is that of how often it is."""
    program = sf.lift(lambda p, key: jnp.sum(form(jax.random.uniform(key, (5000,)), p).astype(float)))
    run = jax.grad(sf.expectation(program, num_samples=100, baseline=None))
    runs = sf.testing.replicate(lambda key: run(1e-9, key), jax.random.key(0), 400, batch=100)
    sf.testing.assert_unbiased(runs, 5000.0, precision=0.25)


def test_a_search_and_thresholds_are_one_choice():
    p = jnp.array([0.2, 0.0, 0.5, 0.3])
    costs = jnp.array([1.0, 9.0, -2.0, 4.0])
    forms = {
        "sum": lambda p, u: jnp.sum(jnp.cumsum(p)[:-1] < u),
        "search": lambda p, u: jnp.searchsorted(jnp.cumsum(p)[:-1], u),
        "from above": lambda p, u: 3 - jnp.sum(u <= jnp.cumsum(p)[:-1]),
    }
    for form in forms.values():
        program = sf.lift(lambda p, key, form=form: costs[form(p, jax.random.uniform(key))])
        run = jax.value_and_grad(sf.expectation(program, num_samples=16))
        runs = sf.testing.replicate(lambda key, run=run: run(p, key), jax.random.key(1), 3000, batch=3000)
        # the last of the sums is 1 whatever p is, so the last number of p does not count
        exact = jax.value_and_grad(lambda p: jnp.concatenate([p[:-1], 1 - jnp.sum(p[:-1], keepdims=True)]) @ costs)(p)
        sf.testing.assert_unbiased(
            (runs[0], runs[1][:, [0, 2, 3]]), (exact[0], exact[1][np.array([0, 2, 3])]), precision=0.05
        )
