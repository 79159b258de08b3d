"""Draws and what lies between them, of one and the same noise.

    z        =  log p + g,   g Gumbel                     argmax z is a draw b; softmax(z / lambda) is soft
    z given b:   z_b = -log(-log v_b),   z_j = -log( -log v_j / p_j - log v_b )                   (Tucker et al. 2017)

All of these are differentiable in log p, with the noise held. Options of probability 0 get z = -inf, and derivatives of 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn._surrogate import nan_with
from jax_scorefn._trees import stop
from jax_scorefn.distributions import CategoricalView
from jax_scorefn.estimators._call import Answer, Call
from jax_scorefn.estimators._choices import in_a_row, in_blocks, one_hot
from jax_scorefn.typing import Array

BAD_TEMPERATURE = "temperature is a number above 0, or an array that holds one, not {given!r}."


def exponentials(u: Array) -> Array:
    """Standard exponentials from uniforms in [0, 1), never 0 and never infinite."""
    return -jnp.log(u + jnp.finfo(u.dtype).eps / 2)


def gumbels(u: Array) -> Array:
    """Standard Gumbels from uniforms in [0, 1)."""
    return -jnp.log(exponentials(u))


def perturbed(log_probs: Array, u: Array) -> Array:
    """z, whose largest entry in each row is a draw."""
    return log_probs + gumbels(u)


def perturbed_given(log_probs: Array, hot: Array, v: Array) -> Array:
    """Z given the draw, whose rows are ``hot``."""
    log_e = jnp.log(exponentials(v))
    top = jnp.sum(jnp.where(hot > 0, log_e, 0), axis=-1, keepdims=True)
    possible = log_probs > -jnp.inf
    others = jnp.logaddexp(log_e - jnp.where(possible, log_probs, 0), jnp.broadcast_to(top, log_e.shape))
    return jnp.where(hot > 0, -top, jnp.where(possible, -others, -jnp.inf))


def softened(z: Array, temperature: Array | float) -> Array:
    """softmax(z / temperature)."""
    if _checks.denies(lambda x: x > 0, temperature):
        raise ValueError(BAD_TEMPERATURE.format(given=temperature))
    return jax.nn.softmax(z / jnp.asarray(temperature, z.dtype), axis=-1)


@dataclasses.dataclass(frozen=True)
class Relaxation:
    """A distribution's choices with uniforms for them.

    Attributes:
      choices: the distribution's.
      copies: number of uniforms for each option, for the noise and for what is drawn given the choice.
    """

    choices: CategoricalView
    copies: int

    @property
    def _shapes(self) -> list[tuple[int, ...]]:
        return [(self.copies, *block.shape) for block in self.choices.log_probs]

    def rows(self, call: Call) -> Callable[[Array], Array]:
        """``index -> uniforms``, all that a draw needs in a row."""
        return call.uniforms((in_blocks(self._shapes)[0],), self.choices.log_probs[0].dtype)

    def split(self, row: Array) -> list[Array]:
        """Uniforms ``(copies, n, K)`` for each block."""
        return in_blocks(self._shapes)[1](row)

    def hot(self, uniforms: Sequence[Array]) -> list[Array]:
        """The draw, as rows with a 1."""
        pairs = zip(self.choices.log_probs, uniforms, strict=True)
        return [one_hot(jnp.argmax(perturbed(stop(p), u[0]), axis=-1), p) for p, u in pairs]


def path_estimate(soften: Callable[[Array, Array, Array, Array], Array], copies: int, f: Any, call: Call) -> Answer:
    """Value of an estimator that differentiates f along a path through what lies between the draws.

    ``soften(log_probs (n, K), probs (n, K), hot (n, K), uniforms (copies, n, K))`` is where f is asked, with its path.
    """
    choices = call.dist.choices()
    relaxation, relax = Relaxation(choices, copies), cast(Callable[..., Any], choices.relax)

    def one(row: Array, _: None) -> Any:
        uniforms = relaxation.split(row)
        hot = relaxation.hot(uniforms)
        blocks = zip(choices.log_probs, choices.probs, hot, uniforms, strict=True)
        value = nan_with(
            _checks.value(f(x := relax([soften(*block) for block in blocks]))), in_a_row(choices.log_probs)
        )
        return value, call.kept(relax(hot)), x if call.reports else None

    values, kept, asked = call.map(one, relaxation.rows(call))
    return call.answer(jnp.mean(values, axis=0), values, kept and (asked, kept[1]))
