# %% [markdown]
# # Which roads to build: an objective in SciPy
#
# A town of narrow streets may build any of 16 fast roads. What they bring is time: the mean time between two places, by the shortest
# path, which `scipy.sparse.csgraph` finds. A road costs 0.1 for each unit of its length.
#
# Roads are built or not, and SciPy is not JAX, so `jax.grad` has nothing to hold on to. `sf.black_box` makes an objective of any
# Python function, and `sf.arms` has the gradient of its mean in the probabilities of the roads, by values of the function alone.
#
# As a script: `pip install "jax_scorefn[training]" matplotlib`, then `python scipy_objective.py`.

# %%
import itertools
import sys

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from scipy.sparse.csgraph import shortest_path
from scipy.spatial.distance import cdist

import jax_scorefn as sf

ROADS = 16
places = np.array(list(itertools.product(range(5), repeat=2))) * 1.0
distance = cdist(places, places)
streets = np.where(distance == 1, 3.0, 0.0)  # minutes between neighbours; 0 is no street
candidates = np.argwhere(np.triu((distance > 1.5) & (distance < 3)))
roads = np.random.default_rng(1).permutation(candidates)[:ROADS]
length = distance[roads[:, 0], roads[:, 1]]


def cost(built):
    a, b = roads[built == 1].T
    minutes = streets.copy()
    minutes[a, b] = minutes[b, a] = distance[a, b]
    return shortest_path(minutes, method="FW").mean() + 0.1 * length @ built


# %% [markdown]
# From one half for each road, by 300 updates of Adam, each from 8 designs; four runs side by side, since each goes downhill from
# where it is and may end in a valley of its own.

# %%
design = sf.family(lambda logits: sf.Bernoulli(logits=logits))


def loss(logits, key):
    one = lambda logits, key: sf.arms(sf.black_box(cost), design, logits, key, num_samples=8)
    return jax.vmap(one)(logits, jax.random.split(key, 4)).sum()


start = jnp.zeros((4, ROADS))
fitted = sf.training.fit(loss, start, optax.adam(0.05), jax.random.key(0), 300, progress=sys.stderr.isatty())
found = np.asarray(fitted.params > 0, float)

# %% [markdown]
# All designs can still be asked. Beside them the usual way without a gradient: build the road that helps most, and again, until none
# helps.

# %%
designs = np.array(list(itertools.product([0.0, 1.0], repeat=ROADS)))
costs = np.array([cost(built) for built in designs])

greedy = np.zeros(ROADS)
while cost(step := min((np.maximum(greedy, road) for road in np.eye(ROADS)), key=cost)) < cost(greedy):
    greedy = step

rows = {"no road": np.zeros(ROADS), "all roads": np.ones(ROADS), "one by one": greedy}
rows |= {f"by gradient, run {i}": built for i, built in enumerate(found)} | {"the best": designs[costs.argmin()]}
print(f"all designs: {len(designs):,}; asked by a run: {300 * 8:,}")
for name, built in rows.items():
    print(f"{name:18s} cost {cost(built):.3f}   {(costs < cost(built) - 1e-9).sum():5d} designs are better")

# %%
best = min(found, key=cost)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), width_ratios=(1, 1.6), layout="constrained")
for a, b in np.argwhere(np.triu(streets)):
    left.plot(*places[[a, b]].T, color="0.6", linewidth=1)
for (a, b), built in zip(roads, best, strict=True):
    left.plot(
        *places[[a, b]].T, color="C0" if built else "0.6", linewidth=3 if built else 1, linestyle="-" if built else ":"
    )
left.set(aspect="equal", xticks=[], yticks=[], title="built by the best of the runs")
left.spines[:].set_visible(False)
right.plot(fitted.history["loss"] / 4, label="mean of the four runs")
right.axhline(cost(greedy), color="0.6", linestyle="--", label="one by one")
right.axhline(costs.min(), color="0.6", label="the best of all")
right.set(xlabel="update", ylabel="cost")
right.legend()
plt.show()

# %% [markdown]
# The runs do not all end in the same design, so take the best of a few.
