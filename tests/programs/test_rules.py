"""Every rule by itself: what a result is said to depend on holds all it depends on, and what is said to be linear is.

``PROGRAMS`` has a small program for each primitive with a rule; it is run on every outcome of six bits, and each bit is flipped.
"""

import dataclasses

import jax
import jax.extend.core.primitives as primitives
import jax.numpy as jnp
import numpy as np
import outcomes
import pytest
from covering import covering
from jax import lax
from outcomes import bit

from jax_scorefn.programs import _evaluate
from jax_scorefn.programs._analyze import Analysis
from jax_scorefn.programs._dependence import INF
from jax_scorefn.programs._ir import build
from jax_scorefn.programs.rules import RULES, Rule

SHAPE = (2, 3)
TABLE = np.arange(1.0, 7.0).reshape(SHAPE) / 7
SAME = ((0, 0, 0), (1, 0, 0))
BATCH = ((0, 0, 0), None)
ROWS = ((0, 0, 0), ("#", 0, 2))
"""Both axes kept in place; only the first; the first, and each element of the second by its number."""


def integers(z):
    return z.astype(jnp.int32)


def spd(z):
    """Positive definite 2 x 2 matrices: one for each row of z."""
    a = jnp.stack([jnp.stack([z[:, 0] + 3, z[:, 1]], -1), jnp.stack([z[:, 1], z[:, 2] + 2], -1)], -2)
    return a


UNARY = {
    "abs": 0.5, "acos": 0.1, "acosh": 1.5, "asin": 0.1, "asinh": 0.1, "atan": 0.1, "atanh": 0.1, "bessel_i0e": 0.3, "bessel_i1e": 0.3,
    "cbrt": 0.5, "ceil": 0.5, "cos": 0.5, "cosh": 0.5, "digamma": 1.5, "erf": 0.1, "erf_inv": 0.1, "erfc": 0.1, "exp": 0.1,
    "exp2": 0.1, "expm1": 0.1, "floor": 0.5, "is_finite": 0.1, "lgamma": 1.5, "log": 0.5, "log1p": 0.5, "logistic": 0.1, "neg": 0.1,
    "real": 0.1, "imag": 0.1, "conj": 0.1, "round": 0.1, "rsqrt": 0.5, "sign": 0.1, "sin": 0.1, "sinh": 0.1, "sqrt": 0.5,
    "square": 0.1, "stop_gradient": 0.1, "tan": 0.1, "tanh": 0.1,
}  # fmt: skip
BINARY = ["add", "atan2", "div", "eq", "ge", "gt", "igamma", "igammac", "le", "lt", "max", "min", "mul", "ne", "nextafter",
          "polygamma", "pow", "rem", "sub", "zeta"]  # fmt: skip
BITWISE = ["bitwise_and", "bitwise_or", "bitwise_xor", "shift_left", "shift_right_arithmetic", "shift_right_logical"]


def unary(name, start):
    def run(z):
        x = 0.6 * z + start
        if name in ("real", "imag", "conj"):
            return abs(getattr(lax, name)(lax.complex(x, 2 * x)))
        if name in ("acos", "asin", "atanh", "erf_inv"):
            x = x * 0.9
        return getattr(lax, name)(x) * 1.0

    return run


PROGRAMS = {name: (unary(name, start), SAME) for name, start in UNARY.items()}
PROGRAMS |= {
    name: (lambda z, name=name: getattr(lax, name)(z + 1.5, np.roll(TABLE, 1, 0) + 1.0) * 1.0, SAME) for name in BINARY
}
PROGRAMS |= {
    name: (lambda z, name=name: getattr(lax, name)(integers(z) + 1, integers(TABLE * 9)), SAME) for name in BITWISE
}
PROGRAMS |= {
    "add_any": (lambda z: jax.grad(lambda y: jnp.sum(y * y))(z), SAME),
    "bitcast_convert_type": (lambda z: lax.bitcast_convert_type(z, jnp.int64), SAME),
    "bitwise_not": (lambda z: ~integers(z), SAME),
    "clamp": (lambda z: lax.clamp(0.2, z, TABLE), SAME),
    "complex": (lambda z: abs(lax.complex(z, 2 * z) * TABLE), SAME),
    "clz": (lambda z: lax.clz(integers(z)), SAME),
    "convert_element_type": (lambda z: z.astype(jnp.float32), SAME),
    "copy": (lambda z: jnp.array(z, copy=True), SAME),
    "eq_to": (lambda z: lax.sort(z + TABLE, dimension=1), BATCH),
    "integer_pow": (lambda z: (z + 1) ** 3, SAME),
    "log2": (lambda z: jnp.log2(z + 1), SAME),
    "checkpoint_name": (lambda z: jax.ad_checkpoint.checkpoint_name(z, "here"), SAME),
    "population_count": (lambda z: lax.population_count(integers(z)), SAME),
    "random_bits": (
        lambda z: jax.vmap(lambda i: jax.random.bits(jax.random.fold_in(jax.random.key(0), i)))(integers(z[0])),
        (("#", 0, 0), (0, 0, 0))),
    "random_wrap": (
        lambda z: jax.random.bits(jax.random.wrap_key_data(jnp.stack([integers(z[0, :2]), integers(z[1, :2])]).astype(jnp.uint32)[0])),
        (("#", 0, 1), None)),
    "random_fold_in": (
        lambda z: jax.random.key_data(
            jax.vmap(lambda r: jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(r))(integers(z))
        )[..., 0], SAME),
    "random_split": (
        lambda z: jax.random.key_data(
            jax.vmap(lambda i: jax.random.split(jax.random.fold_in(jax.random.key(0), i)))(integers(z[0]))
        )[:, 1, 0], ((  "#", 0, 0), (0, 0, 0))),
    "random_gamma": (lambda z: jax.random.gamma(jax.random.key(0), z + TABLE), SAME),
    "reduce_precision": (lambda z: lax.reduce_precision(z, 8, 7), SAME),
    "regularized_incomplete_beta": (lambda z: lax.betainc(z + 1.0, TABLE + 1.0, jnp.full(SHAPE, 0.3)), SAME),
    "select_n": (lambda z: lax.select(TABLE > 0.5, z, jnp.zeros(SHAPE)), SAME),
    "axis_of_size_1": (lambda z: z[:, :1] + TABLE, ((0, 0, 0), ("#", 0, 0))),
    "broadcast_in_dim": (lambda z: jnp.broadcast_to(z[:, None], (2, 4, 3)), ((0, 0, 0), (2, 0, 0))),
    "reshape": (lambda z: z.reshape(1, 2, 3, 1), ((1, 0, 0), (2, 0, 0))),
    "reshape_merges": (lambda z: z.reshape(6), (None, None)),
    "reshape_splits": (lambda z: jnp.concatenate([z, z], 1).reshape(2, 2, 3), BATCH),
    "transpose": (lambda z: z.T, ((1, 0, 0), (0, 0, 0))),
    "squeeze": (lambda z: lax.squeeze(z[:, 1:2], (1,)), ((0, 0, 0), ("#", 1, 1))),
    "reduce_sum": (lambda z: z.sum(0), (None, (0, 0, 0))),
    "reduce_max": (lambda z: (z * TABLE).max(1), BATCH),
    "reduce_min": (lambda z: (z + TABLE).min(1), BATCH),
    "reduce_prod": (lambda z: (z + TABLE).prod(1), BATCH),
    "reduce_and": (lambda z: (z > 0.5).all(1), BATCH),
    "reduce_or": (lambda z: (z > 0.5).any(1), BATCH),
    "reduce_xor": (lambda z: lax.reduce_xor(integers(z), (1,)), BATCH),
    "reduce": (lambda z: lax.reduce(z, 0.0, lambda a, b: a + b - a * b, (1,)), BATCH),
    "argmax": (lambda z: jnp.argmax(z * TABLE, 1), BATCH),
    "argmin": (lambda z: jnp.argmin(z * TABLE, 1), BATCH),
    "cumsum": (lambda z: jnp.cumsum(z, 1), ((0, 0, 0), (1, -INF, 0))),
    "cumsum_reverse": (lambda z: lax.cumsum(z, axis=1, reverse=True), ((0, 0, 0), (1, 0, INF))),
    "cumprod": (lambda z: jnp.cumprod(z + TABLE, 1), ((0, 0, 0), (1, -INF, 0))),
    "cummax": (lambda z: lax.cummax(z * TABLE, axis=1), ((0, 0, 0), (1, -INF, 0))),
    "cummin": (lambda z: lax.cummin(z - TABLE, axis=1), ((0, 0, 0), (1, -INF, 0))),
    "cumlogsumexp": (lambda z: lax.cumlogsumexp(z, axis=1), ((0, 0, 0), (1, -INF, 0))),
    "slice": (lambda z: z[:, 1:], ((0, 0, 0), (1, 1, 1))),
    "slice_strided": (lambda z: z[:, ::2], BATCH),
    "pad": (lambda z: jnp.pad(z, ((0, 0), (1, 2))), ((0, 0, 0), (1, -1, -1))),
    "pad_inside": (lambda z: lax.pad(z, 0.0, ((0, 0, 0), (0, 0, 1))), BATCH),
    "concatenate": (lambda z: jnp.concatenate([TABLE[:, :1], z], 1), ((0, 0, 0), (1, -1, -1))),
    "stack": (lambda z: jnp.stack([z, TABLE], 1), ((0, 0, 0), (2, 0, 0))),
    "rev": (lambda z: z[:, ::-1], BATCH),
    "split": (lambda z: jnp.split(z, [1], axis=1)[1], ((0, 0, 0), (1, 1, 1))),
    "unstack": (lambda z: list(jnp.moveaxis(z, 1, 0))[1] + 0 * z[:, 1], ((0, 0, 0), ("#", 1, 1))),
    "dot_general": (lambda z: z @ TABLE.T, BATCH),
    "dot_general_batch": (lambda z: jnp.einsum("bi,bi->b", z, TABLE), BATCH),
    "conv_general_dilated": (lambda z: lax.conv(z[:, None], jnp.ones((1, 1, 2)), (1,), "VALID")[:, 0], BATCH),
    "sort": (lambda z: jnp.sort(z + TABLE, 1), BATCH),
    "top_k": (lambda z: lax.top_k(z + TABLE, 2)[0], BATCH),
    "cholesky": (lambda z: jnp.linalg.cholesky(spd(z)), ROWS),
    "lu": (lambda z: lax.linalg.lu(spd(z))[0], ROWS),
    "qr": (lambda z: jnp.linalg.qr(spd(z), mode="r"), ROWS),
    "eigh": (lambda z: jnp.linalg.eigvalsh(spd(z)), ROWS),
    "svd": (lambda z: jnp.linalg.svd(spd(z), compute_uv=False), ROWS),
    "triangular_solve": (lambda z: lax.linalg.triangular_solve(spd(z), jnp.ones((2, 2, 1)), left_side=True), ROWS),
    "householder_product": (lambda z: lax.linalg.householder_product(spd(z), z[:, :2]), BATCH),
    "tridiagonal_solve": (
        lambda z: lax.linalg.tridiagonal_solve(z * 0.1, z + 2.0, z * 0.1, jnp.ones((2, 3, 1))), BATCH),
    "dynamic_slice": (lambda z: lax.dynamic_slice(z, (0, 1), (2, 2)), ((0, 0, 0), (1, 1, 1))),
    "dynamic_slice_drawn": (lambda z: lax.dynamic_slice_in_dim(z, integers(z[0, 0]), 2, 1), (None, None)),
    "dynamic_update_slice": (lambda z: lax.dynamic_update_slice(z, TABLE[:, :1], (0, 1)), SAME),
    "dynamic_update_slice_with": (lambda z: lax.dynamic_update_slice(TABLE, z[:, :2], (0, 1)), BATCH),
    "gather_rows": (lambda z: jnp.take_along_axis(z, jnp.array([[2, 0], [1, 1]]), 1), BATCH),
    "gather_columns": (lambda z: z[jnp.array([1, 0, 1])], (None, (1, 0, 0))),
    "gather": (lambda z: jnp.linspace(0.0, 1.0, 5)[integers(z) + 1], SAME),
    "scatter": (lambda z: z.at[:, 1].set(0.5), SAME),
    "scatter_add": (lambda z: z.at[jnp.array([1, 1])].add(TABLE), SAME),
    "scatter_add_updates": (lambda z: jnp.asarray(TABLE).at[jnp.array([1, 1])].add(z), (None, (1, 0, 0))),
    "scatter_mul": (lambda z: z.at[:, 1].mul(0.5), SAME),
    "scatter_min": (lambda z: z.at[:, 1].min(0.5), SAME),
    "scatter_max": (lambda z: z.at[:, 1].max(0.5), SAME),
    "scatter_batched": (
        lambda z: jax.vmap(lambda row, i: jnp.zeros(3).at[i].add(row[0]))(z, jnp.array([2, 0])), ((0, 0, 0), ("#", 0, 0))),
    "optimization_barrier": (lambda z: lax.optimization_barrier((z.T, TABLE))[0], ((1, 0, 0), (0, 0, 0))),
    "fft": (lambda z: jnp.fft.fft(z).real, (None, None)),
    "associative_scan": (lambda z: lax.associative_scan(jnp.add, z, axis=1), BATCH),
    "reduce_window": (lambda z: lax.reduce_window(z, 0.0, lax.add, (1, 2), (1, 1), "VALID"), (None, None)),
    "custom_jvp_call": (lambda z: jax.nn.relu(z - 0.5), SAME),
    "while": (lambda z: lax.while_loop(lambda c: c[0, 0] < 2, lambda c: c + 1, z), (None, None)),
    "fori_loop": (lambda z: lax.fori_loop(0, integers(jnp.asarray(TABLE))[1, 2] + 2, lambda i, c: 0.5 * c + z, z), SAME),
    "jit": (lambda z: jax.jit(lambda y: y[:, 1:])(z), ((0, 0, 0), (1, 1, 1))),
}  # fmt: skip


def block_of(program, how=bit):
    """The private copy of a program on bits that are given."""
    return build(jax.make_jaxpr(lambda x: program(how(x, jnp.zeros(SHAPE))))(jnp.zeros(SHAPE)))


def covered(entries, shape):
    """Which of the six bits an element of the result is said to depend on: an array of the shapes of both."""
    out = np.ones(shape + SHAPE, bool)
    for axis, entry in enumerate(entries):
        if entry is None:
            continue
        where, lo, hi = entry
        at = np.indices(shape + SHAPE)
        own = 0 if where == "#" else at[where]
        mine = at[len(shape) + axis]
        out &= (mine >= own + lo) & (mine <= own + hi)
    return out


def overlooked(name):
    """Places of bits that change an element which is not said to depend on them."""
    program, _ = PROGRAMS[name]
    block = block_of(program)
    of = Analysis(block)
    (entries,) = of(block.outs[0]).values()
    bits = np.asarray(outcomes.all_bits(6)).reshape(-1, *SHAPE)
    values = np.asarray(jax.jit(jax.vmap(program))(bits))
    said = covered(entries, values.shape[1:])
    found = []
    for place in np.ndindex(*SHAPE):
        flipped = bits.copy()
        flipped[(slice(None), *place)] = 1 - flipped[(slice(None), *place)]
        number = (flipped.reshape(-1, 6) @ 2 ** np.arange(5, -1, -1)).astype(int)
        differs = ~np.isclose(values, values[number], rtol=1e-9, atol=1e-12, equal_nan=True).all(axis=0)
        if np.any(differs & ~said[(..., *place)]):
            found.append(place)
    return found


OF_WHOLE_NUMBERS = pytest.param("polygamma", marks=pytest.mark.nans)  # and NaN between them


@pytest.mark.usefixtures("x64", "foreign")
@pytest.mark.parametrize("name", [OF_WHOLE_NUMBERS if name == "polygamma" else name for name in PROGRAMS])
def test_what_an_element_depends_on_is_charged(name):
    block = block_of(PROGRAMS[name][0])
    assert list(Analysis(block)(block.outs[0]).values()) == [PROGRAMS[name][1]]
    assert overlooked(name) == []


BROKEN = Rule(lambda op: [{0: 0, 1: 1}])


@pytest.mark.usefixtures("x64", "foreign")
@pytest.mark.parametrize("name", ["rev", "cumsum"])
def test_a_rule_that_says_too_little_is_seen(monkeypatch, name):
    monkeypatch.setitem(RULES, name, BROKEN)
    assert overlooked(name) != []


@pytest.mark.usefixtures("x64", "foreign")
@pytest.mark.parametrize("name", covering(PROGRAMS, lambda name: RULES[name].linear if name in RULES else None))
def test_what_is_said_to_be_linear_is_linear(name):
    check_linear(name)


@pytest.mark.usefixtures("x64", "foreign")
@pytest.mark.parametrize("name", ["fft", "reduce_window", "while"])
def test_a_primitive_that_mixes_is_reported_by_name(name):
    (found,) = Analysis(block_of(PROGRAMS[name][0])).fallbacks
    assert found.startswith(name)


def check_linear(name):
    rng = np.random.default_rng(0)
    block = block_of(PROGRAMS[name][0])
    run = _evaluate.Run(None)
    run.write(block.ins, [jnp.asarray(rng.integers(0, 2, SHAPE) * 1.0)])
    for op in block.ops:
        run.step(op)
        if op.kind != "plain" or op.name.startswith("scorefn"):
            continue
        values = [run.read(x) for x in op.ins]
        for free in np.ndindex(*(2,) * min(len(values), 4)):
            held = [bool(f) for f in free] + [True] * (len(values) - 4)
            linear = list(op.linear(held))
            if not linear or any(not jnp.issubdtype(jnp.result_type(values[i]), jnp.inexact) for i in linear):
                continue
            if not all(jnp.issubdtype(v.aval.dtype, jnp.inexact) for v in op.outs):
                continue  # the walk does not go through these

            def at(*, u, op=op, values=values, linear=linear):
                return _evaluate.bind(op, [u[i] if i in linear else x for i, x in enumerate(values)])

            one, two = (
                {
                    i: jnp.asarray(rng.normal(size=jnp.shape(values[i]))).astype(jnp.result_type(values[i]))
                    for i in linear
                }
                for _ in range(2)
            )
            both = {i: one[i] + 3 * two[i] for i in linear}
            for a, b, c in zip(at(u=one), at(u=two), at(u=both), strict=True):
                np.testing.assert_allclose(c, a + 3 * b, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("x64", "foreign")
@pytest.mark.parametrize("name", ["tanh", "reduce_max"])
def test_an_operation_that_is_not_linear_is_seen(monkeypatch, name):
    monkeypatch.setitem(RULES, name, dataclasses.replace(RULES[name], linear=0))
    with pytest.raises(AssertionError):
        check_linear(name)


@pytest.mark.slow
@pytest.mark.usefixtures("x64", "foreign")
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_gradient_through_it_is_exact(name):
    program, _ = PROGRAMS[name]

    def cost(p, x, key):
        z = bit(x.reshape(SHAPE), p[0] + p[1] * TABLE)
        out = jnp.asarray(program(z), float)
        return jnp.sum(jnp.sin(out * p[2]) * jnp.linspace(0.5, 1.5, out.size).reshape(out.shape))

    got, exact = outcomes.gradients(cost, jnp.array([0.3, -0.4, 0.5]), 6)
    np.testing.assert_allclose(got, exact, rtol=1e-9, atol=1e-11)


def primitives_in(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn.primitive.name
        for inner in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
        ):
            if hasattr(inner := getattr(inner, "jaxpr", inner), "eqns"):
                yield from primitives_in(inner)


ELSEWHERE = {"copy_p", "expand_dims", "log2", "one_minus_square", "scatter_add", "scatter_max", "scatter_min", "scatter_mul", "stack",
             "split", "unstack"}  # fmt: skip
"""Names that not every version has; where they are they have to be seen."""
NOT_WRITTEN = {"device_put", "eq_to", "igamma_grad_a", "le_to", "lt_to", "one_minus_square", "reshard", "scorefn_alive", "scorefn_guard",
               "scorefn_witness", "sharding_constraint"}  # fmt: skip
"""Ruled, but not what a line of code by itself is traced to on one device."""


@pytest.mark.usefixtures("x64", "foreign")
def test_every_rule_has_its_program_and_every_name_is_one_of_jax():
    seen = set()
    for program, _ in PROGRAMS.values():
        seen |= set(primitives_in(jax.make_jaxpr(program)(jnp.zeros(SHAPE)).jaxpr))
    ruled = set(RULES)
    known = {getattr(primitives, name).name for name in dir(primitives) if name.endswith("_p")}
    assert (ruled & known) - seen - NOT_WRITTEN == set()
    assert ruled - known - seen - ELSEWHERE - NOT_WRITTEN == set()


WITHOUT_A_RULE = {
    "collectives, only inside of shard_map": {"all_gather", "all_to_all", "axis_index", "pmax", "pmin", "ppermute", "psum",
                                              "ragged_all_to_all"},
    "bodies, which the analysis looks into or that are refused": {
        "call", "closed_call", "cond", "custom_jvp_call", "custom_lin", "custom_linear_solve", "custom_vjp_call", "eval_jaxpr", "jit",
        "remat2", "scan", "while"},
    "mutable arrays, which are refused": {"empty2", "get", "swap"},
    "of no operands, or of no values": {"after_all", "create_token", "iota"},
    "mixing what they are given": {
        "approx_top_k", "eig", "fft", "hessenberg", "reduce_window", "reduce_window_max", "reduce_window_min", "reduce_window_sum",
        "schur", "select_and_gather_add", "select_and_scatter", "select_and_scatter_add", "tridiagonal", "polynomial"},
    "random numbers": {"random_seed", "rng_bit_generator", "rng_uniform", "threefry2x32"},
}  # fmt: skip


@pytest.mark.skipif(jax.__version_info__[:2] > (0, 12), reason="a version that was not looked at")
def test_no_primitive_was_overlooked():
    known = {getattr(primitives, name).name for name in dir(primitives) if name.endswith("_p")}
    unruled = {name for name in known if name not in RULES}
    assert unruled - set().union(*WITHOUT_A_RULE.values()) == set()
