"""Sum the k likeliest outcomes, sample the rest                                        (Liu et al. 2019)

    E[f(x)]  =  sum_{x in C} p(x) f(x)  +  m E[f(x) | x not in C],        m = sum_{x not in C} p(x)

C holds the k likeliest outcomes and stays as it is when the parameters move. The sum is differentiated as it stands, the
conditional expectation by the score function with leave-one-out, or with f at the likeliest outcome as the baseline of a single draw.
So every order is unbiased.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jax_scorefn import _checks, baselines
from jax_scorefn._surrogate import magic_box, where_possible
from jax_scorefn._trees import along_draws, stop, take_rows
from jax_scorefn.estimators._call import Answer
from jax_scorefn.estimators._choices import pick
from jax_scorefn.estimators._registry import estimator, gradient
from jax_scorefn.estimators._statistics import mean_error
from jax_scorefn.typing import EVERY_ORDER, Bias, Capability, Info

NOTHING_LEFT = (
    "sum_and_sample was asked to sum {summed} outcomes of {dist}, which has {points}, and then nothing is left to sample: take fewer, "
    "or use exact, which sums them all."
)


@estimator(
    needs=(Capability.LOG_PROB, Capability.FINITE),
    bias=Bias.NONE,
    orders=EVERY_ORDER,
    evaluations="k + S",
    cite=("liu2019",),
    num_samples=8,
)
def sum_and_sample(f, call, *, num_summed: int = 1, max_points: int = 2**16):
    """E[f(x)] over a finite support: the likeliest outcomes are summed, and draws are spent on the rest alone.

    As good as ``exact`` where a few outcomes hold nearly all of the probability, and never worse than sampling: what is drawn counts
    by the probability m that is left.

    Args:
      num_samples: number S of draws from what is not summed, a Python int. Two draws or more have the mean of f at the
        others as their baseline, one draw has f at the likeliest outcome.
      num_summed: number k of outcomes that are summed, a Python int below the number of outcomes.
      has_aux: also return an :class:`Info`: first the outcomes that were summed, then the draws; their weights sum to 1.

    Returns: The sum, of the shape and dtype of f
    Raises: more than ``max_points`` outcomes, and all of them to be summed.
    Cost: A probability for each outcome.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> die = sf.family(lambda logits: sf.Categorical(logits=logits))
      >>> logits = jnp.array([4.0, 0.0, 0.0, 0.0])
      >>> def std(estimator, **options):
      ...     grads = jax.jit(jax.vmap(lambda key: estimator(lambda x: x, die, logits, key, **options)))
      ...     return grads(jax.random.split(jax.random.key(0), 1000))[:, 0].std()
      >>> print(f"{std(sf.score_function_grad, num_samples=4):.4f} -> {std(sf.sum_and_sample_grad, num_samples=3):.4f}")
      0.2164 -> 0.0226
    """
    num_samples, k = call.num_samples, _checks.positive_int("num_summed", num_summed)
    grid = call.dist.grid(max_points=_checks.positive_int("max_points", max_points))
    num_points = grid.log_probs.shape[0]
    if k >= num_points:
        raise ValueError(NOTHING_LEFT.format(summed=k, dist=call.dist.name, points=num_points))

    stopped = stop(grid.log_probs)
    summed = jax.lax.top_k(stopped, k)[1]
    is_summed = jnp.zeros(num_points, bool).at[summed].set(True)
    left = jnp.where(is_summed, -jnp.inf, stopped)
    mass = jnp.sum(jnp.where(is_summed, 0, grid.weights))
    anything = stop(mass) > 0  # all the probability may be in what is summed
    log_mass = jnp.log(jnp.where(anything, mass, 1))
    left = jnp.where(anything, left, 0)
    value_at = lambda x: _checks.value(f(x))
    top = call.map_outcomes(value_at, jax.tree.map(lambda x: x[summed], grid.points), k)

    def one(u, _):
        index = pick(left[None], u)[0]
        x, log_prob = take_rows((grid.points, grid.log_probs), index)
        return value_at(x), log_prob - log_mass, mass, index

    values, log_probs, shares, index = call.map(one, call.uniforms((1,), stopped.dtype))
    top = where_possible(top, grid.weights[summed])
    centre = stop(top[:1])  # f is measured from its value at the likeliest outcome, so a large constant in it cancels
    rest = jnp.where(anything, values - centre, 0)
    baseline = stop(baselines.resolve("auto", num_samples)(rest, 1))
    boxes, shares = (along_draws(x.astype(values.dtype), values) for x in (magic_box(log_probs), shares))
    sampled = jnp.where(anything, jnp.mean(shares * ((rest - baseline) * boxes + baseline), axis=0), 0)
    probs = along_draws(grid.weights[summed].astype(values.dtype), top)
    value = centre[0] + jnp.sum(probs * (top - centre), axis=0) + sampled

    def info():
        both = jnp.concatenate([summed.astype(index.dtype), index])
        weights = jnp.concatenate([grid.weights[summed], jnp.full(num_samples, mass / num_samples)])
        error = jnp.where(anything, mass.astype(values.dtype) * mean_error(values), 0)
        everything = jnp.concatenate([top, values])
        return Info(jax.tree.map(lambda x: x[both], grid.points), everything, stopped[both], weights, error)

    return Answer(value, info, num_samples)


sum_and_sample_grad = gradient(sum_and_sample)
