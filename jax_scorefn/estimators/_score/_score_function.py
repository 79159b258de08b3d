"""Score function: grad E[f(x)] = E[(f(x) - b) grad log p(x) + grad f(x)]     (Williams 1992; Kool et al. 2019).

With control variates h, f is f - sum_j c_j (h_j - E h_j) throughout, and sum_j c_j grad E h_j is added. With draws of another
distribution q, each score is weighted by p / q.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jax_scorefn import _checks, baselines
from jax_scorefn._surrogate import score_surrogate, self_normalized_surrogate
from jax_scorefn._trees import flatten_floats, stop
from jax_scorefn.baselines import Baseline
from jax_scorefn.control_variates import ControlVariate, attach, is_per_parameter
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.estimators._score._per_parameter import Sampled, Term, correction, fit, scores_of, tabulated
from jax_scorefn.estimators._score._source import importance_weights, of_possible, source_of
from jax_scorefn.estimators._score._two_passes import chunk_of, in_two_passes
from jax_scorefn.estimators._statistics import mean_error, ratio_error
from jax_scorefn.schemes import Scheme
from jax_scorefn.typing import EVERY_ORDER, Array, Bias, Capability

RATIO = (
    "An estimate that is normalised by its weights (the family has normalized=False) brings a baseline of its own, the weighted mean "
    "of f: leave baseline= and control_variate= out."
)
TOO_FEW_TO_FIT = (
    "Fitting {fitted} coefficients on the other groups of draws needs at least {wanted} groups, and there are {given}: raise "
    "num_samples, or give the coefficients as numbers."
)
NO_MODE = (
    "The baseline self_critical needs a distribution that has a known mode; {dist} has {given}. Use leave_one_out, or pass the "
    "value of your own greedy draw as baseline=lambda values: ..."
)


@estimator(
    needs=(Capability.LOG_PROB, Capability.SAMPLE | Capability.GIVEN_DRAWS),
    bias=Bias.NONE,
    orders=EVERY_ORDER,
    evaluations="S",
    cite=("williams1992", "foerster2018", "kool2019"),
    num_samples=None,
)
def score_function(
    f,
    call,
    *,
    baseline: Baseline | Callable[[Array], Any] | Literal["auto"] | None = "auto",
    control_variate: ControlVariate | Sequence[ControlVariate] | None = None,
    scheme: Scheme | None = None,
    proposal: Any = None,
    max_weight: Array | float | None = None,
):
    """E[f(x)] by sampling, with derivatives by the log-derivative trick (REINFORCE).

    grad E[f(x)] = E[(f(x) - b) grad log p(x; params) + grad f(x)]. f is never differentiated in x, so it may be discrete,
    discontinuous, or plain Python behind :func:`black_box`. It may close over the parameters: the derivative of that path
    is in the result. (``score_function_grad`` has it if f is a function of a draw and the parameters.) Prefer ``exact`` where the
    support is small, ``pathwise`` where f is smooth in x and the distribution is reparameterized; use this one everywhere else.

    Args:
      f: function of one draw that returns a float, complex, int or bool array of fixed shape (a real scalar for the gradient form).
      key: one JAX key; None is allowed where the family holds given draws.
      num_samples: number S of draws, a Python int; None is 64, or all the draws that the family holds.
      baseline: what is subtracted from f: "auto" (``leave_one_out`` for S > 1, none for S = 1), a member of
        ``sf.baselines``, a function of the values (S, ...) that for each draw depends on the others alone, or None.
      control_variate: functions with a known expectation that are subtracted from f: a member of
        ``sf.control_variates``, or a sequence of them. Fitted coefficients are fitted together.
      proposal: a distribution q to draw from instead; each draw then weighs p / q. q > 0 wherever p f is not 0. Where the
        family has no constant (``normalized=False``), the estimate is normalised by its weights.
      max_weight: the most that a draw may weigh, cut in log space (1 is a typical weight): a number, or an array that may be traced.
        Declared biased; None is no limit.
      chunk_size: draws in memory at once; None is all of them, "auto" as many as suit the caches. Any remainder is fine.
      has_aux: also return an :class:`Info`, whose ``effective_sample_size`` says what weighted draws are worth.

    Raises: fewer draws (under a scheme: groups of draws) than the baseline needs.
    Bias: It is so with every baseline that does not depend on the draw it is subtracted from, every control variate, scheme
    and proposal. Given draws that depend on each other, or unnormalised densities: vanishing.
    ``sf.ESTIMATORS["score_function"].bias_with(logp, **options)`` says it as data.
    Cost: One backward pass, whatever the number of parameters; memory of ``chunk_size`` draws and a few scalars for each
    draw, where these take less than 64 MiB: from there on, with baselines that need no more of the others than their mean, the draws
    are made once more instead. Coefficients for each parameter: the score of each draw beside it, S x P numbers, and a second pass.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> coin = sf.family(lambda logit: sf.Bernoulli(logits=logit))
      >>> grads = jax.jit(jax.vmap(lambda key: sf.score_function_grad(lambda x: 1.0 + 2.0 * x, coin, 1.0, key)))
      >>> g = grads(jax.random.split(jax.random.key(0), 1000))
      >>> print(f"{g.mean():.3f} +- {g.std() / 1000**0.5:.3f}  (exact 0.393)")
      0.392 +- 0.002  (exact 0.393)
    """
    return estimate(f, call, baseline, control_variate, scheme, proposal, max_weight)


score_function_grad = gradient(score_function)


def estimate(f, call, baseline: Any, control_variate=None, scheme=None, proposal=None, max_weight=None):
    """One part of f after the other is taken out of what the score multiplies, and its expectation is put back."""
    each = getattr(baseline, "per_parameter", False) or is_per_parameter(control_variate)
    if each:  # the distribution is made more than once then, each time of arrays that come out of one vector
        flat, restore = flatten_floats(call.params)
        call = call.moved(restore(flat))
    source = source_of(call, scheme, proposal)
    size = source.group_size
    subtract = baselines.resolve(baseline, source.num_samples, size)
    controls = attach(control_variate, f, call.dist)
    given, fitted = ([c for c in controls if c.is_fitted == wanted] for wanted in (False, True))
    _may_be_combined(source, subtract, controls, len(fitted) + subtract.per_parameter)
    if not (controls or each) and (chunk_size := chunk_of(f, call, source, subtract)):
        return in_two_passes(f, call, source, subtract, chunk_size)
    drawn = _sample(f, call, source, controls, each, max_weight)
    values, log_probs, weights = drawn.values, drawn.log_probs, drawn.weights
    answer = functools.partial(
        call.answer, values=values, kept=(drawn.samples, log_probs), weights=weights, group_size=size
    )
    if not source.normalized:
        shares = jnp.ones_like(log_probs) if weights is None else weights
        value = self_normalized_surrogate(values, log_probs, shares)
        return answer(value, error=lambda: ratio_error(values, size, shares))

    def baseline_of(values, at_mode=None):
        values, at_mode = jax.tree.map(f.outward, (values, at_mode))
        return f.inward(subtract(values, size, at_mode))

    like = jax.ShapeDtypeStruct(values.shape[1:], values.dtype)
    expected = {c: c.expected(call.params, call.dist, like) for c in controls}
    coefficients = {c: c.coefficient.astype(values.dtype) for c in given}
    centred = lambda c, h: h - jnp.broadcast_to(stop(expected[c]), h.shape)
    left = lambda value, hs: value - sum(coefficients[c] * centred(c, hs[c]) for c in given) if given else value
    # What is left of f: less the control variates with a given coefficient, less a baseline, ...
    rest = left(values, drawn.controls)
    at_mode = stop(left(*_evaluate(f, given, _mode(call.dist)))) if subtract.uses_mode else None
    subtracted = jnp.broadcast_to(stop(baseline_of(rest, at_mode)), rest.shape)
    # ... less those whose coefficients the other draws give, with the same baseline.
    columns, ones = [centred(c, drawn.controls[c]) for c in fitted], jnp.ones_like(rest)
    table, combined = tabulated(rest, columns)
    factors = combined(subtracted, [0 * column for column in columns])
    found = fit(table, factors, weights, size, range(2, 2 + len(fitted))) if fitted else []
    for c, coefficient, column in zip(fitted, found, columns, strict=True):
        coefficients[c] = jnp.mean(coefficient, axis=0)
        centre = stop(baseline_of(column)) if subtract.linear else 0 * ones
        rest, subtracted = rest - coefficient * column, subtracted - coefficient * centre

    value = score_surrogate(rest, log_probs, subtracted, weights)
    for c in controls:  # what that took out of the derivative comes back
        value = value + coefficients[c] * (expected[c] - stop(expected[c]))
    if each:
        terms = [Term(1, ones, None)] * subtract.per_parameter
        terms += [Term(2 + j, columns[j], c) for j, c in enumerate(fitted) if c.per_parameter]
        value = value + correction(call, source, table, combined(subtracted, found), drawn, terms)
    return answer(value, error=lambda: mean_error(rest, size, weights, subtracted))


def _evaluate(f, controls, x):
    value = _checks.value(f(x))
    return value, {c: c.at(x, value) for c in controls}


def _sample(f, call, source, controls, each, max_weight):
    """F, control variates, log-probability and weight of each draw; with ``each``, its score too."""
    score = scores_of(call, source) if each else lambda made, x: None

    def one(made, _):
        x, log_prob, log_proposal = source.score(made, call.dist)
        log_prob = _checks.log_prob(call.dist, log_prob)
        value, hs = _evaluate(f, controls, x)
        return value, list(hs.values()), log_prob, log_proposal, score(made, x), x if call.reports or each else None

    values, hs, log_probs, log_proposals, scores, samples = call.map(one, source.draws, source.num_samples)
    values = of_possible(source, values, log_probs)
    weights = importance_weights(log_probs, log_proposals, source.normalized, max_weight)
    return Sampled(values, dict(zip(controls, hs, strict=True)), log_probs, weights, scores, samples)


def _may_be_combined(source, subtract, controls, num_fitted):
    if not source.normalized and (controls or subtract.name not in ("none", "leave_one_out")):
        raise ValueError(RATIO)
    num_groups = source.num_samples // source.group_size
    if num_fitted and num_groups < num_fitted + 3:
        raise ValueError(TOO_FEW_TO_FIT.format(fitted=num_fitted, wanted=num_fitted + 3, given=num_groups))


def _mode(dist):
    if Capability.MODE not in dist.capabilities:
        raise TypeError(NO_MODE.format(dist=dist.name, given=_checks.name_of(dist.capabilities)))
    return dist.mode()
