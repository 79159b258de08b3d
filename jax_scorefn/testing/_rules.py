"""Is a rule true? Each element of each operand is changed, one at a time, and what changes in the results has to be allowed for.

result[t] differs when operand[i] does      =>   the map of the operand has to say that t depends on i
linear in a group of operands               =>   f(a + 3 b) = f(a) + 3 f(b) in the group, the others as they are
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from jax_scorefn._trees import is_key
from jax_scorefn.programs import RULES, Operation, Rule, with_rule

DENIED = (
    "The rule of {name} is wrong: result {j} changes at {there} when operand {i} is changed at {here}, which its map {given} denies. "
    "A map that says too little makes wrong gradients; leave an axis out where any element may depend on all of it."
)
NOT_LINEAR = (
    "The rule of {name} is wrong: it says linear={group}, and result {j} of a + 3 b is not that of a plus 3 times that of b (it is "
    "off by {error:.3g} at a size of {size:.3g})."
)
NO_SUCH_AXIS = (
    "The rule of {name} is wrong: {given} speaks of an axis that an operand {shape} or a result {result} does not have."
)
NO_RULE = (
    "There is nothing to check: none of the operations ({found}) has a rule. Pass rule=, or check a function that is made of "
    "primitives with rules."
)
STEPS = (0.013, -0.41, 1.7)
"""By how much numbers are changed, on top of themselves and 1."""


def check_rule(
    f: Callable[..., Any], *args: Any, rule: Any = None, linear: Any = None, each_result: bool = False
) -> dict[str, Any]:
    """Raise ``AssertionError`` unless rules say at least what depends on what, and claim to be linear what is.

    Every operation of f with a rule is checked at the values that it has there; bodies of loops and branches are not looked into. A
    dependence that does not show at these values is not found, so choose values at which it would (no ties, no zeros), and few
    elements: each of them is changed in three ways.

    Args:
      f: a function of arrays: ``lambda x: jax.lax.cumsum(x, axis=1)``, or what :func:`jax_scorefn.programs.with_rule` made.
      *args: arrays (of floats, ints, bools or keys) to call it with.
      rule: a rule for f as a whole, as for ``with_rule``; None checks the rules that are there.
      linear: with ``rule``, as for ``with_rule``.
      each_result: with ``rule``, as for ``with_rule``.

    Returns:
      By name of the operation, what its rule said: a list of maps, one for each operand; where results differ, a list for each.

    Raises:
      AssertionError: for a dependence that a map denies, and for a claim to be linear that is not true.
      ValueError: where nothing has a rule, and for maps in another number than the operands or of axes that are not there.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> x = jnp.array([[0.3, -0.5, 0.8], [1.0, 0.2, -0.7]])
      >>> sf.testing.check_rule(lambda x: jax.lax.cumsum(x, axis=1), x)
      {'cumsum': [{0: 0, 1: (1, -inf, 0)}]}
      >>> try:
      ...     sf.testing.check_rule(lambda x: jnp.flip(x, 1), x, rule=lambda op: [{0: 0, 1: 1}])
      ... except AssertionError as error:
      ...     print(str(error)[:33])
      The rule of <lambda> is wrong: re
    """
    if rule is not None:
        f = with_rule(f, rule, linear=linear, each_result=each_result)
    closed = jax.make_jaxpr(f)(*args)
    said, found = {}, []
    with jax.debug_key_reuse(False):  # each operation is run many times
        for eqn, values in _equations(closed.jaxpr, closed.consts, jax.tree.leaves(args)):
            name = eqn.primitive.name
            found.append(name)
            known = eqn.params["rule"] if isinstance(eqn.params.get("rule"), Rule) else RULES.get(name)
            if known is not None:
                name = eqn.params["name"] if known is eqn.params.get("rule") else name
                said[name] = _check(name, eqn, values, known)
    if not said:
        raise ValueError(NO_RULE.format(found=", ".join(found) or "it has none"))
    return said


def _equations(jaxpr: Any, consts: Any, args: Any) -> Iterator[tuple[Any, list[Any]]]:
    """The equations of a function and of the jitted functions that it calls, with the values of their operands."""
    env = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
    for eqn in jaxpr.eqns:
        values = [x.val if isinstance(x, Literal) else env[x] for x in eqn.invars]
        if eqn.primitive.name in ("jit", "pjit"):
            inner = eqn.params["jaxpr"]
            yield from _equations(inner.jaxpr, inner.consts, values)
        else:
            yield eqn, values
        env |= dict(zip(eqn.outvars, _run(eqn, values), strict=True))


def _run(eqn: Any, values: list[Any]) -> list[Any]:
    params = eqn.primitive.get_bind_params(eqn.params)
    functions, params = params if isinstance(params, tuple) else ((), params)
    out = eqn.primitive.bind(*functions, *values, **params)
    return list(out) if eqn.primitive.multiple_results else [out]


def _check(name: str, eqn: Any, values: list[Any], rule: Rule) -> Any:
    values = [jnp.asarray(x) for x in values]
    known = tuple(x.val if isinstance(x, Literal) else None for x in eqn.invars)
    first = _run(eqn, values)
    results = [_data(x) for x in first]
    op = Operation(name, eqn.params, tuple(x.shape for x in values), tuple(x.shape for x in first), known)
    rows = rule.maps(op)
    for i, x in enumerate(values):
        if known[i] is not None:
            continue
        for here in np.ndindex(x.shape):
            allowed = [_said(name, row[i], here, x.shape, r.shape) for row, r in zip(rows, first, strict=True)]
            for other in _others(x[here]):
                changed = _run(eqn, [*values[:i], x.at[here].set(other), *values[i + 1 :]])
                for j, (a, b) in enumerate(zip(results, map(_data, changed), strict=True)):
                    bad = _differ(a, b).reshape(*first[j].shape, -1).any(axis=-1) & ~allowed[j]
                    if np.any(bad):
                        there = [int(n) for n in np.argwhere(bad)[0]]
                        details = {"there": there, "here": list(here), "given": rows[j][i]}
                        raise AssertionError(DENIED.format(name=name, i=i, j=j, **details))
    _check_linear(name, eqn, values, rule.groups(op))
    return rows[0] if all(row == rows[0] for row in rows) else rows


def _said(
    name: str, targets: Any, here: tuple[int, ...], shape: tuple[int, ...], result: tuple[int, ...]
) -> np.ndarray:
    """Which elements of a result are said to depend on this one of an operand."""
    said = np.full(result, targets is not None)
    for axis, target in (targets or {}).items():
        place, lo, hi = target if isinstance(target, tuple) else (target, 0, 0)
        if not (0 <= axis < len(shape) and (place == "#" or 0 <= place < len(result))):
            raise ValueError(NO_SUCH_AXIS.format(name=name, given=targets, shape=list(shape), result=list(result)))
        at = 0 if place == "#" else np.indices(result)[place]
        said &= (here[axis] >= at + lo) & (here[axis] <= at + hi)
    return said


def _others(x: Any) -> list[Any]:
    """Other values that an element might have."""
    if is_key(x):
        return [jax.random.fold_in(x, i) for i in range(len(STEPS))]
    if x.dtype == jnp.bool_:
        return [~x]
    if jnp.issubdtype(x.dtype, jnp.integer):
        return [x + jnp.asarray(step, x.dtype) for step in (1, 2)] + [x - jnp.asarray(1, x.dtype)]
    return [x + jnp.asarray(step, x.dtype) * (1 + jnp.abs(x)).astype(x.dtype) for step in STEPS]


def _differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """More than rounding does; not a number is itself."""
    if a.dtype.kind not in "fc":
        return a != b
    room = 64 * np.finfo(a.dtype).eps
    return ~np.isclose(b, a, rtol=room, atol=0.0, equal_nan=True)


def _data(x: Any) -> np.ndarray:
    if is_key(x):
        x = jax.random.key_data(x)
    return np.asarray(x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x)


def _check_linear(name: str, eqn: Any, values: list[Any], groups: list[tuple[int, ...]]) -> None:
    rng = np.random.default_rng(0)
    inexact = [jnp.issubdtype(x.dtype, jnp.inexact) for x in values]
    for group in groups:
        if not all(inexact[i] for i in group) or not all(
            jnp.issubdtype(v.aval.dtype, jnp.inexact) for v in eqn.outvars
        ):
            continue  # costs are followed through floats alone
        one, two = (
            {i: jnp.asarray(rng.normal(size=values[i].shape)).astype(values[i].dtype) for i in group} for _ in range(2)
        )
        both = {i: one[i] + 3 * two[i] for i in group}
        of_one, of_two, of_both = (
            [np.asarray(x, np.complex128) for x in _run(eqn, [given.get(i, x) for i, x in enumerate(values)])]
            for given in (one, two, both)
        )
        eps = max(float(jnp.finfo(x.dtype).eps) for x in (*(values[i] for i in group), *(v.aval for v in eqn.outvars)))
        for j, (a, b, c) in enumerate(zip(of_one, of_two, of_both, strict=True)):
            sizes, errors = np.abs(a) + 3 * np.abs(b), np.abs(c - a - 3 * b)
            finite = np.isfinite(sizes) & np.isfinite(errors)  # times infinity nothing can be told
            size, error = (float(np.max(x, initial=0.0, where=finite)) for x in (sizes, errors))
            if error > 1000 * eps * max(size, 1.0):
                raise AssertionError(NOT_LINEAR.format(name=name, group=group, j=j, error=error, size=size))
