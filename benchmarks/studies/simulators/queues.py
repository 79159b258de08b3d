"""Queues by uniformisation: candidate events at a fixed rate, each an arrival, a service, or none."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn as sf
from benchmarks.studies.simulators._base import Simulator, simulator

EVENTS = 60


@simulator("M/M/1 queue")
def single() -> Simulator:
    """The number waiting is a chain on the whole numbers, so that its distribution goes forwards exactly."""

    def program(log_rates, key):
        rates = jnp.exp(log_rates)

        def step(waiting, k):
            probs = jnp.stack([rates[0], rates[1], 3.0 - rates[0] - rates[1]]) / 3
            event = sf.sample(k, sf.Categorical(probs=probs), name="event")
            waiting = jnp.maximum(waiting + jnp.array([1.0, -1.0, 0.0])[event], 0)
            return waiting, waiting

        return jnp.mean(jax.lax.scan(step, 0.0, jax.random.split(key, EVENTS))[1])

    def exact(log_rates):
        up, down = jnp.exp(log_rates) / 3

        def step(masses, _):
            above = masses.at[0].set(0)
            masses = masses + up * (jnp.roll(masses, 1) - masses) + down * (jnp.roll(above, -1) - above)
            return masses, masses @ jnp.arange(EVENTS + 2.0)

        first = jnp.zeros(EVENTS + 2).at[0].set(1.0)
        return jnp.mean(jax.lax.scan(step, first, None, length=EVENTS)[1])

    params = jnp.log(jnp.array([0.9, 1.2]))
    about = (
        f"arrivals and services, {EVENTS} candidate events; the mean number waiting, in the logarithms of both rates"
    )
    return Simulator(program, params, about, jax.grad(exact)(params))


@simulator("three queues in a row")
def tandem() -> Simulator:
    """Who is served at one goes to the next."""

    def program(log_rates, key):
        rates = jnp.exp(log_rates)
        moves = jnp.array([[1.0, 0, 0], [-1, 1, 0], [0, -1, 1], [0, 0, -1], [0, 0, 0]])

        def step(waiting, k):
            probs = jnp.concatenate([rates, 5.0 - jnp.sum(rates, keepdims=True)]) / 5
            event = sf.sample(k, sf.Categorical(probs=probs), name="event")
            after = waiting + moves[event]
            waiting = jnp.where(jnp.any(after < 0), waiting, after)
            return waiting, jnp.sum(waiting)

        return jnp.mean(jax.lax.scan(step, jnp.zeros(3), jax.random.split(key, EVENTS))[1])

    about = f"an arrival rate and three of service, {EVENTS} candidate events; the mean number of people in the system"
    return Simulator(program, jnp.log(jnp.array([0.9, 1.2, 1.1, 1.3])), about)


@simulator("queue by counts")
def counts() -> Simulator:
    """What arrives and what could be served in each of fifty minutes."""

    def program(log_rates, key):
        def step(waiting, k):
            first, second = jax.random.split(k)
            came = sf.sample(first, sf.Poisson(rate=jnp.exp(log_rates[0])), name="came").astype(float)
            served = sf.sample(second, sf.Poisson(rate=jnp.exp(log_rates[1])), name="served").astype(float)
            waiting = jnp.maximum(waiting + came - served, 0)
            return waiting, waiting

        return jnp.sum(jax.lax.scan(step, 0.0, jax.random.split(key, 50))[1])

    return Simulator(
        program, jnp.log(jnp.array([2.0, 2.2])), "Poisson arrivals and services in 50 minutes; the sum of those waiting"
    )


@simulator("(s, S) inventory")
def inventory() -> Simulator:
    """A cost that jumps where an order is placed, and a state that then starts again."""

    def program(log_rate, key):
        def step(stock, k):
            demand = sf.sample(k, sf.Poisson(rate=jnp.exp(log_rate)), name="demand").astype(float)
            left = stock - demand
            ordered = left < 10
            cost = 32.0 * ordered + jnp.maximum(left, 0) + 5 * jnp.maximum(-left, 0)
            return jnp.where(ordered, 40.0, left), cost

        return jnp.sum(jax.lax.scan(step, 40.0, jax.random.split(key, 50))[1])

    return Simulator(
        program,
        jnp.float32(np.log(5.0)),
        "a store that orders up to 40 below 10, 50 days; costs of orders, stock and what is lacking",
    )
