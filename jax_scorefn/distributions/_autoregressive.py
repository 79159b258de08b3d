"""Sequences, one token after the other: p(x) = prod_t p(x_t | x_1 .. x_{t-1}), by a step function in a ``lax.scan``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_scorefn._trees import is_float
from jax_scorefn._wide import wide_dtype
from jax_scorefn.distributions._base import Distribution, distribution
from jax_scorefn.distributions._categorical import Categorical
from jax_scorefn.distributions._grids import Grid, combinations
from jax_scorefn.noise import uniform
from jax_scorefn.typing import Array, Capability, Key, PyTree

BAD_STEP = (
    "Autoregressive: step(params, carry, token) must return (carry, logits) with a carry of the structure, shapes and dtypes of the "
    "first one and logits of shape (K,); {what}."
)


@distribution(static=("step", "length", "end_token"))
class Autoregressive(Distribution):
    """A sequence of ``length`` tokens, each drawn from logits that a step function computes from what came before.

    Args:
      step: ``step(params, carry, token) -> (carry, logits)``: reads a token, and returns logits (K,) of the next one.
      params: of the step function, any pytree: the leaves that a gradient is wanted for.
      carry: any pytree: the state before the first step.
      length: number of tokens, a Python int.
      start: the token that the first step reads (a prompt's last token, say).
      end_token: a token after which nothing else comes: what follows it is the same token, with probability 1. None is none.

    A draw is int32 of shape ``(length,)``, one uniform for each token. Its log-probability is differentiable in ``params`` and
    ``carry``. The support, K^length sequences, is there for small ones.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> bigram = lambda table, carry, token: (carry, table[token])
      >>> dist = sf.Autoregressive(step=bigram, params=jnp.zeros((3, 3)), carry=(), length=4)
      >>> print(dist.sample(jax.random.key(0)).shape, f"{dist.log_prob(jnp.array([0, 1, 2, 0])):.4f}")
      (4,) -4.3944
    """

    step: Callable[[Any, Any, Array], tuple[Any, Array]]
    params: Any
    carry: Any
    length: int
    start: Any = 0
    end_token: int | None = None
    also = Capability.SUPPORT | Capability.FINITE

    def _next(self, params: Any, carry: PyTree, token: Array) -> tuple[PyTree, Array]:
        """One step, checked."""
        after, logits = self.step(params, carry, token)
        begun, found = (jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x)), tree) for tree in (carry, after))
        if jax.tree.structure(begun) != jax.tree.structure(found) or begun != found:
            raise TypeError(BAD_STEP.format(what=f"the carry was {begun} and became {found}"))
        if logits.ndim != 1 or not is_float(logits):
            raise TypeError(BAD_STEP.format(what=f"the logits are {logits.dtype}{list(logits.shape)}"))
        return after, logits

    def _begin(self) -> tuple[PyTree, Array, Array]:
        return self.carry, jnp.asarray(self.start, jnp.int32), jnp.zeros((), bool)

    def _scan(self, given: Array, choose: Callable[[Array, Array], Array]) -> tuple[Array, Array]:
        """Tokens and log-probabilities (length,); ``choose(given_t, logits)`` is the token of a step."""

        def one(state: tuple[PyTree, Array, Array], row: Array) -> Any:
            carry, token, ended = state
            carry, logits = self._next(self.params, carry, token)
            chosen = choose(row, logits)
            log_prob = Categorical(logits=logits).log_prob(chosen)
            if self.end_token is not None:  # after the end there is one thing that may come
                certain = jnp.where(chosen == self.end_token, 0.0, -jnp.inf).astype(log_prob.dtype)
                log_prob = jnp.where(ended, certain, log_prob)
                chosen = chosen if self._is_given(given) else jnp.where(ended, jnp.int32(self.end_token), chosen)
                log_prob = log_prob if self._is_given(given) else jnp.where(ended, 0.0, log_prob)
                ended = ended | (chosen == self.end_token)
            return (carry, chosen, ended), (chosen, log_prob)

        return jax.lax.scan(one, self._begin(), given)[1]

    @staticmethod
    def _is_given(given: Array) -> bool:
        return jnp.issubdtype(given.dtype, jnp.integer)

    def uniform_like(self) -> jax.ShapeDtypeStruct:
        """One uniform for each token."""
        return jax.ShapeDtypeStruct((self.length,), wide_dtype(self._logits_like().dtype))

    def _logits_like(self) -> jax.ShapeDtypeStruct:
        """Of one token."""
        return jax.eval_shape(lambda: self._next(self.params, self.carry, jnp.asarray(self.start, jnp.int32))[1])

    def from_uniform(self, u: Array) -> Array:
        return self.from_uniform_and_log_prob(u)[0]

    def mode(self) -> Array:
        """The greedy sequence, each token the likeliest after those before it: what is decoded in practice."""
        like = self.uniform_like()
        return self._scan(jnp.zeros(like.shape, like.dtype), lambda _, logits: Categorical(logits=logits).mode())[0]

    def from_uniform_and_log_prob(self, u: Array) -> tuple[Array, Array]:
        """The sequence that uniforms make and its log-probability, in one pass."""
        tokens, log_probs = self._scan(
            u, lambda u, logits: Categorical(logits=jax.lax.stop_gradient(logits)).from_uniform(u)
        )
        return tokens, jnp.sum(log_probs)

    def sample_and_log_prob(self, key: Key) -> tuple[Array, Array]:
        return self.from_uniform_and_log_prob(uniform(key, self.uniform_like()))

    def log_probs(self, x: Array) -> Array:
        """Log-probability of each token of a sequence given those before it, shape ``(length,)``."""
        x = jnp.broadcast_to(jnp.asarray(x), (self.length,))
        whole = x.astype(jnp.int32)
        log_probs = self._scan(whole, lambda token, logits: token)[1]
        return jnp.where(whole == x, log_probs, -jnp.inf) if is_float(x) else log_probs

    def log_prob(self, x: Array) -> Array:
        return jnp.sum(self.log_probs(x))

    def grid(self, *, num_nodes: int = 32, max_value: int | None = None, max_points: int = 2**16) -> Grid:
        """Every sequence."""
        del num_nodes, max_value
        index = combinations(self.name, [self._logits_like().shape[0]] * self.length, max_points)
        points = jnp.stack([jnp.asarray(i, jnp.int32) for i in index], axis=1)
        log_probs = jax.vmap(self.log_prob)(points)
        return Grid(points, log_probs, jnp.exp(log_probs))
