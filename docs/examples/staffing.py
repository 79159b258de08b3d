# %% [markdown]
# # Staffing a queue
#
# People come to a counter all day, more of them at noon. Whoever is not served waits on. How many clerks should there be in each hour, if an
# hour of waiting costs 1 and an hour of a clerk costs 5?
#
# The day is a simulation with random numbers of people: no derivative passes through them. `sf.sample` makes each of them a choice, and
# `sf.expectation` charges each hour's choice with the costs from that hour on, which it reads off the program.
#
# As a script: `pip install "jax_scorefn[training]" matplotlib`, then `python staffing.py`.

# %%
import sys

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import jax_scorefn as sf

HOURS = 24
demand = 4.0 + 16.0 * jnp.exp(-((jnp.arange(HOURS) - 12.0) ** 2) / 18.0)  # people in an hour, on average
A_CLERK_SERVES = 4.0


def simulate(params, key):
    """How many wait at the end of each hour, and what the hour costs."""

    def hour(waiting, inputs):
        k, come, clerks = inputs
        arrive, serve = jax.random.split(k)
        waiting = waiting + sf.sample(arrive, sf.Poisson(rate=come), name="arrivals")
        waiting = jnp.maximum(waiting - sf.sample(serve, sf.Poisson(rate=A_CLERK_SERVES * clerks), name="served"), 0.0)
        return waiting, (waiting, waiting + 5.0 * clerks)

    hours = (jax.random.split(key, HOURS), demand, jax.nn.softplus(params))
    return jax.lax.scan(hour, 0.0, hours)[1]


def day(params, key):
    return simulate(params, key)[1].sum()


# %% [markdown]
# From three clerks in every hour, by 400 updates of Adam, each from 32 days:

# %%
start = jnp.full(HOURS, 3.0)
loss = sf.expectation(day, num_samples=32)
fitted = sf.training.fit(loss, start, optax.adam(0.05), jax.random.key(0), 400, progress=sys.stderr.isatty())

keys = jax.random.split(jax.random.key(1), 2000)
days = jax.jit(jax.vmap(lambda params, key: simulate(params, key), (None, 0)))  # an ordinary function of a key
for name, params in [("three clerks all day", start), ("learned", fitted.params)]:
    waiting, costs = days(params, keys)
    cost = costs.sum(axis=1)
    print(f"{name:20s} {cost.mean():6.1f} +- {cost.std() / 2000**0.5:.1f} a day, {waiting.mean():5.2f} people waiting")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
left.bar(range(HOURS), demand / A_CLERK_SERVES, color="0.6", label="needed on average")
left.step(range(HOURS), jax.nn.softplus(fitted.params), where="mid", label="learned")
left.set(xlabel="hour", ylabel="clerks")
left.legend()
right.plot(fitted.history["loss"])
right.set(xlabel="update", ylabel="cost of a day")
plt.show()

# %% [markdown]
# More clerks than are needed on average, and more so around noon: a queue that has grown takes hours to go. `sf.explain` shows what each hour is
# charged with:

# %%
sf.explain(day)(start, jax.random.key(0))
