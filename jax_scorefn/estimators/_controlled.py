"""Control variates that see the noise behind a draw: the frame of REBAR and RELAX            (Grathwohl et al. 2018)

    grad  =  ( f(b) - c(z~) ) grad log p(b)  -  grad c(z~)  +  grad c(z),       z ~ p(z),  b = argmax z,  z~ ~ p(z | b)

c(z) and c(z~) have the same mean. z is differentiated along its path; so is z~, given b, and what that path misses is in the score
term. With several draws the bracket has its leave-one-out mean subtracted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jax_scorefn import _checks, baselines, engine
from jax_scorefn._surrogate import magic_box, nan_with
from jax_scorefn._trees import along_draws, stop
from jax_scorefn.distributions._views import Choices
from jax_scorefn.estimators._choices import in_a_row
from jax_scorefn.estimators._relaxed import Relaxation, perturbed, perturbed_given
from jax_scorefn.estimators._statistics import mean_error
from jax_scorefn.typing import Array, Info

CRITIC_SHAPE = (
    "The critic of {name} returned shape {given} where f returns {wanted}: it stands for f, so it has the shape of f."
)


def controlled_estimate(
    name: str,
    critic: Callable[[Choices, list[Array]], Any],
    f: Any,
    law: Any,
    key: Any,
    num_samples: int,
    *,
    keep_samples: bool,
    **how: Any,
) -> Any:
    """Value and Info. ``critic(choices, z)`` is c; what it is tuned by may be differentiated, through the gradient as well."""
    num_draws = _checks.positive_int("num_samples", num_samples)
    _checks.key(name, key)
    choices = law.choices()
    relaxation = Relaxation(choices, 2)
    held = stop(law)

    def one(row: Array, _: None) -> Any:
        uniforms = relaxation.split(row)
        hot = relaxation.hot(uniforms)
        x = choices.build([jnp.argmax(h, axis=-1).astype(jnp.int32) for h in hot])
        value = _checks.value(f(x))
        blocks = list(zip(choices.log_probs, hot, uniforms, strict=True))
        unconditional = _checks.value(critic(choices, [perturbed(p, u[0]) for p, _, u in blocks]))
        conditional = _checks.value(critic(choices, [perturbed_given(p, h, u[1]) for p, h, u in blocks]))
        if unconditional.shape != value.shape:
            raise ValueError(CRITIC_SHAPE.format(name=name, given=unconditional.shape, wanted=value.shape))
        log_prob = sum(jnp.sum(jnp.where(h > 0, p, 0)) for p, h, _ in blocks)
        pair = (unconditional.astype(value.dtype), conditional.astype(value.dtype))
        return value, *pair, log_prob, (x, held.log_prob(x)) if keep_samples else None

    drawn = engine.map_draws(one, relaxation.rows(key, num_draws, how), num_draws, **how)
    values, unconditional, conditional, log_probs, kept = drawn
    values = nan_with(values, in_a_row(choices.log_probs))
    rest = values - conditional
    # Not stopped: in the first derivative it cancels, and what the critic is tuned by is differentiated through it.
    baseline = baselines.resolve("auto", num_draws)(rest, 1)
    boxes = along_draws(magic_box(log_probs).astype(values.dtype), values)
    terms = (rest - baseline) * boxes + baseline + unconditional

    def info() -> Info:
        samples, scored = kept
        return Info(samples, values, scored, jnp.ones_like(scored), mean_error(rest + unconditional))

    return jnp.mean(terms, axis=0), info
