"""Entropy and divergence as terms of the objective, with the derivative that the term has.

    kl_loss         KL(pi || ref) = E[ sum_t (l_t - l_ref,t) ]         l_t = log pi(a_t | s_t)
    entropy_loss    - H(pi)       = E[ sum_t l_t ]

Both are expected values of something that depends on the parameters in two ways: through what is drawn, and as it stands. The
second has mean 0 (it is the mean score), the first is what counts: every action is charged with the terms that come after it, as
with any cost. Put into a loss as it stands, l_t - l_ref,t has expected derivative 0: it does nothing at all but make noise.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn.policy_gradient._losses import Loss, reward_to_go
from jax_scorefn.typing import Array


def kl_loss(log_prob_t: Array, ref_log_prob_t: Array, *, mask: Array | None = None) -> Loss:
    """Divergence of the policy from a reference along one trajectory, with the gradient of its expectation.

    Args:
      log_prob_t: log-probability of each action under the policy, shape (T,), differentiable in the parameters.
      ref_log_prob_t: the same under the reference; never differentiated.
      mask: booleans (T,); False marks padding, which changes nothing.

    Returns:
      :class:`Loss`: an estimate of the divergence of the trajectories' laws, to be multiplied by its coefficient and added to a
      loss; and 1.

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
    log_prob_t = jnp.asarray(log_prob_t)
    cost_t = log_prob_t - stop_gradient(jnp.asarray(ref_log_prob_t, log_prob_t.dtype))
    return reward_to_go(log_prob_t, -cost_t, mask=mask)


def entropy_loss(log_prob_t: Array, *, mask: Array | None = None) -> Loss:
    """Minus the entropy of the policy's trajectories, with the gradient of its expectation: :func:`kl_loss` against a constant.

    Where the entropy of each step is known in closed form, give that as a reward instead: less noise, the same mean. Arguments,
    errors and bias are those of :func:`kl_loss`.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> print(sf.policy_gradient.entropy_loss(jnp.array([-1.0, -2.0])).sum)
      -3.0
    """
    log_prob_t = jnp.asarray(log_prob_t)
    return reward_to_go(log_prob_t, -log_prob_t, mask=mask)
