"""Entropy and divergence as terms of the objective, with the derivative that the term has.

    kl_loss         KL(pi || ref) = E[ sum_t (l_t - l_ref,t) ]         l_t = log pi(a_t | s_t)
    entropy_loss    - H(pi)       = E[ sum_t l_t ]
    entropy         H(p)          = - sum_k p_k log p_k                of one choice, in closed form

The first two are expected values of something that depends on the parameters in two ways: through what is drawn, and as it stands. The
second has mean 0 (it is the mean score), the first is what counts: every action is charged with the terms that come after it, as
with any cost. Put into a loss as it stands, l_t - l_ref,t has expected derivative 0: it does nothing at all but make noise.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn.policy_gradient._arrays import real, trajectory, wide
from jax_scorefn.policy_gradient._episodes import episodes
from jax_scorefn.policy_gradient._loss import Loss
from jax_scorefn.policy_gradient._trajectory import reward_to_go
from jax_scorefn.typing import Array

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
    gain = episodes("entropy_loss", l, mask).chosen(-l)
    return reward_to_go(l, gain, terminated=terminated, mask=mask)


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
