"""A call of a program, traced and analysed: its arrays are its inputs, and its costs its first results."""

from __future__ import annotations

import inspect
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn._trees import partition, to_float
from jax_scorefn._users_code import noted
from jax_scorefn._wide import cast
from jax_scorefn.programs._lost import argument_name
from jax_scorefn.programs._mesh import onto_mesh
from jax_scorefn.programs._program import Program
from jax_scorefn.programs._while_loop import in_program
from jax_scorefn.programs.plans._context import planned
from jax_scorefn.programs.plans._plan import Plan
from jax_scorefn.typing import PyTree

NO_KEY_ARGUMENT = (
    "expectation and explain need a program with an argument named key, which is split over the runs; {name} has {given}. Rename the "
    "argument, or say which it is: sf.expectation(sf.lift(program, key='rng')); or wrap it: lambda params, key: program(params, key)."
)
NOT_A_PROGRAM = "expectation needs a function that draws with sf.sample and returns a cost; it got {given}."
NOT_COST_AND_AUX = "With has_aux=True the program returns a pair (cost, auxiliary); {name} returned {given}."


def signature_of(program: Any) -> inspect.Signature:
    if not callable(program):
        raise TypeError(NOT_A_PROGRAM.format(given=_checks.describe(program)))
    signature = inspect.signature(program)
    if "key" not in signature.parameters:
        given = ", ".join(signature.parameters) or "no arguments"
        raise TypeError(NO_KEY_ARGUMENT.format(name=_name(program), given=given))
    return signature


def trace(program: Any, signature: inspect.Signature, has_aux: bool, args: Any, kwargs: Any) -> Any:
    """The analysed program, its array arguments, its key, and how to put its results together again."""
    bound = signature.bind(*args, **kwargs)
    key = bound.arguments["key"]
    _checks.key("expectation", key)
    arguments = {name: value for name, value in bound.arguments.items() if name != "key"}
    given, whole = partition(arguments, is_traced)
    shape: list[Any] = []

    def flat(arrays: PyTree, k: Any) -> list[Any]:
        call = inspect.BoundArguments(signature, {**whole(arrays), "key": k})  # pyright: ignore
        call.arguments = {name: call.arguments[name] for name in bound.arguments}  # pyright: ignore
        out = noted(program)(*call.args, **call.kwargs)
        if has_aux and not (isinstance(out, tuple) and len(out) == 2):
            raise TypeError(NOT_COST_AND_AUX.format(name=_name(program), given=_checks.describe(out)))
        costs, rest = out if has_aux else (out, ())
        (costs, cost_tree), (rest, rest_tree) = jax.tree.flatten(costs), jax.tree.flatten(rest)
        shape.append((cost_tree, rest_tree, len(costs)))
        return [to_float(cost) for cost in costs] + [jnp.asarray(x) for x in rest]

    arrays, key = onto_mesh((jax.tree.map(jnp.asarray, given), key))
    with in_program(True):
        closed = jax.make_jaxpr(flat)(arrays, key)
    cost_tree, rest_tree, num_costs = shape[-1]

    def finish(costs: list[Any], rest: list[Any]) -> PyTree:
        value = cost_tree.unflatten([cast(cost, v.dtype) for cost, v in zip(costs, closed.out_avals, strict=False)])
        return (value, rest_tree.unflatten(rest)) if has_aux else value

    names = [argument_name(path) for path, _ in jax.tree.leaves_with_path(given)]
    return Program(closed, num_costs, names), jax.tree.leaves(arrays), key, finish


def trace_planned(plan: Plan | None, *call: Any) -> Any:
    """What ``trace`` returns, of a program whose choices have the estimators of a plan."""
    if plan is None:
        return trace(*call)
    with planned(plan):
        traced = trace(*call)
    plan.refuse_others({site.params["name"] for site in traced[0].choices})
    return traced


def is_traced(leaf: Any) -> bool:
    """Arrays, and Python floats, which may be differentiated; a Python int or bool stays what it is, for it may decide a shape."""
    return not isinstance(leaf, int) and (isinstance(leaf, float | complex) or hasattr(leaf, "dtype"))


def _name(program: Any) -> str:
    return getattr(program, "__name__", type(program).__name__)
