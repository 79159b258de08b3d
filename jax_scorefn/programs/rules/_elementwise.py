"""Operations element by element, and those that hand on what they are given."""

from __future__ import annotations

from jax_scorefn.programs.rules._base import Map, Operation, rule, same

NOT_LINEAR = [
    "abs", "acos", "acosh", "and", "asin", "asinh", "atan", "atan2", "atanh", "bessel_i0e", "bessel_i1e",
    "bitcast_convert_type", "cbrt", "ceil", "clamp", "clz", "cos", "cosh", "digamma", "eq", "eq_to", "erf", "erf_inv",
    "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "igamma", "igamma_grad_a", "igammac", "integer_pow",
    "is_finite", "le", "le_to", "lgamma", "log", "log1p", "log2", "logistic", "lt", "lt_to", "max", "min", "ne",
    "nextafter", "not", "one_minus_square", "or", "polygamma", "population_count", "pow", "reduce_precision",
    "regularized_incomplete_beta", "rem", "round", "rsqrt", "scorefn_alive", "scorefn_guard", "scorefn_witness", "shift_left",
    "shift_right_arithmetic", "shift_right_logical", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "tan",
    "tanh", "xor", "zeta",
]  # fmt: skip


def cases(op: Operation) -> tuple[int, ...]:
    """The cases together."""
    return tuple(range(1, len(op.shapes)))


@rule("add", "add_any", "complex", "copy", "copy_p", "neg", "sub", linear="together")
@rule("mul", linear="each")
@rule("div", "conj", "convert_element_type", "imag", "name", "real", "reshard", "sharding_constraint", linear=0)
@rule("select_n", linear=cases)
@rule(*NOT_LINEAR)
def elementwise(op: Operation) -> list[Map]:
    """Element by element: each axis stays. An axis of length 1 serves all, and so does a scalar.

    Example: lax.mul(x, y), x: (2, 3), y: (2, 3)
    Maps: [{0: 0, 1: 1}, {0: 0, 1: 1}]
    """
    shape = op.results[0]

    def one(given: tuple[int, ...]) -> Map:
        if len(given) != len(shape):
            return {}
        return {i: i if given[i] == shape[i] else ("#", 0, 0) for i in range(len(shape))}

    return [one(x) for x in op.shapes]


@rule("optimization_barrier", "device_put", each_result=True)
def handed_on(op: Operation) -> list[list[Map | None]]:
    """Handed on: each result is its own operand, and has nothing of the others.

    Example: lax.optimization_barrier((x, y)), x: (2, 3), y: (2,)
    Maps: [[{0: 0, 1: 1}, None], [None, {0: 0}]]
    """
    return [[same(range(len(x))) if i == j else None for i, x in enumerate(op.shapes)] for j in range(len(op.results))]
