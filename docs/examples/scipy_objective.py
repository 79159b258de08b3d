# %% [markdown]
# # Which roads to build: an objective in SciPy
#
# A town of narrow streets may get some of 16 fast roads. A road costs 0.5 for each unit of its length, and what is gained is time: the
# mean time of all trips in the town, by the shortest path, which `scipy.sparse.csgraph` finds.
#
# Roads are built or not, and SciPy is not JAX: there is no derivative of either. `sf.black_box` makes an objective of any Python
# function, and the gradient is that of the probabilities with which roads are built, by values of the function alone.
#
# As a script: `pip install "jax_scorefn[training]" scipy matplotlib`, then `python scipy_objective.py`.

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

SIDE, ROADS = 5, 16
places = np.array(list(itertools.product(range(SIDE), repeat=2))) * 1.0
distance = cdist(places, places)
streets = np.where(distance == 1, 3.0, 0.0)  # minutes between neighbours; 0 is no street
far = np.argwhere(np.triu((distance > 1.5) & (distance < 3)))
roads = far[np.random.default_rng(0).choice(len(far), ROADS, replace=False)]
length = distance[roads[:, 0], roads[:, 1]]


def town(built):
    """The mean minutes of a trip, and what the roads cost."""
    a, b = roads[np.asarray(built, bool)].T
    times = streets.copy()
    times[a, b] = times[b, a] = distance[a, b]
    return shortest_path(times, directed=False).mean() + PRICE * length @ built

PRICE=0.1
