"""The recipe of ``studies.papers.beta_steps`` in Pyro itself: run in its environment, prints how many updates each seed takes."""

from __future__ import annotations

import json

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.testing.fakes import NonreparameterizedBeta
from pyro.infer import SVI, TraceGraph_ELBO
from torch.distributions.constraints import positive

SEEDS, MOST = 20, 10_000
TOSSES = torch.tensor([1.0] * 6 + [0.0] * 4)


def model():
    fairness = pyro.sample("fairness", dist.Beta(10.0, 10.0))
    with pyro.plate("tosses", len(TOSSES)):
        pyro.sample("toss", dist.Bernoulli(fairness), obs=TOSSES)


def steps(seed, with_average):
    """How many updates it takes."""
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    baseline = {"use_decaying_avg_baseline": with_average, "baseline_beta": 0.9}

    def guide():
        ab = [pyro.param(name, torch.tensor(15.0), constraint=positive) for name in "ab"]
        pyro.sample("fairness", NonreparameterizedBeta(*ab), infer={"baseline": baseline})

    svi = SVI(model, guide, pyro.optim.Adam({"lr": 5e-4, "betas": (0.93, 0.999)}), TraceGraph_ELBO())
    for count in range(1, MOST + 1):
        svi.step()
        if abs(pyro.param("a").item() - 16) < 0.8 and abs(pyro.param("b").item() - 14) < 0.8:
            return count
    return MOST


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps([[steps(seed, with_average) for seed in range(SEEDS)] for with_average in (True, False)]))
