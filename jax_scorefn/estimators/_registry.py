"""The registry: what is true of each estimator, as data, and the one skeleton that all of them share.

``@estimator(...)`` records the facts, and wraps the body so that every estimator checks its input in the same way, allows just
the orders of derivative that it declared, and answers ``has_aux``. The body is left with what differs: what one draw
contributes, and how the draws combine.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn import _checks, engine
from jax_scorefn._guards import guard
from jax_scorefn._reports import report
from jax_scorefn._trees import is_number, partition
from jax_scorefn._users_code import OF_A_DRAW, noted
from jax_scorefn.distributions import Distribution, Family
from jax_scorefn.estimators._call import Call
from jax_scorefn.estimators._docstring import composed
from jax_scorefn.estimators._each import gradients_of_draws
from jax_scorefn.estimators._objective import Objective
from jax_scorefn.typing import Bias, Capability, Params


@dataclasses.dataclass(frozen=True)
class Record:
    """The declared facts of one estimator.

    Attributes:
      name: name in the registry and in ``jax_scorefn``.
      needs: capabilities, each an alternative of flags of which the distribution must have one.
      bias: bias of the value and of the derivatives up to ``orders``.
      orders: highest order of derivative that keeps that bias; a higher one raises.
      evaluations: evaluations of f for S draws, in words.
      differentiates_f: whether it takes derivatives of f in the draw.
      stops_f: whether it leaves out f's own derivative in the parameters.
      cite: keys of the bibliography.
      function: the estimator.
      estimates: what its value is an estimate of: "E[f]", or "a bound" on the log-evidence of a target exp(f). Only estimators of the
        same thing are proposed in place of each other.
    """

    name: str
    needs: tuple[Capability, ...]
    bias: Bias
    orders: float
    evaluations: str
    differentiates_f: bool
    stops_f: bool
    cite: tuple[str, ...]
    function: Callable[..., Any]
    estimates: str = "E[f]"

    def missing(self, dist: Distribution) -> tuple[Capability, ...]:
        """The needs that a distribution does not meet; empty if the estimator can be used."""
        return tuple(need for need in self.needs if not need & dist.capabilities)

    @property
    def too_often(self) -> str:
        """What is said to who differentiates once more."""
        return _checks.ORDER.format(name=self.name, order=self.orders)

    def check(self, dist: Distribution, needs: tuple[Capability, ...]) -> None:
        """Refuses a distribution that lacks what is needed, and names the estimators that would do."""
        alike = [record for record in ESTIMATORS.values() if record.estimates == self.estimates]
        able = [record.name for record in alike if not record.missing(dist)]
        drawn = (Capability.SAMPLE | Capability.GIVEN_DRAWS) & dist.capabilities
        nothing = _checks.NO_OTHER.format(what=self.estimates) if drawn else _checks.NO_ESTIMATOR
        instead = f"Estimators that work with it: {', '.join(able)}." if able else nothing
        _checks.capabilities(self.name, dist, needs, instead)

    def limit(self, dist: Distribution) -> Distribution:
        """The same, which raises when it is differentiated too often. The parameters do; a family may close over more than these."""
        return dist.limited(order=self.orders, message=self.too_often)

    def bias_with(self, logp: Family | None = None, **options: Any) -> Bias:
        """The bias of a call: the worst of the estimator's own, the family's and what the options add."""
        declared = {self.bias, getattr(logp, "bias", Bias.NONE)}
        declared |= {getattr(option, "bias", Bias.NONE) for option in options.values()}
        if not getattr(options.get("proposal"), "normalized", True):
            declared.add(Bias.VANISHING)
        if options.get("max_weight") is not None:
            declared.add(Bias.BIASED)
        return next(bias for bias in (Bias.BIASED, Bias.VANISHING, Bias.NONE) if bias in declared)


LAYOUT: dict[str, Any] = {"chunk_size": "auto", "sharding": None}
"""The options that say where the draws are, and what they are by default."""

PER_DRAW = """    ``per_draw=True`` gives the gradient of each draw instead (of each pair, group or set, where draws are coupled), on a
    leading axis: its mean is the gradient, and the ``Info`` has the standard error of that mean. They are numbers to be looked at,
    without a derivative. They take the memory of S x P numbers, and f is asked twice at each draw (once in a compiled function,
    if it is not differentiated).
"""

STOPS_F = (
    "{name}_grad was given a function of a draw and the parameters, and {name} leaves the derivative of f itself out. Give it a "
    "function of the draw, or take score_function_grad."
)

ESTIMATORS: dict[str, Record] = {}
"""Name -> :class:`Record` for every estimator of the library."""


def estimator(
    *,
    needs: tuple[Capability, ...],
    bias: Bias,
    orders: float,
    evaluations: str,
    cite: tuple[str, ...],
    num_samples: int | None = 64,
    draws: bool = True,
    differentiates_f: bool = False,
    stops_f: bool = False,
    estimates: str = "E[f]",
    rows: str = "draws",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a body ``(f, call, *, options) -> call.answer(...)`` as an estimator ``(f, logp, params, key, *, options)``.

    The public function returns the value alone, or with the ``Info``, made only then, when ``has_aux=True``. Its own options are
    ``num_samples`` (the default is given here; none where it ``draws`` nothing), the layout of its ``rows`` (draws, or groups of them)
    and ``has_aux``. Its docstring is the body's with what the record tells.
    """

    def register(body: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(body)
        def public(
            f, logp, params, key=None, *, chunk_size: Any = "auto", sharding=None, has_aux=False, _map_draws=None, **options
        ):  # fmt: skip
            _checks.options(record.name, options, known)
            _checks.flags(has_aux=has_aux)
            if not callable(f):
                raise TypeError(_checks.NOT_CALLABLE.format(name=record.name, given=_checks.describe(f)))
            if not isinstance(logp, Family):
                raise TypeError(_checks.NOT_A_FAMILY.format(name=record.name, given=_checks.describe(logp)))
            _checks.params(params)
            if draws and key is not None:
                _checks.key(record.name, key)
            guarded = guard(params, order=record.orders, message=record.too_often)
            elsewhere = options.get("proposal") is not None
            asked = options.pop("num_samples", num_samples)
            dist = logp.at(guarded)
            record.check(dist, (Capability.LOG_PROB,) if elsewhere else record.needs)
            mapped = engine.map_draws if _map_draws is None else _map_draws
            call = Call(
                record, logp, guarded, record.limit(dist), dist, key, asked, chunk_size, sharding, has_aux, mapped
            )
            f = noted(f, OF_A_DRAW)
            f = f if estimates == "E[f]" else of_target(record.name, f, logp, params)
            objective = Objective(f) if estimates == "E[f]" else f
            with engine.over_devices(sharding):
                value, info, num_groups = body(objective, call, **options)
            if isinstance(objective, Objective):
                value, info = objective.answer(value), lambda info=info: objective.described(info())
            answer = (value, report(info(), params)) if has_aux else value
            return answer if _map_draws is None else (answer, num_groups)

        record = Record(
            body.__name__, needs, bias, orders, evaluations, differentiates_f, stops_f, cite, public, estimates
        )
        public.__signature__ = _public_signature(body, num_samples, draws)  # pyright: ignore[reportAttributeAccessIssue]
        signature = inspect.signature(public)
        public.__doc__ = composed(record, body, signature, rows)
        named = signature.parameters.values()
        known = [p.name for p in named if p.kind is inspect.Parameter.KEYWORD_ONLY]
        ESTIMATORS[record.name] = record
        for name in sorted(ESTIMATORS):  # in the order of their names, whichever file came first
            ESTIMATORS[name] = ESTIMATORS.pop(name)
        return public

    return register


def of_target(name: str, f: Callable[..., Any], q: Family, params: Params) -> Callable[..., Any]:
    """The f of a bound, which is the log of the target: it raises if it asks for log q, which the bound subtracts."""
    return q.outside_of(f, params, _checks.OWN_DENSITY.format(name=name, f="log_joint" if name == "elbo" else "f"))


def gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """The ``_grad`` twin of an estimator: ``jax.grad`` of it in ``params``, and nothing more."""
    name = function.__name__  # pyright: ignore[reportFunctionMemberAccess]
    record = ESTIMATORS.get(name)  # none of the one that asks for its estimator by name
    is_bound = record is None or record.estimates != "E[f]"
    stops_f = record is not None and record.stops_f

    def twin(f, logp, params, key=None, *, has_aux=False, per_draw=False, **options):
        _checks.flags(has_aux=has_aux, per_draw=per_draw)
        if stops_f and callable(f) and _checks.takes_params(f):
            raise TypeError(STOPS_F.format(name=name))

        def scalar(moving):
            if not callable(f):
                return f
            at = _checks.of_params(name, f)(moving)

            @functools.wraps(f)
            def one(x):
                value = at(x)
                if getattr(value, "shape", ()) != ():
                    raise ValueError(_checks.NOT_SCALAR_VALUE.format(shape=value.shape))
                if jnp.iscomplexobj(value):
                    raise TypeError(_checks.COMPLEX_VALUE.format(dtype=jnp.asarray(value).dtype))
                return value

            # log q at the parameters that were given: those that are differentiated are others
            return of_target(name, one, logp, params) if is_bound and isinstance(logp, Family) else one

        numbers, whole = partition(params, is_number)
        if per_draw:
            run = lambda numbers, key, map_draws: function(
                scalar(whole(numbers)), logp, whole(numbers), key, has_aux=True, _map_draws=map_draws, **options
            )
            layout = {option: options.get(option, default) for option, default in LAYOUT.items()}
            rows, info = gradients_of_draws(name, run, numbers, key, **layout)
            return (rows, info) if has_aux else rows
        estimate = lambda numbers: function(
            scalar(whole(numbers)), logp, whole(numbers), key, has_aux=has_aux, **options
        )
        return jax.grad(estimate, has_aux=has_aux, allow_int=True)(numbers)

    twin.__name__ = twin.__qualname__ = f"{name}_grad"
    twin.__module__ = function.__module__
    twin.__signature__ = _with_per_draw(inspect.signature(function))  # pyright: ignore[reportFunctionMemberAccess]
    leaves_out = f" (not by {name}, which refuses it: it stops f)" if stops_f else ""
    first = next(iter(twin.__signature__.parameters))  # pyright: ignore[reportFunctionMemberAccess]
    twin.__doc__ = (
        f"Gradient of :func:`{name}` in ``params``: ``jax.grad({name}, argnums=2)``.\n\n"
        f"    Takes the arguments of :func:`{name}`, with an ``{first}`` that returns a scalar. It may be a function of two\n"
        f"    arguments, a draw and ``params``: only then is its own derivative in them in the result{leaves_out}.\n"
        "    Returns a pytree like ``params``, whose ints and bools get JAX's zero of type ``float0``, and whose leaves that are no\n"
        "    numbers (functions in a model) get None; with ``has_aux=True`` the pair ``(grads, Info)``. Bias, orders and cost are\n"
        f"    those of :func:`{name}`.\n\n"
        f"{PER_DRAW}    "
    )
    return twin


def _with_per_draw(signature: inspect.Signature) -> inspect.Signature:
    """The signature of a twin, which has an option more."""
    option = inspect.Parameter("per_draw", inspect.Parameter.KEYWORD_ONLY, default=False, annotation="bool")
    *others, last = signature.parameters.values()
    after = [last] if last.kind is inspect.Parameter.VAR_KEYWORD else []
    return signature.replace(parameters=[*others, *([] if after else [last]), option, *after])


def _public_signature(body: Callable[..., Any], num_samples: int | None, draws: bool) -> inspect.Signature:
    """Of what everybody is given, the body's own options, and the options that all estimators have."""

    def parameter(name: str, annotation: str, default: Any = inspect.Parameter.empty, *, keyword: bool = True) -> Any:
        kind = inspect.Parameter.KEYWORD_ONLY if keyword else inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Parameter(name, kind, default=default, annotation=annotation)

    first = {"f": "Callable[..., Any]", "logp": "Family", "params": "Any"}
    own = [p for p in inspect.signature(body).parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    number = "int" if num_samples else "int | None"
    return inspect.Signature(
        [
            *(parameter(name, annotation, keyword=False) for name, annotation in first.items()),
            parameter("key", "Key | None", inspect.Parameter.empty if draws else None, keyword=False),
            *([parameter("num_samples", number, num_samples)] if draws else []),
            *own,
            parameter("chunk_size", "ChunkSize", "auto"),
            parameter("sharding", "Sharding | None", None),
            parameter("has_aux", "bool", False),
        ]
    )
