"""A language model whose answers can all be listed: what a loss of a group of answers is the gradient of, to the last digit.

    l_t = log softmax( prompt_q + last_{x_{t-1}} + place_t )_{x_t}      an answer ends with the last token, or at its longest
    E loss = sum over prompts q, groups g of  p(g | q) loss(g)             p(g | q) = n! / prod_k m_k!  prod_i p(x_i | q)

A loss does not care in which order the members of a group come, so groups are multisets: 5,456 of three of 31 answers, where there are
29,791 in order. Nothing is shared with the losses themselves.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn.typing import Array, Params

BAD_SIZES = "AnswerModel: {name}={given} must be {least} or more."


class Answers(NamedTuple):
    """A group of answers to one prompt, as a loss sees it.

    Attributes:
      log_prob_t: log-probabilities of the tokens under the parameters that learn, shape (G, T); 0 where ``mask`` is False.
      logits_t: what they are made of, (G, T, K).
      tokens: integers (G, T).
      mask: booleans (G, T): what belongs to an answer.
      r_t: rewards (G, T).
      prompt: index of the prompt.
      answer: index of each answer in the list of all, (G,): ``model.log_probs(others)[prompt, answer]`` are those of other parameters.
    """

    log_prob_t: Array
    logits_t: Array
    tokens: Array
    mask: Array
    r_t: Array
    prompt: Array
    answer: Array


@dataclasses.dataclass(frozen=True)
class AnswerModel:
    """A causal model with a few tokens, the last of which ends an answer: with three tokens and length four, 31 answers.

    What a loss of language models is the gradient of can be said of it without noise: on the samples of its own parameters, of older
    ones, of a sampler that computes otherwise. Bias is the distance from the gradient of :meth:`expected_reward`.

    Attributes:
      vocabulary: number of tokens; the last one ends an answer.
      longest: tokens that an answer has at most. One of that length needs no end.
      prompts: number of questions.
      seed: of rewards and of :meth:`parameters`.

    Example: of a group of three, with and without the answer itself in the mean that is its baseline.
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> model = sf.testing.AnswerModel()
      >>> params, exact = model.parameters(), jax.grad(model.expected_reward)(model.parameters())
      >>> for baseline in ("leave_one_out", "mean"):
      ...     def loss(group):
      ...         returns = jnp.sum(group.r_t, axis=1)
      ...         a = sf.policy_gradient.group_advantages(returns, group_axis=0, baseline=baseline)
      ...         return -jnp.mean(a * jnp.sum(group.log_prob_t, axis=1))
      ...     _, gradient = model.expected(loss, params, group_size=3)
      ...     print(f"{-gradient['place'][0, 0] / exact['place'][0, 0]:.4f}")
      1.0000
      0.6667
    """

    vocabulary: int = 3
    longest: int = 4
    prompts: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("vocabulary", 2), ("longest", 1), ("prompts", 1)):
            if getattr(self, name) < least:
                raise ValueError(BAD_SIZES.format(name=name, given=getattr(self, name), least=least))

    @functools.cached_property
    def _listed(self) -> tuple[np.ndarray, np.ndarray]:
        end, rows = self.vocabulary - 1, []
        for length in range(1, self.longest + 1):
            last = range(self.vocabulary) if length == self.longest else (end,)
            for begin in itertools.product(range(end), repeat=length - 1):
                rows += [[*begin, token] for token in last]
        tokens = np.zeros((len(rows), self.longest), np.int32)
        mask = np.zeros(tokens.shape, bool)
        for i, row in enumerate(rows):
            tokens[i, : len(row)], mask[i, : len(row)] = row, True
        return tokens, mask

    @property
    def tokens(self) -> np.ndarray:
        """All answers, integers (A, T), short ones first; 0 behind their ends."""
        return self._listed[0]

    @property
    def mask(self) -> np.ndarray:
        """What of them is there, booleans (A, T)."""
        return self._listed[1]

    @functools.cached_property
    def rewards(self) -> np.ndarray:
        """Of each token of each answer to each prompt, (prompts, A, T): some on the way, and more at the end."""
        rng = np.random.default_rng([self.seed, 1])
        r_t = 0.3 * rng.normal(size=(self.prompts, *self.mask.shape)) * self.mask
        last = self.mask.sum(axis=1) - 1
        r_t[:, np.arange(len(last)), last] += rng.normal(size=(self.prompts, len(last)))
        return r_t

    def parameters(self, seed: int = 0, *, scale: float = 0.7) -> dict[str, Array]:
        """Some parameters, in the default dtype."""
        rng, k = np.random.default_rng([self.seed, 2, seed]), self.vocabulary
        sizes = {"prompt": self.prompts, "last": k + 1, "place": self.longest}
        return {name: jnp.asarray(scale * rng.normal(size=(size, k)), float) for name, size in sizes.items()}

    def logits(self, params: Params) -> Array:
        """What each token of each answer was chosen by, shape (prompts, A, T, K)."""
        start = np.full((len(self.tokens), 1), self.vocabulary, np.int32)
        before = np.concatenate([start, self.tokens[:, :-1]], axis=1)
        of_answers = params["last"][before] + params["place"][None]
        return params["prompt"][:, None, None] + of_answers[None]

    def log_probs(self, params: Params) -> Array:
        """Of each token of each answer to each prompt, (prompts, A, T); 0 behind the end of an answer."""
        return _of_tokens(self.logits(params), jnp.asarray(self.tokens), jnp.asarray(self.mask))

    def probs(self, params: Params) -> Array:
        """Of each answer to each prompt, (prompts, A): they sum to one."""
        return jnp.exp(jnp.sum(self.log_probs(params), axis=-1))

    def expected_reward(self, params: Params) -> Array:
        """The objective: the expected sum of the rewards of an answer, averaged over prompts. Differentiate it to any order."""
        return jnp.mean(jnp.sum(self.probs(params) * self.rewards.sum(axis=-1), axis=1))

    def groups(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """All groups of so many answers, integers (M, size), and in how many orders each comes, (M,)."""
        if size < 1:
            raise ValueError(BAD_SIZES.format(name="group_size", given=size, least=1))
        members = np.array(list(itertools.combinations_with_replacement(range(len(self.tokens)), size)), np.int32)
        new = np.concatenate([np.ones((len(members), 1), bool), members[:, 1:] != members[:, :-1]], axis=1)
        place = np.arange(size)
        repeat = (
            place - np.maximum.accumulate(np.where(new, place, 0), axis=1) + 1
        )  # 1, 2, .. m of equal ones, whose product is m!
        return members, math.factorial(size) / np.prod(repeat, axis=1)

    def expected(
        self, loss: Callable[[Answers], Any], params: Params, *, group_size: int, sampled_by: Params | None = None
    ) -> tuple[Array, Params]:
        """The mean of a loss over all groups of answers to all prompts, and of its gradient, as a training loop would see it.

        Args:
          loss: of :class:`Answers`, a scalar; whatever the order of the members.
          params: those that learn, in which the gradient is taken. How answers are drawn is not differentiated.
          group_size: answers to a prompt.
          sampled_by: the parameters that draw; None is ``params``.

        Returns:
          ``(value, gradient)``, in the precision of the parameters.

        Cost: a gradient of the loss for each of C(30 + n, n) groups and prompt, at once.
        """
        members, orders = self.groups(group_size)
        probs = jax.lax.stop_gradient(self.probs(params if sampled_by is None else sampled_by))
        logits, pull_back = jax.vjp(self.logits, params)
        tokens, mask, rewards = (jnp.asarray(x) for x in (self.tokens, self.mask, self.rewards.astype(logits.dtype)))

        def of_group(logits_t: Array, prompt: Array, answer: Array) -> Array:
            log_prob_t = _of_tokens(logits_t, tokens[answer], mask[answer])
            group = Answers(log_prob_t, logits_t, tokens[answer], mask[answer], rewards[prompt, answer], prompt, answer)
            return jnp.asarray(loss(group))

        def of_prompt(logits: Array, probs: Array, prompt: Array) -> tuple[Array, Array]:
            weights = jnp.asarray(orders, probs.dtype) * jnp.prod(probs[members], axis=1)
            each = jax.vmap(jax.value_and_grad(of_group), in_axes=(0, None, 0))
            values, slopes = each(logits[members], prompt, jnp.asarray(members))
            return weights @ values, jnp.zeros_like(logits).at[members].add(weights[:, None, None, None] * slopes)

        values, slopes = jax.vmap(of_prompt)(logits, probs, jnp.arange(self.prompts))
        return jnp.mean(values), pull_back(slopes / self.prompts)[0]


def _of_tokens(logits_t: Array, tokens: Array, mask: Array) -> Array:
    """Log-probabilities of the tokens, 0 where there is none."""
    index = jnp.broadcast_to(tokens, logits_t.shape[:-1])[..., None]
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits_t), index, axis=-1)[..., 0]
    return jnp.where(mask, chosen, jnp.zeros((), chosen.dtype))
