# %% [markdown]
# # Where to measure
#
# Five thermometers for an L-shaped floor of 27 rooms: into which of them? The temperature is a Gaussian process along the floor, so
# how uncertain every room remains is known before anything is measured. The mean of these variances is to be small.
#
# A set of rooms has no derivative. `sf.random.categorical` draws five different rooms by their weights (`replace=False`), and
# `sf.expectation` gives the gradient in the weights. Nothing between two rooms is asked for: no relaxation, no fifth of a thermometer.
#
# As a script: `pip install "jax_scorefn[training]" matplotlib`, then `python design.py`.

# %%
import itertools
import sys

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import jax_scorefn as sf

THERMOMETERS, NOISE, RUNS = 5, 0.1, 8
rooms = np.array([(i, j) for i in range(6) for j in range(6) if i < 3 or j < 3])
covariance = jnp.exp(-((rooms[:, None] - rooms) ** 2).sum(axis=-1) / (2 * 1.5**2))


def variances(chosen):
    """Of each room, once the chosen ones are measured."""
    known = covariance[:, chosen]
    noisy = covariance[chosen][:, chosen] + NOISE * jnp.eye(len(chosen))
    return jnp.diag(covariance - known @ jnp.linalg.solve(noisy, known.T))


# %% [markdown]
# From equal weights, by 600 updates of Adam, each from 32 sets of five; eight runs side by side, since sets have many valleys. A run's
# answer are the five rooms of the largest weights.


# %%
def program(logits, key):
    return variances(sf.random.categorical(key, logits, shape=(THERMOMETERS,), replace=False)).mean()


def loss(logits, key):
    return jax.vmap(sf.expectation(program, num_samples=32))(logits, jax.random.split(key, RUNS)).sum()


start = jnp.zeros((RUNS, len(rooms)))
fitted = sf.training.fit(loss, start, optax.adam(0.05), jax.random.key(0), 600, progress=sys.stderr.isatty())
found = np.argsort(-fitted.params, axis=1)[:, :THERMOMETERS]

# %% [markdown]
# All sets of five can still be asked. Beside them the usual way, room by room, each time the one that helps most.

# %%
objective = jax.jit(lambda chosen: variances(chosen).mean())
sets = np.array(list(itertools.combinations(range(len(rooms)), THERMOMETERS)))
values = jax.lax.map(objective, sets, batch_size=1024)

greedy = np.array([], int)
for _ in range(THERMOMETERS):
    greedy = min((np.append(greedy, room) for room in range(len(rooms)) if room not in greedy), key=objective)

runs = sorted(found, key=objective)
rows = {
    "room by room": greedy,
    "best of the runs": runs[0],
    "worst of the runs": runs[-1],
    "best of all": sets[values.argmin()],
}
print(f"any five          {values.mean():.4f} on average, {len(sets):,} sets")
for name, chosen in rows.items():
    value = objective(chosen)
    print(f"{name:17s} {value:.4f}, {(values < value - 1e-5).sum():3d} sets are better")

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), width_ratios=(1, 1, 1.4), layout="constrained")
for axis, name in zip(axes, ["room by room", "best of the runs"], strict=False):
    floor = np.full((6, 6), np.nan)
    floor[tuple(rooms.T)] = variances(rows[name])
    image = axis.imshow(floor.T, origin="lower", vmin=0.0, vmax=0.7)
    axis.plot(*rooms[rows[name]].T, "o", color="C1")
    axis.set(title=name, xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
figure.colorbar(image, ax=axes[:2], label="variance that remains", shrink=0.7)
axes[2].plot(fitted.history["loss"] / RUNS, label="mean of the runs")
axes[2].axhline(objective(greedy), color="0.6", linestyle="--", label="room by room")
axes[2].axhline(values.min(), color="0.6", label="best of all")
axes[2].set(xlabel="update", ylabel="mean variance")
axes[2].legend()
plt.show()
