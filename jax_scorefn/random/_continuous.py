"""The samplers with a derivative along the path, which may be scored instead: for costs with jumps.

    sampler                                    a part of its draw
    gamma, chisquare, beta, dirichlet, f       is made of gamma draws, and scored by their logarithms
    weibull_min                                is made of an exponential number, and scored by its logarithm
    t, rayleigh, multivariate_normal           is a StudentT, Weibull, MultivariateNormal
    the others                                 is scored by a density that stands here

Where a number has rounded to 0 its logarithm is there, so the score is right for the smallest parameters too. ``uniform``,
``truncated_normal`` and ``triangular`` are not among them: a score has no answer to ends that move.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln, gammaln

from jax_scorefn._trees import to_float
from jax_scorefn.distributions import MultivariateNormal, StudentT, Weibull
from jax_scorefn.random._call import Call, Density
from jax_scorefn.random._sampler import pathwise
from jax_scorefn.typing import Array, Key

SHARED = (
    "sf.random.weibull_min makes draws of shape {shape} with shape={given}: as in jax.random, they share numbers, so together they "
    "have no density. Pass shape={shape}."
)


@pathwise("a", "b")
def beta(call: Call, *, a: Any, b: Any) -> Array:
    """Numbers in (0, 1) with density x^(a - 1) (1 - x)^(b - 1) / B(a, b)."""
    x = call.draw()
    logs = [_log_gamma(k, p, x) for k, p in zip(jax.random.split(call.same_key), (a, b), strict=True)]
    logs = jax.nn.log_softmax(jnp.stack(logs, axis=-1), axis=-1)
    one = lambda a, b: Density("Beta", lambda y: (a - 1) * y[0] + (b - 1) * y[1] - betaln(a, b))
    both = jnp.stack([x, 1 - x], axis=-1)
    return call.choose("(),(),(),(m)->()", one, a, b, x=x, scored=_agreeing(logs, both))


@pathwise("df")
def chisquare(call: Call, *, df: Any) -> Array:
    """Sums of ``df`` squares of standard normal numbers."""
    x = call.draw()
    y = _agreeing(_log_gamma(call.same_key, to_float(df) / 2, x), x / 2)
    return call.choose("(),(),()->()", _of_log_gamma, to_float(df) / 2, x=x, scored=y)


@pathwise("alpha")
def dirichlet(call: Call, *, alpha: Any) -> Array:
    """Rows of positive numbers that sum to 1, with concentrations on the last axis; each row is one choice."""
    x = call.draw()
    logs = jax.nn.log_softmax(_log_gamma(call.same_key, alpha, x), axis=-1)
    log_density = lambda a, y: jnp.sum((a - 1) * y) + gammaln(jnp.sum(a)) - jnp.sum(gammaln(a))
    one = lambda alpha: Density("Dirichlet", lambda y: log_density(alpha, y))
    return call.choose("(k),(k),(k)->(k)", one, alpha, x=x, scored=_agreeing(logs, x))


@pathwise("loc", "scale")
def double_sided_maxwell(call: Call, *, loc: Any, scale: Any) -> Array:
    """Numbers loc + scale z, where z has the density z^2 exp(-z^2 / 2) / sqrt(2 pi)."""

    def log_density(loc: Array, scale: Array, x: Array) -> Array:
        z = (x - loc) / scale
        return 2 * jnp.log(jnp.abs(z)) - z**2 / 2 - jnp.log(scale) - math.log(2 * math.pi) / 2

    one = lambda loc, scale: Density("DoubleSidedMaxwell", lambda x: log_density(loc, scale, x))
    return call.choose("(),(),()->()", one, loc, scale)


@pathwise("dfnum", "dfden")
def f(call: Call, *, dfnum: Any, dfden: Any) -> Array:
    """Ratios of two chi-square numbers, each divided by its degrees of freedom."""

    def log_density(m: Array, n: Array, y: Array) -> Array:
        logs = m * (jnp.log(m) + y) + n * jnp.log(n) - (m + n) * jnp.logaddexp(jnp.log(n), jnp.log(m) + y)
        return logs / 2 - y - betaln(m / 2, n / 2)

    x = call.draw()
    below, above = jax.random.split(call.same_key)
    halves = [_like(df, x) / 2 for df in (dfnum, dfden)]
    logs = [_log_gamma(k, h, x) - jnp.log(h) for k, h in zip((above, below), halves, strict=True)]
    one = lambda m, n: Density("F", lambda y: log_density(m, n, y))
    return call.choose("(),(),(),()->()", one, dfnum, dfden, x=x, scored=_agreeing(logs[0] - logs[1], x))


@pathwise("a")
def gamma(call: Call, *, a: Any) -> Array:
    """Numbers with density x^(a - 1) exp(-x) / Gamma(a).

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> def above(a, key):
      ...     return (sf.random.gamma(key, a, estimator="score_function") > 1.0).astype(float)
      >>> grad = jax.jit(jax.grad(sf.expectation(above, num_samples=100_000)))
      >>> print(f"{grad(1.0, jax.random.key(0)):.2f}  (exact 0.43)")
      0.43  (exact 0.43)
    """
    x = call.draw()
    y = _agreeing(_log_gamma(call.same_key, a, x), x)
    return call.choose("(),(),()->()", _of_log_gamma, a, x=x, scored=y)


@pathwise("p")
def generalized_normal(call: Call, *, p: Any) -> Array:
    """Numbers with density exp(-|x|^p) p / (2 Gamma(1 / p))."""
    log_density = lambda p, x: jnp.log(p / 2) - gammaln(1 / p) - jnp.abs(x) ** p
    return call.choose("(),()->()", lambda p: Density("GeneralizedNormal", lambda x: log_density(p, x)), p)


@pathwise("a")
def loggamma(call: Call, *, a: Any) -> Array:
    """Logarithms of gamma numbers, which are there for the smallest ``a`` too."""
    return call.choose("(),()->()", _of_log_gamma, a)


@pathwise("sigma")
def lognormal(call: Call, *, sigma: Any) -> Array:
    """Numbers exp(sigma z) of standard normal z; a score wants real ones."""
    log_density = lambda sigma, x: (
        -((jnp.log(x) / sigma) ** 2 + math.log(2 * math.pi)) / 2 - jnp.log(x) - jnp.log(sigma)
    )
    return call.choose("(),()->()", lambda sigma: Density("LogNormal", lambda x: log_density(sigma, x)), sigma)


@pathwise("mean", "cov", harmless=("method",))
def multivariate_normal(call: Call, *, mean: Any, cov: Any) -> Array:
    """Vectors with a mean, on the last axis, and a covariance matrix, on the last two; each is one choice."""
    one = lambda mean, cov: MultivariateNormal(loc=mean, covariance=cov)
    return call.choose("(n),(n),(n,n)->(n)", one, mean, cov)


@pathwise("b")
def pareto(call: Call, *, b: Any) -> Array:
    """Numbers above 1 with density b / x^(b + 1)."""
    log_density = lambda b, x: jnp.log(b) - (b + 1) * jnp.log(x)
    return call.choose("(),()->()", lambda b: Density("Pareto", lambda x: log_density(b, x)), b)


@pathwise("scale")
def rayleigh(call: Call, *, scale: Any) -> Array:
    """Lengths of pairs of normal numbers of this standard deviation."""
    one = lambda scale: Weibull(concentration=2.0, scale=np.sqrt(2).astype(scale.dtype) * scale)
    return call.choose("(),()->()", one, scale)


@pathwise("df")
def t(call: Call, *, df: Any) -> Array:
    """Numbers of Student's t distribution with ``df`` degrees of freedom."""
    return call.choose("(),()->()", lambda df: StudentT(df=df), df)


@pathwise("scale", "concentration")
def weibull_min(call: Call, *, scale: Any, concentration: Any, shape: Any) -> Array:
    """Numbers scale e^(1 / concentration) of standard exponential e.

    A score wants a ``shape`` that holds all parameters: as in ``jax.random``, draws beyond it share one e.
    """

    def log_density(scale: Array, k: Array, y: Array) -> Array:
        from_scale = k * (y - jnp.log(scale))
        return jnp.log(k) + from_scale - y - jnp.exp(from_scale)

    x = call.draw()
    if x.shape != tuple(shape):
        raise ValueError(SHARED.format(shape=x.shape, given=shape))
    e = -jnp.log1p(-jax.random.uniform(call.same_key, x.shape, x.dtype))
    least = np.asarray(jnp.finfo(x.dtype).eps / 4, x.dtype)  # a uniform of 0 stands for all below a step
    logs = jnp.log(jnp.maximum(e, least)) / _like(concentration, x) + jnp.log(_like(scale, x))
    one = lambda scale, k: Density("Weibull", lambda y: log_density(scale, k, y))
    return call.choose("(),(),(),()->()", one, scale, concentration, x=x, scored=_agreeing(logs, x))


def _of_log_gamma(a: Array) -> Density:
    """The logarithm of a gamma draw."""
    return Density("Gamma", lambda y: a * y - jnp.exp(y) - gammaln(a))


def _log_gamma(key: Key, a: Any, x: Array) -> Array:
    """The logarithms of the gamma draws that a draw x of ``jax.random`` was made of."""
    return jax.random.loggamma(key, _like(a, x), x.shape, x.dtype)


def _agreeing(log_x: Array, x: Array) -> Array:
    """The logarithms of a draw, NaN where they are not: should ``jax.random`` make it of other numbers some day."""
    near = jnp.abs(jnp.exp(log_x) - x) <= 0.05 * x + np.asarray(8 * jnp.finfo(x.dtype).eps, x.dtype)
    return jnp.where(near, log_x, jnp.nan)


def _like(a: Any, x: Array) -> Array:
    """A parameter as the draw takes it: stopped, in its dtype and with its axes."""
    a = jax.lax.stop_gradient(jnp.asarray(a)).astype(x.dtype)
    return a.reshape((1,) * (x.ndim - a.ndim) + a.shape)
