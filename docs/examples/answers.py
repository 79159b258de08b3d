# %% [markdown]
# # Answers that close the brackets
#
# A small language model goes on from a few brackets, such as `(()(`. It is paid 1 if its answer, which it ends itself, closes them
# all. There are several right answers to each prompt, and it should not lose its variety by saying one of them for ever.
#
# A token has no derivative in the weights that it was drawn by, so `jax.grad` of the reward has nothing to say. `sf.Autoregressive`
# makes a distribution of answers out of the model, `sf.policy_gradient.rloo` compares answers to one prompt with each other, and
# `kl_loss` keeps the model near its start.
#
# As a script: `pip install "jax_scorefn[training]" flax matplotlib`, then `python answers.py`.

# %%
import sys

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax
from flax import nnx

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg

TOKENS, END, OPEN, CLOSE = " ()", 0, 1, 2
LENGTH, HIDDEN, BETA = 6, 32, 0.2
texts = ["(", "((", "()(", "(()", "(((", "(()(", "()((", "((()"]
prompts = jnp.array([[TOKENS.index(token) for token in text.rjust(5)] for text in texts])


class Model(nnx.Module):
    def __init__(self, rngs):
        self.cell = nnx.GRUCell(3, HIDDEN, rngs=rngs)
        self.head = nnx.Linear(HIDDEN, 3, rngs=rngs, bias_init=lambda *_: jnp.array([-1.5, 0.0, 0.0]))  # seldom ends


graph, start = nnx.split(Model(nnx.Rngs(0)))


def read(params, state, token):
    """One token, and the logits of the next."""
    model = nnx.merge(graph, params)
    state, hidden = model.cell(state, jax.nn.one_hot(token, 3))
    return state, model.head(hidden)


def answers(params, prompt):
    """The distribution of the answers to a prompt."""
    state = jax.lax.scan(lambda state, token: read(params, state, token), jnp.zeros(HIDDEN), prompt[:-1])[0]
    return sf.Autoregressive(step=read, params=params, carry=state, start=prompt[-1], length=LENGTH, end_token=END)


def reward(prompt, answer):
    """1 if all is closed, nothing that was not open, and the answer ends."""
    text = jnp.concatenate([prompt, answer])
    depth = jnp.cumsum(jnp.where(text == OPEN, 1, 0) - jnp.where(text == CLOSE, 1, 0))
    return ((depth >= 0).all() & (depth[-1] == 0) & (answer[-1] == END)).astype(float)


# %% [markdown]
# Sixteen answers to each of the eight prompts are drawn with the weights stopped, and scored again. Each is compared with the other
# fifteen. Once without a penalty, and once with 0.2 times the divergence from the start:


# %%
def losses(params, prompt, key):
    drawn = jax.vmap(answers(jax.lax.stop_gradient(params), prompt).sample)(jax.random.split(key, 16))
    log_probs, before = (jax.vmap(answers(p, prompt).log_probs)(drawn) for p in (params, start))  # 0 behind the end
    return pg.rloo(log_probs, jax.vmap(reward, (None, 0))(prompt, drawn)), jax.vmap(pg.kl_loss)(log_probs, before)


def train(beta):
    def loss(params, key):
        group, kl = jax.vmap(losses, (None, 0, 0))(params, prompts, jax.random.split(key, len(prompts)))
        return pg.mean_loss(group) + beta * pg.mean_loss(kl), {"reward": -pg.mean_loss(group)}

    options = {"has_aux": True, "progress": sys.stderr.isatty(), "show": "reward"}
    return sf.training.fit(loss, start, optax.adam(0.01), jax.random.key(1), 300, **options)


free, kept = train(0.0), train(BETA)

# %% [markdown]
# There are 3^6 answers, so `sf.exact` can list them all. The best that reward - 0.2 KL can be is known too: each answer has its
# probability at the start times exp(reward / 0.2), up to a constant.


# %%
@jax.jit
def listed(params):
    """All answers to each prompt, their rewards, and their probabilities."""

    def one(prompt):
        of_prompt = sf.family(lambda params: answers(params, prompt))
        return sf.exact(lambda answer: reward(prompt, answer), of_prompt, params, has_aux=True)[1]

    found = jax.vmap(one)(prompts)
    return found.samples, found.values, found.weights


every, rewards, before = listed(start)
best = before * jnp.exp(rewards / BETA)
probs = {"start": before, "no penalty": listed(free.params)[2], "penalty": listed(kept.params)[2]}
probs["best with penalty"] = best / best.sum(axis=1, keepdims=True)
for name, p in probs.items():
    paid, kl = (rewards * p).sum(axis=1).mean(), jax.scipy.special.rel_entr(p, before).sum(axis=1).mean()
    print(f"{name:18s} reward {paid:.3f}, KL {kl:.3f}, reward - {BETA} KL {paid - BETA * kl:.3f}")

# %%
right_answers = {"".join(TOKENS[t] for t in every[0, i]).strip(): i for i in jnp.flatnonzero(best[0] * rewards[0])}
names = sorted(right_answers, key=lambda text: (len(text), text))
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for i, (name, color) in enumerate([("no penalty", "C0"), ("penalty", "C1"), ("best with penalty", "0.6")]):
    heights = [probs[name][0, right_answers[text]] for text in names]
    right.bar(jnp.arange(len(names)) + 0.27 * (i - 1), heights, 0.27, color=color, label=name)
for name, found in [("no penalty", free), ("penalty", kept)]:
    left.plot(found.history["reward"], label=name)
left.set(xlabel="update", ylabel="reward")
right.set(title='right answers to "("', ylabel="probability")
right.set_xticks(range(len(names)), names)
right.legend()
plt.show()
