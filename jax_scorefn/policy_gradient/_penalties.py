"""Entropy and divergence as terms of the objective, with the derivative that the term has.

    kl_loss         KL(pi || ref) = E[ sum_t (l_t - l_ref,t) ]         l_t = log pi(a_t | s_t)
    entropy_loss    - H(pi)       = E[ sum_t l_t ]
    entropy         H(p)          = - sum_k p_k log p_k                of one choice, in closed form
    categorical_kl  KL(p || q)    = sum_k p_k (log p_k - log q_k)      likewise
    kl_penalty      k1 = log r,  k2 = k1^2 / 2,  k3 = 1/r - 1 + k1     of one token, r = pi / ref

The first two are expected values of something that depends on the parameters in two ways: through what is drawn, and as it stands. The
second has mean 0 (it is the mean score), the first is what counts: every action is charged with the terms that come after it, as
with any cost. Put into a loss as it stands, l_t - l_ref,t has expected derivative 0: it does nothing at all but make noise.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient

from jax_scorefn.policy_gradient._arrays import array, counted, flags, real, trajectory, wide
from jax_scorefn.policy_gradient._episodes import episodes
from jax_scorefn.policy_gradient._loss import Loss
from jax_scorefn.policy_gradient._trajectory import reward_to_go
from jax_scorefn.typing import Array

MOST = 20.0
"""Logarithm of the largest ratio."""
KINDS = ("k1", "k2", "k3")
UNKNOWN_KIND = "kl_penalty: kind={given!r}; it is one of {known}."
BAD_PENALTY = "kl_penalty takes arrays of one shape, one number for each token; it got {given}."
BAD_PAIR = (
    "categorical_kl takes two arrays of logits of one shape, with the categories along the last axis; it got {given}."
)
NO_CATEGORIES = (
    "entropy takes logits with the categories along the last axis, not a scalar; of a bit, the two logits [0, logit]."
)


def kl_loss(
    log_prob_t: Array, ref_log_prob_t: Array, *, terminated: Array | None = None, mask: Array | None = None
) -> Loss:
    """Divergence of the policy from a reference along one trajectory, with the gradient of its expectation.

    Args:
      log_prob_t: log-probability of each action under the policy, shape (T,), differentiable in the parameters.
      ref_log_prob_t: the same under the reference; never differentiated.
      terminated: booleans (T,): an episode ended with this step, where several are packed in a row.
      mask: booleans (T,); False marks steps that nobody chose, which change nothing.

    Returns:
      :class:`Loss`: an estimate of the divergence of the trajectories' distributions, to be multiplied by its coefficient and added
      to a loss; and the number of episodes with a choice, 1 for a row of one.

    Raises:
      TypeError: for arrays that are not one trajectory.

    Bias: none on-policy, for derivatives of every order.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> l, ref = jnp.array([-1.0, -2.0]), jnp.array([-1.5, -1.0])
      >>> loss = lambda l: sf.policy_gradient.kl_loss(l, ref).sum
      >>> print(loss(l), jax.grad(loss)(l))
      -0.5 [0.5 0. ]

    References: schulman2020.
    """
    l, ref = trajectory("kl_loss", log_prob_t=log_prob_t, ref_log_prob_t=ref_log_prob_t)
    flags("kl_loss", l, terminated=terminated)
    gain = episodes("kl_loss", l, mask).chosen(stop_gradient(ref) - l)  # what nobody chose costs nothing
    return reward_to_go(l, gain, terminated=terminated, mask=mask)


def entropy_loss(log_prob_t: Array, *, terminated: Array | None = None, mask: Array | None = None) -> Loss:
    """Minus the entropy of the policy's trajectories, with the gradient of its expectation: :func:`kl_loss` against a constant.

    Where the entropy of each step is known in closed form (:func:`entropy`), give that as a reward instead: less noise, the same mean.
    Arguments, errors and bias are those of :func:`kl_loss`.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> print(sf.policy_gradient.entropy_loss(jnp.array([-1.0, -2.0])).sum)
      -3.0
    """
    (l,) = trajectory("entropy_loss", log_prob_t=log_prob_t)
    flags("entropy_loss", l, terminated=terminated)
    gain = episodes("entropy_loss", l, mask).chosen(-l)
    return reward_to_go(l, gain, terminated=terminated, mask=mask)


def kl_penalty(
    log_prob_t: Array,
    ref_log_prob_t: Array,
    *,
    kind: str = "k3",
    old_log_prob_t: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """The divergence from a reference at each token, estimated from the one that was drawn; elementwise, of any shape.

    k1 = l - ref, k2 = k1^2 / 2, k3 = exp(-k1) - 1 + k1. In the rewards (stopped, times minus the coefficient) k1 has the gradient of
    the divergence of whole answers, as :func:`kl_loss`. Added to a loss, as tokens are, on-policy: k1 has the gradient 0, k2 that of
    KL(pi || ref) of each token, k3 that of KL(ref || pi). With ``old_log_prob_t`` each is weighed by exp(l - old), which is
    differentiated: then k1 and k3 have the gradient of KL(pi || ref) of each token, also off-policy, and k2 that of its own mean.

    Args:
      log_prob_t: log-probability of each token under the policy that learns.
      ref_log_prob_t: the same under the reference; never differentiated.
      kind: "k1", "k2" or "k3".
      old_log_prob_t: the same under the policy that sampled; never differentiated. None is no weight.
      mask: booleans; False marks what nobody chose, which is 0, whatever stands there.

    Returns:
      Floats of the same shape. Large ratios are bounded at exp(20), where the derivative ends.

    Raises:
      TypeError: for arrays of different shapes.
      ValueError: for an unknown kind.

    Bias: of the value: none with k1 and k3, on-policy or with the weight; k2 is biased. None of them sees that a token changes what
    comes after it.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> l, ref = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.25, 1.0]))
      >>> print(sf.policy_gradient.kl_penalty(l, ref))
      [0.19314718 0.30685282]

    References: schulman2020, tang2025 (gradients of each), deepseek2025 (the weighed k3).
    """
    if log_prob_t is None or ref_log_prob_t is None:
        raise TypeError(BAD_PENALTY.format(given="None"))
    l, ref = real("kl_penalty", "log_prob_t", log_prob_t), real("kl_penalty", "ref_log_prob_t", ref_log_prob_t)
    old = None if old_log_prob_t is None else real("kl_penalty", "old_log_prob_t", old_log_prob_t)
    given = [l, ref, *(() if old is None else (old,))]
    if kind not in KINDS:
        raise ValueError(UNKNOWN_KIND.format(given=kind, known=KINDS))
    mask = None if mask is None else array("kl_penalty", "mask", mask, "booleans")
    shapes = [x.shape for x in given] + ([] if mask is None else [np.shape(mask)])
    if len(set(shapes)) > 1:
        raise TypeError(BAD_PENALTY.format(given=", ".join(str(list(shape)) for shape in shapes)))
    there = counted("kl_penalty", l, mask)
    dtype = wide(given)
    now = l.astype(dtype)  # cast in one place: its slopes are added up wide
    against = lambda other: jnp.where(there, now - stop_gradient(other).astype(dtype), 0.0)
    k1 = against(ref)
    least = jnp.maximum(k1, -MOST)
    term = {"k1": k1, "k2": k1**2 / 2, "k3": jnp.expm1(-least) + least}[kind]
    if old is not None:
        ahead = against(old)
        weight = jnp.exp(jnp.minimum(ahead, MOST))
        if (
            kind == "k3"
        ):  # weight exp(-k1) is exp(ref - old), without a derivative; written out, the two of it cancel in float32
            slope = weight * (k1 - 1)
            term = stop_gradient(weight * term) + (slope - stop_gradient(slope))
        else:
            term = weight * term
        term = jnp.where(ahead > MOST, stop_gradient(term), term)
    return term.astype(l.dtype)


def categorical_kl(logits: Array, ref_logits: Array) -> Array:
    """KL(p || q) of two choices among categories, summed over all of them, with finite derivatives where some p_k is 0.

    Of one token there is no noise left; that a token changes what comes after it, it does not see (:func:`kl_loss` does).

    Args:
      logits: of p, of any shape, with the categories along the last axis. Minus infinity is a category that does not exist.
      ref_logits: of q, of the same shape; never differentiated.

    Returns:
      Divergences in nats, of the shape without the last axis; infinite where q has no category that p has.

    Raises:
      TypeError: for logits that are not real, or of different shapes.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> print(sf.policy_gradient.categorical_kl(jnp.zeros(2), jnp.log(jnp.array([0.25, 0.75]))).round(4))
      0.1438
    """
    x, ref = real("categorical_kl", "logits", logits), real("categorical_kl", "ref_logits", ref_logits)
    if x.ndim == 0 or x.shape != ref.shape:
        raise TypeError(BAD_PAIR.format(given=f"{list(x.shape)}, {list(ref.shape)}"))
    dtype = wide([x, ref])
    log_p = jax.nn.log_softmax(x.astype(dtype), axis=-1)
    log_q = jax.nn.log_softmax(stop_gradient(ref).astype(dtype), axis=-1)
    p = jnp.exp(log_p)
    return jnp.sum(p * jnp.where(p == 0, 0.0, log_p - jnp.where(p == 0, 0.0, log_q)), axis=-1).astype(x.dtype)


def entropy(logits: Array) -> Array:
    """Entropy of a choice among categories, - sum_k p_k log p_k, with finite derivatives where some p_k is 0.

    A logit of minus infinity, as :func:`legal_logits` puts it, is a category that does not exist: it adds nothing, and its derivative
    is 0. (Written out, 0 times minus infinity is NaN there, in the value or in the derivative.)

    Args:
      logits: of any shape, with the categories along the last axis.

    Returns:
      Entropies in nats, of the shape without the last axis. NaN where no category is left.

    Raises:
      TypeError: for logits that are not real, or have no axis.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> logits = sf.policy_gradient.legal_logits(jnp.array([1.0, 1.0, 5.0]), jnp.array([True, True, False]))
      >>> print(sf.policy_gradient.entropy(logits), jax.grad(sf.policy_gradient.entropy)(logits))
      0.6931472 [0. 0. 0.]
    """
    x = real("entropy", "logits", logits)
    if x.ndim == 0:
        raise TypeError(NO_CATEGORIES)
    log_p = jax.nn.log_softmax(x.astype(wide([x])), axis=-1)
    p = jnp.exp(log_p)
    h = -jnp.sum(p * jnp.where(p == 0, 0.0, log_p), axis=-1)
    return h.astype(x.dtype)
