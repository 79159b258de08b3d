"""Score function: grad E[f(x)] = E[(f(x) - b) grad log p(x) + grad f(x)]     (Williams 1992; Kool et al. 2019)."""

from __future__ import annotations

import jax.numpy as jnp

from jax_scorefn import _checks, baselines, engine
from jax_scorefn._surrogate import score_surrogate, self_normalized_surrogate
from jax_scorefn._trees import along_draws
from jax_scorefn.distributions import GivenDraws
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.estimators._statistics import mean_error, ratio_error
from jax_scorefn.typing import EVERY_ORDER, Bias, Capability, Info


@estimator(
    needs=(Capability.LOG_PROB, Capability.SAMPLE | Capability.GIVEN_DRAWS),
    bias=Bias.NONE,
    orders=EVERY_ORDER,
    evaluations="S",
    cite=("williams1992", "foerster2018", "kool2019"),
)
def score_function(f, logp, params, key, *, num_samples=None, baseline="auto", keep_samples=False, **how):
    """E[f(x)] by sampling, with derivatives by the log-derivative trick (REINFORCE).

    grad E[f(x)] = E[(f(x) - b) grad log p(x; params) + grad f(x)]. f is never differentiated in x, so it may be discrete,
    discontinuous, or plain Python behind :func:`black_box`. It may close over the parameters: the derivative of that path
    is in the result. Prefer ``exact`` where the support is small, ``pathwise`` where f is smooth in x and the law is
    reparameterized; use this one everywhere else.

    Args:
      f: function of one draw that returns a float, int or bool array of fixed shape (a scalar for the gradient form).
      logp: a :func:`family`.
      params: pytree with at least one float leaf.
      key: one JAX key; None is allowed where the family holds given draws.
      num_samples: number S of draws, a Python int; None is 64, or all the draws that the family holds.
      baseline: what is subtracted from f: "auto" (``leave_one_out`` for S > 1, none for S = 1), a member of
        ``sf.baselines``, a function of the values (S, ...) that for each draw depends on the others alone, or None.
      chunk_size: draws in memory at once; None is all of them. Any remainder is fine.
      sharding: a ``jax.sharding.Sharding`` for the axis of draws.
      has_aux: also return an :class:`Info`.

    Returns:
      The mean of f over the draws, of the shape and dtype of f; with ``has_aux=True`` the pair ``(value, Info)``.

    Raises:
      TypeError, ValueError: when traced, for a bare function in place of a family, a law that cannot be drawn from,
        parameters without a float leaf, a bad key, f or log-probability of the wrong shape, or fewer draws than the
        baseline needs.

    Bias: none; derivatives of every order are unbiased, with every baseline that does not depend on the draw it is
    subtracted from. Given draws that depend on each other, or unnormalised densities: vanishing. Cost: S evaluations of f
    and one backward pass, whatever the number of parameters; memory of ``chunk_size`` draws and a few scalars for each draw.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> coin = sf.family(lambda logit: sf.Bernoulli(logits=logit))
      >>> grads = jax.vmap(lambda key: sf.score_function_grad(lambda x: 1.0 + 2.0 * x, coin, 1.0, key))
      >>> g = grads(jax.random.split(jax.random.key(0), 1000))
      >>> print(f"{g.mean():.3f} +- {g.std() / 1000**0.5:.3f}  (exact 0.393)")
      0.392 +- 0.002  (exact 0.393)

    References: williams1992, foerster2018, kool2019.
    """
    law = logp.at(params)
    given = law if isinstance(law, GivenDraws) else None
    num_draws = _num_draws(num_samples, given)
    baseline = baselines.resolve(baseline, num_draws)

    def score(x, log_prob):
        return _checks.value(f(x)), _checks.log_prob(law, log_prob), x if keep_samples else None

    if given is None:
        _checks.key("score_function", key)
        drawn = engine.map_draws(lambda noise: score(*noise.sample_and_log_prob(law)), law, key, num_draws, **how)
    else:
        drawn = engine.map_points(lambda x: score(x, law.log_prob(x)), given.draws, num_draws, **how)
    values, log_probs, samples = drawn

    # A law with NaN among its parameters may still draw numbers. They are draws of nothing, and their value is NaN.
    impossible = jnp.isnan(log_probs) if given else jnp.isnan(log_probs) | jnp.isneginf(log_probs)
    values = jnp.where(along_draws(impossible, values), jnp.nan, values)
    weights = jnp.ones_like(log_probs) if given is None else given.weights(log_probs)
    subtracted = baseline(values)
    self_normalized = given is not None and not given.normalized
    if self_normalized:
        value = self_normalized_surrogate(values, log_probs, weights)
    else:
        value = score_surrogate(values, log_probs, subtracted, weights)

    def info():
        error = ratio_error(values, weights) if self_normalized else mean_error(values, weights, subtracted)
        return Info(samples, values, log_probs, weights, error)

    return value, info


score_function_grad = gradient(score_function)


def _num_draws(num_samples: int | None, given: GivenDraws | None) -> int:
    if given is None:
        return 64 if num_samples is None else _checks.positive_int("num_samples", num_samples)
    if num_samples is not None and num_samples != given.num_draws:
        raise ValueError(_checks.WRONG_NUM_SAMPLES.format(held=given.num_draws, given=num_samples))
    return given.num_draws
