"""Rules of one's own: registered for a primitive, given to a function, and held against what the operation does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import outcomes
import pytest
from covering import covering
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import mlir
from outcomes import bit
from test_rules import PROGRAMS, TABLE

import jax_scorefn as sf
from jax_scorefn.programs import RULES, Rule, register_rule, with_rule
from jax_scorefn.programs.rules import _base
from jax_scorefn.testing import check_rule

INF = np.inf
P = (0.3, -0.5, 0.8)
X = jnp.array([[0.3, -0.5, 0.8], [1.1, 0.25, -0.75]])


def host(x):
    """The largest so far along the last axis, by NumPy: JAX sees nothing of it."""
    like = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(lambda x: np.maximum.accumulate(x, -1), like, x, vmap_method="expand_dims")


def so_far(op):
    last = len(op.shapes[0]) - 1
    return [{axis: axis for axis in range(last)} | {last: (last, -INF, 0)}]


def window(x):
    """The same by a primitive that has no rule. (A callback has no float64 within enable_x64.)"""
    last = x.shape[-1]
    ones = (1,) * (x.ndim - 1)
    return lax.reduce_window(
        x, -jnp.inf, lax.max, (*ones, last), (1,) * x.ndim, (*(((0, 0),) * len(ones)), (last - 1, 0))
    )


ruled = with_rule(host, so_far)
wrong = with_rule(window, lambda op: [{axis: axis for axis in range(len(op.shapes[0]))}])


@jax.custom_vjp
def doubled(x, y):
    return 2.0 * x * y, x


doubled.defvjp(lambda x, y: (doubled(x, y), (x, y)), lambda r, g: (2.0 * r[1] * g[0] + g[1], 2.0 * r[0] * g[0]))
by_rows = with_rule(doubled, lambda op: [{i: i for i in range(len(s))} for s in op.shapes])


# A rule for a name


@pytest.fixture
def halved_p():
    """A primitive of somebody's own, without a rule."""
    primitive = Primitive("test_halved")
    primitive.def_impl(lambda x: x / 2)
    primitive.def_abstract_eval(lambda x: x)
    mlir.register_lowering(primitive, mlir.lower_fun(lambda x: x / 2, multiple_results=False))
    yield primitive
    RULES.pop("test_halved", None)


def costs_of(program, p=P):
    found = sf.explain(program)(jnp.array(p), jax.random.key(0))
    return [cost.charged for cost in found.costs], found.fallbacks


def test_a_registered_rule_is_used_and_a_second_one_is_refused(halved_p):
    def program(p, key):
        return jnp.sum(halved_p.bind(sf.sample(key, sf.Normal(loc=p, scale=1.0), name="x") ** 2))

    assert costs_of(program) == ([{"x": "all"}], {"test_halved": 1})
    register_rule(halved_p, linear=0)(lambda op: [{0: 0}])
    assert costs_of(program) == ([{"x": "axis 0 equal"}], {})
    assert check_rule(halved_p.bind, X[0]) == {"test_halved": [{0: 0}]}
    with pytest.raises(ValueError, match=r"test_halved has a rule already.*with_rule\(f, rule\)"):
        register_rule("another_test", halved_p)(lambda op: [{}])
    assert "another_test" not in RULES


@pytest.mark.parametrize("name", ["scan", "jit", "custom_jvp_call", "cond"])
def test_a_rule_that_would_never_be_asked_is_refused(name):
    with pytest.raises(ValueError, match=f"A rule for {name} would never be asked"):
        register_rule(name)
    with pytest.raises(TypeError, match="takes names of primitives"):
        register_rule(lambda op: [{}])
    with pytest.raises(TypeError, match="takes names of primitives"):
        register_rule()


# A rule for a function


def test_anywhere_else_it_is_the_function():
    np.testing.assert_array_equal(ruled(X), np.maximum.accumulate(X, 1))
    np.testing.assert_array_equal(jax.jit(ruled)(X), host(X))
    np.testing.assert_array_equal(jax.jit(jax.vmap(ruled, in_axes=1, out_axes=1))(X), jax.vmap(host, 1, 1)(X))
    np.testing.assert_array_equal(jax.vmap(jax.vmap(ruled))(X[None]), host(X)[None])
    for take in (jax.grad, lambda f: jax.jit(jax.grad(f)), lambda f: lambda x: jax.vmap(jax.grad(f))(x[None])[0]):
        one, other = (take(lambda x, f=f: jnp.sum(jnp.sin(f(x, X)[0]) * f(x, X)[1]))(X) for f in (by_rows, doubled))
        np.testing.assert_allclose(one, other, rtol=1e-6)
    smooth = lambda x, n: {"a": jnp.sin(x["a"]) * n, "k": jax.random.fold_in(x["k"], 1)}
    tree = {"a": X, "k": jax.random.key(0)}
    for f in (smooth, with_rule(smooth, lambda op: [{}, {}])):
        out = jax.jit(lambda t, f=f: f(t, n=3))(tree)
        np.testing.assert_allclose(out["a"], 3 * jnp.sin(X), rtol=1e-6)
        slope = jax.jvp(lambda a, f=f: f({"a": a, "k": tree["k"]}, 3)["a"], (X,), (X,))[1]
        np.testing.assert_allclose(slope, 3 * jnp.cos(X) * X, rtol=1e-6)
        second = jax.jit(jax.hessian(lambda a, f=f: jnp.sum(f({"a": a, "k": tree["k"]}, 3)["a"])))(X[0])
        np.testing.assert_allclose(second, np.diag(-3 * np.sin(X[0])), atol=1e-6)
    concrete = with_rule(lambda x: x if float(x) > 0 else -x, lambda op: [{}])
    assert concrete(-2.0) == 2.0 and ruled.__name__ == "host"


def stepped(f):
    """Of bits: f along an axis, mapped over another, in a loop and by itself."""

    def program(p, x, key):
        z = bit(x[:4].reshape(2, 2), jnp.ones((2, 2)) * p[0])
        mapped = jax.vmap(f, in_axes=1, out_axes=1)(z + jnp.array([[0.5, 0.0], [0.0, 0.2]])) ** 2
        rows = f(z * jnp.array([[1.0, 2.0], [0.5, 3.0]])) + p[2]
        w = bit(x[4:], p[1] + f(z)[0])
        return jnp.sum(jnp.sin(rows * p[1])) + jnp.sum(mapped * w[None])

    return program


@pytest.mark.usefixtures("x64")
def test_credit_through_a_function_is_exact_and_quieter():
    params, fine = jnp.array(P), with_rule(window, so_far)
    got, exact = outcomes.gradients(stepped(fine), params, 6)
    np.testing.assert_allclose(got, exact, rtol=1e-11)
    assert outcomes.variance(stepped(fine), params, 6) < 0.95 * outcomes.variance(stepped(window), params, 6)
    got, exact = outcomes.gradients(stepped(wrong), params, 6)
    assert np.max(np.abs(got - exact)) > 0.01  # the twin: a rule that says too little


@pytest.mark.float32
def test_credit_through_a_callback_is_exact():
    program = lambda p, x, key: jnp.sum(jnp.sin(ruled(bit(x.reshape(2, 3), p[0] + TABLE.astype(np.float32))) + p[1]))
    got, exact = outcomes.gradients(program, jnp.array(P), 6)
    np.testing.assert_allclose(got, exact, rtol=1e-4)


def test_inside_of_a_program_it_is_one_operation():
    choice = lambda p, key: sf.sample(key, sf.Normal(loc=jnp.outer(p, p), scale=1.0), name="x")
    assert costs_of(lambda p, key: jnp.sum(host(choice(p, key)))) == ([{"x": "all; all"}], {"pure_callback": 1})
    assert costs_of(lambda p, key: jnp.sum(ruled(choice(p, key)))) == (
        [{"x": "axis 0 equal; axis 1 at or before"}], {})  # fmt: skip
    (mapped,), _ = costs_of(lambda p, key: jnp.sum(jax.vmap(ruled, 1, 1)(choice(p, key))))
    assert mapped == {"x": "axis 0 at or before; axis 1 equal"}

    def looped(p, key):
        def step(c, k):
            y = ruled(sf.sample(k, sf.Normal(loc=p, scale=1.0), name="x"))
            return c, y

        return jnp.sum(lax.scan(step, 0.0, jax.random.split(key, 4))[1])

    assert costs_of(looped)[0] == [{"x": "axis 0 equal; axis 1 at or before"}]
    found = sf.explain(lambda p, key: jnp.sum(ruled(choice(p, key))))(jnp.array(P), jax.random.key(0))
    assert found.costs[0].operation == "host"


def test_what_it_closes_over_is_charged_as_a_whole():
    def program(p, key):
        k1, k2 = jax.random.split(key)
        x, y = (sf.sample(k, sf.Normal(loc=p, scale=1.0), name=n) for k, n in ((k1, "x"), (k2, "y")))
        both = with_rule(lambda x: x * jnp.sin(y), lambda op: [{0: 0}])
        return jnp.sum(both(x))

    assert costs_of(program)[0] == [{"x": "axis 0 equal", "y": "all"}]
    mapped = lambda p, key: jnp.sum(jax.vmap(functools.partial(program, p))(jax.random.split(key, 2)))
    assert costs_of(mapped)[0] == [{"x": "axis 0 equal; axis 1 equal", "y": "axis 0 equal; all"}]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "in a scan"])
def test_costs_are_told_apart_on_the_far_side_of_a_linear_function(inside):
    table = jnp.asarray(TABLE)
    mixed = with_rule(jax.jit(lambda w, z: jnp.tensordot(w, z, ((0, 1), (0, 1)))), lambda op: [{}, {}], linear="each")
    flat = with_rule(lambda w, z: jnp.tensordot(w, z, ((0, 1), (0, 1))), lambda op: [{}, {}])

    def program(f):
        def run(p, x, key):
            z = jnp.exp(p[1] * bit(x.reshape(2, 3), p[0] + table))
            if not inside:
                return f(table, z)
            return lax.scan(lambda c, w: (c + f(w * p[2], z) * 1.0, None), 0.0, jnp.stack([table, 2 * table]))[0][()]

        return run

    for f in (mixed, flat):
        got, exact = outcomes.gradients(program(f), jnp.array(P), 6)
        np.testing.assert_allclose(got, exact, rtol=1e-10)
    found = sf.explain(program(mixed))(jnp.array(P), jnp.zeros(6), jax.random.key(0))
    assert [cost.charged for cost in found.costs] == [{"Given": "axis 0 equal; axis 1 equal"}]
    assert outcomes.variance(program(mixed), jnp.array(P), 6) < 0.7 * outcomes.variance(program(flat), jnp.array(P), 6)


def test_a_linear_function_of_half_precision_keeps_its_dtype():
    added = lambda x: lax.reduce(x, jnp.zeros((), x.dtype), lax.add, (0,))

    def grad(f):
        program = lambda p, key: f((sf.sample(key, sf.Normal(loc=p, scale=1.0), name="x") ** 2).astype(jnp.bfloat16))
        assert costs_of(program)[0] == [{"x": "axis 0 equal"}]
        return jax.jit(jax.value_and_grad(sf.expectation(program, num_samples=4)))(jnp.array(P), jax.random.key(0))

    for one, other in zip(grad(with_rule(added, lambda op: [{}], linear=0)), grad(jnp.sum), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one.astype(float), other.astype(float), rtol=2e-2)


def test_what_is_no_rule_and_what_is_no_place_for_a_choice():
    with pytest.raises(TypeError, match="A rule is a function of an Operation, or a Rule.*3.0"):
        with_rule(host, 3.0)
    inside = with_rule(lambda p, key: sf.sample(key, sf.Bernoulli(logits=p)), lambda op: [{}, {}])
    with pytest.raises(TypeError, match="random choice inside of <lambda>.*take the draw as an argument"):
        jax.eval_shape(sf.expectation(lambda p, key: inside(p, key)), 0.3, jax.random.key(0))
    with pytest.raises(ValueError, match=r"The rule of .* gave \[\] for 1 operands and 1 results"):
        costs_of(lambda p, key: jnp.sum(with_rule(host, lambda op: [])(sf.sample(key, sf.Normal(loc=p, scale=1.0)))))
    with pytest.raises(ValueError, match="linear= is None, an operand.*not 'some'"):
        Rule(so_far, linear="some").groups(None)


def test_a_sort_by_a_rule_that_is_there():
    program = lambda p, key: jnp.sum(
        with_rule(lambda x: jnp.sort(x, axis=1), rows)(
            sf.sample(key, sf.Normal(loc=jnp.outer(p, p), scale=1.0), name="x")
        )
    )
    rows = Rule(lambda op: RULES["sort"].function(op._replace(params={"dimension": 1})))
    assert costs_of(program)[0] == [{"x": "axis 0 equal; all"}]


@pytest.mark.parametrize(
    "axes", [((0, 0),), ((1, None),), ((None, 0),), ((0, None), (None, 0)), ((None, 1), (0, 0)), ((1, 1), (0, None))]
)
def test_a_rule_is_right_under_maps(axes):
    """Of two operands, each mapped or not, once and twice: the rule is checked, and its claim to be linear."""

    def scaled(x, w):
        return jnp.cumsum(x)[:, None] * w[None]

    f = with_rule(scaled, lambda op: [{0: (0, -INF, 0)}, {0: 1}], linear="each")
    shapes = [(2,), (3,)]
    for axis in axes:
        f = jax.vmap(f, in_axes=axis)
    for axis in axes:
        shapes = [s if a is None else (*s[:a], 2, *s[a:]) for s, a in zip(shapes, axis, strict=True)]
    x, w = (jnp.linspace(0.3, 1.7, int(np.prod(s))).reshape(s) for s in shapes)
    assert "scaled" in check_rule(f, x, w)


@pytest.mark.sharded
def test_a_function_with_a_rule_is_laid_over_devices(unchecked_keys):
    f = with_rule(lambda x: jnp.cumsum(jnp.sin(x)), lambda op: [{0: (0, -INF, 0)}])
    weighted = with_rule(jnp.vdot, lambda op: [{}, {}], linear="each")

    def program(p, key):
        def step(c, k):
            x = f(sf.sample(k, sf.Normal(loc=p, scale=1.0)))
            return c + weighted(p, x), jnp.sum(x)

        total, rest = lax.scan(step, 0.0, jax.random.split(key, 3))
        return total + jnp.sum(rest)

    run = lambda s: jax.jit(jax.grad(sf.expectation(program, num_samples=4, sharding=s)))(
        jnp.array(P), jax.random.key(0)
    )
    alone = run(None)
    for kind in (jax.sharding.AxisType.Explicit, jax.sharding.AxisType.Auto):
        mesh = jax.make_mesh((2,), ("draws",), axis_types=(kind,))
        with jax.set_mesh(mesh):
            np.testing.assert_allclose(
                run(jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("draws"))), alone, rtol=1e-4
            )


# A rule against the truth


@pytest.mark.usefixtures("x64", "foreign")
@pytest.mark.parametrize("name", covering(PROGRAMS, lambda name: RULES[name].each_result if name in RULES else None))
def test_the_rules_of_the_library_pass(name):
    z = jnp.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    assert check_rule(lambda z: jnp.asarray(PROGRAMS[name][0](z), float) + 0.5, z)


@pytest.mark.parametrize(
    ("f", "rule", "words"),
    [
        (
            lambda x: lax.rev(x, (1,)),
            [{0: 0, 1: 1}],
            r"result 0 changes at \[0, 2\] when operand 0 is changed at \[0, 0\]",
        ),
        (lambda x: lax.cumsum(x, axis=1), [{0: 0, 1: (1, -1, 0)}], "cumsum|<lambda>"),
        (lambda x: lax.cumsum(x, axis=1), [{0: 0, 1: (1, 0, INF)}], "is changed at"),
        (lambda x: x.sum(1), [None], "which its map None denies"),
        (lambda x: x[:, 1], [{0: 0, 1: ("#", 0, 0)}], r"changed at \[0, 1\]"),
        (lambda x: x.astype(int) % 2, [None], "denies"),
    ],
)
def test_a_rule_that_denies_a_dependence_fails(f, rule, words):
    with pytest.raises(AssertionError, match=words):
        check_rule(f, 3 * X, rule=lambda op: rule)


def test_rules_that_say_enough_pass_and_what_they_said_is_returned():
    assert check_rule(lambda x: lax.rev(x, (1,)), X, rule=lambda op: [{0: 0}]) == {"<lambda>": [{0: 0}]}
    assert check_rule(lambda x: x[:, 1], X, rule=lambda op: [{0: 0, 1: ("#", 1, 1)}])
    assert check_rule(ruled, X) == {"host": [{0: 0, 1: (1, -INF, 0)}]}
    assert check_rule(jax.vmap(ruled, 1, 1), X)["host"] == [{0: 0, 1: (1, -INF, 0)}]
    split = check_rule(lambda x: lax.split(x, (1, 2), axis=1), X)
    assert split == {"split": [[{0: 0, 1: (1, 0, 0)}], [{0: 0, 1: (1, 1, 1)}]]}
    keys = jax.random.split(jax.random.key(0), 2)
    assert check_rule(jax.vmap(jax.random.bits), keys)["random_bits"] == [{0: 0}]
    with pytest.raises(AssertionError, match="denies"):
        check_rule(wrong, X)
    with pytest.raises(AssertionError, match="denies"):
        check_rule(lambda k: k[::-1], keys, rule=lambda op: [{0: 0}])


@pytest.mark.parametrize(
    ("f", "linear"),
    [(jnp.sin, 0), (lambda x: x + 1.0, 0), (lambda x: x * x, "each"), (lambda x, y: x * y, "together"), (lambda x, y: x / y, "each"),
     (lambda x, y: x + y + 1, (0, 1))],
)  # fmt: skip
def test_a_claim_to_be_linear_that_is_false_fails(f, linear):
    args = (X, X + 2.0)[: f.__code__.co_argcount if hasattr(f, "__code__") and f is not jnp.sin else 1]
    with pytest.raises(AssertionError, match=r"says linear=\(.*\), and result 0"):
        check_rule(f, *args, rule=lambda op: [{}] * len(op.shapes), linear=linear)


def test_claims_to_be_linear_that_are_true_pass():
    anything = lambda op: [{}] * len(op.shapes)
    assert check_rule(lambda x, y: x @ y.T, X, X, rule=anything, linear="each")
    assert check_rule(lambda x, y: x - 2 * y, X, X, rule=anything, linear="together")
    assert check_rule(lambda x, y: x / y, X, X + 2, rule=anything, linear=0)
    assert check_rule(lambda x: jnp.fft.fft(x), X, rule=anything, linear=0)


def test_what_cannot_be_checked_says_so():
    with pytest.raises(ValueError, match=r"none of the operations \(fft\) has a rule"):
        check_rule(lambda x: lax.fft(x, "fft", (3,)), X.astype(jnp.complex64))
    with pytest.raises(ValueError, match="speaks of an axis"):
        check_rule(jnp.sin, X, rule=lambda op: [{2: 0}])
    with pytest.raises(ValueError, match="speaks of an axis"):
        check_rule(jnp.sum, X, rule=lambda op: [{0: 0}])


def test_one_name_has_one_rule():
    with pytest.raises(ValueError, match="sort has a rule already"):
        _base.rule("sort")(lambda op: [{}])
