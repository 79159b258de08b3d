"""Rules of one's own: for a primitive, by its name, and for a function, which is one operation inside of a program.

Callbacks, kernels and functions with a custom derivative share the names of a few primitives, so a rule for the name would be a
rule for all of them. ``with_rule`` binds a primitive that carries the function, as it was traced, and its rule:

    ruled(closed over, operands; jaxpr, rule) = jaxpr(operands)        its derivatives are those of the jaxpr

Under ``vmap`` it is one more such operation, whose operands and results have one more axis.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

from jax_scorefn import _checks
from jax_scorefn._trees import is_inexact, partition
from jax_scorefn.programs._ir import BODIES, RULED
from jax_scorefn.programs.rules import Map, Operation, Rule, rule

NOT_NAMES = "register_rule takes names of primitives, @register_rule('name'), and then the rule; it was given {given}."
NOT_ASKED = (
    "A rule for {name} would never be asked: programs look into its body. To give a rule to a function that has one, wrap it: "
    "sf.programs.with_rule(f, rule)."
)
P = ParamSpec("P")
R = TypeVar("R")
NOT_A_RULE = "A rule is a function of an Operation, or a Rule such as sf.programs.RULES['sort']; it was given {given}."


def register_rule(*names: Any, linear: Any = None, each_result: bool = False) -> Callable[[Any], Any]:
    """Say, for a primitive that has no rule, how its axes go: a decorator for a function of an :class:`Operation`.

    The function returns, for each operand, a map ``{axis: target}``. A target is an axis j of the result, whose element t depends on
    element t of this axis; or ``(j, lo, hi)``, if it depends on the elements t + lo to t + hi; or ``("#", lo, hi)``, if every
    element of the result depends on the elements lo to hi. An axis that is left out is one of which any element may depend on all.
    ``None`` in place of a map says that nothing depends on the operand. The page of rules in the documentation has examples.

    A rule that says too little makes gradients wrong without a word: hold it against :func:`jax_scorefn.testing.check_rule`.

    Args:
      *names: names of primitives, or primitives.
      linear: the operands in which it is linear when the others are stopped: one by its number, a tuple of several together,
        "together" for all of them, "each" for each by itself, or a function of the operation that returns one of these. Costs are
        told apart on the far side of a linear operation. None for no operand.
      each_result: whether the function returns a list for each result; without it one list serves all results.

    Returns:
      A decorator, which returns the function as it is.

    Raises:
      TypeError: for what is not a name.
      ValueError: for a name that has a rule already, and for one of an operation with a body, which is looked into.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> from jax.extend.core import Primitive
      >>> roll_p = Primitive("my_roll")
      >>> @sf.programs.register_rule(roll_p, linear=0)
      ... def roll(op):
      ...     return [{axis: axis for axis in range(len(op.shapes[0])) if axis != op.params["axis"]}]
      >>> sf.programs.RULES.pop("my_roll").linear  # taken out again: this was an example
      0
    """
    words = [getattr(name, "name", name) for name in names]
    for word in words or [None]:
        if not isinstance(word, str):
            raise TypeError(NOT_NAMES.format(given=_checks.describe(word)))
        if word in BODIES:
            raise ValueError(NOT_ASKED.format(name=word))
    _checks.flags(each_result=each_result)
    return rule(*words, linear=linear, each_result=each_result)


def with_rule(f: Callable[P, R], rule: Any, *, linear: Any = None, each_result: bool = False) -> Callable[P, R]:
    """The function f, which inside of a program is one operation with a rule.

    For callbacks, kernels and functions with a custom derivative, whose axes nothing else tells. Anywhere else, and under ``jit``,
    ``vmap`` and ``grad``, it is f. What f closes over is charged as a whole; so is a derivative that is taken inside of a program,
    unless the operations that it is made of have rules.

    Args:
      f: a function of any pytrees. The operands that the rule sees are the arrays and floats among the leaves of its arguments,
        positional ones first; the results are the leaves of what it returns.
      rule: a function of an :class:`Operation` as for :func:`register_rule`, or a :class:`Rule`, such as
        ``sf.programs.RULES["sort"]``. Under ``vmap`` it is asked about shapes without the axes that were mapped.
      linear: as for :func:`register_rule`.
      each_result: as for :func:`register_rule`.

    Returns:
      A function like f.

    Raises:
      TypeError: for what is not a rule; by ``expectation``, for a random choice inside of f.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np, jax_scorefn as sf
      >>> def largest_so_far(x):
      ...     return jax.pure_callback(lambda x: np.maximum.accumulate(x), x, x, vmap_method="sequential")
      >>> ruled = sf.programs.with_rule(largest_so_far, lambda op: [{0: (0, -np.inf, 0)}])
      >>> maps = sf.testing.check_rule(ruled, jnp.array([1.0, 3.0, 2.0]))
      >>> program = lambda p, key: jnp.sum(ruled(sf.sample(key, sf.Normal(loc=p, scale=1.0), name="x")))
      >>> found = sf.explain(program)(jnp.zeros(3), jax.random.key(0))  # doctest: +ELLIPSIS
      <BLANKLINE>
      ...
      >>> found.costs[0].charged
      {'x': 'axis 0 at or before'}
    """
    if not (isinstance(rule, Rule) or callable(rule)):
        raise TypeError(NOT_A_RULE.format(given=_checks.describe(rule)))
    _checks.flags(each_result=each_result)
    known = rule if isinstance(rule, Rule) else Rule(rule, linear, each_result)

    @functools.wraps(f)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given, whole = partition((args, kwargs), lambda leaf: hasattr(leaf, "dtype") or is_inexact(leaf))
        operands = jax.tree.leaves(given)
        if not any(isinstance(x, Tracer) for x in operands):
            return f(*args, **kwargs)
        returned: list[Any] = []

        def flat(given: Any) -> list[Any]:
            args, kwargs = whole(given)
            out, tree = jax.tree.flatten(f(*args, **kwargs))  # pyright: ignore[reportCallIssue]
            returned.append(tree)
            return out

        out = _bind(jax.make_jaxpr(flat)(given), operands, known, getattr(f, "__name__", type(f).__name__))
        return returned[-1].unflatten(out)

    return call


ruled_p = Primitive(RULED)
ruled_p.multiple_results = True


def _bind(closed: ClosedJaxpr, operands: list[Any], rule: Rule, name: str) -> list[Any]:
    """What it closes over goes in front of its operands."""
    count = len(closed.consts)
    options = {"jaxpr": closed.jaxpr, "count": count, "rule": _behind(rule, count) if count else rule, "name": name}
    return ruled_p.bind(*closed.consts, *operands, **options)


def _behind(rule: Rule, count: int) -> Rule:
    """The rule of an operation with operands in front of its own, on which everything depends."""

    def own(op: Operation) -> Operation:
        return op._replace(shapes=op.shapes[count:], values=op.values[count:])

    def maps(op: Operation) -> list[Any]:
        return [[*({} for _ in range(count)), *row] for row in rule.maps(own(op))]

    def linear(op: Operation) -> list[tuple[int, ...]]:
        return [tuple(i + count for i in group) for group in rule.groups(own(op))]

    return Rule(maps, None if rule.linear is None else linear, each_result=True)


def _mapped(rule: Rule, has_axis: tuple[bool, ...]) -> Rule:
    """The rule under a map: the results have one more axis, the first, and so have some of the operands."""

    def own(op: Operation) -> Operation:
        return op._replace(
            shapes=tuple(shape[more:] for shape, more in zip(op.shapes, has_axis, strict=True)),
            results=tuple(shape[1:] for shape in op.results),
            values=tuple(None if more else value for value, more in zip(op.values, has_axis, strict=True)),
        )

    def after(targets: Map | None, more: bool) -> Map | None:
        if targets is None:
            return None
        inner = {
            axis + more: t + 1 if not isinstance(t, tuple) else t if t[0] == "#" else (t[0] + 1, *t[1:])
            for axis, t in targets.items()
        }
        return {0: 0, **inner} if more else inner

    def maps(op: Operation) -> list[Any]:
        return [[after(m, more) for m, more in zip(row, has_axis, strict=True)] for row in rule.maps(own(op))]

    return Rule(maps, None if rule.linear is None else lambda op: rule.groups(own(op)), each_result=True)


def _run(*operands: Any, jaxpr: Any, count: int, **_: Any) -> list[Any]:
    return list(jaxpr_as_fun(ClosedJaxpr(jaxpr, list(operands[:count])))(*operands[count:]))


def _types(*_: Any, jaxpr: Any, **__: Any) -> Any:
    return [v.aval for v in jaxpr.outvars], jaxpr.effects


def _jvp(primals: Any, tangents: Any, **params: Any) -> Any:
    moving = [i for i, t in enumerate(tangents) if type(t) is not ad.Zero and t.dtype != jax.dtypes.float0]

    def run(*some: Any) -> list[Any]:
        full = dict(enumerate(primals)) | dict(zip(moving, some, strict=True))
        return _run(*full.values(), **params)

    out, slopes = jax.jvp(run, [primals[i] for i in moving], [tangents[i] for i in moving])
    return out, [
        ad.Zero(jax.typeof(x).to_tangent_aval()) if t.dtype == jax.dtypes.float0 else t
        for x, t in zip(out, slopes, strict=True)
    ]


def _batch(operands: Any, dims: Any, *, rule: Rule, name: str, **params: Any) -> Any:
    has_axis = tuple(d is not None for d in dims)
    moved = [
        batching.bdim_at_front(x, d, x.shape[d]) if d is not None else x for x, d in zip(operands, dims, strict=True)
    ]
    many = jax.vmap(lambda *xs: _run(*xs, **params), in_axes=tuple(0 if more else None for more in has_axis))
    out = _bind(jax.make_jaxpr(many)(*moved), moved, _mapped(rule, has_axis), name)
    return out, [0] * len(out)


ruled_p.def_impl(_run)
ruled_p.def_effectful_abstract_eval(_types)
mlir.register_lowering(ruled_p, mlir.lower_fun(_run, multiple_results=True))
ad.primitive_jvps[ruled_p] = _jvp
batching.primitive_batchers[ruled_p] = _batch
