"""Sequence models: log-probabilities of tokens under a causal model, and the losses of a group of answers.

    token_log_probs    l_t = log p(x_t | x_0 .. x_{t-1}) where x_t is answer, 0 where it is prompt or padding
    rloo               - sum_i [ (R_i - b_i) box(sum_t l_it) + b_i ],  b_i = mean_{j != i} R_j

One sequence is one choice: all of its tokens share one reward.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn._surrogate import magic_box
from jax_scorefn.policy_gradient._groups import group_advantages
from jax_scorefn.policy_gradient._losses import Loss
from jax_scorefn.typing import Array

BAD_TOKENS = (
    "token_log_probs takes one sequence: logits of shape (T, K), tokens (T,) of integers and answer (T,) of booleans; it got {given}. "
    "For a batch use jax.vmap."
)
BAD_GROUP = "rloo takes one group: log_prob_t of shape (G, T), rewards (G,), mask (G, T); it got {given}."


def token_log_probs(logits: Array, tokens: Array, answer: Array) -> Array:
    """Log-probability of each token of the answer, given all tokens before it.

    Args:
      logits: of a causal model that read ``tokens``, shape (T, K): those at position t are about the token at t + 1.
      tokens: prompt, answer and padding, integers (T,).
      answer: booleans (T,): which tokens the model chose. The token that ends the answer is one of them; the first of all, which has
        nothing before it, is not.

    Returns:
      Floats (T,): log p(x_t | x_0 .. x_{t-1}) where ``answer``, else 0, without a gradient. Pass ``answer`` on as ``mask``.

    Raises:
      TypeError: for other shapes and dtypes.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> answer = jnp.array([False, False, True, True])
      >>> print(sf.policy_gradient.token_log_probs(jnp.zeros((4, 2)), jnp.array([0, 1, 1, 0]), answer))
      [ 0.         0.        -0.6931472 -0.6931472]
    """
    logits, tokens, answer = map(jnp.asarray, (logits, tokens, answer))
    good = logits.ndim == 2 and tokens.shape == answer.shape == logits.shape[:1] and answer.dtype == jnp.bool_
    if not good or not jnp.issubdtype(tokens.dtype, jnp.integer):
        given = ", ".join(f"{x.dtype}{list(x.shape)}" for x in (logits, tokens, answer))
        raise TypeError(BAD_TOKENS.format(given=given))
    # what a masked position predicts is never looked at, so nothing that is wrong there comes back as 0 times infinity
    told = jnp.where(answer[1:, None], logits[:-1], jnp.zeros((), logits.dtype))
    log_probs = jnp.take_along_axis(jax.nn.log_softmax(told), jnp.where(answer[1:], tokens[1:], 0)[:, None], axis=1)
    return jnp.concatenate([jnp.zeros(1, logits.dtype), jnp.where(answer[1:], log_probs[:, 0], 0.0)])


def rloo(log_prob_t: Array, rewards: Array, *, mask: Array | None = None) -> Loss:
    """A group of answers to one question, each against the mean reward of the others.

    Args:
      log_prob_t: log-probability of each token of each answer, shape (G, T), differentiable in the parameters.
      rewards: one for each answer, shape (G,). Where they depend on the parameters (a penalty on the divergence from a reference) that
        derivative is kept.
      mask: booleans (G, T): which positions are answer.

    Returns:
      :class:`Loss`: minus the sum of the rewards, with the derivatives of their expectation, and G.

    Raises:
      TypeError: for other shapes.
      ValueError: for a group of one.

    Bias: none, for derivatives of every order.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> loss = lambda l: sf.policy_gradient.rloo(l, jnp.array([1.0, 0.0])).sum
      >>> print(loss(jnp.zeros((2, 3))), jax.grad(loss)(jnp.zeros((2, 3)))[:, 0])
      -1.0 [-1.  1.]

    References: kool2019, ahmadian2024.
    """
    log_prob_t, rewards = jnp.asarray(log_prob_t), jnp.asarray(rewards)
    rewards = rewards if jnp.issubdtype(rewards.dtype, jnp.floating) else rewards.astype(log_prob_t.dtype)
    mask = jnp.ones(log_prob_t.shape, bool) if mask is None else jnp.asarray(mask)
    if log_prob_t.ndim != 2 or rewards.shape != log_prob_t.shape[:1] or mask.shape != log_prob_t.shape:
        raise TypeError(BAD_GROUP.format(given=", ".join(str(list(x.shape)) for x in (log_prob_t, rewards, mask))))
    advantages = group_advantages(rewards, group_axis=0)
    scores = jnp.sum(jnp.where(mask, log_prob_t, 0.0), axis=1)
    # (R - b) box + b = R + (R - b)(box - 1); R keeps a derivative of its own, and what multiplies the box too
    gains = advantages + rewards - stop_gradient(rewards)
    value = rewards + gains * (magic_box(scores).astype(rewards.dtype) - 1)
    return Loss(-jnp.sum(value), jnp.asarray(rewards.shape[0], rewards.dtype))
