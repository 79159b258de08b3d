"""Choices whose uniforms are given, by any estimator: for means over all cells of a program with few of them."""

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn.programs.sites import SITES

MIDDLE = 0.5


def choice(u, dist, estimator="coupled", v=MIDDLE, name="z"):
    """The draw of a uniform, compared, scored, or half of each."""
    u = jnp.asarray(u)
    x, other, rate = dist.alternative(u, jnp.full_like(u, v))
    if estimator != "score_function":
        weight = 0.5 if estimator == "both" else 1.0
        others = jax.tree.map(lambda y: jnp.expand_dims(y, rate.ndim), other)
        x = SITES["coupled"].beside(
            x, others, weight * rate[..., None], u, name=name, dist=dist.name, made_of_rates=True
        )
    if estimator != "coupled":
        weight = 0.5 if estimator == "both" else 1.0
        x = SITES["score_function"].choose(x, [weight * dist._log_probs(x)], name=name, dist=dist.name)
    return x


ESTIMATORS = ("score_function", "coupled", "both")


def cells(cuts):
    """Middles of the cells between the cuts of [0, 1], and their widths."""
    ends = np.unique(np.clip(np.concatenate([[0.0, 1.0], np.ravel(cuts)]), 0, 1))
    return (ends[1:] + ends[:-1]) / 2, np.diff(ends)


def quarter(logit, steepness=0.3):
    """A probability of a quarter, a half or three quarters, whichever is next, whose derivative is that of the logit."""
    p = jnp.clip(jnp.round(4 * jax.nn.sigmoid(jax.lax.stop_gradient(logit))), 1, 3) / 4
    return p + steepness * (logit - jax.lax.stop_gradient(logit))


def quarters(number):
    """All combinations of the middles of quarters."""
    return np.stack(np.meshgrid(*[(np.arange(4) + 0.5) / 4] * number, indexing="ij"), axis=-1).reshape(-1, number)
