"""Control variates that see the noise behind a draw: the frame of REBAR and RELAX            (Grathwohl et al. 2018)

    grad  =  ( f(b) - c(z~) ) grad log p(b)  -  grad c(z~)  +  grad c(z),       z ~ p(z),  b = argmax z,  z~ ~ p(z | b)

c(z) and c(z~) have the same mean. z is differentiated along its path; so is z~, given b, and what that path misses is in the score
term. With several draws the bracket has its leave-one-out mean subtracted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jax_scorefn import _checks, baselines
from jax_scorefn._surrogate import magic_box, nan_with
from jax_scorefn._trees import along_draws
from jax_scorefn.distributions import CategoricalView
from jax_scorefn.estimators._call import Answer, Call
from jax_scorefn.estimators._choices import in_a_row
from jax_scorefn.estimators._relaxed import Relaxation, perturbed, perturbed_given
from jax_scorefn.typing import Array

CRITIC_SHAPE = (
    "The critic of {name} returned shape {given} where f returns {wanted}: it stands for f, so it has the shape of f."
)


def controlled_estimate(critic: Callable[[CategoricalView, list[Array]], Any], f: Any, call: Call) -> Answer:
    """Value. ``critic(choices, z)`` is c; what it is tuned by may be differentiated, through the gradient as well."""
    choices = call.dist.choices()
    relaxation = Relaxation(choices, 2)

    def one(row: Array, _: None) -> Any:
        uniforms = relaxation.split(row)
        hot = relaxation.hot(uniforms)
        x = choices.build([jnp.argmax(h, axis=-1).astype(jnp.int32) for h in hot])
        value = _checks.value(f(x))
        blocks = list(zip(choices.log_probs, hot, uniforms, strict=True))
        unconditional = _checks.value(critic(choices, [perturbed(p, u[0]) for p, _, u in blocks]))
        conditional = _checks.value(critic(choices, [perturbed_given(p, h, u[1]) for p, h, u in blocks]))
        if unconditional.shape != value.shape:
            message = CRITIC_SHAPE.format(name=call.record.name, given=unconditional.shape, wanted=value.shape)
            raise ValueError(message)
        log_prob = sum(jnp.sum(jnp.where(h > 0, p, 0)) for p, h, _ in blocks)
        pair = (unconditional.astype(value.dtype), conditional.astype(value.dtype))
        return value, *pair, log_prob, call.kept(x)

    values, unconditional, conditional, log_probs, kept = call.map(one, relaxation.rows(call))
    values = nan_with(values, in_a_row(choices.log_probs))
    rest = values - conditional
    # Not stopped: in the first derivative it cancels, and what the critic is tuned by is differentiated through it.
    baseline = baselines.resolve("auto", call.num_samples)(rest, 1)
    boxes = along_draws(magic_box(log_probs).astype(values.dtype), values)
    terms = (rest - baseline) * boxes + baseline + unconditional
    return call.answer(jnp.mean(terms, axis=0), values, kept, of=rest + unconditional)
