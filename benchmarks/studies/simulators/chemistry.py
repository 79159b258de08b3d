"""Kinetics: births and deaths, a gene that is switched, three genes that suppress each other."""

from __future__ import annotations

import jax
import jax.numpy as jnp

import jax_scorefn as sf
from benchmarks.studies.simulators._base import Simulator, simulator


@simulator("births and deaths")
def births() -> Simulator:
    """Uniformised: thirty candidate events in a unit of time."""

    def program(p, key):
        def step(x, k):
            birth, death = p[0] / 30, p[1] * x / 30
            event = sf.sample(k, sf.Categorical(probs=jnp.stack([birth, death, 1 - birth - death])), name="event")
            return x + jnp.array([1.0, -1.0, 0.0])[event], None

        return jax.lax.scan(step, jnp.float32(0.0), jax.random.split(key, 60))[0]

    about = "births at rate 6, deaths at rate 1 a head, 60 candidate events in two units of time; the last number"
    return Simulator(program, jnp.array([6.0, 1.0]), about, jnp.array([0.86920, -3.59149]))


@simulator("telegraph gene")
def telegraph() -> Simulator:
    """Uniformised. The moments of this chain are linear in each other, so its mean goes forwards exactly."""

    def program(p, key):
        on, off, made, lost = jnp.exp(p) / 20

        def step(state, k):
            gene, x = state
            rates = jnp.stack([(1 - gene) * on, gene * off, gene * made, x * lost])
            probs = jnp.concatenate([rates, 1 - jnp.sum(rates, keepdims=True)])
            event = sf.sample(k, sf.Categorical(probs=probs), name="event")
            gene = jnp.where(event == 0, 1.0, jnp.where(event == 1, 0.0, gene))
            return (gene, x + jnp.array([0.0, 0.0, 1.0, -1.0, 0.0])[event]), None

        return jax.lax.scan(step, (0.0, 0.0), jax.random.split(key, 100))[0][1]

    def exact(p):
        on, off, made, lost = jnp.exp(p) / 20
        step = lambda s, _: ((s[0] + (1 - s[0]) * on - s[0] * off, s[1] + s[0] * made - s[1] * lost), None)
        return jax.lax.scan(step, (0.0, 0.0), None, length=100)[0][1]

    params = jnp.log(jnp.array([0.6, 1.0, 5.0, 0.5]))
    about = (
        "a gene goes on and off, makes messages while it is on, and these decay; the last number, 100 candidate events"
    )
    return Simulator(program, params, about, jax.grad(exact)(params))


@simulator("repressilator")
def repressilator() -> Simulator:
    """Leaps of a tenth of a unit of time."""

    def program(p, key):
        strength, decay = jnp.exp(p)

        def step(x, k):
            first, second = jax.random.split(k)
            made = sf.sample(
                first, sf.Poisson(rate=0.1 * (0.5 + strength / (1 + (jnp.roll(x, 1) / 10) ** 2))), name="made"
            )
            lost = sf.sample(second, sf.Binomial(total_count=x, probs=1 - jnp.exp(-0.1 * decay)), name="lost")
            x = x + made.astype(float) - lost.astype(float)
            return x, x[0]

        return jnp.mean(jax.lax.scan(step, jnp.array([10.0, 0.0, 0.0]), jax.random.split(key, 40))[1])

    about = "three proteins, each of which suppresses the next, 40 leaps; the mean number of the first"
    return Simulator(program, jnp.log(jnp.array([20.0, 1.0])), about)
