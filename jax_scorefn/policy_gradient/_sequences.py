"""Sequence models: log-probabilities of tokens under a causal model, and the losses of a group of answers.

    token_log_probs    l_t = log p(x_t | x_0 .. x_{t-1}) where x_t is answer, 0 where it is prompt or padding
    rloo               - sum_i [ (R_i - b_i) box(sum_t l_it) + b_i ],  b_i = mean_{j != i} R_j

One sequence is one choice: all of its tokens share one reward. One without a token of the answer is no choice, and counts nowhere.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.lax import stop_gradient

from jax_scorefn._surrogate import magic_box, nan_where
from jax_scorefn.policy_gradient._arrays import compared, counted, real, wide
from jax_scorefn.policy_gradient._group_advantages import group_advantages
from jax_scorefn.policy_gradient._loss import Loss
from jax_scorefn.typing import Array

BAD_TOKENS = (
    "token_log_probs takes one sequence: logits of shape (T, K), tokens (T,) of integers, answer (T,) of booleans, segment_ids (T,) "
    "of integers or None; it got {given}. For a batch use jax.vmap."
)
NO_TOKEN = (
    "{name}: {what} (compiled code cannot raise, and has NaN there). Logits at position t are about the token at t + 1: to "
    "score the first token, put one that begins the text in front of it."
)
NOTHING_BEFORE = (
    "answer[{place}] is True, and the first token of a sequence has nothing before it that could give it a probability"
)
OUT_OF_RANGE = "the answer has a token {token} where the logits are of tokens 0 to {most}"
BAD_GROUP = "rloo takes one group: log_prob_t of shape (G, T), rewards (G,); it got {given}."


def token_log_probs(logits: Array, tokens: Array, answer: Array, *, segment_ids: Array | None = None) -> Array:
    """Log-probability of each token of the answer, given all tokens before it.

    Args:
      logits: of a causal model that read ``tokens``, shape (T, K): those at position t are about the token at t + 1.
      tokens: prompt, answer and padding, integers (T,).
      answer: booleans (T,): which tokens the model chose. The token that ends the answer is one of them; the first of all, which has
        nothing before it, is not.
      segment_ids: integers (T,) where several sequences are packed in a row (:func:`unpack`): the first token of each has nothing
        before it.

    Returns:
      Floats (T,): log p(x_t | x_0 .. x_{t-1}) where ``answer``, else 0, without a gradient. Pass ``answer`` on as ``mask``. The
      logarithms are made in float32 at least and returned in the dtype of the logits; give float32 where ratios are made of them.

    Raises:
      TypeError: for other shapes and dtypes.
      ValueError: where the first token is an answer, or one of the answer is no index of the logits. Under ``jax.jit`` these are NaN.

    Bias: none; derivatives of every order in the logits.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> answer = jnp.array([False, False, True, True])
      >>> print(sf.policy_gradient.token_log_probs(jnp.zeros((4, 2)), jnp.array([0, 1, 1, 0]), answer))
      [ 0.         0.        -0.6931472 -0.6931472]
    """
    logits = real("token_log_probs", "logits", logits)
    tokens, answer, segment_ids = sequence(BAD_TOKENS, logits.ndim == 2, logits, tokens, answer, segment_ids)
    if logits.shape[0] == 0:
        return jnp.zeros(0, logits.dtype)
    none = without_probability("token_log_probs", tokens, answer, segment_ids, logits.shape[1])
    tokens, answer = jnp.asarray(tokens), jnp.asarray(answer)
    # what a masked position predicts is never looked at, so nothing that is wrong there comes back as 0 times infinity
    told = jnp.where(answer[1:, None], logits[:-1], jnp.zeros((), logits.dtype)).astype(wide([logits]))
    index = jnp.where(answer & ~none, tokens, 0)[1:, None]
    log_probs = jnp.take_along_axis(jax.nn.log_softmax(told), index, axis=1)[:, 0]
    log_probs = jnp.concatenate([jnp.zeros(1, log_probs.dtype), log_probs])
    log_probs = jnp.where(answer, log_probs, 0.0)
    return jnp.where(none, stop_gradient(nan_where(none, log_probs)), log_probs).astype(logits.dtype)


def sequence(message: str, good: bool, first: Array, tokens: Any, answer: Any, segment_ids: Any, *more: Array) -> Any:
    """Tokens, answer and segments, one for each row of ``first``; NumPy stays NumPy, since its numbers can be looked at."""
    row: list[Any] = [x if x is None or hasattr(x, "dtype") else np.asarray(x) for x in (tokens, answer, segment_ids)]
    there = [x for x in row if x is not None]
    whole = all(jnp.issubdtype(x.dtype, jnp.integer) for x in row[::2] if x is not None)
    if not (good and whole and row[1].dtype == jnp.bool_ and all(x.shape == first.shape[:1] for x in there)):
        given = ", ".join(f"{x.dtype}{list(x.shape)}" for x in (first, *more, *there))
        raise TypeError(message.format(given=given))
    return row


def without_probability(name: str, tokens: Any, answer: Any, segment_ids: Any, num_tokens: int) -> Array:
    """Tokens of the answer that nothing gives a probability, booleans (T,); an error where that can be seen.

    It is looked for in what was given, before jit made a tracer of it.
    """
    if not isinstance(answer, Tracer):
        chosen = np.asarray(answer)
        begins = np.arange(len(chosen)) == 0
        if not isinstance(segment_ids, Tracer | type(None)):
            begins |= np.asarray(segment_ids) != np.roll(np.asarray(segment_ids), 1)
        if np.any(chosen & begins):
            raise ValueError(
                NO_TOKEN.format(name=name, what=NOTHING_BEFORE.format(place=int(np.argmax(chosen & begins))))
            )
        if not isinstance(tokens, Tracer):
            of_answer = np.asarray(tokens)[chosen]
            strange = of_answer[(of_answer < 0) | (of_answer >= num_tokens)]
            if strange.size:
                what = OUT_OF_RANGE.format(token=strange[0], most=num_tokens - 1)
                raise ValueError(NO_TOKEN.format(name=name, what=what))
    tokens, answer = jnp.asarray(tokens), jnp.asarray(answer)
    begins = jnp.arange(tokens.shape[0]) == 0
    if segment_ids is not None:
        ids = compared(segment_ids)
        begins = begins | (ids != jnp.roll(ids, 1))
    return answer & (begins | (tokens < 0) | (tokens >= num_tokens))


def rloo(log_prob_t: Array, rewards: Array, *, mask: Array | None = None) -> Loss:
    """A group of answers to one question, each against the mean reward of the others.

    Args:
      log_prob_t: log-probability of each token of each answer, shape (G, T), differentiable in the parameters.
      rewards: one for each answer, shape (G,). Where they depend on the parameters (a penalty on the divergence from a reference) that
        derivative is kept.
      mask: booleans (G, T): which positions are answer. An answer without any is not there: neither it nor its reward counts.

    Returns:
      :class:`Loss`: minus the sum of the rewards, with the derivatives of their expectation, and how many answers there are.

    Raises:
      TypeError: for other shapes, and a mask that is not of booleans.
      ValueError: for a group of one.

    Bias: none, for derivatives of every order.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> loss = lambda l: sf.policy_gradient.rloo(l, jnp.array([1.0, 0.0])).sum
      >>> print(loss(jnp.zeros((2, 3))), jax.grad(loss)(jnp.zeros((2, 3)))[:, 0])
      -1.0 [-1.  1.]

    References: kool2019, ahmadian2024.
    """
    l, r = real("rloo", "log_prob_t", log_prob_t), real("rloo", "rewards", rewards)
    if l.ndim != 2 or r.shape != l.shape[:1]:
        raise TypeError(BAD_GROUP.format(given=f"{list(l.shape)}, {list(r.shape)}"))
    mask = counted("rloo", l, mask)
    dtype, there = wide([l, r]), jnp.any(mask, axis=1)
    l, r = jnp.where(mask, l.astype(dtype), 0.0), jnp.where(there, r.astype(dtype), 0.0)
    advantages = group_advantages(r, group_axis=0, mask=there)
    # (R - b) box + b = R + (R - b)(box - 1); R keeps a derivative of its own, and what multiplies the box too
    gains = advantages + r - stop_gradient(r)
    value = r + gains * (magic_box(jnp.sum(l, axis=1)) - 1)
    return Loss(-jnp.sum(jnp.where(there, value, 0.0)), jnp.sum(there, dtype=jnp.int32).astype(dtype))
