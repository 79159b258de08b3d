"""The samplers whose draws have no derivative along the path: whole numbers, and one that picks among two roots by its parameter.

sampler                            a part of its draw                                  is a
bernoulli                          a bit                                               Bernoulli
binomial, poisson, geometric       a count                                             Binomial, Poisson, Geometric
categorical, choice                a number, an entry                                  Categorical
the same without replacement       an ordered row of them                              PlackettLuce
multinomial                        a row of counts                                     Multinomial
wald                               a number                                            inverse Gaussian, by its density

"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jax_scorefn._guards import guard
from jax_scorefn._trees import to_float
from jax_scorefn._wide import wide
from jax_scorefn.distributions import Bernoulli, Binomial, Categorical, Distribution, Geometric, Multinomial, Poisson
from jax_scorefn.noise import share_below
from jax_scorefn.random._call import Call, Density
from jax_scorefn.random._sampler import SAMPLERS, Sampler, choice as _choice
from jax_scorefn.random._without_replacement import PlackettLuce
from jax_scorefn.typing import Array, Key

MOST_TRIALS = 2**31 - 2**7
WHOLE = (
    "sf.random.{name} was differentiated in {field}, which is whole: there is no such derivative. Stop it with "
    "jax.lax.stop_gradient, or give it as an int."
)


@_choice("p")
def bernoulli(call: Call, *, p: Any, mode: str) -> Array:
    """Bits, True with probability p.

    Bias: none. A draw is True if a uniform with steps of 2^-23 (in float32) is below p, so as often as p rounded up to a step says. A
    score is that of the rounded p, with a derivative of 1 in p, so that rare bits have the right gradient all the same.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import jax_scorefn as sf
      >>> from jax_scorefn import random
      >>> def program(p, key):
      ...     return jnp.where(random.bernoulli(key, p), 3.0, 1.0)
      >>> grads = jax.vmap(jax.grad(sf.expectation(program)), (None, 0))(0.4, random.split(random.key(0), 4000))
      >>> print(f"{grads.mean():.1f} +- {grads.std() / 4000**0.5:.1f}  (exact 2)")
      2.0 +- 0.1  (exact 2)
    """
    return call.choose("(),()->()", lambda p: Bernoulli(probs=p), _as_drawn(p, mode) if call.scored else p)


@_choice("p", support="counted")
def geometric(call: Call, *, p: Any) -> Array:
    """Numbers of trials up to the first success, of probability p: 1, 2, ...

    Bias: none but for the rounding of the draw.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> tries = lambda p, key: sf.random.geometric(key, p, estimator="exact", max_value=200).astype(float)
      >>> print(f"{jax.jit(jax.grad(sf.expectation(tries)))(0.5, jax.random.key(0)):.2f}  (exact -4)")
      -4.00  (exact -4)
    """
    return call.choose("(),()->()", lambda p: Geometric(probs=p), p)


@_choice("lam", support="counted")
def poisson(call: Call, *, lam: Any) -> Array:
    """Counts of mean ``lam``. As ``jax.random``'s, it takes threefry keys only.

    With ``method="approximate"``, of newer versions of JAX, it raises when it is differentiated.

    Bias: none up to a ``lam`` of 65,536; above it the draws of ``jax.random`` are not those of a Poisson distribution in float32, and
    those of ``sf.sample(key, sf.Poisson(rate=lam))`` are.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> square = lambda lam, key: sf.random.poisson(key, lam, estimator="exact", max_value=40).astype(float) ** 2
      >>> print(f"{jax.jit(jax.grad(sf.expectation(square)))(2.0, jax.random.key(0)):.2f}  (exact 2 lam + 1)")
      5.00  (exact 2 lam + 1)
    """
    return call.choose("(),()->()", lambda lam: Poisson(rate=lam), lam)


@_choice("n", "p")
def binomial(call: Call, *, n: Any, p: Any) -> Array:
    """Counts of successes in ``n`` trials of probability ``p``, as floats.

    ``n`` is whole (what is behind its point is left out), and raises when it is differentiated. It is summed over where it is a number
    that is known.

    Bias: none up to 65,536 trials; with more, the draws of ``jax.random`` are not those of a binomial distribution in float32, where
    10 successes and failures are expected, and those of ``sf.sample(key, sf.Binomial(...))`` are.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> square = lambda p, key: sf.random.binomial(key, 3, p, estimator="exact") ** 2
      >>> print(f"{jax.jit(jax.grad(sf.expectation(square)))(0.5, jax.random.key(0)):.2f}  (exact n (1 + 2 (n - 1) p))")
      9.00  (exact n (1 + 2 (n - 1) p))
    """
    trials = _known_count(n)
    if trials is not None:
        return call.choose("(),()->()", lambda p: Binomial(total_count=trials, probs=p), p)
    return call.choose("(),(),()->()", lambda n, p: Binomial(total_count=n, probs=p), _whole("binomial", n), p)


@_choice("n", "p")
def multinomial(call: Call, *, n: Any, p: Any) -> Array:
    """Rows of counts: how often each of K categories comes in ``n`` trials, as floats. ``p`` are weights, on the last axis.

    ``n`` is as in :func:`binomial`; each row is one choice.

    Bias: none up to 65,536 trials, as for :func:`binomial`.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> most = lambda p, key: jnp.max(sf.random.multinomial(key, 2, p, estimator="exact"))
      >>> print(jax.jit(jax.grad(sf.expectation(most)))(jnp.array([0.5, 0.25, 0.25]), jax.random.key(0)))
      [ 0.25 -0.25 -0.25]
    """
    trials = _known_count(n)
    if trials is not None:
        return call.choose("(k),(k)->(k)", lambda p: Multinomial(total_count=trials, probs=p), p)
    of_row = lambda n, p: Multinomial(total_count=n, probs=p)
    return call.choose("(k),(),(k)->(k)", of_row, _whole("multinomial", n), p)


@_choice("logits")
def categorical(call: Call, *, logits: Array, axis: int, replace: bool) -> Array:
    """Numbers of categories, whose unnormalised log-probabilities lie along an axis; -inf forbids one.

    With ``replace=False`` the draws of one distribution are an ordered row without repetition, which is one choice, scored by its
    Plackett-Luce log-probability.

    Bias: none but for what the draws of ``jax.random`` in float32 lack: see its ``mode=``.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> values = jnp.array([1.0, 5.0, 2.0])
      >>> def program(logits, key):
      ...     return values[sf.random.categorical(key, logits)]
      >>> grad = jax.jit(jax.grad(sf.expectation(program, num_samples=10_000)))
      >>> print(" ".join(f"{g:.1f}" for g in grad(jnp.zeros(3), jax.random.key(0))), " exact -0.6 0.8 -0.2")
      -0.6 0.8 -0.2  exact -0.6 0.8 -0.2
    """
    x, logits = call.draw(), jnp.moveaxis(logits, axis, -1)
    if replace:
        return call.choose("(),(k)->()", lambda logits: Categorical(logits=logits), logits, x=x)
    batch = logits.ndim - 1
    drawn = x.ndim - batch  # axes of the draws of one distribution, in front
    rows = jnp.transpose(x, (*range(drawn, x.ndim), *range(drawn))).reshape(*logits.shape[:-1], -1)
    rows = call.choose("(k),(n)->(k)", _ordered("logits", rows.shape[-1]), logits, x=rows)
    return jnp.transpose(rows.reshape(*logits.shape[:-1], *x.shape[:drawn]), (*range(batch, x.ndim), *range(batch)))


@_choice("p")
def choice(call: Call, *, a: Any, shape: Any, replace: bool, p: Any, axis: int) -> Array:
    """Entries of ``a`` along an axis, or numbers below ``a``, by weights ``p``; differentiable in the entries as well.

    With ``replace=False`` all entries drawn are one choice, an ordered row, scored by its Plackett-Luce log-probability.

    Bias: none but for the rounding of the draw.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> def pair(p, key):
      ...     first, second = sf.random.choice(key, jnp.array([1.0, 2.0, 4.0]), (2,), replace=False, p=p, estimator="exact")
      ...     return first
      >>> grad = jax.jit(jax.grad(sf.expectation(pair)))
      >>> print(" ".join(f"{g:.2f}" for g in grad(jnp.array([0.5, 0.25, 0.25]), jax.random.key(0))))
      -1.00 0.00 2.00
    """
    entries = jnp.asarray(a)
    size = int(a) if entries.ndim == 0 else entries.shape[axis]
    number = math.prod(shape)
    if number == 0:
        return call.draw()
    if replace:
        x = call.draw(a=size, axis=0)
        index = call.choose("(),(k)->()", lambda p: Categorical(probs=p), p, x=x)
    else:
        x = call.draw(a=size, axis=0, shape=(number,))
        index = call.choose("(k),(n)->(k)", _ordered("weights", number), p, x=x).reshape(shape)
    return index if entries.ndim == 0 else jnp.take(entries, index, axis)


@_choice("mean", support="continuous")
def wald(call: Call, *, mean: Any) -> Array:
    """Numbers of an inverse Gaussian distribution with this mean and a shape of 1.

    Its draw is one of two roots, picked by a comparison with ``mean``, so ``jax.grad`` of ``jax.random.wald`` has a derivative that is
    wrong: at a mean of 2 the derivative of the mean comes out as 1.24. So it is scored, and not differentiated along the path.

    Bias: none.

    Example:
      >>> import jax, jax_scorefn as sf
      >>> mean = lambda m, key: sf.random.wald(key, m)
      >>> print(f"{jax.jit(jax.grad(sf.expectation(mean, num_samples=100_000)))(2.0, jax.random.key(0)):.1f}  (exact 1)")
      1.0  (exact 1)
    """
    # ((x - m) / m)^2 / x, written so that nothing is divided by a draw that may have lost its digits
    exponent = lambda mean, x: x / mean**2 - 2 / mean + 1 / x
    log_density = lambda mean, x: -(math.log(2 * math.pi) + 3 * jnp.log(x) + exponent(mean, x)) / 2
    return call.choose("(),()->()", lambda mean: Density("InverseGaussian", lambda x: log_density(mean, x)), mean)


@functools.wraps(jax.random.randint, assigned=())
def randint(key: Key, shape: Any, minval: Any, maxval: Any, *args: Any, **kwargs: Any) -> Array:
    """Whole numbers from ``minval`` to ``maxval - 1``, all alike: ``jax.random.randint``, which raises when an end is differentiated.

    Raises:
      TypeError: when it is differentiated in an end that is a float, where the derivative would be 0.
    """
    ends = (_undifferentiable("randint", end, x) for end, x in (("minval", minval), ("maxval", maxval)))
    return _randint(key, shape, *ends, *args, **kwargs)


_randint = jax.random.randint
SAMPLERS["randint"] = Sampler("passed through", (), randint)


def _as_drawn(p: Any, mode: str) -> Array:
    """The probability that ``uniform < p`` has, with the derivative of p."""
    p = jnp.asarray(p)
    digits = jnp.finfo(p.dtype).nmant * (2 if mode == "high" else 1)
    return share_below(wide(p), digits)


def _known_count(n: Any) -> int | None:
    """A number of trials that is one number and known, as a support needs it."""
    if isinstance(n, Tracer) or np.ndim(n) != 0:
        return None
    number = float(n)
    return math.floor(number) if 0 <= number <= MOST_TRIALS else None


def _undifferentiable(name: str, field: str, x: Any) -> Any:
    """A whole number, which raises when it is differentiated."""
    return guard(x, order=0, message=WHOLE.format(name=name, field=field)) if isinstance(x, jax.Array) else x


def _whole(name: str, n: Any) -> Array:
    """A number of trials without what is behind its point."""
    return jnp.floor(_undifferentiable(name, "n", to_float(n)))


def _ordered(field: str, number: int) -> Any:
    def of_row(numbers: Array) -> Distribution:
        return PlackettLuce(number, **{field: numbers})

    return of_row
