# %% [markdown]
# # Learning to learn a bandit
#
# A machine has three arms. The first pays 0.6. Of the other two one pays 1 and one nothing, and which is which changes from day to
# day. If one step of gradient ascent on the day's own pay is allowed, with which policy should the day begin? This is meta-learning
# (MAML). Its gradient goes through the gradient of an expected pay, so it needs a second derivative.
#
# An arm has no derivative in the logits that it was drawn by. The usual surrogate for `jax.grad`, pay times log-probability, has a
# right first derivative and a wrong second one, and nothing says so. `sf.score_function` is right at every order, so `jax.grad` may
# go through `jax.grad` of it.
#
# As a script: `pip install "jax_scorefn[training]" matplotlib`, then `python maml.py`.

# %%
import sys

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import jax_scorefn as sf

days = jnp.array([[0.6, 1.0, 0.0], [0.6, 0.0, 1.0]])  # what the arms pay
policy = sf.family(lambda logits: sf.Categorical(logits=logits))
start = jnp.zeros(3)


def after_a_step(estimate, logits, key):
    """The expected pay after one step on the pay of the same day, in the mean of the days."""

    def of_day(pays, key):
        key_inner, key_outer = jax.random.split(key)
        pay = lambda arm: pays[arm]
        step = jax.grad(estimate, argnums=2)(pay, policy, logits, key_inner)
        return estimate(pay, policy, logits + 10.0 * step, key_outer)

    return jax.vmap(of_day)(days, jax.random.split(key, len(days))).mean()


meta_gradient = jax.grad(after_a_step, argnums=1)


def exact(pay, policy, logits, key):
    return sf.exact(pay, policy, logits)


def score_function(pay, policy, logits, key):
    return sf.score_function(pay, policy, logits, key, num_samples=100)


def surrogate(pay, policy, logits, key, baseline=False):
    """What is often differentiated; with a baseline, less the mean pay of the other draws."""
    arms = jax.vmap(policy.at(jax.lax.stop_gradient(logits)).sample)(jax.random.split(key, 100))
    pays = jax.vmap(pay)(arms)
    others = (pays.sum() - pays) / 99
    return jnp.mean((pays - others if baseline else pays) * jax.vmap(policy.at(logits).log_prob)(arms))


estimates = {
    "exact": exact,
    "sf.score_function": score_function,
    "surrogate": surrogate,
    "surrogate, baseline": lambda *args: surrogate(*args, baseline=True),
}

# %% [markdown]
# The mean of 1000 meta-gradients at the start, beside the exact one. Each has 100 draws for each step and each pay: the pay after a
# noisy step is not that after an exact one, and many draws keep them close. The surrogate's gradient points the other way, and with a
# baseline it is too short.

# %%
means, errors = {}, {}
for name, estimate in estimates.items():
    run = jax.jit(jax.vmap(lambda key, estimate=estimate: meta_gradient(estimate, start, key)))
    g = run(jax.random.split(jax.random.key(1), 1000))
    means[name], errors[name] = g.mean(axis=0), g.std(axis=0) / 1000**0.5
    print(f"{name:20s}", " ".join(f"{m:8.4f} +- {e:.4f}" for m, e in zip(means[name], errors[name], strict=True)))

# %% [markdown]
# Gradient ascent with each of them, and the exact pay after an exact step on the way:

# %%
learned = {}
for name, estimate in estimates.items():

    def loss(logits, key, estimate=estimate):
        return -after_a_step(estimate, logits, key), {"pay": after_a_step(exact, logits, key)}

    options = {"has_aux": True, "progress": sys.stderr.isatty(), "show": "pay"}
    learned[name] = sf.training.fit(loss, start, optax.sgd(0.5), jax.random.key(2), 200, **options)
    print(
        f"{name:20s} pay {learned[name].history['pay'][-1]:.3f}, the day begins with {jax.nn.softmax(learned[name].params)}"
    )

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for i, (name, color) in enumerate(zip(estimates, ("0.6", "C0", "C1", "C2"), strict=True)):
    left.bar(jnp.arange(3) + 0.2 * i - 0.3, means[name], 0.2, yerr=errors[name], color=color, ecolor="0.5")
    right.plot(learned[name].history["pay"], color=color, label=name)
left.set(xlabel="logit", ylabel="meta-gradient", xticks=range(3))
right.set(xlabel="update", ylabel="pay after a step")
right.legend()
plt.show()
