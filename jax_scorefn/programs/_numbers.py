"""Elementwise operations in numpy, for trying a program out while it is traced; and which values are never negative."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jax_scorefn.programs._ir import Atom, Const, Op, Var


def _converted(params: Any, x: Any) -> Any:
    kind = np.dtype(params["new_dtype"]).kind
    return np.trunc(x) if kind in "iu" else np.not_equal(x, 0.0) if kind == "b" else x * 1.0


def _selected(params: Any, which: Any, *cases: Any) -> Any:
    index = np.clip(np.asarray(which), 0, len(cases) - 1).astype(int)
    shape = np.broadcast_shapes(index.shape, *(np.shape(x) for x in cases))
    return np.choose(np.broadcast_to(index, shape), [np.broadcast_to(x, shape) for x in cases])


def _of_math(function: Callable[[float], float]) -> Callable[..., Any]:
    def one(x: float) -> float:
        try:
            return function(x)
        except (ValueError, OverflowError):  # at a pole
            return math.nan

    return np.vectorize(one, otypes=[float])


def _above(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: np.maximum(function(x), np.finfo(float).tiny)  # it gets to 0 by rounding alone


def _logistic(params: Any, x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda params, *operands: function(*operands)


_PLAIN: dict[str, Callable[..., Any]] = {
    "abs": np.abs, "add": np.add, "add_any": np.add, "atan": np.arctan, "cbrt": np.cbrt, "ceil": np.ceil, "cos": np.cos,
    "cosh": np.cosh, "copy": np.positive, "copy_p": np.positive, "div": np.true_divide, "exp": _above(np.exp), "exp2": _above(np.exp2),
    "expm1": np.expm1, "floor": np.floor, "log": np.log, "log1p": np.log1p, "log2": np.log2, "max": np.maximum,
    "min": np.minimum, "mul": np.multiply, "neg": np.negative, "pow": np.power, "rsqrt": lambda x: x**-0.5, "sign": np.sign,
    "rem": np.fmod, "sin": np.sin, "sinh": np.sinh, "sqrt": np.sqrt, "square": np.square, "sub": np.subtract, "tan": np.tan,
    "tanh": np.tanh, "eq": np.equal, "ne": np.not_equal, "ge": np.greater_equal, "gt": np.greater, "le": np.less_equal,
    "lt": np.less, "and": np.logical_and, "or": np.logical_or, "not": np.logical_not, "xor": np.logical_xor,
    "is_finite": np.isfinite, "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
    "erf": _of_math(math.erf), "erfc": _of_math(math.erfc), "lgamma": _of_math(math.lgamma),
    "stop_gradient": np.positive, "device_put": np.positive, "scorefn_guard": np.positive, "name": np.positive,
}  # fmt: skip

ELEMENTWISE: dict[str, Callable[..., Any]] = {name: _plain(function) for name, function in _PLAIN.items()} | {
    "convert_element_type": _converted,
    "integer_pow": lambda params, x: np.asarray(x, float) ** params["y"],
    "logistic": _logistic,
    "round": lambda params, x: np.round(x),
    "select_n": _selected,
}
"""Name -> function of the parameters and of the operands, floats all of them."""

_ABOVE = {"exp", "exp2", "sqrt", "abs", "square", "logistic", "erfc", "rsqrt", "is_finite"}
_IF_ALL = {
    "add", "add_any", "mul", "div", "max", "min", "reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "cumsum", "cummax",
    "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "slice", "convert_element_type", "sort", "concatenate",
    "stack", "copy", "pow", "stop_gradient", "select_n", "dynamic_slice", "gather", "cumprod", "cummin", "rev",
}  # fmt: skip


def nonnegative(atom: Atom | None, made_by: Callable[[Atom], Atom], depth: int = 6) -> bool:
    """Whether a value is seen to be never below 0."""
    atom = made_by(atom) if atom is not None else None
    if isinstance(atom, Const):
        try:
            return bool(np.all(np.asarray(atom.value) >= 0))
        except TypeError:  # a tracer, or a key
            return False
    if not isinstance(atom, Var):
        return False
    dtype = getattr(atom.aval, "dtype", None)
    if dtype is not None and (dtype == np.bool_ or np.issubdtype(dtype, np.unsignedinteger)):
        return True
    op: Op | None = atom.op
    if op is None or depth == 0:
        return False
    if op.name in _ABOVE or (op.name == "integer_pow" and op.params["y"] % 2 == 0):
        return True
    if op.name == "mul" and made_by(op.ins[0]) is made_by(op.ins[1]):
        return True
    operands = op.ins[1:] if op.name == "select_n" else op.ins[:1] if op.name in ("dynamic_slice", "gather") else op.ins
    if op.name == "max":
        return any(nonnegative(x, made_by, depth - 1) for x in operands)
    return op.name in _IF_ALL and all(nonnegative(x, made_by, depth - 1) for x in operands)
