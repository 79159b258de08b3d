# %% [markdown]
# # Holding back an epidemic
#
# A class of 30, two of them ill. Keeping people apart stops infections and has its price: somebody ill costs 1 a day, and giving up
# a share u of the contacts costs 5 u² a day. How much should be given up, and when?
#
# Who catches it is a random number of people, so `jax.grad` of the simulation does not see that fewer contacts infect fewer. `sf.lift`
# takes the simulation as it is, with its calls of `jax.random`, and `sf.expectation` differentiates its expected cost.
#
# As a script: `pip install "jax_scorefn[training]" matplotlib`, then `python epidemic.py`.

# %%
import sys

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from scipy.special import comb

import jax_scorefn as sf

PEOPLE, DAYS, PRICE = 30, 30, 5.0


def outbreak(fewer, key):
    """What it costs, if the share fewer[day, ill] of the contacts is given up."""

    def day(state, inputs):
        healthy, ill = state
        fewer, k = inputs
        infect, recover = jax.random.split(k)
        share = fewer[ill.astype(int)]
        infected = jax.random.binomial(infect, healthy, risk(share, ill))
        recovered = jax.random.binomial(recover, ill + infected, 0.2)
        return (healthy - infected, ill + infected - recovered), ill + PRICE * share**2

    return jax.lax.scan(day, (PEOPLE - 2.0, 2.0), (fewer, jax.random.split(key, DAYS)))[1].sum()


def risk(share, ill):
    return -jnp.expm1(-0.5 * (1 - share) * ill / PEOPLE)


# %% [markdown]
# A plan says beforehand what is given up on each day. A rule looks at how many are ill. Both start at one half, and are tuned side by
# side by 200 updates of Adam, each from 32 outbreaks.


# %%
def measures(params):
    """Both as shares [plan or rule, day, ill]."""
    plan, rule = (jax.nn.sigmoid(params[name]) for name in ("plan", "rule"))
    return jnp.stack(jnp.broadcast_arrays(plan[:, None], rule[None, :]))


def tuned(cost, rate, num_updates):
    loss = lambda params, key: jax.vmap(cost, (0, None))(measures(params), key).sum()
    start = {"plan": jnp.zeros(DAYS), "rule": jnp.zeros(PEOPLE + 1)}
    bar = sys.stderr.isatty()
    return measures(sf.training.fit(loss, start, optax.adam(rate), jax.random.key(0), num_updates, progress=bar).params)


found = tuned(sf.expectation(sf.lift(outbreak), num_samples=32), 0.1, 200)

# %% [markdown]
# So few people can be counted out. The probability of each state, so many healthy and so many ill, is carried from day to day. That
# gives the expected cost without noise, and its derivative, by plain `jax.grad`, gives the best plan and the best rule.

# %%
count = np.arange(PEOPLE + 1)
healthy, ill, infected = np.meshgrid(count, count, count, indexing="ij")


def binomial(p):
    """The probability of n out of N, for each p: (..., N, n)."""
    log_p, log_q = jnp.log(jnp.maximum(p, 1e-9))[..., None, None], jnp.log1p(-p)[..., None, None]
    return comb(count[:, None], count) * jnp.exp(count * log_p + (count[:, None] - count) * log_q)


@jax.jit
def exact(fewer, key=None):  # as a loss, it has no use for the key
    def day(prob, share):
        cost = (prob * (count + PRICE * share**2)).sum()
        moved = prob[..., None] * binomial(risk(share, count)).swapaxes(0, 1)  # by healthy, ill, infected
        prob = jnp.zeros_like(prob).at[healthy - infected, ill + infected].add(moved, mode="drop")
        return prob @ binomial(jnp.array(0.8)), cost  # so many of the ill stay ill

    start = jnp.zeros((PEOPLE + 1, PEOPLE + 1)).at[PEOPLE - 2, 2].set(1.0)
    return jax.lax.scan(day, start, fewer)[1].sum()


best = tuned(exact, 0.3, 50)
mixed = jnp.where(count > 5, best[1], found[1])
rows = {"nothing": 0 * mixed, "one half": 0 * mixed + 0.5, "learned plan": found[0], "best plan": best[0]}
rows |= {"learned rule": found[1], "the same, best above five ill": mixed, "best rule": best[1]}
for name, fewer in rows.items():
    print(f"{name:30s} {exact(fewer):.2f}")

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
for axis, name, x, at in [
    (axes[0], "plan", range(DAYS), (0, slice(None), 0)),
    (axes[1], "rule", range(13), (1, 0, slice(13))),
]:
    axis.plot(x, best[at], color="0.6", label=f"the best {name}")
    axis.plot(x, found[at], "o", markersize=4, label="by the gradient of outbreaks")
    axis.set(xlabel={"plan": "day", "rule": "ill"}[name])
    axis.legend()
axes[0].set(ylabel="contacts given up")
plt.show()

# %% [markdown]
# Act early, whichever way; a rule saves more, since it stops when nobody is ill. What it says of more than five ill is hardly
# learned, and hardly matters: see the last three lines.
