"""The expectation of a program's cost over its random choices, with each choice scored by the costs that depend on it.

    E[cost]  ~  mean_i of the program's cost at draw i, whose derivative of every order is

    sum over leaves L of   W_L ( (L - b) grad log p(the choices that L depends on) + grad L )        (Schulman et al. 2015)

The surrogate is that of ``score_function``, (L - b) magic_box(s) + b, leaf by leaf and element by element; b is the mean of
the same element over the other draws.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import jax
import jax.numpy as jnp

from jax_scorefn import _checks, baselines, engine
from jax_scorefn._trees import along_draws, in_explicit_mesh, in_shard_map
from jax_scorefn._wide import cast, wide
from jax_scorefn.noise import note_use
from jax_scorefn.programs._explain import Explanation
from jax_scorefn.programs._lost import ANSWERS, NO_SUCH_ANSWER, watched
from jax_scorefn.programs._trace import signature_of, trace_planned
from jax_scorefn.programs.lanes._options import Comparison, Coupled
from jax_scorefn.programs.plans._plan import Plan, checked
from jax_scorefn.typing import Array, ChunkSize

NO_SUCH_BASELINE = (
    "expectation subtracts, for each element of a cost, a number that the other draws give: baseline='auto', "
    "sf.baselines.leave_one_out, batch_mean, a function of the values, or None; not {given}."
)
PREDICTED_ALONE = (
    "Coupled(predict='taylor') measures on other runs how much of a prediction to believe, and here a run is alone: ask for "
    "num_samples=2 or more, and for a chunk_size that leaves no single one."
)
NOT_COUPLED = "expectation takes coupled=sf.programs.Coupled(alternatives=8), say; it got {given}."
AXIS = "scorefn_draws"
NO_RUN = 2**32 - 1
"""The number of a run that is never made; its key makes what is picked of the alternatives."""

P = ParamSpec("P")


def expectation(
    program: Callable[P, Any],
    *,
    num_samples: int = 1,
    baseline: Any = "auto",
    chunk_size: ChunkSize = None,
    sharding: jax.sharding.Sharding | None = None,
    coupled: Coupled | None = None,
    plan: Plan | None = None,
    has_aux: bool = False,
    lost: str = "warn",
) -> Callable[P, Any]:
    """Make the expected cost of a program out of it, as a function that can be differentiated.

    The program is ordinary JAX code that makes its random choices with :func:`sample` and returns a cost. In the gradient each
    choice is scored by just the costs that depend on it, element by element, which is read off the traced program:
    a mean over a vmapped batch gives each latent its own cost, a scan over time each action its reward-to-go. ``explain`` shows
    what was found. Finer credit usually has less variance; there is no guarantee, since a cost that a choice does not influence
    can by accident act as a baseline.

    Args:
      program: function with an argument named ``key``. It returns an array of costs (or a pytree of them), real or complex; with
        ``has_aux=True`` a pair (costs, auxiliary). Of its other arguments, floats and arrays are traced; a Python int, bool or
        string is left as it is, so it may decide a shape or a branch.
      num_samples: number of independent runs of the program, a Python int.
      baseline: what is subtracted from each element of each cost: "auto" (``leave_one_out`` for more than one run, else
        none), a member of ``sf.baselines`` without a state, a function of the values (S, ...), or None.
      chunk_size: runs in memory at once; None is all of them, and "auto" as many as suit a CPU's caches, under ``jit``. With either
        of a number and "auto", a baseline takes a pass of its own over the runs.
      sharding: a ``jax.sharding.Sharding`` for the axis of runs.
      coupled: a :class:`programs.Coupled`: which other values the choices by their alternatives are compared with; None is all.
      plan: a :class:`programs.Plan`, which says the estimators of choices that have a name and leave theirs open (see ``sf.plan``).
      has_aux: whether the program returns auxiliary data beside its cost.
      lost: what to do when a derivative is taken that is lost on its way through the program, at a comparison, a rounding, an argmax
        or a draw that is no choice (see ``sf.lost_gradients``): "warn" with a :class:`LostGradientWarning` for each place, "raise", or
        "ignore". Data, labels and auxiliary results are never told of, nor is a ``stop_gradient``.

    Returns:
      A function with the program's signature. It returns the mean of the costs over the runs, whose derivatives are estimates of the
      derivatives of the expected cost; with ``has_aux=True`` the pair of it and the auxiliary data, runs on the leading axis,
      which carry no derivative. Run i uses the key ``fold_in(key, i)``. It has the dtype of the cost, and what is added up on the way
      has 32 bits at least; ints and bools become floats. A complex cost has a complex expectation: differentiate a real part of it, or
      use ``jax.vjp``. For complex parameters ``jax.grad`` follows JAX's convention, as for any function.

    Raises:
      TypeError: for a choice inside of a ``jax.lax.while_loop`` (``programs.while_loop`` takes them), a custom derivative or a
        ``shard_map``, for mutable arrays, and for a program without an argument named ``key``; with ``lost="raise"``, where a
        derivative is lost.
      ValueError: for a bad option, or more combinations of enumerated values than 4096.

    Bias: none, for the value and derivatives of every order, if all randomness is made with ``sample`` or does not depend on the
    parameters; with pathwise choices, their conditions hold; of coupled ones to first order, and a second derivative
    raises. Cost: the program, its log-probabilities, and one backward pass, and a run of it for each lane of coupled choices;
    traced and analysed at each call, so put the whole under ``jax.jit``.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> def walk(logit, key):
      ...     def step(x, k):
      ...         x = x + 2.0 * sf.sample(k, sf.Bernoulli(logits=logit - x)) - 1.0
      ...         return x, x**2
      ...     return jnp.sum(jax.lax.scan(step, 0.0, jax.random.split(key, 5))[1])
      >>> grad = jax.jit(jax.grad(sf.expectation(walk, num_samples=64)))
      >>> g = jax.vmap(grad, (None, 0))(0.5, jax.random.split(jax.random.key(0), 500))
      >>> print(f"{g.mean():.2f} +- {g.std() / 500**0.5:.2f}")
      2.78 +- 0.05

    References: schulman2015, foerster2018, kool2019.
    """
    signature = signature_of(program)
    num_samples = _checks.positive_int("num_samples", num_samples)
    _checks.flags(has_aux=has_aux)
    subtracted = resolved_baseline(baseline, num_samples)
    options = Coupled() if coupled is None else coupled
    if not isinstance(options, Coupled):
        raise TypeError(NOT_COUPLED.format(given=_checks.describe(coupled)))
    checked(plan)
    if lost not in ANSWERS:
        raise ValueError(NO_SUCH_ANSWER.format(given=lost))

    @functools.wraps(program)
    @engine.over_devices(sharding)
    def estimate(*args: P.args, **kwargs: P.kwargs) -> Any:
        traced, leaves, key, finish = trace_planned(plan, program, signature, has_aux, args, kwargs)
        if lost != "ignore":
            leaves = watched(traced.block, leaves, traced.names, traced.num_costs, lost)
        widened, dtypes = wide(leaves), [x.dtype for x in leaves]  # derivatives are added up over the runs

        def subtract(value: Array, row: Any) -> Any:
            if subtracted is None:
                return 0.0
            return row if row is not None else _across(subtracted, jax.lax.stop_gradient(value), num_samples)

        def many(index: Array, rows: Any = None, only_leaves: bool = False) -> Any:
            rows = None if rows is None else engine.rows_of(rows, index, sharding)

            def one(i: Array, row: Any) -> Any:
                k = jax.random.fold_in(key, i)
                operands = [cast(x, dtype) for x, dtype in zip(widened, dtypes, strict=True)]
                comparison = Comparison(
                    options, jax.random.fold_in(picks, i), functools.partial(of_others, i), index.shape[0]
                )
                costs, rest, values = traced(
                    [*operands, k], (lambda *_: 0.0) if only_leaves else subtract, row, comparison
                )
                return values if only_leaves else (costs, jax.lax.stop_gradient(rest))

            if index.shape[0] == 1 and options.predict is not None:
                raise ValueError(PREDICTED_ALONE)
            if index.shape[0] == 1:  # a map over one run would only get in the way
                row = None if rows is None else jax.tree.map(lambda row: row[0], rows)
                return jax.tree.map(lambda leaf: leaf[None], one(index[0], row))
            return jax.vmap(one, axis_name=AXIS)(index, rows)

        note_use(key)
        picks = jax.random.fold_in(key, NO_RUN)
        rows = None
        over_explicit = sharding is not None and in_explicit_mesh()
        if subtracted is not None and (chunk_size is not None or over_explicit or in_shard_map()):
            values = engine.map_index(lambda i: many(i, only_leaves=True), num_samples, chunk_size, sharding)
            rows = [jnp.broadcast_to(subtracted(value), value.shape) for value in jax.lax.stop_gradient(values)]
        costs, rest = engine.map_index(lambda i: many(i, rows), num_samples, chunk_size, sharding)
        return finish([jnp.mean(cost, axis=0) for cost in costs], rest)

    return estimate


def explain(program: Callable[P, Any], *, plan: Plan | None = None, has_aux: bool = False) -> Callable[P, Explanation]:
    """Show which choices each cost of a program is charged with.

    Args:
      program: as for :func:`expectation`.
      plan: as for :func:`expectation`.
      has_aux: as for :func:`expectation`.

    Returns:
      A function with the program's signature, which runs nothing: it traces the program, prints a table (with ``rich`` where that is
      installed) and returns it as an :class:`Explanation`, whose ``costs``, ``choices`` and ``fallbacks`` are plain data.

    Raises:
      TypeError: for what :func:`expectation` refuses.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> def program(logits, key):
      ...     z = sf.sample(key, sf.Bernoulli(logits=logits), name="z")
      ...     return jnp.mean(z**2)
      >>> found = sf.explain(program)(jnp.zeros(3), jax.random.key(0))  # doctest: +ELLIPSIS
      <BLANKLINE>
      ...
      >>> found.costs[0].charged
      {'z': 'axis 0 equal'}
    """
    signature = signature_of(program)
    _checks.flags(has_aux=has_aux)
    checked(plan)

    @functools.wraps(program)
    def shown(*args: P.args, **kwargs: P.kwargs) -> Explanation:
        explanation = Explanation.of(trace_planned(plan, program, signature, has_aux, args, kwargs)[0])
        explanation.show()
        return explanation

    return shown


def resolved_baseline(baseline: Any, num_samples: int) -> baselines.Baseline | None:
    if isinstance(baseline, str) and baseline != "auto":
        raise TypeError(NO_SUCH_BASELINE.format(given=_checks.describe(baseline)))
    resolved = baselines.resolve(baseline, num_samples)
    if resolved.per_parameter or resolved.uses_mode:
        raise TypeError(NO_SUCH_BASELINE.format(given=resolved.name))
    return None if resolved.name == "none" else resolved


def _across(baseline: baselines.Baseline, value: Array, num_samples: int) -> Array:
    """The baseline of this run, inside of the map over runs. Those beyond the last one fill up a device, and count for nothing."""
    values = jax.lax.all_gather(value, AXIS)[:num_samples]
    if baseline is baselines.leave_one_out:  # measured from the first run, so that a constant never enters a sum
        first = values[0]
        return first + (jnp.sum(values - first[None], axis=0) - (value - first)) / (num_samples - 1)
    rows = jnp.broadcast_to(baseline(values), values.shape)
    return rows[jnp.minimum(jax.lax.axis_index(AXIS), num_samples - 1)]


def of_others(run: Array, x: Array) -> Array:
    """The arrays of all runs, with 0 for this one, whose number is given, and for a run that is made again to fill up a device."""
    rows, runs = (jax.lax.all_gather(each, AXIS) for each in (x, run))
    again = jnp.concatenate([jnp.zeros((1,), bool), runs[1:] == runs[:-1]])
    return jnp.where(along_draws((runs == run) | again, rows), jnp.zeros_like(rows), rows)
