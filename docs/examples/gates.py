# %% [markdown]
# # Which inputs are needed
#
# Ten measurements of a cell tell whether a tumour is benign, and four more columns are noise. Which should a logistic regression keep,
# if each one kept costs log(n) / 2n, the price of the Bayesian information criterion?
#
# An input is kept or not, so there is no derivative. A gate in front of each input is open with some probability: `sf.disarm`
# differentiates the mean loss in these probabilities, and passes the ordinary gradient of the weights on, so that the gates and the
# regression train together. The mean number of open gates is a sum of probabilities, and needs no estimator.
#
# As a script: `pip install "jax_scorefn[training]" scikit-learn matplotlib`, then `python gates.py`.

# %%
import itertools
import sys

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_breast_cancer

import jax_scorefn as sf

data = load_breast_cancer()
n, NOISE = len(data.target), 4
x = np.hstack([data.data[:, :10], np.random.default_rng(0).normal(size=(n, NOISE))])
x = np.hstack([(x - x.mean(axis=0)) / x.std(axis=0), np.ones((n, 1))])  # the last column is the constant, always kept
names = [name.removeprefix("mean ") for name in data.feature_names[:10]] + [f"noise {i + 1}" for i in range(NOISE)]
inputs, price = len(names), np.log(n) / (2 * n)


def loss(weights, gates):
    logits = x @ (weights * jnp.append(gates, 1.0))
    return jnp.mean(jnp.logaddexp(0.0, logits) - data.target * logits)


def regression(gates):
    """The best weights for these inputs, by Newton's method; a small ridge keeps closed gates at 0."""
    open_x = x * jnp.append(gates, 1.0)

    def newton(weights, _):
        p = jax.nn.sigmoid(open_x @ weights)
        hessian = (open_x.T * (p * (1 - p))) @ open_x / n + 1e-4 * jnp.eye(inputs + 1)
        return weights - jnp.linalg.solve(hessian, open_x.T @ (p - data.target) / n + 1e-4 * weights), None

    return jax.lax.scan(newton, jnp.zeros(inputs + 1), length=8)[0]


# %% [markdown]
# From the regression with all inputs and gates that are open half of the time, by 1000 updates of Adam from 8 settings of the gates
# each. Three runs side by side:

# %%
bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))


def penalized(params, key):
    mean = sf.disarm(lambda gates: loss(params["weights"], gates), bits, params["logits"], key, num_samples=8)
    return mean + price * jax.nn.sigmoid(params["logits"]).sum()


def runs(params, key):
    return jax.vmap(penalized)(params, jax.random.split(key, 3)).sum()


start = {"weights": jnp.tile(regression(jnp.ones(inputs)), (3, 1)), "logits": jnp.zeros((3, inputs))}
fitted = sf.training.fit(runs, start, optax.adam(0.05), jax.random.key(0), 1000, progress=sys.stderr.isatty())
found = fitted.params["logits"] > 0

# %% [markdown]
# Fourteen inputs have few enough subsets to fit a regression to each, so the best is known. The usual way is to add the input that
# helps most, and again, until none helps. It fits a regression for each input at each turn; the gates train along with one.

# %%
score = jax.jit(lambda gates: loss(regression(gates), gates) + price * gates.sum())
subsets = jnp.array(list(itertools.product([0.0, 1.0], repeat=inputs)))
scores = jax.lax.map(score, subsets, batch_size=64)
best = subsets[scores.argmin()]

forward = jnp.zeros(inputs)
while score(step := min(jnp.maximum(forward, jnp.eye(inputs)), key=score)) < score(forward):
    forward = step

rows = {"all inputs": jnp.ones(inputs), "one by one": forward}
rows |= {f"gates, run {i + 1}": gates for i, gates in enumerate(found)} | {"best subset": best}
print(f"{len(subsets):,} subsets")
for name, gates in rows.items():
    value = score(1.0 * gates)
    kept = ", ".join(np.array(names)[np.asarray(gates, bool)]) if gates.sum() < inputs else "all"
    print(f"{name:16s} {value:.4f}, {(scores < value - 1e-6).sum():5d} subsets are better: {kept}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.barh(names, jax.nn.sigmoid(fitted.params["logits"]).mean(axis=0), color=["C0"] * 10 + ["C1"] * NOISE)
left.invert_yaxis()
left.set(xlabel="probability that the gate is open, mean of three runs")
right.plot(fitted.history["loss"] / 3, label="gates, mean of three runs")
right.axhline(score(jnp.ones(inputs)), color="0.6", linestyle="--", label="all inputs")
right.axhline(scores.min(), color="0.6", label="best subset")
right.set(xlabel="update", ylabel="loss and price of the inputs")
right.legend()
plt.show()
